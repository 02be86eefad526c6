"""What the API is made of: the parts it calls and the limits it keeps, put together at the door."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Annotated
from uuid import UUID

from fastapi import Depends, Request

from app.administration.desk import TableDesk
from app.http.door_holders import DoorFinder, DoorHolder
from app.http.event_feed import EventFeed, FeedLimits
from app.http.identity import Authenticator
from app.lifecycle.accept import Acceptor
from app.lifecycle.receive import Receiver
from app.lifecycle.route import Router
from app.lifecycle.settle import Settler
from app.metrics import Metrics
from app.outbound.addresses import AddressPolicy
from app.sealing import Sealer
from app.storage import api_keys, operator_tokens
from app.storage.api_keys import KeyHolder
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
    backlog_orders: int = 100_000
    """Orders waiting for a dealer beyond which new ones are shed."""
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
    installation_id: UUID = field(kw_only=True)
    """What this installation calls itself in the hops of orders."""
    admin_token: str | None = field(default=None, repr=False)
    backlog: Callable[[], int] = field(default=lambda: 0)
    """How many accepted orders wait for a dealer."""
    draining: asyncio.Event = field(default_factory=asyncio.Event)
    hints: Hints = field(default_factory=lambda: Hints(None), kw_only=True)
    feed: EventFeed = field(init=False)
    authenticator: Authenticator[KeyHolder] = field(init=False)
    operators: Authenticator[TokenHolder] = field(init=False)
    doors: Authenticator[DoorHolder] = field(init=False)

    def __post_init__(self) -> None:
        """Give the caches of keys and tokens, and the feed of events, what they read from."""
        seconds = self.limits.connection_seconds
        keys = Authenticator(self.pool, seconds, api_keys.parse, api_keys.find)
        tokens = Authenticator(self.pool, seconds, operator_tokens.parse, operator_tokens.find)
        object.__setattr__(self, "authenticator", keys)
        object.__setattr__(self, "operators", tokens)
        find = DoorFinder(self.sealer).find
        object.__setattr__(self, "doors", Authenticator(self.pool, seconds, _no_key, find))
        feed = EventFeed(
            self.pool, self.hints, self.metrics, self.limits.feed, seconds, self.draining
        )
        object.__setattr__(self, "feed", feed)


def _no_key(token: str) -> None:
    """Doors are opened by what their protocols sign with, never by a key of ours."""


def api_of(request: Request) -> Api:
    """The parts behind a request."""
    return request.app.state.api


async def caller_of(request: Request) -> KeyHolder:
    """Who calls. Raises Unauthorized."""
    authenticator = api_of(request).authenticator
    return await authenticator.identify(request.headers.get("authorization"))


Parts = Annotated[Api, Depends(api_of)]
Caller = Annotated[KeyHolder, Depends(caller_of)]
