"""A shop for each test, on a database of its own."""

from collections.abc import AsyncIterator

import pytest

from app.storage.pool import Pool
from tests.http.shop import Customer, Shop, open_shop


@pytest.fixture
async def shop(pool: Pool, database_dsn: str) -> AsyncIterator[Shop]:
    async with open_shop(pool, database_dsn) as opened:
        yield opened


@pytest.fixture
async def customer(shop: Shop) -> Customer:
    return await shop.customer()
