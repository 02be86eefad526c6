"""The engine: every part of an order's life put together for one process.

It holds what the HTTP side calls (accept, settle, receive) and runs what works by itself
(executor, reconciler, deliverer, inbox, upkeep). A process may do either or both.
"""

import asyncio
import random
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import structlog

from app import logs
from app.administration.desk import TableDesk
from app.lifecycle.accept import Acceptor
from app.lifecycle.admit import Admission
from app.lifecycle.call import DealerCalls
from app.lifecycle.deliver import Deliverer, Persistence
from app.lifecycle.execute import Executor, Lease, Purchase
from app.lifecycle.mark import Marker
from app.lifecycle.receive import Receiver
from app.lifecycle.reconcile import Check, Reconciler
from app.lifecycle.route import Router
from app.lifecycle.settle import Patience, Settler
from app.metrics import Metrics
from app.outbound.addresses import AddressPolicy
from app.outbound.endpoints import EndpointClients
from app.sealing import Sealer
from app.storage import installation
from app.storage.batches import BatchLimits, Queue
from app.storage.deliveries import DueDelivery
from app.storage.hints import Hints, Topic
from app.storage.lanes import lane_groups
from app.storage.pool import DATABASE_ERRORS, Pool, PoolSettings, open_pool
from app.traces import Trace, id_of
from app.workers.accounts import Accounts, AccountSettings
from app.workers.census import Census
from app.workers.gauges import Gauges
from app.workers.large_goods import LargeGoods
from app.workers.loop import Loop, Rhythm
from app.workers.share_exchange import ExchangeSettings, ShareExchange, Why
from app.workers.upkeep import Upkeep

log = structlog.get_logger()

_EXPIRY_SECONDS = 0.1
_CLOSING_SECONDS = 10.0
_SHARES_SECONDS = 25.0
_COMPILING_SECONDS = 0.5
_SWITCH_SECONDS = 0.0005


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """What an engine is made of; read from the environment at the door."""

    database: PoolSettings
    redis_url: str | None
    secret_keys: Sequence[str]
    lane_groups: int = 1
    lease: Lease = field(default_factory=Lease)
    patience: Patience = field(default_factory=Patience)
    persistence: Persistence = field(default_factory=Persistence)
    address_policy: AddressPolicy = field(default_factory=AddressPolicy)
    accept_limits: BatchLimits = field(default_factory=BatchLimits)
    grace_seconds: float = 20.0
    poll_seconds: tuple[float, float] = (0.05, 0.2)
    most_checks: int = 64
    most_purchases: int = 4096
    """At dealers, or answered and not settled yet. Dealers' places bound the first; were the second
    short of room, new orders would take the long way through the table just when all is late."""
    correction_seconds: float = 300.0
    retry_for_seconds: float = 600.0
    balance_interval_seconds: float = 300.0
    price_rise_tolerance: int = 0
    price_rise_mute_seconds: float = 86_400.0
    webhook_log_days: int = 7
    simulator_url: str | None = None


