"""The audit log: what operators did, for good.

audit_log(audit_id, acted_at, operator, origin, action, subject, before, after, reason)
    unique (audit_id), ordered by time
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from app.storage.pool import Connection

Document = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Act:
    """Who did what to which thing, from where and why; what it was before and is after."""

    operator: str
    origin: str
    action: str
    subject: str
    before: Document | None
    after: Document | None
    reason: str


@dataclass(frozen=True, slots=True)
class Line:
    """An act as the log holds it."""

    audit_id: UUID
    acted_at: datetime
    act: Act


async def record(connection: Connection, audit_id: UUID, act: Act) -> None:
    """Append an act."""
    await connection.execute(
        """
        insert into audit_log
            (audit_id, operator, origin, action, subject, before, after, reason)
        values ($1, $2, $3, $4, $5, $6::json, $7::json, $8)
        """,
        audit_id,
        act.operator,
        act.origin,
        act.action,
        act.subject,
        _text(act.before),
        _text(act.after),
        act.reason,
    )


async def list_lines(
    connection: Connection, subject: str | None, older_than: UUID | None, limit: int
) -> list[Line]:
    """The newest lines first: of one subject or of all, older than a line already seen."""
    rows = await connection.fetch(
        """
        select audit_id, acted_at, operator, origin, action, subject,
               before::text, after::text, reason
        from audit_log
        where ($1::text is null or subject = $1) and ($2::uuid is null or audit_id < $2)
        order by audit_id desc
        limit $3
        """,
        subject,
        older_than,
        limit,
    )
    return [_line(*row) for row in rows]


def _line(
    audit_id: UUID,
    acted_at: datetime,
    operator: str,
    origin: str,
    action: str,
    subject: str,
    before: str | None,
    after: str | None,
    reason: str,
) -> Line:
    act = Act(operator, origin, action, subject, _document(before), _document(after), reason)
    return Line(audit_id, acted_at, act)


def _text(document: Document | None) -> str | None:
    return None if document is None else json.dumps(document, default=str)


def _document(text: str | None) -> Document | None:
    return None if text is None else json.loads(text)
