"""The asking end of HTTP, as lean as the receiver's: what it spends is missing to what is measured.

One connection with one request under way: a whole request is one write, its answer is parsed by
C, and nothing lies between.
"""

import asyncio
from dataclasses import dataclass
from typing import cast
from urllib.parse import urlsplit

from httptools import HttpParserError, HttpResponseParser

FAULTS = (OSError, HttpParserError)
"""What `ask` raises where no whole answer came."""


@dataclass(frozen=True, slots=True)
class Heard:
    """A whole answer."""

    status: int
    body: bytes


class Caller(asyncio.Protocol):
    """A connection to one server, opened when it is needed and again after it was lost."""

    def __init__(self, url: str, timeout_seconds: float) -> None:
        address = urlsplit(url)
        self._host, self._port = address.hostname or "", address.port or 80
        self._timeout_seconds = timeout_seconds
        self._transport: asyncio.Transport | None = None
        self._answer: asyncio.Future[Heard] | None = None

    async def ask(self, request: bytes) -> Heard:
        """Send one whole request and wait for its answer. Raises one of `FAULTS`."""
        loop = asyncio.get_running_loop()
        transport = self._transport
        if transport is None or transport.is_closing():
            transport, _ = await loop.create_connection(lambda: self, self._host, self._port)
        self._answer = loop.create_future()
        overdue = loop.call_later(self._timeout_seconds, self._fail, TimeoutError())
        transport.write(request)
        try:
            return await self._answer
        finally:
            overdue.cancel()

    def close(self) -> None:
        """Close the connection, if there is one."""
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin anew: nothing of an earlier connection's answer is left."""
        self._transport = cast(asyncio.Transport, transport)
        self._parser = HttpResponseParser(self)
        self._body = b""

    def connection_lost(self, exc: Exception | None) -> None:
        """Whoever waits is told."""
        self._transport = None
        self._fail(exc or ConnectionResetError("closed before the answer was whole"))

    def data_received(self, data: bytes) -> None:
        """Read on; the parser calls the `on_` methods."""
        try:
            self._parser.feed_data(data)
        except HttpParserError as error:
            self._fail(error)

    def on_message_begin(self) -> None:
        """An answer begins."""
        self._body = b""

    def on_body(self, body: bytes) -> None:
        """A part of its body."""
        self._body += body

    def on_message_complete(self) -> None:
        """It is whole."""
        status = self._parser.get_status_code()
        if not self._parser.should_keep_alive():
            self.close()
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(Heard(status, self._body))

    def _fail(self, error: Exception) -> None:
        """Tell whoever waits; what else comes on this connection would be another's answer."""
        if self._transport is not None:
            self._transport.abort()
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error)


def request_head(method: str, url: str, **headers: str) -> bytes:
    """A request's first bytes, up to where its `content-length` or its end goes."""
    address = urlsplit(url)
    target = f"{address.path}?{address.query}" if address.query else address.path
    lines = [f"{method} {target} HTTP/1.1", f"host: {address.netloc}", "accept: */*"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, ""]).encode()
