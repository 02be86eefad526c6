"""Batches without a timer: callers wait, one flusher takes everything waiting and commits it.

While one batch commits, the next one forms; an idle system flushes a batch of one immediately. The
flusher is its own task, so a caller that goes away cancels nothing. One bad row never fails its
neighbours: a batch that fails is split until the bad row stands alone.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Awaitable, Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeAlias, TypeVar

import asyncpg

from app.errors import DatabaseUnavailable, Overloaded
from app.storage.lanes import LANES
from app.storage.pool import DISCONNECTED, RETRIABLE

T = TypeVar("T")
R = TypeVar("R")

_RETRY_DELAY_SECONDS = 0.05
_LONGEST_DELAY_SECONDS = 1.0


_Entry: TypeAlias = tuple[T, "asyncio.Future[R]", float]
"""What waits, who waits for it, and since when by the event loop's clock."""


@dataclass(frozen=True, slots=True)
class Queue:
    """One of a process's queues, as it stands."""

    name: str
    age_seconds: float
    """For how long the first in it has waited."""
    served: int
    """How many it has passed on since the process started."""


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """How much one flush takes, how much may wait, how long a lost database is borne."""

    batch: int = 256
    waiting: int = 8192
    patience_seconds: float = 2.0
    gap_seconds: float = 0.0
    """The shortest time between two flushes, so that they are fewer and larger."""
    enough: int | None = None
    """So many waiting are flushed at once: where callers wait for the end of a gap, it only costs
    them time once the next batch is large as it is."""


