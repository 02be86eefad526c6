"""Rulings are made on what the holder of a lock wrote before it let go."""

import asyncio
from datetime import UTC, datetime
from uuid import UUID

import asyncpg

from app.storage import rulings
from app.storage.pool import Pool, wait_longer
from app.storage.rulings import Locked

LANE, ORDER = 7, UUID(int=1)
ACCEPTED = """
    insert into orders (lane, order_id, reseller_id, ref_id, sku, brand, customer_number, price,
                        retry_until, created_at, decision)
        values ($1, $2, $2, 'r', 'S', 'tri', '0895', 6000, now(), now(), '{}')
"""
WAITS = "insert into ready values ($1, $2, 1, 'alfa', now())"
CLAIMED = "delete from ready where lane = $1 and order_id = $2"
BOUGHT = """
    insert into attempts (lane, order_id, attempt_no, dealer_id, route_id, dealer_sku, dealer_ref,
                          cost, max_price, asked_at, sent_at)
        values ($1, $2, 1, 'alfa', 'r', 'S', 'a', 5000, 6000, now(), now())
"""
RULED = "update orders set version = version + 1 where lane = $1 and order_id = $2"
IS_BLOCKED = "select exists (select from pg_locks where not granted) from pg_sleep(0.01)"


async def lock(pool: Pool) -> Locked:
    async with pool.acquire() as connection, connection.transaction():
        await wait_longer(connection)
        return await rulings.lock(connection, [(LANE, ORDER)])


async def test_locking_sees_all_that_the_holder_before_it_wrote(pool: Pool, database_dsn: str):
    holder = await asyncpg.connect(database_dsn)
    try:
        for statement in (ACCEPTED, WAITS):
            await holder.execute(statement, LANE, ORDER)
        async with asyncio.TaskGroup() as group, holder.transaction():
            for statement in (RULED, CLAIMED, BOUGHT):
                await holder.execute(statement, LANE, ORDER)
            locking = group.create_task(lock(pool))
            while not await holder.fetchval(IS_BLOCKED):
                pass
        found = locking.result()
    finally:
        await holder.close()
    assert [each.version for each in found.orders] == [2]
    assert found.waiting == []
    assert [each.dealer_ref for each in found.tries] == ["a"]


async def test_locked_orders_come_as_they_were_asked_for_with_their_waiting_attempts(
    pool: Pool, database_dsn: str
):
    owner = await asyncpg.connect(database_dsn)
    try:
        for statement in (ACCEPTED, WAITS):
            await owner.execute(statement, LANE, ORDER)
    finally:
        await owner.close()
    found = await lock(pool)
    (order,), (waiting,) = found.orders, found.waiting
    assert (order.order_id, order.price, order.now.tzinfo) == (ORDER, 6000, UTC)
    assert order.now > datetime(2026, 1, 1, tzinfo=UTC)
    assert waiting == (LANE, ORDER, "alfa")
    assert found.tries == []
