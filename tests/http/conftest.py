"""A shop for each test on a database of its own, and one for all tests that leave it untouched."""

from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio

from app.embedded.postgres import RunningPostgres
from app.storage.pool import Pool, PoolSettings, open_pool
from tests.http.shop import Customer, Shop, open_shop
from tests.storage_fixtures import fresh_database


@pytest.fixture
async def shop(pool: Pool, database_dsn: str) -> AsyncIterator[Shop]:
    async with open_shop(pool, database_dsn) as opened:
        yield opened


@pytest.fixture
async def customer(shop: Shop) -> Customer:
    return await shop.customer()


@pytest.fixture(scope="module")
def shared_dsn(postgres: RunningPostgres, migrated_template: str) -> Iterator[str]:
    with fresh_database(postgres.dsn, migrated_template) as dsn:
        yield dsn


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def untouched_shop(shared_dsn: str) -> AsyncIterator[Shop]:
    pool = await open_pool(PoolSettings(shared_dsn, max_size=8))
    async with open_shop(pool, shared_dsn) as opened:
        yield opened
    await pool.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def idle_customer(untouched_shop: Shop) -> Customer:
    return await untouched_shop.customer()
