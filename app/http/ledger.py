"""A reseller's ledger: entries in pages, as CSV, and added up as a statement."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Annotated, Literal, NamedTuple
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import StreamingResponse

from app.errors import FieldError, Unprocessable
from app.http import csv_lines
from app.http.answers import json_answer, list_answer
from app.http.api import Api, BalanceReader, Parts
from app.http.moments import Moment, require_order
from app.http.pages import Cursor, Limit, cut, read_seq, seq_cursor
from app.storage import entries
from app.storage.api_keys import KeyHolder
from app.storage.entries import Balances, Entry, Span
from schemas.money import EntryKind, LedgerEntryList, Statement

routes = APIRouter(prefix="/v1/ledger", tags=["money"])

MOST_ENTRIES = 1_000_000
"""Entries in one CSV, or added up in one statement."""
_PIECE = 500
_KIND = "ledger"
_CSV = "text/csv"
_MOST_OF_AN_ORDER = 100

Begins = Annotated[Moment | None, Query(alias="from")]
Ends = Annotated[Moment | None, Query(alias="to")]


class _Wish(NamedTuple):
    """What a list was asked for."""

    begins: datetime | None
    ends: datetime | None
    kinds: list[EntryKind] | None
    order_id: UUID | None
    sort: Literal["newest", "oldest"] | None


def _wish(
    begins: Begins = None,
    ends: Ends = None,
    kind: Annotated[list[EntryKind] | None, Query(max_length=16)] = None,
    order_id: UUID | None = None,
    sort: Literal["newest", "oldest"] | None = None,
) -> _Wish:
    require_order(begins, ends, "to")
    return _Wish(begins, ends, kind, order_id, sort)


@routes.get(
    "",
    response_model=None,
    responses={
        200: {
            "model": LedgerEntryList,
            "content": {_CSV: {"schema": {"type": "string"}}},
        }
    },
)
async def list_entries(
    request: Request,
    api: Parts,
    caller: BalanceReader,
    wish: Annotated[_Wish, Depends(_wish)],
    format_: Annotated[Literal["json", "csv"] | None, Query(alias="format")] = None,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> Response:
    """Every movement of the reseller's money, the newest first, or with `sort` the oldest.

    `to` itself is left out. By `kind` a page may hold fewer entries than asked for although there
    are more: go on while `has_more`. With `Accept: text/csv`, or `format=csv`, all of a time at
    once, the oldest first unless `sort` says otherwise; `from` is needed then.
    """
    if format_ == "csv" or (format_ is None and _CSV in request.headers.get("accept", "")):
        return await _csv_answer(api, caller, wish)
    if wish.order_id is not None:
        return await _list_order(api, caller, wish, wish.order_id)
    seen, is_oldest = read_seq(_KIND, cursor), wish.sort == "oldest"
    async with api.pool.acquire(timeout=api.limits.connection_seconds) as connection:
        span = await entries.span(
            connection, caller.lane, caller.reseller_id, wish.begins, wish.ends
        )
        rows, looked_to = await entries.page(
            connection,
            caller.lane,
            caller.reseller_id,
            _behind(span, seen, is_oldest=is_oldest),
            limit + 1,
            wish.kinds,
            oldest_first=is_oldest,
        )
    page, has_more = cut(rows, limit)
    last = page[-1].seq if has_more else looked_to
    next_cursor = None if last is None else seq_cursor(_KIND, last)
    return list_answer([_document(each) for each in page], next_cursor, has_more=last is not None)


async def _list_order(api: Api, caller: KeyHolder, wish: _Wish, order_id: UUID) -> Response:
    found = await _of_order(api, caller, wish, order_id)
    rows = found if wish.sort == "oldest" else found[::-1]
    return list_answer([_document(each) for each in rows], None, has_more=False)


async def _of_order(api: Api, caller: KeyHolder, wish: _Wish, order_id: UUID) -> list[Entry]:
    """One order's entries that are wished for, the oldest first: there are a handful at most."""
    async with api.pool.acquire(timeout=api.limits.connection_seconds) as connection:
        span = await entries.span(
            connection, caller.lane, caller.reseller_id, wish.begins, wish.ends
        )
        rows = await entries.of_order(
            connection, caller.lane, caller.reseller_id, order_id, _MOST_OF_AN_ORDER
        )
    return [
        row
        for row in rows
        if span.first <= row.seq <= span.last and (wish.kinds is None or row.kind in wish.kinds)
    ]


