"""A shop with three dealers and one reseller; whatever a test did in it must add up afterwards."""

from collections.abc import AsyncIterator

import asyncpg
import pytest

from app.storage import statements
from tests.shops import ALFA, BRAVO, CHARLIE, Owner, Shop, engine_on, enrol, furnish


@pytest.fixture
async def shop(database_dsn: str) -> AsyncIterator[Shop]:
    await furnish(database_dsn, [ALFA, BRAVO, CHARLIE])
    async with engine_on(database_dsn) as engine:
        yield Shop(engine, await enrol(engine))
        async with engine.pool.acquire() as connection:
            assert await statements.verify(connection) == []


@pytest.fixture
async def owner(database_dsn: str) -> AsyncIterator[Owner]:
    connection = await asyncpg.connect(database_dsn)
    yield connection
    await connection.close()
