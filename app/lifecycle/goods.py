"""The goods: dealers' routes and the price book, compiled from one revision of their tables.

Small goods are compiled by each process for itself. Large ones, which take seconds of a processor,
are compiled by a process of its own for all (`app/workers/large_goods_job.py`) and kept in
PostgreSQL, from where each process has them brought.
"""

import asyncio
import json
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any, TypeAlias

from app.pace import Pace
from app.storage import compiled_goods, reference
from app.storage.compiled_goods import Header
from app.storage.pool import Connection
from app.storage.reference import ProductRow, RouteRow
from routing.blocks import Content
from routing.compare import Changes, product_changes, route_changes
from routing.image import Compiled, Image, RouteCompiler
from routing.price_book import Price, PriceBook, compile_prices
from routing.table import NO_CONDITION, BadTable, Condition, Product, Route, read_hours

MOST_ROWS_HERE = 2_000
"""Goods with more rows are not compiled beside orders: this many take some 20 ms of a thread."""
_SKUS_A_STEP = 500
_ROWS_A_STEP = 2_000
_MOST_REFUSED_TOLD = 20
_MOST_CONDITIONS = 4096


@dataclass(frozen=True, slots=True)
class Report:
    """What was compiled, and how it differs from the goods that were compiled before."""

    routes: int
    route_changes: Changes
    products: int
    product_changes: Changes
    refused: Mapping[str, int]
    """Routes that were left out, by why."""
    first_refused: Mapping[str, str]
    """The first few of them, by route, with why."""

    def document(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)

    def faults(self) -> list[str]:
        """A sentence for each route left out; for all that are not named here, one together."""
        told = [f"route {route_id}: {fault}" for route_id, fault in self.first_refused.items()]
        more = sum(self.refused.values()) - len(told)
        return [*told, f"{more} more routes"] if more else told


@dataclass(frozen=True, slots=True)
class Goods:
    """Compiled goods as they are used. `revision` is that of their tables."""

    revision: int
    image: Image
    price_book: PriceBook
    report: Report


@dataclass(frozen=True, slots=True)
class Blocks:
    """Compiled goods as they are kept."""

    routes: Content
    prices: Content


# ------------------------------------------------------------------ taking


Newer: TypeAlias = Callable[[Connection, Goods | None, int], Awaitable[Goods | None]]
"""Finds goods newer than those held, where the newest revision is this; None where it has none."""


async def newer_small_goods(
    connection: Connection, held: Goods | None, wanted: int
) -> Goods | None:
    """Newer goods that can be compiled beside orders. For processes that serve. Raises BadTable."""
    if held is not None and held.revision >= wanted:
        return None
    if not await reference.goods_fit_in(connection, MOST_ROWS_HERE):
        return None
    try:
        goods, _ = await compile_goods(connection, held, Pace(0))
    except GoodsChanged:
        return None
    return goods


async def newest_goods(connection: Connection, held: Goods | None, wanted: int) -> Goods | None:
    """The newest goods, of any size. For commands, which hold nobody up. Raises BadTable."""
    header = await compiled_goods.newest(connection)
    if header is not None and header.goods_revision >= wanted:
        return await kept_goods(connection, header)
    try:
        goods, _ = await compile_goods(connection, held, Pace(0))
    except GoodsChanged:
        return None
    return goods


async def kept_goods(connection: Connection, header: Header) -> Goods | None:
    """The goods that are kept; None where others have taken their place meanwhile.

    Raises BadTable where they are not what was compiled.
    """
    content = memoryview(bytearray(header.length))
    if not await compiled_goods.read(connection, header, content):
        return None
    return open_goods(header, content)


def open_goods(header: Header, content: memoryview) -> Goods:
    """The goods whose blocks lie one behind the other, as they were checked before."""
    routes, prices = compiled_goods.blocks_of(header, content)
    report = json.loads(header.report)
    for name in ("route_changes", "product_changes"):
        report[name] = Changes(**report[name])
    image = Image(routes, header.routes_checksum)
    price_book = PriceBook(prices, header.prices_checksum)
    return Goods(header.goods_revision, image, price_book, Report(**report))


