"""Events: what a reseller is told, written in the transaction that makes it true.

events(lane, reseller_id, event_seq, event_id, type, order_id, payload)
    unique (lane, reseller_id, event_seq)

`event_seq` is drawn under the reseller's wallet lock, so a reader by cursor never skips a late
commit. `payload` is the exact text that is signed and sent, the same on every try.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from app.storage.pool import Connection, columns


@dataclass(frozen=True, slots=True)
class Event:
    """One thing a reseller is told."""

    lane: int
    reseller_id: UUID
    event_seq: int
    event_id: UUID
    type: str
    order_id: UUID | None
    order_version: int | None
    payload: str
    created_at: datetime


async def insert(connection: Connection, events: Sequence[Event]) -> None:
    """Append events."""
    await connection.execute(
        """
        insert into events (lane, reseller_id, event_seq, event_id, type, order_id,
                            order_version, payload, created_at)
        select * from unnest($1::smallint[], $2::uuid[], $3::bigint[], $4::uuid[], $5::text[],
                             $6::uuid[], $7::integer[], $8::text[], $9::timestamptz[])
        """,
        *columns(events, *Event.__slots__),
    )


_EVENT = """
    select lane, reseller_id, event_seq, event_id, type, order_id, order_version, payload,
           created_at
    from events
"""


async def of_order(connection: Connection, lane: int, order_id: UUID) -> list[Event]:
    """An order's events, oldest first."""
    rows = await connection.fetch(
        _EVENT + " where lane = $1 and order_id = $2 order by event_seq", lane, order_id
    )
    return [Event(*row) for row in rows]


async def of_reseller(
    connection: Connection, lane: int, reseller_id: UUID, after_seq: int, limit: int
) -> list[Event]:
    """A reseller's events behind a sequence number, oldest first."""
    rows = await connection.fetch(
        _EVENT
        + """
        where lane = $1 and reseller_id = $2 and event_seq > $3
        order by event_seq limit $4
        """,
        lane,
        reseller_id,
        after_seq,
        limit,
    )
    return [Event(*row) for row in rows]
