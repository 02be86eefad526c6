"""Hints between processes: told over Redis, and ended whenever their process ends."""

import asyncio

import pytest
from redis.asyncio import Redis

from app.embedded.valkey import RunningValkey
from app.storage.hints import Hints, Topic
from tests.shops import until


async def connects(hints: Hints) -> None:
    async def is_connected() -> bool:
        return hints.connected

    await until(is_connected)


async def test_hint_wakes_the_other_process(valkey: RunningValkey):
    one, other = Hints(valkey.url), Hints(valkey.url)
    running = [asyncio.ensure_future(each.run()) for each in (one, other)]
    for each in (one, other):
        await connects(each)
    heard = asyncio.ensure_future(other.wait(Topic.CHECK, 30))
    one.tell([Topic.CHECK])
    woken, _ = await asyncio.wait([heard], timeout=5)
    assert woken
    for each in running:
        each.cancel()
    await asyncio.gather(*running, return_exceptions=True)


@pytest.mark.parametrize("turns", range(12))
async def test_exchange_that_is_lost_as_it_is_cancelled_ends(valkey: RunningValkey, turns: int):
    """Whichever of the two comes first, and however little later the other one."""
    admin = Redis.from_url(valkey.url)
    hints = Hints(valkey.url)
    running = asyncio.ensure_future(hints.run())
    await connects(hints)
    await admin.client_kill_filter(_type="pubsub")
    for _ in range(turns):
        await asyncio.sleep(0)
    running.cancel()
    ended, _ = await asyncio.wait([running], timeout=5)
    running.cancel()
    await admin.aclose()
    assert ended
