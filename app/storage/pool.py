"""Connections to PostgreSQL: a hot statement keeps its plan, and no lock is kept long.

The planner is told to prefer index look-ups: the hot statements join small arrays to large tables
by key, and a plan made while a table was small must not survive into the day it is not.
"""

from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias

import asyncpg

from app.children import let_step_back
from app.errors import DatabaseUnavailable

Connection: TypeAlias = (
    "asyncpg.pool.PoolConnectionProxy[asyncpg.Record] | asyncpg.Connection[asyncpg.Record]"
)
Pool: TypeAlias = "asyncpg.Pool[asyncpg.Record]"

RETRIABLE = (asyncpg.SerializationError, asyncpg.DeadlockDetectedError)
"""The transaction was undone by the server and may simply be run again."""

DISCONNECTED = (
    OSError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.PostgresConnectionError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.CannotConnectNowError,
    asyncpg.IdleInTransactionSessionTimeoutError,
    TimeoutError,
)
"""The connection is gone; whether a commit under way took effect is not known."""

LOCKED = (asyncpg.LockNotAvailableError,)
"""Somebody else holds the rows for longer than this session waits."""

DATABASE_ERRORS = (*DISCONNECTED, asyncpg.PostgresError)
"""Whatever can go wrong with a statement, for loops that try again later."""

_STATEMENT_SECONDS = 10
"""How long a prepared statement is kept: a plan made while a table was small is soon made anew."""

LONG_SECONDS = 600
"""The longest statement of work that no order waits for."""

_SESSION = {
    "application_name": "jalur",
    "timezone": "UTC",
    "lock_timeout": "200ms",
    "statement_timeout": "30s",
    "idle_in_transaction_session_timeout": "2s",
    "synchronous_commit": "on",
    "jit": "off",
    "plan_cache_mode": "force_generic_plan",
    "enable_seqscan": "off",
    "enable_bitmapscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    # A draft of a large table stays in memory: what is written to new files holds up every commit
    # that makes the file system write its journal. Taken only where a draft is.
    "temp_buffers": "512MB",
}


@dataclass(frozen=True, slots=True)
class PoolSettings:
    """How to connect. `role` is taken on at connect; empty keeps the login's own."""

    dsn: str
    role: str = "jalur_service"
    min_size: int = 2
    """Opened before anything else starts."""
    max_size: int = 16
    statement_cache_size: int = 256
    steps_back: bool = False
    """Whether orders go first at the server too, where it is on this machine and lets us."""


async def _step_back(connection: Connection) -> None:
    """Lower the priority of the server's process behind a connection: it computes for us."""
    process_id: int = await connection.fetchval("select pg_backend_pid()")
    port: int | None = await connection.fetchval("select inet_client_port()")
    if port is not None:
        # The server names a process after its client: `postgres: role database host(port) state`.
        let_step_back(process_id, f"({port}) ")


async def _keep_as_it_is(connection: object) -> None:
    """Nothing here changes a session, so nothing is to be reset when it goes back: a trip saved."""


async def open_pool(settings: PoolSettings) -> Pool:
    """Open the pool. Raises DatabaseUnavailable with the reason."""
    session = dict(_SESSION)
    if settings.role:
        session["role"] = settings.role
    try:
        return await asyncpg.create_pool(
            settings.dsn,
            min_size=min(settings.min_size, settings.max_size),
            max_size=settings.max_size,
            statement_cache_size=settings.statement_cache_size,
            reset=_keep_as_it_is,
            init=_step_back if settings.steps_back else None,
            max_cached_statement_lifetime=_STATEMENT_SECONDS,
            max_inactive_connection_lifetime=300,
            command_timeout=35,
            timeout=5,
            server_settings=session,
        )
    except (*DISCONNECTED, asyncpg.PostgresError) as error:
        raise DatabaseUnavailable(f"cannot use the database: {error}") from error


async def wait_longer(connection: Connection) -> None:
    """Let this transaction wait for locks and for its own process: an operator's act is patient."""
    await connection.execute(
        "set local lock_timeout = '5s'; set local idle_in_transaction_session_timeout = '30s'"
    )


async def take_time(connection: Connection) -> None:
    """Let this transaction's statements read for minutes: an hour of a large shop is added up."""
    await connection.execute(f"set local statement_timeout = '{LONG_SECONDS}s'")


@asynccontextmanager
async def one_view(connection: Connection) -> AsyncGenerator[None]:
    """Read everything as of one moment. It locks no rows, so a process that stands still meanwhile
    holds nobody up and may go on with it."""
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        await wait_longer(connection)
        yield


# Rows that every order reads or writes are named tuples: a frozen dataclass of twenty fields takes
# four times as long to make, and tuples turn into columns without a look at each field's name.


def columns(rows: Iterable[object], *names: str) -> list[list[Any]]:
    """Turn rows into one list a column, the shape that `unnest` takes."""
    listed = list(rows)
    return [[getattr(row, name) for row in listed] for name in names]


def transposed(rows: Sequence[tuple[Any, ...]], width: int) -> list[list[Any]]:
    """Turn tuples into `width` lists, one a column, also when there are no rows."""
    return [list(column) for column in zip(*rows, strict=True)] or [[] for _ in range(width)]
