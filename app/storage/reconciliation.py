"""A dealer's statement compared with our attempts, in tables of the connection's own.

`begin`, `fill`, `compare`; what comes then reads what `compare` found; `leave` in any case. It
changes nothing that outlives the connection.
"""

from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from typing import Any, NamedTuple

from app.storage.pool import LONG_SECONDS, Connection
from app.storage.purchase_hours import first_id

_ROWS_AT_ONCE = 5_000
KINDS = ("missing_here", "missing_there", "amount", "status", "duplicate", "unread_status")


class Entry(NamedTuple):
    """A line of a statement. Without a status column, all of them succeeded."""

    line: int
    ref: str
    rupiah: int
    status: str
    """`succeeded`, `failed`, `pending`, or empty where its word is not known."""
    word: str
    """The dealer's own."""


class Difference(NamedTuple):
    """One thing that does not add up; what one side does not have is None."""

    kind: str
    line: int | None
    ref: str
    theirs: int | None
    ours: int | None
    their_status: str | None
    our_status: str | None
    order_id: str | None
    attempt_no: int | None


class Tally(NamedTuple):
    """Differences of a kind. `rupiah` is what the dealer's side has more of."""

    kind: str
    lines: int
    rupiah: int


@dataclass(frozen=True, slots=True)
class Totals:
    """Both sides as a whole, of what succeeded. Rupiah."""

    lines: int
    known_here: int
    """Lines whose reference is that of a purchase of ours."""
    their_succeeded: int
    their_rupiah: int
    our_succeeded: int
    """Purchases of the period."""
    our_rupiah: int


async def begin(connection: Connection) -> None:
    """Make room. After `drafts.widen`."""
    await connection.execute(
        """
        create temporary table statement_lines (
            line integer, ref text, rupiah bigint, status text, word text
        );
        create temporary table statement_purchases (
            line integer, ref text, rupiah bigint, status text, word text, first_line integer,
            state text, ours bigint, order_id uuid, attempt_no smallint, sent_at timestamptz
        );
        create temporary table statement_differences (
            kind text, line integer, ref text, theirs bigint, ours bigint, their_status text,
            our_status text, order_id uuid, attempt_no smallint
        );
        """
    )


async def leave(connection: Connection) -> None:
    """Give the connection back as it was."""
    await connection.execute(
        """
        drop table if exists statement_lines, statement_purchases, statement_differences;
        reset all;
        """
    )


async def fill(
    connection: Connection, entries: Iterable[Entry], tell: Callable[[int], None]
) -> None:
    """Write the statement's lines, telling how many now and then. What `entries` raises gets
    out."""
    coming, done = iter(entries), 0
    while some := list(islice(coming, _ROWS_AT_ONCE)):
        await connection.copy_records_to_table(
            "statement_lines", records=some, columns=Entry._fields, timeout=LONG_SECONDS
        )
        done += len(some)
        tell(done)
    await connection.execute("analyze statement_lines", timeout=LONG_SECONDS)


async def match(connection: Connection, dealer_id: str) -> tuple[datetime, datetime] | None:
    """Find the purchase of each line. When the first and the last of them were sent."""
    await connection.execute(
        """
        insert into statement_purchases
        select s.line, s.ref, s.rupiah, s.status, s.word, s.first_line, a.state,
               coalesce(a.charged, a.cost), a.order_id, a.attempt_no, a.sent_at
        from (select *, min(line) over (partition by ref) as first_line from statement_lines) s
        left join attempts a on a.dealer_ref = s.ref and a.dealer_id = $1
        """,
        dealer_id,
        timeout=LONG_SECONDS,
    )
    await connection.execute("analyze statement_purchases", timeout=LONG_SECONDS)
    row = await connection.fetchrow(
        "select min(sent_at), max(sent_at) from statement_purchases", timeout=LONG_SECONDS
    )
    return None if row is None or row[0] is None else (row[0], row[1])


