"""Events by cursor: everything that webhooks carry, for those who would rather ask."""

from collections.abc import Sequence
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Response

from app.errors import NotFound
from app.http.answers import json_answer, list_answer
from app.http.api import Api, OrdersReader, Parts
from app.http.event_feed import CURSOR_KIND
from app.http.pages import Cursor, Limit, cut, read_seq, seq_cursor
from app.storage import events
from app.storage.api_keys import KeyHolder
from schemas.events import Event, EventList, EventType, event_document, read_webhook_id

routes = APIRouter(prefix="/v1/events", tags=["events"])

Types = Annotated[list[EventType] | None, Query(alias="type", max_length=32)]


@routes.get("", response_model=None, responses={200: {"model": EventList}})
async def list_events(
    api: Parts,
    caller: OrdersReader,
    types: Types = None,
    order_id: UUID | None = None,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> Response:
    """The reseller's events behind a cursor, the oldest first; of some types, of one order.

    Keep `next_cursor` and ask with it again: no event is ever skipped. By `type` a page may hold
    fewer events than asked for although there are more: go on while `has_more`.
    """
    if order_id is not None:
        return await events_of_order(api, caller, order_id, cursor, limit, types)
    if types is not None:
        return await _events_of_types(api, caller, cursor, limit, types)
    after = read_seq(CURSOR_KIND, cursor) or 0
    async with api.pool.acquire(timeout=api.limits.connection_seconds) as connection:
        rows = await events.of_reseller(
            connection, caller.lane, caller.reseller_id, after, limit + 1
        )
    page, has_more = cut(rows, limit)
    return _page(page, cursor, has_more=has_more)


async def events_of_order(
    api: Api,
    caller: KeyHolder,
    order_id: UUID,
    cursor: str | None,
    limit: int,
    types: Sequence[str] | None,
) -> Response:
    """A page of what was reported about one order; empty for an order that is not the caller's."""
    after = read_seq(CURSOR_KIND, cursor) or 0
    async with api.pool.acquire(timeout=api.limits.connection_seconds) as connection:
        rows = await events.of_order(connection, caller.lane, order_id, after, limit + 1, types)
    own = [row for row in rows if row.reseller_id == caller.reseller_id]
    page, has_more = cut(own, limit)
    return _page(page, cursor, has_more=has_more)


async def _events_of_types(
    api: Api, caller: KeyHolder, cursor: str | None, limit: int, types: Sequence[str]
) -> Response:
    after = read_seq(CURSOR_KIND, cursor) or 0
    async with api.pool.acquire(timeout=api.limits.connection_seconds) as connection:
        rows, looked_to, is_more = await events.of_types(
            connection, caller.lane, caller.reseller_id, after, limit + 1, types
        )
    page, has_more = cut(rows, limit)
    if has_more:
        return _page(page, cursor, has_more=True)
    behind = seq_cursor(CURSOR_KIND, looked_to) if looked_to else cursor
    return list_answer(_documents(page), behind, has_more=is_more)


@routes.get("/{event_id}", response_model=None, responses={200: {"model": Event}})
async def read_event(event_id: str, api: Parts, caller: OrdersReader) -> Response:
    """One event, by the id that webhooks carry as `webhook-id`."""
    wanted = read_webhook_id(event_id)
    if wanted is None:
        raise _unknown()
    async with api.pool.acquire(timeout=api.limits.connection_seconds) as connection:
        event = await events.find(connection, caller.lane, caller.reseller_id, wanted)
    if event is None:
        raise _unknown()
    return json_answer(event_document(event.event_id, event.payload))


def _page(page: Sequence[events.Event], cursor: str | None, *, has_more: bool) -> Response:
    next_cursor = seq_cursor(CURSOR_KIND, page[-1].event_seq) if page else cursor
    return list_answer(_documents(page), next_cursor, has_more=has_more)


def _documents(page: Sequence[events.Event]) -> list[dict[str, object]]:
    return [event_document(each.event_id, each.payload) for each in page]


def _unknown() -> NotFound:
    return NotFound("not-found", "You have no such event.")
