"""Two processes that hear about one order at once: what one wrote, the other must see."""

import asyncio

from app.words import Source
from dealers.contract import Outcome
from tests.shops import Shop, engine_on


async def test_success_behind_a_refusal_elsewhere_withdraws_the_next_attempt(
    shop: Shop, database_dsn: str
):
    """The refusal is settled by one process while another waits for the same order's lock."""
    purchase = await shop.bought()
    async with engine_on(database_dsn) as other:
        elsewhere = Shop(other, shop.lane)
        async with shop.engine.pool.acquire() as connection, connection.transaction():
            await connection.execute("select from orders for update")
            refusal = asyncio.ensure_future(shop.refuse(purchase))
            await _waiting_for_locks(connection, 1)
            success = asyncio.ensure_future(
                elsewhere.hear(purchase, Outcome.SUCCEEDED, Source.CALLBACK)
            )
            await _waiting_for_locks(connection, 2)
        await asyncio.gather(refusal, success)
    assert await shop.status(purchase.order_id) == "succeeded"
    assert await shop.waiting() == []
    assert await shop.claim() == []


async def _waiting_for_locks(connection, count: int) -> None:
    waiting = """
        select count(*) from pg_stat_activity
        where datname = current_database() and wait_event_type = 'Lock'
    """
    while await connection.fetchval(waiting) < count:
        await asyncio.sleep(0.005)
