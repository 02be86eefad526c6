"""The gate: orders refused for overload with next to no work, before anything is made of them.

It stands on the wire (see `wire`) and knows what the order door would answer. Only callers are
refused here whose key is known; all others take the ordinary way.
"""

import time
from collections.abc import Sequence
from functools import lru_cache

from app.http.api import Api
from app.http.edge import NO_CACHE, NO_SNIFFING, ORDERS_PATH
from app.http.identity import digest_of
from app.http.intake import Reason
from app.http.place import not_let_in
from app.http.problems import problem_answer
from app.http.wire import Asking
from app.traces import NAME as TRACEPARENT
from app.traces import id_of, new_id, trace_told

_AUTHORIZATION = b"authorization"
_TRACE_ID = "0" * 32
"""Stands in the prepared answer where the request's own goes."""


class Gate:
    """Refuses orders of known callers while the intake sheds."""

    def __init__(self, api: Api) -> None:
        self._api = api

    @property
    def is_closing(self) -> bool:
        """Whether orders may have to be refused now."""
        return self._api.intake.sheds and not self._api.draining.is_set()

    def asking(self, headers: Sequence[tuple[bytes, bytes]]) -> Asking:
        """Who asks, as these headers tell."""
        authorization = next((value for name, value in headers if name == _AUTHORIZATION), b"")
        trace = trace_told(value for name, value in headers if name == TRACEPARENT)
        trace_id = None if trace is None else id_of(trace)
        return Asking(digest_of(authorization.decode("latin-1")), trace_id)

    def refusal(self, asking: Asking) -> bytes | None:
        """The answer to who asks, after its status line. Empty: the order is let in; None: the
        order door decides."""
        started, api = time.perf_counter(), self._api
        caller = api.authenticator.recognised(asking.key_digest)
        if caller is None:
            return None
        reason = api.intake.refusal(caller.reseller_id)
        if reason is None:
            return b""
        prepared = _prepared(reason, api.intake.retry_after_seconds(reason))
        trace_id = (asking.trace_id or new_id()).encode()
        api.metrics.order_refused("overloaded")
        api.metrics.http_request("POST", ORDERS_PATH, 503, time.perf_counter() - started)
        return trace_id.join(prepared)


@lru_cache(maxsize=32)
def _prepared(reason: Reason, retry_after_seconds: int) -> tuple[bytes, ...]:
    """The order door's answer as the edge sends it, in the pieces between its trace ids."""
    answer = problem_answer(not_let_in(reason, retry_after_seconds), _TRACE_ID)
    headers = [*answer.raw_headers, (b"x-request-id", _TRACE_ID.encode()), NO_SNIFFING, NO_CACHE]
    head = b"".join(b"%b: %b\r\n" % each for each in headers)
    return tuple((head + b"\r\n" + bytes(answer.body)).split(_TRACE_ID.encode()))
