"""Large goods, for one process: brought by a process of its own, into memory that both share.

A million routes take the better part of half a minute of a processor to compile, and a gigabyte
meanwhile; to fetch them compiled takes half a second. In a serving process, in a thread too, that
would hold up orders: what is brought is only mapped.
"""

import asyncio
import json
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from mmap import ACCESS_READ, mmap
from typing import Any

from app.children import run_child
from app.errors import DatabaseUnavailable
from app.lifecycle.goods import MOST_ROWS_HERE, Goods, open_goods
from app.storage import compiled_goods, reference
from app.storage.compiled_goods import Header
from app.storage.pool import Pool, PoolSettings
from routing.table import BadTable

_JOB = "app.workers.large_goods_job"
_PAUSE_SECONDS = 30.0
"""Goods that could not be brought are not tried again before."""


@dataclass(frozen=True, slots=True)
class Brought:
    """Goods as they were brought."""

    goods: Goods
    compiled_at: datetime | None
    """When they stood compiled, if this process had them compiled."""
    seconds: float | None
    """How long that took."""


class LargeGoods:
    """One process's part in it: whichever sees first that there are newer goods has them compiled;
    the others wait for those."""

    def __init__(self, pool: Pool, database: PoolSettings, monotonic: Callable[[], float]) -> None:
        self._pool = pool
        self._means = {"dsn": database.dsn, "role": database.role}
        self._monotonic = monotonic
        self._failed: tuple[tuple[int, Header | None] | None, float] = None, 0.0
        """The goods wanted and those kept that could not be brought, and until when they are left
        alone: goods that another compiled meanwhile are taken at once."""

    async def newer(self, held: int) -> Brought | None:
        """Large goods newer than revision `held`; None where there are none, or not yet.

        They may be older than the newest, where that is still to be compiled and they are not.
        Raises BadTable, DatabaseUnavailable.
        """
        async with self._pool.acquire() as connection:
            wanted = (await reference.revisions(connection)).goods
            if wanted <= held or await reference.goods_fit_in(connection, MOST_ROWS_HERE):
                return None
            kept = await compiled_goods.newest(connection)
        failed, until = self._failed
        if (wanted, kept) == failed and self._monotonic() < until:
            return None
        self._failed = (wanted, kept), self._monotonic() + _PAUSE_SECONDS
        brought = await self._bring(held)
        self._failed = None, 0.0
        return brought

    async def _bring(self, held: int) -> Brought | None:
        room = _shared_memory()
        try:
            job = {**self._means, "held": held, "room": room}
            outcome = await run_child(_JOB, [json.dumps(job).encode() + b"\n"], [room])
            answer = _answer(*outcome)
            return await asyncio.to_thread(_opened, answer, room) if answer else None
        finally:
            os.close(room)


def _shared_memory() -> int:
    """A file without a name, in memory where the system offers that. Its descriptor."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("jalur-goods")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


def _opened(answer: dict[str, Any], room: int) -> Brought:
    compiled_at = answer["compiled_at"]
    return Brought(
        # The mapping stays when its file is closed, and goes with the goods.
        open_goods(Header(**answer["header"]), memoryview(mmap(room, 0, access=ACCESS_READ))),
        None if compiled_at is None else datetime.fromisoformat(compiled_at),
        answer["seconds"],
    )


def _answer(told: bytes, status: int | None) -> dict[str, Any]:
    try:
        answer = json.loads(told)
    except ValueError:
        answer = {"error": f"it ended with status {status} and no word"}
    if "fault" in answer:
        raise BadTable(answer["fault"])
    if "error" in answer:
        raise DatabaseUnavailable(f"compiling the routing table: {answer['error']}")
    return answer
