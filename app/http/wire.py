"""How requests come and answers leave on the wire.

Orders, which are most requests, are offered whole to a shortcut before a task is made for them.
While orders are shed, they are refused here as soon as their head is there, and most of them before
anything is parsed.

Answers leave with head and body in one write. uvicorn writes them apart; for an answer as short as
ours the second system call, and the second packet that wakes the caller, cost more than encoding
it.

Requests must come in time and with a head of bearable size, for which uvicorn has no bounds: who
sends a byte a minute, or headers without end, would keep a connection and its memory for ever.
"""

import asyncio
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, NamedTuple, Protocol, cast

from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)

SLOWEST_SECONDS = 20.0
"""So long a request may take to come, and longer only at some pace."""
LOOK_SECONDS = 5.0
LARGEST_HEAD_BYTES = 65_536
_LEAST_BYTES_A_SECOND = 1024
_HEAD_TOO_LARGE = b"\r\n".join(
    (
        b"HTTP/1.1 431 Request Header Fields Too Large",
        b"connection: close",
        b"content-length: 0",
        b"",
        b"",
    )
)


_TELLING = re.compile(
    rb"\r\n(authorization|traceparent|content-length|connection|transfer-encoding|expect|upgrade)"
    rb":[ \t]*([^\r\n]*)",
    re.IGNORECASE,
)
"""The headers that tell what a request is and how it ends."""
_MOST_DIGITS = 10
_HEAD_END = b"\r\n\r\n"
_LONGEST_PLAIN_BYTES = 2048
_MOST_HEADS = 8192
_PLAIN = frozenset({b"authorization", b"traceparent", b"content-length", b"connection"})

_HEARD = asyncio.Event()


class Shortcut(Protocol):
    """Answers whole requests to one address, if it takes them."""

    def take(self, request: "WholeRequest") -> bool:
        """Whether it answers this request, at once or later. Never raises."""
        ...


class Asking(NamedTuple):
    """Who asks, as the head of a request tells it. It may be kept: the key itself is not in it."""

    key_digest: bytes
    trace_id: str | None
    """Of the trace that the caller sent; None: it sent none."""


class Gate(Protocol):
    """Refuses requests on the wire."""

    @property
    def is_closing(self) -> bool:
        """Whether requests may have to be refused now; asked for every one."""
        ...

    def asking(self, headers: Sequence[tuple[bytes, bytes]]) -> Asking:
        """Who asks, as these headers tell."""
        ...

    def refusal(self, asking: Asking) -> bytes | None:
        """What to answer a request of theirs with 503, after the status line and what every answer
        of the server has. Empty: it is let in. None: whoever serves it decides."""
        ...


class _Heads:
    """What the heads told that came lately: most requests of a caller have the same.

    They are kept by their hashes, so that no key stays in memory.
    """

    def __init__(self) -> None:
        self._told: dict[bytes, tuple[Asking, int] | None] = {}

    def read(self, gate: Gate, head: bytes) -> tuple[Asking, int] | None:
        """Who asks and how long the body is; None where that is not certain at a glance."""
        digest = sha256(head).digest()
        if digest in self._told:
            return self._told[digest]
        if len(self._told) >= _MOST_HEADS:
            self._told.clear()
        plain = _plain(head)
        told = self._told[digest] = plain and (gate.asking(plain[0]), plain[1])
        return told


class _Answered:
    """Stands for uvicorn's exchange after a refusal: nothing more is to come of it."""

    response_complete = True
    disconnected = False
    message_event = _HEARD


_ANSWERED = cast(RequestResponseCycle, _Answered())


@dataclass(frozen=True, slots=True)
class ShortWay:
    """A shortcut, and what requests it is offered; the gate before it."""

    shortcut: Shortcut
    gate: Gate
    method: bytes
    target: bytes
    first_line: bytes
    """With which such a request begins."""
    most_body_bytes: int
    heads: _Heads = field(default_factory=_Heads)

    def asking(self, data: bytes) -> Asking | None:
        """Who asks with the one request that these bytes are, without a byte more or less; None
        where that is not certain at a glance."""
        end = data.find(_HEAD_END, 0, _LONGEST_PLAIN_BYTES)
        if end < 0 or not data.startswith(self.first_line):
            return None
        told = self.heads.read(self.gate, data[:end])
        return told[0] if told and end + len(_HEAD_END) + told[1] == len(data) else None


