"""Whole installations that buy from each other, each a process with a database of its own."""

import asyncio
import contextlib
import json
import os
import time
from collections.abc import AsyncGenerator, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit
from uuid import UUID

import asyncpg
import httpx
from uuid_utils.compat import uuid7

from app.administration.money import deposit
from app.administration.operator import Operator
from app.lifecycle.deliver import secret_context
from app.lifecycle.trade import credentials_context
from app.sealing import Sealer, generate_key
from app.signatures import new_secret
from app.storage import api_keys, catalogue, endpoints, installation, lives, resellers, statements
from app.storage.endpoints import NewEndpoint
from app.storage.lives import Outcome
from app.storage.migrate import migrate
from app.storage.pool import PoolSettings, open_pool
from app.storage.reference import DealerRow, PriceRow, ProductRow, RouteRow
from app.storage.resellers import NewReseller
from loadtests.programs import LoadTestFailure, Program, running

SKU = "S10"
DEPOSIT_RUPIAH = 100_000_000
DEALER_TIMEOUT_SECONDS = 4.0
_TOKEN = "chain-path"
_START_SECONDS = 60.0
_END_SECONDS = 60.0
_POLL_SECONDS = 0.05
_READY = 200


@dataclass(frozen=True, slots=True)
class Buyer:
    """A reseller of an installation: a person's shop, or the installation below it."""

    lane: int
    reseller_id: UUID
    token: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Supplier:
    """A dealer of an installation, with what one `SKU` costs there."""

    dealer_id: str
    protocol: str
    base_url: str
    cost_rupiah: int
    credentials: Mapping[str, str] = field(repr=False)
    options: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, slots=True)
class Account:
    """Everything about one buyer's orders in the end: what became of them, what it can spend."""

    outcomes: list[Outcome]
    serial_numbers: Mapping[str, str | None]
    """By `ref_id`."""
    available_rupiah: int
    reserved_rupiah: int

    @property
    def spent_rupiah(self) -> int:
        """What is missing of the deposit."""
        return DEPOSIT_RUPIAH - self.available_rupiah - self.reserved_rupiah


