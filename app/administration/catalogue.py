"""The catalogue: products, prices, number prefixes and regions, put in place as whole lists.

Each act replaces the rows of the same keys, leaves all others, and has every process take up the
new table. A list with one wrong row is refused whole.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TypeVar

from app.administration.acting import acting
from app.administration.checks import Checks
from app.administration.operator import Operator, Scope
from app.administration.sheets import Placed
from app.errors import NotFound
from app.storage import catalogue, reference
from app.storage.audit import Document
from app.storage.pool import Connection, Pool
from app.storage.reference import PriceRow, ProductRow
from routing.numbering import BrandTable, ClusterTable

PRODUCT_COLUMNS = ("sku", "name", "brand", "kind", "denomination")
PRICE_COLUMNS = ("tier", "sku", "price")
PREFIX_COLUMNS = ("prefix", "brand")
REGION_COLUMNS = ("region", "cluster")
NUMBERING_COLUMNS = ("prefix", "cluster")

Row = TypeVar("Row")
Cells = Mapping[str, str]
Pair = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Tally:
    """How many rows an act was given, and how many of them were new or other than before."""

    given: int
    changed: int


# ------------------------------------------------------------------ products and prices


async def put_products(
    pool: Pool, by: Operator, products: Sequence[Placed[ProductRow]], reason: str = ""
) -> Tally:
    """Add or replace products. One that was taken off sale stays so.

    Raises Unprocessable for brands without a prefix: nobody could order such a product.
    """
    by.require(Scope.CATALOGUE)
    checks = Checks()
    checks.reason(reason)
    for each in products:
        _check_product(each, checks)
    _require_distinct(products, lambda row: row.sku, checks)
    checks.done()
    async with acting(pool) as connection:
        await catalogue.lock_goods(connection)
        brands = {brand for _, brand in await reference.prefixes(connection)}
        _require_known(products, lambda row: row.brand, brands, "brand", checks)
        checks.done()
        skus = [each.row.sku for each in products]
        before = {row.sku: row for row in await reference.products_of(connection, skus)}
        wanted = {
            each.row.sku: replace(
                each.row, enabled=each.row.sku not in before or before[each.row.sku].enabled
            )
            for each in products
        }
        news = _news(before, wanted)
        await catalogue.put_products(connection, list(news.values()))
        if await _tell(connection, by, "products.put", before, news, _product, reason):
            await catalogue.publish_goods(connection)
    return Tally(len(products), len(news))


async def set_on_sale(
    pool: Pool, by: Operator, sku: str, *, on_sale: bool, reason: str = ""
) -> bool:
    """Take a product off sale, or sell it again. Returns whether that changed it.

    What was sent to dealers is seen through. Orders that still wait for one find none and fail
    once their time is over.
    """
    by.require(Scope.CATALOGUE)
    checks = Checks()
    checks.reason(reason, needed=not on_sale)
    checks.sku("sku", sku)
    checks.done()
    async with acting(pool) as connection:
        await catalogue.lock_goods(connection)
        before = {row.sku: row for row in await reference.products_of(connection, [sku])}
        if sku not in before:
            raise NotFound(
                "not-found", f"There is no product {sku}; `jalur products list` has all."
            )
        news = _news(before, {sku: replace(before[sku], enabled=on_sale)})
        await catalogue.put_products(connection, list(news.values()))
        action = "product.enabled" if on_sale else "product.disabled"
        if await _tell(connection, by, action, before, news, _product, reason, f"product:{sku}"):
            await catalogue.publish_goods(connection)
    return bool(news)


async def put_prices(
    pool: Pool, by: Operator, prices: Sequence[Placed[PriceRow]], reason: str = ""
) -> Tally:
    """Add or replace what resellers of a tier pay. Orders accepted before keep their prices."""
    by.require(Scope.CATALOGUE)
    checks = Checks()
    checks.reason(reason)
    for each in prices:
        checks.tier(f"{each.place}.tier", each.row.tier)
        checks.sku(f"{each.place}.sku", each.row.sku)
        checks.rupiah(f"{each.place}.price", each.row.price)
    _require_distinct(prices, _price_key, checks)
    checks.done()
    async with acting(pool) as connection:
        await catalogue.lock_goods(connection)
        skus = {each.row.sku for each in prices}
        known = {row.sku for row in await reference.products_of(connection, skus)}
        _require_known(prices, lambda row: row.sku, known, "sku", checks)
        checks.done()
        before = {_price_key(row): row for row in await reference.prices_of(connection, skus)}
        news = _news(before, {_price_key(each.row): each.row for each in prices})
        await catalogue.put_prices(connection, list(news.values()))
        if await _tell(connection, by, "prices.put", before, news, _price, reason):
            await catalogue.publish_goods(connection)
    return Tally(len(prices), len(news))


# ------------------------------------------------------------------ prefixes and regions


async def put_prefixes(
    pool: Pool, by: Operator, prefixes: Sequence[Placed[Pair]], reason: str = ""
) -> Tally:
    """Add or replace number prefixes and the brands they belong to."""
    return await _put_pairs(pool, by, prefixes, _PREFIXES, reason)


async def put_regions(
    pool: Pool, by: Operator, regions: Sequence[Placed[Pair]], reason: str = ""
) -> Tally:
    """Add or replace regions and the clusters (dealers' selling areas) they lie in."""
    return await _put_pairs(pool, by, regions, _REGIONS, reason)


async def put_numbering(
    pool: Pool, by: Operator, prefixes: Sequence[Placed[Pair]], reason: str = ""
) -> Tally:
    """Add or replace number prefixes and the clusters they hint at."""
    return await _put_pairs(pool, by, prefixes, _NUMBERING, reason)


async def remove_numbering(pool: Pool, by: Operator, prefix: str, reason: str = "") -> None:
    """Have a prefix hint at no cluster any more. Raises NotFound."""
    by.require(Scope.CATALOGUE)
    checks = Checks()
    checks.reason(reason)
    checks.text("prefix", prefix, 10)
    checks.done()
    async with acting(pool) as connection:
        await catalogue.lock(connection)
        cluster = await catalogue.drop_numbering(connection, prefix)
        if cluster is None:
            raise NotFound("not-found", f"There is no {prefix}; `jalur numbering list` has all.")
        before = {prefix: {"cluster": cluster}}
        await by.record(
            connection, "numbering.removed", "catalogue", before=before, after={}, reason=reason
        )
        await catalogue.publish(connection)


def _check_numbering(each: Placed[Pair], checks: Checks) -> None:
    try:
        ClusterTable([each.row])
    except ValueError as error:
        checks.wrong(each.place, str(error))
    checks.word(f"{each.place}.cluster", each.row[1])


def _check_prefix(each: Placed[Pair], checks: Checks) -> None:
    try:
        BrandTable([each.row])
    except ValueError as error:
        checks.wrong(each.place, str(error))
    checks.word(f"{each.place}.brand", each.row[1])


def _check_region(each: Placed[Pair], checks: Checks) -> None:
    checks.text(f"{each.place}.region", each.row[0], 64)
    checks.word(f"{each.place}.cluster", each.row[1])


@dataclass(frozen=True, slots=True)
class _Table:
    """A table of pairs: how its rows are checked, read and written."""

    action: str
    column: str
    check: Callable[[Placed[Pair], Checks], None]
    read: Callable[[Connection], Awaitable[list[Pair]]]
    put: Callable[[Connection, Sequence[Pair]], Awaitable[None]]


_PREFIXES = _Table(
    "prefixes.put", "brand", _check_prefix, reference.prefixes, catalogue.put_prefixes
)
_REGIONS = _Table("regions.put", "cluster", _check_region, reference.regions, catalogue.put_regions)


_NUMBERING = _Table(
    "numbering.put", "cluster", _check_numbering, reference.numbering, catalogue.put_numbering
)


async def _put_pairs(
    pool: Pool, by: Operator, pairs: Sequence[Placed[Pair]], table: _Table, reason: str
) -> Tally:
    by.require(Scope.CATALOGUE)
    checks = Checks()
    checks.reason(reason)
    for each in pairs:
        table.check(each, checks)
    _require_distinct(pairs, lambda row: row[0], checks)
    checks.done()
    async with acting(pool) as connection:
        await catalogue.lock(connection)
        before = {row[0]: row for row in await table.read(connection)}
        news = _news(before, {each.row[0]: each.row for each in pairs})
        await table.put(connection, list(news.values()))
        if await _tell(
            connection, by, table.action, before, news, lambda row: {table.column: row[1]}, reason
        ):
            await catalogue.publish(connection)
    return Tally(len(pairs), len(news))


# ------------------------------------------------------------------ cells of a sheet


def product_of(cells: Cells, place: str, checks: Checks) -> ProductRow:
    """A product out of a sheet."""
    denomination = checks.number(f"{place}.denomination", cells["denomination"])
    return ProductRow(cells["sku"], cells["name"], cells["brand"], cells["kind"], denomination)


def price_of(cells: Cells, place: str, checks: Checks) -> PriceRow:
    """A price out of a sheet."""
    price = checks.number(f"{place}.price", cells["price"])
    return PriceRow(cells["tier"], cells["sku"], price)


def prefix_of(cells: Cells, _place: str, _checks: Checks) -> Pair:
    """A prefix out of a sheet."""
    return cells["prefix"], cells["brand"]


def numbering_of(cells: Cells, _place: str, _checks: Checks) -> Pair:
    """A prefix that hints at a cluster, out of a sheet."""
    return cells["prefix"], cells["cluster"]


def region_of(cells: Cells, _place: str, _checks: Checks) -> Pair:
    """A region out of a sheet."""
    return cells["region"], cells["cluster"]


# ------------------------------------------------------------------ what all of them share


def _check_product(each: Placed[ProductRow], checks: Checks) -> None:
    checks.sku(f"{each.place}.sku", each.row.sku)
    checks.text(f"{each.place}.name", each.row.name)
    checks.word(f"{each.place}.brand", each.row.brand)
    checks.word(f"{each.place}.kind", each.row.kind)
    checks.rupiah(f"{each.place}.denomination", each.row.denomination)


def _require_distinct(
    rows: Sequence[Placed[Row]], key: Callable[[Row], object], checks: Checks
) -> None:
    first: dict[object, str] = {}
    for each in rows:
        before = first.setdefault(key(each.row), each.place)
        if before != each.place:
            checks.wrong(each.place, f"{key(each.row)} is in {before} already")


def _require_known(
    rows: Sequence[Placed[Row]],
    key: Callable[[Row], str],
    known: "set[str]",
    what: str,
    checks: Checks,
) -> None:
    group = "products" if what == "sku" else "prefixes"
    for each in rows:
        if key(each.row) not in known:
            checks.wrong(
                f"{each.place}.{what}",
                f"there is no {key(each.row)}; `jalur {group} list` has all that there are",
            )


def _news(before: Mapping[str, Row], wanted: Mapping[str, Row]) -> dict[str, Row]:
    """The rows that are new, or other than before."""
    return {key: row for key, row in wanted.items() if before.get(key) != row}


async def _tell(
    connection: Connection,
    by: Operator,
    action: str,
    before: Mapping[str, Row],
    news: Mapping[str, Row],
    document: Callable[[Row], Document],
    reason: str,
    subject: str = "catalogue",
) -> bool:
    """Record what is new. Returns whether anything is, so that it is to be published."""
    if not news:
        return False
    await by.record(
        connection,
        action,
        subject,
        before={key: document(before[key]) for key in news if key in before},
        after={key: document(row) for key, row in news.items()},
        reason=reason,
    )
    return True


def _price_key(row: PriceRow) -> str:
    return f"{row.tier} {row.sku}"


def _product(row: ProductRow) -> Document:
    return {name: value for name, value in asdict(row).items() if name != "sku"}


def _price(row: PriceRow) -> Document:
    return {"price": row.price}
