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
        policy = await connection.fetchrow("select revision, policy from routing_policy")
        dealers = await connection.fetch(
            """
            select dealer_id, name, owner_group, protocol, base_url, credentials_sealed, options,
                   callback_token, concurrency, timeout_seconds, connect_timeout_seconds, enabled,
                   drained, muted_until
            from dealers
            """
        )
        products = await connection.fetch(
            "select sku, name, brand, kind, denomination from products where enabled"
        )
        prices = await connection.fetch("select tier, sku, price from prices")
        routes = await connection.fetch(
            """
            select route_id, sku, cluster, dealer_id, dealer_sku, cost, enabled, hours, valid_from,
                   valid_until
            from routes
            """
        )
        prefixes = await connection.fetch("select prefix, brand from brand_prefixes")
        regions = await connection.fetch("select region, cluster from regions")
    if policy is None:
        raise RuntimeError("the routing policy row is missing: run `jalur migrate`")
    return Reference(
        policy[0],
        policy[1],
        [DealerRow(*row) for row in dealers],
        [ProductRow(*row) for row in products],
        [PriceRow(*row) for row in prices],
        [RouteRow(*row) for row in routes],
        [(row[0], row[1]) for row in prefixes],
        [(row[0], row[1]) for row in regions],
    )
