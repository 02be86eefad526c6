"""A load balancer as strict as real ones: it keeps connections to its backends, sends only to those
that say they are ready, and sends again only where no byte of the request had left."""

import asyncio
import contextlib
from collections import Counter, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

_LOOK_SECONDS = 0.3
_ANSWER_SECONDS = 10.0
_BAD_GATEWAY = b"HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
_PROBE = b"GET /readyz HTTP/1.1\r\nhost: probe\r\nconnection: close\r\n\r\n"

Wire = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@dataclass
class Backend:
    """One process behind the balancer, and its connections that wait to be used again."""

    port: int
    ready: bool = False
    surprises: int = 0
    """How often it was gone although it had said that it is ready."""
    idle: deque[Wire] = field(default_factory=deque)

    async def look(self) -> None:
        """Ask whether it may be sent requests."""
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
            with contextlib.closing(writer):
                writer.write(_PROBE)
                async with asyncio.timeout(_ANSWER_SECONDS):
                    self.ready = (await _read_message(reader)).startswith(b"HTTP/1.1 200")
        except (OSError, EOFError):
            self.ready = False
        if not self.ready:
            self.hang_up()

    async def wire(self) -> Wire:
        """A connection that was open a moment ago, else a new one. Raises ConnectionError."""
        while self.idle:
            reader, writer = self.idle.popleft()
            if not reader.at_eof() and not writer.is_closing():
                return reader, writer
            self.surprises += 1
            writer.close()
        return await asyncio.open_connection("127.0.0.1", self.port)

    def hang_up(self) -> None:
        """Close the connections that wait."""
        while self.idle:
            self.idle.popleft()[1].close()


class Balancer:
    """Takes turns among the ready backends. `failed` counts requests that it could not bring."""

    def __init__(self, ports: list[int]) -> None:
        self.backends = [Backend(port) for port in ports]
        self.failed = 0
        self.answers: Counter[int] = Counter()
        """By backend's port."""
        self.talks: set[asyncio.Task[None]] = set()
        self._turn = 0

    async def watch(self) -> None:
        while True:
            await self.look()
            await asyncio.sleep(_LOOK_SECONDS)

    async def look(self) -> None:
        await asyncio.gather(*(backend.look() for backend in self.backends))

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        talk = asyncio.ensure_future(self._talk(reader, writer))
        self.talks.add(talk)
        talk.add_done_callback(self.talks.discard)

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                writer.write(await self._pass_on(await _read_message(reader)))
                await writer.drain()
        except (OSError, EOFError):
            pass
        finally:
            writer.close()

    async def _pass_on(self, request: bytes) -> bytes:
        """Bring a request to a ready backend, the answer back."""
        for backend in self._in_turn():
            try:
                wire = await backend.wire()
            except ConnectionRefusedError:
                backend.surprises += 1
                continue
            return await self._exchange(backend, wire, request)
        self.failed += 1
        return _BAD_GATEWAY

    async def _exchange(self, backend: Backend, wire: Wire, request: bytes) -> bytes:
        reader, writer = wire
        with contextlib.ExitStack() as closing:
            closing.callback(writer.close)
            try:
                writer.write(request)
                async with asyncio.timeout(_ANSWER_SECONDS):
                    answer = await _read_message(reader)
            except (OSError, EOFError):
                self.failed += 1
                return _BAD_GATEWAY
            self.answers[backend.port] += 1
            if b"\r\nconnection: close\r\n" in answer.lower():
                # The hop to the client is another connection; it goes on.
                return answer.replace(b"connection: close\r\n", b"", 1)
            closing.pop_all()
        backend.idle.append(wire)
        return answer

    def _in_turn(self) -> list[Backend]:
        ready = [backend for backend in self.backends if backend.ready]
        self._turn += 1
        start = self._turn % max(len(ready), 1)
        return [*ready[start:], *ready[:start]]


async def _read_message(reader: asyncio.StreamReader) -> bytes:
    """One HTTP message with a stated length. Raises EOFError where the peer has closed."""
    head = await reader.readuntil(b"\r\n\r\n")
    for line in head.lower().split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name == b"content-length":
            return head + await reader.readexactly(int(value))
    return head


@asynccontextmanager
async def balancer(port: int, backends: list[int]) -> AsyncIterator[Balancer]:
    """A balancer that listens on `port`."""
    made = Balancer(backends)
    await made.look()
    server = await asyncio.start_server(made.accept, "127.0.0.1", port)
    watching = asyncio.ensure_future(made.watch())
    try:
        yield made
    finally:
        server.close()
        for task in (watching, *made.talks):
            task.cancel()
        await asyncio.gather(watching, *made.talks, return_exceptions=True)
        for backend in made.backends:
            backend.hang_up()
