"""Mark: number a purchase among those of its product for its customer's number, before its claim.

Some dealers sell a product for one number only so often a day, others want to be told which
one it is. The numbers lie on the customer number's own lane, so they are taken in a transaction
of their own, ahead of the claim and beside it: purchases that need no number never wait for one.

A purchase is sent under a mark only while the mark is younger than `hold`. One that is older and
without an attempt was therefore never sent, and does not count.
"""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

import structlog

from app.errors import DatabaseUnavailable
from app.lifecycle.admit import boottime_seconds
from app.lifecycle.route import Router
from app.lifecycle.trade import DealerAccess
from app.metrics import Metrics
from app.storage import attempts, number_marks
from app.storage.hints import Hints, Topic
from app.storage.lanes import lane_of_number
from app.storage.number_marks import DayOfMarks, NewMark, NumberKey
from app.storage.pool import DATABASE_ERRORS, Connection, Pool
from app.storage.ready import Claimable
from routing.repeats import Holder, Judged, Mark, RepeatRule, judge
from routing.table import Route

log = structlog.get_logger()

_RACES = 8
_AFTER_TROUBLE_SECONDS = 0.5
_MOST_AT_ONCE = 256


class _Purchase(NamedTuple):
    """What a mark is held for."""

    order_id: UUID
    attempt_no: int
    dealer_id: str


@dataclass(frozen=True, slots=True)
class Held:
    """A number that was taken, to be sent until `until` (CLOCK_BOOTTIME seconds)."""

    counter: int
    until: float
    dealer_sku: str


@dataclass(frozen=True, slots=True)
class _Wanted:
    """A purchase that needs a number."""

    key: NumberKey
    holder: Holder
    rule: RepeatRule
    sku: str
    at: datetime


class Marker:
    """Takes this process's marks, and keeps them until their purchases are claimed."""

    def __init__(
        self,
        pool: Pool,
        router: Router,
        hints: Hints,
        metrics: Metrics,
        hold_seconds: float,
        lane_groups: Sequence[Sequence[int]],
    ) -> None:
        self._pool = pool
        self._router = router
        self._hints = hints
        self._metrics = metrics
        self._hold_seconds = hold_seconds
        self._group_of = {lane: place for place, each in enumerate(lane_groups) for lane in each}
        self._wanted: dict[_Purchase, _Wanted] = {}
        self._held: dict[_Purchase, Held] = {}
        self._called = asyncio.Event()

    def concerns(self, access: DealerAccess, route: Route) -> bool:
        """Whether a purchase there needs a number at all."""
        return access.capabilities.counts_repeats or route.condition.repeat_limit is not None

    def held(self, row: Claimable, route: Route) -> Held | None:
        """The number that a purchase holds, if enough time is left to send it."""
        held = self._held.get(_purchase(row))
        usable = held and held.dealer_sku == route.dealer_sku and self._is_fresh(held)
        return held if usable else None

    def holds(self, row: Claimable) -> bool:
        """Whether an order's next purchase holds a number at the dealer that it waits for."""
        return _purchase(row) in self._held

    def want(self, row: Claimable, route: Route, access: DealerAccess, now: datetime) -> None:
        """Have a number taken soon; the order is then claimed by whoever finds it."""
        number = row.customer_number
        rule = RepeatRule(
            route.condition.repeat_limit, access.capabilities.failures_count, self._hold_seconds
        )
        self._wanted[_purchase(row)] = _Wanted(
            NumberKey(lane_of_number(number), number, route.dealer_id, route.dealer_sku),
            Holder(row.lane, row.order_id, row.attempt_no),
            rule,
            row.sku,
            now,
        )
        self._called.set()

    def used(self, order_id: UUID, attempt_no: int, dealer_id: str) -> None:
        """The purchase is claimed: from here on its attempt says what became of it."""
        self._held.pop(_Purchase(order_id, attempt_no, dealer_id), None)

    async def run(self) -> None:
        """Take what is wanted until cancelled."""
        while True:
            await self._called.wait()
            self._called.clear()
            try:
                await self.take()
            except (*DATABASE_ERRORS, DatabaseUnavailable) as error:
                # Still wanted, and asked for again by the next claim that finds the orders.
                log.warning("marks.not_taken", reason=f"{type(error).__name__}: {error}")
                await asyncio.sleep(_AFTER_TROUBLE_SECONDS)
            except Exception:
                log.exception("marks.not_taken")
                await asyncio.sleep(_AFTER_TROUBLE_SECONDS)

    async def take(self) -> None:
        """Take a number for everything that is wanted, one lane group a transaction."""
        self._held = {key: held for key, held in self._held.items() if self._is_fresh(held)}
        while self._wanted:
            group = self._group(next(iter(self._wanted.values())))
            chosen = [
                purchase for purchase, each in self._wanted.items() if self._group(each) == group
            ][:_MOST_AT_ONCE]
            wanted = {purchase: self._wanted.pop(purchase) for purchase in chosen}
            await self._take(wanted)
        self._hints.wake(Topic.READY)

    def _group(self, wanted: _Wanted) -> int:
        return self._group_of[wanted.key.lane]

    async def _take(self, wanted: dict[_Purchase, _Wanted]) -> None:
        """Look, judge, write; and again for those with whose number another was quicker."""
        for _ in range(_RACES):
            started = boottime_seconds()
            async with self._pool.acquire() as connection:
                judged = await _judged(connection, wanted)
            for purchase, verdict in judged.items():
                self._note(purchase, wanted.pop(purchase), verdict, started)
            if not wanted:
                return

    def _note(self, purchase: _Purchase, wanted: _Wanted, verdict: Judged, started: float) -> None:
        if wanted.rule.limit is not None:
            number, dealer_id = wanted.key.customer_number, purchase.dealer_id
            self._router.repeats.note(number, wanted.sku, dealer_id, verdict.sold, wanted.at)
        if verdict.counter is None:
            self._metrics.repeat_refused(purchase.dealer_id)
            return
        until = started + self._hold_seconds - verdict.age_seconds
        self._held[purchase] = Held(verdict.counter, until, wanted.key.dealer_sku)

    def _is_fresh(self, held: Held) -> bool:
        return boottime_seconds() <= held.until - self._hold_seconds / 2


