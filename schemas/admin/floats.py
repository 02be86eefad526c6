"""Our money at dealers as operators see it, and prices that rose. Amounts in rupiah."""

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, Field

from schemas.admin.shapes import Given, Line, Page, Reason, Rupiah

Balance = Annotated[int, Field(gt=-(10**15), lt=10**15)]


class Float(BaseModel):
    """Our account at a dealer, counted at this moment. Null where no balance was told yet."""

    dealer: str
    balance: int | None
    """What the dealer told last."""
    told_at: datetime | None
    paid_in: int
    """Deposits written down since."""
    spent: int
    """What purchases took since."""
    in_flight: int
    expected: int | None
    """What should be left now, if all in flight succeed."""
    difference: int | None
    """How far the last balance was outside of our own account."""
    agrees: bool
    spent_per_hour: int
    runway_hours: float | None
    """Null where the money lasts longer than a week, or that is not known."""
    reserve: int
    refused: bool
    failures: int
    last_failure: str | None


class FloatList(Page):
    """Our accounts, by dealer."""

    data: list[Float]


class DealerDeposit(Given):
    """What we paid in at a dealer."""

    amount: Rupiah
    reference: Line
    """The same reference and amount again change nothing."""
    reason: Reason = ""


class PaidIn(BaseModel):
    """What stands written down."""

    dealer: str
    amount: int
    reference: str
    repeated: bool


class RecordedBalance(Given):
    """A balance that people read off the dealer's own pages."""

    balance: Balance
    reason: Reason = ""


class JudgedBalance(BaseModel):
    """How a balance stands against our own account."""

    dealer: str
    balance: int
    difference: int
    agrees: bool


class AcceptBalance(Given):
    """Why a difference is given up."""

    reason: Annotated[Reason, Field(min_length=1)]


class GivenUp(BaseModel):
    """The difference that was given up."""

    dealer: str
    difference: int


class PriceRise(BaseModel):
    """A route whose dealer charged more than its cost."""

    route: str
    dealer: str
    dealer_sku: str
    cost: int
    charged: int
    purchases: int
    order_id: str
    first_seen_at: datetime
    last_seen_at: datetime
    muted_until: datetime
    lifted_at: datetime | None
    muted: bool
    """Whether the route is not bought from now."""


class PriceRiseList(Page):
    """Those not bought from first."""

    data: list[PriceRise]


class LiftRise(Given):
    """A route to be bought from again, its cost as it is."""

    route: Line
    reason: Reason = ""
