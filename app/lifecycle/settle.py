"""Settle: the one place where an order's fate and a reseller's money change, whoever brought word.

Words wait in arrival order; a batch holds at most one an order. Its orders, attempts and wallets
are locked in that sequence, each in key order, `app/words.py` rules on every word, and everything
that follows from the rulings is written in the same transaction: states, entries, the next
attempt, reviews, disputes, events and their deliveries.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

import orjson
import structlog
from uuid_utils.compat import uuid7

from app import postings
from app.lifecycle.deliver import Deliverer
from app.lifecycle.resolve import Answer, Resolution, Resolved, act_of, judge
from app.lifecycle.retry import choose_next, made
from app.lifecycle.route import Router
from app.metrics import Metrics
from app.postings import Posting
from app.storage import audit, ledger, ready, resellers, reviews, rulings
from app.storage.attempts import AttemptChange, LockedAttempt
from app.storage.audit import Act
from app.storage.batches import BatchLimits, LanedBatcher
from app.storage.deliveries import DueDelivery
from app.storage.endpoints import Endpoint
from app.storage.hints import Hints, Topic
from app.storage.ledger import Errand, News
from app.storage.open_numbers import OpenNumber
from app.storage.orders import LockedOrder, OrderChange
from app.storage.pool import Connection, Pool
from app.storage.price_rises import Rise
from app.storage.ready import Ready
from app.storage.reviews import EndedReview, NewDispute, NewReview, StoredReview
from app.traces import Trace, id_of
from app.words import (
    OPEN_ATTEMPT,
    OPEN_ORDER,
    Attempt,
    AttemptState,
    EventType,
    Money,
    Order,
    OrderStatus,
    Ruling,
    Source,
    Terms,
    Word,
    rule,
    withdraw,
)
from dealers.contract import Capabilities, CheckSchedule, Fault, Outcome, Recovery
from routing.choose import Inquiry
from routing.monopoly import Market
from routing.quality import Outcome as Quality
from routing.refusals import Area, Refusal
from schemas.orders import order_document

log = structlog.get_logger()

_AGE_LIMIT = 0.9
"""A purchase is sent again as a question only below this part of the dealer's age limit."""

_NO_DEALER = Capabilities(Recovery.STATUS_CALL)
"""What is assumed of a dealer that is not configured now: it may be again, so go on asking."""


class Withdrawal(StrEnum):
    """Why an order is given up without a dealer's word. The value is the failure's code."""

    CANCELLED = "cancelled"
    EXPIRED = "expired"


_GONE = frozenset({AttemptState.REJECTED, AttemptState.FAILED})
"""States in which a purchase costs nothing."""

_LEARNED: Mapping[str, Quality] = {
    AttemptState.SUCCEEDED: Quality.SUCCEEDED,
    AttemptState.REJECTED: Quality.FAILED,
    AttemptState.FAILED: Quality.FAILED,
    AttemptState.UNKNOWN: Quality.UNKNOWN,
}
"""What an attempt's state says of its dealer's quality."""

FAILURES = {
    "cancelled": "The order was cancelled before it was sent to a dealer.",
    "expired": "No dealer could be reached in the time allowed.",
    "number-refused": "The operator refused this number.",
    "not-delivered": "No dealer could deliver this product.",
}
"""Failure codes as resellers see them, with their messages."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long an unknown outcome is asked about by itself, and how often."""

    review_after: timedelta = timedelta(minutes=30)
    check_schedule: CheckSchedule = (
        (36, 5),
        (42, 10),
        (40, 15),
        (80, 30),
        (1, 120),
    )
    """What a dealer is asked by whose protocol has no schedule of its own."""

    def delay(self, checks: int, declared: CheckSchedule | None = None) -> timedelta:
        """How long after the last act the next check comes, when `checks` were made."""
        schedule = declared or self.check_schedule
        for count, seconds in schedule:
            if checks < count:
                return timedelta(seconds=seconds)
            checks -= count
        return timedelta(seconds=schedule[-1][1])


@dataclass(frozen=True, slots=True)
class Heard:
    """About one order: a word, an operator's resolution, or (without either) a withdrawal."""

    lane: int
    order_id: UUID
    word: Word | None = None
    withdrawal: Withdrawal | None = None
    resolution: Resolution | None = None


