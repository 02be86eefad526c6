"""The shop at a glance: orders, dealers, money, webhooks and times, for people who watch."""

from collections.abc import Mapping
from dataclasses import dataclass
from uuid import UUID

from app.storage.pool import Connection


@dataclass(frozen=True, slots=True)
class DealerSums:
    """What was bought at one dealer, what failed there left out. `spent` in rupiah."""

    dealer_id: str
    bought: int
    spent: int
    in_flight: int
    in_doubt: int
    """Waiting for the dealer's final word."""


@dataclass(frozen=True, slots=True)
class RecentLife:
    """One order in a line. `attempts` names each dealer and how it ended there, in order."""

    ref_id: str
    sku: str
    customer_number: str
    status: str
    seconds: float | None
    attempts: str


@dataclass(frozen=True, slots=True)
class Overview:
    """One moment. Money in rupiah, times in seconds from acceptance to the final status."""

    orders: Mapping[str, int]
    """By status; those that people must look at under `in review`."""
    deliveries: Mapping[str, int]
    """Webhooks by state."""
    available: int
    reserved: int
    p50_seconds: float
    p99_seconds: float
    dealers: tuple[DealerSums, ...]
    lives: tuple[RecentLife, ...]


async def read(connection: Connection, lane: int, reseller_id: UUID) -> Overview:
    """Everybody's orders and webhooks; money, times and recent lives of one reseller."""
    orders = await connection.fetch(
        """
        select case when needs_review and status in ('accepted', 'processing') then 'in review'
                    else status end, count(*)
        from orders group by 1
        """
    )
    deliveries = await connection.fetch("select state, count(*) from deliveries group by 1")
    available, reserved, p50, p99 = await _money_and_times(connection, lane, reseller_id)
    return Overview(
        {row[0]: row[1] for row in orders},
        {row[0]: row[1] for row in deliveries},
        available,
        reserved,
        p50,
        p99,
        await _dealers(connection),
        await _lives(connection, lane, reseller_id),
    )


async def _money_and_times(
    connection: Connection, lane: int, reseller_id: UUID
) -> tuple[int, int, float, float]:
    row = await connection.fetchrow(
        """
        select w.available, w.reserved, coalesce(t.at[1], 0), coalesce(t.at[2], 0)
        from wallets w cross join (
            select percentile_disc(array[0.5, 0.99]) within group (order by seconds) as at
            from (select extract(epoch from finished_at - created_at)::float8 as seconds
                  from orders where lane = $1 and reseller_id = $2 and finished_at is not null
                  order by order_id desc limit 1000) newest) t
        where w.lane = $1 and w.reseller_id = $2
        """,
        lane,
        reseller_id,
    )
    return (row[0], row[1], row[2], row[3]) if row else (0, 0, 0.0, 0.0)


async def _dealers(connection: Connection) -> tuple[DealerSums, ...]:
    rows = await connection.fetch(
        """
        select d.dealer_id, coalesce(a.bought, 0), coalesce(a.spent, 0)::bigint,
               coalesce(a.in_flight, 0), coalesce(a.in_doubt, 0)
        from dealers d left join (
            select dealer_id, count(*) filter (where state not in ('rejected', 'failed')) as bought,
                   sum(cost) filter (where state not in ('rejected', 'failed')) as spent,
                   count(*) filter (where state = 'sent') as in_flight,
                   count(*) filter (where state in ('pending', 'unknown')) as in_doubt
            from attempts group by dealer_id) a using (dealer_id)
        order by 1
        """
    )
    return tuple(DealerSums(*row) for row in rows)


async def _lives(
    connection: Connection, lane: int, reseller_id: UUID, limit: int = 20
) -> tuple[RecentLife, ...]:
    """The orders that changed last, of the newest 200."""
    rows = await connection.fetch(
        """
        select o.ref_id, o.sku, o.customer_number, o.status,
               extract(epoch from o.finished_at - o.created_at)::float8,
               coalesce((select string_agg(a.dealer_id || ' ' || a.state, ', '
                                           order by a.attempt_no)
                         from attempts a where a.lane = o.lane and a.order_id = o.order_id), '')
        from (select * from orders where lane = $1 and reseller_id = $2
              order by order_id desc limit 200) o
        order by coalesce(o.finished_at, o.created_at) desc, o.order_id desc
        limit $3
        """,
        lane,
        reseller_id,
        limit,
    )
    return tuple(RecentLife(*row) for row in rows)
