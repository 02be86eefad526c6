"""Dealers that refuse a cluster: learned from their own words, so that no attempt is spent on it.

Digits cannot tell whether a dealer may serve where a customer stands; only its refusal does. One
refusal may be about one number, so several different numbers must be refused with no success in
between. What is learned ends by itself: the cell, the chip or the contract may be another by then.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

_NOBODY: frozenset[str] = frozenset()


class Area(NamedTuple):
    """One dealer in one market."""

    dealer_id: str
    brand: str
    cluster: str


class Refusal(NamedTuple):
    """A number that a dealer refused as outside its area. `at` is aware."""

    area: Area
    customer_number: str
    at: datetime


class RefusalRules(NamedTuple):
    """How many different numbers, refused within how long, keep a dealer out of a cluster."""

    numbers: int
    window: timedelta


def refused_until(refused_at: Iterable[datetime], rules: RefusalRules) -> datetime | None:
    """Until when a dealer is left out of a cluster, or None where it is not.

    `refused_at` holds each number's newest refusal since the dealer's last success there. The
    window is counted from the oldest of the newest `numbers`: when it ends, one order tries again.
    """
    newest = sorted(refused_at, reverse=True)[: rules.numbers]
    if len(newest) < rules.numbers or newest[0] - newest[-1] > rules.window:
        return None
    return newest[-1] + rules.window


class RefusalBook:
    """What this process knows: what it learned itself, and what all of them wrote down."""

    def __init__(self) -> None:
        self._refused: dict[Area, dict[str, datetime]] = {}
        self._untold: dict[tuple[Area, str], datetime] = {}
        self._served: dict[Area, datetime] = {}
        """The newest success of each area that this process saw; older refusals are void."""
        self._out: dict[tuple[str, str], dict[str, datetime]] = {}
        self._rules: RefusalRules | None = None

    def refuse(self, refusal: Refusal) -> None:
        """A dealer refused a number as outside its area."""
        area, number, at = refusal
        if self._is_void(area, at):
            return
        self._untold[area, number] = at
        self._note(area, number, at)
        self._judge(area)

    def serve(self, area: Area, at: datetime) -> None:
        """A dealer served a number there: what it refused before does not count any more."""
        served = self._served.get(area)
        self._served[area] = at if served is None else max(served, at)
        if area in self._refused:
            self._void(area)
            self._judge(area)

    def dealers_out(self, brand: str, cluster: str | None, now: datetime) -> frozenset[str]:
        """The dealers, by id, that are not asked in this market now."""
        out = self._out.get((brand, cluster)) if cluster is not None else None
        if not out:
            return _NOBODY
        return frozenset(dealer_id for dealer_id, until in out.items() if now < until)

    def areas_out(self, now: datetime) -> dict[Area, datetime]:
        """Every area that is left out now, and until when."""
        return {
            Area(dealer_id, *market): until
            for market, out in self._out.items()
            for dealer_id, until in out.items()
            if now < until
        }

    # ------------------------------------------------------------ shared with other processes

    def untold(self) -> list[Refusal]:
        """What this process learned and nobody else knows yet."""
        return [Refusal(area, number, at) for (area, number), at in self._untold.items()]

    def told(self, refusals: Iterable[Refusal]) -> None:
        """These are written down."""
        for area, number, at in refusals:
            if self._untold.get((area, number)) == at:
                del self._untold[area, number]

    def void(self, known: Sequence[Refusal]) -> dict[Area, datetime]:
        """Of what is written down, the areas that were served since, as seen here, and when."""
        return {area: self._served[area] for area, _number, at in known if self._is_void(area, at)}

    def take_up(self, known: Iterable[Refusal], rules: RefusalRules) -> None:
        """Know what is written down, and what is not yet, and nothing else."""
        self._rules = rules
        self._refused, self._out = {}, {}
        for area, number, at in (*known, *self.untold()):
            if not self._is_void(area, at):
                self._note(area, number, at)
        for area in self._refused:
            self._judge(area)

    # ------------------------------------------------------------ one area

    def _note(self, area: Area, number: str, at: datetime) -> None:
        numbers = self._refused.setdefault(area, {})
        numbers[number] = max(numbers.get(number, at), at)

    def _is_void(self, area: Area, at: datetime) -> bool:
        served = self._served.get(area)
        return served is not None and at <= served

    def _void(self, area: Area) -> None:
        left: Mapping[str, datetime] = {
            number: at for number, at in self._refused[area].items() if not self._is_void(area, at)
        }
        self._refused[area] = dict(left)
        for key in [key for key in self._untold if key[0] == area and key[1] not in left]:
            del self._untold[key]

    def _judge(self, area: Area) -> None:
        if self._rules is None:
            return
        dealer_id, *market = area
        out = self._out.setdefault((market[0], market[1]), {})
        until = refused_until(self._refused[area].values(), self._rules)
        if until is None:
            out.pop(dealer_id, None)
        else:
            out[dealer_id] = until
