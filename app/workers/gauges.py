"""Gauges: what a process looks at in its own memory for the metrics.

It asks nobody, so it goes on while the database is away.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sized
from datetime import UTC, datetime

from app import logs
from app.lifecycle.admit import Admission, Kind
from app.lifecycle.call import DealerCalls
from app.lifecycle.route import Router
from app.metrics import Metrics
from app.storage.hints import Hints
from app.storage.pool import Pool
from app.workers.share_exchange import ShareExchange
from routing.monopoly import WHOLE_BASIS_POINTS

_BEAT_SECONDS = 0.1
_BEATS_A_LOOK = 10


class Gauges:
    """One process's look at itself: ten times a second at the event loop, every second at all."""

    def __init__(
        self,
        pool: Pool,
        router: Router,
        calls: DealerCalls,
        admission: Admission,
        hints: Hints,
        exchange: ShareExchange,
        queues: Mapping[str, Sized],
        metrics: Metrics,
    ) -> None:
        self._pool = pool
        self._router = router
        self._calls = calls
        self._admission = admission
        self._hints = hints
        self._exchange = exchange
        self._queues = queues
        self._metrics = metrics

    async def run(self) -> None:
        """Look until cancelled."""
        clock = asyncio.get_running_loop().time
        while True:
            for _ in range(_BEATS_A_LOOK):
                await self._feel_lag(clock)
            self.look(datetime.now(UTC))

    async def _feel_lag(self, clock: Callable[[], float]) -> None:
        wakes_at = clock() + _BEAT_SECONDS
        await asyncio.sleep(_BEAT_SECONDS)
        self._metrics.loop_lagged(max(clock() - wakes_at, 0.0))

    def look(self, now: datetime) -> None:
        """Refresh every gauge that memory can tell."""
        metrics, pool = self._metrics, self._pool
        metrics.waiting({kind: len(queue) for kind, queue in self._queues.items()})
        metrics.connections(pool.get_size(), pool.get_idle_size(), pool.get_max_size())
        metrics.redis_up(self._hints.connected if self._hints.configured else None)
        metrics.share_exchange(self._exchange.age_seconds, self._exchange.peers)
        metrics.log_lines_lost(logs.lines_lost())
        if self._router.loaded:
            self._look_at_dealers(now)
            self._look_at_markets(now)

    def _look_at_dealers(self, now: datetime) -> None:
        trade = self._router.trade
        self._metrics.table(
            trade.revision, trade.goods.revision, self._router.goods_wanted, len(trade.faults)
        )
        self._metrics.clusters_refused(
            Counter(dealer_id for dealer_id, *_ in self._router.refusals.areas_out(now))
        )
        self._metrics.breakers(self._router.breaker_states())
        judged = self._router.quality.judged(trade.snapshot.policy.quality, now)
        self._metrics.dealer_quality(
            {key: quality for key, quality in judged.items() if key[0] in trade.snapshot.dealers}
        )
        self._metrics.in_flight(
            {
                (dealer_id, kind): self._calls.under_way(dealer_id, kind)
                for dealer_id in trade.dealers
                for kind in Kind
            }
        )

        self._metrics.dealer_paces(
            {dealer_id: self._admission.pace(access) for dealer_id, access in trade.dealers.items()}
        )

    def _look_at_markets(self, now: datetime) -> None:
        policy, shares = self._router.trade.snapshot.policy, self._router.shares
        cap_ratio = policy.single_cap_basis_points / WHOLE_BASIS_POINTS
        self._metrics.policy(cap_ratio, policy.minimum_sample_orders)
        self._metrics.markets({market: shares.totals(market, now) for market in shares.markets()})