@dataclass(frozen=True, slots=True)
class Installation:
    """One Jalur: where it listens, and its database as its owner."""

    name: str
    port: int
    dsn: str = field(repr=False)
    secret_key: str = field(default_factory=generate_key, repr=False)

    @property
    def base_url(self) -> str:
        """Where it listens, without a slash at the end."""
        return f"http://127.0.0.1:{self.port}"

    def callback_url(self, dealer_id: str) -> str:
        """Where one of its dealers calls back."""
        return f"{self.base_url}/v1/callbacks/{dealer_id}/{_TOKEN}"

    # -------------------------------------------------------------- furnishing

    async def enrol(self, name: str, tier: str = "standard") -> Buyer:
        """Create a reseller with a key and a deposit."""
        reseller_id, key = uuid7(), api_keys.generate()
        async with self.connection() as connection, connection.transaction():
            lane = await resellers.create(connection, NewReseller(reseller_id, name, tier))
            await api_keys.create(connection, key, lane, reseller_id)
        pool = await open_pool(PoolSettings(self.dsn, max_size=2))
        try:
            by = Operator("chain", "localhost")
            await deposit(pool, by, str(reseller_id), DEPOSIT_RUPIAH, "first deposit")
        finally:
            await pool.close()
        return Buyer(lane, reseller_id, key.token)

    async def tell(self, buyer: Buyer, url: str) -> str:
        """Send a buyer's webhooks to an address. Returns the secret that signs them."""
        endpoint_id, secret = uuid7(), new_secret()
        sealed = Sealer([self.secret_key]).seal(secret, secret_context(endpoint_id))
        new = NewEndpoint(buyer.lane, endpoint_id, buyer.reseller_id, url, None, sealed)
        async with self.connection() as connection:
            await endpoints.create(connection, new)
        return secret

    async def trade(self, prices: Mapping[str, int], suppliers: Sequence[Supplier]) -> None:
        """Sell one product at a price for each tier, bought from these suppliers."""
        product = ProductRow(SKU, "Telkomsel 10.000", "telkomsel", "pulsa", 10_000)
        async with self.connection() as connection, connection.transaction():
            await catalogue.put_products(connection, [product])
            rows = [PriceRow(tier, SKU, rupiah) for tier, rupiah in prices.items()]
            await catalogue.put_prices(connection, rows)
            await catalogue.put_dealers(connection, [self._dealer(each) for each in suppliers])
            await catalogue.put_routes(connection, [_route(each) for each in suppliers])
            await catalogue.publish_goods(connection)

    def _dealer(self, supplier: Supplier) -> DealerRow:
        context = credentials_context(supplier.dealer_id)
        credentials = json.dumps(dict(supplier.credentials))
        return DealerRow(
            dealer_id=supplier.dealer_id,
            name=supplier.dealer_id,
            owner_group=supplier.dealer_id,
            protocol=supplier.protocol,
            base_url=supplier.base_url,
            credentials_sealed=Sealer([self.secret_key]).seal(credentials, context),
            options=json.dumps(dict(supplier.options)),
            callback_token=_TOKEN,
            concurrency=64,
            timeout_seconds=DEALER_TIMEOUT_SECONDS,
            connect_timeout_seconds=2.0,
            enabled=True,
            drained=False,
            muted_until=None,
        )

    # -------------------------------------------------------------- running

    @contextlib.contextmanager
    def serving(self, folder: Path) -> Generator[Program]:
        """Run it until the block ends; ready when it begins. Raises LoadTestFailure."""
        environment = {
            "PATH": os.environ.get("PATH", os.defpath),
            "DATABASE_URL": self.dsn,
            "JALUR_SECRET_KEY": self.secret_key,
            "JALUR_PORT": str(self.port),
            "JALUR_CHECK_SCHEDULE": "0.3",
            "JALUR_REVIEW_AFTER_SECONDS": "60",
            "JALUR_WEBHOOK_ALLOW": "127.0.0.0/8",
            "JALUR_WEBHOOK_ALLOW_HTTP": "true",
            "JALUR_WEBHOOK_SCHEDULE_SECONDS": "0," + "0.3," * 40 + "1",
            "JALUR_DRAIN_SECONDS": "0",
        }
        arguments = ["app", "serve"]
        with running(self.name, arguments, folder, environment, log_output=True) as program:
            self._await_ready(program)
            yield program

    def _await_ready(self, program: Program) -> None:
        deadline = time.monotonic() + _START_SECONDS
        with httpx.Client(base_url=self.base_url, trust_env=False, verify=False) as client:
            while program.process.poll() is None and time.monotonic() < deadline:
                with contextlib.suppress(httpx.TransportError):
                    if client.get("/readyz").status_code == _READY:
                        return
                time.sleep(_POLL_SECONDS)
        raise LoadTestFailure(f"{self.name} does not get ready: {program.last_words()}")

    def client(self, buyer: Buyer) -> httpx.AsyncClient:
        """A client that orders as a buyer."""
        return httpx.AsyncClient(
            base_url=self.base_url,
            headers={"authorization": f"Bearer {buyer.token}"},
            timeout=30,
            trust_env=False,
            verify=False,
        )

    # -------------------------------------------------------------- witnesses

    @contextlib.asynccontextmanager
    async def connection(self) -> AsyncGenerator["asyncpg.Connection[asyncpg.Record]"]:
        """A connection as the database's owner."""
        connection = await asyncpg.connect(self.dsn)
        try:
            yield connection
        finally:
            await connection.close()

    async def public_id(self) -> UUID:
        """What it calls itself in the hops of orders."""
        async with self.connection() as connection:
            return await installation.public_id(connection)

    async def has_finished(self) -> bool:
        """Whether nothing is left for it to do."""
        async with self.connection() as connection:
            return (await lives.unfinished(connection)).nothing

    async def account(self, buyer: Buyer) -> Account:
        """How a buyer's orders and money stand."""
        async with self.connection() as connection:
            balance = await statements.balance(connection, buyer.lane, buyer.reseller_id)
            found = await lives.outcomes(connection, buyer.lane, buyer.reseller_id, "")
            rows = await connection.fetch(
                "select ref_id, serial_number from orders where lane = $1 and reseller_id = $2",
                buyer.lane,
                buyer.reseller_id,
            )
        if balance is None:
            raise LoadTestFailure(f"{self.name} has lost a wallet")
        serial_numbers = {row[0]: row[1] for row in rows}
        return Account(found, serial_numbers, balance.available, balance.reserved)

    async def discrepancies(self) -> int:
        """How many ways its ledger and its orders disagree in."""
        async with self.connection() as connection:
            return len(await statements.verify(connection))