@dataclass(frozen=True, slots=True)
class Settled:
    """What became of a word: whether the order and attempt exist, and the ruling."""

    found: bool
    ruling: Ruling | None = None
    withdrawn: bool = False
    resolved: Resolved | None = None


class Settler:
    """Settles words in batches, one flusher a lane group."""

    def __init__(
        self,
        pool: Pool,
        router: Router,
        deliverer: Deliverer,
        hints: Hints,
        metrics: Metrics,
        patience: Patience,
        lane_groups: Sequence[Sequence[int]],
        limits: BatchLimits | None = None,
        price_tolerance: int = 0,
    ) -> None:
        """`price_tolerance`: rupiah by which a dealer may charge more than its cost says."""
        self._tolerance = price_tolerance
        self._pool = pool
        self._router = router
        self._deliverer = deliverer
        self._hints = hints
        self._metrics = metrics
        self._patience = patience
        self.batches: LanedBatcher[Heard, Settled] = LanedBatcher(
            self._apply,
            lambda heard: heard.lane,
            lane_groups,
            limits or BatchLimits(waiting=65536, patience_seconds=60, gap_seconds=0.012),
            key=lambda heard: heard.order_id,
        )

    async def settle(self, lane: int, order_id: UUID, word: Word) -> Settled:
        """Apply a word. Raises DatabaseUnavailable, Overloaded: it is then to be asked again."""
        return await self.batches.submit(Heard(lane, order_id, word))

    async def resolve(self, lane: int, order_id: UUID, resolution: Resolution) -> Resolved:
        """Apply an operator's word, with its line in the audit log, in one transaction.

        Raises DatabaseUnavailable, Overloaded: the same resolution again is then safe.
        """
        settled = await self.batches.submit(Heard(lane, order_id, resolution=resolution))
        return settled.resolved or Resolved(Answer.NOT_FOUND)

    async def withdraw(self, lane: int, order_id: UUID, why: Withdrawal) -> bool:
        """Give an order up while nothing of it is on its way. Returns whether that was so."""
        settled = await self.batches.submit(Heard(lane, order_id, withdrawal=why))
        return settled.withdrawn

    async def _apply(self, batch: list[Heard]) -> list[Settled]:
        settlement = _Settlement(self._router, self._deliverer, self._patience)
        try:
            settled = await self._settle(batch, settlement)
        except BaseException:
            # Whether it was committed or not, nothing is handed over: the leases tell in the end.
            for delivery in settlement.handed:
                self._deliverer.release(delivery.endpoint_id)
            raise
        self._tell(settlement)
        return settled

    async def _settle(self, batch: list[Heard], settlement: "_Settlement") -> list[Settled]:
        async with self._pool.acquire() as connection, connection.transaction():
            keys = sorted({(heard.lane, heard.order_id) for heard in batch})
            found = await rulings.lock(connection, keys)
            locked = {order.order_id: order for order in found.orders}
            settlement.waiting = {each.order_id: each.dealer_id for each in found.waiting}
            settlement.tries = _by_order(found.tries)
            asked = [(heard.lane, heard.order_id) for heard in batch if heard.resolution]
            if asked:
                settlement.doubts = await reviews.of_orders(connection, asked)
            moving = [each for each in batch if _may_send_on(each)]
            if moving:
                holders = [locked[each.order_id] for each in moving if each.order_id in locked]
                keys = [(order.lane, order.reseller_id) for order in holders]
                settlement.tiers = await resellers.tiers(connection, keys)
            settled = [settlement.apply(heard, locked.get(heard.order_id)) for heard in batch]
            await settlement.write(connection)
        return settled

    def _tell(self, settlement: "_Settlement") -> None:
        """What follows from the commit in this process."""
        for delivery in settlement.handed:
            self._deliverer.hand_over(delivery)
        topics = [
            topic
            for topic, rows in (
                (Topic.READY, settlement.next_attempts),
                (Topic.DELIVER, len(settlement.new_deliveries) > len(settlement.handed)),
                (Topic.CHECK, settlement.to_check),
                (Topic.EVENT, settlement.news),
            )
            if rows
        ]
        if topics:
            self._hints.tell(topics)
        self._learn(settlement)
        self._tell_of_accounts(settlement)
        self._metrics.batch("settle", len(settlement.attempt_changes))
        for dealer_id, source, outcome in settlement.outcomes:
            self._metrics.settled(dealer_id, source, outcome)
        for order, change, event in settlement.news:
            if event != EventType.UPDATED and not settlement.is_test(order):
                self._metrics.order_finished(change.status)
        for event, fields in settlement.told:
            log.info(event, **fields)

    def _tell_of_accounts(self, settlement: "_Settlement") -> None:
        """What the words said of our money at dealers, and of what they charge."""
        for spend in settlement.spends:
            self._router.floats.spend(*spend)
        for dealer_id in settlement.short:
            self._router.floats.refuse(dealer_id)
        rises = [each for each in settlement.rises if each.charged - each.cost > self._tolerance]
        if rises:
            self._router.price_watch.hear(rises)
        for rise in rises:
            self._metrics.price_risen(rise.dealer_id)
            log.warning(
                "price.risen",
                route_id=rise.route_id,
                dealer_id=rise.dealer_id,
                dealer_sku=rise.dealer_sku,
                cost=rise.cost,
                charged=rise.charged,
                order_id=rise.order_id,
            )

    def _learn(self, settlement: "_Settlement") -> None:
        """Count in this process's memory what choosing goes by."""
        for market, dealer_id, cost, at, count in settlement.shares:
            self._router.count(market, dealer_id, cost, at, orders=count)
        for sale in settlement.sales:
            self._router.count_sale(*sale)
        for repeat in settlement.repeats:
            self._router.repeats.forget(*repeat)
        for area, at in settlement.served:
            self._router.refusals.serve(area, at)
        for refusal in settlement.refusals:
            self._router.refusals.refuse(refusal)
            self._metrics.cluster_refused(refusal.area.dealer_id)
        for lesson in settlement.lessons:
            self._router.learn(*lesson)


