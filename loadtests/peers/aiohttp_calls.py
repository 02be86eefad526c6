# pyright: basic, reportMissingImports=false
# The peers' packages are in an environment of their own.
"""aiohttp, pooled: one session for the whole process."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager

import aiohttp

from loadtests.peers.bargain import Reply


class AiohttpCalls:
    """Calls by one session."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    async def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> Reply:
        """Send one request and read its answer."""
        async with self._session.post(url, data=body, headers=headers) as response:
            return Reply(response.status, await response.read())


@asynccontextmanager
async def open_calls(connections: int, timeout_seconds: float) -> AsyncGenerator[AiohttpCalls]:
    """A session that keeps so many connections, as aiohttp's page on connectors shows."""
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=connections),
        timeout=aiohttp.ClientTimeout(total=timeout_seconds),
    ) as session:
        yield AiohttpCalls(session)
