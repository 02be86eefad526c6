"""The loop that every worker has: it claims under a bound, survives trouble, hands over."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import asyncpg
import pytest

from app.storage.hints import Hints, Topic
from app.workers.loop import Loop, Rhythm


class Work:
    """Numbered pieces to do, and what became of them."""

    def __init__(self, pieces: int) -> None:
        self.left = list(range(pieces))
        self.asked: list[int] = []
        self.done: list[int] = []
        self.cancelled: list[int] = []
        self.most_at_once = 0
        self.acting = 0
        self.troubles: list[Exception] = []
        self.gate = asyncio.Event()
        self.empty = asyncio.Event()

    async def claim(self, free: int) -> list[int]:
        self.asked.append(free)
        if self.troubles:
            raise self.troubles.pop(0)
        claimed, self.left = self.left[:free], self.left[free:]
        return claimed

    async def busy_with(self, count: int) -> None:
        """Wait until so many pieces are being done."""
        for _ in range(10_000):
            if self.acting >= count:
                return
            await asyncio.sleep(0.001)

    async def act(self, piece: int) -> None:
        self.acting += 1
        self.most_at_once = max(self.most_at_once, self.acting)
        try:
            await self.gate.wait()
            self.done.append(piece)
        except asyncio.CancelledError:
            self.cancelled.append(piece)
        finally:
            self.acting -= 1
            if not self.left and not self.acting:
                self.empty.set()


@asynccontextmanager
async def running(
    work: Work,
    act: Callable[[int], Awaitable[None]] | None = None,
    *,
    most: int = 3,
    grace_seconds: float = 5.0,
) -> AsyncIterator[Hints]:
    hints = Hints(None)
    rhythm = Rhythm(lambda: 0.0, 0.005, 0.01, grace_seconds)
    loop = Loop(
        "test",
        Topic.READY,
        work.claim,
        act or work.act,
        hints=hints,
        rhythm=rhythm,
        most_in_flight=most,
    )
    stop = asyncio.Event()
    task = asyncio.ensure_future(loop.run(stop))
    try:
        yield hints
    finally:
        stop.set()
        async with asyncio.timeout(10):
            await task


async def test_no_more_is_done_at_once_than_allowed():
    work = Work(10)
    async with running(work):
        await work.busy_with(3)
        work.gate.set()
        await work.empty.wait()
    assert sorted(work.done) == list(range(10))
    assert work.most_at_once == 3
    assert max(work.asked) == 3


async def test_claims_grow_while_much_waits_and_are_small_again_behind_it():
    work = Work(800)
    work.gate.set()
    async with running(work, most=1000):
        await work.empty.wait()
        asked = list(work.asked)
        work.left = [800]
        await asyncio.sleep(0.1)
    assert asked[:4] == [64, 128, 256, 256]
    assert work.asked[-1] == 64
    assert sorted(work.done) == list(range(801))


async def test_one_pieces_failure_stops_nobody_else():
    work = Work(4)
    work.gate.set()

    async def act(piece: int) -> None:
        await work.act(piece)
        if piece == 1:
            raise ValueError("a surprise")

    async with running(work, act):
        await work.empty.wait()
    assert sorted(work.done) == [0, 1, 2, 3]


@pytest.mark.parametrize(
    "trouble", [ConnectionResetError(), asyncpg.LockNotAvailableError("x"), KeyError("a surprise")]
)
async def test_failed_claim_is_tried_again(trouble: Exception):
    work = Work(1)
    work.gate.set()
    work.troubles = [trouble]
    async with running(work):
        await work.empty.wait()
    assert work.done == [0]


async def test_stopping_sees_through_what_is_in_flight():
    work = Work(2)
    async with running(work):
        await work.busy_with(2)
        asyncio.get_running_loop().call_later(0.05, work.gate.set)
    assert sorted(work.done) == [0, 1]
    assert work.cancelled == []


async def test_stopping_hands_over_what_takes_too_long():
    work = Work(2)
    async with running(work, grace_seconds=0.02):
        await work.busy_with(2)
    assert sorted(work.cancelled) == [0, 1]


async def test_hint_wakes_the_loop_before_its_next_poll():
    hints = Hints(None)
    waiting = asyncio.ensure_future(hints.wait(Topic.READY, 60))
    await asyncio.sleep(0)
    hints.tell([Topic.READY])
    await asyncio.wait([waiting], timeout=1)
    assert waiting.done()
