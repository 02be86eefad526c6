"""Reading orders, and cancelling one that was not sent to a dealer yet."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Request, Response

from app.errors import Conflict, FieldError, NotFound, Unprocessable
from app.http.answers import json_answer, list_answer
from app.http.api import Api, OrdersReader, OrdersWriter, Parts
from app.http.events import events_of_order
from app.http.moments import Moment, require_order
from app.http.order_answers import document_of, order_answer
from app.http.pages import Cursor, Limit, cut, id_cursor, read_id
from app.lifecycle.settle import Withdrawal
from app.storage import order_views
from app.storage.api_keys import KeyHolder
from app.storage.order_views import OrderView, Wanted
from routing.numbering import InvalidNumber, normalise
from schemas.events import EventList
from schemas.orders import Note, Order, OrderList, OrderStatus, Reference

routes = APIRouter(prefix="/v1/orders", tags=["orders"])

_KIND = "orders"
_MOST_REFERENCES = 50


def _wanted(
    status: OrderStatus | None = None,
    sku: Annotated[Note | None, Query(max_length=32)] = None,
    customer_number: Annotated[str | None, Query(max_length=64)] = None,
    outlet_id: Annotated[Reference | None, Query()] = None,
    created_from: Annotated[Moment | None, Query()] = None,
    created_to: Annotated[Moment | None, Query()] = None,
) -> Wanted:
    """Which orders a list is to hold. Raises Unprocessable."""
    require_order(created_from, created_to, "created_to")
    number = None if customer_number is None else _number(customer_number)
    return Wanted(sku, number, outlet_id, created_from, created_to, status)


def _number(text: str) -> str:
    try:
        return normalise(text)
    except InvalidNumber:
        wrong = FieldError("customer_number", "is no Indonesian mobile number")
        raise Unprocessable(
            "invalid-number", f"The customer number {wrong.message}.", errors=[wrong]
        ) from None


@routes.get("", response_model=None, responses={200: {"model": OrderList}})
async def list_orders(
    api: Parts,
    caller: OrdersReader,
    wanted: Annotated[Wanted, Depends(_wanted)],
    ref_id: Annotated[list[Reference] | None, Query(max_length=_MOST_REFERENCES)] = None,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> Response:
    """The reseller's orders, the newest first; `created_to` itself is left out.

    By `ref_id`, up to 50 of them, all that there are come at once. With any other filter a page may
    hold fewer orders than asked for although there are more: go on while `has_more`.
    """
    if ref_id is not None:
        return await _list_references(api, caller, ref_id, wanted)
    before = read_id(_KIND, cursor)
    if wanted != Wanted():
        return await _list_wanted(api, caller, before, limit, wanted)
    async with api.pool.acquire(timeout=api.limits.connection_seconds) as connection:
        rows = await order_views.page(
            connection, caller.lane, caller.reseller_id, before, limit + 1
        )
    page, has_more = cut(rows, limit)
    next_cursor = id_cursor(_KIND, page[-1].order_id) if has_more else None
    return list_answer([document_of(view) for view in page], next_cursor, has_more=has_more)


async def _list_references(
    api: Api, caller: KeyHolder, ref_ids: list[str], wanted: Wanted
) -> Response:
    named = list(dict.fromkeys(ref_ids))
    async with api.pool.acquire(timeout=api.limits.connection_seconds) as connection:
        found = await order_views.of_references(
            connection, caller.lane, caller.reseller_id, named, wanted
        )
    data = [document_of(each) for each in found]
    asked = {"ref_id": named[0]} if len(named) == 1 else {}
    return json_answer({"data": data, "next_cursor": None, "has_more": False, **asked})


async def _list_wanted(
    api: Api, caller: KeyHolder, before: UUID | None, limit: int, wanted: Wanted
) -> Response:
    async with api.pool.acquire(timeout=api.limits.connection_seconds) as connection:
        rows, stopped_at = await order_views.page_of(
            connection, caller.lane, caller.reseller_id, before, limit + 1, wanted
        )
    page, has_more = cut(rows, limit)
    last = page[-1].order_id if has_more else stopped_at
    next_cursor = None if last is None else id_cursor(_KIND, last)
    return list_answer([document_of(view) for view in page], next_cursor, has_more=last is not None)


@routes.get(
    "/{order_id}",
    response_model=None,
    responses={200: {"model": Order}, 304: {"description": "Unchanged since that ETag."}},
)
async def read_order(order_id: str, request: Request, api: Parts, caller: OrdersReader) -> Response:
    """One order. With `If-None-Match` and its last ETag, 304 while nothing has changed."""
    return order_answer(await _find(api, caller, order_id), request)


@routes.post("/{order_id}/cancel", response_model=None, responses={200: {"model": Order}})
async def cancel_order(order_id: str, api: Parts, caller: OrdersWriter) -> Response:
    """Cancel an order that was not sent to a dealer yet; cancelling it again changes nothing."""
    view = await _find(api, caller, order_id)
    withdrawn = await api.settler.withdraw(caller.lane, view.order_id, Withdrawal.CANCELLED)
    view = await _find(api, caller, order_id)
    if not withdrawn and view.failure_code != Withdrawal.CANCELLED:
        raise Conflict(
            "not-cancellable", f"The order is {view.status} and cannot be cancelled any more."
        )
    return order_answer(view)


@routes.get("/{order_id}/events", response_model=None, responses={200: {"model": EventList}})
async def list_order_events(
    order_id: str, api: Parts, caller: OrdersReader, cursor: Cursor = None, limit: Limit = 50
) -> Response:
    """What was reported about an order, the oldest first; `cursor` goes on as in all events."""
    view = await _find(api, caller, order_id)
    return await events_of_order(api, caller, view.order_id, cursor, limit, None)


async def _find(api: Api, caller: KeyHolder, order_id: str) -> OrderView:
    """The caller's own order. Raises NotFound, for another's as well."""
    try:
        wanted = UUID(order_id)
    except ValueError:
        raise _unknown() from None
    async with api.pool.acquire(timeout=api.limits.connection_seconds) as connection:
        view = await order_views.find(connection, caller.lane, caller.reseller_id, wanted)
    if view is None:
        raise _unknown()
    return view


def _unknown() -> NotFound:
    return NotFound("not-found", "You have no such order.")
