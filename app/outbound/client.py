"""The one way out for hot calls: purchases, status checks and webhooks, all through pyreqwest.

It exists to answer one question with certainty: when a call brings no answer, may anything have
reached the other side? Money depends on it. A purchase of which surely nothing was sent may go to
another dealer at once; any other failure leaves the outcome unknown. The exception classes of
pyreqwest do not tell: it raises `ConnectError` for a connection cut after the request arrived, and
`ConnectTimeoutError` for a total time-out long after sending. Only the cause `client error
(Connect)`, which the pool beneath reports while it has no connection to write to (name
resolution, TCP, TLS handshake), is proof. `tests/outbound` holds that against real sockets.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

from pyreqwest.client import Client, ClientBuilder
from pyreqwest.exceptions import (
    BodyDecodeError,
    DecodeError,
    DetailedPyreqwestError,
    PyreqwestError,
    RequestTimeoutError,
)
from pyreqwest.http import HeaderMap
from pyreqwest.request import StreamRequest
from pyreqwest.response import Response

from dealers.contract import Answer, Request

USER_AGENT = "jalur"
CONNECT_TIMEOUT_SECONDS = 5.0
NO_CONNECTION = "client error (Connect)"
MAX_DETAIL_CHARACTERS = 300
BODILESS_METHODS = frozenset({"GET", "HEAD"})


class FailureKind(StrEnum):
    """Why a call brought no answer. The value can serve as a report's code."""

    NOT_CONNECTED = "not-connected"
    """The name, the address or the TLS handshake failed: there was no connection to write to."""
    BUSY = "busy"
    """This client already has as many calls in flight as it may."""
    UNSENDABLE = "unsendable"
    """The request is not valid HTTP: its address, method or a header."""
    TIMED_OUT = "timed-out"
    """No whole answer within the total time allowed."""
    CUT = "cut"
    """The connection broke before the answer was whole."""
    UNREADABLE = "unreadable"
    """What came back is not HTTP."""


