"""Stop and start: behind a load balancer, a restart is seen by nobody and costs nothing."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import httpx
import pytest

from tests.balancer import balancer
from tests.faults.shop import Process, Shop, load, order
from tests.ports import free_port

_DRAIN = {"JALUR_DRAIN_SECONDS": "1"}
_GRACE_SECONDS = 10.0
_AND_EXIT_SECONDS = 5.0
_PAUSE_SECONDS = 0.04


@dataclass
class Traffic:
    """Orders sent at a steady pace, each once and never again: whatever goes wrong is seen."""

    client: httpx.AsyncClient
    accepted: dict[str, str] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)

    async def flow(self, stop: asyncio.Event) -> None:
        number = 0
        async with asyncio.TaskGroup() as group:
            while not stop.is_set():
                group.create_task(self._send(order(number, number % 70)))
                number += 1
                await asyncio.sleep(_PAUSE_SECONDS)

    async def _send(self, body: dict[str, object]) -> None:
        try:
            answer = await self.client.post("/v1/orders", json=body)
        except httpx.TransportError as error:
            self.wrong.append(repr(error))
            return
        if answer.status_code == 202:
            self.accepted[str(body["ref_id"])] = answer.json()["id"]
        else:
            self.wrong.append(f"{answer.status_code} {answer.text}")


@asynccontextmanager
async def traffic(shop: Shop) -> AsyncIterator[Traffic]:
    """Traffic while the block runs; what is under way at its end is seen through."""
    stop = asyncio.Event()
    async with shop.client() as client:
        made = Traffic(client)
        flowing = asyncio.ensure_future(made.flow(stop))
        try:
            yield made
        finally:
            stop.set()
            await flowing


async def start_each(shop: Shop, ports: list[int]) -> dict[int, Process]:
    """A process that does everything at each port, ready."""
    started = {port: shop.start(port=port, **_DRAIN) for port in ports}
    for port in ports:
        await shop.until_ready(port)
    return started


async def ended(process: Process) -> int:
    """Ask a process to end; its exit status, if it comes in time."""
    return await asyncio.to_thread(process.terminate, _GRACE_SECONDS + _AND_EXIT_SECONDS)


async def ended_by_itself(process: Process) -> int:
    return await asyncio.to_thread(process.popen.wait, _GRACE_SECONDS + _AND_EXIT_SECONDS)


async def until_both_settle(first: Process, second: Process) -> None:
    for _ in range(600):
        if first.settled() and second.settled():
            return
        await asyncio.sleep(0.05)
    raise AssertionError(f"not shared: {first.settled()} and {second.settled()}")


async def until_not_ready(client: httpx.AsyncClient) -> list[str]:
    """The reasons, once there are some."""
    for _ in range(100):
        answer = await client.get("/readyz")
        if answer.status_code == 503:
            return answer.json()["reasons"]
        await asyncio.sleep(0.02)
    raise AssertionError("it went on saying that it is ready")


@pytest.mark.timeout(240)
async def test_restarts_in_turn_are_seen_by_no_reseller(shop: Shop) -> None:
    ports = [free_port(), free_port()]
    running = await start_each(shop, ports)
    async with balancer(shop.port, ports) as between:
        await shop.until_ready()
        await shop.register_receiver()
        async with traffic(shop) as orders:
            for port in ports * 2:
                assert await ended(running[port]) == 0
                running[port] = shop.start(port=port, **_DRAIN)
                await shop.until_ready(port)
                await asyncio.sleep(0.5)
        verdict = await shop.verdict()
    assert orders.wrong == []
    assert between.failed == 0
    assert [backend.surprises for backend in between.backends] == [0, 0]
    assert all(between.answers[port] for port in ports)
    verdict.assert_every_promise_kept(orders.accepted)


async def test_two_processes_share_the_work_and_one_takes_over_all(shop: Shop) -> None:
    accepted: dict[str, str] = {}
    ports = [free_port(), free_port()]
    first, second = (await start_each(shop, ports)).values()
    async with balancer(shop.port, ports):
        await shop.until_ready()
        await shop.register_receiver()
        bodies = [order(number, number % 70) for number in range(200)]
        async with shop.client() as client:
            loading = asyncio.ensure_future(load(client, bodies, accepted))
            await until_both_settle(first, second)
            first.kill()
            await loading
        verdict = await shop.verdict()
    verdict.assert_every_promise_kept(accepted)
    assert len(accepted) == len(bodies)


async def test_two_workers_behind_an_api_share_the_work_and_one_takes_over_all(shop: Shop) -> None:
    accepted: dict[str, str] = {}
    shop.start("api")
    first, second = shop.start("worker"), shop.start("worker")
    await shop.until_ready()
    await shop.register_receiver()
    bodies = [order(number, number % 70) for number in range(200)]
    async with shop.client() as client:
        loading = asyncio.ensure_future(load(client, bodies, accepted))
        await until_both_settle(first, second)
        first.kill()
        await loading
    verdict = await shop.verdict()
    verdict.assert_every_promise_kept(accepted)
    assert len(accepted) == len(bodies)


async def test_stop_with_purchases_in_doubt_ends_in_time_and_another_asks(shop: Shop) -> None:
    # 77: delivered, answered too late; 71: pending, and the callback never comes.
    accepted: dict[str, str] = {}
    stopped = shop.start(JALUR_GRACE_SECONDS="0.6", JALUR_DRAIN_SECONDS="0.2")
    await shop.until_ready()
    await shop.register_receiver()
    bodies = [order(number, (77, 71)[number % 2]) for number in range(40)]
    async with shop.client() as client:
        await load(client, bodies, accepted)
    assert await ended(stopped) == 0
    assert stopped.log is not None
    assert '"code":"stopped"' in stopped.log.read_text(), "nothing was in flight"
    shop.start()
    verdict = await shop.verdict()
    verdict.assert_every_promise_kept(accepted)
    assert len(accepted) == len(bodies)


async def test_stopping_process_says_so_while_it_serves_on(shop: Shop) -> None:
    process = shop.start(JALUR_DRAIN_SECONDS="5")
    await shop.until_ready()
    async with shop.client() as client:
        assert "connection" not in (await client.get("/livez")).headers
        process.send(signal.SIGTERM)
        assert await until_not_ready(client) == ["the process is stopping"]
        placed = await client.post("/v1/orders", json=order(1, 0))
    assert placed.status_code == 202
    assert placed.headers["connection"] == "close"
    assert await ended_by_itself(process) == 0


async def test_second_signal_ends_at_once(shop: Shop) -> None:
    process = shop.start(JALUR_DRAIN_SECONDS="9")
    await shop.until_ready()
    async with shop.client() as client:
        process.send(signal.SIGTERM)
        await until_not_ready(client)
    assert await ended(process) == -signal.SIGTERM
