"""What a reseller can order, at its own prices, out of the table in force."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated

import orjson
from fastapi import APIRouter, Query, Request, Response

from app.errors import FieldError, NotFound, Unprocessable
from app.http.answers import json_answer, list_answer
from app.http.api import Api, Parts, ProductsReader
from app.http.conditions import is_known, not_modified
from app.http.pages import Cursor, Limit, read_text, text_cursor
from app.storage.api_keys import KeyHolder
from routing.choose import Inquiry
from routing.clusters import UnknownRegion
from routing.price_book import PriceBook
from routing.table import Product
from schemas.products import Product as ProductOnSale
from schemas.products import ProductList

routes = APIRouter(prefix="/v1/products", tags=["products"])

SCAN_LIMIT = 2000
"""Products looked at for one page of a brand or a kind."""
_KIND = "products"
_UNCHANGED = {304: {"description": "Unchanged since that ETag."}}

Word = Annotated[str | None, Query(max_length=64)]
_Priced = tuple[Product, int]


@dataclass(frozen=True, slots=True)
class _Wish:
    """What a list was asked for."""

    brand: str | None
    kind: str | None
    sku_prefix: str
    after: str
    limit: int

    def takes(self, product: Product) -> bool:
        """Whether the product is one of those."""
        return self.brand in (None, product.brand) and self.kind in (None, product.kind)


@routes.get("", response_model=None, responses={200: {"model": ProductList}, **_UNCHANGED})
async def list_products(
    request: Request,
    api: Parts,
    caller: ProductsReader,
    region: Word = None,
    brand: Word = None,
    kind: Word = None,
    sku_prefix: Word = None,
    cursor: Cursor = None,
    limit: Limit = 100,
) -> Response:
    """Products by SKU. `available` is for the region, where one is named.

    With `If-None-Match` and the page's last ETag, 304 while its products, prices and availability
    are the same. By `brand` or `kind` a page may hold fewer products than asked for although there
    are more: go on while `has_more`.
    """
    cluster = _cluster(api, region)
    after = (read_text(_KIND, cursor) or b"").decode(errors="replace")
    wish = _Wish(brand, kind, sku_prefix or "", after, limit)
    book = api.router.trade.price_book
    rows, stopped_at = _page(book, caller.tier, wish)
    available = _availability(api, caller, cluster, rows)
    page = [wish.brand, wish.kind, wish.sku_prefix, wish.after, wish.limit]
    tag = _tag([book.checksum, caller.tier, cluster, page], available)
    if is_known(request, tag):
        return not_modified(tag)
    data = [_document(*row, stands) for row, stands in zip(rows, available, strict=True)]
    next_cursor = None if stopped_at is None else text_cursor(_KIND, stopped_at.encode())
    answer = list_answer(data, next_cursor, has_more=stopped_at is not None)
    answer.headers["etag"] = tag
    return answer


@routes.get("/{sku}", response_model=None, responses={200: {"model": ProductOnSale}, **_UNCHANGED})
async def read_product(
    sku: str, request: Request, api: Parts, caller: ProductsReader, region: Word = None
) -> Response:
    """One product. With `If-None-Match` and its last ETag, 304 while nothing has changed."""
    book = api.router.trade.price_book
    product, price = book.product(sku), book.price(caller.tier, sku)
    if product is None or price is None:
        raise NotFound("not-found", "There is no such product for you.")
    (stands,) = _availability(api, caller, _cluster(api, region), [(product, price)])
    document = _document(product, price, stands)
    tag = _tag(document, b"")
    return (
        not_modified(tag) if is_known(request, tag) else json_answer(document, 200, {"etag": tag})
    )


def _cluster(api: Api, region: str | None) -> str | None:
    try:
        return api.router.trade.clusters.of(region, None, None)
    except UnknownRegion:
        wrong = FieldError("region", "There is no such region.")
        raise Unprocessable("unknown-region", wrong.message, errors=[wrong]) from None


def _page(book: PriceBook, tier: str, wish: _Wish) -> tuple[list[_Priced], str | None]:
    """A page's products with their prices, and the SKU behind which there may be more."""
    rows: list[_Priced] = []
    last = wish.after
    for looked, (product, price) in enumerate(book.on_sale(tier, wish.after, wish.sku_prefix)):
        if len(rows) == wish.limit or looked == SCAN_LIMIT:
            return rows, last
        if wish.takes(product):
            rows.append((product, price))
        last = product.sku
    return rows, None


def _availability(
    api: Api, caller: KeyHolder, cluster: str | None, rows: Sequence[_Priced]
) -> bytes:
    """Whether a dealer could serve each product now: a byte each, 1 or 0."""
    now = datetime.now(UTC)
    return bytes(
        api.router.choose(
            Inquiry(
                product.sku,
                product.brand,
                cluster,
                price,
                tier=caller.tier,
                kind=product.kind,
                test=caller.test,
            ),
            now,
        ).chosen
        is not None
        for product, price in rows
    )


def _tag(content: object, available: bytes) -> str:
    """The ETag of what these facts decide."""
    return f'W/"{hashlib.sha256(orjson.dumps(content) + available).hexdigest()[:24]}"'


def _document(product: Product, price: int, available: int) -> dict[str, object]:
    return {
        "sku": product.sku,
        "name": product.name,
        "brand": product.brand,
        "kind": product.kind,
        "denomination": product.denomination,
        "price": price,
        "available": bool(available),
    }
