# pyright: basic, reportMissingImports=false
# The peers' packages are in an environment of their own.
"""httpx, pooled: one client for the whole process."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager

import httpx

from loadtests.peers.bargain import Reply


class HttpxCalls:
    """Calls by one client."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client

    async def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> Reply:
        """Send one request and read its answer."""
        response = await self._client.post(url, content=body, headers=headers)
        return Reply(response.status_code, response.content)


@asynccontextmanager
async def open_calls(connections: int, timeout_seconds: float) -> AsyncGenerator[HttpxCalls]:
    """A client that keeps so many connections, as httpx's page on limits shows."""
    limits = httpx.Limits(max_connections=connections, max_keepalive_connections=connections)
    async with httpx.AsyncClient(limits=limits, timeout=timeout_seconds, trust_env=False) as client:
        yield HttpxCalls(client)
