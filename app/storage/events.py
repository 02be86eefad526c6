"""Events: what a reseller is told, read here; they are written with the money they tell of.

events(lane, reseller_id, event_seq, event_id, type, order_id, payload)
    unique (lane, reseller_id, event_seq); index (lane, event_id), (lane, order_id)

`event_seq` is drawn under the reseller's wallet lock, so a reader by cursor never skips a late
commit. `payload` is the exact text that is signed and sent, the same on every try.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from app.storage.pool import Connection, transposed

SCAN_LIMIT = 2000
"""Events looked at for one page of some types, so that a rare type costs no more than that."""


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


@dataclass(frozen=True, slots=True)
class Place:
    """How far somebody has read a reseller's events: up to and with `event_seq`, 0 for nothing."""

    lane: int
    reseller_id: UUID
    event_seq: int


_EVENT = """
    select lane, reseller_id, event_seq, event_id, type, order_id, order_version, payload,
           created_at
    from events
"""


async def find(
    connection: Connection, lane: int, reseller_id: UUID, event_id: UUID
) -> Event | None:
    """The reseller's event by its id."""
    row = await connection.fetchrow(
        _EVENT + " where lane = $1 and event_id = $2 and reseller_id = $3",
        lane,
        event_id,
        reseller_id,
    )
    return Event(*row) if row else None


async def of_order(
    connection: Connection,
    lane: int,
    order_id: UUID,
    after_seq: int,
    limit: int,
    types: Sequence[str] | None = None,
) -> list[Event]:
    """An order's events behind a sequence number, of some types or of all, oldest first."""
    rows = await connection.fetch(
        _EVENT
        + """
        where lane = $1 and order_id = $2 and event_seq > $3
          and ($5::text[] is null or type = any($5))
        order by event_seq limit $4
        """,
        lane,
        order_id,
        after_seq,
        limit,
        types,
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


async def of_types(
    connection: Connection,
    lane: int,
    reseller_id: UUID,
    after_seq: int,
    limit: int,
    types: Sequence[str],
) -> tuple[list[Event], int, bool]:
    """As `of_reseller`, of some types, looking at `SCAN_LIMIT` events at most.

    Beside them: up to where it looked, and whether there was more behind that.
    """
    begins, newest = await _span(connection, lane, reseller_id, after_seq)
    looked_to = min(begins + SCAN_LIMIT, newest)
    rows = await connection.fetch(
        _EVENT
        + """
        where lane = $1 and reseller_id = $2 and event_seq > $3 and event_seq <= $4
          and type = any($6::text[])
        order by event_seq limit $5
        """,
        lane,
        reseller_id,
        begins,
        looked_to,
        limit,
        types,
    )
    return [Event(*row) for row in rows], looked_to, looked_to < newest


async def _span(
    connection: Connection, lane: int, reseller_id: UUID, after_seq: int
) -> tuple[int, int]:
    """Behind which number there are events, where old ones may be gone, and the newest's number."""
    row = await connection.fetchrow(
        """
        select (
            select event_seq - 1 from events
            where lane = $1 and reseller_id = $2 and event_seq > $3 order by event_seq limit 1
        ), (select event_seq from wallets where lane = $1 and reseller_id = $2)
        """,
        lane,
        reseller_id,
        after_seq,
    )
    if row is None or row[0] is None:
        return after_seq, after_seq
    return row[0], row[1]


async def newest_seq(connection: Connection, lane: int, reseller_id: UUID) -> int:
    """The sequence number of the reseller's newest event; 0 where there is none."""
    seq = await connection.fetchval(
        "select event_seq from wallets where lane = $1 and reseller_id = $2", lane, reseller_id
    )
    return seq or 0


async def behind(connection: Connection, places: Sequence[Place], limit: int) -> list[Event]:
    """The events behind each of these places, one a reseller: at most `limit` a reseller, each
    reseller's oldest first."""
    keys = [(place.lane, place.reseller_id, place.event_seq) for place in places]
    rows = await connection.fetch(
        """
        select e.lane, e.reseller_id, e.event_seq, e.event_id, e.type, e.order_id,
               e.order_version, e.payload, e.created_at
        from unnest($1::smallint[], $2::uuid[], $3::bigint[]) k (lane, reseller_id, event_seq)
        cross join lateral (
            select * from events
            where lane = k.lane and reseller_id = k.reseller_id and event_seq > k.event_seq
            order by event_seq limit $4
        ) e
        """,
        *transposed(keys, 3),
        limit,
    )
    return [Event(*row) for row in rows]
