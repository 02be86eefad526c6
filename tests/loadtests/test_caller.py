"""The load client's connections: nothing that goes wrong is taken for an accepted order."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest

from loadtests.caller import FAULTS, Caller, request_head
from loadtests.client import Load
from loadtests.job import Job

ACCEPTED = b"HTTP/1.1 202 Accepted\r\ncontent-length: 2\r\n\r\n{}"
REFUSED = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n"
CUT = b""
SILENCE = None
GARBAGE = b"\x00\xff\xfe"
HALF = b"HTTP/1.1 202 Accepted\r\ncontent-length: 9\r\n\r\n{}"
LAST = ACCEPTED.replace(b"\r\n", b"\r\nconnection: close\r\n", 1)


class Answering(asyncio.Protocol):
    """Gives one of the answers to each request; after some of them it hangs up."""

    def __init__(self, answers: Iterator[bytes | None], opened: list[asyncio.Transport]) -> None:
        self.answers, self.opened = answers, opened

    def connection_made(self, transport: asyncio.Transport) -> None:
        self.transport = transport
        self.opened.append(transport)

    def data_received(self, data: bytes) -> None:
        answer = next(self.answers)
        if answer is not SILENCE:
            self.transport.write(answer)
        if answer in {CUT, HALF, LAST}:
            self.transport.close()


@asynccontextmanager
async def answering(answers: list[bytes | None]) -> AsyncIterator[str]:
    left, opened = iter(answers), list[asyncio.Transport]()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Answering(left, opened), "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        for transport in opened:
            transport.abort()
    # Closed transports give their sockets back in the loop's next turn.
    await asyncio.sleep(0)


REQUEST = request_head("GET", "http://x/page") + b"\r\n"


async def test_a_connection_that_was_closed_is_opened_again() -> None:
    async with answering([ACCEPTED, LAST, ACCEPTED]) as url:
        caller = Caller(url, timeout_seconds=10)
        heard = [await caller.ask(REQUEST) for _ in range(3)]
        caller.close()
    assert [(each.status, each.body) for each in heard] == [(202, b"{}")] * 3


@pytest.mark.parametrize("fault", [CUT, HALF, GARBAGE, SILENCE])
async def test_what_is_no_whole_answer_is_a_fault_and_the_next_call_is_not_harmed(
    fault: bytes | None,
) -> None:
    async with answering([fault, ACCEPTED]) as url:
        caller = Caller(url, timeout_seconds=0.2 if fault is SILENCE else 10)
        with pytest.raises(FAULTS):
            await caller.ask(REQUEST)
        assert (await caller.ask(REQUEST)).status == 202
        caller.close()


async def test_nobody_listening_is_a_fault() -> None:
    async with answering([]) as url:
        pass
    with pytest.raises(FAULTS):
        await Caller(url, timeout_seconds=10).ask(REQUEST)


async def test_a_load_counts_what_was_accepted_what_was_refused_and_names_what_went_wrong() -> None:
    answers = [ACCEPTED, REFUSED, CUT, ACCEPTED]
    async with answering(answers) as url:
        job = Job(f"{url}/v1/orders", ["key"], seconds=10, most_orders=4, connections=1)
        load = Load(job)
        await load.run(range(4), 10)
        load.close()
    outcome = load.outcome(range(4), 0.0)
    assert (outcome.orders, outcome.accepted_in_all) == (2, 2)
    assert (outcome.refused, outcome.faults) == (1, ["1 orders: ConnectionResetError"])
