"""Killed at random moments: nothing accepted is lost, nothing is bought twice, all is reported."""

import asyncio
import random
import signal

from tests.faults.shop import LEASE_SECONDS, Shop, load, order, place
from tests.ports import free_port

_SEED = 20261121
# 88 is never resolved. A refusal for stock or price (73, 87) whose answer died with the process is
# asked about by sending the same purchase again, and refused again: that may have been drawn before
# the dealer looked the reference up, so it proves nothing and people decide.
_RESOLVED = [number for number in range(100) if number not in (73, 87, 88)]


async def test_service_killed_under_load_keeps_every_promise(shop: Shop) -> None:
    chance = random.Random(_SEED)
    accepted: dict[str, str] = {}
    service = shop.start()
    await shop.until_ready()
    await shop.register_receiver()
    bodies = [order(number, _RESOLVED[number % len(_RESOLVED)]) for number in range(198)]
    async with shop.client() as client:
        loading = asyncio.ensure_future(load(client, bodies, accepted))
        for _ in range(3):
            await asyncio.sleep(chance.uniform(0.5, 1.5))
            service.kill()
            service = shop.start()
            await shop.until_ready()
        await loading
    verdict = await shop.verdict()
    verdict.assert_every_promise_kept(accepted)
    assert len(accepted) == len(bodies)


async def test_worker_killed_while_the_api_goes_on(shop: Shop) -> None:
    accepted: dict[str, str] = {}
    shop.start("api")
    worker = shop.start("worker")
    await shop.until_ready()
    await shop.register_receiver()
    bodies = [order(number, number % 70) for number in range(100)]
    async with shop.client() as client:
        loading = asyncio.ensure_future(load(client, bodies, accepted))
        await asyncio.sleep(0.7)
        worker.kill()
        await loading
        shop.start("worker")
    verdict = await shop.verdict()
    verdict.assert_every_promise_kept(accepted)
    assert len(accepted) == len(bodies)


async def test_process_stopped_past_its_leases_buys_nothing_twice(shop: Shop) -> None:
    accepted: dict[str, str] = {}
    stopped = shop.start()
    await shop.until_ready()
    await shop.register_receiver()
    async with shop.client() as client:
        first = [order(number, number % 70) for number in range(120)]
        loading = asyncio.ensure_future(load(client, first, accepted, pause_seconds=0.005))
        await asyncio.sleep(0.4)
        stopped.send(signal.SIGSTOP)
        shop.port, old = free_port(), shop.port
        shop.start(port=shop.port)
        await shop.until_ready()
        await asyncio.sleep(LEASE_SECONDS + 1.5)
        stopped.send(signal.SIGCONT)
        await shop.until_ready(old)
        await loading
    verdict = await shop.verdict()
    verdict.assert_every_promise_kept(accepted)
    assert len(accepted) == len(first)


async def test_graceful_stop_under_load_ends_in_time_and_loses_nothing(shop: Shop) -> None:
    accepted: dict[str, str] = {}
    service = shop.start()
    await shop.until_ready()
    await shop.register_receiver()
    bodies = [order(number, number % 70) for number in range(100)]
    async with shop.client() as client:
        loading = asyncio.ensure_future(load(client, bodies, accepted))
        await asyncio.sleep(0.5)
        assert await asyncio.to_thread(service.terminate, 15.0) == 0
        shop.start()
        await loading
    verdict = await shop.verdict()
    verdict.assert_every_promise_kept(accepted)
    assert len(accepted) == len(bodies)


async def test_forty_callers_with_one_reference_make_one_order_and_one_purchase(shop: Shop) -> None:
    shop.start()
    await shop.until_ready()
    await shop.register_receiver()
    body = order(1, 0)
    async with shop.client() as client:
        answers = await asyncio.gather(*(client.post("/v1/orders", json=body) for _ in range(40)))
        assert sorted(answer.status_code for answer in answers) == [200] * 39 + [202]
        assert len({answer.json()["id"] for answer in answers}) == 1
        accepted: dict[str, str] = {}
        await place(client, body, accepted)
    verdict = await shop.verdict()
    verdict.assert_every_promise_kept(accepted)
    assert len(verdict.book) == 1
