"""The shortcut of `POST /v1/orders`: an order as nearly all are goes from the wire into its batch
without a task, a framework or a wait in between, and its answer leaves from the batch's commit.

It takes a request only where all it needs is in memory: a key known and open for it, rates leased,
a body that parses. Whatever else comes goes to `OrderDoor`, which asks the same parts the same
questions and may wait; nothing was counted until then. Both answer alike.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import lru_cache

import orjson
import structlog
from pydantic import ValidationError
from starlette.responses import Response
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from app import logs
from app.errors import Problem
from app.http import problems
from app.http.api import Api, require_open
from app.http.bodies import is_json
from app.http.edge import MOST_HEADERS, NO_CACHE, NO_SNIFFING, ORDERS_PATH, dress
from app.http.limits import Visit
from app.http.order_answers import location_of, new_document, replayed_answer
from app.http.order_door import HOPS, KEY
from app.http.place import Placing, shed
from app.http.wire import WholeRequest
from app.lifecycle.accept import Outcome
from app.scopes import KeyScope
from app.storage.order_views import OrderView
from app.traces import NAME as TRACE
from app.traces import id_of, trace_named
from schemas.orders import NewOrder as Wanted

log = structlog.get_logger()

AddressOf = Callable[[str, Mapping[bytes, bytes]], str]
"""Where a request comes from, by its connection's other end and its headers."""

_ELSEWHERE = frozenset({HOPS, KEY})
"""Headers of orders that are left to the door."""
_FORWARDED = b"x-forwarded-for"
_JSON = b"application/json"
_ACCEPTED = b"\r\n".join(
    (
        b"HTTP/1.1 202 Accepted",
        b"%bcontent-length: %d",
        b"content-type: application/json",
        b"location: %b",
        b"x-request-id: %b",
        b"%b: %b" % NO_SNIFFING,
        b"%b: %b" % NO_CACHE,
        b"%b: %b",
        b"%b: %b",
        b"%b",
        b"%b",
    )
)
_CLOSE = b"connection: close\r\n"


def address_reader(trusted_proxies: Sequence[object]) -> AddressOf:
    """How to read where requests come from. What a trusted proxy says of it is believed, as far as
    uvicorn believes it for every other request."""
    if not trusted_proxies:
        return lambda address, _: address
    trusted = ProxyHeadersMiddleware(_nowhere, [str(each) for each in trusted_proxies])
    hosts = trusted.trusted_hosts

    @lru_cache(4096)
    def behind(address: str, forwarded: bytes) -> str:
        if address not in hosts:
            return address
        return hosts.get_trusted_client_address(forwarded.decode("latin-1"))[0] or address

    return lambda address, headers: behind(address, headers.get(_FORWARDED, b""))


async def _nowhere(*_: object) -> None:
    """What uvicorn's reader of proxies' headers stands before; it is never called."""


class OrderShortcut:
    """Takes whole requests for orders off the wire."""

    def __init__(self, api: Api, address_of: AddressOf) -> None:
        self._api = api
        self._address_of = address_of
        self._waiting: set[asyncio.Task[None]] = set()
        """Answers that wait for the database: at most one a connection."""

    def take(self, request: WholeRequest) -> bool:
        """Answer a `POST /v1/orders` sooner or later, or leave it to the door: then False."""
        started = time.perf_counter()
        api, headers = self._api, dict(request.headers)
        twice = len(headers) != len(request.headers)
        if twice or len(headers) > MOST_HEADERS or not _ELSEWHERE.isdisjoint(headers):
            return False
        stated = headers.get(b"content-type", _JSON)
        if api.draining.is_set() or (stated != _JSON and not is_json(stated.decode("latin-1"))):
            return False
        address = self._address_of(request.address, headers)
        authorization = headers.get(b"authorization", b"").decode("latin-1")
        caller = api.authenticator.recall(authorization, address)
        if caller is None:
            return False
        try:
            require_open(api, caller, KeyScope.ORDERS_WRITE, address)
            if not request.let_in:
                shed(api, caller)
            wanted = Wanted.model_validate_json(request.body)
        except (Problem, ValidationError):
            return False
        visit = api.visits.admit_now(caller, "orders")
        if visit is None:
            return False
        trace = trace_named((headers[TRACE],) if TRACE in headers else ())
        placing = Placing(api, caller, wanted, None, trace)
        way = _Way(api, request, placing, visit, id_of(trace), started, self._waiting)
        logs.bind(trace_id=way.trace_id)
        way.go()
        return True


