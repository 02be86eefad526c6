"""Several processes on one socket: they share the work, outlive each other and end together."""

import asyncio
import resource
import signal

import psutil

from tests.faults.shop import Process, Shop, load, order
from tests.proxies import dropping_proxy


def children(service: Process) -> list[psutil.Process]:
    return psutil.Process(service.popen.pid).children()


def first_children(parent: psutil.Process) -> list[psutil.Process]:
    """The children as soon as there is one."""
    while not (found := parent.children()):
        pass
    return found


async def test_one_of_two_killed_is_replaced_and_nothing_is_lost(shop: Shop) -> None:
    accepted: dict[str, str] = {}
    service = shop.start("serve", JALUR_PROCESSES="2", JALUR_DRAIN_SECONDS="0")
    await shop.until_ready()
    await shop.register_receiver()
    await asyncio.sleep(11)  # one that ends sooner ends all: it would not do better the next time
    async with shop.client() as client:
        bodies = [order(number, number % 70) for number in range(120)]
        loading = asyncio.ensure_future(load(client, bodies, accepted, pause_seconds=0.02))
        await asyncio.sleep(0.5)
        first, second = children(service)
        first.kill()
        await loading
    verdict = await shop.verdict()
    verdict.assert_every_promise_kept(accepted)
    assert len(accepted) == len(bodies)
    assert len(children(service)) == 2
    assert second in children(service)
    assert service.terminate() == 0
    assert not second.is_running()


async def test_children_of_a_killed_parent_stop_gracefully(shop: Shop) -> None:
    accepted: dict[str, str] = {}
    service = shop.start("serve", JALUR_PROCESSES="2", JALUR_DRAIN_SECONDS="0")
    await shop.until_ready()
    await shop.register_receiver()
    async with shop.client() as client:
        await load(client, [order(number, number % 70) for number in range(20)], accepted)
    orphans = children(service)
    service.kill()
    gone, alive = await asyncio.to_thread(psutil.wait_procs, orphans, 20)
    assert (len(gone), alive) == (2, [])
    shop.start("serve")
    await shop.until_ready()
    verdict = await shop.verdict()
    verdict.assert_every_promise_kept(accepted)


async def test_process_may_open_more_files_than_a_shell_begins_with(shop: Shop) -> None:
    few, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(most - 1, 1024), most))
    try:
        service = shop.start("serve")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (few, most))
    await shop.until_ready()
    assert psutil.Process(service.popen.pid).rlimit(psutil.RLIMIT_NOFILE) == (most, most)


async def test_stop_ends_in_time_even_where_the_database_is_silent(
    shop: Shop, database_dsn: str
) -> None:
    async with dropping_proxy(database_dsn) as (proxy, dsn):
        service = shop.start(
            "serve", DATABASE_URL=dsn, JALUR_DRAIN_SECONDS="0", JALUR_GRACE_SECONDS="1"
        )
        await shop.until_ready()
        proxy.hold()
        service.send(signal.SIGTERM)
        assert await asyncio.to_thread(service.popen.wait, 30) == 1
    assert service.log is not None
    assert "service.cut_off" in service.log.read_text()


async def test_process_that_cannot_start_ends_all_with_its_status(shop: Shop) -> None:
    service = shop.start(
        "serve", JALUR_PROCESSES="2", DATABASE_URL="postgresql://nobody@127.0.0.1:1/none"
    )
    assert await asyncio.to_thread(service.popen.wait, 30) != 0


async def test_interrupt_is_passed_on_once(shop: Shop) -> None:
    service = shop.start("serve", JALUR_PROCESSES="2", JALUR_DRAIN_SECONDS="0")
    await shop.until_ready()
    both = children(service)
    service.send(signal.SIGINT)
    assert await asyncio.to_thread(service.popen.wait, 30) == 0
    assert not any(child.is_running() for child in both)


async def test_signal_during_the_start_reaches_every_process(shop: Shop) -> None:
    for _ in range(3):
        service = shop.start("serve", JALUR_PROCESSES="4", JALUR_DRAIN_SECONDS="0")
        parent = psutil.Process(service.popen.pid)
        started = await asyncio.to_thread(first_children, parent)
        service.send(signal.SIGTERM)
        assert await asyncio.to_thread(service.popen.wait, 40) == 0
        gone, alive = await asyncio.to_thread(psutil.wait_procs, started, 5)
        assert (len(gone), alive) == (len(started), [])