class WholeRequest:
    """A request that is all there, and the way back. To uvicorn it is a request under way."""

    __slots__ = (
        "_protocol",
        "body",
        "disconnected",
        "headers",
        "keep_alive",
        "let_in",
        "response_complete",
    )

    message_event = _HEARD
    """Nobody waits for more of it."""

    def __init__(self, protocol: "GatheringProtocol", body: bytes) -> None:
        self._protocol = protocol
        self.headers: Sequence[tuple[bytes, bytes]] = protocol.headers
        """Names in lower case."""
        self.body = body
        self.let_in = protocol.let_in
        """Whether the gate was asked and let it in."""
        self.keep_alive = True
        """False once the connection is to end with the answer."""
        self.disconnected = False
        self.response_complete = False

    @property
    def address(self) -> str:
        """Of the connection's other end."""
        client = self._protocol.client
        return client[0] if client else ""

    @property
    def common_lines(self) -> bytes:
        """Header lines that every answer has, such as its date."""
        return self._protocol.common_lines

    @staticmethod
    def status_line(status: int) -> bytes:
        """The first line of an answer."""
        return STATUS_LINE[status]

    def answer(self, data: bytes, *, closing: bool) -> None:
        """Send the whole answer, which says itself if it is the connection's last."""
        self.response_complete = True
        if not self.disconnected:
            self._protocol.send_whole(data, closing=closing)


class GatheringProtocol(HttpToolsProtocol):
    """uvicorn's protocol on a transport that gathers what is written in one turn of the loop."""

    def __init__(self, *given: Any, short_way: ShortWay | None = None, **named: Any) -> None:  # noqa: ANN401 (uvicorn's)
        super().__init__(*given, **named)
        self._short_way = short_way
        self.let_in = False
        self._pieces: list[bytes] | None = None
        """The body so far of a request that the shortcut is going to be offered."""
        self._idle_since: float | None = None
        self._was_asked_for = False
        """Whether the gate let the request in that is about to be parsed."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Wrap the transport of a new connection, and watch what comes."""
        super().connection_made(_Gathering(transport))
        # For who must end an answer that the client does not take: `state` of every request.
        self.app_state = {**self.app_state, "abort": transport.abort}
        self._expect_request()
        self._patience = self.loop.call_later(LOOK_SECONDS, self._look)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop watching."""
        self._patience.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take what came; a head that does not end is refused."""
        self._arrived += len(data)
        self._idle_since = None
        way = self._short_way
        if way is not None and way.gate.is_closing and self._is_refused_unparsed(way, data):
            return
        super().data_received(data)
        if self._in_head and self._arrived > LARGEST_HEAD_BYTES:
            self.transport.write(_HEAD_TOO_LARGE)
            self.transport.close()

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        self._expect_request()

    def on_headers_complete(self) -> None:
        """Its head is there."""
        self._in_head = False
        if self._short_way is None or not self._is_for(self._short_way):
            super().on_headers_complete()
        elif not self._is_refused(self._short_way.gate):
            self._pieces = []

    def on_body(self, body: bytes) -> None:
        """A piece of its body is there."""
        if self._pieces is None:
            super().on_body(body)
            return
        self._pieces.append(body)
        if self._short_way and sum(map(len, self._pieces)) > self._short_way.most_body_bytes:
            self._go_the_long_way()

    def on_message_complete(self) -> None:
        """All of it is there."""
        self._since = None
        if self._pieces is not None and self._short_way is not None:
            request, before = WholeRequest(self, b"".join(self._pieces)), self.cycle
            self.cycle = cast(RequestResponseCycle, request)
            if self._short_way.shortcut.take(request):
                self._pieces = None
                return
            self.cycle = before
            self._go_the_long_way()
        super().on_message_complete()

    def shutdown(self) -> None:
        """Stop after the request under way, of which perhaps only a part is there."""
        if self._pieces is not None:
            self._go_the_long_way()
        super().shutdown()

    def send_whole(self, data: bytes, *, closing: bool) -> None:
        """Send the answer to a request that the shortcut took."""
        cast(_Gathering, self.transport).write_now(data)
        if closing:
            self.transport.close()
        self.on_response_complete()

    def on_response_complete(self) -> None:
        """Go on with the request that waits, or wait for the next one.

        As uvicorn's, without a timer for every answer: who stays away too long is seen by `_look`.
        """
        if self.pipeline:
            super().on_response_complete()
            return
        self.server_state.total_requests += 1
        if not self.transport.is_closing():
            self.flow.resume_reading()
            self._idle_since = self.loop.time()

    @property
    def common_lines(self) -> bytes:
        """Header lines that every answer has, such as its date; the server renews them."""
        return _lines(self.server_state.default_headers)

    def _is_for(self, way: ShortWay) -> bool:
        """Whether a request is one for the shortcut, on a connection where nothing else waits."""
        parser = self.parser
        return (
            parser is not None
            and self.url == way.target
            and parser.get_method() == way.method
            and parser.get_http_version() == "1.1"
            and parser.should_keep_alive()
            and not self.expect_100_continue
            and not parser.should_upgrade()
            and not self.flow.write_paused
            and (self.cycle is None or self.cycle.response_complete)  # pyright: ignore[reportUnnecessaryComparison]
        )

    def _is_refused(self, gate: Gate) -> bool:
        """Ask the gate while it closes; whom it refuses is answered, and the body passed over."""
        if self._was_asked_for:
            self._was_asked_for, self.let_in = False, True
            return False
        refusal = gate.refusal(gate.asking(self.headers)) if gate.is_closing else None
        self.let_in = refusal is not None
        if not refusal:
            return False
        self.cycle = self.cycle or _ANSWERED
        self.send_whole(STATUS_LINE[503] + self.common_lines + refusal, closing=False)
        return True

    def _is_refused_unparsed(self, way: ShortWay, data: bytes) -> bool:
        """Ask the gate about a request that is whole in what just came, and all of it.

        Whatever is not as plain as that is parsed first.
        """
        between = self._since is None and (self.cycle is None or self.cycle.response_complete)  # pyright: ignore[reportUnnecessaryComparison]
        if not between or self.flow.write_paused or self.transport.is_closing():
            return False
        asking = way.asking(data)
        refusal = None if asking is None else way.gate.refusal(asking)
        self._was_asked_for = refusal == b""
        if not refusal:
            return False
        self.send_whole(STATUS_LINE[503] + self.common_lines + refusal, closing=False)
        return True

    def _go_the_long_way(self) -> None:
        """Have the application answer after all, from the beginning of the body."""
        pieces, self._pieces = self._pieces or (), None
        if self.let_in:
            cast("dict[str, Any]", self.scope.get("state"))["let_in"] = True
        super().on_headers_complete()
        for piece in pieces:
            super().on_body(piece)

    def _expect_request(self) -> None:
        self._in_head = True
        self._arrived = 0
        self._since: float | None = self.loop.time()

    def _look(self) -> None:
        """Close a connection whose next request stays away for too long, or comes too slowly
        although we do not keep it from coming."""
        if self._is_too_slow() or self._is_idle_too_long():
            self.transport.close()
        else:
            self._patience = self.loop.call_later(LOOK_SECONDS, self._look)

    def _is_too_slow(self) -> bool:
        if self._since is None or self.flow.read_paused:
            return False
        waited = self.loop.time() - self._since
        return waited > SLOWEST_SECONDS and self._arrived < waited * _LEAST_BYTES_A_SECOND

    def _is_idle_too_long(self) -> bool:
        since = self._idle_since
        return since is not None and self.loop.time() - since > self.timeout_keep_alive


