"""Webhook endpoints on the wire: where a reseller wants to be told of what."""

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from schemas.events import EventType


class NewWebhookEndpoint(BaseModel):
    """An endpoint to create."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    url: Annotated[str, StringConstraints(min_length=1, max_length=2048)]
    event_types: Annotated[list[EventType], Field(min_length=1, max_length=32)] | None = None
    """Which events to send; all, where it is not given."""


class WebhookEndpoint(BaseModel):
    """An endpoint as it stands."""

    id: UUID
    url: str
    event_types: list[EventType] | None
    status: Literal["active", "disabled"]
    created_at: datetime


class CreatedWebhookEndpoint(WebhookEndpoint):
    """A new endpoint with its secret, which is shown this once."""

    secret: str


class WebhookEndpointList(BaseModel):
    """All endpoints of a reseller, the oldest first."""

    data: list[WebhookEndpoint]
    next_cursor: str | None
    has_more: bool
