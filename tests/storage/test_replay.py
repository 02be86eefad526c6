"""Past orders by the page: of the window only, over all lanes, in the order of their time."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from app.storage import replay
from app.storage.pool import Pool
from app.storage.replay import ReplayRow
from tests.past import place
from tests.shops import Owner

SINCE = datetime(2026, 11, 20, 5, 30, tzinfo=UTC)
UNTIL = SINCE + timedelta(hours=6)
MILLISECOND = timedelta(milliseconds=1)


@pytest.fixture
async def owner(database_dsn: str) -> AsyncIterator[Owner]:
    connection = await asyncpg.connect(database_dsn)
    yield connection
    await connection.close()


async def read(pool: Pool, most: int = 20_000) -> list[list[ReplayRow]]:
    async with pool.acquire() as connection:
        return [page async for page in replay.pages(connection, SINCE, UNTIL, most)]


@pytest.mark.parametrize("most", [1, 3, 20_000])
async def test_pages_hold_every_order_once_in_the_order_of_time(
    owner: Owner, pool: Pool, most: int
):
    moments = [SINCE, SINCE, SINCE + MILLISECOND, SINCE + timedelta(hours=4), UNTIL - MILLISECOND]
    # Their lanes run against their time; two are of the same millisecond.
    placed = [
        await place(owner, moment, number)
        for moment, number in zip(moments, (62, 63, 40, 20, 1), strict=True)
    ]
    pages = await read(pool, most)
    assert [row.order_id for page in pages for row in page] == placed
    assert max(map(len, pages)) <= most


async def test_window_begins_with_its_first_millisecond_and_ends_before_its_last(
    owner: Owner, pool: Pool
):
    await place(owner, SINCE - MILLISECOND, 1)
    inside = [await place(owner, SINCE, 2), await place(owner, UNTIL - MILLISECOND, 3)]
    await place(owner, UNTIL, 4)
    assert [row.order_id for page in await read(pool) for row in page] == inside


async def test_the_purchase_is_the_one_that_serves_or_is_on_its_way(owner: Owner, pool: Pool):
    alfa, bravo = ("alfa", 5000, "failed"), ("bravo", 5100, "succeeded")
    await place(owner, SINCE, 1, [alfa, bravo], serving=2)
    await place(owner, SINCE, 2, [("alfa", 5000, "succeeded"), bravo], serving=1)
    await place(
        owner, SINCE, 3, [alfa, ("bravo", 5100, "unknown")], status="processing", serving=None
    )
    await place(owner, SINCE, 4, [alfa], status="processing", serving=None)
    await place(owner, SINCE, 5, [], status="accepted", serving=None)
    (page,) = await read(pool)
    assert [(row.dealer_id, row.cost, row.status) for row in page] == [
        ("bravo", 5100, "succeeded"),
        ("alfa", 5000, "succeeded"),
        ("bravo", 5100, "processing"),
        (None, None, "processing"),
        (None, None, "accepted"),
    ]


async def test_the_tier_is_the_resellers(owner: Owner, pool: Pool):
    await place(owner, SINCE, 1)
    await owner.execute(
        "insert into resellers (lane, reseller_id, name, tier) "
        "select 1, reseller_id, 'Toko', 'gold' from orders"
    )
    await place(owner, SINCE, 2)
    (page,) = await read(pool)
    assert [row.tier for row in page] == ["gold", "standard"]
