"""Money as balanced postings: pure functions from an amount to three deltas that sum to zero.

A reseller's money is in two places, `available` and `reserved`; everything else in the world is
`outside`. A deposit comes in from outside; a purchase is reserved when the order is accepted and
then, once, captured (the money leaves) or released (it comes back). What turns out later to be
otherwise is a new posting, never an edit. All amounts are whole rupiah.
"""

from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """Why money moved."""

    DEPOSIT = "deposit"
    RESERVE = "reserve"
    CAPTURE = "capture"
    RELEASE = "release"
    REFUND = "refund"
    CORRECTION = "correction"
    ADJUSTMENT = "adjustment"


RESERVE_LEG = "reserve"
RESOLVE_LEG = "resolve"
"""Capture and release share one leg, unique by order: the money of an order is resolved once."""


@dataclass(frozen=True, slots=True)
class Posting:
    """One movement of a reseller's money, not yet applied to a wallet."""

    kind: Kind
    available_delta: int
    reserved_delta: int
    leg: str | None = None

    @property
    def outside_delta(self) -> int:
        """What the rest of the world gains, so that the three deltas sum to zero."""
        return -self.available_delta - self.reserved_delta


def deposit(amount_rupiah: int) -> Posting:
    """Money paid in. Raises ValueError unless it is positive."""
    if amount_rupiah <= 0:
        raise ValueError(f"a deposit must be positive, not {amount_rupiah}")
    return Posting(Kind.DEPOSIT, amount_rupiah, 0)


def adjustment(amount_rupiah: int) -> Posting:
    """An operator's correction: added, or taken where negative. Raises ValueError for nothing."""
    if amount_rupiah == 0:
        raise ValueError("an adjustment must add or take something")
    return Posting(Kind.ADJUSTMENT, amount_rupiah, 0)


def reserve(price_rupiah: int) -> Posting:
    """Set the price of an accepted order aside."""
    return Posting(Kind.RESERVE, -price_rupiah, price_rupiah, RESERVE_LEG)


def capture(price_rupiah: int) -> Posting:
    """The order succeeded: the reserved money leaves."""
    return Posting(Kind.CAPTURE, 0, -price_rupiah, RESOLVE_LEG)


def release(price_rupiah: int) -> Posting:
    """The order failed: the reserved money comes back."""
    return Posting(Kind.RELEASE, price_rupiah, -price_rupiah, RESOLVE_LEG)


def refund(price_rupiah: int, correction_no: int) -> Posting:
    """A success was reversed by the dealer: the price is paid back."""
    return Posting(Kind.REFUND, price_rupiah, 0, f"correction {correction_no}")


def correction(price_rupiah: int, correction_no: int) -> Posting:
    """A failed order was delivered after all: the price is charged, whatever the balance."""
    return Posting(Kind.CORRECTION, -price_rupiah, 0, f"correction {correction_no}")


@dataclass(frozen=True, slots=True)
class Wallet:
    """A reseller's money, in rupiah."""

    available: int
    reserved: int
    credit_limit: int

    def after(self, posting: Posting) -> "Wallet":
        """The wallet with the posting applied."""
        return Wallet(
            self.available + posting.available_delta,
            self.reserved + posting.reserved_delta,
            self.credit_limit,
        )
