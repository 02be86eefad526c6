"""Play money: what a test key fills its own account with."""

from fastapi import APIRouter, Request, Response

from app import postings
from app.administration.acting import acting
from app.errors import Conflict, Forbidden
from app.http.answers import json_answer
from app.http.api import OrdersWriter, Parts
from app.http.bodies import read_json, takes
from app.lifecycle.deposit import book
from schemas.money import MOST_PLAY_MONEY, PlayDeposit, PlayMoney

routes = APIRouter(prefix="/v1/test", tags=["test side"])


@routes.post(
    "/deposits",
    response_model=None,
    status_code=201,
    responses={
        201: {"model": PlayMoney},
        200: {"model": PlayMoney, "description": "It was booked before; nothing was changed."},
    },
    openapi_extra=takes(PlayDeposit),
)
async def deposit_play_money(request: Request, api: Parts, caller: OrdersWriter) -> Response:
    """Add play money to the test side's balance: for test keys only, once a reference."""
    if not caller.test:
        raise Forbidden("test-side-only", "Only a test key may do this: real money is paid in.")
    wanted = await read_json(request, PlayDeposit, api.limits.body_bytes)
    async with acting(api.pool) as connection:
        posting = postings.deposit(wanted.amount)
        booked = await book(connection, caller.reseller_id, posting, wanted.reference)
        if booked.available > MOST_PLAY_MONEY:
            raise Conflict(
                "too-much-play-money", f"The balance may reach {MOST_PLAY_MONEY} rupiah."
            )
    answer = {"available": booked.available, "repeated": booked.repeated}
    return json_answer(answer, 200 if booked.repeated else 201)
