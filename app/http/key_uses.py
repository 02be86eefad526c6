"""When each key was used last: noted in memory, written now and then, never while anyone waits."""

import asyncio
from datetime import datetime, timedelta

import structlog

from app.storage import api_keys
from app.storage.api_keys import Use
from app.storage.pool import DATABASE_ERRORS, Pool

log = structlog.get_logger()

_WRITE_SECONDS = 5.0
_ONCE_IN = timedelta(minutes=1)
"""A key's use is written at most this often by one process."""
_MOST_KEYS = 20_000
"""What is noted of more keys than this at once is forgotten."""
_NOWHERE = "unknown"


class KeyUses:
    """One process's notes. For the event loop only."""

    def __init__(self, pool: Pool, connection_seconds: float) -> None:
        self._pool = pool
        self._connection_seconds = connection_seconds
        self._seen: dict[str, tuple[datetime, str | None]] = {}
        self._written: dict[str, datetime] = {}

    def note(self, key_id: str, at: datetime, address: str | None) -> None:
        """A key was used."""
        if key_id in self._seen or len(self._seen) < _MOST_KEYS:
            self._seen[key_id] = (at, address)

    async def run(self) -> None:
        """Write what is due until cancelled."""
        while True:
            await asyncio.sleep(_WRITE_SECONDS)
            await self.write()

    async def write(self, *, everything: bool = False) -> None:
        """Write the keys whose last writing is a while ago, or all that were used since theirs.

        What cannot be written is kept for the next time.
        """
        due = {
            key_id: Use(key_id, at, address or _NOWHERE)
            for key_id, (at, address) in self._seen.items()
            if everything or key_id not in self._written or at - self._written[key_id] >= _ONCE_IN
        }
        if not due:
            return
        try:
            async with self._pool.acquire(timeout=self._connection_seconds) as connection:
                await api_keys.note_uses(connection, list(due.values()))
        except DATABASE_ERRORS as error:
            log.warning("keys.uses_not_written", reason=f"{type(error).__name__}: {error}")
            return
        self._forget(due)

    def _forget(self, written: dict[str, Use]) -> None:
        """Forget what was written, unless the key was used again meanwhile."""
        for key_id, use in written.items():
            if self._seen[key_id][0] == use.used_at:
                del self._seen[key_id]
            self._written[key_id] = use.used_at
        while len(self._written) > _MOST_KEYS:
            del self._written[next(iter(self._written))]
