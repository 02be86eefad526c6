"""Orders as their resellers see them: reads only, always within one reseller.

A stored `accepted` with an attempt beside it reads as `processing`, so that claiming an order need
not write it.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from app.storage import order_references
from app.storage.pool import Connection

SCAN_LIMIT = 2000
"""Orders looked at for one page of a status, so that a rare status costs no more than that."""


@dataclass(frozen=True, slots=True)
class OrderView:
    """An order's visible part. `metadata` is JSON text; `price` in rupiah."""

    order_id: UUID
    ref_id: str
    sku: str
    brand: str
    customer_number: str
    cluster: str | None
    price: int
    status: str
    delayed: bool
    serial_number: str | None
    failure_code: str | None
    failure_message: str | None
    version: int
    created_at: datetime
    finished_at: datetime | None
    metadata: str | None


_VIEW = """
    select v.* from (
        select o.order_id, o.ref_id, o.sku, o.brand, o.customer_number, o.cluster, o.price,
               case when o.status = 'accepted' and exists (
                   select from attempts a where a.lane = o.lane and a.order_id = o.order_id
               ) then 'processing' else o.status end as status,
               o.needs_review as delayed, o.serial_number, o.failure_code, o.failure_message,
               o.version, o.created_at, o.finished_at, o.metadata
        from orders o
        where o.lane = $1 and o.reseller_id = $2
"""


async def find(
    connection: Connection, lane: int, reseller_id: UUID, order_id: UUID
) -> OrderView | None:
    """The reseller's order by its id."""
    row = await connection.fetchrow(_VIEW + " and o.order_id = $3) v", lane, reseller_id, order_id)
    return OrderView(*row) if row else None


async def find_reference(
    connection: Connection, lane: int, reseller_id: UUID, ref_id: str
) -> OrderView | None:
    """The reseller's order by its own reference."""
    held = await order_references.find(connection, lane, reseller_id, ref_id)
    return await find(connection, lane, reseller_id, held.order_id) if held else None


async def page(
    connection: Connection, lane: int, reseller_id: UUID, before: UUID | None, limit: int
) -> list[OrderView]:
    """The reseller's orders before an id, the newest first."""
    rows = await connection.fetch(
        _VIEW
        + """
          and ($3::uuid is null or o.order_id < $3)
        order by o.order_id desc limit $4) v
        """,
        lane,
        reseller_id,
        before,
        limit,
    )
    return _views(rows)


async def page_of_status(
    connection: Connection,
    lane: int,
    reseller_id: UUID,
    before: UUID | None,
    limit: int,
    status: str,
) -> tuple[list[OrderView], UUID | None]:
    """As `page`, of one visible status, looking at `SCAN_LIMIT` orders at most.

    The second value is where the look stopped short; None when it saw everything.
    """
    floor: UUID | None = await connection.fetchval(
        """
        select order_id from orders
        where lane = $1 and reseller_id = $2 and ($3::uuid is null or order_id < $3)
        order by order_id desc offset $4 - 1 limit 1
        """,
        lane,
        reseller_id,
        before,
        SCAN_LIMIT,
    )
    rows = await connection.fetch(
        _VIEW
        + """
          and ($3::uuid is null or o.order_id < $3)
          and ($4::uuid is null or o.order_id >= $4)
        order by o.order_id desc) v
        where v.status = $6 limit $5
        """,
        lane,
        reseller_id,
        before,
        floor,
        limit,
        status,
    )
    return _views(rows), floor


def _views(rows: list[Any]) -> list[OrderView]:
    return [OrderView(*row) for row in rows]
