"""A connection to PostgreSQL that breaks at the worst moment: after a commit, before its reply."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit, urlunsplit

COMMIT = b"COMMIT;\0"


class DroppingProxy:
    """Passes bytes through; once armed, the next request with a mark in it is carried out and its
    reply swallowed."""

    def __init__(self, host: str, port: int) -> None:
        self._host = host
        self._port = port
        self._mark: bytes | None = None
        self._passes = asyncio.Event()
        self._passes.set()
        self.dropped = 0
        self.talks: set[asyncio.Future[None]] = set()

    def arm(self, mark: bytes = COMMIT) -> None:
        self._mark = mark

    def hold(self) -> None:
        """Pass on no more requests: the server is silent from now on."""
        self._passes.clear()

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        talk = asyncio.ensure_future(self._talk(reader, writer))
        self.talks.add(talk)

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server_reader, server_writer = await asyncio.open_connection(self._host, self._port)
        swallowing = asyncio.Event()
        back = asyncio.ensure_future(_pump_back(server_reader, writer, swallowing))
        try:
            while data := await reader.read(65536):
                await self._passes.wait()
                if self._mark is not None and self._mark in data:
                    self._mark = None
                    self.dropped += 1
                    swallowing.set()
                server_writer.write(data)
                await server_writer.drain()
            server_writer.close()
            await back
        except OSError:
            pass
        finally:
            back.cancel()
            writer.close()
            server_writer.close()


async def _pump_back(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, swallowing: asyncio.Event
) -> None:
    while data := await reader.read(65536):
        if swallowing.is_set():
            # The server has answered, so it is done; the client will never know.
            writer.transport.abort()
            return
        writer.write(data)
        await writer.drain()
    writer.close()


@asynccontextmanager
async def dropping_proxy(dsn: str) -> AsyncIterator[tuple[DroppingProxy, str]]:
    """The proxy and the address of the same database through it."""
    parts = urlsplit(dsn)
    assert parts.hostname is not None
    assert parts.port is not None
    proxy = DroppingProxy(parts.hostname, parts.port)
    server = await asyncio.start_server(proxy.accept, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    address = f"{parts.username}:{parts.password}@127.0.0.1:{port}"
    try:
        yield proxy, urlunsplit(parts._replace(netloc=address))
    finally:
        server.close()
        for talk in proxy.talks:
            talk.cancel()
        await asyncio.gather(*proxy.talks, return_exceptions=True)