class Engine:
    """One process's parts. Made by `start_engine`; `run` until `stop` is set, then `close`."""

    def __init__(
        self, settings: EngineSettings, pool: Pool, metrics: Metrics, installation_id: UUID
    ) -> None:
        self.settings = settings
        self.installation_id = installation_id
        self.pool = pool
        self.metrics = metrics
        groups = lane_groups(settings.lane_groups)
        self.sealer = Sealer(settings.secret_keys)
        self.hints = Hints(settings.redis_url)
        self.router = Router(
            self.sealer,
            time.monotonic,
            settings.lease.longest_call_seconds,
            simulator_url=settings.simulator_url,
        )
        self.admission = Admission(metrics)
        self.calls = DealerCalls(metrics, self.admission)
        self.clients = EndpointClients(settings.address_policy)
        self.deliverer = Deliverer(
            pool, self.clients, self.sealer, metrics, settings.persistence, groups, random.random
        )
        self.settler = Settler(
            pool,
            self.router,
            self.deliverer,
            self.hints,
            metrics,
            settings.patience,
            groups,
            price_tolerance=settings.price_rise_tolerance,
        )
        self.receiver = Receiver(pool, self.router, self.settler, self.hints, metrics, groups)
        self.marker = Marker(pool, self.router, self.hints, metrics, settings.lease.seconds, groups)
        self.executor = Executor(
            pool,
            self.router,
            self.settler,
            self.calls,
            self.marker,
            self.admission,
            settings.lease,
            groups,
            installation_id,
        )
        self.acceptor = Acceptor(
            pool, groups, self.hints, metrics, settings.accept_limits, self.executor
        )
        self.reconciler = Reconciler(
            pool,
            self.router,
            self.settler,
            self.calls,
            self.admission,
            settings.lease,
            groups,
            installation_id,
        )
        self.census = Census(
            pool, self.router, self.admission, metrics, settings.lease.seconds, time.monotonic
        )
        self.desk = TableDesk(
            settings.database, settings.secret_keys, settings.lease.longest_call_seconds
        )
        large_goods = LargeGoods(pool, settings.database, time.monotonic)
        self.accounts = Accounts(
            pool,
            self.router,
            self.calls,
            self.admission,
            metrics,
            AccountSettings(
                settings.balance_interval_seconds,
                settings.price_rise_mute_seconds,
            ),
            random.random,
        )
        self.upkeep = Upkeep(
            pool,
            self.router,
            self.receiver,
            self.desk,
            large_goods,
            self.accounts,
            metrics,
            random.random,
            settings.webhook_log_days,
        )
        self.exchange = ShareExchange(
            pool,
            self.router,
            metrics,
            ExchangeSettings(
                settings.redis_url, settings.correction_seconds, settings.retry_for_seconds
            ),
            random.random,
        )
        queues = {
            "accept": self.acceptor.batches,
            "settle": self.settler.batches,
            "deliver": self.deliverer.results,
        }
        self.gauges = Gauges(
            pool,
            self.router,
            self.calls,
            self.admission,
            self.hints,
            self.exchange,
            queues,
            metrics,
        )

    def queues(self) -> tuple[Queue, ...]:
        """This process's own queues as they stand, that of accepting first."""
        accept, settle = self.acceptor.batches, self.settler.batches
        deliver = self.deliverer.results
        return (
            Queue("accept", accept.age_seconds, accept.served),
            # A purchase ends in a word: what is claimed shows in what is settled.
            Queue("ready", self.executor.waited_seconds, settle.served),
            Queue("settle", settle.age_seconds, settle.served),
            Queue("deliver", deliver.age_seconds, deliver.served),
        )

    async def run(
        self, stop: asyncio.Event, *, work: bool, serve: Callable[[], Awaitable[None]] | None
    ) -> None:
        """Run until `stop` is set and everything in flight is seen through.

        `serve` is the HTTP side; it returns once it is stopped. The flushers go last, since what
        is in flight still has words to settle.
        """
        flushers = (self.acceptor.batches, self.settler.batches, self.deliverer.results)
        async with asyncio.TaskGroup() as group:
            for flusher in flushers:
                group.create_task(flusher.run())
            if work:
                # Before the first claim: what the others may do at the dealers is theirs.
                await self.census.join()
            background = [group.create_task(each) for each in self._background(work=work)]
            async with asyncio.TaskGroup() as acting:
                if work:
                    acting.create_task(self._give_up_expired(stop))
                    for loop in self._loops():
                        acting.create_task(loop.run(stop))
                if serve is not None:
                    acting.create_task(_serve_until_done(serve, stop))
                await stop.wait()
            for task in background:
                task.cancel()
            for flusher in flushers:
                flusher.close()
        if work:
            await self.census.leave()
            await self.deliverer.try_log.flush()
        await self.exchange.take_leave()
        await self.accounts.take_leave()

    def _background(self, *, work: bool) -> Sequence[Coroutine[Any, Any, None]]:
        """What goes on beside the acts, for as long as they do."""
        always = [
            self.hints.run(),
            self.upkeep.run(inbox=work),
            self.gauges.run(),
            self.exchange.run(),
        ]
        if not work:
            return always
        working = [self.accounts.run(), self.marker.run(), self.census.run()]
        return [*always, *working, self.deliverer.try_log.run()]

    async def close(self) -> None:
        """Close every connection."""
        await self.calls.close()
        await self.clients.close()
        try:
            async with asyncio.timeout(_CLOSING_SECONDS):
                await self.pool.close()
        except TimeoutError:
            self.pool.terminate()

    def _loops(self) -> "tuple[Loop[Purchase], Loop[Check], Loop[DueDelivery]]":
        settings = self.settings
        shortest, longest = settings.poll_seconds
        rhythm = Rhythm(random.random, shortest, longest, settings.grace_seconds)
        return (
            Loop(
                "executor",
                Topic.READY,
                self._claim_purchases,
                self._buy,
                hints=self.hints,
                rhythm=rhythm,
                most_in_flight=settings.most_purchases,
                handover=self.executor.handover,
                soonest_seconds=self.executor.pause_seconds,
            ),
            Loop(
                "reconciler",
                Topic.CHECK,
                self.reconciler.claim,
                self._check,
                hints=self.hints,
                rhythm=rhythm,
                most_in_flight=settings.most_checks,
            ),
            Loop(
                "deliverer",
                Topic.DELIVER,
                self.deliverer.claim,
                self._deliver,
                hints=self.hints,
                rhythm=rhythm,
                most_in_flight=settings.persistence.most_in_flight,
                handover=self.deliverer.handover,
            ),
        )

    async def _claim_purchases(self, free: int) -> Sequence[Purchase]:
        return await self.executor.claim(datetime.now(UTC), free)

    async def _buy(self, purchase: Purchase) -> None:
        _bind_trace(purchase.trace)
        try:
            log.debug(
                "attempt.sent",
                order_id=purchase.order_id,
                attempt_no=purchase.attempt_no,
                dealer_id=purchase.access.row.dealer_id,
                dealer_ref=purchase.order.dealer_ref,
            )
            word = await self.executor.buy(purchase)
        finally:
            self.executor.leave(purchase)
        await self.executor.tell(purchase, word)

    async def _check(self, check: Check) -> None:
        _bind_trace(check.due.trace)
        try:
            log.info(
                "attempt.asked",
                order_id=check.due.order_id,
                attempt_no=check.due.attempt_no,
                dealer_id=check.due.dealer_id,
                checks=check.due.checks,
            )
            await self.reconciler.check(check)
        finally:
            self.reconciler.leave(check)

    async def _give_up_expired(self, stop: asyncio.Event) -> None:
        """Beside the claims, so that what they claimed is sent without waiting for this."""
        while not stop.is_set():
            await asyncio.sleep(_EXPIRY_SECONDS)
            await self.executor.give_up_expired()

    async def _deliver(self, delivery: DueDelivery) -> None:
        _bind_trace(delivery.trace)
        try:
            result = await self.deliverer.deliver(delivery, datetime.now(UTC))
        finally:
            self.deliverer.leave(delivery.endpoint_id)
        await self.deliverer.record(result)


