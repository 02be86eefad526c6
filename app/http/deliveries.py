"""Deliveries: what was sent to a reseller's endpoints, what came back, and sending it again."""

import struct
from datetime import UTC, datetime
from typing import Annotated
from uuid import UUID

import orjson
from fastapi import APIRouter, Query, Request, Response
from uuid_utils.compat import uuid7

from app.errors import Conflict, FieldError, NotFound, Unprocessable
from app.http.answers import json_answer, list_answer
from app.http.api import Parts, WebhooksReader, WebhooksWriter
from app.http.bodies import read_json, takes
from app.http.moments import Moment
from app.http.pages import Cursor, Limit, foreign_cursor, id_cursor, read_id, read_text, text_cursor
from app.storage import delivery_tries, delivery_views, endpoints
from app.storage.api_keys import KeyHolder
from app.storage.delivery_tries import Try
from app.storage.delivery_views import FIRST_ID, LAST_ID, UNDELIVERED, DeliveryView, Wanted
from app.storage.pool import Connection
from app.storage.purchase_hours import first_id
from schemas.deliveries import (
    Delivery,
    DeliveryFilter,
    DeliveryInFull,
    DeliveryList,
    Replay,
    Replayed,
)
from schemas.events import EventType, webhook_id

routes = APIRouter(prefix="/v1/deliveries", tags=["webhooks"])

_KIND = "deliveries"
_REPLAYS = "replays"
_EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)
_PLACE = struct.Struct("16s16s")
_LATEST = datetime(9999, 1, 1, tzinfo=UTC)


