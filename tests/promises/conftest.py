"""A shop with three dealers and one reseller, without a final audit: tests of what nearly broke."""

from collections.abc import AsyncIterator

import asyncpg
import pytest

from tests.shops import ALFA, BRAVO, CHARLIE, Owner, Shop, engine_on, enrol, furnish


@pytest.fixture
async def shop(database_dsn: str) -> AsyncIterator[Shop]:
    await furnish(database_dsn, [ALFA, BRAVO, CHARLIE])
    async with engine_on(database_dsn) as engine:
        yield Shop(engine, await enrol(engine))


@pytest.fixture
async def owner(database_dsn: str) -> AsyncIterator[Owner]:
    connection = await asyncpg.connect(database_dsn)
    yield connection
    await connection.close()
