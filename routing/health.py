"""When a dealer that does not answer is left alone, and how it comes back.

Only transport failures count: a dealer that refuses for lack of stock is in good health. Times are
seconds of a monotonic clock, always an argument.
"""

from dataclasses import dataclass
from enum import StrEnum

from routing.monopoly import WHOLE_BASIS_POINTS


class BreakerState(StrEnum):
    """What a breaker lets through."""

    CLOSED = "closed"
    """Everything."""
    OPEN = "open"
    """Nothing, until the cooldown is over."""
    HALF_OPEN = "half-open"
    """A few probes; the first answer decides."""


@dataclass(frozen=True, slots=True)
class BreakerRules:
    """When to open and how to come back."""

    consecutive_failures: int = 5
    failure_basis_points: int = 5_000
    """Opens at this failure ratio, once `minimum_sample` calls were counted in the window."""
    minimum_sample: int = 20
    window_seconds: float = 30.0
    """Calls are counted in windows of this length, one after the other."""
    cooldown_seconds: float = 10.0
    half_open_probes: int = 1
    """Probes in flight at once."""
    probe_seconds: float = 90.0
    """Probes that have not reported after so long, longer than any call, are replaced."""


class Breaker:
    """One dealer's breaker.

    `enter` hands out a ticket a call. A result counts only while the breaker is in the period that
    its ticket is from, so a slow failure from before the outage cannot spoil the recovery.
    """

    __slots__ = (
        "_calls",
        "_consecutive",
        "_failures",
        "_opened_at",
        "_period",
        "_probes",
        "_probing_since",
        "_rules",
        "_window_ends_at",
    )

    def __init__(self, rules: BreakerRules) -> None:
        self._rules = rules
        self._period = 0
        self._close()

    @property
    def is_closed(self) -> bool:
        """Whether it lets everything through, now and until a call fails."""
        return self._opened_at is None

    def state(self, now_seconds: float) -> BreakerState:
        """The state at this moment; asking changes nothing."""
        if self._opened_at is None:
            return BreakerState.CLOSED
        if now_seconds < self._opened_at + self._rules.cooldown_seconds:
            return BreakerState.OPEN
        return BreakerState.HALF_OPEN

    def permits(self, now_seconds: float) -> bool:
        """Whether a call could be made now. For choosing: it takes no probe."""
        state = self.state(now_seconds)
        if state is BreakerState.HALF_OPEN:
            return self._probes_in_flight(now_seconds) < self._rules.half_open_probes
        return state is BreakerState.CLOSED

    def enter(self, now_seconds: float) -> int | None:
        """Return a ticket for one call that will be made now, or None where none may be."""
        if not self.permits(now_seconds):
            return None
        if self._opened_at is not None:
            self._take_probe(now_seconds)
        return self._period

    def succeeded(self, ticket: int, now_seconds: float) -> None:
        """The dealer answered; what it said does not matter here."""
        if ticket != self._period:
            return
        if self._opened_at is not None:
            self._close()
            return
        self._count_call(now_seconds)
        self._consecutive = 0

    def failed(self, ticket: int, now_seconds: float) -> None:
        """The transport failed: refused, cut, timed out, or answered with a server error."""
        if ticket != self._period:
            return
        if self._opened_at is not None:
            self._open(now_seconds)
            return
        self._count_call(now_seconds)
        self._consecutive += 1
        self._failures += 1
        if self._too_many_failures():
            self._open(now_seconds)

    def left(self, ticket: int) -> None:
        """The call was not made, or told nothing of the dealer: a probe is free for another."""
        if ticket == self._period and self._opened_at is not None:
            self._probes = max(0, self._probes - 1)

    def _too_many_failures(self) -> bool:
        rules = self._rules
        if self._consecutive >= rules.consecutive_failures:
            return True
        ratio_reached = (
            self._failures * WHOLE_BASIS_POINTS >= self._calls * rules.failure_basis_points
        )
        return self._calls >= rules.minimum_sample and ratio_reached

    def _count_call(self, now_seconds: float) -> None:
        if now_seconds >= self._window_ends_at:
            self._calls = self._failures = 0
            self._window_ends_at = now_seconds + self._rules.window_seconds
        self._calls += 1

    def _open(self, now_seconds: float) -> None:
        self._period += 1
        self._opened_at: float | None = now_seconds
        self._probes = 0

    def _close(self) -> None:
        self._period += 1
        self._opened_at = None
        self._probes = self._consecutive = self._calls = self._failures = 0
        self._probing_since = self._window_ends_at = float("-inf")

    def _probes_in_flight(self, now_seconds: float) -> int:
        if now_seconds >= self._probing_since + self._rules.probe_seconds:
            return 0
        return self._probes

    def _take_probe(self, now_seconds: float) -> None:
        in_flight = self._probes_in_flight(now_seconds)
        if in_flight == 0:
            self._probing_since = now_seconds
        self._probes = in_flight + 1
