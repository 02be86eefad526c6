"""Clients that hold streams of events open and keep what they hear: as lean as can be, so that what
is measured is the service."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import cast
from urllib.parse import urlsplit

import orjson

from loadtests.caller import request_head
from loadtests.programs import LoadTestFailure

_OPENING = 64
"""Streams asked for at once."""
_ANSWER_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Heard:
    """One event as it came. `seconds`: since the transaction that made it began."""

    event_id: str
    cursor: str
    seconds: float


class Listener(asyncio.Protocol):
    """One stream."""

    def __init__(self, head: bytes) -> None:
        self._head = head
        self._rest = b""
        self._transport: asyncio.Transport | None = None
        self.heard: list[Heard] = []
        self.begun = asyncio.Event()
        self.has_ended = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask for the stream."""
        self._transport = cast(asyncio.Transport, transport)
        self._transport.write(self._head)

    def connection_lost(self, exc: Exception | None) -> None:
        """The stream is over."""
        self.has_ended = True
        self.begun.set()

    def data_received(self, data: bytes) -> None:
        """Read whole blocks; what the chunked coding puts between them is no field of theirs."""
        *blocks, self._rest = (self._rest + data).split(b"\n\n")
        now = time.time()
        for block in blocks:
            self._read(block, now)

    def _read(self, block: bytes, now: float) -> None:
        fields = dict(
            line.split(b": ", 1) for line in block.split(b"\n") if line.startswith(_FIELDS)
        )
        if b"data" in fields:
            event = orjson.loads(fields[b"data"])
            made = datetime.fromisoformat(event["timestamp"]).timestamp()
            self.heard.append(Heard(event["id"], fields[b"id"].decode(), now - made))
        elif b"id" in fields:
            self.begun.set()

    def close(self) -> None:
        """Leave."""
        if self._transport is not None:
            self._transport.close()


_FIELDS = (b"data: ", b"id: ")


async def open_all(url: str, tokens: Sequence[str]) -> list[Listener]:
    """Open a stream for each key; all stand when this returns. Raises LoadTestFailure."""
    listeners = [
        Listener(request_head("GET", url, authorization=f"Bearer {token}") + b"\r\n")
        for token in tokens
    ]
    address = urlsplit(url)
    host, port = address.hostname or "", address.port or 80
    places = asyncio.Semaphore(_OPENING)
    loop = asyncio.get_running_loop()

    async def begin(listener: Listener) -> None:
        async with places, asyncio.timeout(_ANSWER_SECONDS):
            await loop.create_connection(lambda: listener, host, port)
            await listener.begun.wait()

    try:
        async with asyncio.TaskGroup() as group:
            for listener in listeners:
                group.create_task(begin(listener))
    except* (OSError, TimeoutError) as errors:
        raise LoadTestFailure(f"a stream does not open: {errors.exceptions[0]!r}") from None
    if any(listener.has_ended for listener in listeners):
        raise LoadTestFailure("a stream was refused")
    return listeners
