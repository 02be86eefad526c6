"""The service's connections: what a promise needs of them holds whatever the server's settings."""

import asyncio

import asyncpg
import pytest

from app.storage.pool import DISCONNECTED, Pool, PoolSettings, one_view, open_pool


async def test_commits_are_on_disk_before_they_are_told(database_dsn: str):
    owner = await asyncpg.connect(database_dsn)
    database = await owner.fetchval("select current_database()")
    await owner.execute(f'alter database "{database}" set synchronous_commit = off')
    pool = await open_pool(PoolSettings(database_dsn, max_size=4))
    settled = await pool.fetchval("show synchronous_commit")
    await pool.close()
    await owner.close()
    assert settled == "on"


IMPATIENT = "set idle_in_transaction_session_timeout = '50ms'"


async def test_a_process_that_stands_still_holds_no_rows_for_long(pool: Pool):
    async with pool.acquire() as connection:
        await connection.execute(IMPATIENT)
        await connection.execute("begin")
        await asyncio.sleep(0.2)
        with pytest.raises(DISCONNECTED):
            await connection.fetchval("select 1")


async def test_a_process_that_stands_still_goes_on_reading(pool: Pool):
    async with pool.acquire() as connection:
        await connection.execute(IMPATIENT)
        async with one_view(connection):
            await asyncio.sleep(0.2)
            assert await connection.fetchval("select 1") == 1
        await connection.execute("reset idle_in_transaction_session_timeout")
