"""Deliveries on the wire: what was sent to which endpoint, what came back, and sending it again."""

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from schemas.events import EventType

DeliveryState = Literal["pending", "delivered", "failed", "replayed"]
DeliveryFilter = Literal["pending", "delivered", "failed", "replayed", "undelivered"]
MOST_REPLAYS = 500


class Delivery(BaseModel):
    """An event on its way to an endpoint.

    `pending` without `next_try_at` waits for its endpoint to be enabled; `failed`: every try was
    made, and it can be replayed; `replayed`: it had failed, and its replay stands in its place.
    """

    id: UUID
    webhook_id: str
    event_type: EventType
    endpoint_id: UUID
    order_id: UUID | None
    state: DeliveryState
    tries: int
    next_try_at: datetime | None
    last_status: int | None
    last_error: str | None
    created_at: datetime
    delivered_at: datetime | None
    replay_of: UUID | None


class Try(BaseModel):
    """One try: what was sent beside the payload, and what came back, its body cut at 4 kB."""

    tried_at: datetime
    duration_ms: int
    status: int | None
    error: str | None
    request_headers: dict[str, str]
    response_headers: dict[str, str] | None
    response_body: str | None


class DeliveryInFull(Delivery):
    """A delivery with what it carries and its tries, the newest first.

    Tries are kept for some days; of those that were heard, under load not every one.
    """

    payload: dict[str, Any]
    log: list[Try]


class DeliveryList(BaseModel):
    """A page of deliveries, the newest first.

    It may hold fewer than asked for although there are more: go on while `has_more`.
    """

    data: list[Delivery]
    next_cursor: str | None
    has_more: bool


class Replay(BaseModel):
    """Which deliveries to send again; those that were not delivered, unless `state` says else."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, populate_by_name=True)

    endpoint_id: UUID | None = None
    state: DeliveryFilter = "undelivered"
    event_types: Annotated[list[EventType], Field(min_length=1, max_length=32)] | None = None
    order_id: UUID | None = None
    since: Annotated[AwareDatetime | None, Field(alias="from")] = None
    until: Annotated[AwareDatetime | None, Field(alias="to")] = None
    limit: Annotated[int, Field(ge=1, le=MOST_REPLAYS)] = MOST_REPLAYS
    cursor: Annotated[str, Field(max_length=200)] | None = None
    dry_run: bool = False


class Replayed(BaseModel):
    """What became of a call: how many matched, under which ids they are sent now.

    While `has_more`, the same call again with `next_cursor` goes on.
    """

    matched: int
    replayed: int
    delivery_ids: list[UUID]
    dry_run: bool
    next_cursor: str | None
    has_more: bool
