"""The meter: all processes together spend what one bucket lets through, with Redis and without."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest
from redis.asyncio import Redis

from app.embedded.valkey import RunningValkey, start_valkey
from app.http.meter import Meter
from app.metrics import Metrics
from app.rates import InvalidRate, Rate, read_rates, written
from app.storage.pool import Pool
from app.storage.rate_buckets import Ask, open_buckets
from tests.shops import until
from tests.test_metrics import samples

SLOW = Rate(100, 86_400)
"""Refills by one in a quarter of an hour: what a test spends is exact."""


@asynccontextmanager
async def meters(
    pool: Pool, url: str | None, count: int, monotonic: Callable[[], float] = time.monotonic
) -> AsyncIterator[list[Meter]]:
    """So many processes that know of each other."""
    made = [Meter(pool, url, Metrics(), monotonic) for _ in range(count)]
    running = [asyncio.ensure_future(each.run()) for each in made]
    try:
        await becomes(made, central=url is not None)
        await until(lambda: counted(made))
        yield made
    finally:
        for each in running:
            each.cancel()
        await asyncio.gather(*running, return_exceptions=True)


async def counted(made: list[Meter]) -> bool:
    return all(each.processes == len(made) for each in made)


async def becomes(made: list[Meter], *, central: bool) -> None:
    async def are() -> bool:
        return all(each.central == central for each in made)

    await until(are, 30)


async def spends(meter: Meter, key: str, rate: Rate, count: int = 1) -> bool:
    return await meter.take([(key, rate)], count) is None


async def spend_all(made: list[Meter], key: str, rate: Rate, tries: int) -> int:
    """Try so often at every process at once; how many were let through."""

    async def at(meter: Meter) -> int:
        return sum([await spends(meter, key, rate) for _ in range(tries)])

    return sum(await asyncio.gather(*(at(meter) for meter in made)))


def fresh() -> str:
    return f"reseller:{uuid4()}"


async def test_processes_together_spend_one_bucket_and_all_of_it(pool: Pool, valkey: RunningValkey):
    key = fresh()
    async with meters(pool, valkey.url, 3) as made:
        spent = await spend_all(made, key, SLOW, 200)
        assert spent <= 100
        # What the others held leased comes back once it lies idle.
        for _ in range(100):
            if spent == 100:
                break
            await asyncio.sleep(0.1)
            spent += await spend_all(made, key, SLOW, 3)
        assert spent == 100


async def test_no_more_is_spent_over_time_than_the_rate_and_one_burst(
    pool: Pool, valkey: RunningValkey
):
    rate, key = Rate(200, 1), fresh()
    async with meters(pool, valkey.url, 3) as made:
        started, spent = time.monotonic(), 0
        while time.monotonic() - started < 2:
            spent += await spend_all(made, key, rate, 20)
            await asyncio.sleep(0.001)
        assert spent <= rate.quota + rate.per_second * (time.monotonic() - started)
        assert spent > rate.quota


async def test_what_is_held_elsewhere_is_at_most_a_sixteenth_and_comes_back(
    pool: Pool, valkey: RunningValkey
):
    rate, key = Rate(320, 86_400), fresh()
    async with meters(pool, valkey.url, 2) as (one, other):
        assert await spend_all([one], key, rate, 30) == 30
        held = 320 - 30 - await spend_all([other], key, rate, 400)
        assert 0 <= held <= 320 // 16


async def test_who_comes_now_and_then_finds_a_crumb_leased(pool: Pool, valkey: RunningValkey):
    rate, key = Rate(1280, 86_400), fresh()
    async with meters(pool, valkey.url, 2) as (one, other):
        assert await spends(one, key, rate)

        async def idle() -> bool:
            return one._known[key].lease == 1280 // 256

        await until(idle)
        assert one.take_now([(key, rate)], 1)
        held = 1280 - 2 - await spend_all([other], key, rate, 1300)
        assert 0 <= held <= 1280 // 16


async def test_a_crumb_that_lies_idle_for_long_comes_back(pool: Pool, valkey: RunningValkey):
    rate, key = Rate(1280, 86_400), fresh()
    now = time.monotonic()
    async with meters(pool, valkey.url, 1, lambda: now) as (meter,):
        assert await spends(meter, key, rate)
        now += 60

        async def given_back() -> bool:
            return not meter._known[key].lease

        await until(given_back)


async def test_a_batch_counts_whole_or_not_at_all(pool: Pool, valkey: RunningValkey):
    key = fresh()
    async with meters(pool, valkey.url, 1) as (meter,):
        assert await spends(meter, key, SLOW, 60)
        assert not await spends(meter, key, SLOW, 60)
        assert not await spends(meter, key, SLOW, 101)
        assert await spends(meter, key, SLOW, 40)
        assert not await spends(meter, key, SLOW)


async def test_of_two_rates_both_must_allow_and_none_is_spent_otherwise(
    pool: Pool, valkey: RunningValkey
):
    whole, own = fresh(), fresh()
    small = Rate(3, 86_400)
    async with meters(pool, valkey.url, 1) as (meter,):
        both = [(whole, SLOW), (own, small)]
        answers = [await meter.take(both, 1) for _ in range(6)]
        assert answers == [None] * 3 + [(own, small)] * 3
        assert await spend_all([meter], whole, SLOW, 120) == 97


async def test_a_process_that_dies_takes_only_its_lease_along(pool: Pool, valkey: RunningValkey):
    ask = Ask("reseller:x", SLOW, 0, 0, 1, 10, term_seconds=0.5)
    async with open_buckets(valkey.url, uuid4().hex) as buckets:
        (died,) = await buckets.exchange("died", [ask])
        (lives,) = await buckets.exchange("lives", [ask])
        assert (died.lease, lives.lease, int(lives.level)) == (10, 10, 80)
        await asyncio.sleep(0.6)
        (after,) = await buckets.exchange("lives", [replace(ask, need=0, want=0)])
        assert (after.lease, int(after.level)) == (0, 80)


async def test_leases_and_what_is_left_never_exceed_the_bucket(valkey: RunningValkey):
    rate = Rate(50, 1)
    async with open_buckets(valkey.url, uuid4().hex) as buckets:
        for _ in range(30):
            leased = 0
            for name in ("one", "two", "three"):
                ask = Ask("b", rate, 3, 0, 1, 12, term_seconds=1)
                (told,) = await buckets.exchange(name, [ask])
                leased += told.lease
                assert told.level + leased <= rate.quota + 1
            await asyncio.sleep(0.03)


async def test_redis_dies_and_each_keeps_its_part_until_it_returns(pool: Pool, server_dir: Path):
    folder, rate = server_dir / f"rates-{uuid4().hex}", Rate(90, 86_400)
    folder.mkdir()
    running = start_valkey(folder)
    async with AsyncExitStack() as stack:
        made = await stack.enter_async_context(meters(pool, running.url, 3))
        before = fresh()
        assert await spend_all(made, before, rate, 20) == 60
        running.stop()
        # Nobody waits for it for ever, nobody is refused for it, and what was spent stays spent.
        assert await spends(made[0], fresh(), rate)
        await becomes(made, central=False)
        assert samples(made[0]._metrics, "jalur_rates_central")[()] == 0
        assert await spend_all(made, before, rate, 90) <= 30
        key = fresh()
        assert await spend_all(made, key, rate, 90) == 90
        again = start_valkey(folder, port=running.port)
        stack.callback(again.stop)
        await becomes(made, central=True)
        # Redis has forgotten everything, but what was spent meanwhile is owed to it.
        await asyncio.sleep(0.5)
        assert await spend_all(made, key, rate, 30) == 0


async def test_redis_that_is_emptied_is_taken_as_it_is(pool: Pool, valkey: RunningValkey):
    admin, key = Redis.from_url(valkey.url), fresh()
    async with meters(pool, valkey.url, 2) as made:
        assert await spend_all(made, key, SLOW, 20) == 40
        await admin.flushall()
        assert 0 < await spend_all(made, key, SLOW, 200) <= 100 + 2 * 100 // 16
    await admin.aclose()


async def test_without_redis_the_processes_divide_the_rate(pool: Pool):
    key = fresh()
    async with meters(pool, None, 4) as made:
        assert await spend_all(made, key, SLOW, 100) == 100
        assert not await spends(made[0], key, SLOW)


async def test_a_rate_smaller_than_the_number_of_processes_is_not_nothing(pool: Pool):
    async with meters(pool, None, 3) as made:
        key, rate = fresh(), Rate(1, 86_400)
        assert await spend_all(made, key, rate, 5) == 3


async def test_what_is_not_used_is_forgotten(pool: Pool, valkey: RunningValkey):
    async with meters(pool, valkey.url, 1) as (meter,):
        for _ in range(300):
            assert await spends(meter, fresh(), SLOW)

        async def settled() -> bool:
            return not any(each.lease or each.spent for each in meter._known.values())

        await until(settled)
        meter._forget(time.monotonic() + 60)
        assert not meter._known


@pytest.mark.parametrize("text", ["100/1s", "50000/1d", "100/1s,50000/1d", "20000/2s", "6/1m"])
def test_a_rate_is_written_as_it_is_read(text: str):
    assert written(read_rates(text)) == text


@pytest.mark.parametrize(
    "text", ["", "0/1s", "1/0s", "1/2d", "1/1w", "1/s,2/s", "99999999/1s", "1/1s,1/2s,1/3s,1/4s"]
)
def test_what_is_no_rate_is_refused(text: str):
    with pytest.raises(InvalidRate):
        read_rates(text)


def test_windows_may_leave_out_their_one():
    assert read_rates("5/m") == (Rate(5, 60),)
