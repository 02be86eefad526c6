"""How often a dealer sold a product for one number on one day: the rule, and what is remembered.

A *mark* is one purchase's place among those of its product, number, dealer and day in WIB. Marks
are never counted down: what became of a purchase is told by its attempt, and a number that was
given out is not given out again on that day, since its dealer may have seen it.
"""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import NamedTuple
from uuid import UUID

from routing.table import WIB

_NOTHING: Mapping[str, int] = MappingProxyType({})
_MOST_REMEMBERED = 20_000
_REMEMBERED_FOR = timedelta(seconds=60)
_CREATED_NOTHING = "rejected"
_FAILED_LATER = "failed"


class Holder(NamedTuple):
    """The purchase that a mark is of."""

    lane: int
    order_id: UUID
    attempt_no: int


class Mark(NamedTuple):
    """A purchase's number, and what is known of the purchase."""

    counter: int
    holder: Holder
    age_seconds: float
    state: str | None = None
    """Of its attempt at this dealer; None where there is none (yet)."""
    went_elsewhere: bool = False
    """Whether the attempt was made at another dealer instead."""


class RepeatRule(NamedTuple):
    """What a dealer allows. `limit`: purchases a day, None for any number of them."""

    limit: int | None
    failures_count: bool
    """Whether a purchase that failed after it was created is one of the day's."""
    hold_seconds: float
    """How long a mark may stand without an attempt. Nothing is sent under an older one."""


class Judged(NamedTuple):
    """What a purchase gets: its number, or None where the day's are used up."""

    counter: int | None
    is_new: bool
    """The number is to be written down first; `age_seconds` is that of one that stands."""
    age_seconds: float
    sold: int
    """How many purchases count, this one included if it has a number."""


def judge(marks: Sequence[Mark], holder: Holder, rule: RepeatRule) -> Judged:
    """Which number a purchase takes behind the marks of its product, number, dealer and day."""
    others = {mark.holder for mark in marks if mark.holder != holder and _counts(mark, rule)}
    own = [mark for mark in marks if mark.holder == holder and _is_fresh(mark, rule)]
    if own:
        newest = max(own, key=lambda mark: mark.counter)
        return Judged(newest.counter, False, newest.age_seconds, len(others) + 1)
    if rule.limit is not None and len(others) >= rule.limit:
        return Judged(None, False, 0, len(others))
    highest = max((mark.counter for mark in marks), default=0)
    return Judged(highest + 1, True, 0, len(others) + 1)


def _counts(mark: Mark, rule: RepeatRule) -> bool:
    if mark.went_elsewhere or mark.state == _CREATED_NOTHING:
        return False
    if mark.state is None:
        return mark.age_seconds <= rule.hold_seconds
    return rule.failures_count or mark.state != _FAILED_LATER


def _is_fresh(mark: Mark, rule: RepeatRule) -> bool:
    """Whether enough of its time is left to claim and send under it."""
    return mark.age_seconds <= rule.hold_seconds / 2


class RepeatBook:
    """What this process learned about repeats while it took marks, for choosing without a look.

    What is noted serves for a minute and never past its day: others buy and fail meanwhile, and
    the mark that a purchase takes tells for certain.
    """

    def __init__(self, most: int = _MOST_REMEMBERED) -> None:
        self._most = most
        self._sold: OrderedDict[tuple[str, str], dict[str, tuple[int, datetime]]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._sold)

    def of(self, customer_number: str, sku: str, now: datetime) -> Mapping[str, int]:
        """How often each dealer sold a product for a number today, as far as it is known here."""
        noted = self._sold.get((customer_number, sku)) if self._sold else None
        if noted is None:
            return _NOTHING
        return {dealer_id: sold for dealer_id, (sold, until) in noted.items() if now < until}

    def note(self, customer_number: str, sku: str, dealer_id: str, sold: int, at: datetime) -> None:
        """Note what a dealer has sold."""
        midnight = at.astimezone(WIB).replace(hour=0, minute=0, second=0, microsecond=0)
        until = min(at + _REMEMBERED_FOR, midnight + timedelta(days=1))
        key = (customer_number, sku)
        self._sold.setdefault(key, {})[dealer_id] = sold, until
        self._sold.move_to_end(key)
        if len(self._sold) > self._most:
            self._sold.popitem(last=False)

    def forget(self, customer_number: str, sku: str, dealer_id: str) -> None:
        """A purchase there came to nothing: what is noted does not hold any more."""
        noted = self._sold.get((customer_number, sku)) if self._sold else None
        if noted is not None:
            noted.pop(dealer_id, None)
            if not noted:
                del self._sold[customer_number, sku]
