"""A reseller's money on the wire, in whole rupiah."""

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

CURRENCY = "IDR"
_MOST_RUPIAH = 10**15


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
    kind: Literal["deposit", "reserve", "capture", "release", "refund", "correction", "adjustment"]
    available_delta: int
    reserved_delta: int
    available_after: int
    reserved_after: int
    order_id: UUID | None
    reference: str | None
    created_at: datetime


class BalanceAlert(BaseModel):
    """Below how many rupiah `balance.low` is sent; null: never."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    below: Annotated[int, Field(ge=1, le=_MOST_RUPIAH)] | None


class LedgerEntryList(BaseModel):
    """A page of entries, the newest first."""

    data: list[LedgerEntry]
    next_cursor: str | None
    has_more: bool