async def _judged(
    connection: Connection, wanted: dict[_Purchase, _Wanted]
) -> dict[_Purchase, Judged]:
    """What each purchase gets, numbers that are new written down; without those lost in a race."""
    keys = sorted({each.key for each in wanted.values()})
    days = dict(zip(keys, await number_marks.today(connection, keys), strict=True))
    days = await _with_fates(connection, days, wanted.values())
    judged: dict[_Purchase, Judged] = {}
    new: dict[_Purchase, NewMark] = {}
    for purchase, each in wanted.items():
        day = days[each.key]
        verdict = judged[purchase] = judge(day.marks, each.holder, each.rule)
        if verdict.counter is not None and verdict.is_new:
            new[purchase] = _mark(each, day, verdict.counter)
            day.marks.append(Mark(verdict.counter, each.holder, 0))
    taken = await number_marks.insert(connection, list(new.values())) if new else set[NewMark]()
    if len(taken) == len(new):
        return judged
    # Behind a number that was lost, everything decided about the same key was decided too early.
    lost = {wanted[purchase].key for purchase, mark in new.items() if mark not in taken}
    return {
        purchase: verdict
        for purchase, verdict in judged.items()
        if wanted[purchase].key not in lost
    }


async def _with_fates(
    connection: Connection, days: dict[NumberKey, DayOfMarks], wanted: Iterable[_Wanted]
) -> dict[NumberKey, DayOfMarks]:
    """The marks with what became of their purchases, where a limit makes that matter.

    Read after the marks: a purchase is written before it is sent, and that before its mark is too
    old, so whatever was sent under a mark that looks too old is seen here.
    """
    limited = {each.key for each in wanted if each.rule.limit is not None}
    holders = sorted({mark.holder for key in limited for mark in days[key].marks})
    if not holders:
        return days
    fates = await attempts.fates(connection, holders)
    told = dict(days)
    for key in limited:
        marks = [
            mark
            if (fate := fates.get(mark.holder)) is None
            else mark._replace(
                state=fate.state, went_elsewhere=(fate.dealer_id, fate.dealer_sku) != key[2:]
            )
            for mark in days[key].marks
        ]
        told[key] = replace(days[key], marks=marks)
    return told


def _mark(wanted: _Wanted, day: DayOfMarks, counter: int) -> NewMark:
    key = wanted.key
    return NewMark(
        key.lane, day.day, key.customer_number, key.dealer_id, key.dealer_sku, counter,
        *wanted.holder,
    )  # fmt: skip


def _purchase(row: Claimable) -> _Purchase:
    return _Purchase(row.order_id, row.attempt_no, row.dealer_id)
