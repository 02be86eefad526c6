"""A draft of the routing table: compared with the one in force and written, by whole sets.

It lives in tables of the connection's own, so a million routes never stand in memory here, and no
transaction is open while it is worked on: one that stands for a minute keeps all that orders leave
behind from being cleared away. `begin`, `fill`, `compare`; what comes then reads what `compare`
found; `leave` in any case. A draft is the whole table, or the part of one dealer (`dealer_id`).
"""

from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum
from itertools import islice
from typing import Any

from app.pace import Pace
from app.storage.pool import Connection
from app.storage.reference import RouteRow

_STATEMENT_SECONDS = 600
_BLOCKS_AT_ONCE = 6
"""Of the table of changes, some 300 rows."""
_ROWS_AT_ONCE = 5_000
_CSV = """
    select sku, cluster, dealer_id as dealer, dealer_sku, cost,
           case when enabled then 'true' else 'false' end as enabled, nullif(hours, '') as hours,
           to_char(valid_from at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS')
               || case when date_trunc('second', valid_from) = valid_from then ''
                       else to_char(valid_from, '.US') end || '+00:00' as valid_from,
           to_char(valid_until at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS')
               || case when date_trunc('second', valid_until) = valid_until then ''
                       else to_char(valid_until, '.US') end || '+00:00' as valid_until,
           daily_quota, repeat_limit, weight
    from routes where $1::text is null or dealer_id = $1
    order by sku collate "C", coalesce(cluster, '') collate "C", dealer_id collate "C",
             routes.valid_from nulls first
"""


class Desk(IntEnum):
    """Where a service has one thing done at a time, whichever of its processes was asked."""

    SHEETS = 0x6A616C7572
    """Work that changes the table, or is about to."""
    SIMULATIONS = 0x6A616C7573
    """Past orders replayed: it takes minutes, and no change of the table waits for it."""


@dataclass(frozen=True, slots=True)
class Counts:
    """How many routes the draft changes, and how many it leaves."""

    added: int
    changed: int
    removed: int
    unchanged: int


@dataclass(frozen=True, slots=True)
class Rise:
    """A cost that rises, in rupiah."""

    route_id: str
    before: int
    after: int


@dataclass(frozen=True, slots=True)
class TierEffect:
    """What a draft does to a tier's products, by the cheapest offer of each before and after."""

    tier: str
    margin_rises: int
    """Products whose best margin rises."""
    margin_falls: int
    summed_effect: int
    """What the best margins change by in all, one order of each product, in rupiah."""
    at_loss: int
    """Products whose cheapest offer would cost more than the tier pays."""


@dataclass(frozen=True, slots=True)
class Loss:
    """A product whose cheapest offer would cost more than a tier pays, in rupiah."""

    tier: str
    sku: str
    price: int
    cost: int


_DELETE = """
    delete from routes r using route_changes c
    where c.kind = 'removed' and c.ctid >= $1 and c.ctid < $2
        and r.route_id = c.route_id
"""
_UPDATE = """
    update routes r
    set cluster = c.cluster, dealer_sku = c.dealer_sku, cost = c.cost, enabled = c.enabled,
        hours = c.hours, valid_until = c.valid_until, daily_quota = c.daily_quota,
        repeat_limit = c.repeat_limit, weight = c.weight
    from route_changes c
    where c.kind = 'changed' and c.ctid >= $1 and c.ctid < $2
        and r.route_id = c.route_id
"""
_INSERT = """
    insert into routes (route_id, sku, cluster, dealer_id, dealer_sku, cost, enabled, hours,
                        valid_from, valid_until, daily_quota, repeat_limit, weight)
    select route_id, sku, cluster, dealer_id, dealer_sku, cost, enabled, hours, valid_from,
           valid_until, daily_quota, repeat_limit, weight
    from route_changes where kind = 'added' and ctid >= $1 and ctid < $2
"""


async def take_desk(connection: Connection, desk: Desk) -> bool:
    """Become the only one who works there for a service, until the connection ends."""
    return await connection.fetchval("select pg_try_advisory_lock($1)", int(desk))


async def widen(connection: Connection) -> None:
    """Let this connection read whole tables, for minutes if need be, until `leave`.

    By itself: helpers of its statement would not step back as it does.
    """
    await connection.execute(
        f"""
        set statement_timeout = '{_STATEMENT_SECONDS}s';
        set idle_in_transaction_session_timeout = '{_STATEMENT_SECONDS}s';
        set plan_cache_mode = auto;
        set enable_seqscan = on;
        set enable_bitmapscan = on;
        set enable_hashjoin = on;
        set enable_mergejoin = on;
        set work_mem = '512MB';
        set temp_buffers = '512MB';
        set backend_flush_after = '512kB';
        set max_parallel_workers_per_gather = 0;
        set max_parallel_maintenance_workers = 0;
        """
    )


