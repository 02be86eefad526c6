"""Quotes on the wire: what an order would cost now, and whether a dealer could serve it."""

from datetime import datetime

from pydantic import BaseModel

from schemas.orders import TopUpWish


class NewQuote(TopUpWish):
    """What a quote is asked for: an order without its reference."""


class Quote(BaseModel):
    """What an order would cost now. It reserves nothing and promises nothing. Whole rupiah."""

    sku: str
    customer_number: str
    """In its national form."""
    brand: str
    cluster: str | None
    price: int
    available: bool
    """Whether a dealer could serve an order now."""
    reason: str | None
    """The code that an order would be refused with: `no-route` or `number-busy`."""
    as_of: datetime


def quote_document(
    *,
    sku: str,
    customer_number: str,
    brand: str,
    cluster: str | None,
    price: int,
    reason: str | None,
    as_of: datetime,
) -> dict[str, object]:
    """The quote as `Quote` describes it, for orjson."""
    return {
        "sku": sku,
        "customer_number": customer_number,
        "brand": brand,
        "cluster": cluster,
        "price": price,
        "available": reason is None,
        "reason": reason,
        "as_of": as_of,
    }
