"""A fresh database for each test, copied from one that was migrated once."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest

from app.embedded.postgres import RunningPostgres
from app.storage.migrate import migrate
from app.storage.pool import Pool, PoolSettings, open_pool

TEMPLATE = "jalur_template"
_numbers = itertools.count(1)


def _named(dsn: str, database: str) -> str:
    return urlunsplit(urlsplit(dsn)._replace(path=f"/{database}"))


async def _execute(dsn: str, statement: str) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


@pytest.fixture(scope="session")
def migrated_template(postgres: RunningPostgres) -> str:
    """The name of a database at the newest revision that nobody is connected to."""

    async def build() -> None:
        # Processes die here, the machine's power does not: each test's database is made faster.
        await _execute(postgres.dsn, "alter system set fsync = off")
        await _execute(postgres.dsn, "select pg_reload_conf()")
        await _execute(postgres.dsn, f"create database {TEMPLATE}")
        await migrate(_named(postgres.dsn, TEMPLATE))

    asyncio.run(build())
    return TEMPLATE


@contextmanager
def fresh_database(server_dsn: str, template: str) -> Iterator[str]:
    """A copy of the template while it is needed; its address, as its owner."""
    name = f"jalur_test_{next(_numbers)}"
    asyncio.run(_execute(server_dsn, f"create database {name} template {template}"))
    yield _named(server_dsn, name)
    asyncio.run(_execute(server_dsn, f"drop database {name} with (force)"))


@pytest.fixture
def database_dsn(postgres: RunningPostgres, migrated_template: str) -> Iterator[str]:
    """The address of a database of this test's own."""
    with fresh_database(postgres.dsn, migrated_template) as dsn:
        yield dsn


@pytest.fixture
async def pool(database_dsn: str) -> AsyncIterator[Pool]:
    """The service's own pool, under the service's role."""
    opened = await open_pool(PoolSettings(database_dsn, max_size=8))
    yield opened
    await opened.close()
