"""What was bought, by the hour: market shares are counted anew from it.

purchase_hours(hour, counted_at, purchases, spends)
    unique (hour)

The hour is that of the order's id, so that an hour's attempts are a range of the primary key in
each lane. It is written once nothing more can be sent in it, and again when one of its attempts
was closed late; until then its attempts are read themselves. Attempts and orders are looked up one
by one (0014), so that no plan made on a young table reads a grown one whole. `spends` is what the
succeeded ones took from our deposits (`app/storage/dealer_spend.py`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from app.storage.pool import LONG_SECONDS, Connection, take_time

HOUR = timedelta(hours=1)
LATE = timedelta(minutes=5)
"""A purchase closed later than this after it was sent may come after its hour was written."""
UNCOMMITTED = timedelta(minutes=5)
"""Longer than any transaction: what it wrote with an older time may be seen only after it."""
_FETCHED_AT_ONCE = 1_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_TIME_BITS = 80
"""How far a UUIDv7's milliseconds are shifted."""
HOURS_SQL = """
    counted as materialized (
        select w.hour, w.first_id, w.end_id, p.counted_at
        from unnest($1::timestamptz[], $2::uuid[], $3::uuid[]) w (hour, first_id, end_id)
        left join purchase_hours p on p.hour = w.hour and p.spends is not null
    ), late as materialized (
        select order_id, closed_at from attempts
        where closed_at - order_moment(order_id) > interval '1 minute'
          and closed_at - sent_at > interval '5 minutes'
          and closed_at >= (select min(counted_at) from counted) - $4::interval
    ), open as materialized (
        select c.* from counted c
        where c.counted_at is null or exists (
            select from late l
            where l.closed_at >= c.counted_at - $4::interval
              and l.order_id >= c.first_id and l.order_id < c.end_id
        )
    )
"""
"""Of the hours in `hour_columns`, what is known, what was closed late since, and what is not."""
_PURCHASES = """
    select o.brand, o.cluster, a.dealer_id, sum(a.cost)::bigint as cost,
           count(*) as orders,
           coalesce(sum(coalesce(a.charged, a.cost))
                    filter (where a.state = 'succeeded'), 0)::bigint as spent,
           count(*) filter (where a.state = 'succeeded') as succeeded
    from generate_series(0, 63) l (lane)
    cross join lateral (
        select lane, order_id, dealer_id, cost, charged, state from attempts
        where lane = l.lane and order_id >= w.first_id and order_id < w.end_id
          and state not in ('rejected', 'failed')
        offset 0
    ) a
    cross join lateral (
        select brand, cluster from orders
        where lane = a.lane and order_id = a.order_id
        offset 0
    ) o
    group by o.brand, o.cluster, a.dealer_id
"""
"""The purchases of an hour `w`, by market and dealer, and what the succeeded ones took."""
_WRITE = f"""
    with b as materialized (
        select b.* from (select $2::uuid as first_id, $3::uuid as end_id) w
        cross join lateral ({_PURCHASES}) b
    ), spend as (
        select dealer_id, sum(spent)::bigint as rupiah, sum(succeeded)::bigint as orders
        from b group by dealer_id having sum(succeeded) > 0
    )
    insert into purchase_hours (hour, counted_at, purchases, spends)
    select $1, now(),
           (select coalesce(array_agg(row(brand, cluster, dealer_id, cost, orders)
                                      ::hour_purchase), '{{}}') from b),
           (select coalesce(array_agg(row(s.*)::hour_spend), '{{}}') from spend s)
    on conflict (hour) do update
    set counted_at = excluded.counted_at, purchases = excluded.purchases,
        spends = excluded.spends
    where purchase_hours.counted_at < excluded.counted_at
"""  # noqa: S608 - put together from this module's own text
"""Adds up the purchases of the hour $1, from the id $2 up to $3, and writes them."""


class Hour(NamedTuple):
    """An hour, and the ids of its orders: from `first_id` up to, without it, `end_id`."""

    hour: datetime
    first_id: UUID
    end_id: UUID


class Bought(NamedTuple):
    """What was bought, or is on its way, in one market from one dealer in one hour. Rupiah."""

    brand: str
    cluster: str | None
    dealer_id: str
    hour: datetime
    cost: int
    orders: int


@dataclass(frozen=True, slots=True)
class Waiting:
    """Orders for a product that wait for their purchase from a dealer."""

    sku: str
    brand: str
    cluster: str | None
    dealer_id: str
    hour: datetime
    orders: int


