"""The transaction of an act: patient with locks, and clear about what it does not know."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from app.errors import DatabaseUnavailable, Overloaded
from app.storage.pool import DISCONNECTED, LOCKED, RETRIABLE, Connection, Pool, wait_longer

_CONNECTION_SECONDS = 5.0


@asynccontextmanager
async def acting(pool: Pool) -> AsyncGenerator[Connection]:
    """A transaction in which an operator changes something and records it.

    Raises Overloaded where somebody else holds the rows: nothing was changed. Raises
    DatabaseUnavailable where the connection is lost: whether it was committed is not known.
    """
    try:
        async with (
            pool.acquire(timeout=_CONNECTION_SECONDS) as connection,
            connection.transaction(),
        ):
            await wait_longer(connection)
            yield connection
    except (*LOCKED, *RETRIABLE) as error:
        raise Overloaded(
            "somebody else is changing the same; nothing was changed, try again"
        ) from error
    except DISCONNECTED as error:
        raise DatabaseUnavailable(
            "the database went away; `jalur audit list` tells whether this was done"
        ) from error
