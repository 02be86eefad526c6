"""The door of `GET /v1/events/stream`: a reseller's events as they are committed."""

import asyncio
from functools import partial
from typing import get_args
from urllib.parse import parse_qs

from starlette.types import Receive, Scope, Send

from app.errors import FieldError, Unprocessable
from app.http import problems
from app.http.api import Api, address_of, admit
from app.http.event_feed import CURSOR_KIND, End, Listener
from app.http.pages import MOST_CURSOR_CHARACTERS, read_seq, seq_cursor
from app.scopes import KeyScope
from app.storage.pool import DATABASE_ERRORS
from schemas.events import EventType

STREAM_PATH = "/v1/events/stream"

_RETRY_MILLISECONDS = 2000
_TYPES = frozenset(get_args(EventType))
_MOST_FIELDS = 64
_CLOSING_SECONDS = 1.0
_NAMES = frozenset({b"authorization", b"last-event-id"})
_HEADERS = (
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),
    # Nothing comes after a stream on its connection, and a stop need not wait for the client.
    (b"connection", b"close"),
)


class StreamDoor:
    """The reseller's events as they are committed, as server-sent events.

    `data` is an event as `GET /v1/events` has it, `event` its type, `id` the cursor behind it. With
    `Last-Event-ID`, or `cursor`, the stream goes on behind that event; without, it begins now.
    """

    # Plain ASGI: what a framework keeps for each request would be kept a thousand times.

    def __init__(self, api: Api) -> None:
        self._api = api

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; a stream lasts until its client, its key or this process is gone."""
        try:
            listener = await self._listener(scope)
            self._api.feed.admit(listener)
        except problems.EXPECTED as error:
            answer = problems.problem_answer(problems.problem_of(error), scope["state"]["trace_id"])
            await answer(scope, receive, send)
            return
        try:
            await self._stream(listener, receive, send)
        finally:
            self._api.feed.leave(listener)

    async def _listener(self, scope: Scope) -> Listener:
        headers = _headers(scope)
        authorization, address = headers.get(b"authorization"), address_of(scope)
        welcome = partial(admit, self._api, authorization, address, KeyScope.ORDERS_READ)
        caller = await welcome()
        await self._api.visits.admit(scope, caller, "reads")
        query = _query(scope)
        after = _after(headers.get(b"last-event-id"), query.get("cursor"))
        types = _types(query.get("type"))
        if after is None:
            after = await self._api.feed.newest(caller)
        abort = scope["state"].get("abort", _nothing)
        return Listener(caller, types, after, welcome, abort)

    async def _stream(self, listener: Listener, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": list(_HEADERS)})
        async with asyncio.TaskGroup() as group:
            watching = group.create_task(_watch(receive, listener))
            try:
                await self._send_all(listener, send)
            except DATABASE_ERRORS:
                listener.finish(End.FAILED)
            watching.cancel()
        # Whatever the client still has not taken by then, it asks for again by its cursor.
        asyncio.get_running_loop().call_later(_CLOSING_SECONDS, listener.abort)
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _send_all(self, listener: Listener, send: Send) -> None:
        content = f"retry: {_RETRY_MILLISECONDS}\n".encode() + _sign_of_life(listener)
        while listener.end is None:
            if content:
                with listener.sending():
                    await send({"type": "http.response.body", "body": content, "more_body": True})
            content = listener.take()
            if content:
                continue
            if listener.is_live:
                await listener.wait()
                content = listener.take() or _sign_of_life(listener)
            else:
                content = await self._api.feed.read_on(listener)


async def _watch(receive: Receive, listener: Listener) -> None:
    """End the stream when its client is gone."""
    while (await receive())["type"] != "http.disconnect":
        pass
    listener.finish(End.GONE)


def _sign_of_life(listener: Listener) -> bytes:
    """A comment, and how far the client was told: past what it did not ask for, too."""
    return f":\nid: {seq_cursor(CURSOR_KIND, listener.told_to)}\n\n".encode()


# ------------------------------------------------------------------ what was asked for


def _headers(scope: Scope) -> dict[bytes, str]:
    """The headers that matter here, the first of each name."""
    return {
        name: value.decode("latin-1")
        for name, value in reversed(scope["headers"])
        if name in _NAMES
    }


def _query(scope: Scope) -> dict[str, list[str]]:
    try:
        return parse_qs(scope["query_string"].decode("latin-1"), max_num_fields=_MOST_FIELDS)
    except ValueError:
        raise _wrong("query", f"At most {_MOST_FIELDS} parameters are read.") from None


def _after(last_event_id: str | None, cursors: list[str] | None) -> int | None:
    """The number of the event to go on behind; None to begin now. Raises BadRequest."""
    cursor = last_event_id or (cursors[0] if cursors else None)
    if cursor is None:
        return None
    return read_seq(CURSOR_KIND, cursor[: MOST_CURSOR_CHARACTERS + 1])


def _types(asked: list[str] | None) -> frozenset[str] | None:
    """The types asked for; None for all. Raises Unprocessable."""
    if asked is None:
        return None
    unknown = [each for each in asked if each not in _TYPES]
    if unknown:
        raise _wrong("type", f"must be of {', '.join(sorted(_TYPES))}")
    return frozenset(asked)


def _wrong(field: str, why: str) -> Unprocessable:
    return Unprocessable(
        "invalid-request",
        "The request has missing or wrong fields.",
        errors=[FieldError(field, why)],
    )


def _nothing() -> None:
    """Where there is no connection to cut."""