@routes.get("", response_model=None, responses={200: {"model": DeliveryList}})
async def list_deliveries(
    api: Parts,
    caller: WebhooksReader,
    endpoint_id: UUID | None = None,
    state: DeliveryFilter | None = None,
    event_type: EventType | None = None,
    order_id: UUID | None = None,
    since: Annotated[Moment | None, Query(alias="from")] = None,
    until: Annotated[Moment | None, Query(alias="to")] = None,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> Response:
    """What was and is to be sent to the reseller's endpoints, the newest first.

    `state=undelivered` are those pending and failed. A page may hold fewer than asked for although
    there are more: go on while `has_more`.
    """
    end = read_id(_KIND, cursor)
    wanted = Wanted(
        endpoint_id,
        _states(state),
        None if event_type is None else [event_type],
        order_id,
        _first(since),
        min(_end(until), end or LAST_ID),
    )
    async with api.pool.acquire(timeout=api.limits.connection_seconds) as connection:
        stretch = await delivery_views.page(
            connection, caller.lane, caller.reseller_id, wanted, limit
        )
    looked_up_to = stretch.looked_up_to
    next_cursor = None if looked_up_to is None else id_cursor(_KIND, looked_up_to)
    data = [document_of(each) for each in stretch.found]
    return list_answer(data, next_cursor, has_more=looked_up_to is not None)


@routes.get("/{delivery_id}", response_model=None, responses={200: {"model": DeliveryInFull}})
async def read_delivery(delivery_id: str, api: Parts, caller: WebhooksReader) -> Response:
    """One delivery with what it carries, and its tries: what was sent and what came back."""
    wanted = _id_in(delivery_id)
    async with api.pool.acquire(timeout=api.limits.connection_seconds) as connection:
        view, payload = await _find(connection, caller, wanted)
        tries = await delivery_tries.of_delivery(
            connection, caller.lane, caller.reseller_id, wanted
        )
    document = document_of(view) | {
        "payload": orjson.loads(payload),
        "log": [_try_document(each) for each in tries],
    }
    return json_answer(document)


@routes.post(
    "/replay",
    response_model=None,
    responses={200: {"model": Replayed}},
    openapi_extra=takes(Replay),
)
async def replay_deliveries(request: Request, api: Parts, caller: WebhooksWriter) -> Response:
    """Send deliveries again by filter and by time, the oldest first, a bounded number a call.

    Each gets a delivery of its own under the same `webhook-id`; one that is pending is sent at once
    instead. Events of an order that are still to come stay in their order.
    """
    asked = await read_json(request, Replay, api.limits.body_bytes)
    first, end = _place(asked)
    wanted = Wanted(
        asked.endpoint_id,
        _states(asked.state),
        asked.event_types,
        asked.order_id,
        first,
        end,
    )
    async with api.pool.acquire(timeout=api.limits.connection_seconds) as connection:
        stretch = await delivery_views.to_replay(
            connection, caller.lane, caller.reseller_id, wanted, asked.limit
        )
        ids = [] if asked.dry_run else await _replay(connection, caller, stretch.found)
    looked_up_to = stretch.looked_up_to
    return json_answer(
        {
            "matched": len(stretch.found),
            "replayed": len(ids),
            "delivery_ids": [str(each) for each in ids],
            "dry_run": asked.dry_run,
            "next_cursor": None if looked_up_to is None else _cursor(looked_up_to, end),
            "has_more": looked_up_to is not None,
        }
    )


@routes.post(
    "/{delivery_id}/replay",
    response_model=None,
    status_code=202,
    responses={202: {"model": Delivery}},
)
async def replay_delivery(delivery_id: str, api: Parts, caller: WebhooksWriter) -> Response:
    """Send one delivery again, as often as asked for: each is a delivery of its own.

    One that is pending is sent at once instead.
    """
    wanted = _id_in(delivery_id)
    async with api.pool.acquire(timeout=api.limits.connection_seconds) as connection:
        view, _ = await _find(connection, caller, wanted)
        endpoint = await endpoints.find(
            connection, caller.lane, caller.reseller_id, view.endpoint_id
        )
        if endpoint is None:
            raise Conflict("endpoint-deleted", "Its endpoint was deleted; the event stays.")
        ids = await _replay(connection, caller, [view])
        if not ids:
            raise Conflict("in-flight", "It is being sent right now.")
        sent, _ = await _find(connection, caller, ids[0])
    return json_answer(document_of(sent), 202, {"location": f"/v1/deliveries/{ids[0]}"})


async def _replay(
    connection: Connection, caller: KeyHolder, found: list[DeliveryView]
) -> list[UUID]:
    """An event that is there twice, since it was repeated before, is sent once."""
    chosen = {(each.endpoint_id, each.event_id): each.delivery_id for each in reversed(found)}
    ids = sorted(chosen.values())
    new_ids = [uuid7() for _ in ids]
    return await delivery_views.replay(connection, caller.lane, caller.reseller_id, ids, new_ids)


async def _find(
    connection: Connection, caller: KeyHolder, delivery_id: UUID
) -> tuple[DeliveryView, str]:
    found = await delivery_views.find(connection, caller.lane, caller.reseller_id, delivery_id)
    if found is None:
        raise _unknown()
    return found


def _place(asked: Replay) -> tuple[UUID, UUID]:
    """Where to begin and to end. What is made from the first call on is no part of it: the replays
    themselves are."""
    value = read_text(_REPLAYS, asked.cursor)
    if value is None:
        return _first(asked.since), min(_end(asked.until), uuid7())
    try:
        after, end = _PLACE.unpack(value)
    except struct.error:
        raise foreign_cursor() from None
    return UUID(int=min(int.from_bytes(after) + 1, LAST_ID.int)), UUID(bytes=end)


def _cursor(after: UUID, end: UUID) -> str:
    return text_cursor(_REPLAYS, _PLACE.pack(after.bytes, end.bytes))


def _states(state: DeliveryFilter | None) -> list[str] | None:
    if state is None:
        return None
    return list(UNDELIVERED) if state == "undelivered" else [state]


def _first(since: datetime | None) -> UUID:
    return FIRST_ID if since is None else first_id(_within("from", since))


def _end(until: datetime | None) -> UUID:
    return LAST_ID if until is None else first_id(_within("to", until))


def _within(name: str, moment: datetime) -> datetime:
    """A moment that an id can begin with. Raises Unprocessable."""
    if not _EARLIEST <= moment < _LATEST:
        wrong = FieldError(name, "lies outside of what can be asked for")
        raise Unprocessable("invalid-request", f"`{name}` is out of bounds.", errors=[wrong])
    return moment


def document_of(view: DeliveryView) -> dict[str, object]:
    """A delivery as `Delivery` describes it."""
    is_claimed = view.claim_id is not None
    return {
        "id": str(view.delivery_id),
        "webhook_id": webhook_id(view.event_id),
        "event_type": view.event_type,
        "endpoint_id": str(view.endpoint_id),
        "order_id": view.order_id and str(view.order_id),
        "state": view.state,
        "tries": view.tries,
        "next_try_at": None if is_claimed or view.due_at is None else view.due_at.isoformat(),
        "last_status": view.last_status,
        "last_error": view.last_error,
        "created_at": view.created_at.isoformat(),
        "delivered_at": view.delivered_at and view.delivered_at.isoformat(),
        "replay_of": view.replay_of and str(view.replay_of),
    }


def _try_document(each: Try) -> dict[str, object]:
    return {
        "tried_at": each.tried_at.isoformat(),
        "duration_ms": each.duration_ms,
        "status": each.status,
        "error": each.error,
        "request_headers": each.request_headers,
        "response_headers": each.response_headers,
        "response_body": each.response_body,
    }


def _id_in(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise _unknown() from None


def _unknown() -> NotFound:
    return NotFound("not-found", "You have no such delivery.")