async def begin(connection: Connection) -> None:
    """Make room for a draft. After `widen`."""
    await connection.execute(
        """
        create temporary table draft_routes (like routes);
        create temporary table route_changes (kind text, cost_before bigint, like routes);
        create temporary table product_effects (sku text, before bigint, after bigint);
        """
    )


async def leave(connection: Connection) -> None:
    """Give the connection back as it was before `widen`."""
    await connection.execute(
        """
        drop table if exists draft_routes, route_changes, product_effects;
        reset all;
        """
    )


async def fill(connection: Connection, rows: Iterable[tuple[Any, ...]], pace: Pace) -> None:
    """Write the draft's routes, as `RouteRow` names their columns. What `rows` raises gets out."""
    coming = iter(rows)
    while some := list(islice(coming, _ROWS_AT_ONCE)):
        await connection.copy_records_to_table(
            "draft_routes", records=some, columns=RouteRow._fields, timeout=_STATEMENT_SECONDS
        )
        await pace.rest()
    await connection.execute("analyze draft_routes", timeout=_STATEMENT_SECONDS)


async def count_in_force(connection: Connection) -> int:
    """How many routes the table in force has."""
    return await connection.fetchval("select count(*) from routes", timeout=_STATEMENT_SECONDS)


async def clusters(connection: Connection) -> set[str]:
    """Every cluster that a route in force stands in."""
    rows = await connection.fetch(
        "select distinct cluster from routes where cluster is not null", timeout=_STATEMENT_SECONDS
    )
    return {row[0] for row in rows}


async def compare(connection: Connection, dealer_id: str | None) -> Counts:
    """Find out what the draft changes. A route that stays keeps its id."""
    await connection.execute(
        """
        insert into route_changes (
            kind, cost_before, route_id, sku, cluster, dealer_id, dealer_sku, cost, enabled, hours,
            valid_from, valid_until, daily_quota, repeat_limit, weight
        )
        select case when r.route_id is null then 'added'
                    when d.route_id is null then 'removed' else 'changed' end,
               r.cost,
               coalesce(r.route_id, d.route_id),
               (case when d.route_id is null then r.sku else d.sku end),
               (case when d.route_id is null then r.cluster else d.cluster end),
               (case when d.route_id is null then r.dealer_id else d.dealer_id end),
               (case when d.route_id is null then r.dealer_sku else d.dealer_sku end),
               (case when d.route_id is null then r.cost else d.cost end),
               (case when d.route_id is null then r.enabled else d.enabled end),
               (case when d.route_id is null then r.hours else d.hours end),
               (case when d.route_id is null then r.valid_from else d.valid_from end),
               (case when d.route_id is null then r.valid_until else d.valid_until end),
               (case when d.route_id is null then r.daily_quota else d.daily_quota end),
               (case when d.route_id is null then r.repeat_limit else d.repeat_limit end),
               (case when d.route_id is null then r.weight else d.weight end)
        from (select * from routes where $1::text is null or dealer_id = $1) r
        full join draft_routes d
            on d.sku = r.sku and d.dealer_id = r.dealer_id
            and coalesce(d.cluster, '') = coalesce(r.cluster, '')
            and coalesce(d.valid_from, '-infinity') = coalesce(r.valid_from, '-infinity')
        where r.route_id is null or d.route_id is null
           or (r.cluster, r.dealer_sku, r.cost, r.enabled, r.hours, r.valid_until, r.daily_quota,
               r.repeat_limit, r.weight)
              is distinct from
              (d.cluster, d.dealer_sku, d.cost, d.enabled, d.hours, d.valid_until, d.daily_quota,
               d.repeat_limit, d.weight)
        """,
        dealer_id,
        timeout=_STATEMENT_SECONDS,
    )
    await connection.execute("analyze route_changes", timeout=_STATEMENT_SECONDS)
    row = await connection.fetchrow(
        """
        select count(*) filter (where kind = 'added'), count(*) filter (where kind = 'changed'),
               count(*) filter (where kind = 'removed'), (select count(*) from draft_routes)
        from route_changes
        """,
        timeout=_STATEMENT_SECONDS,
    )
    assert row is not None  # noqa: S101 - an aggregate has a row
    added, changed, removed, drafted = row
    return Counts(added, changed, removed, drafted - added - changed)


