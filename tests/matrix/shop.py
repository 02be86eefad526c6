"""A shop that buys at a dealer of every protocol, each with one product and a dearer backup."""

import asyncio
import json
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import asyncpg
import httpx

from app.administration.descriptions import description_text
from app.cli.demo import seed
from app.lifecycle.trade import credentials_context
from app.sealing import Sealer
from app.storage import catalogue, lives, statements
from app.storage.lives import Outcome
from app.storage.pool import PoolSettings, open_pool
from app.storage.reference import DealerRow, PriceRow, ProductRow, RouteRow
from dealers.contract import Account, Capabilities, Recovery
from dealers.registry import load
from dealers.simulator.behaviour import MEANINGS
from dealers.simulator.config import Dealer
from dealers.simulator.dialects import find_dialect
from dealers.simulator.standalone import sku_of, standalone
from tests.dealers.recorded import cases
from tests.dealers.simulator.simulators import options_at
from tests.faults.shop import Shop
from tests.matrix.expected import By, Means

BACKUP = "backup"
BEHAVIOURS = ("00", *MEANINGS)
REVIEW_AFTER_SECONDS = 8
_DESCRIPTION = Path(__file__).parents[2] / "dealers" / "descriptions" / "otomax.toml"
_CODE = "S10"
_PRICE = 12_500
_TOKEN = "matrix-token-of-the-callbacks"
_TIMING = {
    "callback_seconds": 0.4,
    # Where the first answer tells nothing, a check must have come before these.
    "late_success_seconds": 4.0,
    "reversal_seconds": 4.0,
    "late_answer_seconds": 4.0,
    "slow_answer_seconds": 1.0,
    "late_serial_seconds": 0.5,
    "callback_retry_seconds": 0.3,
}
_OPTIONS = {"absent_after_seconds": "1", "check_interval_seconds": "0.2", "check_schedule": "0.4"}
_CALLBACKS_FROM = ("127.0.0.1/32",)
"""Listed for dealers that cannot be asked, so that what they call with counts."""
_TIMEOUT_SECONDS = 1.7


@dataclass(frozen=True)
class Row:
    """One protocol in the matrix, and the simulated dealer that speaks it."""

    protocol: str
    dealer: Dealer
    options: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Stall:
    """One cell's own dealer, so that no cell's trouble moves another's orders."""

    row: Row
    digits: str

    @property
    def dealer(self) -> Dealer:
        dealer_id = f"{self.row.dealer.dealer_id}-{self.digits}"
        callback_url = self.row.dealer.callback_url.replace("{stall}", dealer_id)
        return replace(self.row.dealer, dealer_id=dealer_id, callback_url=callback_url)

    @property
    def sku(self) -> str:
        return self.dealer.dealer_id.upper()

    @property
    def dealer_sku(self) -> str:
        return sku_of(self.row.dealer.protocol, "S", 10)


def rows() -> list[Row]:
    """Every protocol that the registry and the simulator both know."""
    config = standalone("{base}/v1/callbacks/{stall}/" + _TOKEN)
    spoken = [Row(each.protocol, each) for each in config.dealers if each.protocol in load()]
    return [*spoken, _described(next(row for row in spoken if row.protocol == "otomax"))]


def _described(row: Row) -> Row:
    """The same dealer, known to the service by its description only."""
    text = description_text(_DESCRIPTION.name, _DESCRIPTION.read_bytes())
    named = replace(row.dealer, dealer_id="declarative")
    return Row("declarative", named, {"description": text})


