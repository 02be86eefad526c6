"""The demo's shop: products, prices, five dealers of two protocols, one reseller with money.

The first four dealers lie within two percent of each other, so that passing over a monopoly has
somewhere to go; two of them have the same owner. The fifth is the dearest and always delivers.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from app.administration.money import deposit
from app.administration.operator import Operator
from app.lifecycle.trade import credentials_context
from app.sealing import Sealer
from app.storage import api_keys, catalogue, resellers
from app.storage.api_keys import GeneratedKey
from app.storage.pool import Pool
from app.storage.reference import DealerRow, PriceRow, ProductRow, RouteRow
from app.storage.resellers import NewReseller

FIRST_DEPOSIT_RUPIAH = 10_000_000_000
CALLBACK_TOKEN = "demo-path"  # noqa: S105 - part of a loopback address

_CONCURRENCY = 64

REGIONS = [("bandung", "jabar"), ("bogor", "jabar"), ("medan", "sumut"), ("makassar", "sulsel")]
DENOMINATIONS = (5_000, 10_000, 25_000, 50_000)


@dataclass(frozen=True, slots=True)
class Brand:
    """A brand with the prefix of its SKUs and of the demo's numbers."""

    brand: str
    name: str
    sku: str
    number: str


BRANDS = (
    Brand("telkomsel", "Telkomsel", "S", "0812"),
    Brand("im3", "IM3", "I", "0857"),
    Brand("tri", "Tri", "T", "0895"),
    Brand("xl", "XL", "X", "0817"),
    Brand("axis", "AXIS", "AX", "0838"),
    Brand("smartfren", "Smartfren", "SM", "0881"),
)


@dataclass(frozen=True, slots=True)
class DemoDealer:
    """A simulated dealer: its protocol, its owner, and how much dearer than the cheapest it is."""

    dealer_id: str
    name: str
    owner_group: str
    protocol: str
    above_cheapest_basis_points: int
    always_succeeds: bool = False

    @property
    def credentials(self) -> dict[str, str]:
        """Our account there."""
        if self.protocol == "otomax":
            return {"memberID": "JALUR", "pin": "1144", "password": f"secret-{self.dealer_id}"}
        return {
            "username": "jalur",
            "api_key": f"key-{self.dealer_id}",
            "webhook_secret": f"hook-{self.dealer_id}",
        }

    def cost(self, denomination: int) -> int:
        """What this dealer asks for a product, in rupiah."""
        cheapest = denomination + 300
        return cheapest + cheapest * self.above_cheapest_basis_points // 10_000


DEALERS = (
    DemoDealer("nusantara", "Nusantara Digital", "nusantara", "digiflazz", 0),
    DemoDealer("cahaya", "Cahaya Pulsa", "cahaya", "otomax", 40),
    DemoDealer("samudra", "Samudra Reload", "samudra", "digiflazz", 80),
    DemoDealer("rimba", "Rimba Elektrik", "nusantara", "otomax", 120),
    DemoDealer("cadangan", "Cadangan Prima", "cadangan", "digiflazz", 500, always_succeeds=True),
)


def price(denomination: int) -> int:
    """What the demo's reseller pays, in rupiah: above every dealer's cost."""
    return denomination + 300 + (denomination + 300) * 800 // 10_000


def products() -> list[ProductRow]:
    """Every product of the demo."""
    return [
        ProductRow(
            f"{brand.sku}{denomination // 1000}",
            f"{brand.name} {denomination:,}".replace(",", "."),
            brand.brand,
            "pulsa",
            denomination,
        )
        for brand in BRANDS
        for denomination in DENOMINATIONS
    ]


def simulator_config(
    base_url: str, seconds: dict[str, float], balance_rupiah: int = 1_000_000_000
) -> dict[str, object]:
    """What the dealer simulator is started with; `base_url` is where Jalur will listen.

    `balance_rupiah` is our deposit at each dealer.
    """
    return {
        "dealers": [
            {
                "dealer_id": dealer.dealer_id,
                "protocol": dealer.protocol,
                "credentials": dealer.credentials,
                "callback_url": f"{base_url}/v1/callbacks/{dealer.dealer_id}/{CALLBACK_TOKEN}",
                "always_succeeds": dealer.always_succeeds,
                "balance_rupiah": balance_rupiah,
                "prices": {row.sku: dealer.cost(row.denomination) for row in products()},
            }
            for dealer in DEALERS
        ],
        "timing": seconds,
    }


async def seed_catalogue(
    pool: Pool,
    sealer: Sealer,
    simulator_url: str,
    timeout_seconds: float,
    concurrency: int = _CONCURRENCY,
) -> None:
    """Write products, prices, dealers and routes, and publish them.

    Each dealer takes `concurrency` purchases at once and has `timeout_seconds` to answer one.
    """
    shop = products()
    async with pool.acquire() as connection, connection.transaction():
        await catalogue.put_regions(connection, REGIONS)
        await catalogue.put_products(connection, shop)
        await catalogue.put_prices(
            connection, [PriceRow("standard", row.sku, price(row.denomination)) for row in shop]
        )
        await catalogue.put_dealers(
            connection,
            [
                _dealer_row(each, sealer, simulator_url, timeout_seconds, concurrency)
                for each in DEALERS
            ],
        )
        await catalogue.put_routes(connection, _routes(shop))
        await catalogue.publish_goods(connection)


def _dealer_row(
    dealer: DemoDealer,
    sealer: Sealer,
    simulator_url: str,
    timeout_seconds: float,
    concurrency: int,
) -> DealerRow:
    sealed = sealer.seal(json.dumps(dealer.credentials), credentials_context(dealer.dealer_id))
    options = {"check_interval_seconds": "1"}
    if dealer.protocol == "otomax":
        options["absent_after_seconds"] = "3"
    return DealerRow(
        dealer_id=dealer.dealer_id,
        name=dealer.name,
        owner_group=dealer.owner_group,
        protocol=dealer.protocol,
        base_url=f"{simulator_url}/{dealer.dealer_id}",
        credentials_sealed=sealed,
        options=json.dumps(options),
        callback_token=CALLBACK_TOKEN,
        concurrency=concurrency,
        timeout_seconds=timeout_seconds,
        connect_timeout_seconds=2.0,
        enabled=True,
        drained=False,
        muted_until=None,
    )


def _routes(shop: Sequence[ProductRow]) -> list[RouteRow]:
    return [
        RouteRow(
            route_id=f"{row.sku}-{dealer.dealer_id}",
            sku=row.sku,
            cluster=None,
            dealer_id=dealer.dealer_id,
            dealer_sku=row.sku,
            cost=dealer.cost(row.denomination),
            enabled=True,
            hours="",
            valid_from=None,
            valid_until=None,
        )
        for row in shop
        for dealer in DEALERS
    ]


async def seed_reseller(pool: Pool, reseller_id: UUID, key: GeneratedKey) -> None:
    """Create the demo's reseller with a key and its first deposit."""
    async with pool.acquire() as connection, connection.transaction():
        lane = await resellers.create(connection, NewReseller(reseller_id, "Agen Demo"))
        await api_keys.create(connection, key, lane, reseller_id)
    by = Operator("demo", "localhost")
    await deposit(pool, by, str(reseller_id), FIRST_DEPOSIT_RUPIAH, "first deposit")
