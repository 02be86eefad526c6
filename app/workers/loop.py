"""The shape that every worker loop has: claim, start what was claimed, wait for a hint or a poll.

A loop ends when it is told to stop: it claims nothing more and waits for what is in flight, first
patiently, then by cancelling, which hands each act over.
"""

import asyncio
import contextlib
import math
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import structlog

from app.errors import DatabaseUnavailable, Overloaded
from app.lifecycle.handover import Handover
from app.storage.hints import Hints, Topic
from app.storage.pool import DATABASE_ERRORS

log = structlog.get_logger()

T = TypeVar("T")

_TROUBLE = (*DATABASE_ERRORS, DatabaseUnavailable, Overloaded)
_AFTER_TROUBLE_SECONDS = 0.5
_PATIENCE = 4
_FIRST_CLAIM, _MOST_A_CLAIM = 64, 256
"""A claim looks at several rows for each that it wants, and little that waits must not cost a long
look; but each claim takes its turns of a busy event loop, and where much waits they are to be few.
So each that finds all it wanted is followed by one of twice the size."""


@dataclass(frozen=True, slots=True)
class Rhythm:
    """How a loop waits: between two polls, varied by `fraction` in [0, 1), at least between two
    claims that found something, and when stopping."""

    fraction: Callable[[], float]
    shortest_seconds: float = 0.05
    longest_seconds: float = 0.2
    grace_seconds: float = 20.0
    gap_seconds: float = 0.005

    def pause_seconds(self) -> float:
        """How long the next wait for a hint lasts at most."""
        span = self.longest_seconds - self.shortest_seconds
        return self.shortest_seconds + span * self.fraction()


class Loop(Generic[T]):
    """Claims work under a bound and does each piece in a task of its own.

    Pieces that this process claimed as they were made come through `handover` and start at once.
    `soonest_seconds` tells when there may be work again that nobody gives a hint of.
    """

    def __init__(
        self,
        name: str,
        topic: Topic,
        claim: Callable[[int], Awaitable[Sequence[T]]],
        act: Callable[[T], Awaitable[None]],
        *,
        hints: Hints,
        rhythm: Rhythm,
        most_in_flight: int,
        handover: Handover[T] | None = None,
        soonest_seconds: Callable[[], float] = lambda: math.inf,
    ) -> None:
        self._name = name
        self._topic = topic
        self._claim = claim
        self._act = act
        self._hints = hints
        self._rhythm = rhythm
        self._most_in_flight = most_in_flight
        self._handover = handover
        self._soonest_seconds = soonest_seconds
        self._acting: set[asyncio.Task[None]] = set()
        self._most_a_claim = _FIRST_CLAIM
        self._more = False
        """Whether there may be work that found no place yet."""

    @property
    def in_flight(self) -> int:
        """How many acts are under way."""
        return len(self._acting)

    async def run(self, stop: asyncio.Event) -> None:
        """Claim and act until told to stop, then see what is in flight through."""
        async with asyncio.TaskGroup() as group:

            def start(piece: T) -> None:
                task = group.create_task(self._do(piece))
                self._acting.add(task)
                task.add_done_callback(self._acting.discard)

            if self._handover is not None:
                self._handover.open(start, self._has_room)
            while not stop.is_set():
                free = self._most_in_flight - len(self._acting)
                wanted = min(free, self._most_a_claim)
                claimed = await self._claim_some(wanted) if wanted > 0 else ()
                self._most_a_claim = self._next_claim(wanted, len(claimed))
                self._more = free <= 0 or bool(claimed)
                for piece in claimed:
                    start(piece)
                if claimed:
                    # A little patience makes one claim out of many small ones.
                    many = len(claimed) >= _FIRST_CLAIM // 2
                    await asyncio.sleep(self._rhythm.gap_seconds * (1 if many else _PATIENCE))
                else:
                    await self._hints.wait(self._topic, self._pause_seconds())
            await self._finish()

    @staticmethod
    def _next_claim(wanted: int, found: int) -> int:
        found_all = found < wanted or wanted < _FIRST_CLAIM
        return _FIRST_CLAIM if found_all else min(2 * wanted, _MOST_A_CLAIM)

    def _pause_seconds(self) -> float:
        soonest = max(self._soonest_seconds(), self._rhythm.gap_seconds)
        return min(self._rhythm.pause_seconds(), soonest)

    def _has_room(self, reserved: int) -> bool:
        return len(self._acting) + reserved < self._most_in_flight

    async def _claim_some(self, free: int) -> Sequence[T]:
        try:
            return await self._claim(free)
        except _TROUBLE as error:
            log.warning("claim.failed", loop=self._name, reason=f"{type(error).__name__}: {error}")
        except Exception:
            # A loop that died would leave an API that goes on accepting.
            log.exception("claim.failed", loop=self._name)
        await asyncio.sleep(_AFTER_TROUBLE_SECONDS)
        return ()

    async def _do(self, piece: T) -> None:
        try:
            await self._act(piece)
        except Exception:
            # One order's surprise stops nobody else; its lease brings it back.
            log.exception("act.failed", loop=self._name)
        finally:
            if self._more:
                self._hints.wake(self._topic)

    async def _finish(self) -> None:
        """Wait for what is in flight, then hand over what is left to whoever takes its lease."""
        deadline = asyncio.get_running_loop().time() + self._rhythm.grace_seconds
        if self._handover is not None:
            self._handover.close()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(deadline):
                    await self._handover.settled()
        if not self._acting:
            return
        left_seconds = max(0.0, deadline - asyncio.get_running_loop().time())
        _, left = await asyncio.wait(self._acting, timeout=left_seconds)
        for task in left:
            task.cancel()
