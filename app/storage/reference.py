"""The reference tables, read: the terms (dealers, numbers, regions, policy) and the goods.

Every change of them raises `routing_policy.revision`, and each process takes it up. The terms are
small and read whole. The goods, which are products, prices and routes, may be a million rows: a
change of theirs raises `goods_revision` too, and they are compiled once for all processes
(`app/storage/compiled_goods.py`). The rows are written by `app/storage/catalogue.py`.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from app.storage.pool import Connection, one_view

_PRODUCTS = "select sku, name, brand, kind, denomination, enabled from products"
_PRICES = "select tier, sku, price from prices"
_ROUTES = """
    select route_id, sku, cluster, dealer_id, dealer_sku, cost, enabled, hours, valid_from,
           valid_until, daily_quota, repeat_limit, weight
    from routes
"""


@dataclass(frozen=True, slots=True)
class DealerRow:
    """A dealer as it is configured. `options` is JSON text; amounts of time are seconds."""

    dealer_id: str
    name: str
    owner_group: str
    protocol: str
    base_url: str
    credentials_sealed: bytes
    options: str
    callback_token: str | None
    concurrency: int
    timeout_seconds: float
    connect_timeout_seconds: float
    enabled: bool
    drained: bool
    muted_until: datetime | None
    requests_per_second: float | None = None
    """Of all kinds, over all processes; None: what the protocol declares."""
    callback_from: tuple[str, ...] = ()
    """The networks that its callbacks may come from; none: any."""
    test: bool = False
    """Whether it is a simulator, for orders of the test side only. It never changes."""


@dataclass(frozen=True, slots=True)
class ProductRow:
    """A product that resellers can order. `denomination` in rupiah."""

    sku: str
    name: str
    brand: str
    kind: str
    denomination: int
    enabled: bool = True


@dataclass(frozen=True, slots=True)
class PriceRow:
    """What resellers of a tier pay for a product, in rupiah."""

    tier: str
    sku: str
    price: int


class RouteRow(NamedTuple):
    """One dealer's offer. `cost` in rupiah, None where it is not known."""

    route_id: str
    sku: str
    cluster: str | None
    dealer_id: str
    dealer_sku: str
    cost: int | None
    enabled: bool
    hours: str
    valid_from: datetime | None
    valid_until: datetime | None
    daily_quota: int | None = None
    """Orders a day in WIB; None for no bound."""
    repeat_limit: int | None = None
    """Purchases of the product for one number a day in WIB; None for no bound."""
    weight: int = 0
    """The share that is aimed at, against the others' weights."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What is traded on, of one revision. `policy` is JSON text."""

    revision: int
    policy: str
    dealers: list[DealerRow]
    prefixes: list[tuple[str, str]]
    regions: list[tuple[str, str]]
    numbering: list[tuple[str, str]]


class Revisions(NamedTuple):
    """The numbers that changes raise: every one, those of the goods, and those of outlets."""

    revision: int
    goods: int
    outlets: int


async def revision(connection: Connection) -> int:
    """The number that every change of the reference tables raises."""
    return (await revisions(connection)).revision


async def revisions(connection: Connection) -> Revisions:
    """The revision in force, and the one that last changed the goods."""
    row = await connection.fetchrow(
        "select revision, goods_revision, outlets_revision from routing_policy"
    )
    if row is None:
        raise RuntimeError("the routing policy row is missing: run `jalur migrate`")
    return Revisions(*row)


async def skus(connection: Connection) -> frozenset[str]:
    """The SKUs of all products, those that are switched off included."""
    return frozenset(row[0] for row in await connection.fetch("select sku from products"))


async def terms(connection: Connection) -> Terms:
    """Read the terms in one consistent snapshot."""
    async with one_view(connection):
        in_force, text = await policy(connection)
        return Terms(
            in_force,
            text,
            await dealers(connection),
            await prefixes(connection),
            await regions(connection),
            await numbering(connection),
        )


