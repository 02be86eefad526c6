"""Resellers, their keys and their money, as operators see and change them."""

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from pydantic import AwareDatetime, Field

from schemas.admin.shapes import Given, Line, Page, Reason, Rupiah, Shown
from schemas.keys import Key, KeyName, KeyReplacement, Networks, Scopes

RateText = Annotated[str, Field(max_length=64)]
CreditLimit = Annotated[int, Field(ge=0, lt=10**15)]


class NewReseller(Given):
    """A reseller to add."""

    name: Line
    tier: Line = "standard"
    """Which prices it pays."""
    credit_limit: CreditLimit = 0
    reason: Reason = ""


class ResellerEdit(Given):
    """What to change of a reseller; what is not given stays."""

    name: Line | None = None
    tier: Line | None = None
    credit_limit: CreditLimit | None = None
    reason: Reason = ""


class RatesEdit(Given):
    """How much may be asked, as `100/1s` or `100/1s,50000/1d`: so many at once, refilled evenly
    within that time. `usual` takes own rates away; what is not given stays."""

    orders: RateText | None = None
    """Orders; each of a batch counts."""
    reads: RateText | None = None
    """Everything else under /v1."""
    reason: Reason = ""


class Reseller(Shown):
    """A reseller with its money in whole rupiah."""

    id: UUID = Field(validation_alias="reseller_id")
    name: str
    tier: str
    status: Literal["active", "suspended"]
    available: int
    reserved: int
    credit_limit: int
    orders_rate: str | None
    """Its own; null: the usual one."""
    reads_rate: str | None
    created_at: datetime
    test: bool
    """Whether it is the test side of another one, with play money."""
    twin_id: UUID | None
    """The account on the other side, where there is one."""


class ResellerList(Page):
    """A page of resellers, the oldest first."""

    data: list[Reseller]


class NewKey(Given):
    """A key to give out."""

    mode: Literal["live", "test"] = "live"
    """The first test key makes the reseller's test side."""
    name: KeyName = ""
    scopes: Scopes | None = None
    """What it opens; without them everything."""
    addresses: Networks = Field(default_factory=list)
    """From where it is taken; none: from anywhere."""
    expires_at: AwareDatetime | None = None
    reason: Reason = ""


class KeyRotation(KeyReplacement):
    """How a key is replaced, and why."""

    reason: Reason = ""


class KeyList(Page):
    """All keys of a reseller, the oldest first."""

    data: list[Key]


class CreatedKey(Shown):
    """A new key. `key` is what its holder sends, and is shown this once."""

    id: str
    mode: str
    reseller_id: UUID
    key: str


class NewDeposit(Given):
    """Money paid in, in rupiah. The same reference and amount again change nothing."""

    amount: Rupiah
    reference: Line
    reason: Reason = ""


class NewAdjustment(Given):
    """What to add to a balance or, where negative, to take from it, in rupiah."""

    amount: Annotated[int, Field(gt=-(10**15), lt=10**15)]
    reference: Line
    reason: Reason


class Outlet(Shown):
    """One of a reseller's outlets, and the region that it stands in."""

    outlet_id: str
    region: str


class NewOutlet(Given):
    """An outlet as its reseller orders with it, and a region that is listed."""

    outlet_id: Line
    region: Line


class OutletLines(Given):
    """Outlets to put in place: all of them, or none where one is wrong."""

    outlets: Annotated[list[NewOutlet], Field(min_length=1)]
    reason: Reason = ""


class OutletList(Page):
    """A page of a reseller's outlets, by id."""

    data: list[Outlet]


class Booking(Shown):
    """What stands booked. `repeated` says that it had been before."""

    reseller_id: UUID
    amount: int
    reference: str
    available: int
    """Afterwards."""
    repeated: bool
