"""Floats: what is left of our money at each dealer, as far as this process knows.

The database says what a dealer told last and what was taken since, by whichever process, some
seconds ago; what this process sent after that is taken off here. It reads no clock but its own and
asks nobody, so that a choice can be made from it.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from app.storage.dealer_accounts import REFUSAL_LASTS, Standing

NOTHING = 0
_SLACK_SECONDS = 1.0
"""What was sent this shortly before a count is taken off again: rather too much than too little."""


_TOLD_LASTS_SECONDS = 86_400.0
"""What was told longer ago says nothing: the dealer itself refuses where too little is left."""


@dataclass(frozen=True, slots=True)
class _Counted:
    """What was left at a moment of this process's clock."""

    rupiah: int
    counted_at: float
    asked_at: float


class Floats:
    """One process's view. For the event loop only."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._counted: dict[str, _Counted] = {}
        self._spent: dict[str, Counter[int]] = {}
        """By dealer and second of the clock: what this process sent, less what came back."""
        self._refused: dict[str, float] = {}
        """When this process last heard from a dealer that our money does not suffice there."""
        self._refused_elsewhere: frozenset[str] = frozenset()
        self._reserves: Mapping[str, int] = {}
        self._unsaved_refusals: set[str] = set()
        self._seen: tuple[Sequence[str], tuple[int | None, ...] | None] | None = None

    def take_up(self, standings: Iterable[Standing], reserves: Mapping[str, int]) -> None:
        """Go by a newer count. `reserves`: what is to stay at each dealer, in rupiah; less than 0
        where it lends us that much."""
        now = self._monotonic()
        rows = list(standings)
        self._reserves = reserves
        self._counted = {
            row.dealer_id: _Counted(
                row.rupiah - row.spent - row.in_flight,
                now - row.counted_age - _SLACK_SECONDS,
                now - row.balance_age,
            )
            for row in rows
            if row.rupiah is not None
            and row.counted_age is not None
            and row.balance_age is not None
            and row.balance_age <= _TOLD_LASTS_SECONDS
        }
        self._refused_elsewhere = frozenset(row.dealer_id for row in rows if row.refused)
        self._forget(now)
        self._seen = None

    def spend(self, dealer_id: str, rupiah: int) -> None:
        """A purchase is sent for so much; less than 0: one came back, or was not sent at all."""
        if dealer_id in self._counted and rupiah:
            self._spent.setdefault(dealer_id, Counter())[int(self._monotonic())] += rupiah
            self._seen = None

    def refuse(self, dealer_id: str) -> None:
        """The dealer says that our money does not suffice: nothing is left until it tells more."""
        self._refused[dealer_id] = self._monotonic()
        self._unsaved_refusals.add(dealer_id)
        self._seen = None

    def take_refusals(self) -> set[str]:
        """Those not written down yet, for whoever does."""
        taken, self._unsaved_refusals = self._unsaved_refusals, set()
        return taken

    def keep_refusals(self, dealer_ids: Iterable[str]) -> None:
        """They could not be written down."""
        self._unsaved_refusals.update(dealer_ids)

    def left(self, dealer_ids: Sequence[str]) -> tuple[int | None, ...] | None:
        """What may be spent at each dealer, None where that is not known; None for all together."""
        if self._seen is None or self._seen[0] is not dealer_ids:
            every = tuple(self.left_at(dealer_id) for dealer_id in dealer_ids)
            known = any(each is not None for each in every)
            self._seen = (dealer_ids, every if known else None)
        return self._seen[1]

    def left_at(self, dealer_id: str) -> int | None:
        """What may be spent at a dealer, its reserve taken off; None where that is not known."""
        if dealer_id in self._refused or dealer_id in self._refused_elsewhere:
            return NOTHING
        counted = self._counted.get(dealer_id)
        if counted is None:
            return None
        spent = self._spent.get(dealer_id)
        sent_here = 0 if spent is None else spent.total()
        return counted.rupiah - sent_here - self._reserves.get(dealer_id, 0)

    def _forget(self, now: float) -> None:
        """Leave out what is in the count by now, and refusals that a newer balance answers."""
        for dealer_id, spent in list(self._spent.items()):
            counted = self._counted.get(dealer_id)
            since = now if counted is None else counted.counted_at
            for second in [each for each in spent if each + 1 <= since]:
                del spent[second]
            if not spent:
                del self._spent[dealer_id]
        longest = REFUSAL_LASTS.total_seconds()
        for dealer_id, heard_at in list(self._refused.items()):
            counted = self._counted.get(dealer_id)
            answered = counted is not None and counted.asked_at > heard_at
            if answered or now - heard_at > longest:
                del self._refused[dealer_id]