async def examples(
    connection: Connection, kind: str, most: int
) -> list[tuple[RouteRow, RouteRow | None]]:
    """The first changes of a kind, each with what was before, if there was something."""
    rows = await connection.fetch(
        """
        select c.route_id, c.sku, c.cluster, c.dealer_id, c.dealer_sku, c.cost, c.enabled, c.hours,
               c.valid_from, c.valid_until, c.daily_quota, c.repeat_limit, c.weight,
               r.route_id, r.sku, r.cluster, r.dealer_id, r.dealer_sku, r.cost, r.enabled, r.hours,
               r.valid_from, r.valid_until, r.daily_quota, r.repeat_limit, r.weight
        from (
            select * from route_changes where kind = $1
            order by sku collate "C", coalesce(cluster, '') collate "C", dealer_id collate "C",
                     valid_from nulls first
            limit $2
        ) c
        left join routes r on c.kind <> 'added' and r.route_id = c.route_id
        order by c.sku collate "C", coalesce(c.cluster, '') collate "C", c.dealer_id collate "C",
                 c.valid_from nulls first
        """,
        kind,
        most,
        timeout=_STATEMENT_SECONDS,
    )
    width = len(RouteRow._fields)
    return [
        (RouteRow(*row[:width]), None if row[width] is None else RouteRow(*row[width:]))
        for row in map(tuple, rows)
    ]


async def taken_ids(connection: Connection, most: int) -> list[str]:
    """Ids of new routes that routes which stay have already."""
    rows = await connection.fetch(
        """
        select c.route_id from route_changes c join routes r using (route_id)
        where c.kind = 'added' and not exists (
            select from route_changes gone where gone.kind = 'removed'
                and gone.route_id = r.route_id
        )
        order by 1 limit $1
        """,
        most,
        timeout=_STATEMENT_SECONDS,
    )
    return [row[0] for row in rows]


async def rises(connection: Connection, percent: float, most: int) -> tuple[int, list[Rise]]:
    """How many costs rise by more than this, and the first of them.

    A further price of an offer is compared with the dearest that it has.
    """
    rows = await connection.fetch(
        """
        with costs as (
            select c.route_id, c.cost, c.cost_before
            from route_changes c where c.kind = 'changed'
            union all
            select c.route_id, c.cost, max(r.cost)
            from route_changes c
            join routes r on r.sku = c.sku and r.dealer_id = c.dealer_id
                and coalesce(r.cluster, '') = coalesce(c.cluster, '')
            where c.kind = 'added'
            group by c.route_id, c.cost
        )
        select route_id, cost_before, cost, count(*) over () from costs
        where cost::numeric * 100 > cost_before::numeric * (100 + $1::float8::numeric)
        order by 1 limit $2
        """,
        percent,
        most,
        timeout=_STATEMENT_SECONDS,
    )
    return (rows[0][3] if rows else 0), [Rise(*tuple(row)[:3]) for row in rows]


async def count_not_sold(connection: Connection) -> int:
    """How many of the routes to write are of products that are switched off."""
    return await connection.fetchval(
        """
        select count(*) from route_changes c join products p using (sku)
        where c.kind <> 'removed' and not p.enabled
        """,
        timeout=_STATEMENT_SECONDS,
    )


async def samples(connection: Connection, most: int) -> list[RouteRow]:
    """Of the routes to write, one of every dealer with every hours of its."""
    rows = await connection.fetch(
        """
        select distinct on (dealer_id, hours)
               route_id, sku, cluster, dealer_id, dealer_sku, cost, enabled, hours, valid_from,
               valid_until, daily_quota, repeat_limit, weight
        from route_changes where kind <> 'removed' order by dealer_id, hours, route_id limit $1
        """,
        most,
        timeout=_STATEMENT_SECONDS,
    )
    return [RouteRow(*row) for row in rows]


async def drafted(connection: Connection) -> list[RouteRow]:
    """The whole table as the draft makes it, which may be a dealer's part. After `compare`."""
    rows = await connection.fetch(
        """
        select route_id, sku, cluster, dealer_id, dealer_sku, cost, enabled, hours, valid_from,
               valid_until, daily_quota, repeat_limit, weight
        from routes r
        where not exists (
            select from route_changes c where c.kind <> 'added' and c.route_id = r.route_id
        )
        union all
        select route_id, sku, cluster, dealer_id, dealer_sku, cost, enabled, hours, valid_from,
               valid_until, daily_quota, repeat_limit, weight
        from route_changes where kind <> 'removed'
        """,
        timeout=_STATEMENT_SECONDS,
    )
    return [RouteRow(*row) for row in rows]


