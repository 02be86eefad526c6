"""The embedded PostgreSQL keeps what was committed and comes back, whatever was killed."""

import os
import signal

import asyncpg
import pytest

from app.embedded.launcher import spawn
from app.embedded.postgres import start_postgres


async def _run(dsn, query):
    connection = await asyncpg.connect(dsn)
    try:
        return await connection.fetchval(query)
    finally:
        await connection.close()


async def _store_a_row(dsn):
    await _run(dsn, "CREATE TABLE orders AS SELECT 7 AS number")


async def test_the_server_is_durable_and_speaks_utf8(postgres):
    settings = [
        await _run(postgres.dsn, f"SHOW {name}")
        for name in ("server_encoding", "fsync", "synchronous_commit", "listen_addresses")
    ]
    assert settings == ["UTF8", "on", "on", "127.0.0.1"]


async def test_our_role_owns_the_database(postgres):
    owner = "SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = current_database()"
    assert await _run(postgres.dsn, owner) == "jalur"


async def test_a_wrong_password_is_refused(postgres):
    wrong = f"postgresql://jalur:guess@127.0.0.1:{postgres.port}/jalur"
    with pytest.raises(asyncpg.InvalidPasswordError):
        await _run(wrong, "SELECT 1")


def test_the_password_is_in_no_file_others_may_read(server_dir, postgres):
    assert (server_dir / "postgres" / "password").stat().st_mode & 0o077 == 0
    assert (server_dir / "postgres" / "cluster").stat().st_mode & 0o077 == 0


async def test_a_restart_keeps_rows_password_and_port(data_dir):
    with start_postgres(data_dir) as first:
        await _store_a_row(first.dsn)
    with start_postgres(data_dir) as second:
        assert second.dsn == first.dsn
        assert await _run(second.dsn, "SELECT number FROM orders") == 7


async def test_a_killed_server_comes_back_with_every_committed_row(data_dir):
    first = start_postgres(data_dir)
    await _store_a_row(first.dsn)
    busy = await asyncpg.connect(first.dsn)
    first.process.kill()
    first.process.wait()
    with start_postgres(data_dir) as second:
        assert second.dsn == first.dsn
        assert await _run(second.dsn, "SELECT number FROM orders") == 7
    busy.terminate()


async def test_the_pid_file_of_a_dead_server_may_name_a_living_stranger(data_dir):
    start_postgres(data_dir).stop()
    stranger = spawn("/bin/sleep", ["60"], log=data_dir / "sleep.log", death_signal=signal.SIGTERM)
    cluster = data_dir / "postgres" / "cluster"
    (cluster / "postmaster.pid").write_text(f"{stranger.pid}\n{cluster}\n")
    with start_postgres(data_dir) as running:
        assert await _run(running.dsn, "SELECT 1") == 1
    stranger.kill()
    stranger.wait()


async def test_a_cluster_that_was_only_half_created_is_created_anew(data_dir):
    (data_dir / "postgres.new" / "cluster").mkdir(parents=True)
    (data_dir / "postgres.new" / "cluster" / "PG_VERSION").write_text("18\n")
    with start_postgres(data_dir) as running:
        assert await _run(running.dsn, "SELECT current_user") == "jalur"


async def test_the_callers_environment_does_not_reach_the_server(data_dir, monkeypatch):
    monkeypatch.setenv("PGPORT", "1")
    monkeypatch.setenv("PGOPTIONS", "-c nothing=known")
    monkeypatch.setenv("LC_ALL", "xx_XX")
    with start_postgres(data_dir) as running:
        assert await _run(running.dsn, "SHOW lc_messages") == "C"


def test_the_server_runs_without_privileges(postgres):
    status = os.stat(f"/proc/{postgres.process.pid}")
    assert status.st_uid != 0


def test_stopping_twice_is_harmless(data_dir):
    running = start_postgres(data_dir)
    running.stop()
    running.stop()
    assert running.process.returncode == 0