def _may_send_on(heard: Heard) -> bool:
    """Whether this may send its order to another dealer, whose cost the reseller's tier bounds."""
    word = heard.word if heard.resolution is None else heard.resolution.word
    if word is None:
        return False
    return word.report.not_found or word.report.outcome in (Outcome.REJECTED, Outcome.FAILED)


def _by_order(rows: Sequence[LockedAttempt]) -> dict[UUID, list[LockedAttempt]]:
    found: dict[UUID, list[LockedAttempt]] = {}
    for row in rows:
        found.setdefault(row.order_id, []).append(row)
    return found


class _Settlement:
    """One batch's rulings turned into rows. Pure but for the router's choice of a next dealer."""

    def __init__(self, router: Router, deliverer: Deliverer, patience: Patience) -> None:
        self._router = router
        self._deliverer = deliverer
        self._patience = patience
        self.tries: dict[UUID, list[LockedAttempt]] = {}
        self.tiers: dict[tuple[int, UUID], str] = {}
        """By (lane, reseller), of orders that may go to another dealer."""
        self.waiting: dict[UUID, str] = {}
        """Orders whose next attempt waits unclaimed, and the dealer it waits for."""
        self.doubts: list[StoredReview] = []
        """The reviews of orders that an operator decides about."""
        self.acts: list[tuple[UUID, Act]] = []
        self.attempt_changes: list[AttemptChange] = []
        self.order_changes: list[OrderChange] = []
        self.closed: list[OpenNumber] = []
        self.money: list[tuple[LockedOrder, Posting]] = []
        self.news: list[tuple[LockedOrder, OrderChange, EventType]] = []
        self.next_attempts: list[Ready] = []
        self.dropped: list[tuple[int, UUID]] = []
        self.new_reviews: list[NewReview] = []
        self.decided_reviews: list[EndedReview] = []
        """Closed before the others, so that they name the decision whatever else closes them."""
        self.ended_reviews: list[EndedReview] = []
        self.new_disputes: list[NewDispute] = []
        self.ended_disputes: list[tuple[int, UUID, int]] = []
        self.new_deliveries: list[Errand] = []
        self.handed: list[DueDelivery] = []
        """Deliveries that this process makes at once, claimed as they are written."""
        self.to_check: list[UUID] = []
        self.shares: list[tuple[Market, str, int, datetime, int]] = []
        self.sales: list[tuple[str, datetime, int]] = []
        self.repeats: list[tuple[str, str, str]] = []
        """Number, product and dealer of purchases that count now and did not, or the reverse."""
        self.refusals: list[Refusal] = []
        self.served: list[tuple[Area, datetime]] = []
        self.lessons: list[tuple[str, str, Quality | None, Quality | None, datetime]] = []
        self.outcomes: list[tuple[str, str, str]] = []
        self.spends: list[tuple[str, int]] = []
        """By dealer, what is taken from our money there besides what was known; less than 0: it
        came back."""
        self.short: list[str] = []
        """Dealers that said that our money there does not suffice."""
        self.rises: list[Rise] = []
        self.told: list[tuple[str, dict[str, object]]] = []

    # -------------------------------------------------------------- ruling

    def apply(self, heard: Heard, order: LockedOrder | None) -> Settled:
        """Rule on one word, or one withdrawal, and note all that follows."""
        if order is None:
            return Settled(found=False)
        tries = self.tries.get(order.order_id, [])
        stands = _standing(order, tries, waits=order.order_id in self.waiting)
        if heard.resolution is not None:
            return self._resolve(heard.resolution, order, stands)
        if heard.word is None:
            return self._withdraw(heard.withdrawal or Withdrawal.CANCELLED, order, stands)
        return self._hear(heard.word, order, stands)

    def is_test(self, order: LockedOrder) -> bool:
        """Whether an order is of the test side, as are the dealers that it went to or waits for."""
        dealers = [row.dealer_id for row in self.tries.get(order.order_id, ())]
        waits_for = self.waiting.get(order.order_id)
        return any(map(self._router.is_test, dealers if waits_for is None else [waits_for]))

    def _hear(
        self, word: Word, order: LockedOrder, stands: Order, *, ends_doubt: bool = False
    ) -> Settled:
        tries = self.tries.get(order.order_id, [])
        attempt = next((row for row in tries if row.attempt_no == word.attempt_no), None)
        if attempt is None:
            return Settled(found=False)
        capabilities = self._capabilities(attempt.dealer_id)
        terms = Terms(capabilities, self._patience.review_after)
        ruling = rule(stands, word, terms, order.now)
        if ends_doubt:
            ruling = replace(ruling, ends_doubt=True)
        ruling = self._follow(order, attempt, word, ruling, capabilities)
        return Settled(found=True, ruling=ruling)

    def _resolve(self, resolution: Resolution, order: LockedOrder, stands: Order) -> Settled:
        """Settle an operator's word about an attempt, where it may decide about it."""
        doubts = [each for each in self.doubts if each.order_id == order.order_id]
        unmoved = judge(resolution, stands, doubts)
        if unmoved is not None:
            return Settled(found=True, resolved=unmoved)
        own = resolution.attempt_no
        others = any(each.resolution is None and each.attempt_no != own for each in doubts)
        self.decided_reviews.append(EndedReview(order.lane, order.order_id, own, resolution.text))
        settled = self._hear(resolution.word, order, stands, ends_doubt=not others)
        if settled.ruling is not None:
            act = act_of(resolution, order, stands, settled.ruling)
            self.acts.append((resolution.audit_id, act))
        return replace(settled, resolved=Resolved(Answer.DECIDED))

    def _withdraw(self, why: Withdrawal, order: LockedOrder, stands: Order) -> Settled:
        if not withdraw(stands):
            return Settled(found=True)
        self._drop_ready(order)
        self.money.append((order, postings.release(order.price)))
        change = _change(order, OrderStatus.FAILED, failure=why)
        self._note_change(order, change)
        self.news.append((order, change, EventType.FAILED))
        fields: dict[str, object] = {"order_id": order.order_id, "why": why}
        self.told.append(("order.withdrawn", fields | _traced(order)))
        return Settled(found=True, withdrawn=True)

    def _drop_ready(self, order: LockedOrder) -> None:
        """Withdraw the waiting next attempt and give its place in the market's shares back."""
        self.dropped.append((order.lane, order.order_id))
        dealer_id = self.waiting[order.order_id]
        route = self._router.route_at(order.sku, order.cluster, dealer_id, order.now)
        if route is not None:
            market = Market(order.brand, order.cluster)
            self.shares.append((market, dealer_id, route.cost_rupiah or 0, order.now, -1))
            self.sales.append((route.route_id, order.now, -1))

    def _capabilities(self, dealer_id: str) -> Capabilities:
        access = self._router.trade.dealers.get(dealer_id)
        return access.capabilities if access else _NO_DEALER

    def _follow(
        self,
        order: LockedOrder,
        attempt: LockedAttempt,
        word: Word,
        ruling: Ruling,
        capabilities: Capabilities,
    ) -> Ruling:
        """Note all that follows from a ruling. Returns it as it came out in the end."""
        ruling = self._choose_next(order, attempt, word, ruling)
        self._change_attempt(order, attempt, word, ruling, capabilities)
        self._change_order(order, word, ruling)
        if ruling.money is not None:
            self.money.append((order, _posting(order, ruling.money)))
        if ruling.drop_ready:
            self._drop_ready(order)
        self._note_doubts(order, attempt, ruling)
        self._count(order, attempt, word, ruling)
        self._account(order, attempt, word, ruling, capabilities)
        self.outcomes.append((attempt.dealer_id, word.source, word.report.outcome))
        fields: dict[str, object] = {
            "order_id": order.order_id,
            "attempt_no": attempt.attempt_no,
            "dealer_id": attempt.dealer_id,
            "source": word.source,
            "outcome": word.report.outcome,
            "code": word.report.code,
            "attempt": ruling.attempt,
            "order": ruling.order,
        }
        fields |= _traced(order)
        if ruling.review is not None:
            fields["review"] = ruling.review
        if ruling.dispute:
            fields["dispute"] = attempt.dealer_ref
        self.told.append(("attempt.settled", fields))
        return ruling

    def _choose_next(
        self, order: LockedOrder, attempt: LockedAttempt, word: Word, ruling: Ruling
    ) -> Ruling:
        """Choose the next dealer where the ruling asks for one; without one the order fails."""
        if not ruling.another_dealer:
            return ruling
        tries = [
            made(row.dealer_id, ruling.attempt, word.report.code if word.transport else None)
            if row is attempt
            else made(row.dealer_id, row.state, row.code)
            for row in self.tries[order.order_id]
        ]
        inquiry = Inquiry(
            order.sku,
            order.brand,
            order.cluster,
            order.price,
            order.max_price,
            frozenset(),
            self.tiers.get((order.lane, order.reseller_id), ""),
            self._router.kind_of(order.sku),
            order.order_id,
            self._router.repeats.of(order.customer_number, order.sku, order.now),
            # Where it was tried before tells on which side the order is.
            test=self._router.is_test(attempt.dealer_id),
        )
        following = choose_next(self._router, inquiry, tries, order.retry_until, order.now)
        if following is None:
            return replace(
                ruling,
                order=OrderStatus.FAILED,
                another_dealer=False,
                money=Money.RELEASE,
                event=EventType.FAILED,
            )
        route = following.route
        self.next_attempts.append(
            Ready(
                order.lane,
                order.order_id,
                attempt.attempt_no + 1,
                route.dealer_id,
                following.not_before,
                following.decision,
            )
        )
        market = Market(order.brand, order.cluster)
        self.shares.append((market, route.dealer_id, route.cost_rupiah or 0, order.now, 1))
        self.sales.append((route.route_id, order.now, 1))
        return ruling

    def _change_attempt(
        self,
        order: LockedOrder,
        attempt: LockedAttempt,
        word: Word,
        ruling: Ruling,
        capabilities: Capabilities,
    ) -> None:
        claim_id, due_at = self._schedule(order, attempt, ruling, capabilities)
        changed = ruling.attempt != attempt.state
        report = word.report
        speaks = changed or ruling.attempt in OPEN_ATTEMPT
        closes = changed and ruling.attempt not in OPEN_ATTEMPT
        self.attempt_changes.append(
            AttemptChange(
                attempt.lane,
                attempt.order_id,
                attempt.attempt_no,
                ruling.attempt,
                claim_id,
                due_at,
                ruling.absent_since or attempt.absent_since,
                report.code if speaks else attempt.code,
                report.message if speaks else attempt.message,
                report.serial_number or attempt.serial_number,
                report.price_rupiah or attempt.charged,
                order.now if closes else attempt.closed_at,
            )
        )

    def _schedule(
        self,
        order: LockedOrder,
        attempt: LockedAttempt,
        ruling: Ruling,
        capabilities: Capabilities,
    ) -> tuple[UUID | None, datetime | None]:
        """The attempt's claim and due time after the ruling.

        While an act is in flight its claim stays: its own answer, or the end of its lease, is next.
        """
        in_flight = attempt.claim_id is not None
        if in_flight and not ruling.ends_flight:
            return attempt.claim_id, attempt.due_at
        if ruling.check:
            due_at = self._next_check(order, attempt, ruling, capabilities)
            if due_at is not None:
                self.to_check.append(attempt.order_id)
            return None, due_at
        if in_flight or ruling.attempt != attempt.state:
            return None, None
        return None, attempt.due_at

    def _next_check(
        self,
        order: LockedOrder,
        attempt: LockedAttempt,
        ruling: Ruling,
        capabilities: Capabilities,
    ) -> datetime | None:
        if too_old_to_resend(capabilities, order.now - attempt.sent_at):
            review = NewReview(order.lane, order.order_id, attempt.attempt_no, "too-old-to-ask")
            self.new_reviews.append(review)
            return None
        if capabilities.recovery == Recovery.NONE:
            return attempt.sent_at + self._patience.review_after
        patience = self._patience.delay(attempt.checks, capabilities.check_schedule)
        if ruling.check_at_once:
            patience = timedelta(0)
        soonest = attempt.asked_at + timedelta(seconds=capabilities.min_check_interval_seconds)
        return max(order.now + patience, soonest)

    def _change_order(self, order: LockedOrder, word: Word, ruling: Ruling) -> None:
        failure = None
        if ruling.event == EventType.FAILED:
            refused = word.report.fault == Fault.NUMBER
            failure = "number-refused" if refused else "not-delivered"
        change = _change(order, ruling.order, failure=failure, ruling=ruling)
        if change.version != order.version:
            self._note_change(order, change)
        if ruling.event is not None:
            self.news.append((order, change, ruling.event))
        if ruling.ends_doubt or (order.needs_review and not change.needs_review):
            by = "an operator's" if word.source == Source.OPERATOR else "a dealer's"
            resolution = f"resolved by {by} word"
            self.ended_reviews.append(EndedReview(order.lane, order.order_id, None, resolution))

    def _note_change(self, order: LockedOrder, change: OrderChange) -> None:
        self.order_changes.append(change)
        if order.status in OPEN_ORDER and change.status not in OPEN_ORDER:
            self.closed.append(
                OpenNumber(
                    order.lane,
                    order.reseller_id,
                    order.customer_number,
                    order.sku,
                    order.order_id,
                )
            )

    def _note_doubts(self, order: LockedOrder, attempt: LockedAttempt, ruling: Ruling) -> None:
        if ruling.review is not None:
            self.new_reviews.append(
                NewReview(order.lane, order.order_id, attempt.attempt_no, ruling.review)
            )
        if ruling.dispute:
            self.new_disputes.append(
                NewDispute(
                    order.lane,
                    order.order_id,
                    attempt.attempt_no,
                    attempt.dealer_id,
                    attempt.dealer_ref,
                    attempt.cost,
                )
            )
        if ruling.close_dispute_of is not None:
            self.ended_disputes.append((order.lane, order.order_id, ruling.close_dispute_of))

    def _count(
        self, order: LockedOrder, attempt: LockedAttempt, word: Word, ruling: Ruling
    ) -> None:
        """Take a failed purchase out of the market's shares, put a late success back; and learn how
        well the dealer delivers. A wrong number is not the dealer's failure, and what was never
        sent is no delivery of its."""
        learned = _LEARNED.get(ruling.attempt)
        failed = learned is Quality.FAILED
        if failed and (word.transport or word.report.fault is Fault.NUMBER):
            learned = None
        known = _LEARNED.get(attempt.state)
        if learned is not known:
            lesson = (attempt.dealer_id, order.sku, known, learned, attempt.sent_at)
            self.lessons.append(lesson)
        if order.cluster is not None and word.source != Source.OPERATOR and not word.transport:
            area = Area(attempt.dealer_id, order.brand, order.cluster)
            if ruling.attempt != attempt.state:
                self._learn_area(order, area, word, ruling)
        before, after = attempt.state in _GONE, ruling.attempt in _GONE
        if before != after:
            market = Market(order.brand, order.cluster)
            sign = -1 if after else 1
            self.shares.append((market, attempt.dealer_id, attempt.cost, attempt.sent_at, sign))
            self.sales.append((attempt.route_id, attempt.sent_at, sign))
            self.repeats.append((order.customer_number, order.sku, attempt.dealer_id))

    def _learn_area(self, order: LockedOrder, area: Area, word: Word, ruling: Ruling) -> None:
        """Learn which clusters a dealer refuses, and that it serves one."""
        if ruling.attempt == AttemptState.SUCCEEDED:
            self.served.append((area, order.now))
        elif ruling.attempt in _GONE and word.report.fault is Fault.CLUSTER:
            self.refusals.append(Refusal(area, order.customer_number, order.now))

    def _account(
        self,
        order: LockedOrder,
        attempt: LockedAttempt,
        word: Word,
        ruling: Ruling,
        capabilities: Capabilities,
    ) -> None:
        """What the word says of our money at the dealer, and of the price that we know."""
        report = word.report
        known = attempt.charged or attempt.cost
        before = 0 if attempt.state in _GONE else known
        after = 0 if ruling.attempt in _GONE else report.price_rupiah or known
        if before != after:
            self.spends.append((attempt.dealer_id, after - before))
        refused = report.outcome in (Outcome.REJECTED, Outcome.FAILED)
        if refused and report.code in capabilities.low_balance_codes:
            self.short.append(attempt.dealer_id)
        charged = report.price_rupiah or 0
        if charged > attempt.cost and charged != attempt.charged and ruling.attempt not in _GONE:
            self.rises.append(
                Rise(
                    attempt.route_id,
                    attempt.dealer_id,
                    attempt.dealer_sku,
                    attempt.cost,
                    charged,
                    attempt.order_id,
                    attempt.sent_at,
                    order.sku,
                    order.cluster,
                )
            )

    # -------------------------------------------------------------- writing

    async def write(self, connection: Connection) -> None:
        """Write everything that was noted, in one sequence of locks for every process."""
        wanted: Sequence[Endpoint] = ()
        if self.attempt_changes or self.order_changes or self.news:
            told = sorted({(order.lane, order.reseller_id) for order, _, _ in self.news})
            wanted = await rulings.write(connection, self.attempt_changes, self.order_changes, told)
        if self.dropped:
            await ready.delete(connection, self.dropped)
        if self.next_attempts:
            await ready.insert(connection, self.next_attempts)
        await self._write_doubts(connection)
        for audit_id, act in self.acts:
            await audit.record(connection, audit_id, act)
        if self.money or self.news:
            await self._write_money_and_news(connection, wanted)

    async def _write_doubts(self, connection: Connection) -> None:
        if self.new_reviews:
            await reviews.open_reviews(connection, self.new_reviews)
        for ended in (self.decided_reviews, self.ended_reviews):
            if ended:
                await reviews.close_reviews(connection, ended)
        if self.new_disputes:
            await reviews.open_disputes(connection, self.new_disputes)
        if self.ended_disputes:
            await reviews.close_disputes(connection, self.ended_disputes, "settled by a word")

    async def _write_money_and_news(
        self, connection: Connection, wanted: Sequence[Endpoint]
    ) -> None:
        """Last of all: the wallets' locks are the ones that others wait for."""
        movements = [
            ledger.movement((order.lane, order.reseller_id), posting, order_id=order.order_id)
            for order, posting in self.money
        ]
        told = [_news(*each, test=self.is_test(each[0])) for each in self.news]
        self._write_errands(told, wanted)
        lease = self._deliverer.lease
        await ledger.write(connection, movements, told, self.new_deliveries, lease, self.closed)

    def _write_errands(self, told: Sequence[News], wanted: Sequence[Endpoint]) -> None:
        """Each event to each endpoint that wants it; an order's first event here and at once."""
        by_reseller: dict[UUID, list[Endpoint]] = {}
        for endpoint in wanted:
            by_reseller.setdefault(endpoint.reseller_id, []).append(endpoint)
        for each, (order, _, _) in zip(told, self.news, strict=True):
            for endpoint in by_reseller.get(each.reseller_id, ()):
                if endpoint.wants(each.type):
                    at_once = order.finished_at is None
                    self._write_errand(each, endpoint, order.trace, at_once=at_once)

    def _write_errand(
        self, news: News, endpoint: Endpoint, trace: Trace | None, *, at_once: bool
    ) -> None:
        ready_here = at_once and endpoint.status == "active"
        claim_id = self._deliverer.reserve(endpoint) if ready_here else None
        errand = Errand(news.lane, uuid7(), endpoint.endpoint_id, news.event_id, claim_id)
        self.new_deliveries.append(errand)
        if claim_id is not None:
            self.handed.append(
                DueDelivery(
                    news.lane,
                    news.reseller_id,
                    errand.delivery_id,
                    endpoint.endpoint_id,
                    claim_id,
                    0,
                    news.event_id,
                    news.payload,
                    endpoint.url,
                    endpoint.secrets_sealed,
                    endpoint.schedule_seconds,
                    endpoint.rate_per_second,
                    endpoint_deleted=False,
                    order_id=news.order_id,
                    trace=trace,
                    shape=endpoint.shape,
                )
            )


