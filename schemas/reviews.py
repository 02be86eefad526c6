"""The review queue and the disputes on the wire, for operators."""

from typing import Literal

from pydantic import BaseModel, ConfigDict


class ReviewDecision(BaseModel):
    """An operator's word about a purchase in review, and why it is said."""

    model_config = ConfigDict(extra="forbid")

    word: Literal["succeeded", "failed", "number-refused", "reversed"]
    serial_number: str | None = None
    reason: str


class DisputeEnd(BaseModel):
    """How a dispute with a dealer ended, and why it is closed."""

    model_config = ConfigDict(extra="forbid")

    resolution: str
    reason: str


class Review(BaseModel):
    """One line of the review queue; `price` in rupiah."""

    order_id: str
    attempt_no: int
    reason: str
    opened_at: str
    reseller_id: str
    ref_id: str
    status: str
    dealer_id: str
    dealer_ref: str
    customer_number: str
    price: int


class ReviewList(BaseModel):
    """The review queue, the oldest first."""

    data: list[Review]
    next_cursor: str | None
    has_more: bool


class ReviewOutcome(BaseModel):
    """What a decision came to. `decided_before`: the same was decided already."""

    order_id: str
    attempt_no: int
    word: str
    decided_before: bool
    order: str
    attempt: str
    delayed: bool


class Dispute(BaseModel):
    """A purchase that a dealer delivered although another one serves; `cost` in rupiah."""

    order_id: str
    attempt_no: int
    dealer_id: str
    dealer_ref: str
    cost: int
    opened_at: str


class DisputeList(BaseModel):
    """The open disputes, the oldest first."""

    data: list[Dispute]
    next_cursor: str | None
    has_more: bool
