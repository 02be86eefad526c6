"""From what moment on a queue in a growing table is looked at.

A queue is an index of what has a time, looked at from the longest due on. What was done leaves its
entries there until PostgreSQL can clear them away, and while anybody holds an old snapshot it
cannot: then each look would walk over everything done since. So a process remembers how far nothing
was left, and looks from there. Leases that run out are looked for once a second only: each act that
ended in time has left an entry at the end of its lease.
"""

import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta

from app.storage.pool import Connection
from app.storage.work_queues import WorkQueue

EVER = datetime(1970, 1, 1, tzinfo=UTC)
_REFRESH_SECONDS = 0.5
_BEFORE = timedelta(seconds=1)
"""So long before the first that is left looks begin."""
_LATE_SECONDS, _LATE = 2.0, timedelta(seconds=4)
"""How often it is looked so far back for what was seen late."""
_WHOLE_SECONDS = {WorkQueue.WAITING: 60.0, WorkQueue.LEASED: 300.0}
_LEASES_SECONDS, _CROWDED_SECONDS = 1.0, 0.1
"""How often leases are looked at; and where there was no place for what may have run out."""

FirstDue = Callable[[Connection, WorkQueue, datetime], Awaitable[datetime]]
"""The moment before which nothing that is due is left, of what was due from a given one on."""


class Looks:
    """What a process looks at in one table, and from when on."""

    def __init__(self, first_due: FirstDue, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._outsets = {queue: Outset(first_due, queue, clock) for queue in WorkQueue}
        self._leases_at = clock()

    def queues(self) -> Sequence[WorkQueue]:
        """The queues that it is time to look at: leases first, which are late already."""
        now = self._clock()
        if now < self._leases_at:
            return (WorkQueue.WAITING,)
        self._leases_at = now + _LEASES_SECONDS
        return (WorkQueue.LEASED, WorkQueue.WAITING)

    def looked(self, queue: WorkQueue, found: int, *, everywhere: bool) -> None:
        """Note what a look found. Where leases had run out there may be more, and where one was not
        looked for `everywhere`, for want of a place, it may be there."""
        if queue is WorkQueue.LEASED and found:
            self.look_again()
        elif queue is WorkQueue.LEASED and not everywhere:
            self._leases_at = min(self._leases_at, self._clock() + _CROWDED_SECONDS)

    def look_again(self) -> None:
        """Have leases looked at by the next claim."""
        self._leases_at = self._clock()

    async def since(self, connection: Connection, queue: WorkQueue) -> datetime:
        """From when on to look at a queue. Database time."""
        return await self._outsets[queue].moment(connection)


class Outset:
    """One queue's, in one process.

    Work is written with the time of its transaction's beginning and seen when that commits. What is
    seen so late that looks begin behind it waits two seconds at most; a minute, if it was under way
    for longer than four seconds. A lease is seen long before it ends, so it is looked for from the
    very beginning more seldom.
    """

    def __init__(
        self, first_due: FirstDue, queue: WorkQueue, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._first_due = first_due
        self._queue = queue
        self._clock = clock
        self._moment = EVER
        self._refresh_at = self._late_at = self._whole_at = clock()

    async def moment(self, connection: Connection) -> datetime:
        """Where to begin; twice a second it is looked for anew. Database time."""
        now = self._clock()
        if now >= self._refresh_at:
            is_whole, is_late = now >= self._whole_at, now >= self._late_at
            since = EVER if is_whole else self._moment - _LATE if is_late else self._moment
            self._moment = await self._first_due(connection, self._queue, since) - _BEFORE
            self._refresh_at = now + _REFRESH_SECONDS
            if is_late:
                self._late_at = now + _LATE_SECONDS
            if is_whole:
                self._whole_at = now + _WHOLE_SECONDS[self._queue]
        return self._moment
