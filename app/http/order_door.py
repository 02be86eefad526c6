"""The door of `POST /v1/orders`: from bytes to an order, and from the order to bytes."""

import re
from collections.abc import Mapping
from time import perf_counter

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from app.errors import FieldError, Unprocessable
from app.hops import HEADER, Hops, InvalidHops, read_hops
from app.http import bodies, problems
from app.http.api import Api, address_of, admit
from app.http.order_answers import new_answer, replayed_answer
from app.http.place import place, shed
from app.scopes import KeyScope
from app.storage.order_views import OrderView
from app.storage.orders import NewOrder
from schemas.orders import NewOrder as Wanted

IDEMPOTENCY_KEY = "Idempotency-Key"
"""May come beside the `ref_id`, which does what it is for."""

HOPS = HEADER.lower().encode()
KEY = IDEMPOTENCY_KEY.lower().encode()
_NAMES = frozenset({b"authorization", b"content-type", b"content-length", HOPS, KEY})
_ESCAPED = re.compile(r'\\(["\\])')


class OrderDoor:
    """Place an order: 202 with a new order, 200 with the one that its reference stands for."""

    # Plain ASGI: what a framework adds to each request would cost as much as accepting it.

    def __init__(self, api: Api) -> None:
        self._api = api

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one `POST /v1/orders`."""
        trace_id = scope["state"]["trace_id"]
        try:
            answer = await self._place(scope, receive)
        except problems.EXPECTED as error:
            problem = problems.problem_of(error)
            self._api.metrics.order_refused(problem.code)
            answer = problems.problem_answer(problem, trace_id)
        await answer(scope, receive, send)

    async def _place(self, scope: Scope, receive: Receive) -> Response:
        api, headers, came = self._api, _headers(scope), perf_counter()
        authorization = _text(headers, b"authorization")
        caller = await admit(api, authorization, address_of(scope), KeyScope.ORDERS_WRITE)
        if not scope["state"].get("let_in"):
            shed(api, caller)
        await api.visits.admit(scope, caller, "orders")
        bodies.require_json(_text(headers, b"content-type") or "")
        declared = _text(headers, b"content-length") or "0"
        waited = perf_counter() - came
        body = await bodies.receive_body(receive, declared, api.limits.body_bytes)
        complete = perf_counter()
        hops = hops_of(scope) if HOPS in headers else None
        wanted, trace = bodies.parse(Wanted, body), scope["state"]["trace"]
        if KEY in headers:
            _require_reference(_text(headers, KEY) or "", wanted.ref_id)
        placed = await place(api, caller, wanted, hops, trace)
        api.intake.took(waited + perf_counter() - complete)
        return _answer(placed)


def _headers(scope: Scope) -> Mapping[bytes, bytes]:
    """The headers that matter here, the first of each name."""
    return {name: value for name, value in reversed(scope["headers"]) if name in _NAMES}


def _text(headers: Mapping[bytes, bytes], name: bytes) -> str | None:
    value = headers.get(name)
    return None if value is None else value.decode("latin-1")


def _require_reference(key: str, ref_id: str) -> None:
    """Raise Unprocessable unless the key, bare or as a quoted string, is the reference: two names
    for one order could stand for two orders."""
    if key == ref_id:
        return
    quoted = len(key) > 1 and key[0] == key[-1] == '"'
    if not quoted or _ESCAPED.sub(r"\1", key[1:-1]) != ref_id:
        sentence = "It must be the order's `ref_id`, or be left out."
        raise Unprocessable(
            "idempotency-mismatch",
            f"The header {IDEMPOTENCY_KEY} names another order than the body. {sentence}",
            errors=[FieldError(IDEMPOTENCY_KEY, sentence)],
        )


def hops_of(scope: Scope) -> Hops | None:
    """The installations that a request came through. Raises Unprocessable."""
    values = [value.decode("latin-1") for name, value in scope["headers"] if name == HOPS]
    if not values:
        return None
    try:
        return read_hops(",".join(values))
    except InvalidHops as fault:
        sentence = f"The header {fault}."
        raise Unprocessable(
            "invalid-request", sentence, errors=[FieldError(HEADER, sentence)]
        ) from None


def _answer(placed: NewOrder | OrderView) -> Response:
    return new_answer(placed) if isinstance(placed, NewOrder) else replayed_answer(placed)