# ------------------------------------------------------------------ compiling


class GoodsChanged(Exception):
    """The goods changed while they were read: what was compiled is of no revision."""


async def compile_goods(
    connection: Connection, before: Goods | None, pace: Pace
) -> tuple[Goods, Blocks]:
    """Compile the goods in force and tell what that changes. Raises BadTable, GoodsChanged.

    They are read some at a time, each time by a statement of its own: a transaction that stands for
    seconds would keep all that orders leave behind from being cleared away.
    """
    revision = (await reference.revisions(connection)).goods
    products = await _products(connection, pace)
    dealers = [row.dealer_id for row in await reference.dealers(connection) if not row.test]
    compiler = RouteCompiler(dealers, products)
    for skus in _in_steps(sorted(products), _SKUS_A_STEP):
        rows = await reference.routes_for(connection, skus)
        await asyncio.to_thread(compiler.add, map(route_from, rows))
        await pace.rest()
    compiled = await asyncio.to_thread(compiler.finish)
    prices = await _prices(connection, pace)
    if (await reference.revisions(connection)).goods != revision:
        raise GoodsChanged
    return await asyncio.to_thread(_finish, revision, compiled, products, prices, before)


def _finish(
    revision: int,
    compiled: Compiled,
    products: Mapping[str, Product],
    prices: list[Price],
    before: Goods | None,
) -> tuple[Goods, Blocks]:
    book = compile_prices(products.values(), prices)
    image, price_book = Image(compiled.content), PriceBook(book)
    report = Report(
        len(image),
        route_changes(before and before.image, image),
        len(price_book),
        product_changes(before and before.price_book, price_book),
        dict(Counter(each.fault.value for each in compiled.refused)),
        {each.route_id: each.fault.value for each in compiled.refused[:_MOST_REFUSED_TOLD]},
    )
    return Goods(revision, image, price_book, report), Blocks(compiled.content, book)


async def _products(connection: Connection, pace: Pace) -> dict[str, Product]:
    """What is on sale, by SKU."""
    found: dict[str, Product] = {}
    after = ""
    while rows := await reference.products_after(connection, after, _ROWS_A_STEP):
        found.update((row.sku, product_of(row)) for row in rows if row.enabled)
        after = rows[-1].sku
        await pace.rest()
    return found


async def _prices(connection: Connection, pace: Pace) -> list[Price]:
    found: list[Price] = []
    after = ("", "")
    while rows := await reference.prices_after(connection, *after, _ROWS_A_STEP):
        found += (Price(row.tier, row.sku, row.price) for row in rows)
        after = (rows[-1].tier, rows[-1].sku)
        await pace.rest()
    return found


def _in_steps(skus: list[str], step: int) -> Iterator[list[str]]:
    for begin in range(0, len(skus), step):
        yield skus[begin : begin + step]


def product_of(row: ProductRow) -> Product:
    """A product as routing knows it."""
    return Product(row.sku, row.name, row.brand, row.kind, row.denomination)


def route_from(row: RouteRow) -> Route:
    """A dealer's offer as routing knows it. Raises BadTable for hours that are none."""
    route_id, sku, cluster, dealer_id, dealer_sku, cost, *terms = row
    try:
        condition = _condition(tuple(terms))
    except ValueError as error:
        raise BadTable(f"route {route_id}: its hours are no hours: {error}") from error
    return Route(route_id, sku, cluster, dealer_id, dealer_sku, cost, condition)


@lru_cache(_MOST_CONDITIONS)
def _condition(terms: tuple[Any, ...]) -> Condition:
    """A route's terms, from `enabled` on, of which a table has few: one object stands for all that
    are equal. Raises ValueError for hours that are none."""
    enabled, hours, *limits = terms
    condition = Condition(enabled, read_hours(hours), *limits)
    return NO_CONDITION if condition == NO_CONDITION else condition
