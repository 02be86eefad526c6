"""Orders as their resellers see them: reads only, always within one reseller.

A stored `accepted` with an attempt beside it reads as `processing`, so that claiming an order need
not write it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

from app.storage.pool import Connection
from app.storage.purchase_hours import first_id

SCAN_LIMIT = 2000
"""Orders looked at for one page of some, so that rare ones cost no more than that."""


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


class Wanted(NamedTuple):
    """Which orders are wanted; what is None does not matter. In the order of `_AS_WANTED`."""

    sku: str | None = None
    customer_number: str | None = None
    outlet_id: str | None = None
    created_from: datetime | None = None
    created_to: datetime | None = None
    """From here on no more."""
    status: str | None = None
    """As resellers see it."""


_HIGHEST = UUID(int=2**128 - 1)
_SLACK = timedelta(minutes=1)
"""An order's id is made a moment after its time was taken, perhaps on the other side of a bound."""
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

_AS_WANTED = """
          and ($3::text is null or o.sku = $3)
          and ($4::text is null or o.customer_number = $4)
          and ($5::text is null or o.outlet_id = $5)
          and ($6::timestamptz is null or o.created_at >= $6)
          and ($7::timestamptz is null or o.created_at < $7)
"""


async def find(
    connection: Connection, lane: int, reseller_id: UUID, order_id: UUID
) -> OrderView | None:
    """The reseller's order by its id."""
    row = await connection.fetchrow(_VIEW + " and o.order_id = $3) v", lane, reseller_id, order_id)
    return OrderView(*row) if row else None


async def of_references(
    connection: Connection, lane: int, reseller_id: UUID, ref_ids: Sequence[str], wanted: Wanted
) -> list[OrderView]:
    """The orders of these references that are as wanted, the newest first."""
    rows = await connection.fetch(
        """
        select r.order_id from unnest($3::text[]) k (ref_id)
        cross join lateral (
            select order_id from order_references
            where lane = $1 and reseller_id = $2 and ref_id = k.ref_id
        ) r
        """,
        lane,
        reseller_id,
        ref_ids,
    )
    found = await connection.fetch(
        _VIEW
        + _AS_WANTED
        + """
          and o.order_id = any($9::uuid[])
        order by o.order_id desc) v
        where $8::text is null or v.status = $8
        """,
        lane,
        reseller_id,
        *wanted,
        [row[0] for row in rows],
    )
    return _views(found)


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


async def page_of(
    connection: Connection,
    lane: int,
    reseller_id: UUID,
    before: UUID | None,
    limit: int,
    wanted: Wanted,
) -> tuple[list[OrderView], UUID | None]:
    """As `page`, of those that are as wanted, looking at `SCAN_LIMIT` orders at most.

    The second value is where the look stopped short; None when it saw everything.
    """
    above, below = _ids_within(wanted, before)
    floor: UUID | None = await connection.fetchval(
        """
        select order_id from orders
        where lane = $1 and reseller_id = $2 and order_id < $3 and order_id >= $4
        order by order_id desc offset $5 - 1 limit 1
        """,
        lane,
        reseller_id,
        below,
        above,
        SCAN_LIMIT,
    )
    rows = await connection.fetch(
        _VIEW
        + _AS_WANTED
        + """
          and o.order_id < $9 and o.order_id >= $10
        order by o.order_id desc) v
        where $8::text is null or v.status = $8
        limit $11
        """,
        lane,
        reseller_id,
        *wanted,
        below,
        floor or above,
        limit,
    )
    return _views(rows), floor


def _ids_within(wanted: Wanted, before: UUID | None) -> tuple[UUID, UUID]:
    """Between which ids the wanted orders are, the upper one left out: ids begin with the time at
    which they were made, about that of the order."""
    above, below = UUID(int=0), before or _HIGHEST
    if wanted.created_from is not None:
        above = first_id(wanted.created_from - _SLACK)
    if wanted.created_to is not None:
        below = min(below, first_id(wanted.created_to + _SLACK))
    return above, below


def _views(rows: list[Any]) -> list[OrderView]:
    return [OrderView(*row) for row in rows]
