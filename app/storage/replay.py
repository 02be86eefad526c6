"""Past orders as they were placed, with the purchase that served each, in the order of their time.

An id begins with its time, so a stretch of time is a range of the primary key in each lane. Lanes
are merged by the page, so neither here nor there is more than a page held, and no transaction stays
open while the pages are worked on.
"""

from collections.abc import AsyncGenerator
from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from app.storage.pool import Connection
from app.storage.purchase_hours import first_id, moment_of

_PAGE = 20_000
_FIRST_STRETCH = timedelta(seconds=10)
_SHORTEST, _LONGEST = timedelta(seconds=1), timedelta(days=1)
_GROWTH = 4


class ReplayRow(NamedTuple):
    """An order, with the purchase that serves it or that is on its way. Rupiah."""

    order_id: UUID
    sku: str
    brand: str
    cluster: str | None
    max_price: int | None
    price: int
    status: str
    tier: str
    dealer_id: str | None
    """None where no purchase stands."""
    cost: int | None
    test: bool = False
    """Whether it is of the test side. Pages leave those out."""


async def pages(
    connection: Connection, since: datetime, until: datetime, most: int = _PAGE
) -> AsyncGenerator[list[ReplayRow]]:
    """The orders from `since` up to `until`, which is excluded, at most so many at once.
    Those of the test side are left out.

    How far a page reaches follows from how many orders the last one had.
    """
    first, end = first_id(since), first_id(until)
    stretch = _FIRST_STRETCH
    while first < end:
        last = min(end, first_id(moment_of(first) + stretch))
        rows = await _page(connection, first, last, most)
        if rows:
            yield [row for row in rows if not row.test]
        first = last if len(rows) < most else UUID(int=rows[-1].order_id.int + 1)
        stretch = _fitting(stretch, len(rows), most)


def _fitting(stretch: timedelta, found: int, most: int) -> timedelta:
    """A stretch that would have filled half of a page."""
    wanted = stretch * (most / 2 / max(found, 1))
    return max(_SHORTEST, min(wanted, stretch * _GROWTH, _LONGEST))


async def _page(connection: Connection, first: UUID, end: UUID, most: int) -> list[ReplayRow]:
    rows = await connection.fetch(
        """
        select o.order_id, o.sku, o.brand, o.cluster, o.max_price, o.price, o.status,
               coalesce(r.tier, 'standard'), a.dealer_id, a.cost,
               coalesce(r.test, false)
        from (
            select p.* from generate_series(0, 63) l (lane)
            cross join lateral (
                select lane, order_id, reseller_id, sku, brand, cluster, max_price, price, status,
                       serving_attempt
                from orders
                where lane = l.lane and order_id >= $1 and order_id < $2
                order by order_id limit $3
            ) p
            order by p.order_id limit $3
        ) o
        left join lateral (
            select tier, test from resellers
            where lane = o.lane and reseller_id = o.reseller_id
            offset 0
        ) r on true
        left join lateral (
            select dealer_id, cost from attempts
            where lane = o.lane and order_id = o.order_id and case
                when o.serving_attempt is null then state not in ('rejected', 'failed')
                else attempt_no = o.serving_attempt
            end
            order by attempt_no desc limit 1
        ) a on true
        order by o.order_id
        """,
        first,
        end,
        most,
    )
    return [ReplayRow(*row) for row in rows]
