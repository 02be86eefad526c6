"""Tries of deliveries: what was sent and what came back, for as long as somebody may ask.

delivery_tries(slot, lane, reseller_id, delivery_id, tried_at, duration_ms, status, error, …)
    index (lane, delivery_id); partitioned by slot

`slot` is the day, counted round a ring of partitions. A day that is over is emptied as a whole,
which takes no time and leaves nothing behind, whatever it held.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

import orjson

from app.storage.pool import Connection

SLOTS = 12
MOST_DAYS = SLOTS - 2
"""The day that is and the next one need slots as well."""
MOST_SHOWN = 100
_DAY_SECONDS = 86_400


class NewTry(NamedTuple):
    """One try to keep."""

    lane: int
    reseller_id: UUID
    delivery_id: UUID
    tried_at: datetime
    duration_ms: int
    status: int | None
    error: str | None
    request_headers: Mapping[str, str]
    response_headers: Mapping[str, str] | None
    response_body: str | None


@dataclass(frozen=True, slots=True)
class Try:
    """One try as it is shown; headers in lower case."""

    tried_at: datetime
    duration_ms: int
    status: int | None
    error: str | None
    request_headers: dict[str, str]
    response_headers: dict[str, str] | None
    response_body: str | None


async def write(connection: Connection, tries: Sequence[NewTry]) -> None:
    """Write tries in one go."""
    await connection.copy_records_to_table(
        "delivery_tries",
        columns=["slot", *NewTry._fields],
        records=[
            (
                _slot(each.tried_at),
                *each[:7],
                _json(each.request_headers),
                None if each.response_headers is None else _json(each.response_headers),
                each.response_body,
            )
            for each in tries
        ],
    )


async def of_delivery(
    connection: Connection, lane: int, reseller_id: UUID, delivery_id: UUID
) -> list[Try]:
    """The tries of a reseller's delivery that are still kept, the newest first; at most 100."""
    rows = await connection.fetch(
        """
        select tried_at, duration_ms, status, error, request_headers, response_headers,
               response_body
        from delivery_tries
        where lane = $1 and delivery_id = $3 and reseller_id = $2
        order by tried_at desc limit $4
        """,
        lane,
        reseller_id,
        delivery_id,
        MOST_SHOWN,
    )
    return [
        Try(
            tried_at,
            duration_ms,
            status,
            error,
            orjson.loads(sent),
            None if received is None else orjson.loads(received),
            body,
        )
        for tried_at, duration_ms, status, error, sent, received, body in rows
    ]


async def drop_old(connection: Connection, now: datetime, days: int) -> int:
    """Empty the slots of days that are not among the last `days`. Returns how many held some."""
    today = _day(now)
    kept = {day % SLOTS for day in range(today - days, today + 1)}
    emptied = 0
    for slot in set(range(SLOTS)) - kept:
        partition = f"delivery_tries_{slot}"
        if await connection.fetchval(f"select exists (select from {partition})"):  # noqa: S608
            await connection.execute(f"truncate {partition}")
            emptied += 1
    return emptied


def _day(moment: datetime) -> int:
    return int(moment.timestamp()) // _DAY_SECONDS


def _slot(moment: datetime) -> int:
    return _day(moment) % SLOTS


def _json(headers: Mapping[str, str]) -> str:
    return orjson.dumps(dict(headers)).decode()
