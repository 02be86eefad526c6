"""What a reseller can order, at its own prices, out of the table in force."""

from datetime import UTC, datetime
from itertools import islice
from typing import Annotated

from fastapi import APIRouter, Query, Response

from app.errors import FieldError, Unprocessable
from app.http.answers import list_answer
from app.http.api import Api, Caller, Parts
from app.http.pages import Cursor, Limit, cut, read_text, text_cursor
from routing.choose import Inquiry
from routing.clusters import UnknownRegion
from routing.table import Product
from schemas.products import ProductList

routes = APIRouter(prefix="/v1/products", tags=["products"])

_KIND = "products"


@routes.get("", response_model=None, responses={200: {"model": ProductList}})
async def list_products(
    api: Parts,
    caller: Caller,
    region: Annotated[str | None, Query(max_length=64)] = None,
    cursor: Cursor = None,
    limit: Limit = 100,
) -> Response:
    """Products by SKU. `available` is for the region, where one is named."""
    trade = api.router.trade
    try:
        cluster = trade.clusters.of(region, None, None)
    except UnknownRegion:
        wrong = FieldError("region", "There is no such region.")
        raise Unprocessable("unknown-region", wrong.message, errors=[wrong]) from None
    after = (read_text(_KIND, cursor) or b"").decode(errors="replace")
    book, now = trade.price_book, datetime.now(UTC)
    page, has_more = cut(list(islice(book.on_sale(caller.tier, after), limit + 1)), limit)
    data = [
        _document(api, product, price, tier=caller.tier, cluster=cluster, now=now)
        for product, price in page
    ]
    next_cursor = text_cursor(_KIND, page[-1][0].sku.encode()) if has_more else None
    return list_answer(data, next_cursor, has_more=has_more)


def _document(
    api: Api, product: Product, price: int, *, tier: str, cluster: str | None, now: datetime
) -> dict[str, object]:
    inquiry = Inquiry(product.sku, product.brand, cluster, price, tier=tier, kind=product.kind)
    decision = api.router.choose(inquiry, now)
    return {
        "sku": product.sku,
        "name": product.name,
        "brand": product.brand,
        "kind": product.kind,
        "denomination": product.denomination,
        "price": price,
        "available": decision.chosen is not None,
    }
