"""Webhook endpoints on the wire: where a reseller wants to be told of what."""

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from schemas.events import EventType

MOST_OVERLAP_SECONDS = 7 * 86_400
_OVERLAP_SECONDS = 86_400

Url = Annotated[str, StringConstraints(min_length=1, max_length=2048)]
EventTypes = Annotated[list[EventType], Field(min_length=1, max_length=32)]
Description = Annotated[str, StringConstraints(max_length=200, pattern=r"^[^\x00]*$")]
Delay = Annotated[float, Field(ge=0, le=86_400, allow_inf_nan=False)]
Schedule = Annotated[list[Delay], Field(min_length=1, max_length=20)]
Rate = Annotated[float, Field(ge=0.1, le=1000, allow_inf_nan=False)]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class NewWebhookEndpoint(_Body):
    """An endpoint to create."""

    url: Url
    event_types: EventTypes | None = None
    """Which events to send; all, where it is not given."""
    description: Description = ""
    schedule_seconds: Schedule | None = None
    """The delay before each try, counted from the try before; ours, where it is not given."""
    rate_per_second: Rate | None = None
    """How many webhooks a second it takes; as many as come, where it is not given."""


class WebhookEndpointEdit(_Body):
    """What to change of an endpoint; what is left out stays, null takes the default again."""

    url: Url | None = None
    event_types: EventTypes | None = None
    description: Description | None = None
    schedule_seconds: Schedule | None = None
    rate_per_second: Rate | None = None
    status: Literal["active", "disabled"] | None = None


class Rotation(_Body):
    """How long the old secret goes on signing beside the new one; 0: not at all."""

    overlap_seconds: Annotated[int, Field(ge=0, le=MOST_OVERLAP_SECONDS)] = _OVERLAP_SECONDS


class WebhookEndpoint(BaseModel):
    """An endpoint as it stands.

    `failing_since`: since when every try has failed. `old_secret_until`: until when the secret
    before the present one signs too.
    """

    id: UUID
    url: str
    event_types: list[EventType] | None
    description: str
    schedule_seconds: list[float] | None
    rate_per_second: float | None
    status: Literal["active", "disabled"]
    disabled_reason: Literal["gone", "failing", "reseller"] | None
    disabled_at: datetime | None
    failing_since: datetime | None
    old_secret_until: datetime | None
    version: int
    created_at: datetime


class CreatedWebhookEndpoint(WebhookEndpoint):
    """An endpoint with its new secret, which is shown this once."""

    secret: str


class WebhookEndpointList(BaseModel):
    """All endpoints of a reseller, the oldest first."""

    data: list[WebhookEndpoint]
    next_cursor: str | None
    has_more: bool
