"""The pace of work that is long and may take longer, beside orders that may not."""

import asyncio
import time

_LONGEST_REST_SECONDS = 0.25


class Pace:
    """Work and rest by turns, so that orders find processors, disk and locks free in between.

    `rest_share` is how long to rest for each second of work.
    """

    def __init__(self, rest_share: float) -> None:
        self._rest_share = rest_share
        self._since = time.monotonic()

    async def rest(self) -> None:
        """Rest for the work since the last rest."""
        worked = time.monotonic() - self._since
        await asyncio.sleep(min(worked * self._rest_share, _LONGEST_REST_SECONDS))
        self._since = time.monotonic()
