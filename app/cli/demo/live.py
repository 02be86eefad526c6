"""The demo's live view: the board on the terminal's other screen, drawn anew a few times a second.

Reading and drawing take a twentieth of the time at most, so that watching a large run does not slow
it down.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator
from dataclasses import replace
from uuid import UUID

from rich.console import Console
from rich.live import Live

from app.cli.demo.board import Moment, board
from app.cli.serve import Running
from app.errors import DatabaseUnavailable
from app.storage import overview
from app.storage.lanes import lane_of
from app.storage.pool import DATABASE_ERRORS, Pool

_SHORTEST_SECONDS = 0.25
_REST = 19
"""Times as long as a look took, it rests."""


def can_show(screen: Console) -> bool:
    """Whether the view can be drawn: on a real terminal that can move its cursor."""
    return screen.is_terminal and screen.file.isatty() and not screen.is_dumb_terminal


class LiveView:
    """What `showing` draws. `say` changes the words about what the demo is busy with."""

    def __init__(
        self, pool: Pool, screen: Console, running: Running, reseller_id: UUID, first: Moment
    ) -> None:
        self._pool = pool
        self._screen = screen
        self._running = running
        self._reseller_id = reseller_id
        self._moment = first

    def say(self, doing: str) -> None:
        """Change what the demo is said to be doing."""
        self._moment = replace(self._moment, doing=doing)

    @contextlib.asynccontextmanager
    async def showing(self) -> AsyncGenerator[None]:
        """Draw while the block runs, or until the service is told to stop."""
        async with asyncio.TaskGroup() as group:
            drawing = group.create_task(self._draw_on())
            try:
                yield
            finally:
                drawing.cancel()

    async def _draw_on(self) -> None:
        stop = self._running.stop
        with Live(console=self._screen, screen=True, auto_refresh=False) as live:
            while not stop.is_set():
                started = time.monotonic()
                await self._look()
                # In a thread: a terminal that was told to wait must not hold up the service.
                await asyncio.to_thread(self._draw, live)
                pause = max(_REST * (time.monotonic() - started), _SHORTEST_SECONDS)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), pause)

    async def _look(self) -> None:
        """Take in how the shop stands; while the database is away, the last look stays."""
        engine = self._running.engine
        states = engine.router.breaker_states() if engine else {}
        try:
            async with self._pool.acquire() as connection:
                seen = await overview.read(
                    connection, lane_of(self._reseller_id), self._reseller_id
                )
        except (*DATABASE_ERRORS, DatabaseUnavailable):
            return
        breakers = {dealer_id: state.value for dealer_id, state in states.items()}
        self._moment = replace(self._moment, overview=seen, breakers=breakers)

    def _draw(self, live: Live) -> None:
        live.update(board(self._moment, *self._screen.size), refresh=True)
