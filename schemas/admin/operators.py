"""Operators' tokens, the audit log and the hold."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from pydantic import Field

from schemas.admin.shapes import Given, Line, Page, Reason, Shown


class NewOperator(Given):
    """An operator to give a token to."""

    name: Line
    scopes: Annotated[list[str], Field(min_length=1, max_length=20)]
    reason: Reason = ""


class OperatorToken(Shown):
    """A token without its secret."""

    id: str = Field(validation_alias="token_id")
    name: str
    scopes: list[str]
    created_at: datetime
    revoked_at: datetime | None


class OperatorTokenList(Page):
    """All tokens ever given out, the oldest first."""

    data: list[OperatorToken]


class CreatedOperatorToken(Shown):
    """A new token. `token` is shown this once."""

    id: str
    name: str
    scopes: list[str]
    token: str


class AuditLine(Shown):
    """What an operator did: to which thing, what it was before and is after, from where and why."""

    id: UUID
    acted_at: datetime
    operator: str
    origin: str
    action: str
    subject: str
    before: dict[str, Any] | None
    after: dict[str, Any] | None
    reason: str


class AuditLineList(Page):
    """A page of the audit log, the newest first."""

    data: list[AuditLine]


class Hold(Shown):
    """Whether purchases and checks hold, and since when it stands so."""

    hold: bool
    changed_at: datetime


class Resume(Given):
    """End a hold."""

    reconciled: bool
    """Every dealer's book was held against this database."""
    reason: Reason


class Acted(Shown):
    """Whether the act changed anything; False where it was so already."""

    changed: bool
