"""Events on the wire: what webhooks carry, and what can be read by cursor as well."""

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

import orjson
from pydantic import BaseModel

from schemas.orders import Order

EventType = Literal[
    "order.succeeded",
    "order.failed",
    "order.reversed",
    "order.corrected",
    "order.updated",
    "balance.low",
    "endpoint.disabled",
    "test.ping",
]

_PREFIX = "evt_"


class LowBalance(BaseModel):
    """The data of `balance.low`, in rupiah: it fell below what was asked for."""

    available: int
    below: int
    currency: str


class DisabledEndpoint(BaseModel):
    """The data of `endpoint.disabled`: `gone` (it answered 410) or `failing` for five days."""

    endpoint_id: UUID
    url: str
    description: str
    reason: Literal["gone", "failing"]
    failing_since: datetime | None


class Ping(BaseModel):
    """The data of `test.ping`."""

    endpoint_id: UUID


class Webhook(BaseModel):
    """The body of a webhook, signed as the Standard Webhooks specification has it.

    Headers: `webhook-id`, the same on every try of the same event; `webhook-timestamp`;
    `webhook-signature`, one for each secret while it rotates, separated by spaces.
    """

    type: EventType
    timestamp: datetime
    data: Order | LowBalance | DisabledEndpoint | Ping
    test: bool = False
    """Of the test side: nothing was really bought. Left out where it is not."""


class Event(Webhook):
    """A webhook's body with its `webhook-id`."""

    id: str


class EventList(BaseModel):
    """A page of events, the oldest first.

    `next_cursor` is where to go on reading, also when there is nothing more for now.
    """

    data: list[Event]
    next_cursor: str | None
    has_more: bool


def webhook_id(event_id: UUID) -> str:
    """The event's `webhook-id`."""
    return f"{_PREFIX}{event_id}"


def read_webhook_id(text: str) -> UUID | None:
    """The event that a `webhook-id` names; None where it is none."""
    try:
        return UUID(text.removeprefix(_PREFIX)) if text.startswith(_PREFIX) else None
    except ValueError:
        return None


def event_document(event_id: UUID, payload: str) -> dict[str, Any]:
    """An event as `Event` describes it; `payload` is the JSON text that webhooks carry."""
    return {"id": webhook_id(event_id), **orjson.loads(payload)}
