"""Refuse: a callback that is not taken is counted, logged and, the newest few, kept for people.

Whoever knows a dealer's address can send to it, so what a refusal costs is bounded: its texts are
cut, the rows are few for each dealer and cause, and so is how often they are written.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from time import monotonic

import orjson
import structlog

from app.errors import DatabaseUnavailable, Forbidden, NotFound
from app.metrics import Metrics
from app.storage import callbacks
from app.storage.callbacks import MOST_REFUSED, Refused
from app.storage.pool import DATABASE_ERRORS, Pool
from dealers.contract import Callback

log = structlog.get_logger()

_LONGEST_KEPT = 4096
"""Of a refused callback's query, headers and body each, in characters and bytes."""


class Cause(StrEnum):
    """Why a callback was refused."""

    PATH = "path"
    """The path's secret is missing or wrong."""
    ADDRESS = "address"
    """It came from none of the dealer's networks."""
    UNREADABLE = "unreadable"
    """Not signed as agreed, or not what the protocol sends."""
    REFERENCE = "reference"
    """It names a purchase that cannot be ours."""


class NotTaken(Exception):
    """A callback that is refused. `detail` is for people, `problem` is what its sender is told."""

    def __init__(self, cause: Cause, detail: str, problem: Forbidden | NotFound) -> None:
        super().__init__(detail)
        self.cause = cause
        self.detail = detail
        self.problem = problem


@dataclass(slots=True)
class _Allowance:
    """How many refusals may be written: `MOST_REFUSED` at once, then one a second."""

    left: float
    since: float

    def take(self, now: float) -> bool:
        """Whether one more may be written at `now`, in seconds."""
        self.left = min(float(MOST_REFUSED), self.left + now - self.since)
        self.since = now
        if self.left < 1:
            return False
        self.left -= 1
        return True


class Refusals:
    """What becomes of the callbacks that are not taken."""

    def __init__(
        self, pool: Pool, metrics: Metrics, clock: Callable[[], float] = monotonic
    ) -> None:
        self._pool = pool
        self._metrics = metrics
        self._clock = clock
        self._allowances: dict[tuple[str, Cause], _Allowance] = {}

    async def keep(
        self, dealer_id: str, refusal: NotTaken, callback: Callback, source_address: str
    ) -> None:
        """Count and log a refusal, and keep it while few come. Never raises."""
        self._metrics.called_back(dealer_id, "refused")
        log.warning(
            "callback.refused",
            dealer_id=dealer_id,
            cause=refusal.cause,
            reason=refusal.detail,
            source_address=source_address,
        )
        if not self._may_write(dealer_id, refusal.cause):
            return
        kept = _kept(dealer_id, refusal, callback, source_address)
        try:
            async with self._pool.acquire() as connection:
                await callbacks.store_refused(connection, kept)
        except (*DATABASE_ERRORS, DatabaseUnavailable) as error:
            log.warning("callback.not_kept", dealer_id=dealer_id, reason=type(error).__name__)

    def _may_write(self, dealer_id: str, cause: Cause) -> bool:
        now = self._clock()
        full = _Allowance(MOST_REFUSED, now)
        return self._allowances.setdefault((dealer_id, cause), full).take(now)


def _kept(dealer_id: str, refusal: NotTaken, callback: Callback, source_address: str) -> Refused:
    """The refusal cut to length, without NUL, which PostgreSQL's texts cannot hold."""
    headers = orjson.dumps(dict(callback.headers)).decode()
    return Refused(
        dealer_id,
        refusal.cause,
        refusal.detail[:200].replace("\0", " "),
        callback.method,
        callback.query[:_LONGEST_KEPT].replace("\0", " "),
        headers if len(headers) <= _LONGEST_KEPT else "{}",
        callback.body[:_LONGEST_KEPT],
        source_address,
    )
