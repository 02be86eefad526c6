"""The log of tries: what was sent to an endpoint and what came back, kept for a few days.

It is for the reseller who looks for a fault, so it is never waited for: entries collect in memory
under a bound and are written a second later, all at once. Of tries that were heard only so many a
second are kept.
"""

import asyncio
import time
from collections import deque
from collections.abc import Mapping
from datetime import datetime

import structlog

from app.metrics import Metrics
from app.storage import delivery_tries
from app.storage.deliveries import TryResult
from app.storage.delivery_tries import NewTry
from app.storage.pool import DATABASE_ERRORS, Pool
from dealers.contract import Answer

log = structlog.get_logger()

MOST_BODY_BYTES = 4096
_MOST_WAITING = 4096
_MOST_AT_ONCE = 1024
_EVERY_SECONDS = 1.0
_LONGEST_HEADER = 256
_SHOWN = (
    "content-type",
    "content-length",
    "date",
    "location",
    "retry-after",
    "server",
    "x-request-id",
)
"""The headers of an answer that are kept: none in which a receiver may have put a secret."""


class TryLog:
    """Entries that wait to be written, and their writer."""

    def __init__(self, pool: Pool, metrics: Metrics, heard_a_second: int) -> None:
        self._pool = pool
        self._metrics = metrics
        self._heard_a_second = heard_a_second
        self._waiting: deque[NewTry] = deque()
        self._second = 0
        self._heard = 0

    def note(
        self,
        result: TryResult,
        tried_at: datetime,
        seconds: float,
        sent: Mapping[str, str],
        answer: Answer | None,
    ) -> None:
        """Keep one try, if there is room."""
        if result.state == "delivered" and self._is_enough():
            return
        if len(self._waiting) >= _MOST_WAITING:
            self._metrics.tries_unlogged(1)
            return
        self._waiting.append(
            NewTry(
                result.lane,
                result.reseller_id,
                result.delivery_id,
                tried_at,
                round(seconds * 1000),
                None if answer is None else answer.status,
                result.last_error,
                dict(sent),
                None if answer is None else _shown(answer.headers),
                None if answer is None else _text(answer.body),
            )
        )

    async def run(self) -> None:
        """Write until cancelled."""
        while True:
            await asyncio.sleep(_EVERY_SECONDS)
            await self.flush()

    async def flush(self) -> None:
        """Write what waits. What cannot be written is lost: it is no one's money."""
        while self._waiting:
            batch = [self._waiting.popleft() for _ in range(min(len(self._waiting), _MOST_AT_ONCE))]
            try:
                async with self._pool.acquire() as connection:
                    await delivery_tries.write(connection, batch)
            except DATABASE_ERRORS as error:
                self._metrics.tries_unlogged(len(batch))
                log.warning("tries.unlogged", count=len(batch), reason=str(error))
                return
            except Exception:
                # A surprise in a log of conveniences ends no process.
                self._metrics.tries_unlogged(len(batch))
                log.exception("tries.unlogged", count=len(batch))
                return

    def _is_enough(self) -> bool:
        """Whether this second has its share of tries that were heard."""
        second = int(time.monotonic())
        if second != self._second:
            self._second, self._heard = second, 0
        self._heard += 1
        return self._heard > self._heard_a_second


def _shown(headers: Mapping[str, str]) -> dict[str, str]:
    return {name: headers[name][:_LONGEST_HEADER] for name in _SHOWN if name in headers}


def _text(body: bytes) -> str:
    """The beginning of an answer's body as text that PostgreSQL takes."""
    return body[:MOST_BODY_BYTES].decode("utf-8", "replace").replace("\0", "\ufffd")