class _Way:
    """One order from here on."""

    __slots__ = ("_api", "_placing", "_request", "_started", "_visit", "_waiting", "trace_id")

    def __init__(
        self,
        api: Api,
        request: WholeRequest,
        placing: Placing,
        visit: Visit,
        trace_id: str,
        started: float,
        waiting: set[asyncio.Task[None]],
    ) -> None:
        self._api = api
        self._request = request
        self._placing = placing
        self._visit = visit
        self._started = started
        self._waiting = waiting
        self.trace_id = trace_id

    def go(self) -> None:
        """Decide and submit. Never raises."""
        placing = self._placing
        try:
            placing.prepare()
            placing.submit().add_done_callback(self._decided)
        except Problem as problem:
            self._wait_for(placing.refused(problem))
        except Exception as error:  # noqa: BLE001 - whatever it is, the caller is told
            self._answer(self._failed(error))

    def _decided(self, future: "asyncio.Future[Outcome]") -> None:
        """The batch is through, one way or the other."""
        try:
            if self._placing.decided(future):
                self._answer_new()
            elif future.exception() is not None:
                self._answer(self._failed(future.exception()))
            else:
                self._wait_for(self._placing.otherwise(future.result()))
        except Exception as error:  # noqa: BLE001 - as above
            self._answer(self._failed(error))

    def _wait_for(self, other: Awaitable[OrderView]) -> None:
        task = asyncio.get_running_loop().create_task(self._answer_other(other))
        self._waiting.add(task)
        task.add_done_callback(self._waiting.discard)

    async def _answer_other(self, other: Awaitable[OrderView]) -> None:
        try:
            answer = replayed_answer(await other)
        except Exception as error:  # noqa: BLE001 - as above
            answer = self._failed(error)
        self._answer(answer)

    def _failed(self, error: BaseException | None) -> Response:
        if isinstance(error, problems.EXPECTED):
            problem = problems.problem_of(error)
            self._api.metrics.order_refused(problem.code)
        else:
            log.error("request.failed", method="POST", route=ORDERS_PATH, exc_info=error)
            problem = problems.internal_error()
        return problems.problem_answer(problem, self.trace_id)

    # -------------------------------------------------------------- answering

    def _answer_new(self) -> None:
        order, request = self._placing.order, self._request
        self._api.intake.took(time.perf_counter() - self._started)
        body = orjson.dumps(new_document(order))
        (policy, policies), (rate, rates) = self._visit.headers()
        head = (
            request.common_lines,
            len(body),
            location_of(order).encode(),
            self.trace_id.encode(),
            policy,
            policies,
            rate,
            rates,
            self._closing(),
            body,
        )
        self._end(202, _ACCEPTED % head)

    def _answer(self, answer: Response) -> None:
        headers = answer.raw_headers
        dress(headers, self.trace_id, self._visit, is_private=True)
        lines = [b"%b: %b\r\n" % header for header in headers]
        start = self._request.status_line(answer.status_code), self._request.common_lines
        end = self._closing(), b"\r\n", bytes(answer.body)
        self._end(answer.status_code, b"".join((*start, *lines, *end)))

    def _closing(self) -> bytes:
        return _CLOSE if self._api.draining.is_set() or not self._request.keep_alive else b""

    def _end(self, status: int, data: bytes) -> None:
        self._request.answer(data, closing=bool(self._closing()))
        seconds = time.perf_counter() - self._started
        self._api.metrics.http_request("POST", ORDERS_PATH, status, seconds)
        self._visit.end()
