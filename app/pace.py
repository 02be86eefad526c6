"""The pace of work that is long and may take longer, beside orders that may not."""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable

_LONGEST_REST_SECONDS = 0.25
_IMPATIENCE = 4
"""Who has rested long enough in all rests so much less from then on."""


class Pace:
    """Work and rest by turns, so that orders find processors, disk and locks free in between.

    `rest_share` is how long to rest for each second of work, until all rests together took
    `enough_seconds`: where work is slow, resting as much longer would put its end off for minutes.
    """

    def __init__(
        self,
        rest_share: float,
        enough_seconds: float = math.inf,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._rest_share = rest_share
        self._left_seconds = enough_seconds
        self._clock = clock
        self._sleep = sleep
        self._since = clock()

    async def rest(self) -> None:
        """Rest for the work since the last rest."""
        worked = self._clock() - self._since
        share = self._rest_share if self._left_seconds > 0 else self._rest_share / _IMPATIENCE
        seconds = min(worked * share, _LONGEST_REST_SECONDS)
        await self._sleep(seconds)
        self._left_seconds -= seconds
        self._since = self._clock()
