"""Deliver: tell resellers what happened, signed, until they have heard.

The event and its delivery rows exist since the transaction that changed the order. A delivery is
claimed, sent and its try recorded; holding no connection while sending. Every try carries the same
`webhook-id` and the same body, so that a receiver can tell a repetition.
"""

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import product
from uuid import UUID

import structlog
from uuid_utils.compat import uuid7

from app.errors import DatabaseUnavailable, Overloaded
from app.lifecycle.disable import disable
from app.lifecycle.handover import Handover
from app.lifecycle.lines import Lines
from app.lifecycle.outset import Looks
from app.lifecycle.try_log import TryLog
from app.metrics import Metrics
from app.outbound.addresses import AddressRefused
from app.outbound.client import FailureKind, TransportFailure
from app.outbound.endpoints import EndpointClients
from app.sealing import CannotOpen, Sealer
from app.shapes.callbacks import STANDARD, shaped
from app.shapes.telling import NoWords, Sending
from app.signatures import sign
from app.storage import deliveries, endpoints
from app.storage.batches import BatchLimits, LanedBatcher
from app.storage.deliveries import DueDelivery, TryResult
from app.storage.endpoints import Endpoint
from app.storage.pool import DATABASE_ERRORS, Connection, Pool
from app.storage.work_queues import WorkQueue
from app.traces import HEADER as TRACE_HEADER
from app.traces import traceparent
from dealers.contract import Answer
from schemas.events import webhook_id

log = structlog.get_logger()

HEARD = range(200, 300)
GONE = 410
RETRY_LATER = frozenset({429, 503})
_LONGEST_WAIT_SECONDS = 36_000
_MOST_DIGITS = 6
_MOST_SECRETS = 4096
_LEASE_MARGIN_SECONDS = 5.0
_QUEUE_SECONDS = 10.0
"""How long a delivery that was handed over may wait for a place at its endpoint."""
_LONGEST_HOLD_SECONDS = 300.0
"""For how long an endpoint that asks to wait is sent nothing else either."""
_MOST_IN_TURN = 256
"""Endpoints that one claim goes round among when much is due."""
_FIRST_ID = UUID(int=0)
_SOON = timedelta(seconds=1)
_OUR_FAULT = timedelta(minutes=1)
_LONGEST_ERROR = 200


_RESULTS = BatchLimits(gap_seconds=0.02)


@dataclass(frozen=True, slots=True)
class Persistence:
    """When a delivery is tried again, and within what bounds.

    The schedule is that of the Standard Webhooks specification's example: seconds after the try
    before, the first at once, about 76 hours in all; each is varied by a fifth.
    """

    schedule_seconds: tuple[float, ...] = (
        0, 5, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400,
    )  # fmt: skip
    timeout_seconds: float = 15.0
    endpoint_concurrency: int = 64
    most_in_flight: int = 1024
    disable_after: timedelta = timedelta(hours=120)
    """An endpoint whose tries have failed for so long is disabled by the next failure."""
    logged_a_second: int = 50
    """Tries that were heard, of which what came back is kept; of failures all that fit are."""

    @property
    def lease(self) -> timedelta:
        """How long a claimed try belongs to one process: longer than its wait and it can take."""
        return timedelta(seconds=_QUEUE_SECONDS + self.timeout_seconds + _LEASE_MARGIN_SECONDS)

    def next_wait(
        self, tries: int, fraction: float, own: Sequence[float] | None = None
    ) -> timedelta | None:
        """The wait after `tries` failures; `fraction` in [0, 1) varies it. None: give up.

        `own` is the endpoint's schedule, if it has one.
        """
        schedule = own or self.schedule_seconds
        if tries >= len(schedule):
            return None
        return timedelta(seconds=schedule[tries] * (0.8 + 0.4 * fraction))


def secret_context(endpoint_id: UUID) -> bytes:
    """What an endpoint's sealed secret is bound to."""
    return b"webhook-secret:" + endpoint_id.bytes


@dataclass(slots=True)
class _Round:
    """Where a lane group's claims are while endpoints are gone round among."""

    lanes: Sequence[int]
    goes_on: bool = False
    """Whether more was due than a claim looks at: then endpoints are gone round among."""
    behind: UUID = _FIRST_ID
    """The endpoint that the last claim of this kind ended with."""


