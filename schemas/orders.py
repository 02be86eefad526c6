"""Orders on the wire: what a reseller sends, and what it is shown, in answers and in webhooks.

The dealer and what it cost are no part of it.
"""

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

import orjson
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator

from schemas.problems import ProblemDocument

MAX_PRICE_RUPIAH = 1_000_000_000_000
MAX_METADATA_KEYS = 20
MAX_METADATA_BYTES = 2048

Reference = Annotated[str, StringConstraints(pattern=r"^[!-~]([ -~]{0,62}[!-~])?$")]
"""1 to 64 printable ASCII characters, no space at either end."""

Note = Annotated[str, StringConstraints(pattern=r"^[^\x00]*$")]
"""Any text that PostgreSQL can hold."""

OrderStatus = Literal["accepted", "processing", "succeeded", "failed", "reversed"]


class TopUpWish(BaseModel):
    """A product for a number: what an order and a quote have in common."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    sku: Annotated[str, StringConstraints(min_length=1, max_length=32)]
    customer_number: Annotated[str, StringConstraints(min_length=1, max_length=64)]
    """As people write it: `0812…`, `62812…`, `+62 812-…`."""
    region: Annotated[str, StringConstraints(min_length=1, max_length=64)] | None = None
    """Where the outlet stands; it decides which dealers may serve."""
    outlet_id: Reference | None = None
    max_price: Annotated[int, Field(gt=0, le=MAX_PRICE_RUPIAH)] | None = None
    """The most that a dealer may cost, in rupiah: dearer ones are passed over, and where no other
    is left the order is refused with `no-route`."""


class NewOrder(TopUpWish):
    """An order as a reseller sends it. A field that is not listed here is refused."""

    ref_id: Reference
    """The reseller's own reference, unique for ever: the same one again is the same order."""
    max_charge: Annotated[int, Field(gt=0, le=MAX_PRICE_RUPIAH)] | None = None
    """The most that the reseller is charged, in rupiah: where its price is above it, the order is
    refused with `price-above-limit`."""
    allow_repeat: bool = False
    """Whether to order although an order of the reseller's for this number and product is still
    open. It is no part of what makes the order the same when its reference comes again."""
    metadata: dict[Note, Note] | None = None
    """Texts by their names, no deeper: up to 20, 2048 bytes as JSON; given back as they came."""

    @field_validator("metadata")
    @classmethod
    def _small_enough(cls, value: dict[str, str] | None) -> dict[str, str] | None:
        if value is None:
            return None
        if len(value) > MAX_METADATA_KEYS:
            raise ValueError(f"at most {MAX_METADATA_KEYS} keys are kept")
        if len(orjson.dumps(value)) > MAX_METADATA_BYTES:
            raise ValueError(f"at most {MAX_METADATA_BYTES} bytes of JSON are kept")
        return value


class Failure(BaseModel):
    """Why an order failed."""

    code: str
    message: str


class Order(BaseModel):
    """An order as its reseller sees it. Amounts in whole rupiah."""

    id: UUID
    ref_id: str
    sku: str
    brand: str
    customer_number: str
    cluster: str | None
    price: int
    status: OrderStatus
    delayed: bool
    """The outcome is being looked into by people."""
    serial_number: str | None
    failure: Failure | None
    version: int
    """Rises with every change that is reported."""
    created_at: datetime
    finished_at: datetime | None
    metadata: dict[str, str] | None


class NewOrderBatch(BaseModel):
    """Up to 500 orders in one request. Each is accepted or refused for itself."""

    orders: Annotated[list[NewOrder], Field(min_length=1, max_length=500)]


class OrderResult(BaseModel):
    """What became of one order of a batch: what it would have been answered with alone."""

    status: int
    """202 for a new order, 200 for the one that its reference stands for; else the problem's."""
    order: Order | None = None
    problem: ProblemDocument | None = None
    retry_after: int | None = None
    """Seconds after which the same order may be sent again, where the problem passes."""


class OrderResults(BaseModel):
    """What became of each order of a batch, in their order. Absent members are left out."""

    results: list[OrderResult]


class OrderList(BaseModel):
    """A page of orders, the newest first."""

    data: list[Order]
    next_cursor: str | None
    has_more: bool
    ref_id: str | None = None
    """The reference that was asked for, where one was: so that an empty list names what is not."""


def order_document(
    *,
    order_id: UUID,
    ref_id: str,
    sku: str,
    brand: str,
    customer_number: str,
    cluster: str | None,
    price: int,
    status: str,
    delayed: bool,
    serial_number: str | None,
    failure_code: str | None,
    failure_message: str | None,
    version: int,
    created_at: datetime,
    finished_at: datetime | None,
    metadata: str | None,
) -> dict[str, object]:
    """The order as `Order` describes it, for orjson. Times are aware; `metadata` is JSON text.

    Answers and webhooks are both made here, so that they cannot tell different stories.
    """
    failure = None
    if failure_code is not None:
        failure = {"code": failure_code, "message": failure_message or ""}
    return {
        "id": str(order_id),
        "ref_id": ref_id,
        "sku": sku,
        "brand": brand,
        "customer_number": customer_number,
        "cluster": cluster,
        "price": price,
        "status": status,
        "delayed": delayed,
        "serial_number": serial_number,
        "failure": failure,
        "version": version,
        "created_at": created_at,
        "finished_at": finished_at,
        "metadata": None if metadata is None else orjson.loads(metadata),
    }
