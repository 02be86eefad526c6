"""How well each dealer delivers, by product kind, over a sliding window.

Only definite outcomes teach: a delivery, or a failure that was the dealer's. What was unknown is
counted beside them, since it ties money up; when its outcome is learned late, it is corrected at
the minute that it was counted in. Everything is an argument: times are aware datetimes.
"""

from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import NamedTuple

from routing.monopoly import WHOLE_BASIS_POINTS
from routing.table import QualityRules

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MINUTE = timedelta(minutes=1)


class Outcome(StrEnum):
    """What became of an attempt, as far as the dealer's quality goes."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    """The dealer's own failure; a wrong number is none."""
    UNKNOWN = "unknown"


class Level(StrEnum):
    """How a success rate stands to `QualityRules`."""

    OK = "ok"
    WARNING = "warning"
    """Below the warning level: shown to ops, and held against nobody."""
    CRITICAL = "critical"
    """Below the floor: ranked after all others."""


class Quality(NamedTuple):
    """A dealer's rates in one product kind, in basis points."""

    success_basis_points: int
    """Of the definite outcomes; 10,000 where there are too few to tell."""
    unknown_basis_points: int
    """Of all outcomes."""
    sample: int
    """Definite outcomes that the success rate is made of; 0 where there are too few to tell."""
    level: Level = Level.OK


NOTHING_KNOWN = Quality(WHOLE_BASIS_POINTS, 0, 0)


class _Counts:
    """Outcomes of one minute, or of a whole window."""

    __slots__ = ("_counts",)

    def __init__(self) -> None:
        self._counts = dict.fromkeys(Outcome, 0)

    def of(self, outcome: Outcome) -> int:
        return self._counts[outcome]

    def add(self, outcome: Outcome, count: int) -> None:
        self._counts[outcome] += count

    def take_away(self, gone: "_Counts") -> None:
        for outcome in Outcome:
            self._counts[outcome] -= gone.of(outcome)

    @property
    def sample(self) -> int:
        """Definite outcomes."""
        return self.of(Outcome.SUCCEEDED) + self.of(Outcome.FAILED)


class _Window:
    """One sliding window of minutes with its running sum."""

    __slots__ = ("_first_minute", "_minutes", "sums")

    def __init__(self) -> None:
        self._minutes: dict[int, _Counts] = {}
        self._first_minute = 0
        self.sums = _Counts()

    def add(self, outcome: Outcome, minute: int, count: int) -> None:
        if minute < self._first_minute:
            return
        counts = self._minutes.get(minute)
        if counts is None:
            counts = self._minutes[minute] = _Counts()
        if counts.of(outcome) + count < 0:
            return  # counted elsewhere, or before this process was started
        counts.add(outcome, count)
        self.sums.add(outcome, count)

    def expire_before(self, first_minute: int) -> None:
        if first_minute <= self._first_minute:
            return
        self._first_minute = first_minute
        for minute in [each for each in self._minutes if each < first_minute]:
            self.sums.take_away(self._minutes.pop(minute))


class QualityBook:
    """Every dealer's outcomes, by product kind and over all of them.

    The window only moves forward, with the `now` that `of` is given.
    """

    def __init__(self) -> None:
        self._windows: dict[tuple[str, str | None], _Window] = {}

    def count(
        self, dealer_id: str, kind: str, outcome: Outcome, at: datetime, count: int = 1
    ) -> None:
        """Count an outcome of an attempt made at `at`; `count` -1 takes one back."""
        minute = _minute_of(at)
        for key in ((dealer_id, kind), (dealer_id, None)):
            window = self._windows.get(key)
            if window is None:
                window = self._windows[key] = _Window()
            window.add(outcome, minute, count)

    def correct(
        self,
        dealer_id: str,
        kind: str,
        before: Outcome | None,
        after: Outcome | None,
        at: datetime,
    ) -> None:
        """An outcome turned out to be another one: late success, late failure, reversal. None is
        one that does not count."""
        if before is not None:
            self.count(dealer_id, kind, before, at, -1)
        if after is not None:
            self.count(dealer_id, kind, after, at)

    def of(self, dealer_id: str, kind: str, rules: QualityRules, now: datetime) -> Quality:
        """A dealer's quality in a product kind; over all kinds where that one has few outcomes."""
        own = self._look((dealer_id, kind), rules, now)
        return own or self._look((dealer_id, None), rules, now) or NOTHING_KNOWN

    def judged(self, rules: QualityRules, now: datetime) -> dict[tuple[str, str], Quality]:
        """Every dealer and product kind with the minimum sample in that kind alone."""
        looked = {
            (dealer_id, kind): self._look((dealer_id, kind), rules, now)
            for dealer_id, kind in self._windows
            if kind is not None
        }
        return {key: quality for key, quality in looked.items() if quality is not None}

    def _look(
        self, key: tuple[str, str | None], rules: QualityRules, now: datetime
    ) -> Quality | None:
        window = self._windows.get(key)
        if window is None:
            return None
        window.expire_before(_minute_of(now) - rules.window_minutes + 1)
        enough = window.sums.sample >= rules.minimum_sample
        return _quality(window.sums, rules) if enough else None


def _quality(counts: _Counts, rules: QualityRules) -> Quality:
    success = counts.of(Outcome.SUCCEEDED) * WHOLE_BASIS_POINTS // counts.sample
    unknown = counts.of(Outcome.UNKNOWN)
    unknown = unknown * WHOLE_BASIS_POINTS // (counts.sample + unknown)
    return Quality(success, unknown, counts.sample, _level(success, rules))


def _level(success_basis_points: int, rules: QualityRules) -> Level:
    if success_basis_points < rules.floor_basis_points:
        return Level.CRITICAL
    return Level.WARNING if success_basis_points < rules.warning_basis_points else Level.OK


def _minute_of(moment: datetime) -> int:
    return (moment - _EPOCH) // _MINUTE
