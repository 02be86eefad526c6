"""From what moment on a queue in a growing table is looked at.

A queue is an index of what has a time, looked at from the longest due on. What was done leaves its
entries there until PostgreSQL can clear them away, and while anybody holds an old snapshot it
cannot: then each look would walk over everything done since. So a process remembers how far nothing
was left, and looks from there.
"""

import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

from app.storage.pool import Connection

EVER = datetime(1970, 1, 1, tzinfo=UTC)
_REFRESH_SECONDS = 0.5
_BEFORE = timedelta(seconds=1)
"""So long before the first that is left looks begin."""
_LATE_SECONDS, _LATE = 2.0, timedelta(seconds=4)
"""How often it is looked so far back for what was seen late."""
_WHOLE_SECONDS = 60.0

FirstDue = Callable[[Connection, datetime], Awaitable[datetime]]
"""The moment before which nothing that is due is left, of what was due from a given one on."""


class Outset:
    """One queue's, in one process.

    Work is written with the time of its transaction's beginning and seen when that commits. What is
    seen so late that looks begin behind it waits two seconds at most; a minute, if it was under way
    for longer than four seconds.
    """

    def __init__(self, first_due: FirstDue, clock: Callable[[], float] = time.monotonic) -> None:
        self._first_due = first_due
        self._clock = clock
        self._moment = EVER
        self._refresh_at = self._late_at = self._whole_at = clock()

    async def moment(self, connection: Connection) -> datetime:
        """Where to begin; twice a second it is looked for anew. Database time."""
        now = self._clock()
        if now >= self._refresh_at:
            is_whole, is_late = now >= self._whole_at, now >= self._late_at
            since = EVER if is_whole else self._moment - _LATE if is_late else self._moment
            self._moment = await self._first_due(connection, since) - _BEFORE
            self._refresh_at = now + _REFRESH_SECONDS
            if is_late:
                self._late_at = now + _LATE_SECONDS
            if is_whole:
                self._whole_at = now + _WHOLE_SECONDS
        return self._moment
