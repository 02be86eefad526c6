"""Products on the wire: what a reseller can order and what it pays."""

from pydantic import BaseModel


class Product(BaseModel):
    """A product at the reseller's own price, in whole rupiah."""

    sku: str
    name: str
    brand: str
    kind: str
    denomination: int
    price: int
    available: bool
    """Whether a dealer could serve it now."""


class ProductList(BaseModel):
    """A page of products, by SKU."""

    data: list[Product]
    next_cursor: str | None
    has_more: bool
