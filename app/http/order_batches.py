"""Batches of orders: each is placed as if it had come alone, and answered in its place."""

import asyncio
from typing import Any

import structlog
from fastapi import APIRouter, Request, Response

from app.errors import FieldError, Problem
from app.hops import HEADER, Hops
from app.http import bodies, problems
from app.http.answers import json_answer
from app.http.api import Api, OrdersPlacer, Parts
from app.http.order_answers import document_of, new_document
from app.http.order_door import hops_of
from app.http.place import place, shed
from app.storage.api_keys import KeyHolder
from app.storage.orders import NewOrder
from app.traces import Trace, id_of
from schemas.orders import NewOrder as Wanted
from schemas.orders import NewOrderBatch, OrderResults

log = structlog.get_logger()

routes = APIRouter(prefix="/v1/orders", tags=["orders"])

_AT_ONCE = 64
"""Orders decided in one go, in some milliseconds: others get a turn before the next."""

Result = dict[str, Any]


@routes.post(
    "/batch",
    response_model=None,
    responses={200: {"model": OrderResults}},
    openapi_extra=bodies.takes(NewOrderBatch),
)
async def place_orders(request: Request, api: Parts, caller: OrdersPlacer) -> Response:
    """Place up to 500 orders. The answer is 200 whatever became of them: see each one's `status`.

    The first ones get the money first. The same batch again never orders twice.
    """
    bodies.require_json(request.headers.get("content-type", ""))
    body = await bodies.read_body(request, api.limits.batch_bytes)
    items = list(enumerate(bodies.unpack(body, "orders", api.limits.batch_orders)))
    if len(items) > 1:
        await api.limits_of(caller).take("orders", len(items) - 1)
    hops, trace = hops_of(request.scope), request.state.trace
    results: list[Result] = []
    for start in range(0, len(items), _AT_ONCE):
        some = items[start : start + _AT_ONCE]
        # Each runs to its place in the queue before the next begins, so that they stay in order.
        results += await asyncio.gather(
            *(_place_one(api, caller, number, item, hops, trace) for number, item in some)
        )
    return json_answer({"results": results})


async def _place_one(
    api: Api, caller: KeyHolder, number: int, item: object, hops: Hops | None, trace: Trace
) -> Result:
    """Place the order at `number` in the batch. Never raises: what goes wrong is its result."""
    try:
        shed(api, caller)
        placed = await place(api, caller, bodies.parse_item(Wanted, item), hops, trace)
    except problems.EXPECTED as error:
        return _refused(api, number, problems.problem_of(error), trace)
    except Exception:
        # The others may stand: their caller must learn of them.
        log.exception("order.unplaced", number=number)
        return _refused(api, number, problems.internal_error(), trace)
    if isinstance(placed, NewOrder):
        return {"status": 202, "order": new_document(placed)}
    return {"status": 200, "order": document_of(placed)}


def _refused(api: Api, number: int, problem: Problem, trace: Trace) -> Result:
    api.metrics.order_refused(problem.code)
    errors = [FieldError(_place_of(each.field, number), each.message) for each in problem.errors]
    document = problems.document_of(problem, id_of(trace), errors)
    result: Result = {"status": problem.status, "problem": document}
    if problem.retry_after_seconds is not None:
        result["retry_after"] = problem.retry_after_seconds
    return result


def _place_of(field: str, number: int) -> str:
    """Where a field of one order stands in the request, such as `orders[17].sku`."""
    if field == HEADER:
        return field
    return f"orders[{number}]" if field == problems.BODY else f"orders[{number}].{field}"
