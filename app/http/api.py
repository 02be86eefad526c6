"""What the API is made of: the parts it calls and the limits it keeps, put together at the door."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Annotated
from uuid import UUID

from fastapi import Depends, Request
from starlette.types import Scope

from app.administration.desk import TableDesk
from app.errors import Forbidden, Unauthorized
from app.http.door_holders import DoorFinder, DoorHolder
from app.http.event_feed import EventFeed, FeedLimits
from app.http.failures import Failures
from app.http.identity import Authenticator
from app.http.intake import Intake, IntakeLimits
from app.http.key_uses import KeyUses
from app.http.limits import CallerLimits, DefaultRates, Policy, Visits
from app.http.meter import Meter
from app.lifecycle.accept import Acceptor
from app.lifecycle.receive import Receiver
from app.lifecycle.route import Router
from app.lifecycle.settle import Settler
from app.metrics import Metrics
from app.networks import is_within, read_address
from app.outbound.addresses import AddressPolicy
from app.rates import Rate
from app.scopes import KeyScope
from app.sealing import Sealer
from app.storage import api_keys, operator_tokens
from app.storage.api_keys import KeyHolder
from app.storage.batches import Queue
from app.storage.hints import Hints
from app.storage.operator_tokens import TokenHolder
from app.storage.pool import Pool


@dataclass(frozen=True, slots=True)
class ApiLimits:
    """What the API takes. Sizes in bytes, times in seconds."""

    body_bytes: int = 65_536
    batch_orders: int = 500
    """Orders in one request."""
    batch_bytes: int = 1_048_576
    """What so many orders may take: 2 kB each, where most have 200 bytes."""
    intake: IntakeLimits = field(default_factory=IntakeLimits)
    """How many orders may wait, and for how long, before new ones are shed."""
    retry_for: timedelta = timedelta(minutes=10)
    """How long after acceptance an order may go to another dealer."""
    endpoints: int = 16
    """Webhook endpoints a reseller."""
    connection_seconds: float = 2.0
    """How long a read waits for a connection."""
    feed: FeedLimits = field(default_factory=FeedLimits)
    """How many streams of events may be open."""
    outlets: int = 10_000
    """Outlets a reseller, those that were deleted within a day included."""
    rates: DefaultRates = field(default_factory=DefaultRates)
    auth_failures: Rate = Rate(100, 10)  # noqa: RUF009 (frozen)
    """Wrong keys from one address, a process."""
    in_flight: int = 4096
    """Requests of one reseller under way at once, a process."""


def _no_queues() -> Sequence[Queue]:
    """Of a process in which nothing waits."""
    return (Queue("accept", 0.0, 0),)


@dataclass(frozen=True, slots=True)
class Api:
    """The API's parts. `draining` is set when the process stops: it is then no longer ready."""

    pool: Pool
    router: Router
    acceptor: Acceptor
    settler: Settler
    receiver: Receiver
    sealer: Sealer
    metrics: Metrics
    desk: TableDesk
    address_policy: AddressPolicy = field(default_factory=AddressPolicy)
    limits: ApiLimits = field(default_factory=ApiLimits)
    redis_url: str | None = field(default=None, repr=False, kw_only=True)
    """Where the rates of all processes together are kept; None: by this process alone."""
    installation_id: UUID = field(kw_only=True)
    """What this installation calls itself in the hops of orders."""
    admin_token: str | None = field(default=None, repr=False)
    backlog: Callable[[], int] = field(default=lambda: 0)
    """How many accepted orders wait for a dealer."""
    queues: Callable[[], Sequence[Queue]] = field(default=_no_queues, kw_only=True)
    """This process's own queues, that of accepting first."""
    draining: asyncio.Event = field(default_factory=asyncio.Event)
    hints: Hints = field(default_factory=lambda: Hints(None), kw_only=True)
    feed: EventFeed = field(init=False)
    authenticator: Authenticator[KeyHolder] = field(init=False)
    operators: Authenticator[TokenHolder] = field(init=False)
    doors: Authenticator[DoorHolder] = field(init=False)
    failures: Failures = field(init=False)
    meter: Meter = field(init=False)
    visits: Visits = field(init=False)
    intake: Intake = field(init=False)
    key_uses: KeyUses = field(init=False)

    def __post_init__(self) -> None:
        """Make what looks after callers and tells them of events."""
        limits, seconds = self.limits, self.limits.connection_seconds
        failures = Failures(limits.auth_failures)
        keys = Authenticator(self.pool, seconds, api_keys.parse, api_keys.find, failures)
        tokens = Authenticator(
            self.pool, seconds, operator_tokens.parse, operator_tokens.find, failures
        )
        feed = EventFeed(self.pool, self.hints, self.metrics, limits.feed, seconds, self.draining)
        meter = Meter(self.pool, self.redis_url, self.metrics)
        visits = Visits(meter, self.metrics, limits.rates, limits.in_flight)
        object.__setattr__(self, "authenticator", keys)
        object.__setattr__(self, "operators", tokens)
        find = DoorFinder(self.sealer).find
        object.__setattr__(
            self, "doors", Authenticator(self.pool, seconds, _no_key, find, failures)
        )
        object.__setattr__(self, "feed", feed)
        object.__setattr__(self, "key_uses", KeyUses(self.pool, seconds))
        object.__setattr__(self, "failures", failures)
        object.__setattr__(self, "meter", meter)
        object.__setattr__(self, "visits", visits)
        intake = Intake(limits.intake, self.metrics, self.queues, self.backlog)
        object.__setattr__(self, "intake", intake)

    def limits_of(self, caller: KeyHolder) -> CallerLimits:
        """The caller's rates: `await api.limits_of(caller).take("orders", n)`."""
        return self.visits.limits_of(caller)