async def compare(
    connection: Connection,
    dealer_id: str,
    span: tuple[datetime, datetime],
    sent_by: timedelta,
) -> Totals:
    """Find the differences. `span`: of purchases sent from the one moment up to the other, what
    the statement lacks is missing there."""
    await connection.execute(
        """
        insert into statement_differences
        select d.kind, p.line, p.ref, p.rupiah, p.ours, coalesce(nullif(p.status, ''), p.word),
               p.state, p.order_id, p.attempt_no
        from statement_purchases p
        cross join lateral (
            select case
                when p.line <> p.first_line then 'duplicate'
                when p.status = '' then 'unread_status'
                when p.state is null then
                    case when p.status <> 'failed' then 'missing_here' end
                when p.status <> case
                    when p.state = 'succeeded' then 'succeeded'
                    when p.state in ('rejected', 'failed') then 'failed'
                    else 'pending' end then 'status'
                when p.state = 'succeeded' and p.rupiah <> p.ours then 'amount'
            end as kind
        ) d
        where d.kind is not null
        """,
        timeout=LONG_SECONDS,
    )
    ours = await connection.fetchrow(
        """
        with purchase as materialized (
            select a.* from generate_series(0, 63) l (lane)
            cross join lateral (
                select dealer_ref, coalesce(charged, cost) as rupiah, order_id, attempt_no
                from attempts
                where lane = l.lane and order_id >= $2 and order_id < $3 and dealer_id = $1
                  and sent_at >= $4 and sent_at < $5 and state = 'succeeded'
                offset 0
            ) a
        ), missing as (
            insert into statement_differences
            select 'missing_there', null, p.dealer_ref, null, p.rupiah, null, 'succeeded',
                   p.order_id, p.attempt_no
            from purchase p
            where not exists (select from statement_lines s where s.ref = p.dealer_ref)
        )
        select count(*), coalesce(sum(rupiah), 0)::bigint from purchase
        """,
        dealer_id,
        first_id(span[0] - sent_by - _SKEW),
        first_id(span[1] + _SKEW),
        *span,
        timeout=LONG_SECONDS,
    )
    theirs = await connection.fetchrow(
        """
        select count(*), count(*) filter (where state is not null),
               count(*) filter (where status = 'succeeded'),
               coalesce(sum(rupiah) filter (where status = 'succeeded'), 0)::bigint
        from statement_purchases
        """,
        timeout=LONG_SECONDS,
    )
    assert ours is not None and theirs is not None  # noqa: PT018, S101 - aggregates have rows
    return Totals(theirs[0], theirs[1], theirs[2], theirs[3], ours[0], ours[1])


_SKEW = timedelta(minutes=5)
"""By how much the clock that an order's id is from may differ from the database's."""


async def tallies(connection: Connection) -> list[Tally]:
    """How many differences there are of each kind, and what the dealer's side has more of: a
    purchase that succeeded on one side only counts whole."""
    rows = await connection.fetch(
        """
        select kind, count(*),
               sum(case when kind in ('duplicate', 'unread_status') then theirs
                   else case when their_status = 'succeeded' then theirs else 0 end
                      - case when our_status = 'succeeded' then ours else 0 end end)::bigint
        from statement_differences group by kind
        """,
        timeout=LONG_SECONDS,
    )
    found = {row[0]: Tally(*row) for row in rows}
    return [found.get(kind, Tally(kind, 0, 0)) for kind in KINDS]


async def examples(connection: Connection, kind: str, most: int) -> list[Difference]:
    """The first differences of a kind."""
    rows = await connection.fetch(
        """
        select kind, line, ref, theirs, ours, their_status, our_status, order_id::text, attempt_no
        from statement_differences where kind = $1 order by line, ref limit $2
        """,
        kind,
        most,
        timeout=LONG_SECONDS,
    )
    return [Difference(*row) for row in rows]


async def copy_out(
    connection: Connection, take: Callable[[bytes], Coroutine[Any, Any, None]]
) -> None:
    """Every difference as CSV, in pieces."""
    await connection.copy_from_query(
        "select * from statement_differences order by kind, line, ref",
        output=take,
        format="csv",
        header=True,
        timeout=LONG_SECONDS,
    )


# ------------------------------------------------------------------ how a dealer's are read


async def form(connection: Connection, dealer_id: str) -> str | None:
    """How the dealer's statements are read, JSON text, if that was remembered."""
    return await connection.fetchval(
        "select form from statement_forms where dealer_id = $1", dealer_id
    )


async def remember_form(connection: Connection, dealer_id: str, text: str) -> None:
    """Remember how the dealer's statements are read."""
    await connection.execute(
        """
        insert into statement_forms (dealer_id, form) values ($1, $2::json)
        on conflict (dealer_id) do update set form = excluded.form
        """,
        dealer_id,
        text,
    )
