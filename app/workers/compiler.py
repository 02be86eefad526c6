"""The compiler: has large goods compiled for all processes, by a process of its own.

A million routes take the better part of half a minute of a processor, and a gigabyte meanwhile. In
a serving process, in a thread too, that would hold up every order.
"""

import json
from collections.abc import Callable
from typing import Any

import structlog

from app.children import run_child
from app.errors import DatabaseUnavailable
from app.lifecycle.goods import MOST_ROWS_HERE
from app.storage import compiled_goods, reference
from app.storage.pool import Pool, PoolSettings
from routing.table import BadTable

log = structlog.get_logger()

_JOB = "app.workers.compile_job"
_PAUSE_SECONDS = 30.0
"""Goods that could not be compiled are not tried again before."""


class Compiler:
    """One process's part in it: whichever process sees first that there are newer goods compiles
    them; the others wait."""

    def __init__(self, pool: Pool, database: PoolSettings, monotonic: Callable[[], float]) -> None:
        self._pool = pool
        self._means = json.dumps({"dsn": database.dsn, "role": database.role}).encode() + b"\n"
        self._monotonic = monotonic
        self._failed = (0, 0.0)
        """The goods that could not be compiled, and until when they are left alone."""

    async def keep_up(self) -> dict[str, Any] | None:
        """Compile large goods that are newer than the compiled ones; what became of it, if it was
        done here.

        Raises BadTable, DatabaseUnavailable.
        """
        async with self._pool.acquire() as connection:
            wanted = (await reference.revisions(connection)).goods
            header = await compiled_goods.newest(connection)
            if header is not None and header.goods_revision >= wanted:
                return None
            if await reference.goods_fit_in(connection, MOST_ROWS_HERE):
                return None
        failed, until = self._failed
        if wanted == failed and self._monotonic() < until:
            return None
        self._failed = (wanted, self._monotonic() + _PAUSE_SECONDS)
        done = _outcome(*await run_child(_JOB, [self._means]))
        self._failed = (0, 0.0)
        return done or None


def _outcome(told: bytes, status: int | None) -> dict[str, Any]:
    try:
        answer = json.loads(told)
    except ValueError:
        answer = {"error": f"it ended with status {status} and no word"}
    if "fault" in answer:
        raise BadTable(answer["fault"])
    if "error" in answer:
        raise DatabaseUnavailable(f"compiling the routing table: {answer['error']}")
    return answer