@dataclass
class MatrixShop(Shop):
    """The shop and its witnesses."""

    matrix: list[Row] = field(default_factory=rows)

    @property
    def stalls(self) -> list[Stall]:
        return [Stall(row, digits) for row in self.matrix for digits in BEHAVIOURS]

    def start_helpers(self) -> None:
        listed = [_listed(stall.dealer, self.base_url) for stall in self.stalls]
        listed.append(_listed(_backup(), self.base_url))
        config = self.folder / "simulator.json"
        config.write_text(json.dumps({"dealers": listed, "timing": _TIMING}))
        self.simulator_url = self._helper("dealers.simulator", "--config", str(config))
        self.receiver_url = self._helper("app.cli.receiver", "--state-dir", str(self.folder))

    async def furnish(self) -> None:
        pool = await open_pool(PoolSettings(self.dsn, max_size=2))
        sealer = Sealer([self.secret_key])
        products = [
            ProductRow(stall.sku, stall.sku, "telkomsel", "pulsa", 10_000) for stall in self.stalls
        ]
        dealers = [
            self._dealer(stall.dealer, stall.row.protocol, stall.row.options, sealer)
            for stall in self.stalls
        ]
        dealers.append(self._dealer(_backup(), "digiflazz", {}, sealer))
        async with pool.acquire() as connection, connection.transaction():
            await catalogue.put_regions(connection, seed.REGIONS)
            await catalogue.put_products(connection, products)
            await catalogue.put_prices(
                connection, [PriceRow("standard", each.sku, _PRICE) for each in products]
            )
            await catalogue.put_dealers(connection, dealers)
            await catalogue.put_routes(
                connection,
                [
                    route
                    for stall in self.stalls
                    for route in (
                        _route(stall, stall.dealer, stall.dealer_sku),
                        _route(stall, _backup(), _CODE),
                    )
                ],
            )
            await catalogue.publish_goods(connection)
        await seed.seed_reseller(pool, self.reseller_id, self.key)
        await pool.close()

    def _dealer(
        self, dealer: Dealer, protocol: str, options: Mapping[str, str], sealer: Sealer
    ) -> DealerRow:
        context = credentials_context(dealer.dealer_id)
        base_url = f"{self.simulator_url}/{dealer.dealer_id}"
        return DealerRow(
            dealer_id=dealer.dealer_id,
            name=dealer.dealer_id,
            owner_group=dealer.dealer_id,
            protocol=protocol,
            base_url=base_url,
            credentials_sealed=sealer.seal(json.dumps(dict(dealer.credentials)), context),
            options=json.dumps(
                {**_common(protocol, options), **options_at(protocol, base_url), **options}
            ),
            callback_token=_TOKEN,
            concurrency=64,
            timeout_seconds=_TIMEOUT_SECONDS,
            connect_timeout_seconds=0.5,
            enabled=True,
            drained=False,
            muted_until=None,
            callback_from=() if _can_be_asked(protocol) else _CALLBACKS_FROM,
        )

    # ---- what became of it

    async def order_everything(self) -> dict[tuple[str, str], str]:
        """One order a cell, all at once. Returns each cell's `ref_id`."""
        cells: dict[tuple[str, str], str] = {}
        async with self.client() as client, asyncio.TaskGroup() as group:
            for number, stall in enumerate(self.stalls):
                ref_id = cells[stall.row.protocol, stall.digits] = stall.dealer.dealer_id
                body = {
                    "ref_id": ref_id,
                    "sku": stall.sku,
                    "customer_number": f"0812{number:06d}{stall.digits}",
                }
                group.create_task(_place(client, body))
        return cells

    async def witnesses(self, seconds: float = 90.0) -> "Witnesses":
        """Wait until every order is final or under review and the dealers are done; then ask."""
        connection = await asyncpg.connect(self.dsn)
        deadline = time.monotonic() + seconds
        quiet = 0
        async with httpx.AsyncClient(trust_env=False) as client:
            while time.monotonic() < deadline and quiet < 5:
                await asyncio.sleep(0.3)
                agenda = (await client.get(f"{self.simulator_url}/agenda")).json()
                left = await connection.fetchval(_OPEN)
                quiet = 0 if agenda["pending"] or left else quiet + 1
            assert quiet, f"still open: {await connection.fetch(_OPEN_ROWS)}"
            book = (await client.get(f"{self.simulator_url}/book")).json()
        outcomes = await lives.outcomes(connection, self.lane, self.reseller_id, "")
        buyers = await connection.fetch("select dealer_ref, dealer_id from attempts")
        discrepancies = await statements.verify(connection)
        await connection.close()
        assert discrepancies == []
        return Witnesses(outcomes, book, {row["dealer_ref"]: row["dealer_id"] for row in buyers})


