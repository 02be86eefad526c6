"""Two processes that hear about one order at once: what one wrote, the other must see."""

import asyncio

from app.words import Source
from dealers.contract import Outcome
from tests.shops import Owner, Shop, engine_on


async def test_success_behind_a_refusal_elsewhere_withdraws_the_next_attempt(
    shop: Shop, owner: Owner, database_dsn: str
):
    """One process settles the refusal while another waits for the same order with a success."""
    purchase = await shop.bought()
    async with engine_on(database_dsn) as other:
        elsewhere = Shop(other, shop.lane)
        async with shop.engine.pool.acquire() as connection, connection.transaction():
            await connection.execute("select from orders for update")
            refusal = asyncio.ensure_future(shop.refuse(purchase))
            await _waiting_for_locks(owner, 1)
            success = asyncio.ensure_future(
                elsewhere.hear(purchase, Outcome.SUCCEEDED, Source.CALLBACK)
            )
            await _waiting_for_locks(owner, 2)
        await asyncio.gather(refusal, success)
    assert await shop.status(purchase.order_id) == "succeeded"
    assert await shop.waiting() == []
    assert await shop.claim() == []


async def test_concurrent_settlers_capture_once(shop: Shop, database_dsn: str):
    purchases = [await shop.bought(f"A{number}") for number in range(20)]
    async with engine_on(database_dsn) as other:
        elsewhere = Shop(other, shop.lane)
        await asyncio.gather(
            *(
                each.hear(purchase, Outcome.SUCCEEDED, Source.CALLBACK)
                for purchase in purchases
                for each in (shop, elsewhere, shop)
            )
        )
    assert await shop.money() == (1_000_000 - 20 * 6000, 0)
    assert await shop.value("select count(*) from events") == 20


async def test_success_and_failure_in_two_processes_leave_one_resolution(
    shop: Shop, database_dsn: str
):
    purchases = [await shop.bought(f"A{number}") for number in range(20)]
    await shop.execute("update orders set retry_until = now()")
    async with engine_on(database_dsn) as other:
        elsewhere = Shop(other, shop.lane)
        await asyncio.gather(
            *(shop.refuse(purchase) for purchase in purchases),
            *(elsewhere.succeed(purchase, Source.CALLBACK) for purchase in purchases),
        )
    statuses = await shop.value("select array_agg(distinct status) from orders")
    assert statuses == ["succeeded"]
    assert await shop.money() == (1_000_000 - 20 * 6000, 0)


async def _waiting_for_locks(owner: Owner, count: int) -> None:
    """Return once so many sessions wait; asked outside transactions, which remember the answer."""
    waiting = """
        select count(*) from pg_stat_activity
        where datname = current_database() and wait_event_type = 'Lock'
    """
    async with asyncio.timeout(1):
        while await owner.fetchval(waiting) < count:
            await asyncio.sleep(0.002)