# ------------------------------------------------------------------ what it does to margins


async def weigh(connection: Connection, dealer_id: str | None, at: datetime) -> None:
    """Find each sold product's cheapest offer that sells on the day of `at`, before and after."""
    await connection.execute(
        """
        insert into product_effects
        with selling as (select dealer_id from dealers where enabled and not drained),
        was as (
            select sku, min(cost) as cost from routes join selling using (dealer_id)
            where enabled and cost > 0 and coalesce(valid_from <= $2, true)
                and coalesce(valid_until > $2, true)
            group by sku
        ),
        will as (
            select sku, min(cost) as cost
            from (
                select sku, dealer_id, cost, enabled, valid_from, valid_until from draft_routes
                union all
                select sku, dealer_id, cost, enabled, valid_from, valid_until from routes
                where dealer_id <> $1
            ) after join selling using (dealer_id)
            where enabled and cost > 0 and coalesce(valid_from <= $2, true)
                and coalesce(valid_until > $2, true)
            group by sku
        )
        select p.sku, was.cost, will.cost
        from products p left join was using (sku) left join will using (sku)
        where p.enabled and coalesce(was.cost, will.cost) is not null
        """,
        dealer_id,
        at,
        timeout=_STATEMENT_SECONDS,
    )


async def tier_effects(connection: Connection) -> list[TierEffect]:
    """What the draft does to each tier. After `weigh`."""
    rows = await connection.fetch(
        """
        select t.tier, count(*) filter (where e.after < e.before),
               count(*) filter (where e.after > e.before),
               coalesce(sum(e.before::numeric - e.after), 0),
               count(*) filter (where e.after > t.price)
        from prices t join product_effects e using (sku) group by t.tier order by t.tier
        """,
        timeout=_STATEMENT_SECONDS,
    )
    return [TierEffect(tier, up, down, int(total), loss) for tier, up, down, total, loss in rows]


async def losses(connection: Connection, most: int) -> list[Loss]:
    """The products that would cost most above what a tier pays. After `weigh`."""
    rows = await connection.fetch(
        """
        select t.tier, t.sku, t.price, e.after from prices t join product_effects e using (sku)
        where e.after > t.price order by e.after - t.price desc, t.tier, t.sku limit $1
        """,
        most,
        timeout=_STATEMENT_SECONDS,
    )
    return [Loss(*row) for row in rows]


async def orphaned(connection: Connection, most: int) -> tuple[int, list[str]]:
    """How many products would lose their last offer, and the first of them. After `weigh`."""
    rows = await connection.fetch(
        """
        select sku, count(*) over () from product_effects
        where before is not null and after is null order by sku limit $1
        """,
        most,
        timeout=_STATEMENT_SECONDS,
    )
    return (rows[0][1] if rows else 0), [row[0] for row in rows]


# ------------------------------------------------------------------ writing and reading


async def write(connection: Connection, counts: Counts, pace: Pace) -> None:
    """Make the draft the table in force. Holds the revision's lock; `publish` comes after.

    Some changes at a time: orders that are committed meanwhile wait for the log that was written
    before theirs.
    """
    # By key, each time: a plan that reads the whole table would do so at every step.
    await connection.execute("set local enable_hashjoin = off; set local enable_mergejoin = off")
    blocks = await connection.fetchval(
        "select pg_relation_size('route_changes') / current_setting('block_size')::integer"
    )
    acts = (_DELETE, counts.removed), (_UPDATE, counts.changed), (_INSERT, counts.added)
    for act in (act for act, count in acts if count):
        for begin in range(0, blocks, _BLOCKS_AT_ONCE):
            span = (begin, 0), (begin + _BLOCKS_AT_ONCE, 0)
            await connection.execute(act, *span, timeout=_STATEMENT_SECONDS)
            await pace.rest()


async def copy_out(
    connection: Connection,
    dealer_id: str | None,
    take: Callable[[bytes], Coroutine[Any, Any, None]],
) -> None:
    """The table in force as `write_sheet` writes it, in pieces. After `widen`."""
    await connection.copy_from_query(
        _CSV, dealer_id, output=take, format="csv", header=True, timeout=_STATEMENT_SECONDS
    )
