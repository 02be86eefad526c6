"""A reseller's balance and its ledger."""

from fastapi import APIRouter, Response

from app.errors import NotFound
from app.http.answers import json_answer, list_answer
from app.http.api import Caller, Parts
from app.http.pages import Cursor, Limit, cut, read_seq, seq_cursor
from app.storage import statements
from app.storage.statements import StatementEntry
from schemas.money import CURRENCY, Balance, LedgerEntryList

routes = APIRouter(prefix="/v1", tags=["money"])

_KIND = "ledger"


@routes.get("/balance", response_model=None, responses={200: {"model": Balance}})
async def read_balance(api: Parts, caller: Caller) -> Response:
    """What is available, what is set aside for open orders, and the credit beyond it."""
    async with api.pool.acquire(timeout=api.limits.connection_seconds) as connection:
        balance = await statements.balance(connection, caller.lane, caller.reseller_id)
    if balance is None:
        raise NotFound("not-found", "You have no wallet.")
    return json_answer(
        {
            "available": balance.available,
            "reserved": balance.reserved,
            "credit_limit": balance.credit_limit,
            "currency": CURRENCY,
        }
    )


@routes.get("/ledger", response_model=None, responses={200: {"model": LedgerEntryList}})
async def list_entries(
    api: Parts, caller: Caller, cursor: Cursor = None, limit: Limit = 50
) -> Response:
    """Every movement of the reseller's money, the newest first."""
    before = read_seq(_KIND, cursor)
    async with api.pool.acquire(timeout=api.limits.connection_seconds) as connection:
        rows = await statements.entries(
            connection, caller.lane, caller.reseller_id, before, limit + 1
        )
    page, has_more = cut(rows, limit)
    next_cursor = seq_cursor(_KIND, page[-1].seq) if has_more else None
    return list_answer([_document(entry) for entry in page], next_cursor, has_more=has_more)


def _document(entry: StatementEntry) -> dict[str, object]:
    return {
        "seq": entry.seq,
        "kind": entry.kind,
        "available_delta": entry.available_delta,
        "reserved_delta": entry.reserved_delta,
        "available_after": entry.available_after,
        "reserved_after": entry.reserved_after,
        "order_id": None if entry.order_id is None else str(entry.order_id),
        "reference": entry.reference,
        "created_at": entry.created_at.isoformat(),
    }