class TransportFailure(Exception):
    """A call that brought no answer.

    `nothing_sent` is True only where it is proven that no byte of the request left this process
    for the other side. `detail` is for ops; it never holds the address, whose query may carry a
    password.
    """

    def __init__(self, kind: FailureKind, *, nothing_sent: bool, detail: str) -> None:
        super().__init__(f"{kind}: {detail}")
        self.kind = kind
        self.nothing_sent = nothing_sent
        self.detail = detail


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
    against the system's roots, or those in `SSL_CERT_FILE`.
    """

    def __init__(
        self,
        *,
        max_in_flight: int,
        connect_timeout_seconds: float = CONNECT_TIMEOUT_SECONDS,
        pin: Pin | None = None,
    ) -> None:
        self._client = _build_client(max_in_flight, connect_timeout_seconds, pin)
        self._max_in_flight = max_in_flight
        self._in_flight = 0

    async def call(
        self, request: Request, *, timeout_seconds: float, max_answer_bytes: int
    ) -> Answer:
        """Send once and read the answer up to `max_answer_bytes`. Raises `TransportFailure`.

        A caller under a lease checks its clock right before. From there to the first byte on the
        wire lie only: handing the request to the I/O thread, and, unless a warm connection is at
        hand, name resolution, TCP and TLS, together no longer than the connect time-out. Nothing
        queues: with `max_in_flight` calls under way the next one fails at once, unsent. Cancelled
        calls are abandoned; whether they were sent is unknown.

        Host, User-Agent and, where absent, `Accept: */*` are added to the request's headers.
        """
        if self._in_flight >= self._max_in_flight:
            detail = f"{self._in_flight} calls in flight"
            raise TransportFailure(FailureKind.BUSY, nothing_sent=True, detail=detail)
        prepared = self._prepare(request, timeout_seconds)
        self._in_flight += 1
        try:
            async with prepared as response:
                return await _read_answer(response, max_answer_bytes)
        except PyreqwestError as error:
            # The original names the address with its query: it must not reach a traceback.
            raise _failure(error) from None
        finally:
            self._in_flight -= 1

    async def close(self) -> None:
        """Close every connection; calls still in flight fail as cut."""
        await self._client.close()

    def _prepare(self, request: Request, timeout_seconds: float) -> StreamRequest:
        if not request.url.startswith(("http://", "https://")):
            raise _unsendable("the address is neither http:// nor https://")
        try:
            builder = self._client.request(request.method, request.url)
            builder = builder.headers(request.headers).timeout(timedelta(seconds=timeout_seconds))
            if request.body or request.method not in BODILESS_METHODS:
                builder = builder.body_bytes(request.body)
            return builder.build_streamed()
        except (PyreqwestError, TypeError, ValueError) as error:
            raise _unsendable(_describe(error)) from None


def _build_client(max_in_flight: int, connect_timeout_seconds: float, pin: Pin | None) -> Client:
    builder = (
        ClientBuilder()
        .http1_only()
        .no_proxy()
        .follow_redirects(False)
        .referer(False)
        .default_cookie_store(False)
        .gzip(False)
        .brotli(False)
        .zstd(False)
        .deflate(False)
        .user_agent(USER_AGENT)
        .connect_timeout(timedelta(seconds=connect_timeout_seconds))
        .pool_max_idle_per_host(max_in_flight)
    )
    if pin is not None:
        # Port 0 leaves the URL's own port in force.
        builder = builder.resolve(pin.host, pin.address, 0)
    return builder.build()


async def _read_answer(response: Response, max_answer_bytes: int) -> Answer:
    # One byte beyond the cap tells a body that fits from one that was cut.
    chunk = await response.body_reader.read(max_answer_bytes + 1)
    body = b"" if chunk is None else chunk.to_bytes()
    truncated = len(body) > max_answer_bytes
    if truncated:
        body = body[:max_answer_bytes]
    return Answer(response.status, _read_headers(response.headers), body, truncated)


def _read_headers(headers: HeaderMap) -> Mapping[str, str]:
    """Lower-case names; a repeated header is joined by commas, one beyond ASCII is left out."""
    try:
        read = dict(headers.items())
        if len(read) == len(headers):
            return read
    except ValueError:
        # One unreadable header must not cost the answer's word.
        read = {}
    for name in headers:
        try:
            read[name] = ", ".join(headers.getall(name))
        except ValueError:
            continue
    return read


def _failure(error: PyreqwestError) -> TransportFailure:
    if _never_connected(error):
        kind = FailureKind.NOT_CONNECTED
    elif isinstance(error, RequestTimeoutError):
        kind = FailureKind.TIMED_OUT
    elif isinstance(error, DecodeError) and not isinstance(error, BodyDecodeError):
        kind = FailureKind.UNREADABLE
    else:
        kind = FailureKind.CUT
    nothing_sent = kind is FailureKind.NOT_CONNECTED
    return TransportFailure(kind, nothing_sent=nothing_sent, detail=_describe(error))


def _never_connected(error: PyreqwestError) -> bool:
    # The second cause is the pool's own verdict; deeper ones may quote what the peer sent.
    return _causes(error)[1:2] == [NO_CONNECTION]


def _causes(error: Exception) -> list[str]:
    if not isinstance(error, DetailedPyreqwestError):
        return []
    return [cause["message"] for cause in error.details["causes"] or []]


def _describe(error: Exception) -> str:
    # What may be secret is left out: the first cause quotes the address, and a header that cannot
    # be sent is quoted behind a colon.
    phrase, _, _ = str(error.args[0]).partition(":")
    return ": ".join([phrase, *_causes(error)[1:]])[:MAX_DETAIL_CHARACTERS]


def _unsendable(detail: str) -> TransportFailure:
    return TransportFailure(FailureKind.UNSENDABLE, nothing_sent=True, detail=detail)
