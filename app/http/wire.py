"""How requests come and answers leave on the wire.

Answers leave with head and body in one write. uvicorn writes them apart; for an answer as short as
ours the second system call, and the second packet that wakes the caller, cost more than encoding
it.

Requests must come in time and with a head of bearable size, for which uvicorn has no bounds: who
sends a byte a minute, or headers without end, would keep a connection and its memory for ever.
"""

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

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


class GatheringProtocol(HttpToolsProtocol):
    """uvicorn's protocol on a transport that gathers what is written in one turn of the loop."""

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
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """All of it is there."""
        self._since = None
        super().on_message_complete()

    def _expect_request(self) -> None:
        self._in_head = True
        self._arrived = 0
        self._since: float | None = self.loop.time()

    def _look(self) -> None:
        """Close a connection whose request comes too slowly, unless we keep it from coming."""
        if self._since is not None and not self.flow.read_paused:
            waited = self.loop.time() - self._since
            if waited > SLOWEST_SECONDS and self._arrived < waited * _LEAST_BYTES_A_SECOND:
                self.transport.close()
                return
        self._patience = self.loop.call_later(LOOK_SECONDS, self._look)


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
