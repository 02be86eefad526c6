"""How much is sent to a dealer at once and how often: a limit that adapts, and tokens.

Times are seconds of a monotonic clock, always an argument.
"""

import math
from dataclasses import dataclass

_ROUNDING = 1e-9
"""Tokens come in fractions, whose sum may fall short of a whole one by rounding."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How much may be sent to a dealer now, for people."""

    limit: int
    """Calls that may be under way at once."""
    in_use: int
    tokens: int | None
    """None where the dealer has no rate."""


@dataclass(frozen=True, slots=True)
class LimitRules:
    """How a limit falls and rises."""

    decrease: float = 0.75
    """What is left of it after a failure."""
    tolerated_share: float = 0.1
    """Of the calls, so many may fail without lowering it, where the dealer does not complain."""
    forget_seconds: float = 60.0
    """How long after the last decrease it begins to rise by itself, used or not."""
    forgotten_a_second: float = 1.0
    """By how many places a second it then rises."""


class AdaptiveLimit:
    """How many calls may be under way at once: additive increase, multiplicative decrease.

    It begins at its ceiling. A failure lowers it by a part, at most once a round trip: what was
    sent before the last decrease says nothing about the limit after it. Answers raise it by one
    place a round trip, and only while at least half of it is used, else it would grow untried.
    What is long ago is forgotten: few calls could not raise it, and rare failures would add up.

    Some calls fail at any dealer, however little it is asked. So answers save up for failures,
    for as many as a tolerated share of one round trip's calls; what is saved up for lowers nothing.
    A limit so low that the share is less than one call tolerates none.
    """

    __slots__ = ("_ceiling", "_level", "_lowered_at", "_quiet_since", "_rules", "_tolerated")

    def __init__(self, ceiling: int, rules: LimitRules | None = None) -> None:
        self._rules = rules or LimitRules()
        self._ceiling = ceiling
        self._level = math.inf
        """Infinite unless lowered, so that it goes along with its ceiling."""
        self._lowered_at = self._quiet_since = -math.inf
        self._tolerated = 0.0
        """How many failures were saved up for."""

    def bound(self, ceiling: int) -> None:
        """Stay between one and this many from now on; with 0 nothing is let through."""
        self._ceiling = ceiling

    def places(self, now_seconds: float) -> int:
        """The limit at this moment."""
        return int(self._standing(now_seconds))

    def answered(self, now_seconds: float, in_use: int) -> None:
        """A call was answered while so many, it included, were under way."""
        standing = self._standing(now_seconds)
        share = self._rules.tolerated_share
        self._tolerated = min(self._tolerated + share, standing * share)
        if standing >= self._ceiling:
            self._level = math.inf if self._ceiling else self._level
        elif in_use * 2 >= int(standing):
            self._level = standing + 1 / standing
            self._quiet_since = max(self._quiet_since, now_seconds)

    def failed(self, started_seconds: float, now_seconds: float) -> bool:
        """A call begun at `started_seconds` failed. Returns whether this lowered the limit."""
        if self._tolerated >= 1.0:
            self._tolerated -= 1.0
            return False
        return self.refused(started_seconds, now_seconds)

    def refused(self, started_seconds: float, now_seconds: float) -> bool:
        """The dealer said that it is asked too much. Returns whether this lowered the limit."""
        if started_seconds <= self._lowered_at or self._ceiling == 0:
            return False
        standing = self._standing(now_seconds)
        self._level = max(1.0, standing * self._rules.decrease)
        self._lowered_at = now_seconds
        self._tolerated = 0.0
        self._quiet_since = now_seconds + self._rules.forget_seconds
        return True

    def _standing(self, now_seconds: float) -> float:
        quiet_seconds = max(0.0, now_seconds - self._quiet_since)
        forgotten = quiet_seconds * self._rules.forgotten_a_second
        return min(float(self._ceiling), self._level + forgotten)


class TokenBucket:
    """How many requests may be sent now under a rate: at most burst + rate x seconds in any time.

    It begins empty, and a raised rate or burst brings no tokens by itself: so what several buckets
    give together keeps to the sum of their rates and bursts, also while those are shared out anew.
    """

    __slots__ = ("_at", "_burst", "_rate", "_tokens")

    def __init__(self, now_seconds: float) -> None:
        self._rate = 0.0
        self._burst = 0.0
        self._tokens = 0.0
        self._at = now_seconds

    def allow(self, requests_per_second: float, burst: int, now_seconds: float) -> None:
        """Fill at this rate, up to this many, from now on."""
        if requests_per_second != self._rate or burst != self._burst:
            self._fill(now_seconds)
            self._rate, self._burst = requests_per_second, float(burst)
            self._tokens = min(self._tokens, self._burst)

    def tokens(self, now_seconds: float) -> int:
        """How many there are."""
        self._fill(now_seconds)
        return int(self._tokens + _ROUNDING)

    def take(self, count: int) -> None:
        """Take what `tokens` said is there."""
        self._tokens -= count

    def give_back(self, count: int) -> None:
        """Put back what was taken and not used."""
        self._tokens = min(self._tokens + count, self._burst)

    def seconds_to_next(self, now_seconds: float) -> float:
        """How long until there is a token; infinite where none comes."""
        self._fill(now_seconds)
        if self._rate <= 0 or self._burst < 1:
            return math.inf
        return max(0.0, 1 - self._tokens) / self._rate

    def _fill(self, now_seconds: float) -> None:
        seconds = max(0.0, now_seconds - self._at)
        self._tokens = min(self._tokens + seconds * self._rate, self._burst)
        self._at = now_seconds