_OPEN = """
    select count(*) from orders o
    where (o.status in ('accepted', 'processing') and not o.needs_review)
       or exists (select from attempts a where a.lane = o.lane and a.order_id = o.order_id
                  and a.due_at is not null
                  and (a.state not in ('pending', 'unknown') or not o.needs_review))
       or exists (select from callbacks c where c.lane = o.lane and c.verdict = 'waiting')
"""
_OPEN_ROWS = """
    select o.ref_id, o.status, o.needs_review, a.attempt_no, a.dealer_id, a.state, a.code,
           a.message, a.due_at
    from orders o left join attempts a using (lane, order_id)
    where (o.status in ('accepted', 'processing') and not o.needs_review) or a.due_at is not null
"""


@dataclass
class Witnesses:
    """What Jalur and the dealers say."""

    outcomes: list[Outcome]
    book: list[dict[str, Any]]
    buyers: dict[str, str]

    def deliveries(self, outcome: Outcome) -> Counter[str]:
        """How often each dealer delivered this order and has not taken it back."""
        return Counter(
            self.buyers[row["dealer_ref"]]
            for row in self.book
            if row["dealer_ref"] in outcome.dealer_refs and row["reversed_at"] is None
        )

    def assert_no_reference_was_bought_twice(self) -> None:
        references = Counter(row["dealer_ref"] for row in self.book)
        assert all(times == 1 for times in references.values())
        assert set(references) <= set(self.buyers), "bought without an attempt on record"


def by(deliveries: Counter[str]) -> set[By]:
    """Who delivered."""
    return {By.BACKUP if dealer == BACKUP else By.DEALER for dealer in deliveries} or {By.NOBODY}


def means_of(row: Row) -> Means:
    """What the protocol can do here."""
    declared = _capabilities(row.protocol, row.options)
    simulated = row.dealer.protocol
    return Means(
        declared.recovery,
        declared.absent_after_seconds is not None,
        declared.callback_is_word or not _can_be_asked(simulated),
        _tells_reversals(simulated),
        getattr(find_dialect(simulated), "RESULT_BY_CALLBACK", False),
    )


def _tells_reversals(protocol: str) -> bool:
    return any(
        case.expected.get("reversal", False)
        for case in cases("status", "callback")
        if case.dialect.name == protocol
    )


def _can_be_asked(protocol: str) -> bool:
    return load()[protocol].capabilities.recovery is not Recovery.NONE


def _capabilities(protocol: str, options: Mapping[str, str]) -> Capabilities:
    at = Account("row", "https://dealer.example", {}, options)
    return load()[protocol].capabilities_of(at)


def _common(protocol: str, options: Mapping[str, str]) -> dict[str, str]:
    """Short waits; where absence is never proved, no option makes it so."""
    declared = _capabilities(protocol, options)
    left_out = set() if declared.absent_after_seconds is not None else {"absent_after_seconds"}
    return {name: value for name, value in _OPTIONS.items() if name not in left_out}


def _listed(dealer: Dealer, base_url: str) -> dict[str, object]:
    url = dealer.callback_url.replace("{base}", base_url)
    return {name: value for name, value in asdict(dealer).items() if value is not None} | {
        "callback_url": url
    }


def _backup() -> Dealer:
    return Dealer(
        dealer_id=BACKUP,
        protocol="digiflazz",
        credentials={"username": "jalur", "api_key": "key-of-the-backup"},
        prices={_CODE: 11_900},
        balance_rupiah=10**9,
        always_succeeds=True,
    )


def _route(stall: Stall, dealer: Dealer, dealer_sku: str) -> RouteRow:
    return RouteRow(
        route_id=f"{stall.sku}-{dealer.dealer_id}",
        sku=stall.sku,
        cluster=None,
        dealer_id=dealer.dealer_id,
        dealer_sku=dealer_sku,
        cost=dealer.prices[dealer_sku],
        enabled=True,
        hours="",
        valid_from=None,
        valid_until=None,
    )


async def _place(client: httpx.AsyncClient, body: dict[str, str]) -> None:
    answer = await client.post("/v1/orders", json=body)
    assert answer.status_code == 202, (body, answer.text)
