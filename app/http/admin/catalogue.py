"""Products and prices, for operators."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from fastapi import APIRouter, Request, Response

from app.administration import catalogue
from app.administration.catalogue import Tally
from app.administration.sheets import Placed
from app.http.admin.identity import AnyOperator, CatalogueOperator
from app.http.answers import json_answer, list_answer
from app.http.api import Parts
from app.http.bodies import read_json, takes
from app.http.pages import Cursor, Limit, cut, read_text, text_cursor
from app.storage import reference
from app.storage.reference import PriceRow, ProductRow
from schemas.admin.catalogue import (
    CatalogueProduct,
    CatalogueProductList,
    Price,
    PriceLines,
    PriceList,
    ProductLines,
    PutLines,
)
from schemas.admin.operators import Acted
from schemas.admin.shapes import Because, Shown

routes = APIRouter(prefix="/admin/v1", tags=["admin"])

Row = TypeVar("Row")


@routes.put(
    "/products",
    response_model=None,
    responses={200: {"model": PutLines}},
    openapi_extra=takes(ProductLines),
)
async def put_products(request: Request, api: Parts, by: CatalogueOperator) -> Response:
    """Add or replace products, all of them or none; others stay."""
    wanted = await read_json(request, ProductLines, api.limits.body_bytes)
    rows = [
        Placed(
            f"products.{number}",
            ProductRow(each.sku, each.name, each.brand, each.kind, each.denomination),
        )
        for number, each in enumerate(wanted.products)
    ]
    return _tally(await catalogue.put_products(api.pool, by, rows, wanted.reason))


@routes.get("/products", response_model=None, responses={200: {"model": CatalogueProductList}})
async def list_products(
    api: Parts, by: AnyOperator, cursor: Cursor = None, limit: Limit = 50
) -> Response:
    """All products by SKU, those off sale too."""
    after = _after("catalogue", cursor)
    async with api.pool.acquire(timeout=api.limits.connection_seconds) as connection:
        rows = await reference.products_after(connection, after, limit + 1)
    return _page("catalogue", rows, lambda row: row.sku, CatalogueProduct, limit)


@routes.post(
    "/products/{sku}/disable",
    response_model=None,
    responses={200: {"model": Acted}},
    openapi_extra=takes(Because),
)
async def disable_product(
    sku: str, request: Request, api: Parts, by: CatalogueOperator
) -> Response:
    """Take a product off sale."""
    because = await read_json(request, Because, api.limits.body_bytes)
    changed = await catalogue.set_on_sale(api.pool, by, sku, on_sale=False, reason=because.reason)
    return json_answer({"changed": changed})


@routes.post(
    "/products/{sku}/enable",
    response_model=None,
    responses={200: {"model": Acted}},
    openapi_extra=takes(Because),
)
async def enable_product(sku: str, request: Request, api: Parts, by: CatalogueOperator) -> Response:
    """Sell a product again."""
    because = await read_json(request, Because, api.limits.body_bytes)
    changed = await catalogue.set_on_sale(api.pool, by, sku, on_sale=True, reason=because.reason)
    return json_answer({"changed": changed})


@routes.put(
    "/prices",
    response_model=None,
    responses={200: {"model": PutLines}},
    openapi_extra=takes(PriceLines),
)
async def put_prices(request: Request, api: Parts, by: CatalogueOperator) -> Response:
    """Add or replace prices, all of them or none; others stay."""
    wanted = await read_json(request, PriceLines, api.limits.body_bytes)
    rows = [
        Placed(f"prices.{number}", PriceRow(each.tier, each.sku, each.price))
        for number, each in enumerate(wanted.prices)
    ]
    return _tally(await catalogue.put_prices(api.pool, by, rows, wanted.reason))


@routes.get("/prices", response_model=None, responses={200: {"model": PriceList}})
async def list_prices(
    api: Parts, by: AnyOperator, cursor: Cursor = None, limit: Limit = 50
) -> Response:
    """All prices, by tier and SKU."""
    tier, _, sku = _after("prices", cursor).partition(" ")
    async with api.pool.acquire(timeout=api.limits.connection_seconds) as connection:
        rows = await reference.prices_after(connection, tier, sku, limit + 1)
    return _page("prices", rows, lambda row: f"{row.tier} {row.sku}", Price, limit)


def _tally(tally: Tally) -> Response:
    return json_answer(PutLines.of(tally))


def _after(kind: str, cursor: str | None) -> str:
    """The key that a page begins behind. No key has a NUL, and PostgreSQL takes none."""
    return (read_text(kind, cursor) or b"").decode(errors="replace").replace("\0", "")


def _page(
    kind: str, rows: Sequence[Row], key: Callable[[Row], str], shown: type[Shown], limit: int
) -> Response:
    page, has_more = cut(rows, limit)
    next_cursor = text_cursor(kind, key(page[-1]).encode()) if has_more else None
    return list_answer([shown.of(row) for row in page], next_cursor, has_more=has_more)
