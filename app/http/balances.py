"""A reseller's balance."""

from fastapi import APIRouter, Request, Response

from app.errors import NotFound
from app.http.answers import json_answer
from app.http.api import BalanceReader, Parts
from app.http.conditions import is_known, not_modified
from app.storage import statements
from schemas.money import CURRENCY, Balance

routes = APIRouter(prefix="/v1", tags=["money"])


@routes.get(
    "/balance",
    response_model=None,
    responses={200: {"model": Balance}, 304: {"description": "Unchanged since that ETag."}},
)
async def read_balance(request: Request, api: Parts, caller: BalanceReader) -> Response:
    """What is available, what is set aside for open orders, and the credit beyond it.

    With `If-None-Match` and its last ETag, 304 while nothing has changed.
    """
    async with api.pool.acquire(timeout=api.limits.connection_seconds) as connection:
        balance = await statements.balance(connection, caller.lane, caller.reseller_id)
    if balance is None:
        raise NotFound("not-found", "You have no wallet.")
    tag = f'W/"{balance.available}.{balance.reserved}.{balance.credit_limit}"'
    if is_known(request, tag):
        return not_modified(tag)
    return json_answer(
        {
            "available": balance.available,
            "reserved": balance.reserved,
            "credit_limit": balance.credit_limit,
            "currency": CURRENCY,
        },
        headers={"etag": tag},
    )
