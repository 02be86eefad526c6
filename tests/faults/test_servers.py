"""The servers beneath fail: Valkey loses everything, PostgreSQL is killed; orders go on."""

import asyncio
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis.asyncio import Redis

from app.embedded.postgres import RunningPostgres, start_postgres
from app.embedded.valkey import RunningValkey, start_valkey
from app.storage.migrate import migrate
from tests.faults.shop import Shop, load, order


@pytest.fixture
def own_folder() -> Iterator[Path]:
    """A folder that the servers' user can reach."""
    folder = Path(tempfile.mkdtemp(prefix="jalur-faults-", dir="/tmp"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def own_valkey(own_folder: Path) -> Iterator[RunningValkey]:
    with start_valkey(own_folder) as running:
        yield running


@pytest.fixture
def own_postgres(own_folder: Path) -> Iterator[RunningPostgres]:
    with start_postgres(own_folder) as running:
        yield running


async def test_valkey_flushed_and_stopped_under_load_changes_nothing(
    shop: Shop, own_valkey: RunningValkey
) -> None:
    shop.redis_url = own_valkey.url
    accepted: dict[str, str] = {}
    shop.start("api")
    shop.start("worker")
    await shop.until_ready()
    await shop.register_receiver()
    bodies = [order(number, number % 70) for number in range(120)]
    async with shop.client() as client:
        loading = asyncio.ensure_future(load(client, bodies, accepted))
        await asyncio.sleep(0.5)
        async with Redis.from_url(own_valkey.url) as redis:
            await redis.flushall()
        await asyncio.sleep(0.5)
        own_valkey.process.send_signal(signal.SIGKILL)
        await loading
    verdict = await shop.verdict()
    verdict.assert_every_promise_kept(accepted)
    assert len(accepted) == len(bodies)


async def test_postgres_killed_under_load_loses_nothing(
    tmp_path: Path, own_folder: Path, own_postgres: RunningPostgres, valkey: RunningValkey
) -> None:
    await migrate(own_postgres.dsn)
    shop = Shop(tmp_path, own_postgres.dsn, valkey.url)
    accepted: dict[str, str] = {}
    try:
        shop.start_helpers()
        await shop.furnish()
        shop.start()
        await shop.until_ready()
        await shop.register_receiver()
        bodies = [order(number, number % 70) for number in range(120)]
        async with shop.client() as client:
            loading = asyncio.ensure_future(load(client, bodies, accepted))
            await asyncio.sleep(0.8)
            own_postgres.process.kill()
            own_postgres.process.wait()
            with start_postgres(own_folder, port=own_postgres.port):
                await loading
                verdict = await shop.verdict()
    finally:
        shop.end()
    verdict.assert_every_promise_kept(accepted)
    assert len(accepted) == len(bodies)
