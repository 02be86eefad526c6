"""The API behind a real socket, served as the service does, and its streams of events read."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Protocol

import orjson
import uvicorn

from app.http.api import Api
from app.http.server import build_app, wire_protocol

HOST = "127.0.0.1"


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self):
        yield


class Closes(Protocol):
    """A connection."""

    def close(self) -> None: ...


@dataclass(slots=True)
class Served:
    """Where the API answers, and the way to stop it as a signal does."""

    api: Api
    port: int
    server: uvicorn.Server
    streams: list["Closes"] = field(default_factory=list)
    """Connections to close at the end."""

    def stop(self) -> None:
        self.api.draining.set()
        self.server.should_exit = True


@asynccontextmanager
async def serving(api: Api, *, shortcut: bool = True) -> AsyncIterator[Served]:
    """Serve, with what runs beside, while the test lasts."""
    listener = socket.create_server((HOST, 0))
    config = uvicorn.Config(
        build_app(api),
        loop="none",
        http=wire_protocol(api if shortcut else None),
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=20,
    )
    server = _Server(config)
    beside = [asyncio.ensure_future(each.run()) for each in (api.authenticator, api.feed)]
    serve = asyncio.ensure_future(server.serve(sockets=[listener]))
    served = Served(api, listener.getsockname()[1], server)
    try:
        yield served
    finally:
        for stream in served.streams:
            stream.close()
        server.should_exit = True
        await serve
        for each in beside:
            each.cancel()
        await asyncio.gather(*beside, return_exceptions=True)


@dataclass(slots=True)
class Told:
    """One event of a stream, or with no type a sign of life."""

    id: str | None = None
    type: str | None = None
    data: dict = field(default_factory=dict)


@dataclass(slots=True)
class Stream:
    """An open stream. `status` and `headers` are those of the answer."""

    status: int
    headers: dict[str, str]
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def next(self, seconds: float = 10) -> Told | None:
        """The next event; None where the stream ends."""
        while True:
            told = await self.block(seconds)
            if told is None or told.type is not None:
                return told

    async def block(self, seconds: float = 10) -> Told | None:
        """The next event or sign of life; None where the stream ends."""
        told, seen = Told(), False
        async with asyncio.timeout(seconds):
            while line := await self.reader.readline():
                if line.endswith(b"\r\n"):
                    continue  # of the chunked coding: lines of events end otherwise
                if line == b"\n" and seen:
                    return told
                seen = True
                name, _, value = line.decode().rstrip("\n").partition(": ")
                if name == "data":
                    told.data = orjson.loads(value)
                elif name == "event":
                    told.type = value
                elif name == "id":
                    told.id = value
        return None

    async def all(self, count: int) -> list[Told]:
        found = [await self.next() for _ in range(count)]
        assert None not in found
        return [each for each in found if each is not None]

    def close(self) -> None:
        self.writer.close()


async def open_stream(served: Served, token: str, query: str = "", **headers: str) -> Stream:
    """Ask for a stream and read the head of the answer."""
    reader, writer = await asyncio.open_connection(HOST, served.port)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    lines = [f"GET /v1/events/stream{query} HTTP/1.1", f"Host: {HOST}"]
    lines += [f"{name}: {value}" for name, value in {"Authorization": token, **named}.items()]
    writer.write(("\r\n".join(lines) + "\r\n\r\n").encode())
    head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    pairs = (line.split(": ", 1) for line in head[1:] if line)
    status = int(head[0].split()[1])
    stream = Stream(status, {name.lower(): value for name, value in pairs}, reader, writer)
    served.streams.append(stream)
    return stream