async def install(server_dsn: str, name: str, port: int) -> Installation:
    """Make an installation with a database of its own on a server."""
    database = f"chain_{name}"
    connection = await asyncpg.connect(server_dsn)
    try:
        await connection.execute(f"drop database if exists {database} with (force)")
        await connection.execute(f"create database {database}")
    finally:
        await connection.close()
    dsn = urlunsplit(urlsplit(server_dsn)._replace(path=f"/{database}"))
    await migrate(dsn)
    return Installation(name, port, dsn)


async def supplier_of(
    upstream: Installation,
    downstream: Installation,
    buyer: Buyer,
    cost_rupiah: int,
    base_url: str | None = None,
) -> Supplier:
    """`upstream` as a dealer of `downstream`, its buyer there, told by webhooks."""
    secret = await upstream.tell(buyer, downstream.callback_url(upstream.name))
    return Supplier(
        upstream.name,
        "jalur",
        base_url or upstream.base_url,
        cost_rupiah,
        {"api_key": buyer.token, "webhook_secret": secret},
        # Shorter than in earnest: nothing here holds a request back for a minute.
        {"absent_after_seconds": "1"},
    )


async def until_finished(simulator_url: str | None, *installations: Installation) -> None:
    """Wait until nobody has anything left to do, nor the simulated dealers, where there are any.

    Raises LoadTestFailure.
    """
    deadline = time.monotonic() + _END_SECONDS
    while time.monotonic() < deadline:
        # In this order: orders go up; once none is open, only words come, and those come down.
        if (
            await _have_finished(installations)
            and (simulator_url is None or not await agenda(simulator_url))
            and await _have_finished(installations[::-1])
        ):
            return
        await asyncio.sleep(_POLL_SECONDS)
    names = [each.name for each in installations if not await each.has_finished()]
    raise LoadTestFailure(f"not finished after {_END_SECONDS:g} s: {', '.join(names)}")


async def _have_finished(installations: Sequence[Installation]) -> bool:
    return all([await each.has_finished() for each in installations])


async def agenda(simulator_url: str) -> int:
    """How much the simulated dealers will still do by themselves."""
    return (await _view(simulator_url, "agenda"))["pending"]


async def book(simulator_url: str) -> list[dict[str, str | None]]:
    """What the simulated dealers delivered."""
    return await _view(simulator_url, "book")


async def _view(simulator_url: str, page: str) -> Any:  # noqa: ANN401 - JSON
    async with httpx.AsyncClient(trust_env=False, verify=False) as client:
        return (await client.get(f"{simulator_url}/{page}")).json()


def _route(supplier: Supplier) -> RouteRow:
    return RouteRow(
        route_id=f"{SKU}-{supplier.dealer_id}",
        sku=SKU,
        cluster=None,
        dealer_id=supplier.dealer_id,
        dealer_sku=SKU,
        cost=supplier.cost_rupiah,
        enabled=True,
        hours="",
        valid_from=None,
        valid_until=None,
    )
