"""Deliver: tell resellers what happened, signed, until they have heard.

The event and its delivery rows exist since the transaction that changed the order. A delivery is
claimed, sent and its try recorded; holding no connection while sending. Every try carries the same
`webhook-id` and the same body, so that a receiver can tell a repetition.
"""

import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

import structlog
from uuid_utils.compat import uuid7

from app.errors import DatabaseUnavailable, Overloaded
from app.lifecycle.handover import Handover
from app.metrics import Metrics
from app.outbound.addresses import AddressRefused
from app.outbound.client import FailureKind, TransportFailure
from app.outbound.endpoints import EndpointClients
from app.sealing import CannotOpen, Sealer
from app.shapes.callbacks import STANDARD, shaped
from app.shapes.telling import NoWords
from app.signatures import sign
from app.storage import deliveries, endpoints
from app.storage.batches import BatchLimits, LanedBatcher
from app.storage.deliveries import DueDelivery, TryResult
from app.storage.pool import DATABASE_ERRORS, Pool
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
_WHILE_DISABLED = timedelta(days=1)
_LEASE_MARGIN_SECONDS = 5.0
_QUEUE_SECONDS = 10.0
"""How long a delivery that was handed over may wait for a place at its endpoint."""
_QUEUED_A_PLACE = 15
"""How many may wait there for each place."""
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

    @property
    def lease(self) -> timedelta:
        """How long a claimed try belongs to one process: longer than its wait and it can take."""
        return timedelta(seconds=_QUEUE_SECONDS + self.timeout_seconds + _LEASE_MARGIN_SECONDS)

    def next_wait(self, tries: int, fraction: float) -> timedelta | None:
        """The wait after `tries` failures; `fraction` in [0, 1) varies it. None: give up."""
        if tries >= len(self.schedule_seconds):
            return None
        return timedelta(seconds=self.schedule_seconds[tries] * (0.8 + 0.4 * fraction))


