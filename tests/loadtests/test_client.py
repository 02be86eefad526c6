"""Open loads: every order has its moment, and counts from it however late it could be sent."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from loadtests.client import Load
from loadtests.job import Job

ACCEPTED = b"HTTP/1.1 202 Accepted\r\ncontent-length: 2\r\n\r\n{}"
STALL_SECONDS = 0.3
ORDERS, PER_SECOND = 20, 100.0


class Stalling(asyncio.Protocol):
    """Answers the first request after a while, which all those behind it wait for."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def connection_made(self, transport: asyncio.Transport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        asyncio.get_running_loop().call_later(self.seconds, self.transport.write, ACCEPTED)
        self.seconds = 0.0


@asynccontextmanager
async def loaded(seconds: float, connections: int) -> AsyncIterator[Load]:
    """A load that was sent, openly, to a server that begins with a stall."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Stalling(seconds), "127.0.0.1", 0)
    async with server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        load = Load(Job(url, ["key"], 10, ORDERS, connections=connections, per_second=PER_SECOND))
        await load.run_open(range(ORDERS), PER_SECOND)
        yield load
        load.close()
    await asyncio.sleep(0)


async def test_an_order_that_could_not_be_sent_in_time_counts_from_when_it_was_due() -> None:
    async with loaded(STALL_SECONDS, connections=1) as load:
        outcome = load.outcome(range(ORDERS), 0.0)
    assert (outcome.orders, outcome.faults) == (ORDERS, [])
    # The tenth was due 0.1 s after the first, and left only when the stall was over.
    middle_ms = 1000 * (STALL_SECONDS - ORDERS / 2 / PER_SECOND)
    assert outcome.accept.p50_ms >= middle_ms
    assert outcome.accept.p99_ms >= 1000 * STALL_SECONDS
    assert outcome.lag is not None
    # The first was not late itself.
    assert outcome.lag.p50_ms >= middle_ms - 1000 / PER_SECOND


async def test_a_stall_of_one_connection_does_not_hold_up_the_orders_of_others() -> None:
    async with loaded(STALL_SECONDS, connections=ORDERS) as load:
        outcome = load.outcome(range(ORDERS), 0.0)
    assert outcome.orders == ORDERS
    # From the first moment to the last, and then the stall: no order waits for one before it.
    assert outcome.seconds >= (ORDERS - 1) / PER_SECOND + STALL_SECONDS
    assert outcome.sending_seconds == pytest.approx((ORDERS - 1) / PER_SECOND, abs=1e-6)


async def test_no_order_leaves_before_its_moment() -> None:
    async with loaded(0.0, connections=4) as load:
        outcome = load.outcome(range(ORDERS), 0.0)
    assert outcome.lag is not None
    assert outcome.lag.p50_ms >= 0
    assert outcome.accept.p50_ms >= outcome.lag.p50_ms
