"""Handover: work that this process claimed in the very commit that made it, and does at once.

What commits it (accepting, settling) reserves a place before the commit and hands the piece over
after it, or gives the place back. The loop that does the work opens the handover while it runs, so
that nothing is claimed here that nobody here would do, and ends only when no place is reserved.
"""

import asyncio
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Handover(Generic[T]):
    """Places for pieces of work between their claim and their start. For the event loop only."""

    def __init__(self) -> None:
        self._start: Callable[[T], None] | None = None
        self._has_room: Callable[[int], bool] = lambda _: False
        self._reserved = 0
        self._settled = asyncio.Event()
        self._settled.set()

    @property
    def is_open(self) -> bool:
        """Whether somebody here does the work."""
        return self._start is not None

    def open(self, start: Callable[[T], None], has_room: Callable[[int], bool]) -> None:
        """Take pieces from now on. `has_room` tells whether one more fits beside those reserved."""
        self._start = start
        self._has_room = has_room

    def close(self) -> None:
        """Reserve nothing more; what is reserved may still come."""
        self._has_room = lambda _: False

    async def settled(self) -> None:
        """Wait until everything reserved was handed over or released."""
        await self._settled.wait()

    def reserve(self) -> bool:
        """Hold a place for a piece about to be claimed. Returns whether there is one."""
        if not self._has_room(self._reserved):
            return False
        self._reserved += 1
        self._settled.clear()
        return True

    def hand_over(self, piece: T) -> None:
        """Start a claimed piece in the place reserved for it."""
        if self._start is not None:
            self._start(piece)
        self.release()

    def release(self) -> None:
        """The piece was not claimed, or is not to be done: its place is free."""
        self._reserved -= 1
        if self._reserved == 0:
            self._settled.set()
