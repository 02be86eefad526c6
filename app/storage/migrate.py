"""Migrations: Alembic writes the SQL, asyncpg runs it, in one transaction.

Alembic is used without a database driver of its own: it renders the steps from the version in the
database to the newest as plain SQL.
"""

import io
from dataclasses import dataclass
from pathlib import Path

import asyncpg
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory

import migrations
from app.errors import ConfigurationError, DatabaseUnavailable
from app.storage.pool import DISCONNECTED

_LOCK_KEY = 0x6A616C7572  # "jalur"
_LOCK_TIMEOUT = "set local lock_timeout = '5s'"
"""Whoever waits for a table's lock makes everybody else wait behind it."""


@dataclass(frozen=True, slots=True)
class Migrated:
    """From which revision to which; None before the first. Equal when there was nothing to do."""

    before: str | None
    after: str


async def migrate(dsn: str) -> Migrated:
    """Bring the database to the newest revision, as its owner.

    Raises DatabaseUnavailable, also where a lock cannot be had; ConfigurationError for a revision
    that this version does not know.
    """
    try:
        connection = await asyncpg.connect(dsn, timeout=10)
    except (*DISCONNECTED, asyncpg.PostgresError) as error:
        raise DatabaseUnavailable(f"cannot use the database: {error}") from error
    try:
        async with connection.transaction():
            await connection.execute("select pg_advisory_xact_lock($1)", _LOCK_KEY)
            before = await _revision(connection)
            script, head = _render(before)
            if before != head:
                await connection.execute(_LOCK_TIMEOUT)
                await connection.execute(script)
        return Migrated(before, head)
    except asyncpg.LockNotAvailableError as error:
        raise DatabaseUnavailable(
            "nothing was changed: a long transaction uses what a migration needs; run "
            "`jalur migrate` again"
        ) from error
    finally:
        await connection.close()


def newest() -> str:
    """The revision that this version of Jalur needs."""
    head = ScriptDirectory.from_config(_config(io.StringIO())).get_current_head()
    if head is None:
        raise ConfigurationError("the migrations are missing from this installation")
    return head


async def _revision(connection: "asyncpg.Connection[asyncpg.Record]") -> str | None:
    if await connection.fetchval("select to_regclass('alembic_version')") is None:
        return None
    return await connection.fetchval("select version_num from alembic_version")


def _render(before: str | None) -> tuple[str, str]:
    buffer = io.StringIO()
    config = _config(buffer)
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    if before is not None and before not in known:
        raise ConfigurationError(
            f"the database is at revision {before}, which this version does not know: "
            "install the newer version that migrated it"
        )
    command.upgrade(config, f"{before or 'base'}:head", sql=True)
    return buffer.getvalue(), newest()


def _config(buffer: io.StringIO) -> Config:
    config = Config(output_buffer=buffer)
    config.set_main_option("script_location", str(Path(migrations.__path__[0])))
    config.set_main_option("path_separator", "os")
    return config