def _no_key(token: str) -> None:
    """Doors are opened by what their protocols sign with, never by a key of ours."""


def api_of(request: Request) -> Api:
    """The parts behind a request."""
    return request.app.state.api


def address_of(scope: Scope) -> str:
    """Where a request comes from; behind a trusted proxy, what that says (decision 0031)."""
    client = scope.get("client")
    return client[0] if client else ""


async def admit(api: Api, authorization: str | None, address: str, needed: KeyScope) -> KeyHolder:
    """Who calls, with a key that opens what is needed from where the call comes.

    Raises Unauthorized, Forbidden, TooManyRequests. Behind what is remembered of the key it asks
    nobody, and counts nothing against its rates.
    """
    holder = await api.authenticator.identify(authorization, address)
    require_open(api, holder, needed, address)
    return holder


def require_open(api: Api, holder: KeyHolder, needed: KeyScope, address: str) -> None:
    """Note that a key is used. Raises Unauthorized, Forbidden unless it opens what is needed from
    there."""
    now = datetime.now(UTC)
    if holder.expires_at is not None and holder.expires_at <= now:
        ended = holder.expires_at.isoformat(timespec="seconds")
        raise Unauthorized("expired-key", f"This key expired at {ended}.")
    if holder.scopes is not None and needed not in holder.scopes:
        raise Forbidden("insufficient-scope", f"This needs a key with the scope {needed}.")
    if holder.addresses and not is_within(address, holder.addresses):
        seen = read_address(address) or "an unknown address"
        raise Forbidden(
            "address-not-allowed", f"This key is not taken from {seen}, where the call came from."
        )
    api.key_uses.note(holder.key_id, now, address)


@dataclass(frozen=True, slots=True)
class Needs:
    """Who calls, as a dependency that takes only keys with a scope, and counts each request once.

    Raises as `admit` does, and TooManyRequests.
    """

    scope: KeyScope
    policy: Policy = "reads"

    async def __call__(self, request: Request) -> KeyHolder:
        """The holder of the key that comes with the request."""
        api, authorization = api_of(request), request.headers.get("authorization")
        caller = await admit(api, authorization, address_of(request.scope), self.scope)
        await api.visits.admit(request.scope, caller, self.policy)
        return caller


async def caller_of(request: Request) -> KeyHolder:
    """Whose key comes with a request, whatever it opens. Raises as `Authenticator.identify`."""
    authorization = request.headers.get("authorization")
    return await api_of(request).authenticator.identify(authorization, address_of(request.scope))


Parts = Annotated[Api, Depends(api_of)]
Caller = Annotated[KeyHolder, Depends(caller_of)]
"""For what stands beside a route, which itself says what it needs."""
OrdersReader = Annotated[KeyHolder, Depends(Needs(KeyScope.ORDERS_READ))]
OrdersWriter = Annotated[KeyHolder, Depends(Needs(KeyScope.ORDERS_WRITE))]
OrdersPlacer = Annotated[KeyHolder, Depends(Needs(KeyScope.ORDERS_WRITE, "orders"))]
"""For what places orders: a batch takes all but its first by `Api.limits_of`."""
BalanceReader = Annotated[KeyHolder, Depends(Needs(KeyScope.BALANCE_READ))]
ProductsReader = Annotated[KeyHolder, Depends(Needs(KeyScope.PRODUCTS_READ))]
OutletsReader = Annotated[KeyHolder, Depends(Needs(KeyScope.OUTLETS_READ))]
OutletsWriter = Annotated[KeyHolder, Depends(Needs(KeyScope.OUTLETS_WRITE))]
WebhooksReader = Annotated[KeyHolder, Depends(Needs(KeyScope.WEBHOOKS_READ))]
WebhooksWriter = Annotated[KeyHolder, Depends(Needs(KeyScope.WEBHOOKS_WRITE))]
KeysReader = Annotated[KeyHolder, Depends(Needs(KeyScope.KEYS_READ))]
KeysWriter = Annotated[KeyHolder, Depends(Needs(KeyScope.KEYS_WRITE))]
