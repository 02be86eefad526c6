"""A reseller's money on the wire, in whole rupiah."""

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

CURRENCY = "IDR"
MOST_PLAY_MONEY = 1_000_000_000_000
_MOST_RUPIAH = 10**15

EntryKind = Literal[
    "deposit", "reserve", "capture", "release", "refund", "correction", "adjustment"
]


class Balance(BaseModel):
    """What there is. `available` may be negative, down to the credit limit."""

    available: int
    reserved: int
    """Set aside for orders that are not finished."""
    credit_limit: int
    currency: Literal["IDR"]


class LedgerEntry(BaseModel):
    """One movement of money, and the balances after it."""

    seq: int
    """Counts up from 1 without a gap."""
    kind: EntryKind
    available_delta: int
    reserved_delta: int
    available_after: int
    reserved_after: int
    order_id: UUID | None
    ref_id: str | None
    """The order's."""
    reference: str | None
    created_at: datetime


class BalanceAlert(BaseModel):
    """Below how many rupiah `balance.low` is sent; null: never."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    below: Annotated[int, Field(ge=1, le=_MOST_RUPIAH)] | None


class LedgerEntryList(BaseModel):
    """A page of entries, the newest first or as `sort` says."""

    data: list[LedgerEntry]
    next_cursor: str | None
    has_more: bool


class BalancesThen(BaseModel):
    """What there was at a moment."""

    available: int
    reserved: int


class Sums(BaseModel):
    """What the entries of one kind moved together."""

    kind: EntryKind
    entries: int
    available: int
    reserved: int


class Statement(BaseModel):
    """A time of the ledger: `opening` and `totals` add up to `closing`."""

    begins: datetime = Field(alias="from")
    ends: datetime = Field(alias="to")
    entries: int
    first_seq: int | None
    """The number of the first entry; none where there is none."""
    last_seq: int | None
    opening: BalancesThen
    totals: list[Sums]
    closing: BalancesThen


class PlayDeposit(BaseModel):
    """Play money to add to the test side. The same reference and amount again change nothing."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    amount: Annotated[int, Field(gt=0, le=MOST_PLAY_MONEY)]
    reference: Annotated[str, StringConstraints(pattern=r"^[!-~]([ -~]{0,62}[!-~])?$")]


class PlayMoney(BaseModel):
    """What is available afterwards. `repeated` says that it had been booked before."""

    available: int
    repeated: bool
