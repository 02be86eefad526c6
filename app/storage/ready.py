"""Ready: what may be bought next, one narrow row an order.

ready(lane, order_id, attempt_no, dealer_id, not_before, decision)
    unique (lane, order_id); index (dealer_id, lane, order_id)

Inserted by accepting and by settling (the next attempt), gone in the commit that claims it.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from app.storage.pool import Connection, columns, transposed
from app.traces import Trace


@dataclass(frozen=True, slots=True)
class Ready:
    """A next attempt. `decision`: JSON text of its routing, where it is not the order's own."""

    lane: int
    order_id: UUID
    attempt_no: int
    dealer_id: str
    not_before: datetime
    decision: str | None = None


@dataclass(frozen=True, slots=True)
class Claimable:
    """A locked ready row with what a purchase needs of its order."""

    lane: int
    order_id: UUID
    attempt_no: int
    dealer_id: str
    decision: str | None
    reseller_id: UUID
    sku: str
    brand: str
    customer_number: str
    cluster: str | None
    max_price: int | None
    price: int
    retry_until: datetime
    created_at: datetime
    tried: list[str]
    """Dealers that were sent a purchase of this order."""
    refused: list[str]
    """Dealers that could not be reached with one."""
    tier: str
    """The reseller's now."""
    hops: Sequence[UUID] | None = None
    """The installations that the order came through."""
    trace: Trace | None = None
    test: bool = False
    """Whether it is of the test side."""


async def insert(connection: Connection, rows: Sequence[Ready]) -> None:
    """Insert next attempts."""
    await connection.execute(
        """
        insert into ready (lane, order_id, attempt_no, dealer_id, not_before, decision)
        select * from unnest($1::smallint[], $2::uuid[], $3::smallint[], $4::text[],
                             $5::timestamptz[], $6::json[])
        """,
        *columns(rows, *Ready.__slots__),
    )


async def take(
    connection: Connection,
    wanted: Sequence[tuple[str, int, int]],
    lanes: Sequence[int],
    unsent: Collection[str],
    not_reached: Collection[str],
) -> list[Claimable]:
    """Lock up to `limit` unlocked rows for each (dealer, limit, first lane): of these lanes, from
    the first on and round to those before it.

    Nothing is taken while purchases hold, nor for an order that is not open. The backlog is never
    sorted: the index gives each lane's rows in order.
    Orders are looked up one by one: a join planned while this queue was empty would read them all.
    `unsent` and `not_reached` are the codes of rejected attempts that nothing was sent of.
    """
    dealers, limits, first = transposed(wanted, 3)
    rows = await connection.fetch(
        """
        select r.lane, r.order_id, r.attempt_no, r.dealer_id, r.decision, o.reseller_id, o.sku,
               o.brand, o.customer_number, o.cluster, o.max_price, o.price, o.retry_until,
               o.created_at,
               case when r.attempt_no = 1 then '{}' else array(
                   select a.dealer_id from attempts a
                   where a.lane = r.lane and a.order_id = r.order_id
                     and not (a.state = 'rejected' and coalesce(a.code, '') = any($5::text[]))
                   order by a.attempt_no
               ) end,
               case when r.attempt_no = 1 then '{}' else array(
                   select a.dealer_id from attempts a
                   where a.lane = r.lane and a.order_id = r.order_id
                     and a.state = 'rejected' and a.code = any($6::text[])
                   order by a.attempt_no
               ) end,
               s.tier, o.hops, o.trace, coalesce(s.test, false)
        from unnest($1::text[], $2::integer[], $3::smallint[]) d (dealer_id, places, first_lane)
        cross join lateral (
            select found.*
            from (values (d.first_lane, 63::smallint),
                         (0::smallint, (d.first_lane - 1)::smallint)) part (lowest, highest)
            cross join lateral (
                select * from ready r
                where r.dealer_id = d.dealer_id and r.lane = any($4::smallint[])
                  and r.lane between part.lowest and part.highest
                  and r.not_before <= now()
                limit d.places
                for update skip locked
            ) found
            limit d.places
        ) r
        cross join lateral (
            select * from orders where lane = r.lane and order_id = r.order_id offset 0
        ) o
        left join lateral (
            select tier, test from resellers
            where lane = o.lane and reseller_id = o.reseller_id offset 0
        ) s on true
        where o.status in ('accepted', 'processing')
          and not exists (select from purchases_held)
        """,
        dealers,
        limits,
        first,
        list(lanes),
        list(unsent),
        list(not_reached),
    )
    return [Claimable(*row) for row in rows]


class Waiting(NamedTuple):
    """A next attempt that waits unclaimed, under its lock."""

    lane: int
    order_id: UUID
    dealer_id: str


async def delete(connection: Connection, keys: Sequence[tuple[int, UUID]]) -> None:
    """Delete rows of orders: claimed, withdrawn, or served by another purchase."""
    await connection.execute(
        """
        delete from ready r using unnest($1::smallint[], $2::uuid[]) k (lane, order_id)
        where r.lane = k.lane and r.order_id = k.order_id
        """,
        *transposed(keys, 2),
    )


async def move(connection: Connection, rows: Sequence[Ready]) -> None:
    """Send locked rows to another dealer, or later."""
    await connection.execute(
        """
        update ready r
        set dealer_id = k.dealer_id,
            -- By the clock of a process, which may be wrong: it means now, or a second later.
            not_before = least(k.not_before, now() + interval '1 second'),
            decision = coalesce(k.decision, r.decision)
        from unnest($1::smallint[], $2::uuid[], $3::smallint[], $4::text[], $5::timestamptz[],
                    $6::json[])
             k (lane, order_id, attempt_no, dealer_id, not_before, decision)
        where r.lane = k.lane and r.order_id = k.order_id
        """,
        *columns(rows, *Ready.__slots__),
    )


async def count(connection: Connection) -> int:
    """How many next attempts wait, counted up to 100,001."""
    return await connection.fetchval(
        "select count(*) from (select from ready limit 100001) waiting"
    )
