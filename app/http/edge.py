"""The outermost layer: every request gets a trace, a place in the metrics and an answer.

Orders, which are most requests, go from here straight to their door.
"""

import asyncio
import time
from dataclasses import dataclass
from typing import Any

import structlog
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app import logs
from app.errors import HeadTooLarge
from app.http import deprecation
from app.http.limits import Headers, Visit
from app.http.problems import internal_error, problem_answer
from app.metrics import Metrics
from app.traces import id_of, trace_of

log = structlog.get_logger()

ORDERS_PATH = "/v1/orders"

_METHODS = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"})
NO_SNIFFING = (b"x-content-type-options", b"nosniff")
NO_CACHE = (b"cache-control", b"no-store")
_PRIVATE_CACHE = (b"cache-control", b"private, no-cache")
_PRIVATE = ("/v1/", "/admin/", "/doors/")
MOST_HEADERS = 100
_GONE_AWAY = 499
_UNANSWERED = 500


@dataclass(frozen=True, slots=True)
class _Route:
    """What names a route to the metrics."""

    path: str


_ORDERS = _Route(ORDERS_PATH)


class Edge:
    """The ASGI application: `app` with `order_door` beside it, for POST at `ORDERS_PATH`."""

    def __init__(
        self, app: ASGIApp, order_door: ASGIApp, metrics: Metrics, draining: asyncio.Event
    ) -> None:
        self._app = app
        self._order_door = order_door
        self._metrics = metrics
        self._draining = draining

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        trace = trace_of(scope["headers"])
        trace_id = id_of(trace)
        state = scope.setdefault("state", {})
        state.update(trace=trace, trace_id=trace_id)
        logs.bind(trace_id=trace_id)
        exchange = _Exchange(send, scope, self._draining)
        try:
            if len(scope["headers"]) > MOST_HEADERS:
                answer = problem_answer(_too_many_headers(), trace_id)
                await answer(scope, receive, exchange.send)
            elif scope["path"] == ORDERS_PATH and scope["method"] == "POST":
                scope["route"] = _ORDERS
                await self._order_door(scope, receive, exchange.send)
            else:
                await self._app(scope, receive, exchange.send)
        except ClientDisconnect:
            exchange.status = _GONE_AWAY
        except Exception:
            log.exception("request.failed", method=scope["method"], route=_route(scope))
            if not exchange.status:
                answer = problem_answer(internal_error(), trace_id)
                await answer(scope, receive, exchange.send)
        finally:
            seconds = time.perf_counter() - started
            status = exchange.status or _UNANSWERED
            self._metrics.http_request(_method(scope), _route(scope), status, seconds)
            if "visit" in state:
                state["visit"].end()


class _Exchange:
    """The way back to the caller: notes the status and dresses the answer."""

    __slots__ = ("_draining", "_scope", "_send", "status")

    def __init__(self, send: Send, scope: Scope, draining: asyncio.Event) -> None:
        self._send = send
        self._scope = scope
        self._draining = draining
        self.status = 0

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers, state = message["headers"], self._scope["state"]
            is_private = self._scope["path"].startswith(_PRIVATE)
            dress(headers, state["trace_id"], state.get("visit"), is_private=is_private)
            if deprecation.STATE in state:
                headers.extend(deprecation.headers_of(state[deprecation.STATE]))
            if self._draining.is_set():
                headers.append((b"connection", b"close"))
        await self._send(message)


def dress(headers: Headers, trace_id: str, visit: Visit | None, *, is_private: bool) -> None:
    """Add the trace, what browsers and caches must know, and the caller's rates."""
    headers.append((b"x-request-id", trace_id.encode()))
    headers.append(NO_SNIFFING)
    if is_private:
        _keep_private(headers)
    if visit is not None:
        headers.extend(visit.headers())


def _too_many_headers() -> HeadTooLarge:
    return HeadTooLarge("head-too-large", f"A request may have {MOST_HEADERS} headers here.")


def _keep_private(headers: list[tuple[bytes, bytes]]) -> None:
    """Keep an answer out of caches; with an ETag, the caller's own may hold it and ask again."""
    names = {name for name, _ in headers}
    if b"cache-control" not in names:
        headers.append(_PRIVATE_CACHE if b"etag" in names else NO_CACHE)


def _method(scope: dict[str, Any] | Scope) -> str:
    return scope["method"] if scope["method"] in _METHODS else "other"


def _route(scope: dict[str, Any] | Scope) -> str:
    """The route's template: a path itself would make a metric of every order."""
    return getattr(scope.get("route"), "path", "unmatched")