def hours(first: datetime, last: datetime) -> list[Hour]:
    """The hours from that of `first` to that of `last`."""
    start = first.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    count = (last - start) // HOUR + 1
    each = [start + HOUR * number for number in range(count)]
    return [Hour(hour, first_id(hour), first_id(hour + HOUR)) for hour in each]


def first_id(moment: datetime) -> UUID:
    """What the ids of orders from this moment on are not below, to the millisecond."""
    return UUID(int=(moment - _EPOCH) // _MILLISECOND << _TIME_BITS)


def moment_of(order_id: UUID) -> datetime:
    """When an order's id was made."""
    return _EPOCH + (order_id.int >> _TIME_BITS) * _MILLISECOND


async def bought(connection: Connection, wanted: Sequence[Hour]) -> list[Bought]:
    """Purchases by market, dealer and hour, those in flight included, failures left out.

    Needs a transaction. They are fetched little by little, so that the event loop stays free.
    """
    await take_time(connection)
    cursor = await connection.cursor(
        f"""
        with {HOURS_SQL}
        select p.brand, p.cluster, p.dealer_id, h.hour, p.cost, p.orders
        from counted c
        join purchase_hours h on h.hour = c.hour
        cross join lateral unnest(h.purchases) p
        where not exists (select from open where open.hour = c.hour)
        union all
        select b.brand, b.cluster, b.dealer_id, w.hour, b.cost, b.orders
        from open w cross join lateral ({_PURCHASES}) b
        """,  # noqa: S608 - put together from this module's own text
        *hour_columns(wanted),
        UNCOMMITTED,
    )
    rows: list[Bought] = []
    while fetched := await cursor.fetch(_FETCHED_AT_ONCE, timeout=LONG_SECONDS):
        rows += [Bought(*row) for row in fetched]
    return rows


async def sold_under_quota(connection: Connection, since: datetime) -> dict[str, int]:
    """Orders since a moment by route, failures left out, of the routes that have a quota."""
    rows = await connection.fetch(
        """
        select a.route_id, count(*)
        from generate_series(0, 63) l (lane)
        cross join lateral (
            select route_id from attempts
            where lane = l.lane and order_id >= $1 and state not in ('rejected', 'failed')
            offset 0
        ) a
        join routes r on r.route_id = a.route_id
        where r.daily_quota is not null
        group by a.route_id
        """,
        first_id(since),
    )
    return {row[0]: row[1] for row in rows}


async def waiting(connection: Connection) -> list[Waiting]:
    """Accepted orders whose next purchase is not claimed yet."""
    rows = await connection.fetch(
        """
        select o.sku, o.brand, o.cluster, r.dealer_id, date_trunc('hour', o.created_at), count(*)
        from ready r join orders o on o.lane = r.lane and o.order_id = r.order_id
        group by 1, 2, 3, 4, 5
        """
    )
    return [Waiting(*row) for row in rows]


@dataclass(frozen=True, slots=True)
class Review:
    """The hours to be written, at the database's time of the look; the other ones are right."""

    due: list[Hour]
    seen_at: datetime


async def moment(connection: Connection) -> datetime:
    """The database's clock."""
    return await connection.fetchval("select now()")


async def review(connection: Connection, wanted: Sequence[Hour]) -> Review:
    """Which of these hours, all of them over, are not written yet or were changed since."""
    seen_at = await moment(connection)
    rows = await connection.fetch(
        f"""
        with {HOURS_SQL}
        select hour, first_id, end_id from open order by hour
        """,  # noqa: S608 - put together from this module's own text
        *hour_columns(wanted),
        UNCOMMITTED,
    )
    return Review([Hour(*row) for row in rows], seen_at)


async def write(connection: Connection, hour: Hour) -> None:
    """Add an hour's purchases up and write them, unless somebody did so later."""
    async with connection.transaction():
        await take_time(connection)
        await connection.execute(_WRITE, *hour, timeout=LONG_SECONDS)


async def vouch(connection: Connection, wanted: Sequence[Hour], seen_at: datetime) -> None:
    """These hours were right at `seen_at`: later looks need not go back further."""
    await connection.execute(
        """
        update purchase_hours p set counted_at = $2
        from (
            select hour from purchase_hours
            where hour = any($1::timestamptz[]) and counted_at < $2
            for update skip locked
        ) o
        where p.hour = o.hour
        """,
        [each.hour for each in wanted],
        seen_at,
    )


def hour_columns(wanted: Sequence[Hour]) -> list[list[object]]:
    """Hours as `HOURS_SQL` takes them: $1 to $3."""
    return [list(column) for column in zip(*wanted, strict=True)]