def _behind(span: Span, seen: int | None, *, is_oldest: bool) -> Span:
    """What is left of a span behind the entry seen last."""
    if seen is None:
        return span
    if is_oldest:
        return span._replace(first=max(span.first, seen + 1))
    return span._replace(last=min(span.last, seen - 1))


def _document(entry: Entry) -> dict[str, object]:
    return {
        "seq": entry.seq,
        "kind": entry.kind,
        "available_delta": entry.available_delta,
        "reserved_delta": entry.reserved_delta,
        "available_after": entry.available_after,
        "reserved_after": entry.reserved_after,
        "order_id": None if entry.order_id is None else str(entry.order_id),
        "ref_id": entry.ref_id,
        "reference": entry.reference,
        "created_at": entry.created_at,
    }


# ------------------------------------------------------------------ as CSV


async def _csv_answer(api: Api, caller: KeyHolder, wish: _Wish) -> Response:
    span = await _bounded_span(api, caller, wish.begins, wish.ends)
    if wish.order_id is not None:
        lines = _lines_of_order(await _of_order(api, caller, wish, wish.order_id))
    else:
        lines = _lines(api, caller, span, wish)
    return StreamingResponse(
        lines,
        media_type=f"{_CSV}; charset=utf-8; header=present",
        headers={"content-disposition": 'attachment; filename="ledger.csv"'},
    )


async def _lines_of_order(rows: list[Entry]) -> AsyncIterator[bytes]:
    yield csv_lines.HEADER + csv_lines.of_entries(rows)


async def _lines(api: Api, caller: KeyHolder, span: Span, wish: _Wish) -> AsyncIterator[bytes]:
    """The lines, a piece after the other; no connection is held while one is sent."""
    is_oldest = wish.sort != "newest"
    yield csv_lines.HEADER
    while span.size:
        async with api.pool.acquire(timeout=api.limits.connection_seconds) as connection:
            rows, looked_to = await entries.page(
                connection,
                caller.lane,
                caller.reseller_id,
                span,
                _PIECE,
                wish.kinds,
                oldest_first=is_oldest,
            )
        yield csv_lines.of_entries(rows)
        seen = rows[-1].seq if len(rows) == _PIECE else looked_to
        if seen is None:
            return
        span = _behind(span, seen, is_oldest=is_oldest)


async def _bounded_span(
    api: Api, caller: KeyHolder, begins: datetime | None, ends: datetime | None
) -> Span:
    """The entries of a time that is to be read whole. Raises Unprocessable."""
    if begins is None:
        raise _wrong("invalid-request", "is needed: the time from which on entries are wanted")
    async with api.pool.acquire(timeout=api.limits.connection_seconds) as connection:
        span = await entries.span(connection, caller.lane, caller.reseller_id, begins, ends)
    if span.size > MOST_ENTRIES:
        why = f"must be later: there are {span.size} entries, and at most {MOST_ENTRIES} are read"
        raise _wrong("range-too-large", why)
    return span


def _wrong(code: str, why: str) -> Unprocessable:
    return Unprocessable(code, f"from {why}.", errors=[FieldError("from", why)])


# ------------------------------------------------------------------ added up


@routes.get("/statement", response_model=None, responses={200: {"model": Statement}})
async def read_statement(
    api: Parts, caller: BalanceReader, begins: Begins = None, ends: Ends = None
) -> Response:
    """A time's opening balance, what moved by kind, and its closing balance, which add up.

    `from` is needed; without `to`, up to now. An entry counts to the time in which it was booked.
    """
    require_order(begins, ends, "to")
    span = await _bounded_span(api, caller, begins, ends)
    own = caller.lane, caller.reseller_id
    async with api.pool.acquire(timeout=api.limits.connection_seconds) as connection:
        opening = await entries.balances_after(connection, *own, span.first - 1)
        totals = await entries.sums(connection, *own, span)
        closing = await entries.balances_after(connection, *own, max(span.last, span.first - 1))
    return json_answer(
        {
            "from": begins,
            "to": ends or datetime.now(UTC),
            "entries": span.size,
            "first_seq": span.first if span.size else None,
            "last_seq": span.last if span.size else None,
            "opening": _balances(opening),
            "totals": [each._asdict() for each in totals],
            "closing": _balances(closing),
        }
    )


def _balances(balances: Balances) -> dict[str, int]:
    return {"available": balances.available, "reserved": balances.reserved}