def secret_context(endpoint_id: UUID) -> bytes:
    """What an endpoint's sealed secret is bound to."""
    return b"webhook-secret:" + endpoint_id.bytes


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
        self._lane_groups = lane_groups
        self._random_fraction = random_fraction
        self._trying: Counter[UUID] = Counter()
        self._reserved: Counter[UUID] = Counter()
        self._crowded: set[UUID] = set()
        """Endpoints that deliveries wait for in the table: newer ones queue up behind them."""
        self._queues: dict[UUID, deque[tuple[DueDelivery, float]]] = {}
        self._secrets: dict[bytes, str] = {}
        self.handover: Handover[DueDelivery] = Handover()
        self.results: LanedBatcher[TryResult, None] = LanedBatcher(
            self._record, lambda result: result.lane, lane_groups, _RESULTS
        )

    @property
    def lease(self) -> timedelta:
        """How long a claimed try belongs to this process."""
        return self._persistence.lease

    def reserve(self, endpoint_id: UUID) -> UUID | None:
        """A claim for a delivery that is being written, or None where there is no room here.

        What is reserved is either handed over or released.
        """
        if not self.handover.is_open:
            return None
        held = self._trying[endpoint_id] + self._reserved[endpoint_id]
        room = self._persistence.endpoint_concurrency * (1 + _QUEUED_A_PLACE) - held
        if endpoint_id in self._crowded or room <= 0 or not self.handover.reserve():
            self._crowded.add(endpoint_id)
            return None
        self._reserved[endpoint_id] += 1
        return uuid7()

    def hand_over(self, delivery: DueDelivery) -> None:
        """Make a reserved delivery that is committed, as soon as its endpoint has a place."""
        if self._has_place(delivery.endpoint_id):
            self._begin(delivery)
            return
        begin_before = time.monotonic() + _QUEUE_SECONDS
        queue = self._queues.setdefault(delivery.endpoint_id, deque())
        queue.append((delivery, begin_before))

    def release(self, endpoint_id: UUID) -> None:
        """What was reserved is not made here: the lease, if it has one, brings it back."""
        _lower(self._reserved, endpoint_id)
        self.handover.release()

    def _has_place(self, endpoint_id: UUID) -> bool:
        return self._trying[endpoint_id] < self._persistence.endpoint_concurrency

    def _begin(self, delivery: DueDelivery) -> None:
        _lower(self._reserved, delivery.endpoint_id)
        self._trying[delivery.endpoint_id] += 1
        self.handover.hand_over(delivery)

    async def claim(self, limit: int) -> list[DueDelivery]:
        """Up to `limit` due deliveries a lane group, each counted at its endpoint until `leave`."""
        claimed: list[DueDelivery] = []
        for lanes in self._lane_groups:
            try:
                taken = await self._claim_group(lanes, limit)
            except DATABASE_ERRORS as error:
                # What was claimed by another group is sent all the same.
                log.warning("claim.failed", reason=f"{type(error).__name__}: {error}")
                continue
            self._note_crowds(taken, limit)
            for delivery in taken:
                self._trying[delivery.endpoint_id] += 1
            claimed += taken
        return claimed

    def _note_crowds(self, taken: Sequence[DueDelivery], limit: int) -> None:
        """Endpoints of which less was found than there were places for are crowded no more."""
        if len(taken) >= limit:
            return
        places, found = self._places(), Counter(each.endpoint_id for each in taken)
        most = self._persistence.endpoint_concurrency
        self._crowded = {each for each in self._crowded if found[each] >= places.get(each, most)}

    async def _claim_group(self, lanes: Sequence[int], limit: int) -> list[DueDelivery]:
        async with self._pool.acquire() as connection:
            return await deliveries.claim_due(
                connection,
                uuid7(),
                lanes,
                limit,
                self._persistence.lease,
                self._places(),
                self._persistence.endpoint_concurrency,
            )

    def leave(self, endpoint_id: UUID) -> None:
        """A try is over: its endpoint's place goes to the next one that was handed over."""
        _lower(self._trying, endpoint_id)
        queue = self._queues.get(endpoint_id)
        now = time.monotonic()
        while queue and self._has_place(endpoint_id):
            delivery, begin_before = queue.popleft()
            if now < begin_before:
                self._begin(delivery)
            else:
                self.release(endpoint_id)
        if queue is not None and not queue:
            del self._queues[endpoint_id]

    async def deliver(self, delivery: DueDelivery, now: datetime) -> TryResult:
        """Make one try. Whatever goes wrong is a result too."""
        result = await self._try(delivery, now)
        outcome = result.state if result.due_at is None else "retry"
        self._metrics.delivered(outcome)
        log.info(
            "delivery.tried",
            order_id=delivery.order_id and str(delivery.order_id),
            webhook_id=webhook_id(delivery.event_id),
            endpoint_id=str(delivery.endpoint_id),
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

    def _places(self) -> dict[UUID, int]:
        limit = self._persistence.endpoint_concurrency
        held = self._trying + self._reserved
        return {endpoint_id: limit - count for endpoint_id, count in held.items()}

    async def _record(self, results: list[TryResult]) -> list[None]:
        async with self._pool.acquire() as connection:
            await deliveries.record(connection, results)
        return [None] * len(results)

    async def _try(self, delivery: DueDelivery, now: datetime) -> TryResult:
        if delivery.endpoint_deleted:
            return _result(delivery, "failed", error="the endpoint was deleted", charged=False)
        try:
            answer = await self._send(delivery, now)
        except TransportFailure as failure:
            ours = failure.kind == FailureKind.BUSY
            return self._failed(delivery, now, str(failure), charged=not ours)
        except AddressRefused as refused:
            return self._failed(delivery, now, refused.reason)
        except CannotOpen as closed:
            # Our own key is missing: that is no try of the reseller's.
            return _result(delivery, "pending", now + _OUR_FAULT, error=str(closed), charged=False)
        except NoWords as none:
            return _result(delivery, "failed", error=str(none), charged=False)
        return await self._read(delivery, answer, now)

    async def _send(self, delivery: DueDelivery, now: datetime) -> Answer:
        seconds = self._persistence.timeout_seconds
        if delivery.shape == STANDARD:
            headers, body = self._signed(delivery, now)
            return await self._clients.post(delivery.url, headers, body, timeout_seconds=seconds)
        told = shaped(
            delivery.shape,
            delivery.payload,
            webhook_id(delivery.event_id),
            self._secret(delivery),
            await self._spendable(delivery),
        )
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
        signature = sign([self._secret(delivery)], message_id, timestamp, body)
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

    def _secret(self, delivery: DueDelivery) -> str:
        """The endpoint's secret, opened once a process."""
        secret = self._secrets.get(delivery.secret_sealed)
        if secret is None:
            context = secret_context(delivery.endpoint_id)
            secret = self._sealer.open(delivery.secret_sealed, context)
            if len(self._secrets) >= _MOST_SECRETS:
                self._secrets.clear()
            self._secrets[delivery.secret_sealed] = secret
        return secret

    async def _read(self, delivery: DueDelivery, answer: Answer, now: datetime) -> TryResult:
        status = answer.status
        if status in HEARD:
            return _result(delivery, "delivered", status=status)
        if status == GONE:
            await self._disable(delivery)
            return _result(delivery, "pending", now + _WHILE_DISABLED, status, "gone")
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
        wait = self._persistence.next_wait(tries, self._random_fraction()) if charged else _SOON
        state = "pending" if wait is not None else "failed"
        due_at = now + wait if wait is not None else None
        return _result(delivery, state, due_at, status, error[:_LONGEST_ERROR], charged=charged)

    async def _disable(self, delivery: DueDelivery) -> None:
        async with self._pool.acquire() as connection:
            if await endpoints.disable(connection, delivery.lane, delivery.endpoint_id):
                log.warning("endpoint.disabled", endpoint_id=delivery.endpoint_id, reason="gone")


def _lower(counts: Counter[UUID], endpoint_id: UUID) -> None:
    counts[endpoint_id] -= 1
    if counts[endpoint_id] <= 0:
        del counts[endpoint_id]


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
    )


def _retry_after(answer: Answer) -> timedelta | None:
    """The seconds of a `Retry-After` header within bounds; a date in it is not read."""
    stated = answer.headers.get("retry-after", "")
    if not (stated.isascii() and stated.isdigit()):
        return None
    # Seven digits are past the longest wait already; zero must not become a hot loop.
    seconds = int(stated) if len(stated) <= _MOST_DIGITS else _LONGEST_WAIT_SECONDS
    return timedelta(seconds=min(max(seconds, 1), _LONGEST_WAIT_SECONDS))
