"""Upkeep: what a process does every second, or more seldom, beside its orders.

It takes up a new routing table, applies one whose moment has come, and callbacks left in the inbox;
it looks whether the database is still the one it was, and measures there what operators watch. What
reads more than a few rows is measured seldom, each process at its own times, and given up when it
takes long.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import structlog

from app.administration.desk import BUSY, Errand, TableDesk
from app.administration.schedules import REFUSED
from app.errors import Conflict, JalurError
from app.lifecycle.receive import Receiver
from app.lifecycle.route import Router
from app.lifecycle.watch_balances import watch_balances
from app.metrics import Metrics
from app.storage import (
    attempts,
    cluster_refusals,
    deliveries,
    delivery_tries,
    endpoints,
    installation,
    number_marks,
    outlets,
    ready,
    reviews,
    scheduled_tables,
    statements,
)
from app.storage.lanes import LANES
from app.storage.pool import DATABASE_ERRORS, Pool
from app.workers.accounts import Accounts
from app.workers.large_goods import LargeGoods
from routing.table import BadTable

log = structlog.get_logger()

_PERIOD_SECONDS = 1.0
_STATE_SECONDS = 10.0
_REFUSALS_SECONDS = 5.0
_WALLETS_SECONDS = 60.0
_LOW_BALANCES_SECONDS = 3.0
_UNPARKED_AN_ENDPOINT = 200
_FIRST_ID = UUID(int=0)
"""Parked deliveries of one endpoint that are due at once after it was enabled."""
_OLD_SECONDS = 3600.0
_SHEET_PATIENCE = timedelta(minutes=10)
"""After this another process takes on a scheduled table that was claimed and is not done."""
_SHEET_PAUSE = timedelta(minutes=1)
"""Before one that could not be worked on is tried again."""
_LONGEST_SECONDS = 5.0
"""How long a seldom measurement may take, waiting for its connection included."""

Duty = Callable[[], Awaitable[None]]


class Upkeep:
    """One process's round of small duties. A failed one is logged and tried again."""

    def __init__(
        self,
        pool: Pool,
        router: Router,
        receiver: Receiver,
        desk: TableDesk,
        large_goods: LargeGoods,
        accounts: Accounts,
        metrics: Metrics,
        random_fraction: Callable[[], float],
        tries_days: int,
    ) -> None:
        """`tries_days`: for how many days what came back from webhooks is kept."""
        self._pool = pool
        self._router = router
        self._receiver = receiver
        self._desk = desk
        self._large_goods = large_goods
        self._accounts = accounts
        self._metrics = metrics
        self._random_fraction = random_fraction
        self._tries_days = tries_days
        self._held = False
        self._unparked_behind = _FIRST_ID
        self.backlog = 0
        """How many accepted orders waited for a dealer when last counted."""

    async def run(self, *, inbox: bool) -> None:
        """Go round until cancelled. Each duty by itself: what one trips over holds up no other."""
        duties: dict[str, Duty] = {
            "installation": self.look_at_installation,
            "table": self.take_up_table,
            "backlog": self._count_backlog,
            "accounts": self._accounts.exchange,
        }
        if inbox:
            duties["inbox"] = self._sweep
            duties["parked"] = self.unpark
        async with asyncio.TaskGroup() as group:
            group.create_task(self._every(_PERIOD_SECONDS, duties))
            # By itself: a large sheet takes the better part of a minute.
            group.create_task(self._every(_PERIOD_SECONDS, {"scheduled": self.apply_scheduled}))
            group.create_task(self._every(_PERIOD_SECONDS, {"compile": self.bring_goods}))
            group.create_task(self._seldom(_STATE_SECONDS, "state", self._measure_state))
            group.create_task(self._seldom(_REFUSALS_SECONDS, "refusals", self.exchange_refusals))
            group.create_task(self._seldom(_WALLETS_SECONDS, "wallets", self._add_up_wallets))
            if inbox:
                group.create_task(self._seldom(_OLD_SECONDS, "old", self.drop_old))
                group.create_task(
                    self._seldom(_LOW_BALANCES_SECONDS, "balances", self.watch_balances)
                )

    async def look_at_installation(self) -> None:
        """Hold purchases and checks when the database is another one than remembered."""
        started = asyncio.get_running_loop().time()
        async with self._pool.acquire() as connection:
            waited = asyncio.get_running_loop().time() - started
            seen = await installation.read(connection)
        if seen.hold and not self._held:
            log.error("installation.held", timeline=seen.timeline, next="jalur resume --reconciled")
        self._held = seen.hold
        self._metrics.waited_for_connection(waited)
        self._metrics.hold(seen.hold)

    async def take_up_table(self) -> None:
        """Take up a newer routing table, and say what had to be left out of it."""
        if await self._router.refresh(self._pool):
            trade = self._router.trade
            log.info(
                "table.taken",
                version=trade.snapshot.version,
                revision=trade.revision,
                goods_revision=trade.goods.revision,
                faults=list(trade.faults),
                **trade.goods.report.document(),
            )

    async def bring_goods(self) -> None:
        """Take up newer goods that are too large to be compiled beside orders."""
        brought = await self._large_goods.newer(self._router.goods_held)
        if brought is None:
            return
        if brought.compiled_at is not None:
            log.info(
                "goods.compiled",
                goods_revision=brought.goods.revision,
                compiled_at=brought.compiled_at.isoformat(),
                seconds=brought.seconds,
                **brought.goods.report.document(),
            )
        self._router.bring(brought.goods)
        await self.take_up_table()

    async def exchange_refusals(self) -> None:
        """Tell which clusters dealers refused, and learn what other processes were refused."""
        if self._router.loaded:
            await self._router.exchange_refusals(self._pool, datetime.now(UTC))

    async def drop_old(self) -> None:
        """Drop the purchases numbered on days that are over, a lane a transaction, refused clusters
        that nothing goes by any more, old tries of webhooks, what is left of removed outlets."""
        for lane in range(LANES):
            async with self._pool.acquire() as connection:
                await number_marks.drop_old(connection, lane)
        window = self._router.trade.snapshot.policy.refusal_rules.window
        now = datetime.now(UTC)
        async with self._pool.acquire() as connection:
            await cluster_refusals.drop_before(connection, now - window)
            await outlets.drop_removed(connection)
            await delivery_tries.drop_old(connection, now, self._tries_days)

    async def unpark(self) -> None:
        """Make due what collected for endpoints that are enabled again, a little at a time."""
        async with self._pool.acquire() as connection:
            unparked = await deliveries.unpark(
                connection, range(LANES), _UNPARKED_AN_ENDPOINT, self._unparked_behind
            )
        self._unparked_behind = unparked.last or _FIRST_ID

    async def watch_balances(self) -> None:
        """Tell resellers whose money runs low."""
        await watch_balances(self._pool, datetime.now(UTC))

    async def apply_scheduled(self) -> None:
        """Apply a routing table whose moment has come, if no other process is at it."""
        if self._desk.busy:
            return
        async with self._pool.acquire() as connection:
            schedule_id = await scheduled_tables.claim(connection, _SHEET_PATIENCE)
        if schedule_id is None:
            return
        now = datetime.now(UTC)
        try:
            done = await self._desk.run(Errand("apply_due", now, schedule_id=str(schedule_id)))
        except BaseException as error:
            is_busy = isinstance(error, Conflict) and error.code == BUSY
            # What fails by itself must not keep the desk from the sheets behind it.
            pause = timedelta() if is_busy else _SHEET_PAUSE
            async with self._pool.acquire() as connection:
                await scheduled_tables.release(connection, schedule_id, pause)
            if is_busy:
                return
            raise
        self._tell_scheduled(done)

    def _tell_scheduled(self, done: Mapping[str, Any]) -> None:
        state = done.get("state")
        if state is None:
            return
        self._metrics.scheduled_table(state)
        if state == REFUSED:
            outcome = done["outcome"]
            log.warning(
                "schedule.refused",
                schedule_id=done["id"],
                code=outcome["code"],
                reason=outcome["detail"],
                faults=outcome["errors"],
            )
        else:
            log.info("schedule.applied", schedule_id=done["id"], **done["outcome"])

    # -------------------------------------------------------------- going round

    async def _every(self, period_seconds: float, duties: Mapping[str, Duty]) -> None:
        while True:
            await asyncio.sleep(period_seconds)
            for name, duty in duties.items():
                await self._do(name, duty)

    async def _seldom(self, period_seconds: float, name: str, duty: Duty) -> None:
        while True:
            await self._do(name, duty)
            # Varied, so that many processes do not all ask at once.
            await asyncio.sleep(period_seconds * (0.75 + 0.5 * self._random_fraction()))

    async def _do(self, name: str, duty: Duty) -> None:
        try:
            await duty()
        except (*DATABASE_ERRORS, JalurError, BadTable) as error:
            self._metrics.duty_failed(name)
            log.warning("upkeep.failed", duty=name, reason=f"{type(error).__name__}: {error}")
        except Exception:
            self._metrics.duty_failed(name)
            log.exception("upkeep.failed", duty=name)
        else:
            self._metrics.duty_done(name, datetime.now(UTC).timestamp())

    # -------------------------------------------------------------- duties

    async def _sweep(self) -> None:
        await self._receiver.sweep()

    async def _count_backlog(self) -> None:
        async with self._pool.acquire() as connection:
            self.backlog = await ready.count(connection)
        self._metrics.backlog(self.backlog)

    async def _measure_state(self) -> None:
        metrics = self._metrics
        async with asyncio.timeout(_LONGEST_SECONDS), self._pool.acquire() as connection:
            metrics.oldest_unresolved(await attempts.oldest_unresolved_seconds(connection))
            metrics.oldest_undelivered(await deliveries.oldest_undelivered_seconds(connection))
            metrics.due_deliveries(await deliveries.count_due(connection))
            metrics.endpoints_failing(*await endpoints.failing(connection))
            metrics.doubts(*await reviews.counts(connection))

    async def _add_up_wallets(self) -> None:
        async with asyncio.timeout(_LONGEST_SECONDS), self._pool.acquire() as connection:
            totals = await statements.wallet_totals(connection)
        self._metrics.wallets(
            totals.available, totals.reserved, totals.credit_in_use, totals.beyond_credit
        )
