"""Products and prices, as operators see and change them."""

from typing import Annotated

from pydantic import Field

from schemas.admin.shapes import Given, Line, Page, Reason, Rupiah, Shown


class NewProduct(Given):
    """A product to add, or to put in place of the one with its SKU. `denomination` in rupiah."""

    sku: Line
    name: Line
    brand: Line
    """One that a number prefix belongs to."""
    kind: Line = "pulsa"
    denomination: Rupiah


class ProductLines(Given):
    """Products to put in place: all of them, or none where one is wrong."""

    products: Annotated[list[NewProduct], Field(min_length=1)]
    reason: Reason = ""


class CatalogueProduct(Shown):
    """A product. `enabled` is False while it is off sale."""

    sku: str
    name: str
    brand: str
    kind: str
    denomination: int
    enabled: bool


class CatalogueProductList(Page):
    """A page of products, by SKU."""

    data: list[CatalogueProduct]


class NewPrice(Given):
    """What resellers of a tier pay for a product, in rupiah."""

    tier: Line
    sku: Line
    price: Rupiah


class PriceLines(Given):
    """Prices to put in place: all of them, or none where one is wrong."""

    prices: Annotated[list[NewPrice], Field(min_length=1)]
    reason: Reason = ""


class Price(Shown):
    """What resellers of a tier pay for a product, in rupiah."""

    tier: str
    sku: str
    price: int


class PriceList(Page):
    """A page of prices, by tier and SKU."""

    data: list[Price]


class PutLines(Shown):
    """How many lines were given, and how many of them were new or other than before."""

    given: int
    changed: int