class Batcher(Generic[T, R]):
    """One queue and its flusher.

    `apply` runs one transaction over the items and returns a result for each, in order; it must
    bear being run twice over the same items, since the reply to a commit can be lost. At most one
    item of the same `key` is in a batch; the others wait in order of arrival.
    """

    def __init__(
        self,
        apply: Callable[[list[T]], Awaitable[Sequence[R]]],
        limits: BatchLimits | None = None,
        key: Callable[[T], Hashable] | None = None,
    ) -> None:
        self._apply = apply
        self._limits = limits or BatchLimits()
        self._key = key
        self._waiting: deque[_Entry[T, R]] = deque()
        self._filled = asyncio.Event()
        self._enough = asyncio.Event()
        self._closing = False
        self._loop: asyncio.AbstractEventLoop | None = None
        """Asked for once: each time costs a system call."""
        self.flushes = 0
        self.served = 0
        """How many were flushed."""

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def age_seconds(self) -> float:
        """For how long the first in the queue has waited for its flush to begin."""
        if not self._waiting or self._loop is None:
            return 0.0
        return self._loop.time() - self._waiting[0][2]

    async def submit(self, item: T) -> R:
        """Wait until the item's batch is committed and return its result. Raises Overloaded."""
        # Whoever stops waiting cancels only the future: the item is in the queue already.
        return await self.put(item)

    def put(self, item: T) -> "asyncio.Future[R]":
        """Queue the item; the future is resolved once its batch is committed. Raises Overloaded."""
        if self._closing or len(self._waiting) >= self._limits.waiting:
            raise Overloaded("too much is waiting for the database")
        loop = self._loop = self._loop or asyncio.get_running_loop()
        future: asyncio.Future[R] = loop.create_future()
        self._waiting.append((item, future, loop.time()))
        self._filled.set()
        if len(self._waiting) == self._limits.enough:
            self._enough.set()
        return future

    async def run(self) -> None:
        """Flush until closed and empty."""
        while not (self._closing and not self._waiting):
            await self._filled.wait()
            batch = self._take()
            if not self._waiting and not self._closing:
                self._filled.clear()
            if batch:
                self.flushes += 1
                await self._flush(batch)
                self.served += len(batch)
                if self._limits.gap_seconds and not self._closing:
                    await self._gather(self._limits.gap_seconds)

    async def _gather(self, gap_seconds: float) -> None:
        """Let more come, until there are enough."""
        enough = self._limits.enough
        if enough is None:
            await asyncio.sleep(gap_seconds)
        elif len(self._waiting) < enough:
            self._enough.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(gap_seconds):
                    await self._enough.wait()

    def close(self) -> None:
        """Take nothing more; `run` returns once everything waiting is flushed."""
        self._closing = True
        self._filled.set()
        self._enough.set()

    def _take(self) -> "list[_Entry[T, R]]":
        limit = self._limits.batch
        if self._key is None:
            count = min(limit, len(self._waiting))
            return [self._waiting.popleft() for _ in range(count)]
        taken: list[_Entry[T, R]] = []
        left: list[_Entry[T, R]] = []
        keys: set[Hashable] = set()
        while self._waiting and len(taken) < limit:
            entry = self._waiting.popleft()
            key = self._key(entry[0])
            (left if key in keys else taken).append(entry)
            keys.add(key)
        self._waiting.extendleft(reversed(left))
        return taken

    async def _flush(self, batch: "list[_Entry[T, R]]") -> None:
        try:
            results = await self._attempt([item for item, _, _ in batch])
        except DISCONNECTED as error:
            self._fail(batch, DatabaseUnavailable(f"the database is away: {error}"))
        except Exception as error:  # noqa: BLE001 - whatever it is, its own caller is told
            if len(batch) == 1:
                self._fail(batch, error)
                return
            middle = len(batch) // 2
            await self._flush(batch[:middle])
            await self._flush(batch[middle:])
        else:
            for (_, future, _), result in zip(batch, results, strict=True):
                if not future.done():
                    future.set_result(result)

    @staticmethod
    def _fail(batch: "list[_Entry[T, R]]", error: Exception) -> None:
        for _, future, _ in batch:
            if not future.done():
                future.set_exception(error)
                future.exception()  # a caller that went away leaves nothing unobserved

    async def _attempt(self, items: list[T]) -> Sequence[R]:
        """Run the transaction; again after a deadlock, a lock time-out, a lost connection.

        A batch that cannot get its locks is split by the caller; a lone item waits for them as
        long as it would for the database.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._limits.patience_seconds
        delay = _RETRY_DELAY_SECONDS
        while True:
            try:
                return await self._apply(items)
            except asyncpg.LockNotAvailableError as error:
                if len(items) > 1:
                    raise
                if loop.time() >= deadline:
                    raise Overloaded("the rows are held by other transactions") from error
            except RETRIABLE as error:
                if loop.time() >= deadline:
                    raise Overloaded("the transaction was undone again and again") from error
            except DISCONNECTED:
                if loop.time() >= deadline:
                    raise
                await asyncio.sleep(delay)
                delay = min(delay * 2, _LONGEST_DELAY_SECONDS)


class LanedBatcher(Generic[T, R]):
    """One batcher a lane group: no transaction spans the lanes of two groups."""

    def __init__(
        self,
        apply: Callable[[list[T]], Awaitable[Sequence[R]]],
        lane: Callable[[T], int],
        groups: Sequence[Sequence[int]],
        limits: BatchLimits | None = None,
        key: Callable[[T], Hashable] | None = None,
    ) -> None:
        self._batchers = [Batcher(apply, limits, key) for _ in groups]
        self._lane = lane
        self._of_lane = [0] * LANES
        for index, lanes in enumerate(groups):
            for number in lanes:
                self._of_lane[number] = index

    def __len__(self) -> int:
        return sum(len(batcher) for batcher in self._batchers)

    @property
    def age_seconds(self) -> float:
        """As `Batcher.age_seconds`, of the group whose first has waited longest."""
        return max(batcher.age_seconds for batcher in self._batchers)

    @property
    def served(self) -> int:
        """How many were flushed."""
        return sum(batcher.served for batcher in self._batchers)

    async def submit(self, item: T) -> R:
        """As `Batcher.submit`, at the item's lane group."""
        return await self.put(item)

    def put(self, item: T) -> "asyncio.Future[R]":
        """As `Batcher.put`, at the item's lane group."""
        return self._batchers[self._of_lane[self._lane(item)]].put(item)

    async def run(self) -> None:
        """Flush every group until closed and empty."""
        async with asyncio.TaskGroup() as group:
            for batcher in self._batchers:
                group.create_task(batcher.run())

    def close(self) -> None:
        """Take nothing more; `run` returns once everything waiting is flushed."""
        for batcher in self._batchers:
            batcher.close()
