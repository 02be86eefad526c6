"""What PostgreSQL did during a load, by kind of statement, and how large its tables are."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import asyncpg
import uvloop

from app.embedded.postgres import start_postgres

_NAMES = {
    "insert into order_references": "orders accepted",
    "wallet_movement": "money moved and told",
    "attempt_change": "rulings written",
    "delivery_try": "webhooks recorded",
    "look as materialized": "webhooks claimed",
    "order by t.due_at": "checks claimed",
    "from ready r": "purchases claimed",
    "from lock_orders": "orders locked",
    "select due_at from": "queues' beginnings found",
    "from deliveries": "webhooks looked at",
    "from attempts": "purchases looked at",
    "select from ready": "backlog counted",
}
"""Words that only one kind of statement holds, in order of looking, and what it is called."""
_OTHER = "other"
COUNTING = frozenset({"purchases looked at"})
"""What adds purchases up anew: market shares, dealers' accounts."""
CLAIMS = frozenset(
    {"webhooks claimed", "checks claimed", "purchases claimed", "queues' beginnings found"}
)
"""What looks for work in the queues."""


@dataclass(frozen=True, slots=True)
class Work:
    """What was done since the counters were set to zero."""

    seconds: Mapping[str, float]
    """Executing, by kind of statement."""
    calls: Mapping[str, int]
    wal_bytes: int
    page_images: int
    """Whole pages in the log, each for the first change of a page after a checkpoint."""
    blocks_read: int
    """Pages that were not in the server's own memory."""


class Size(NamedTuple):
    """A table, what it keeps outside its rows included, or one of its indexes."""

    table: str
    name: str
    size_bytes: int


def let_count(folder: Path) -> None:
    """Make the PostgreSQL that will be started in this new folder count its statements."""
    with start_postgres(folder) as server:
        uvloop.run(_prepare(server.dsn))


async def _prepare(dsn: str) -> None:
    """In the database that all later ones are copied from."""
    connection = await asyncpg.connect(dsn, database="template1")
    try:
        await connection.execute("alter system set shared_preload_libraries = pg_stat_statements")
        await connection.execute("create schema counting")
        await connection.execute("create extension pg_stat_statements schema counting")
    finally:
        await connection.close()


async def checkpoint(dsn: str) -> None:
    """Bring everything written so far to its place on the disk."""
    await _execute(dsn, "checkpoint")


async def tidy(dsn: str) -> None:
    """Clear away what is left of changed rows, and bring everything to its place on the disk."""
    await _execute(dsn, "vacuum analyze")
    await _execute(dsn, "checkpoint")


async def reset(dsn: str) -> None:
    """Set the counters to zero."""
    await _execute(dsn, "select counting.pg_stat_statements_reset()")


async def _execute(dsn: str, statement: str) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


async def read(connection: "asyncpg.Connection[asyncpg.Record]") -> Work:
    """What was done on this connection's database."""
    rows = await connection.fetch(
        """
        select query, total_exec_time / 1000, calls, wal_bytes::bigint, wal_fpi, shared_blks_read
        from counting.pg_stat_statements
        where dbid = (select oid from pg_database where datname = current_database())
        """
    )
    seconds: defaultdict[str, float] = defaultdict(float)
    calls: defaultdict[str, int] = defaultdict(int)
    for row in rows:
        kind = _kind(row[0])
        seconds[kind] += row[1]
        calls[kind] += row[2]
    return Work(seconds, calls, *(sum(row[place] for row in rows) for place in (3, 4, 5)))


def _kind(query: str) -> str:
    words = " ".join(query.split())
    return next((name for part, name in _NAMES.items() if part in words), _OTHER)


async def sizes(dsn: str) -> Sequence[Size]:
    """Every table and its indexes, the largest table first, each before its indexes.

    A partitioned table is one with all its parts.
    """
    connection = await asyncpg.connect(dsn)
    try:
        rows = await connection.fetch(_SIZES)
    finally:
        await connection.close()
    return [Size(*row) for row in rows]


_SIZES = """
    with part as (
        select c.oid, c.relname::text as name, regexp_replace(c.relname, '_[0-9]+$', '') as table
        from pg_class c
        where c.relkind = 'r' and c.relnamespace = 'public'::regnamespace
    ), piece as (
        select p.table, p.table as name,
               pg_table_size(p.oid) as size, 0 as rank
        from part p
        union all
        select p.table,
               case when p.name = p.table then i.relname::text else p.table || ' index' end,
               pg_relation_size(i.oid), 1
        from part p
        join pg_index x on x.indrelid = p.oid
        join pg_class i on i.oid = x.indexrelid
    )
    select p.table, p.name, sum(p.size)::bigint
    from piece p
    group by p.table, p.name, p.rank
    order by sum(sum(p.size)) over (partition by p.table) desc, p.table, p.rank, p.name
"""
