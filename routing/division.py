"""A dealer's limits divided among the processes that buy there.

Every process works out its own part from the same list, and takes no more of it than the others
leave: whatever two of them believe about who is alive, their parts never add up to more than the
whole.
"""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

_BURST_SECONDS = 0.25
"""A burst is what the rate allows in this time."""


@dataclass(frozen=True, slots=True)
class Part:
    """What one process may do at a dealer, or all of them together."""

    places: int
    """Calls under way at once."""
    units: int = 0
    """Requests in a burst. Each unit brings its part of the rate."""

    def least(self, other: "Part") -> "Part":
        """No more than either."""
        return Part(min(self.places, other.places), min(self.units, other.units))


NOTHING = Part(0, 0)


def whole(concurrency: int, requests_per_second: float | None) -> Part:
    """All of a dealer's limits. A rate is divided in whole units, at least one."""
    if requests_per_second is None:
        return Part(concurrency)
    return Part(concurrency, max(1, int(requests_per_second * _BURST_SECONDS)))


def fair(total: int, processes: Sequence[str], own: str, dealer_id: str) -> int:
    """This process's part of `total`: as many as every other one, or one more.

    `processes`: every living one, itself included, in order. Who gets one more differs from dealer
    to dealer, so that not one process gets all of those whose limit is one.
    """
    each, rest = divmod(total, len(processes))
    turn = (processes.index(own) + zlib.crc32(dealer_id.encode())) % len(processes)
    return each + (turn < rest)


def granted(total: int, fair_part: int, others_hold: int) -> int:
    """How much of its fair part a process may take now, others holding so much."""
    return max(0, min(fair_part, total - others_hold))
