"""Purchases by the hour: whatever was written before, what is read is what the attempts say."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from uuid import UUID

import asyncpg
import pytest

from app.storage import purchase_hours
from app.storage.pool import Pool
from app.storage.purchase_hours import Bought, Hour
from tests.shops import Owner

HOUR = timedelta(hours=1)
NOW = datetime.now(UTC)
HOURS = purchase_hours.hours(NOW - 5 * HOUR, NOW)


@pytest.fixture
async def owner(database_dsn: str) -> AsyncIterator[Owner]:
    connection = await asyncpg.connect(database_dsn)
    yield connection
    await connection.close()


async def buy(
    owner: Owner, hour: Hour, number: int, state: str = "succeeded", *, brand: str = "tri"
) -> UUID:
    """Write an order of that hour with one attempt, for 1,000 rupiah and its number."""
    order_id = UUID(int=hour.first_id.int + number)
    await owner.execute(
        """
        insert into orders (lane, order_id, reseller_id, ref_id, sku, brand, customer_number, price,
                            retry_until, created_at, decision)
        values ($1, $2, $2, 'r', 'S', $3, '0895', 6000, $4, $4, '{}')
        """,
        number % 64,
        order_id,
        brand,
        hour.hour,
    )
    await owner.execute(
        """
        insert into attempts (lane, order_id, attempt_no, dealer_id, route_id, dealer_sku,
                              dealer_ref, cost, max_price, asked_at, sent_at, state, closed_at)
        values ($1, $2, 1, 'alfa', 'r', 'S', md5($2::uuid::text), $3, 9000, $4, $4, $5, $4)
        """,
        number % 64,
        order_id,
        1000 + number,
        hour.hour,
        state,
    )
    return order_id


async def close(owner: Owner, order_id: UUID, state: str) -> None:
    await owner.execute(
        "update attempts set state = $2, closed_at = now() where order_id = $1", order_id, state
    )


async def read(pool: Pool, hours: list[Hour] = HOURS) -> set[Bought]:
    async with pool.acquire() as connection, connection.transaction():
        return set(await purchase_hours.bought(connection, hours))


async def written(pool: Pool, hours: list[Hour]) -> list[Hour]:
    """Write what is due, as the service does. Returns what was."""
    async with pool.acquire() as connection:
        found = await purchase_hours.review(connection, hours)
        for hour in found.due:
            await purchase_hours.write(connection, hour)
        await purchase_hours.vouch(connection, hours, found.seen_at)
    return found.due


def tri(hour: Hour, cost: int, orders: int) -> Bought:
    return Bought("tri", None, "alfa", hour.hour, cost, orders)


async def test_hours_are_the_same_whether_they_were_written_or_not(pool: Pool, owner: Owner):
    for number, hour in enumerate(HOURS):
        await buy(owner, hour, number)
        await buy(owner, hour, 100 + number, "unknown")
        await buy(owner, hour, 200 + number, "failed")
        await buy(owner, hour, 300 + number, brand="xl")
    expected = {tri(hour, 2100 + 2 * number, 2) for number, hour in enumerate(HOURS)} | {
        Bought("xl", None, "alfa", hour.hour, 1300 + number, 1) for number, hour in enumerate(HOURS)
    }
    assert await read(pool) == expected
    assert await written(pool, HOURS[:4]) == HOURS[:4]
    assert await read(pool) == expected
    assert await written(pool, HOURS[:4]) == []


async def test_first_and_last_id_of_an_hour_are_its_own(pool: Pool, owner: Owner):
    before, hour, after = HOURS[:3]
    await buy(owner, hour, 0)
    await owner.execute("update orders set order_id = $1", UUID(int=hour.end_id.int - 1))
    await owner.execute("update attempts set order_id = $1", UUID(int=hour.end_id.int - 1))
    await owner.execute("update attempts set dealer_ref = 'last'")
    await buy(owner, hour, 0)
    await buy(owner, after, 0)
    assert await read(pool) == {tri(hour, 2000, 2), tri(after, 1000, 1)}
    assert (before.end_id, hour.end_id) == (hour.first_id, after.first_id)


async def test_purchase_that_failed_late_leaves_an_hour_that_was_written(pool: Pool, owner: Owner):
    await buy(owner, HOURS[0], 1)
    late = await buy(owner, HOURS[0], 2, "unknown")
    await written(pool, HOURS[:2])
    await close(owner, late, "failed")
    assert await read(pool) == {tri(HOURS[0], 1001, 1)}
    assert await written(pool, HOURS[:2]) == [HOURS[0]]
    assert await read(pool) == {tri(HOURS[0], 1001, 1)}


async def test_late_success_comes_back_into_an_hour_that_was_written(pool: Pool, owner: Owner):
    late = await buy(owner, HOURS[0], 2, "failed")
    await written(pool, HOURS[:2])
    assert await read(pool) == set()
    await close(owner, late, "succeeded")
    assert await read(pool) == {tri(HOURS[0], 1002, 1)}


async def test_failure_whose_commit_was_not_to_be_seen_yet_leaves_a_written_hour(
    pool: Pool, owner: Owner
):
    """A transaction writes with the time of its beginning, and may end after the hour was read."""
    late = await buy(owner, HOURS[0], 2, "unknown")
    async with owner.transaction():
        await close(owner, late, "failed")
        assert await written(pool, HOURS[:2]) == HOURS[:2]
    assert await read(pool) == set()
    assert await written(pool, HOURS[:2]) == [HOURS[0]]


async def test_hour_that_was_vouched_for_long_ago_is_looked_at_all_the_same(
    pool: Pool, owner: Owner
):
    hours = purchase_hours.hours(NOW - 75 * HOUR, NOW - 72 * HOUR)
    late = await buy(owner, hours[0], 2, "unknown")
    await written(pool, hours[:2])
    await owner.execute("update purchase_hours set counted_at = counted_at - interval '2 days'")
    await close(owner, late, "failed")
    await owner.execute("update attempts set closed_at = now() - interval '1 day'")
    assert await read(pool, hours) == set()


async def test_older_count_never_replaces_a_newer_one(pool: Pool, owner: Owner):
    await buy(owner, HOURS[0], 1)
    async with pool.acquire() as slow, pool.acquire() as quick:
        async with slow.transaction():
            await slow.fetchval("select now()")
            await purchase_hours.write(quick, HOURS[0])
            before = await quick.fetchval("select counted_at from purchase_hours")
            await purchase_hours.write(slow, HOURS[0])
        assert await quick.fetchval("select counted_at from purchase_hours") == before


async def test_orders_that_wait_are_counted_by_product(pool: Pool, owner: Owner):
    order_id = await buy(owner, HOURS[3], 1, "failed")
    await owner.execute(
        "insert into ready (lane, order_id, attempt_no, dealer_id, not_before) "
        "values (1, $1, 2, 'bravo', now())",
        order_id,
    )
    async with pool.acquire() as connection:
        (each,) = await purchase_hours.waiting(connection)
    assert (each.sku, each.brand, each.cluster, each.dealer_id, each.orders) == (
        "S",
        "tri",
        None,
        "bravo",
        1,
    )
    assert each.hour == HOURS[3].hour


async def test_hour_of_a_large_shop_may_take_longer_than_statements_of_orders_do(
    pool: Pool, owner: Owner
):
    hour, moment = HOURS[0], HOURS[0].hour
    numbers = [(n % 64, UUID(int=hour.first_id.int + n)) for n in range(30_000)]
    await owner.copy_records_to_table(
        "orders",
        columns=(
            *("lane", "order_id", "reseller_id", "ref_id", "sku", "brand", "customer_number"),
            *("price", "retry_until", "created_at", "decision"),
        ),
        records=[
            (lane, order_id, order_id, "r", "S", "tri", "0895", 6000, moment, moment, "{}")
            for lane, order_id in numbers
        ],
    )
    await owner.copy_records_to_table(
        "attempts",
        columns=(
            *("lane", "order_id", "attempt_no", "dealer_id", "route_id", "dealer_sku"),
            *("dealer_ref", "cost", "max_price", "asked_at", "sent_at", "state", "closed_at"),
        ),
        records=[
            (lane, order_id, 1, "alfa", "r", "S", order_id.hex, 1000, 9000, *times)
            for lane, order_id in numbers
            for times in [(moment, moment, "succeeded", moment)]
        ],
    )
    expected = tri(hour, 30_000_000, 30_000)
    async with pool.acquire() as connection:
        await connection.execute("set statement_timeout = '20ms'")
        async with connection.transaction():
            assert await purchase_hours.bought(connection, [hour]) == [expected]
        await purchase_hours.write(connection, hour)
        await connection.execute("set statement_timeout = '30s'")
    assert await read(pool, [hour]) == {expected}
