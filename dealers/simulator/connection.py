"""An HTTP server of the least that will do: no framework, and one write an answer.

The simulator and the load tests' receiver share their machine with what is measured there. A
general web server spends more on a request than either of them does.
"""

import asyncio
import json
import signal
import socket
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from typing import cast

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser

_HOST = "127.0.0.1"
_BACKLOG = 2048
_BODY_CAP_BYTES = 64 * 1024
_STOP_SECONDS = 2.0
_TEXT = b"text/plain; charset=utf-8"
_STATUS_LINES = {each.value: f"{each.value} {each.phrase}".encode() for each in HTTPStatus}
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Request:
    """A whole request."""

    method: str
    target: bytes
    """Path and query, as they were sent."""
    headers: Mapping[bytes, bytes]
    """Names in lower case."""
    body: bytes
    is_last: bool
    """Whether the connection ends with the answer."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer on the wire, and how long it is held before it leaves."""

    wire: bytes
    after_seconds: float = 0.0


Respond = Callable[[Request], Answer | None]
"""Answers a request. None: the connection is cut instead."""


def on_wire(body: bytes, content_type: bytes = _TEXT, status: int = 200) -> bytes:
    """An answer as its bytes."""
    return b"HTTP/1.1 %b\r\ncontent-type: %b\r\ncontent-length: %d\r\n\r\n%b" % (
        _STATUS_LINES[status],
        content_type,
        len(body),
        body,
    )


_INVALID = on_wire(b"Invalid HTTP request received.", status=400)
_TOO_LARGE = Answer(on_wire(b"Payload Too Large", status=413))
_FAILED = Answer(on_wire(b"Internal Server Error", status=500))


class Connection(asyncio.Protocol):
    """One connection: its requests are answered one after the other, in their order."""

    def __init__(self, respond: Respond, connections: "set[Connection]") -> None:
        self._respond = respond
        self._connections = connections
        self._parser = HttpRequestParser(self)
        self._waiting: deque[Request] = deque()
        self._held: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep where to answer."""
        self._transport = cast(asyncio.Transport, transport)
        self._connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget an answer that nobody waits for any more."""
        self._connections.discard(self)
        if self._held is not None:
            self._held.cancel()

    def hang_up(self) -> None:
        """End the connection; one whose answer is being held is cut."""
        if self._held is None:
            self._transport.close()
        else:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        """Read on; the parser calls the `on_` methods."""
        try:
            self._parser.feed_data(data)
        except HttpParserUpgrade:
            pass  # Who wants another protocol is answered in this one.
        except HttpParserError:
            self._end_with(_INVALID)
            return
        self._serve_waiting()

    def on_message_begin(self) -> None:
        """A request begins."""
        self._target = b""
        self._headers: dict[bytes, bytes] = {}
        self._body = b""

    def on_url(self, url: bytes) -> None:
        """A part of its path and query."""
        self._target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """One of its headers."""
        self._headers[name.lower()] = value

    def on_headers_complete(self) -> None:
        """Tell a client that asks first that it may send its body."""
        if b"expect" in self._headers and self._headers[b"expect"].lower() == b"100-continue":
            self._transport.write(_CONTINUE)

    def on_body(self, body: bytes) -> None:
        """A part of its body. Past the cap the rest is dropped: what is here shows that."""
        if len(self._body) <= _BODY_CAP_BYTES:
            self._body += body

    def on_message_complete(self) -> None:
        """It is whole."""
        is_last = not self._parser.should_keep_alive()
        method = self._parser.get_method().decode()
        self._waiting.append(Request(method, self._target, self._headers, self._body, is_last))

    def _serve_waiting(self) -> None:
        while self._waiting and self._held is None and not self._transport.is_closing():
            request = self._waiting.popleft()
            answer = self._answer(request)
            if answer is None:
                self._transport.abort()
            elif answer.after_seconds > 0:
                loop = asyncio.get_running_loop()
                self._held = loop.call_later(answer.after_seconds, self._release, request, answer)
            else:
                self._send(request, answer.wire)

    def _answer(self, request: Request) -> Answer | None:
        if len(request.body) > _BODY_CAP_BYTES:
            return _TOO_LARGE
        try:
            return self._respond(request)
        except Exception as error:  # noqa: BLE001 - told where asyncio tells of its own
            context = {"message": f"no answer to {request.target!r}", "exception": error}
            asyncio.get_running_loop().call_exception_handler(context)
            return _FAILED

    def _release(self, request: Request, answer: Answer) -> None:
        self._held = None
        self._send(request, answer.wire)
        self._serve_waiting()

    def _send(self, request: Request, wire: bytes) -> None:
        if request.method == "HEAD":
            wire = wire[: wire.index(b"\r\n\r\n") + 4]
        if request.is_last:
            self._end_with(wire)
        else:
            self._transport.write(wire)

    def _end_with(self, wire: bytes) -> None:
        self._transport.write(wire.replace(b"\r\n", b"\r\nconnection: close\r\n", 1))
        self._transport.close()


def listen(port: int) -> socket.socket:
    """A listening socket on the loopback address; port 0 takes a free one. Raises OSError."""
    return socket.create_server((_HOST, port), backlog=_BACKLOG)


async def serve(respond: Respond, listener: socket.socket) -> None:
    """Serve until SIGTERM or SIGINT; prints the address as one JSON line when it does.

    Answers that are being held then are not waited for: their connections are cut.
    """
    connections: set[Connection] = set()
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    server = await loop.create_server(
        lambda: Connection(respond, connections), sock=listener, backlog=_BACKLOG
    )
    host, port = listener.getsockname()
    print(json.dumps({"listening": f"http://{host}:{port}"}), flush=True)  # noqa: T201
    await stop.wait()
    server.close()
    for connection in list(connections):
        connection.hang_up()
    with suppress(TimeoutError):
        async with asyncio.timeout(_STOP_SECONDS):
            await server.wait_closed()
