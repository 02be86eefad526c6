"""Processes on one database send a dealer together no more than it bears."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import asyncpg

from tests.faults.shop import Process, Shop, order, place
from tests.lifecycle.counters import Asked, counter
from tests.outbound.peers import Peer
from tests.ports import free_port
from tests.publishing import PUBLISH
from tests.shops import until

CONCURRENCY = 4
RATE = 20.0
BURST = 5


@dataclass
class Till:
    """A dealer that counts what is under way at its counter, and when each request came."""

    answer_seconds: float
    under_way: int = 0
    peak: int = 0
    arrived: list[float] = field(default_factory=list)

    async def serve(self, asked: Asked) -> bytes:
        self.arrived.append(time.monotonic())
        self.under_way += 1
        self.peak = max(self.peak, self.under_way)
        try:
            await asyncio.sleep(self.answer_seconds)
        finally:
            self.under_way -= 1
        return asked.sukses()


@asynccontextmanager
async def only_dealer(shop: Shop, till: Till, **columns: float) -> AsyncIterator[Peer]:
    """Make the till the only dealer of the shop."""
    async with counter(till.serve) as peer:
        connection = await asyncpg.connect(shop.dsn)
        await connection.execute("update dealers set enabled = dealer_id = 'cahaya'")
        await connection.execute(
            """
            update dealers set base_url = $1, concurrency = $2, requests_per_second = $3,
                               timeout_seconds = 2
            where dealer_id = 'cahaya'
            """,
            peer.url,
            columns.get("concurrency", 64),
            columns.get("rate"),
        )
        await connection.execute(PUBLISH)
        await connection.close()
        yield peer


def serve(shop: Shop, port: int | None = None) -> Process:
    return shop.start("serve", port, JALUR_DRAIN_SECONDS="0")


async def place_at(shop: Shop, ports: list[int], numbers: range) -> dict[str, str]:
    """Place orders that every dealer would serve, with each process in turn."""
    accepted: dict[str, str] = {}
    clients = [shop.client(port) for port in ports]
    async with asyncio.TaskGroup() as group:
        for number in numbers:
            body = order(number, 0)
            group.create_task(place(clients[number % len(clients)], body, accepted))
            await asyncio.sleep(0.005)
    for client in clients:
        await client.aclose()
    return accepted


async def becomes(shop: Shop, query: str, *values: object) -> None:
    """Wait until a query says true."""
    connection = await asyncpg.connect(shop.dsn)
    await until(lambda: connection.fetchval(query, *values), seconds=90)
    await connection.close()


async def all_final(shop: Shop) -> None:
    query = "select count(*) = 0 from orders where status in ('accepted', 'processing')"
    await becomes(shop, query)


async def shared_evenly(shop: Shop, count: int) -> None:
    """So many processes hold all of the dealer's places between them."""
    query = """
        select count(*) = $1 and sum((holds -> 'cahaya' ->> 'places')::integer) = $2
               and min((holds -> 'cahaya' ->> 'places')::integer) = $2 / $1
        from processes
    """
    await becomes(shop, query, count, CONCURRENCY)


async def test_two_processes_keep_to_the_dealers_concurrency(shop: Shop) -> None:
    """Also while the second one joins, one is killed and a third takes its place."""
    till, other_port, third_port = Till(0.05), free_port(), free_port()
    async with only_dealer(shop, till, concurrency=CONCURRENCY):
        serve(shop)
        await shop.until_ready()
        first = asyncio.ensure_future(place_at(shop, [shop.port], range(100)))
        other = serve(shop, other_port)
        await shop.until_ready(other_port)
        await first
        await shared_evenly(shop, 2)
        await place_at(shop, [shop.port, other_port], range(100, 260))
        other.kill()
        serve(shop, third_port)
        await shop.until_ready(third_port)
        await place_at(shop, [shop.port, third_port], range(260, 340))
        await shared_evenly(shop, 2)
        await all_final(shop)
        assert till.peak == CONCURRENCY
        assert len(till.arrived) >= 340


async def test_two_processes_keep_to_the_dealers_rate(shop: Shop) -> None:
    till, other_port = Till(0.01), free_port()
    async with only_dealer(shop, till, rate=RATE):
        serve(shop)
        serve(shop, other_port)
        await shop.until_ready()
        await shop.until_ready(other_port)
        started = time.monotonic()
        await place_at(shop, [shop.port, other_port], range(120))
        await all_final(shop)
        seconds = time.monotonic() - started
    assert len(till.arrived) == 120
    # Twice the burst: what was let through late counts where it arrives.
    for number, first in enumerate(till.arrived):
        for count, last in enumerate(till.arrived[number:], start=1):
            assert count <= 2 * BURST + RATE * (last - first + 0.5)
    assert seconds >= (120 - 2 * BURST) / RATE - 0.5
