"""Batches: one flush takes what waits, and nobody suffers for a neighbour."""

import asyncio
from collections.abc import AsyncIterator, Callable, Hashable
from contextlib import asynccontextmanager

import asyncpg
import pytest

from app.errors import DatabaseUnavailable, Overloaded
from app.storage.batches import Batcher, BatchLimits, LanedBatcher
from app.storage.lanes import LANES, lane_groups

Key = Callable[[str], Hashable]


class Ledger:
    """An `apply` that remembers its batches and fails where it is told to."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.errors: list[Exception] = []
        self.poison: set[str] = set()
        self.gate = asyncio.Event()
        self.gate.set()

    async def apply(self, items: list[str]) -> list[str]:
        await self.gate.wait()
        self.batches.append(list(items))
        if self.errors:
            raise self.errors.pop(0)
        if self.poison & set(items):
            raise ValueError("poison")
        return [item.upper() for item in items]


@asynccontextmanager
async def running(
    ledger: Ledger, limits: BatchLimits | None = None, key: Key | None = None
) -> AsyncIterator[Batcher[str, str]]:
    batcher = Batcher(ledger.apply, limits, key)
    flusher = asyncio.ensure_future(batcher.run())
    try:
        yield batcher
    finally:
        ledger.gate.set()
        batcher.close()
        await flusher


async def submit_all(batcher: Batcher[str, str], items: str) -> list[object]:
    return await asyncio.gather(*map(batcher.submit, items), return_exceptions=True)


async def test_gap_gathers_what_comes_until_there_is_enough():
    ledger = Ledger()
    async with running(ledger, BatchLimits(gap_seconds=60, enough=3)) as batcher:
        assert await batcher.submit("a") == "A"
        others = [batcher.put(item) for item in "bc"]
        await asyncio.sleep(0.05)
        assert ledger.batches == [["a"]]
        others.append(batcher.put("d"))
        assert await asyncio.wait_for(asyncio.gather(*others), 5) == ["B", "C", "D"]
        last = batcher.put("e")
    assert (ledger.batches, await last) == ([["a"], ["b", "c", "d"], ["e"]], "E")


async def test_gap_that_is_over_flushes_the_few_that_came():
    ledger = Ledger()
    async with running(ledger, BatchLimits(gap_seconds=0.05, enough=3)) as batcher:
        assert [await batcher.submit(item) for item in "ab"] == ["A", "B"]
    assert ledger.batches == [["a"], ["b"]]


async def test_single_item_is_flushed_at_once():
    ledger = Ledger()
    async with running(ledger) as batcher:
        assert await batcher.submit("a") == "A"
    assert ledger.batches == [["a"]]


async def test_what_waits_goes_together_and_everyone_gets_its_own_result():
    ledger = Ledger()
    async with running(ledger) as batcher:
        assert await submit_all(batcher, "abc") == ["A", "B", "C"]
    assert ledger.batches == [["a", "b", "c"]]


async def test_next_batch_forms_while_one_commits():
    ledger = Ledger()
    ledger.gate.clear()
    async with running(ledger) as batcher:
        first = asyncio.ensure_future(batcher.submit("a"))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        rest = asyncio.ensure_future(submit_all(batcher, "bc"))
        await asyncio.sleep(0)
        ledger.gate.set()
        assert (await first, await rest) == ("A", ["B", "C"])
    assert ledger.batches == [["a"], ["b", "c"]]


async def test_batch_is_bounded():
    ledger = Ledger()
    async with running(ledger, BatchLimits(batch=2)) as batcher:
        await submit_all(batcher, "abcde")
    assert [len(batch) for batch in ledger.batches] == [2, 2, 1]


async def test_caller_that_leaves_cancels_nothing():
    ledger = Ledger()
    ledger.gate.clear()
    async with running(ledger) as batcher:
        leaving = asyncio.ensure_future(batcher.submit("a"))
        staying = asyncio.ensure_future(batcher.submit("b"))
        await asyncio.sleep(0)
        leaving.cancel()
        ledger.gate.set()
        assert await staying == "B"
    assert ledger.batches == [["a", "b"]]


async def test_one_bad_item_fails_alone():
    ledger = Ledger()
    ledger.poison = {"d"}
    async with running(ledger) as batcher:
        *good, bad = await submit_all(batcher, "abcefghd")
    assert good == list("ABCEFGH")
    assert isinstance(bad, ValueError)


async def test_full_queue_refuses_and_goes_on():
    ledger = Ledger()
    async with running(ledger, BatchLimits(waiting=2)) as batcher:
        outcomes = await submit_all(batcher, "abc")
        assert outcomes[:2] == ["A", "B"]
        assert isinstance(outcomes[2], Overloaded)
        assert await batcher.submit("d") == "D"


async def test_items_of_one_key_go_in_separate_batches_in_the_order_they_came():
    ledger = Ledger()
    async with running(ledger, key=str.lower) as batcher:
        await submit_all(batcher, "aAbaBc")
    assert ledger.batches == [["a", "b", "c"], ["A", "B"], ["a"]]


@pytest.mark.parametrize(
    "error", [asyncpg.SerializationError("40001"), asyncpg.DeadlockDetectedError("40P01")]
)
async def test_what_the_server_undid_is_run_again(error: Exception):
    ledger = Ledger()
    ledger.errors = [error, error]
    async with running(ledger) as batcher:
        assert await submit_all(batcher, "ab") == ["A", "B"]
    assert ledger.batches == [["a", "b"]] * 3


async def test_lock_time_out_splits_the_batch():
    ledger = Ledger()
    ledger.errors = [asyncpg.LockNotAvailableError("55P03")]
    async with running(ledger) as batcher:
        assert await submit_all(batcher, "ab") == ["A", "B"]
    assert ledger.batches == [["a", "b"], ["a"], ["b"]]


async def test_lost_connection_is_borne_for_a_while():
    ledger = Ledger()
    ledger.errors = [ConnectionResetError(), asyncpg.ConnectionDoesNotExistError("gone")]
    async with running(ledger) as batcher:
        assert await batcher.submit("a") == "A"


async def test_database_that_stays_away_is_said_to_be_unavailable():
    ledger = Ledger()
    ledger.errors = [ConnectionResetError() for _ in range(50)]
    async with running(ledger, BatchLimits(patience_seconds=0.1)) as batcher:
        (outcome,) = await submit_all(batcher, "a")
        ledger.errors.clear()
        assert isinstance(outcome, DatabaseUnavailable)
        assert await batcher.submit("b") == "B"


async def test_closing_flushes_what_waits_and_refuses_what_comes():
    ledger = Ledger()
    ledger.gate.clear()
    async with running(ledger) as batcher:
        waiting = [asyncio.ensure_future(batcher.submit(item)) for item in "ab"]
        await asyncio.sleep(0)
        batcher.close()
        with pytest.raises(Overloaded):
            await batcher.submit("c")
        ledger.gate.set()
        assert await asyncio.gather(*waiting) == ["A", "B"]


async def test_no_batch_spans_two_lane_groups():
    ledger = Ledger()
    laned = LanedBatcher(ledger.apply, int, lane_groups(2))
    flusher = asyncio.ensure_future(laned.run())
    await asyncio.gather(*(laned.submit(str(lane)) for lane in range(6)))
    laned.close()
    await flusher
    assert sorted(ledger.batches) == [["0", "2", "4"], ["1", "3", "5"]]


@pytest.mark.parametrize("count", [1, 3, 64])
def test_lane_groups_hold_every_lane_once(count: int):
    lanes = [lane for group in lane_groups(count) for lane in group]
    assert sorted(lanes) == list(range(LANES))


async def test_age_is_that_of_the_first_in_the_queue_and_those_flushed_are_counted():
    ledger = Ledger()
    ledger.gate.clear()
    async with running(ledger, BatchLimits(batch=2)) as batcher:
        assert (batcher.age_seconds, batcher.served) == (0.0, 0)
        under_way = batcher.put("a")
        await asyncio.sleep(0)
        first = batcher.put("b")
        await asyncio.sleep(0.05)
        age = batcher.age_seconds
        assert age >= 0.04
        batcher.put("c")
        assert batcher.age_seconds >= age
        ledger.gate.set()
        await asyncio.gather(under_way, first)
        assert batcher.age_seconds == 0.0
    assert batcher.served == 3
