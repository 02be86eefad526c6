"""The reference tables, read whole: dealers, products, prices, routes, prefixes, regions, policy.

They are small and the same everywhere; every change of them raises `routing_policy.revision`, and
each process then reads them again. Their rows are written by `app/storage/catalogue.py`.
"""

from dataclasses import dataclass
from datetime import datetime

from app.storage.pool import Connection


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


@dataclass(frozen=True, slots=True)
class RouteRow:
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
class Reference:
    """All reference rows of one revision. `policy` is JSON text."""

    revision: int
    policy: str
    dealers: list[DealerRow]
    products: list[ProductRow]
    prices: list[PriceRow]
    routes: list[RouteRow]
    prefixes: list[tuple[str, str]]
    regions: list[tuple[str, str]]


async def revision(connection: Connection) -> int:
    """The number that every change of the reference tables raises."""
    return await connection.fetchval("select revision from routing_policy")


async def skus(connection: Connection) -> frozenset[str]:
    """The SKUs of all products, those that are switched off included."""
    return frozenset(row[0] for row in await connection.fetch("select sku from products"))


async def load(connection: Connection) -> Reference:
    """Read every reference table in one consistent snapshot."""
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        return await read(connection)


async def read(connection: Connection) -> Reference:
    """Read every reference table as this transaction sees it; of products only those on sale."""
    in_force, text = await policy(connection)
    return Reference(
        in_force,
        text,
        await dealers(connection),
        [product for product in await products(connection) if product.enabled],
        await prices(connection),
        await _routes(connection),
        await prefixes(connection),
        await regions(connection),
    )


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
               drained, muted_until
        from dealers order by dealer_id
        """
    )
    return [DealerRow(*row) for row in rows]


async def products(connection: Connection) -> list[ProductRow]:
    """Every product by SKU, those off sale too."""
    rows = await connection.fetch(
        "select sku, name, brand, kind, denomination, enabled from products order by sku"
    )
    return [ProductRow(*row) for row in rows]


async def prices(connection: Connection) -> list[PriceRow]:
    """Every price, by tier and SKU."""
    rows = await connection.fetch("select tier, sku, price from prices order by tier, sku")
    return [PriceRow(*row) for row in rows]


async def prefixes(connection: Connection) -> list[tuple[str, str]]:
    """Every number prefix with its brand, by prefix."""
    rows = await connection.fetch("select prefix, brand from brand_prefixes order by prefix")
    return [(row[0], row[1]) for row in rows]


async def regions(connection: Connection) -> list[tuple[str, str]]:
    """Every region with its cluster, by region."""
    rows = await connection.fetch("select region, cluster from regions order by region")
    return [(row[0], row[1]) for row in rows]


async def routes_of(connection: Connection, dealer_id: str) -> list[RouteRow]:
    """Every route of a dealer."""
    rows = await connection.fetch(
        """
        select route_id, sku, cluster, dealer_id, dealer_sku, cost, enabled, hours, valid_from,
               valid_until, daily_quota, repeat_limit, weight
        from routes where dealer_id = $1
        """,
        dealer_id,
    )
    return [RouteRow(*row) for row in rows]


async def _routes(connection: Connection) -> list[RouteRow]:
    rows = await connection.fetch(
        """
        select route_id, sku, cluster, dealer_id, dealer_sku, cost, enabled, hours, valid_from,
               valid_until, daily_quota, repeat_limit, weight
        from routes
        """
    )
    return [RouteRow(*row) for row in rows]