class Deliverer:
    """Claims and makes this process's share of the deliveries."""

    def __init__(
        self,
        pool: Pool,
        clients: EndpointClients,
        sealer: Sealer,
        metrics: Metrics,
        persistence: Persistence,
        lane_groups: Sequence[Sequence[int]],
        random_fraction: Callable[[], float],
    ) -> None:
        self._pool = pool
        self._clients = clients
        self._sealer = sealer
        self._metrics = metrics
        self._persistence = persistence
        self._random_fraction = random_fraction
        self.lines = Lines(persistence.endpoint_concurrency, persistence.most_in_flight)
        self.try_log = TryLog(pool, metrics, persistence.logged_a_second)
        self._rounds = [_Round(lanes) for lanes in lane_groups]
        self.looks = Looks(deliveries.first_due)
        self._secrets: dict[bytes, str] = {}
        self.handover: Handover[DueDelivery] = Handover()
        self.results: LanedBatcher[TryResult, None] = LanedBatcher(
            self._record, lambda result: result.lane, lane_groups, _RESULTS
        )

    @property
    def lease(self) -> timedelta:
        """How long a claimed try belongs to this process."""
        return self._persistence.lease

    def reserve(self, endpoint: Endpoint) -> UUID | None:
        """A claim for a delivery that is being written, or None where there is no room here.

        What is reserved is either handed over or released.
        """
        if not self.handover.is_open:
            return None
        line = self.lines.of(endpoint.endpoint_id)
        if not self.lines.has_room(line, endpoint.rate_per_second) or not self.handover.reserve():
            line.crowded = True
            return None
        self.lines.promise(line)
        return uuid7()

    def hand_over(self, delivery: DueDelivery) -> None:
        """Make a reserved delivery that is committed, as soon as its endpoint has a place."""
        line = self.lines.of(delivery.endpoint_id)
        if self.lines.has_place(line):
            self.lines.begin_promised(line)
            self.handover.hand_over(delivery)
        elif line.trying:
            line.queue.append((delivery, time.monotonic() + _QUEUE_SECONDS))
        else:
            # Held since it was reserved, and nobody there whose end would start it.
            self.release(delivery.endpoint_id)

    def release(self, endpoint_id: UUID) -> None:
        """What was reserved is not made here: the lease, if it has one, brings it back."""
        self.lines.of(endpoint_id).reserved -= 1
        self.lines.forget(endpoint_id)
        self.handover.release()

    async def claim(self, limit: int) -> list[DueDelivery]:
        """Up to `limit` due deliveries a lane group, each counted at its endpoint until `leave`."""
        claimed: list[DueDelivery] = []
        self._metrics.endpoint_breakers(self.lines.open_breakers)
        for queue, each in product(self.looks.queues(), self._rounds):
            try:
                taken = await self._claim_group(queue, each, limit, self.lines.places())
            except DATABASE_ERRORS as error:
                # What was claimed by another group is sent all the same.
                log.warning("claim.failed", reason=f"{type(error).__name__}: {error}")
                continue
            for delivery in taken:
                line = self.lines.of(delivery.endpoint_id)
                self.lines.begin(line, delivery.rate_per_second)
            claimed += taken
        return claimed

    async def _claim_group(
        self, queue: WorkQueue, each: _Round, limit: int, places: Mapping[UUID, int]
    ) -> list[DueDelivery]:
        """What has been due longest; where more is due than a claim looks at, what is due of each
        endpoint in turn, of both queues, so that nobody's backlog is before another's one."""
        if each.goes_on and queue is WorkQueue.LEASED:
            return []
        lease, elsewhere = self._persistence.lease, self.lines.most()
        async with self._pool.acquire() as connection:
            since = await self.looks.since(connection, queue)
            given = (uuid7(), each.lanes, limit, lease, places, elsewhere)
            if not each.goes_on:
                found = await deliveries.claim_due(connection, queue, *given, since)
                has_room = all(free > 0 for free in places.values())
                self.looks.looked(queue, len(found.deliveries), everywhere=has_room)
                each.goes_on = found.looked_at >= limit * deliveries.LOOK
                if not each.goes_on and queue is WorkQueue.WAITING:
                    self._note_crowds(found.deliveries, places)
                if found.deliveries or not each.goes_on:
                    return found.deliveries
            since = min([await self.looks.since(connection, queue) for queue in WorkQueue])
            endpoint_ids = await self._in_turn(connection, each, places)
            found = await deliveries.claim_in_turn(connection, *given, since, endpoint_ids)
            each.goes_on = found.looked_at >= limit or each.behind != _FIRST_ID
        return found.deliveries

    async def _in_turn(
        self, connection: Connection, each: _Round, places: Mapping[UUID, int]
    ) -> Sequence[UUID]:
        """The endpoints that are next to be looked at, those left alone passed over."""
        found = await deliveries.waiting_endpoints(connection, each.behind, _MOST_IN_TURN)
        each.behind = found[-1] if len(found) >= _MOST_IN_TURN else _FIRST_ID
        return [endpoint_id for endpoint_id in found if places.get(endpoint_id, 1) > 0]

    def _note_crowds(self, taken: Sequence[DueDelivery], places: Mapping[UUID, int]) -> None:
        """Endpoints of which less was found than there were places for are crowded no more."""
        counts = Counter(each.endpoint_id for each in taken)
        for endpoint_id, line in self.lines.crowded().items():
            line.crowded = counts[endpoint_id] >= places.get(endpoint_id, 0)

    def leave(self, endpoint_id: UUID) -> None:
        """A try is over: its endpoint's place goes to the next one that was handed over."""
        line = self.lines.of(endpoint_id)
        self.lines.end(line)
        now = time.monotonic()
        while line.queue and (not line.trying or self.lines.has_place(line)):
            delivery, begin_before = line.queue.popleft()
            if now < begin_before and self.lines.has_place(line):
                self.lines.begin_promised(line)
                self.handover.hand_over(delivery)
            else:
                self.release(endpoint_id)
        self.lines.forget(endpoint_id)

    async def deliver(self, delivery: DueDelivery, now: datetime) -> TryResult:
        """Make one try. Whatever goes wrong is a result too."""
        result = await self._try(delivery, now)
        self._learn(delivery, result, now)
        outcome = result.state if result.due_at is None else "retry"
        self._metrics.delivered(outcome)
        log.info(
            "delivery.tried",
            order_id=delivery.order_id,
            webhook_id=webhook_id(delivery.event_id),
            endpoint_id=delivery.endpoint_id,
            result=outcome,
            status=result.last_status,
            error=result.last_error,
        )
        return result

    async def record(self, result: TryResult) -> None:
        """Record a try. Never raises: what is not recorded is tried again."""
        try:
            await self.results.submit(result)
        except (DatabaseUnavailable, Overloaded) as error:
            log.warning("delivery.unrecorded", reason=str(error))

    def _learn(self, delivery: DueDelivery, result: TryResult, now: datetime) -> None:
        """What the try says of its endpoint's line."""
        if result.state == "delivered":
            self.lines.heard(delivery.endpoint_id)
        elif result.charged:
            self.lines.failed(delivery.endpoint_id)
        elif result.last_status in RETRY_LATER and result.due_at is not None:
            wait_seconds = (result.due_at - now).total_seconds()
            self.lines.hold(delivery.endpoint_id, min(wait_seconds, _LONGEST_HOLD_SECONDS))

    async def _record(self, results: list[TryResult]) -> list[None]:
        async with self._pool.acquire() as connection:
            failing = await deliveries.record(connection, results, self._persistence.disable_after)
        for lane, endpoint_id in failing:
            await self._disable(lane, endpoint_id, "failing")
        return [None] * len(results)

    async def _try(self, delivery: DueDelivery, now: datetime) -> TryResult:
        if delivery.endpoint_deleted:
            return _result(delivery, "failed", error="the endpoint was deleted", charged=False)
        try:
            told = await self._told(delivery, now)
        except CannotOpen as closed:
            # Our own key is missing: that is no try of the reseller's.
            return _result(delivery, "pending", now + _OUR_FAULT, error=str(closed), charged=False)
        except NoWords as none:
            return _result(delivery, "failed", error=str(none), charged=False)
        started = time.monotonic()
        answer = None
        try:
            answer = await self._send(delivery, told)
        except TransportFailure as failure:
            ours = failure.kind == FailureKind.BUSY
            result = self._failed(delivery, now, str(failure), charged=not ours)
        except AddressRefused as refused:
            result = self._failed(delivery, now, refused.reason)
        else:
            result = await self._read(delivery, answer, now)
        self.try_log.note(result, now, time.monotonic() - started, told.headers, answer)
        return result

    async def _told(self, delivery: DueDelivery, now: datetime) -> Sending:
        """What is sent, in the endpoint's shape. Raises CannotOpen, NoWords."""
        if delivery.shape == STANDARD:
            headers, body = self._signed(delivery, now)
            return Sending("POST", headers=headers, body=body)
        return shaped(
            delivery.shape,
            delivery.payload,
            webhook_id(delivery.event_id),
            self._open(delivery, delivery.secrets_sealed[0]),
            await self._spendable(delivery),
        )

    async def _send(self, delivery: DueDelivery, told: Sending) -> Answer:
        seconds = self._persistence.timeout_seconds
        if told.method == "GET":
            return await self._clients.get(delivery.url, told.query, timeout_seconds=seconds)
        return await self._clients.post(
            delivery.url, told.headers, told.body, timeout_seconds=seconds
        )

    async def _spendable(self, delivery: DueDelivery) -> int | None:
        """The reseller's balance, which clients of doors read out of every callback."""
        try:
            async with self._pool.acquire() as connection:
                return await endpoints.spendable(connection, delivery.lane, delivery.endpoint_id)
        except DATABASE_ERRORS:
            return None  # they do without

    def _signed(self, delivery: DueDelivery, now: datetime) -> tuple[Mapping[str, str], bytes]:
        message_id = webhook_id(delivery.event_id)
        timestamp = int(now.timestamp())
        body = delivery.payload.encode()
        secrets = [self._open(delivery, sealed) for sealed in delivery.secrets_sealed]
        signature = sign(secrets, message_id, timestamp, body)
        headers = {
            "content-type": "application/json",
            "webhook-id": message_id,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": signature,
        }
        trace = traceparent(delivery.trace)
        if trace is not None:
            headers[TRACE_HEADER] = trace
        return headers, body

    def _open(self, delivery: DueDelivery, sealed: bytes) -> str:
        """A secret of the endpoint, opened once a process."""
        secret = self._secrets.get(sealed)
        if secret is None:
            secret = self._sealer.open(sealed, secret_context(delivery.endpoint_id))
            if len(self._secrets) >= _MOST_SECRETS:
                self._secrets.clear()
            self._secrets[sealed] = secret
        return secret

    async def _read(self, delivery: DueDelivery, answer: Answer, now: datetime) -> TryResult:
        status = answer.status
        if status in HEARD:
            return _result(delivery, "delivered", status=status)
        if status == GONE:
            await self._disable(delivery.lane, delivery.endpoint_id, "gone")
            return _result(delivery, "pending", now, status, "gone")
        if status in RETRY_LATER:
            wait = _retry_after(answer)
            if wait is not None:
                due_at = now + wait
                error = "the endpoint asked to wait"
                return _result(delivery, "pending", due_at, status, error, charged=False)
        return self._failed(delivery, now, f"HTTP {status}", status=status)

    def _failed(
        self,
        delivery: DueDelivery,
        now: datetime,
        error: str,
        *,
        status: int | None = None,
        charged: bool = True,
    ) -> TryResult:
        tries = delivery.tries + charged
        wait = _SOON
        if charged:
            fraction = self._random_fraction()
            wait = self._persistence.next_wait(tries, fraction, delivery.schedule_seconds)
        state = "pending" if wait is not None else "failed"
        due_at = now + wait if wait is not None else None
        return _result(delivery, state, due_at, status, error[:_LONGEST_ERROR], charged=charged)

    async def _disable(self, lane: int, endpoint_id: UUID, reason: str) -> None:
        """Disable an endpoint. Where that cannot be done now, its next failure does it."""
        try:
            async with self._pool.acquire() as connection, connection.transaction():
                disabled = await disable(connection, lane, endpoint_id, reason)
        except DATABASE_ERRORS as error:
            log.warning("endpoint.not_disabled", endpoint_id=str(endpoint_id), reason=str(error))
            return
        if disabled:
            self._metrics.endpoint_disabled(reason)
            log.warning("endpoint.disabled", endpoint_id=str(endpoint_id), reason=reason)


def _result(
    delivery: DueDelivery,
    state: str,
    due_at: datetime | None = None,
    status: int | None = None,
    error: str | None = None,
    *,
    charged: bool = True,
) -> TryResult:
    return TryResult(
        delivery.lane,
        delivery.delivery_id,
        delivery.endpoint_id,
        delivery.claim_id,
        state,
        charged,
        due_at,
        status,
        error,
        delivery.reseller_id,
    )


def _retry_after(answer: Answer) -> timedelta | None:
    """The seconds of a `Retry-After` header within bounds; a date in it is not read."""
    stated = answer.headers.get("retry-after", "")
    if not (stated.isascii() and stated.isdigit()):
        return None
    # Seven digits are past the longest wait already; zero must not become a hot loop.
    seconds = int(stated) if len(stated) <= _MOST_DIGITS else _LONGEST_WAIT_SECONDS
    return timedelta(seconds=min(max(seconds, 1), _LONGEST_WAIT_SECONDS))
