"""Processes: which ones buy, and what each of them holds of the dealers' limits.

processes(process_id, joined_at, beat_at, holds)

A process writes its row about every second, one process at a time, so that what it takes is always
beside what the others have. Its row goes when it ends, or is deleted by those who miss it.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from app.storage.pool import Connection

_DIVIDING = 0x6A616C75722D7063
_LIVING = timedelta(seconds=5)


@dataclass(frozen=True, slots=True)
class Holding:
    """What a process holds at one dealer."""

    places: int
    """Calls that it may have under way, and those that still are."""
    units: int
    """Its part of a burst, and so of the rate."""
    limit: int
    """How many of the places it uses at most, after what the dealer bore lately."""
    in_use: int


@dataclass(frozen=True, slots=True)
class Process:
    """A process that buys, as it last wrote itself down. `age`: how long ago."""

    process_id: UUID
    beat_at: datetime
    age: timedelta
    holds: Mapping[str, Holding]
    """By dealer."""


async def lock(connection: Connection) -> None:
    """Keep other processes from writing theirs until this transaction ends."""
    await connection.execute("select pg_advisory_xact_lock($1)", _DIVIDING)


async def read(connection: Connection) -> list[Process]:
    """Every process that is written down, by id."""
    rows = await connection.fetch(
        """
        select process_id, beat_at, clock_timestamp() - beat_at, holds
        from processes order by process_id
        """
    )
    return [Process(row[0], row[1], row[2], _holdings(row[3])) for row in rows]


async def living(connection: Connection) -> list[Process]:
    """Those that wrote themselves down within the last few seconds, for people."""
    return [each for each in await read(connection) if each.age < _LIVING]


async def write(
    connection: Connection, process_id: UUID, holds: Mapping[str, Holding], gone: Sequence[UUID]
) -> None:
    """Write a process down as living now, and delete those that are gone."""
    text = json.dumps({dealer_id: _document(each) for dealer_id, each in holds.items()})
    await connection.execute("delete from processes where process_id = any($1::uuid[])", gone)
    await connection.execute(
        """
        insert into processes (process_id, beat_at, holds)
        values ($1, clock_timestamp(), $2::json)
        on conflict (process_id) do update
        set beat_at = excluded.beat_at, holds = excluded.holds
        """,
        process_id,
        text,
    )


async def delete(connection: Connection, process_id: UUID) -> None:
    """A process ends: what it held is free."""
    await connection.execute("delete from processes where process_id = $1", process_id)


def _document(held: Holding) -> dict[str, int]:
    return {name: getattr(held, name) for name in Holding.__slots__}


def _holdings(text: str) -> dict[str, Holding]:
    return {dealer_id: Holding(**held) for dealer_id, held in json.loads(text).items()}
