"""Balance alerts: below how many rupiah a reseller wants to be told, by `balance.low`."""

from fastapi import APIRouter, Request, Response

from app.http.answers import json_answer
from app.http.api import BalanceReader, Parts, WebhooksWriter
from app.http.bodies import read_json, takes
from app.storage import balance_alerts
from schemas.money import BalanceAlert

routes = APIRouter(prefix="/v1/balance/alert", tags=["money"])


@routes.get("", response_model=None, responses={200: {"model": BalanceAlert}})
async def read_alert(api: Parts, caller: BalanceReader) -> Response:
    """Below how many rupiah `balance.low` is sent; null: never."""
    async with api.pool.acquire(timeout=api.limits.connection_seconds) as connection:
        below = await balance_alerts.read(connection, caller.lane, caller.reseller_id)
    return json_answer({"below": below})


@routes.put(
    "",
    response_model=None,
    responses={200: {"model": BalanceAlert}},
    openapi_extra=takes(BalanceAlert),
)
async def set_alert(request: Request, api: Parts, caller: WebhooksWriter) -> Response:
    """Be told when what is available falls below this, once each time that it does; null: never."""
    wanted = await read_json(request, BalanceAlert, api.limits.body_bytes)
    async with api.pool.acquire(timeout=api.limits.connection_seconds) as connection:
        if wanted.below is None:
            await balance_alerts.remove(connection, caller.lane, caller.reseller_id)
        else:
            await balance_alerts.write(connection, caller.lane, caller.reseller_id, wanted.below)
    return json_answer({"below": wanted.below})
