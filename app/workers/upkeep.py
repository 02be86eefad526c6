"""Upkeep: what a process does every second beside its orders.

It takes up a new routing table, applies callbacks left in the inbox, looks whether the database is
still the one it was, and refreshes the gauges.
"""

import asyncio

import structlog

from app.errors import JalurError
from app.lifecycle.call import DealerCalls, Kind
from app.lifecycle.receive import Receiver
from app.lifecycle.route import Router
from app.metrics import Metrics
from app.storage import attempts, deliveries, installation, ready, reviews
from app.storage.hints import Hints
from app.storage.pool import DATABASE_ERRORS, Pool
from routing.table import BadTable

log = structlog.get_logger()

_PERIOD_SECONDS = 1.0


class Upkeep:
    """One process's round of small duties. A failed round is logged and the next one tried."""

    def __init__(
        self,
        pool: Pool,
        router: Router,
        receiver: Receiver,
        calls: DealerCalls,
        hints: Hints,
        metrics: Metrics,
    ) -> None:
        self._pool = pool
        self._router = router
        self._receiver = receiver
        self._calls = calls
        self._hints = hints
        self._metrics = metrics
        self._held = False
        self.backlog = 0
        """How many accepted orders waited for a dealer when last counted."""

    async def run(self, *, inbox: bool) -> None:
        """Go round every second until cancelled."""
        while True:
            started = asyncio.get_running_loop().time()
            await asyncio.sleep(_PERIOD_SECONDS)
            lag = asyncio.get_running_loop().time() - started - _PERIOD_SECONDS
            self._metrics.loop_lagged(max(lag, 0.0))
            await self._round(inbox=inbox)

    async def look_at_installation(self) -> None:
        """Hold purchases and checks when the database is another one than remembered."""
        async with self._pool.acquire() as connection:
            seen = await installation.read(connection)
        if seen.hold and not self._held:
            log.error("installation.held", timeline=seen.timeline, next="jalur resume --reconciled")
        self._held = seen.hold
        self._metrics.hold(seen.hold)

    async def _round(self, *, inbox: bool) -> None:
        """Each duty by itself: what one trips over must not hold up the others."""
        duties = [self.look_at_installation, self.take_up_table, self._measure]
        if inbox:
            duties.append(self._sweep)
        for duty in duties:
            try:
                await duty()
            except (*DATABASE_ERRORS, JalurError, BadTable) as error:
                reason = f"{type(error).__name__}: {error}"
                log.warning("upkeep.failed", duty=duty.__name__, reason=reason)
            except Exception:
                log.exception("upkeep.failed", duty=duty.__name__)

    async def take_up_table(self) -> None:
        """Take up a newer routing table, and say what had to be left out of it."""
        if await self._router.refresh(self._pool):
            trade = self._router.trade
            log.info("table.taken", version=trade.snapshot.version, faults=list(trade.faults))

    async def _sweep(self) -> None:
        await self._receiver.sweep()

    async def _measure(self) -> None:
        metrics = self._metrics
        async with self._pool.acquire() as connection:
            self.backlog = await ready.count(connection)
            metrics.backlog(self.backlog)
            metrics.oldest_unresolved(await attempts.oldest_unresolved_seconds(connection))
            metrics.oldest_undelivered(await deliveries.oldest_undelivered_seconds(connection))
            metrics.doubts(*await reviews.counts(connection))
        metrics.redis_up(self._hints.connected)
        for dealer_id, state in self._router.breaker_states().items():
            metrics.breaker(dealer_id, state)
            metrics.in_flight(dealer_id, self._calls.in_flight(dealer_id, Kind.PURCHASE))
