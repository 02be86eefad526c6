"""Sheets that are to be applied at a moment, and what became of those that were.

scheduled_tables(schedule_id, due_at, state, operator, origin, created_at, wanted, content,
                 claimed_until, finished_at, outcome)
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from app.storage.pool import Connection

_MOST_LISTED = 100


@dataclass(frozen=True, slots=True)
class Scheduled:
    """A sheet put off. `wanted` says how it is meant, `outcome` what became of it."""

    schedule_id: UUID
    due_at: datetime
    state: str
    operator: str
    origin: str
    created_at: datetime
    wanted: Mapping[str, Any]
    finished_at: datetime | None
    outcome: Mapping[str, Any] | None


async def put_off(
    connection: Connection,
    schedule_id: UUID,
    due_at: datetime,
    operator: str,
    origin: str,
    wanted: Mapping[str, Any],
    content: bytes,
) -> None:
    """Keep a sheet, under gzip, until its moment."""
    await connection.execute(
        """
        insert into scheduled_tables (schedule_id, due_at, operator, origin, wanted, content)
        values ($1, $2, $3, $4, $5::json, $6)
        """,
        schedule_id,
        due_at,
        operator,
        origin,
        json.dumps(wanted),
        content,
    )


async def claim(connection: Connection, patience: timedelta) -> UUID | None:
    """The sheet that is due first and that nobody is at; it is the caller's for so long."""
    return await connection.fetchval(
        """
        update scheduled_tables set claimed_until = now() + $1
        where schedule_id = (
            select schedule_id from scheduled_tables
            where state = 'waiting' and due_at <= now()
                and (claimed_until is null or claimed_until < now())
            order by due_at, schedule_id limit 1 for update skip locked
        )
        returning schedule_id
        """,
        patience,
    )


async def release(connection: Connection, schedule_id: UUID, pause: timedelta) -> None:
    """Let others claim it after a pause."""
    await connection.execute(
        "update scheduled_tables set claimed_until = now() + $2 where schedule_id = $1",
        schedule_id,
        pause,
    )


async def finish(
    connection: Connection, schedule_id: UUID, state: str, outcome: Mapping[str, Any]
) -> bool:
    """Say what became of a sheet that waited. False where it does not wait any more."""
    done = await connection.fetchval(
        """
        update scheduled_tables
        set state = $2, outcome = $3::json, finished_at = now(), content = null,
            claimed_until = null
        where schedule_id = $1 and state = 'waiting' returning true
        """,
        schedule_id,
        state,
        json.dumps(outcome),
    )
    return done is not None


async def content(connection: Connection, schedule_id: UUID) -> bytes | None:
    """The sheet under gzip; None where it does not wait any more."""
    return await connection.fetchval(
        "select content from scheduled_tables where schedule_id = $1", schedule_id
    )


async def find(connection: Connection, schedule_id: UUID) -> Scheduled | None:
    """The sheet of this id."""
    row = await connection.fetchrow(
        """
        select schedule_id, due_at, state, operator, origin, created_at, wanted, finished_at,
               outcome
        from scheduled_tables where schedule_id = $1
        """,
        schedule_id,
    )
    return None if row is None else _scheduled(tuple(row))


async def list_newest(connection: Connection) -> list[Scheduled]:
    """Those that wait, the next first, then the newest that are over."""
    rows = await connection.fetch(
        """
        select schedule_id, due_at, state, operator, origin, created_at, wanted, finished_at,
               outcome
        from scheduled_tables
        order by finished_at desc nulls first, due_at, schedule_id limit $1
        """,
        _MOST_LISTED,
    )
    return [_scheduled(tuple(row)) for row in rows]


def _scheduled(row: tuple[Any, ...]) -> Scheduled:
    *others, wanted, finished_at, outcome = row
    schedule_id, due_at, state, operator, origin, created_at = others
    return Scheduled(
        schedule_id,
        due_at,
        state,
        operator,
        origin,
        created_at,
        json.loads(wanted),
        finished_at,
        None if outcome is None else json.loads(outcome),
    )
