"""Outlets on the wire: a reseller's agents, where they stand, whether their orders are taken."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, StringConstraints

from schemas.orders import Note


class OutletState(BaseModel):
    """An outlet as its reseller wants it: what is left out is none, or false."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    region: Annotated[str, StringConstraints(min_length=1, max_length=64)] | None = None
    """Where it stands; it decides which dealers may serve orders that name no region."""
    blocked: bool = False
    """Whether orders that name the outlet are refused."""
    reason: Annotated[Note, StringConstraints(max_length=200)] = ""
    """Why it is blocked; for yourself."""


class Outlet(OutletState):
    """An outlet as it stands."""

    outlet_id: str


class OutletPage(BaseModel):
    """A page of outlets, by id."""

    data: list[Outlet]
    next_cursor: str | None
    has_more: bool
