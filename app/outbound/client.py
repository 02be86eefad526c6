"""The one way out for hot calls: purchases, status checks and webhooks, over our own HTTP/1.1.

It exists to answer one question with certainty: when a call brings no answer, may anything have
reached the other side? Money depends on it. A purchase of which surely nothing was sent may go to
another dealer at once; any other failure leaves the outcome unknown. Here that is a place in the
code: nothing is written before `Connection.exchange`, and what fails in there is unknown.
`tests/outbound` holds it against real sockets.
"""

import asyncio
from dataclasses import dataclass

from app.outbound.answers import AnswerReader
from app.outbound.connections import Connection
from app.outbound.dialling import dial, not_connected
from app.outbound.failures import FailureKind, TransportFailure, unsendable
from app.outbound.requests import encode_request
from app.outbound.urls import Origin
from dealers.contract import Answer, Request

__all__ = ["CONNECT_TIMEOUT_SECONDS", "FailureKind", "OutboundClient", "Pin", "TransportFailure"]

CONNECT_TIMEOUT_SECONDS = 5.0
IDLE_SECONDS = 30.0
"""A connection that nobody used for so long is closed."""


@dataclass(frozen=True, slots=True)
class Pin:
    """A host name nailed to one address, so that a second look at DNS cannot move it."""

    host: str
    """Lower-case ASCII, as it stands in the URL."""
    address: str
    """IPv4 or IPv6, without brackets."""


class OutboundClient:
    """A pool of HTTP/1.1 connections: no redirects, proxies, cookies, compression or retries.

    The connect time-out belongs to the pool, the total one to each call. Certificates are checked
    against the system's roots, or those in `SSL_CERT_FILE`. With a pin, no other host is called.
    No more than `max_in_flight` connections are open, idle ones included.
    """

    def __init__(
        self,
        *,
        max_in_flight: int,
        connect_timeout_seconds: float = CONNECT_TIMEOUT_SECONDS,
        pin: Pin | None = None,
    ) -> None:
        self._max_in_flight = max_in_flight
        self._connect_timeout_seconds = connect_timeout_seconds
        self._pin = pin
        self._in_flight = 0
        self._connections: set[Connection] = set()
        self._idle: dict[Connection, float] = {}
        """Since when, in the loop's time; the one used last stands last."""
        self._sweep: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed = False

    async def call(
        self, request: Request, *, timeout_seconds: float, max_answer_bytes: int
    ) -> Answer:
        """Send once and read the answer up to `max_answer_bytes`. Raises `TransportFailure`.

        A caller under a lease checks its clock right before. From there to the first byte on the
        wire lie only, unless a warm connection is at hand, name resolution, TCP and TLS, together
        no longer than the connect time-out. Nothing queues: with `max_in_flight` calls under way
        the next one fails at once, unsent. Cancelled calls are abandoned and their connections
        closed; whether they were sent is unknown.

        Host, Content-Length and, where absent, User-Agent and `Accept: */*` are added to the
        request's headers.
        """
        if self._in_flight >= self._max_in_flight:
            detail = f"{self._in_flight} calls in flight"
            raise TransportFailure(FailureKind.BUSY, nothing_sent=True, detail=detail)
        origin, encoded = encode_request(request)
        # Kept, for looking it up is a system call.
        loop = self._loop = self._loop or asyncio.get_running_loop()
        deadline = loop.time() + timeout_seconds
        self._in_flight += 1
        try:
            connection = self._take_idle(origin) or await self._connect(loop, origin, deadline)
            reader = AnswerReader(max_answer_bytes, head_only=request.method == "HEAD")
            answer = await connection.exchange(encoded, reader, deadline)
        finally:
            self._in_flight -= 1
        if connection.usable:
            self._keep(loop, connection)
        return answer

    async def close(self) -> None:
        """Close every connection; calls still in flight fail as cut."""
        self._closed = True
        if self._sweep is not None:
            self._sweep.cancel()
        for connection in self._connections:
            connection.abort()
        # In its next turn the loop closes the sockets.
        await asyncio.sleep(0)

    async def _connect(
        self, loop: asyncio.AbstractEventLoop, origin: Origin, deadline: float
    ) -> Connection:
        address = self._address_of(origin)
        self._make_room()
        connection = Connection(loop, origin, self._forget)
        await dial(
            loop,
            connection,
            address,
            connect_timeout_seconds=self._connect_timeout_seconds,
            deadline=deadline,
        )
        if self._closed:
            connection.abort()
        if not connection.usable:
            raise not_connected("closed before anything was written")
        self._connections.add(connection)
        return connection

    def _address_of(self, origin: Origin) -> str:
        if self._pin is None:
            return origin.host
        if self._pin.host != origin.host:
            raise unsendable("the host is not the one that was pinned")
        return self._pin.address

    def _take_idle(self, origin: Origin) -> Connection | None:
        """The connection used last, which is the likeliest to live; the others may grow old."""
        while found := next((c for c in reversed(self._idle) if c.origin == origin), None):
            del self._idle[found]
            if found.is_quiet():
                return found
            found.abort()
        return None

    def _keep(self, loop: asyncio.AbstractEventLoop, connection: Connection) -> None:
        self._idle[connection] = loop.time()
        if self._sweep is None:
            self._sweep = loop.call_later(IDLE_SECONDS, self._drop_old, loop)

    def _drop_old(self, loop: asyncio.AbstractEventLoop) -> None:
        self._sweep = None
        while self._idle:
            due_at = next(iter(self._idle.values())) + IDLE_SECONDS
            if due_at > loop.time():
                self._sweep = loop.call_at(due_at, self._drop_old, loop)
                return
            self._drop_oldest()

    def _make_room(self) -> None:
        """One connection more is about to be opened, for a call that counts as in flight."""
        while self._idle and self._in_flight + len(self._idle) > self._max_in_flight:
            self._drop_oldest()

    def _drop_oldest(self) -> None:
        oldest = next(iter(self._idle))
        del self._idle[oldest]
        oldest.abort()

    def _forget(self, connection: Connection) -> None:
        self._connections.discard(connection)
        self._idle.pop(connection, None)