async def goods_fit_in(connection: Connection, most_rows: int) -> bool:
    """Whether there are at most so many routes, products and prices in all."""
    counted = await connection.fetchval(
        """
        select count(*) from (
            (select from routes limit $1) union all (select from products limit $1)
            union all (select from prices limit $1)
        ) as rows
        """,
        most_rows + 1,
    )
    return counted <= most_rows


async def policy(connection: Connection) -> tuple[int, str]:
    """The revision in force and its policy, which is JSON text."""
    row = await connection.fetchrow("select revision, policy from routing_policy")
    if row is None:
        raise RuntimeError("the routing policy row is missing: run `jalur migrate`")
    return row[0], row[1]


async def dealers(connection: Connection) -> list[DealerRow]:
    """Every dealer, by id."""
    rows = await connection.fetch(
        """
        select dealer_id, name, owner_group, protocol, base_url, credentials_sealed, options,
               callback_token, concurrency, timeout_seconds, connect_timeout_seconds, enabled,
               drained, muted_until, requests_per_second, callback_from::text[], test
        from dealers order by dealer_id
        """
    )
    return [DealerRow(*row[:-2], callback_from=tuple(row[-2]), test=row[-1]) for row in rows]


async def products(connection: Connection) -> list[ProductRow]:
    """Every product by SKU, those off sale too."""
    return [ProductRow(*row) for row in await connection.fetch(_PRODUCTS + " order by sku")]


async def products_of(connection: Connection, skus: Collection[str]) -> list[ProductRow]:
    """The products of these SKUs, those off sale too, in no order."""
    rows = await connection.fetch(_PRODUCTS + " where sku = any($1)", list(skus))
    return [ProductRow(*row) for row in rows]


async def products_after(connection: Connection, sku: str, most: int) -> list[ProductRow]:
    """The products behind a SKU, by SKU, those off sale too."""
    query = _PRODUCTS + " where sku > $1 order by sku limit $2"
    return [ProductRow(*row) for row in await connection.fetch(query, sku, most)]


async def prices(connection: Connection) -> list[PriceRow]:
    """Every price, by tier and SKU."""
    return [PriceRow(*row) for row in await connection.fetch(_PRICES + " order by tier, sku")]


async def prices_of(connection: Connection, skus: Collection[str]) -> list[PriceRow]:
    """What every tier pays for the products of these SKUs, in no order."""
    query = _PRICES + " where sku = any($1)"
    return [PriceRow(*row) for row in await connection.fetch(query, list(skus))]


async def prices_after(connection: Connection, tier: str, sku: str, most: int) -> list[PriceRow]:
    """The prices behind one of a tier for a SKU, by tier and SKU."""
    query = _PRICES + " where (tier, sku) > ($1, $2) order by tier, sku limit $3"
    return [PriceRow(*row) for row in await connection.fetch(query, tier, sku, most)]


async def prefixes(connection: Connection) -> list[tuple[str, str]]:
    """Every number prefix with its brand, by prefix."""
    rows = await connection.fetch("select prefix, brand from brand_prefixes order by prefix")
    return [(row[0], row[1]) for row in rows]


async def regions(connection: Connection) -> list[tuple[str, str]]:
    """Every region with its cluster, by region."""
    rows = await connection.fetch("select region, cluster from regions order by region")
    return [(row[0], row[1]) for row in rows]


async def numbering(connection: Connection) -> list[tuple[str, str]]:
    """Every number prefix that hints at a cluster, by prefix."""
    rows = await connection.fetch("select prefix, cluster from number_clusters order by prefix")
    return [(row[0], row[1]) for row in rows]


async def routes_for(connection: Connection, skus: Collection[str]) -> list[RouteRow]:
    """Every route of these products, in no order."""
    rows = await connection.fetch(_ROUTES + " where sku = any($1)", list(skus))
    return [RouteRow(*row) for row in rows]


async def routes_of(connection: Connection, dealer_id: str) -> list[RouteRow]:
    """Every route of a dealer."""
    rows = await connection.fetch(_ROUTES + " where dealer_id = $1", dealer_id)
    return [RouteRow(*row) for row in rows]


async def routes(connection: Connection) -> list[RouteRow]:
    """Every route."""
    return [RouteRow(*row) for row in await connection.fetch(_ROUTES)]
