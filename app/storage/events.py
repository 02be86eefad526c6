"""Events: what a reseller is told, read here; they are written with the money they tell of.

events(lane, reseller_id, event_seq, event_id, type, order_id, payload)
    unique (lane, reseller_id, event_seq)

`event_seq` is drawn under the reseller's wallet lock, so a reader by cursor never skips a late
commit. `payload` is the exact text that is signed and sent, the same on every try.
"""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from app.storage.pool import Connection


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
