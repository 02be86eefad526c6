"""What lies between two installations, and loses answers."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from enum import StrEnum

import httpx


class Loss(StrEnum):
    """What becomes of a purchase on its way."""

    NONE = "none"
    CUT_BEFORE = "cut before it arrives"
    CUT_AFTER = "cut after it arrived"
    BAD_GATEWAY = "answered with 502 after it arrived"


class Between:
    """Passes requests on to one installation; purchases suffer the loss that is set."""

    def __init__(self, target: str) -> None:
        self.loss = Loss.NONE
        self.lost = 0
        self.asked = 0
        """How many requests were no purchase."""
        self._client = httpx.AsyncClient(base_url=target, trust_env=False, verify=False)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One request a connection."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        method, target, _ = head[0].split(" ")
        headers = dict(line.split(": ", 1) for line in head[1:] if line)
        lowered = {name.lower(): value for name, value in headers.items()}
        body = await reader.readexactly(int(lowered.pop("content-length", "0")))
        loss = self.loss if method == "POST" else Loss.NONE
        self.asked += method == "GET"
        self.lost += loss is not Loss.NONE
        if loss is Loss.CUT_BEFORE:
            writer.transport.abort()
            return
        answer = await self._client.request(method, target, headers=lowered, content=body)
        if loss is Loss.CUT_AFTER:
            writer.transport.abort()
            return
        status = 502 if loss is Loss.BAD_GATEWAY else answer.status_code
        content = b"" if loss is Loss.BAD_GATEWAY else answer.content
        writer.write(
            f"HTTP/1.1 {status} -\r\ncontent-length: {len(content)}\r\nconnection: close\r\n"
            f"content-type: {answer.headers['content-type']}\r\n\r\n".encode()
            + content
        )
        await writer.drain()
        writer.close()

    async def close(self) -> None:
        await self._client.aclose()


@asynccontextmanager
async def standing_between(target: str, port: int) -> AsyncIterator[Between]:
    between = Between(target)
    async with await asyncio.start_server(between.serve, "127.0.0.1", port):
        yield between
    await between.close()
