"""Real servers on 127.0.0.1 that misbehave as told, and remember what reached them."""

import asyncio
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class Conversation:
    """One accepted connection, closed when its behaviour returns."""

    def __init__(self, peer: "Peer", reader: asyncio.StreamReader, writer: asyncio.StreamWriter):
        self.peer = peer
        self.number = peer.connections
        self.reader = reader
        self.writer = writer

    async def read_request(self) -> None:
        head = await self.reader.readuntil(b"\r\n\r\n")
        length = 0
        for line in head.lower().split(b"\r\n"):
            if line.startswith(b"content-length:"):
                length = int(line.removeprefix(b"content-length:"))
        self.peer.requests.append(head + await self.reader.readexactly(length))
        self.peer.called.set()

    async def send(self, text: bytes) -> None:
        self.writer.write(text)
        await self.writer.drain()

    async def answer(self, body: bytes = b"ok", head: bytes = b"") -> None:
        await self.send(
            b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n%s\r\n" % (len(body), head) + body
        )

    def reset(self) -> None:
        """Close with RST instead of FIN."""
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
        self.writer.transport.abort()


Behaviour = Callable[[Conversation], Awaitable[None]]


class Peer:
    def __init__(self, behaviour: Behaviour) -> None:
        self.behaviour = behaviour
        self.connections = 0
        self.requests: list[bytes] = []
        self.called = asyncio.Event()
        self.port = 0
        self.tasks: list[asyncio.Future[None]] = []
        self.writers: list[asyncio.StreamWriter] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        conversation = Conversation(self, reader, writer)
        self.tasks.append(asyncio.ensure_future(self.converse(conversation)))

    async def converse(self, conversation: Conversation) -> None:
        writer = conversation.writer
        try:
            await self.behaviour(conversation)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()
            self.writers.append(writer)

    async def stop(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        for writer in self.writers:
            writer.transport.abort()
        closed = (writer.wait_closed() for writer in self.writers)
        await asyncio.gather(*closed, return_exceptions=True)


@asynccontextmanager
async def listening(
    behaviour: Behaviour, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1"
) -> AsyncIterator[Peer]:
    peer = Peer(behaviour)
    server = await asyncio.start_server(peer.accept, host, 0, ssl=tls)
    peer.port = server.sockets[0].getsockname()[1]
    try:
        yield peer
    finally:
        server.close()
        await peer.stop()
        await server.wait_closed()


async def answer_forever(conversation: Conversation) -> None:
    while True:
        await conversation.read_request()
        await conversation.answer()


async def hang(conversation: Conversation) -> None:
    await conversation.reader.read()