def _plain(head: bytes) -> tuple[Sequence[tuple[bytes, bytes]], int] | None:
    """What the gate reads of a head, and the length of the body; None where that is not plain."""
    if head.count(b"\n") != head.count(b"\r\n"):
        return None
    told = [(name.lower(), value) for name, value in _TELLING.findall(head)]
    headers = dict(told)
    length = headers.get(b"content-length", b"")
    is_plain = len(headers) == len(told) and headers.keys() <= _PLAIN
    has_length = length.isdigit() and len(length) < _MOST_DIGITS
    stays = headers.get(b"connection", b"keep-alive") == b"keep-alive"
    return (told, int(length)) if is_plain and has_length and stays else None


class _Lines:
    """The header lines made last, and of which headers: they change once a second."""

    __slots__ = ("_headers", "_lines")

    def __init__(self) -> None:
        self._headers: Sequence[tuple[bytes, bytes]] | None = None
        self._lines = b""

    def __call__(self, headers: Sequence[tuple[bytes, bytes]]) -> bytes:
        if headers is not self._headers:
            self._headers = headers
            self._lines = b"".join([b"%b: %b\r\n" % header for header in headers])
        return self._lines


_lines = _Lines()


class _Gathering(asyncio.Transport):
    """As much of a transport as uvicorn uses."""

    def __init__(self, transport: asyncio.Transport) -> None:
        super().__init__()
        self._transport = transport
        self._loop = asyncio.get_running_loop()
        self._waiting: list[bytes | bytearray | memoryview] = []

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if not self._waiting:
            self._loop.call_soon(self._flush)
        self._waiting.append(data)

    def write_now(self, data: bytes) -> None:
        """Write what is an answer by itself, behind what waits."""
        if self._waiting:
            self._waiting.append(data)
        else:
            self._transport.write(data)

    def close(self) -> None:
        self._flush()
        self._transport.close()

    def abort(self) -> None:
        self._waiting.clear()
        self._transport.abort()

    def is_closing(self) -> bool:
        return self._transport.is_closing()

    def get_extra_info(self, name: str, default: Any = None) -> Any:  # noqa: ANN401 (asyncio's)
        return self._transport.get_extra_info(name, default)

    def pause_reading(self) -> None:
        self._transport.pause_reading()

    def resume_reading(self) -> None:
        self._transport.resume_reading()

    def _flush(self) -> None:
        if self._waiting:
            self._transport.write(b"".join(self._waiting))
            self._waiting.clear()
