"""The engine whole: an order is bought, settled and told by the loops alone."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import asyncpg

from app.lifecycle.settle import Patience
from app.metrics import Metrics
from app.storage import statements
from app.storage.pool import PoolSettings
from app.workers.engine import EngineSettings, start_engine
from tests.lifecycle.counters import Asked, Reply, always, asked, counter
from tests.lifecycle.test_deliver import read, receiver
from tests.lifecycle.test_repeats import count_repeats
from tests.outbound.peers import Peer
from tests.publishing import PUBLISH
from tests.shops import (
    ALFA,
    LOOPBACK,
    OPENING_RUPIAH,
    PRICE,
    SECRET_KEY,
    Shop,
    enrol,
    furnish,
    until,
)

QUICK = Patience(check_schedule=((1, 0.05),))


@asynccontextmanager
async def working(dsn: str, reply: Reply, **settings: Any) -> AsyncIterator[tuple[Shop, Peer]]:
    """An engine at work and its one dealer; afterwards everything must add up."""
    async with counter(reply) as alfa:
        await furnish(dsn, [replace(ALFA, base_url=alfa.url)])
        engine = await start_engine(_settings(dsn, **settings), Metrics())
        stop = asyncio.Event()
        running = asyncio.ensure_future(engine.run(stop, work=True, serve=None))
        try:
            yield Shop(engine, await enrol(engine)), alfa
        finally:
            stop.set()
            await running
            async with engine.pool.acquire() as connection:
                assert await statements.verify(connection) == []
                assert await connection.fetchval("select count(*) from processes") == 0
            await engine.close()


def _settings(dsn: str, **settings: Any) -> EngineSettings:
    return EngineSettings(
        PoolSettings(dsn, max_size=6),
        None,
        [SECRET_KEY],
        patience=QUICK,
        address_policy=LOOPBACK,
        poll_seconds=(0.01, 0.02),
        **settings,
    )


async def becomes(shop: Shop, query: str) -> None:
    """Wait until a query says true."""
    await until(lambda: shop.value(query))


async def test_orders_are_bought_settled_and_told(database_dsn: str):
    async with working(database_dsn, always(Asked.sukses)) as (shop, alfa):
        async with receiver(shop) as peer:
            await asyncio.gather(*(shop.order(f"A{number}") for number in range(20)))
            await becomes(shop, "select count(*) = 20 from deliveries where state = 'delivered'")
            told = {read(raw)["data"]["ref_id"] for raw in peer.requests}
        assert len(alfa.requests) == 20
        assert told == {f"A{number}" for number in range(20)}
        assert await shop.money() == (OPENING_RUPIAH - 20 * PRICE, 0)


async def test_cut_connection_is_asked_about_until_the_dealer_tells(database_dsn: str):
    async def reply(question: Asked) -> bytes | None:
        return question.sukses() if question.is_check else None

    async with working(database_dsn, reply) as (shop, alfa):
        await shop.order()
        await becomes(shop, "select status = 'succeeded' from orders")
        assert [question.is_check for question in asked(alfa)] == [False, True]


async def test_stopping_loses_no_purchase_on_its_way(database_dsn: str):
    arrived, answering = asyncio.Event(), asyncio.Event()

    async def slow(question: Asked) -> bytes:
        arrived.set()
        await answering.wait()
        return question.sukses()

    async with working(database_dsn, slow) as (shop, alfa):
        order_id = await shop.order()
        await arrived.wait()
        asyncio.get_running_loop().call_later(0.1, answering.set)
    assert len(alfa.requests) == 1
    connection = await asyncpg.connect(database_dsn)
    status = await connection.fetchval("select status from orders where order_id = $1", order_id)
    await connection.close()
    assert status == "succeeded"


async def test_stopping_hands_a_purchase_over_that_takes_too_long(database_dsn: str):
    arrived = asyncio.Event()

    async def silent(_question: Asked) -> bytes:
        arrived.set()
        await asyncio.get_running_loop().create_future()
        raise AssertionError("unreachable")

    async with working(database_dsn, silent, grace_seconds=0.05) as (shop, _):
        await shop.order()
        await arrived.wait()
    connection = await asyncpg.connect(database_dsn)
    row = await connection.fetchrow("select state, claim_id from attempts")
    await connection.close()
    assert row is not None
    assert (row["state"], row["claim_id"]) == ("unknown", None)


async def test_new_table_is_taken_up_without_a_restart(database_dsn: str):
    async with working(database_dsn, always(Asked.sukses)) as (shop, _):
        await shop.execute("update routes set cost = 5500")
        await shop.execute(PUBLISH)
        await until(partial(_taken_up, shop, 3))
        await shop.order()
        await becomes(shop, "select count(*) = 1 from attempts")
        assert await shop.value("select cost from attempts") == 5500


async def _taken_up(shop: Shop, revision: int) -> bool:
    return shop.engine.router.trade.revision == revision


async def test_purchases_of_one_number_are_numbered_by_the_loops_alone(database_dsn: str):
    async with working(database_dsn, always(Asked.sukses)) as (shop, alfa):
        count_repeats(shop.engine)
        await asyncio.gather(*(shop.order(f"A{number}") for number in range(5)))
        await becomes(shop, "select count(*) = 5 from orders where status = 'succeeded'")
        counters = await shop.fetch("select counter from attempts order by counter")
        assert [row["counter"] for row in counters] == [1, 2, 3, 4, 5]
        assert len(alfa.requests) == 5


async def test_engine_whose_count_of_shares_is_cut_starts_all_the_same(database_dsn: str):
    await furnish(database_dsn, [ALFA])
    owner = await asyncpg.connect(database_dsn)
    async with owner.transaction():
        await owner.execute("lock table purchase_hours")
        starting = asyncio.ensure_future(start_engine(_settings(database_dsn), Metrics()))

        async def cut() -> bool:
            return await owner.fetchval(
                """
                select count(pg_terminate_backend(l.pid)) > 0
                from pg_locks l join pg_database d on d.oid = l.database
                where d.datname = current_database()
                  and l.relation = 'purchase_hours'::regclass and not l.granted
                """
            )

        await until(cut)
        engine = await starting
    await owner.close()
    assert engine.router.loaded
    await engine.close()