def _bind_trace(trace: Trace | None) -> None:
    """Put the order's trace on what this task logs."""
    if trace is not None:
        logs.bind(trace_id=id_of(trace))


async def start_engine(settings: EngineSettings, metrics: Metrics) -> Engine:
    """Connect, look which database this is, load the routing table, rebuild the shares.

    Raises DatabaseUnavailable, ConfigurationError.
    """
    # A thread that counts shares must not keep orders waiting for the interpreter.
    sys.setswitchinterval(_SWITCH_SECONDS)
    pool = await open_pool(settings.database)
    try:
        async with pool.acquire() as connection:
            installation_id = await installation.public_id(connection)
    except BaseException:
        await pool.close()
        raise
    engine = Engine(settings, pool, metrics, installation_id)
    try:
        await engine.upkeep.look_at_installation()
        await _take_up_table(engine)
        await engine.accounts.exchange()
        await engine.upkeep.exchange_refusals()
        await _count_shares(engine.exchange)
    except BaseException:
        await engine.close()
        raise
    return engine


async def _take_up_table(engine: Engine) -> None:
    """Take up the table in force; where it is large and was never compiled, once that is done."""
    await engine.upkeep.take_up_table()
    if not engine.router.loaded:
        log.info("goods.compiling", next="nothing: a large table takes half a minute, once")
    while not engine.router.loaded:
        await engine.upkeep.bring_goods()
        if not engine.router.loaded:
            # They change while they are compiled, or became small.
            await engine.upkeep.take_up_table()
            await asyncio.sleep(_COMPILING_SECONDS)


async def _count_shares(exchange: ShareExchange) -> None:
    """Count the shares, or start without them when that takes long or is cut: orders come first."""
    try:
        async with asyncio.timeout(_SHARES_SECONDS):
            await exchange.count_anew(Why.START)
    except DATABASE_ERRORS as error:
        log.warning("shares.not_counted", why=Why.START, reason=f"{type(error).__name__}: {error}")
        exchange.doubt(Why.START)


async def _serve_until_done(serve: Callable[[], Awaitable[None]], stop: asyncio.Event) -> None:
    """Serve; when serving ends, whatever the reason, the rest of the process stops too."""
    try:
        await serve()
    finally:
        stop.set()