def too_old_to_resend(capabilities: Capabilities, age: timedelta) -> bool:
    """Whether asking by sending the purchase again could buy again."""
    limit = capabilities.max_age_seconds
    return (
        capabilities.recovery == Recovery.SAME_REF_IS_STATUS
        and limit is not None
        and age >= timedelta(seconds=limit * _AGE_LIMIT)
    )


def _traced(order: LockedOrder) -> dict[str, object]:
    return {} if order.trace is None else {"trace_id": id_of(order.trace)}


def _standing(order: LockedOrder, tries: Sequence[LockedAttempt], *, waits: bool) -> Order:
    return Order(
        OrderStatus(order.status),
        order.needs_review,
        order.serial_number,
        order.corrections,
        order.retry_until,
        [
            Attempt(
                row.attempt_no,
                row.dealer_id,
                AttemptState(row.state),
                row.fence,
                row.claim_id is not None,
                row.sent_at,
                row.asked_at,
                row.absent_since,
                row.serial_number,
            )
            for row in tries
        ],
        waits,
        order.serving_attempt,
    )


_FINAL_EVENTS = frozenset({EventType.SUCCEEDED, EventType.CORRECTED, EventType.UPDATED})


def _change(
    order: LockedOrder,
    status: OrderStatus,
    *,
    failure: str | None,
    ruling: Ruling | None = None,
) -> OrderChange:
    """The order after a ruling; its version rises when anything that resellers see is different."""
    event = ruling.event if ruling else EventType.FAILED
    is_open = status in OPEN_ORDER
    doubted = order.needs_review and not (ruling and ruling.ends_doubt)
    needs_review = is_open and (doubted or bool(ruling and ruling.review))
    corrected = bool(ruling and ruling.money in (Money.CORRECTION, Money.REFUND))
    keeps_failure = event != EventType.CORRECTED
    serial_number = ruling.serial_number if ruling and event in _FINAL_EVENTS else None
    serial_number = serial_number or order.serial_number
    failure_code = failure or (order.failure_code if keeps_failure else None)
    before = (order.status, order.needs_review, order.serial_number, order.failure_code)
    told = event is not None or before != (status, needs_review, serial_number, failure_code)
    return OrderChange(
        order.lane,
        order.order_id,
        status,
        needs_review,
        order.corrections + corrected,
        failure_code,
        FAILURES[failure] if failure else (order.failure_message if keeps_failure else None),
        serial_number,
        order.version + told,
        order.finished_at if event in (None, EventType.UPDATED) else order.now,
        (ruling.serves if ruling else None) or order.serving_attempt,
    )


