"""Our money at dealers for operators, and prices that rose."""

from fastapi import APIRouter, Request, Response

from app.administration import floats
from app.http.admin.identity import AnyOperator, MoneyOperator, RoutesOperator
from app.http.answers import json_answer, list_answer
from app.http.api import Parts
from app.http.bodies import read_json, takes
from schemas.admin import floats as shapes

routes = APIRouter(prefix="/admin/v1", tags=["admin"])


@routes.get("/floats", response_model=None, responses={200: {"model": shapes.FloatList}})
async def list_floats(api: Parts, by: AnyOperator) -> Response:
    """Our accounts at all dealers, counted at this moment."""
    found = await floats.look(api.pool, by, None)
    return list_answer([each.document() for each in found], None, has_more=False)


@routes.get("/floats/{dealer_id}", response_model=None, responses={200: {"model": shapes.Float}})
async def read_float(dealer_id: str, api: Parts, by: AnyOperator) -> Response:
    """Our account at one dealer."""
    (found,) = await floats.look(api.pool, by, dealer_id)
    return json_answer(found.document())


@routes.post(
    "/floats/{dealer_id}/deposits",
    response_model=None,
    responses={200: {"model": shapes.PaidIn}},
    openapi_extra=takes(shapes.DealerDeposit),
)
async def add_deposit(dealer_id: str, request: Request, api: Parts, by: MoneyOperator) -> Response:
    """Write down what we paid in at a dealer, once a reference; its balance is pulled at once."""
    given = await read_json(request, shapes.DealerDeposit, api.limits.body_bytes)
    done = await floats.deposit(
        api.pool, by, dealer_id, given.amount, given.reference, given.reason
    )
    return json_answer(
        {
            "dealer": done.dealer_id,
            "amount": done.amount,
            "reference": done.reference,
            "repeated": done.repeated,
        }
    )


@routes.post(
    "/floats/{dealer_id}/balance",
    response_model=None,
    responses={200: {"model": shapes.JudgedBalance}},
    openapi_extra=takes(shapes.RecordedBalance),
)
async def record_balance(
    dealer_id: str, request: Request, api: Parts, by: MoneyOperator
) -> Response:
    """Write down the balance that the dealer's own page shows now."""
    given = await read_json(request, shapes.RecordedBalance, api.limits.body_bytes)
    done = await floats.record(api.pool, by, dealer_id, given.balance, given.reason)
    return json_answer(
        {
            "dealer": dealer_id,
            "balance": done.seen.rupiah,
            "difference": done.difference,
            "agrees": done.agrees,
        }
    )


@routes.post(
    "/floats/{dealer_id}/accept",
    response_model=None,
    responses={200: {"model": shapes.GivenUp}},
    openapi_extra=takes(shapes.AcceptBalance),
)
async def accept_balance(
    dealer_id: str, request: Request, api: Parts, by: MoneyOperator
) -> Response:
    """Take the dealer's last balance for right: the difference is given up."""
    given = await read_json(request, shapes.AcceptBalance, api.limits.body_bytes)
    difference = await floats.accept(api.pool, by, dealer_id, given.reason)
    return json_answer({"dealer": dealer_id, "difference": difference})


@routes.get("/price-rises", response_model=None, responses={200: {"model": shapes.PriceRiseList}})
async def list_price_rises(api: Parts, by: AnyOperator) -> Response:
    """Routes whose dealer charged more than their cost, those not bought from first."""
    found = await floats.list_rises(api.pool, by)
    return list_answer([floats.rise_document(each) for each in found], None, has_more=False)


@routes.post(
    "/price-rises/lift",
    response_model=None,
    responses={200: {"model": shapes.PriceRise}},
    openapi_extra=takes(shapes.LiftRise),
)
async def lift_price_rise(request: Request, api: Parts, by: RoutesOperator) -> Response:
    """Buy from a route again, its cost as it is."""
    given = await read_json(request, shapes.LiftRise, api.limits.body_bytes)
    return json_answer(
        floats.rise_document(await floats.lift(api.pool, by, given.route, given.reason))
    )
