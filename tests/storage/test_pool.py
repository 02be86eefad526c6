"""The service's connections: what a promise needs of them holds whatever the server's settings."""

import asyncpg

from app.storage.pool import PoolSettings, open_pool


async def test_commits_are_on_disk_before_they_are_told(database_dsn: str):
    owner = await asyncpg.connect(database_dsn)
    database = await owner.fetchval("select current_database()")
    await owner.execute(f'alter database "{database}" set synchronous_commit = off')
    pool = await open_pool(PoolSettings(database_dsn, max_size=4))
    settled = await pool.fetchval("show synchronous_commit")
    await pool.close()
    await owner.close()
    assert settled == "on"
