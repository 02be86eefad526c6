"""A reseller's ledger entries, read: in pages, within a time, and added up.

Entries are numbered by reseller without a gap in the order in which they were booked, each with the
balances after it. So a time is turned into numbers once, and all that is then said of it adds up: a
time begins with the first entry that was booked in it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from app.storage.pool import Connection

SCAN_LIMIT = 2000
"""Entries looked at for one page of some kinds, so that a rare kind costs no more than that."""

_DISORDER = timedelta(minutes=2)
"""By how much an entry's time may be before that of one booked earlier: a transaction takes its
time when it begins and books when it has the wallet's lock, and none lasts so long."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One movement of money, in rupiah: what moved and what there was after it."""

    seq: int
    kind: str
    available_delta: int
    reserved_delta: int
    available_after: int
    reserved_after: int
    order_id: UUID | None
    ref_id: str | None
    reference: str | None
    created_at: datetime


class Span(NamedTuple):
    """Entries by number, from `first` to `last`; none where that is smaller."""

    first: int
    last: int

    @property
    def size(self) -> int:
        """How many there are."""
        return max(self.last - self.first + 1, 0)


class Sums(NamedTuple):
    """What the entries of one kind move together, in rupiah."""

    kind: str
    entries: int
    available: int
    reserved: int


class Balances(NamedTuple):
    """What there was at a moment, in rupiah."""

    available: int
    reserved: int


_ENTRY = """
    select e.seq, e.kind, e.available_delta, e.reserved_delta, e.available_after,
           e.reserved_after, e.order_id, (
               select ref_id from orders where lane = e.lane and order_id = e.order_id
           ), e.reference, e.created_at
    from ledger_entries e
"""


async def span(
    connection: Connection,
    lane: int,
    reseller_id: UUID,
    begins: datetime | None,
    ends: datetime | None,
) -> Span:
    """The entries booked from a moment on, and before another; None for no bound."""
    newest: int | None = await connection.fetchval(
        "select entry_seq from wallets where lane = $1 and reseller_id = $2", lane, reseller_id
    )
    first, last = 1, newest or 0
    if begins is not None:
        first = await _first_at(connection, lane, reseller_id, begins, last)
    if ends is not None:
        last = await _first_at(connection, lane, reseller_id, ends, last) - 1
    return Span(first, last)


async def _first_at(
    connection: Connection, lane: int, reseller_id: UUID, moment: datetime, newest: int
) -> int:
    """The number of the first entry at a moment or later; one more than `newest` for none."""
    found = await connection.fetchval(
        """
        with recursive search (low, high) as (
            select 0::bigint, $5::bigint
            union all
            select case when m.is_before then m.seq else low end,
                   case when m.is_before then high else m.seq - 1 end
            from search
            cross join lateral (
                select (low + high + 1) / 2 as seq, coalesce((
                    select created_at < $4 from ledger_entries
                    where lane = $1 and reseller_id = $2 and seq = (low + high + 1) / 2
                ), true) as is_before
            ) m
            where low < high
        )
        select (
            select seq from ledger_entries
            where lane = $1 and reseller_id = $2 and seq > (select max(low) from search)
              and seq <= $5 and created_at >= $3
            order by seq limit 1
        )
        """,
        lane,
        reseller_id,
        moment,
        moment - _DISORDER,
        newest,
    )
    return newest + 1 if found is None else found


async def page(
    connection: Connection,
    lane: int,
    reseller_id: UUID,
    within: Span,
    limit: int,
    kinds: Sequence[str] | None = None,
    *,
    oldest_first: bool,
) -> tuple[list[Entry], int | None]:
    """A reseller's entries within a span, of some kinds or of all, from one end of it on.

    By kinds it looks at `SCAN_LIMIT` entries at most; the second value is then where the look
    stopped short, None when it saw the whole span.
    """
    first, last = within
    looked_to = None
    if kinds is not None and within.size > SCAN_LIMIT:
        if oldest_first:
            looked_to = last = first + SCAN_LIMIT - 1
        else:
            looked_to = first = last - SCAN_LIMIT + 1
    order = "asc" if oldest_first else "desc"
    rows = await connection.fetch(_PAGES[order], lane, reseller_id, first, last, limit, kinds)
    return [Entry(*row) for row in rows], looked_to


_PAGE = (
    _ENTRY
    + """
    where e.lane = $1 and e.reseller_id = $2 and e.seq >= $3 and e.seq <= $4
      and ($6::text[] is null or e.kind = any($6))
"""
)
_PAGES = {
    "asc": _PAGE + " order by e.seq limit $5",
    "desc": _PAGE + " order by e.seq desc limit $5",
}


async def of_order(
    connection: Connection, lane: int, reseller_id: UUID, order_id: UUID, limit: int
) -> list[Entry]:
    """The entries of one of a reseller's orders, oldest first."""
    rows = await connection.fetch(
        _ENTRY
        + """
        where e.lane = $1 and e.order_id = $3 and e.reseller_id = $2 order by e.seq limit $4
        """,
        lane,
        reseller_id,
        order_id,
        limit,
    )
    return [Entry(*row) for row in rows]


async def balances_after(
    connection: Connection, lane: int, reseller_id: UUID, seq: int
) -> Balances:
    """What there was after an entry; nothing after none."""
    row = await connection.fetchrow(
        """
        select available_after, reserved_after from ledger_entries
        where lane = $1 and reseller_id = $2 and seq <= $3 order by seq desc limit 1
        """,
        lane,
        reseller_id,
        seq,
    )
    return Balances(*row) if row else Balances(0, 0)


async def sums(connection: Connection, lane: int, reseller_id: UUID, within: Span) -> list[Sums]:
    """What the entries of a span move, by kind."""
    rows = await connection.fetch(
        """
        select kind, count(*), sum(available_delta)::bigint, sum(reserved_delta)::bigint
        from ledger_entries
        where lane = $1 and reseller_id = $2 and seq >= $3 and seq <= $4
        group by kind order by kind
        """,
        lane,
        reseller_id,
        *within,
    )
    return [Sums(*row) for row in rows]