def _posting(order: LockedOrder, money: Money) -> Posting:
    correction_no = order.corrections + 1
    match money:
        case Money.CAPTURE:
            return postings.capture(order.price)
        case Money.RELEASE:
            return postings.release(order.price)
        case Money.REFUND:
            return postings.refund(order.price, correction_no)
        case Money.CORRECTION:
            return postings.correction(order.price, correction_no)


def _news(order: LockedOrder, change: OrderChange, kind: EventType, *, test: bool) -> News:
    return News(
        order.lane,
        order.reseller_id,
        uuid7(),
        kind,
        order.order_id,
        change.version,
        _payload(order, change, kind, test=test),
    )


def _payload(order: LockedOrder, change: OrderChange, kind: EventType, *, test: bool) -> str:
    document = order_document(
        order_id=order.order_id,
        ref_id=order.ref_id,
        sku=order.sku,
        brand=order.brand,
        customer_number=order.customer_number,
        cluster=order.cluster,
        price=order.price,
        status=change.status,
        delayed=change.needs_review,
        serial_number=change.serial_number,
        failure_code=change.failure_code,
        failure_message=change.failure_message,
        version=change.version,
        created_at=order.created_at,
        finished_at=change.finished_at,
        metadata=order.metadata,
    )
    body: dict[str, object] = {"type": kind, "timestamp": order.now.isoformat(), "data": document}
    if test:
        body["test"] = True
    return orjson.dumps(body).decode()
