"""Balance alerts: whom to tell when its money runs low, once a crossing.

balance_alerts(lane, reseller_id, below, is_low)
    unique (lane, reseller_id)

Wallets are compared with them now and then, beside the orders, which know nothing of it.
"""

from typing import NamedTuple
from uuid import UUID

from app.storage.pool import Connection


class Crossing(NamedTuple):
    """A reseller whose balance lies on the other side than was told last."""

    lane: int
    reseller_id: UUID


class Low(NamedTuple):
    """A balance below what its reseller asked to be told of, in rupiah."""

    available: int
    below: int


async def read(connection: Connection, lane: int, reseller_id: UUID) -> int | None:
    """Below how many rupiah a reseller is told; None: never."""
    return await connection.fetchval(
        "select below from balance_alerts where lane = $1 and reseller_id = $2", lane, reseller_id
    )


async def write(connection: Connection, lane: int, reseller_id: UUID, below: int) -> None:
    """Set it. Another amount is told of anew, also where the old one had been crossed."""
    await connection.execute(
        """
        insert into balance_alerts (lane, reseller_id, below) values ($1, $2, $3)
        on conflict (lane, reseller_id) do update
            set below = excluded.below,
                is_low = balance_alerts.is_low and balance_alerts.below = excluded.below
        """,
        lane,
        reseller_id,
        below,
    )


async def remove(connection: Connection, lane: int, reseller_id: UUID) -> None:
    """Tell the reseller no more."""
    await connection.execute(
        "delete from balance_alerts where lane = $1 and reseller_id = $2", lane, reseller_id
    )


async def crossings(connection: Connection, limit: int) -> list[Crossing]:
    """Resellers whose balance crossed what they asked to be told of, up to `limit`."""
    rows = await connection.fetch(
        """
        select a.lane, a.reseller_id from balance_alerts a
        join wallets w on w.lane = a.lane and w.reseller_id = a.reseller_id
        where a.is_low <> (w.available < a.below)
        limit $1
        """,
        limit,
    )
    return [Crossing(*row) for row in rows]


async def cross(connection: Connection, lane: int, reseller_id: UUID) -> Low | None:
    """Note on which side a balance lies now. Returns what is to be told, if it fell.

    The row stays locked until the transaction ends: of two processes one tells.
    """
    row = await connection.fetchrow(
        """
        update balance_alerts a set is_low = w.available < a.below
        from wallets w
        where a.lane = $1 and a.reseller_id = $2
          and w.lane = a.lane and w.reseller_id = a.reseller_id
          and a.is_low <> (w.available < a.below)
        returning w.available, a.below, a.is_low
        """,
        lane,
        reseller_id,
    )
    return Low(row[0], row[1]) if row and row[2] else None
