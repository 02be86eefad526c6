"""What must become of an order for every way in which a dealer of a protocol can behave.

Stated from what the protocol can do, before anything is run: whether its dealers can be asked,
whether sending again buys, whether absence is ever proved, whether a callback is a word.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from dealers.contract import Recovery


class Fate(StrEnum):
    """How an order may end."""

    EQUAL = "equal"
    """What was delivered and what was charged agree, and nobody has to look."""
    DISPUTE = "dispute"
    """The dealer delivered what it had called failed: charged once, the rest is between us."""
    REVIEW = "review"
    """Nothing proves what happened: an operator decides."""


class By(StrEnum):
    """Who delivered what the reseller paid for."""

    DEALER = "the dealer"
    BACKUP = "the next dealer"
    NOBODY = "nobody"


@dataclass(frozen=True, slots=True)
class Means:
    """What decides a protocol's row."""

    recovery: Recovery
    proves_absence: bool
    callback_is_word: bool
    tells_reversals: bool
    """Whether a refund has a word of its own; else it looks like any failure."""
    tells_every_result: bool = False
    """Each result comes by callback, also where the first answer was lost on its way."""

    @property
    def asks(self) -> bool:
        return self.recovery is not Recovery.NONE

    @property
    def hears(self) -> bool:
        """Whether a callback leads to a word."""
        return self.asks or self.callback_is_word

    @property
    def hears_when_closed(self) -> bool:
        """Whether it does so after the purchase was closed, when sending again could buy."""
        return self.callback_is_word or self.recovery is Recovery.STATUS_CALL


@dataclass(frozen=True, slots=True)
class Cell:
    """One expectation. `status` is the order's; None: not final."""

    fate: Fate
    by: By
    status: str | None


SERVED = Cell(Fate.EQUAL, By.DEALER, "succeeded")
ELSEWHERE = Cell(Fate.EQUAL, By.BACKUP, "succeeded")
FAILED = Cell(Fate.EQUAL, By.NOBODY, "failed")
REVERSED = Cell(Fate.EQUAL, By.NOBODY, "reversed")
DISPUTED = Cell(Fate.DISPUTE, By.BACKUP, "succeeded")
UNRESOLVED = Cell(Fate.REVIEW, By.NOBODY, None)
SERVED_AND_REVIEWED = Cell(Fate.REVIEW, By.DEALER, "succeeded")
REFUNDED_AND_REVIEWED = Cell(Fate.REVIEW, By.NOBODY, "succeeded")
ELSEWHERE_AND_REVIEWED = Cell(Fate.REVIEW, By.BACKUP, "succeeded")


def expected(digits: str, means: Means) -> Cell:
    """The cell of one behaviour."""
    return _ROW[digits](means)


def _if(proved: bool, then: Cell, otherwise: Cell = UNRESOLVED) -> Cell:
    return then if proved else otherwise


def _nothing_created(means: Means) -> Cell:
    if means.recovery is Recovery.SAME_REF_IS_STATUS:
        # The question is a purchase: it is bought now.
        return SERVED
    return _if(means.asks and means.proves_absence, ELSEWHERE)


def _answer_lost(means: Means) -> Cell:
    return _if(means.asks or (means.callback_is_word and means.tells_every_result), SERVED)


def _never_called_back(means: Means) -> Cell:
    return _if(means.asks, SERVED)


def _pending_then_success(means: Means) -> Cell:
    return _if(means.hears, SERVED)


def _contradicted(means: Means) -> Cell:
    return SERVED if means.asks else _if(means.callback_is_word, SERVED_AND_REVIEWED)


def _refunded(means: Means) -> Cell:
    told = means.hears_when_closed and means.tells_reversals
    return _if(told, REVERSED, REFUNDED_AND_REVIEWED)


_ROW: Mapping[str, Callable[[Means], Cell]] = {
    "00": lambda _: SERVED,
    "70": _pending_then_success,
    "71": _never_called_back,
    "72": lambda means: _if(means.hears, ELSEWHERE),
    "73": lambda _: ELSEWHERE,
    "74": lambda _: FAILED,
    "75": _answer_lost,
    "76": _nothing_created,
    "77": _answer_lost,
    "78": _pending_then_success,
    "79": _contradicted,
    "80": _refunded,
    "81": _answer_lost,
    "82": _answer_lost,
    "83": _nothing_created,
    "84": lambda means: _if(means.hears_when_closed, SERVED, SERVED_AND_REVIEWED),
    "85": lambda means: _if(means.hears_when_closed, DISPUTED, ELSEWHERE_AND_REVIEWED),
    "86": lambda _: SERVED,
    "87": lambda _: ELSEWHERE,
    "88": lambda _: UNRESOLVED,
}
