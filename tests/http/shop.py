"""A small shop to send orders to: two dealers, three products, and the flushers running."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import httpx
import orjson

from app.administration.desk import TableDesk
from app.administration.money import deposit
from app.http.server import Api, ApiLimits, build_app
from app.lifecycle.accept import Acceptor
from app.lifecycle.deliver import Deliverer, Persistence
from app.lifecycle.receive import Receiver
from app.lifecycle.route import Router
from app.lifecycle.settle import Patience, Settler
from app.lifecycle.trade import credentials_context
from app.metrics import Metrics
from app.outbound.addresses import AddressPolicy
from app.outbound.endpoints import EndpointClients
from app.references import dealer_reference
from app.sealing import Sealer, generate_key
from app.storage import api_keys, attempts, installation, ready, resellers
from app.storage.attempts import NewAttempt
from app.storage.hints import Hints
from app.storage.lanes import lane_groups
from app.storage.pool import Connection, Pool, PoolSettings
from app.storage.resellers import NewReseller
from app.words import Source, Word
from dealers.contract import Outcome, ReferenceRules, Report
from tests.publishing import PUBLISH
from tests.shops import OPERATOR

TELKOMSEL = "081234567800"
XL = "087712345600"
GROUPS = lane_groups(1)


@dataclass(slots=True)
class Customer:
    """A reseller and its way to the API."""

    reseller_id: UUID
    lane: int
    key_id: str
    http: httpx.AsyncClient

    async def order(self, ref_id: str = "r-1", **fields: object) -> httpx.Response:
        body = {"ref_id": ref_id, "sku": "TSEL10", "customer_number": TELKOMSEL}
        body |= {"allow_repeat": True} | fields
        return await self.http.post("/v1/orders", json=body)


@dataclass(slots=True)
class Sent:
    """An order on its way at a dealer."""

    shop: "Shop"
    lane: int
    order_id: UUID
    attempt_no: int

    async def hear(self, outcome: Outcome, **said: Any) -> None:
        """Settle the dealer's word."""
        word = Word(self.attempt_no, Source.CALLBACK, Report(outcome, "00", **said))
        await self.shop.api.settler.settle(self.lane, self.order_id, word)


@dataclass(slots=True)
class Shop:
    """The API, what it is made of, and a connection as the database's owner."""

    api: Api
    owner: "asyncpg.Connection[asyncpg.Record]"
    deliverer: Deliverer
    customers: list[httpx.AsyncClient] = field(default_factory=list)

    async def customer(self, money: int = 1_000_000) -> Customer:
        reseller_id, key = uuid4(), api_keys.generate()
        lane = await resellers.create(self.owner, NewReseller(reseller_id, "Toko"))
        await api_keys.create(self.owner, key, lane, reseller_id)
        if money:
            await deposit(self.api.pool, OPERATOR, str(reseller_id), money, "first")
        http = self.client(key.token)
        return Customer(reseller_id, lane, key.key_id, http)

    def client(self, token: str | None = None) -> httpx.AsyncClient:
        client = httpx.AsyncClient(
            transport=httpx.ASGITransport(build_app(self.api)),
            base_url="http://jalur",
            headers={"authorization": f"Bearer {token}"} if token else {},
        )
        self.customers.append(client)
        return client

    async def send_to_dealer(self, order: dict[str, object]) -> Sent:
        """Claim an order's next attempt, as the executor does before it buys."""
        order_id = UUID(str(order["id"]))
        row = await self.owner.fetchrow(
            "select lane, dealer_id, attempt_no from ready where order_id = $1", order_id
        )
        assert row is not None
        lane, dealer_id, attempt_no = row
        new = NewAttempt(
            lane,
            order_id,
            attempt_no,
            dealer_id,
            f"{dealer_id}-10",
            "s10",
            dealer_reference(lane, order_id, attempt_no, ReferenceRules()),
            10_100,
            10_500,
            uuid4(),
            None,
        )
        async with self.api.pool.acquire() as connection, connection.transaction():
            await ready.delete(connection, [(lane, order_id)])
            await attempts.insert(connection, [new], timedelta(seconds=90))
        return Sent(self, lane, order_id, attempt_no)

    async def counts(self) -> tuple[int, int, int]:
        """Rows in orders, ledger entries of orders, ready."""
        row = await self.owner.fetchrow(
            """
            select (select count(*) from orders),
                   (select count(*) from ledger_entries where order_id is not null),
                   (select count(*) from ready)
            """
        )
        return tuple(row)


async def stock(owner: Connection, sealer: Sealer) -> None:
    """Brands, products, prices, regions, dealers and routes."""
    await owner.execute("insert into regions values ('surabaya', 'east-java')")
    await owner.execute(
        """
        insert into products (sku, name, brand, denomination) values
            ('TSEL10', 'Telkomsel 10.000', 'telkomsel', 10000),
            ('TSEL20', 'Telkomsel 20.000', 'telkomsel', 20000),
            ('XL10', 'XL 10.000', 'xl', 10000);
        insert into prices values
            ('standard', 'TSEL10', 10500), ('standard', 'XL10', 10600), ('gold', 'TSEL20', 20100)
        """
    )
    for dealer_id, cost in (("alfa", 10_100), ("beta", 10_200)):
        secret = orjson.dumps({"username": "u", "api_key": "k", "webhook_secret": "s"}).decode()
        sealed = sealer.seal(secret, credentials_context(dealer_id))
        await owner.execute(
            """
            insert into dealers (dealer_id, name, owner_group, protocol, base_url,
                                 credentials_sealed)
            values ($1, $1, $1, 'digiflazz', 'http://127.0.0.1:9', $2)
            """,
            dealer_id,
            sealed,
        )
        await owner.execute(
            "insert into routes (route_id, sku, dealer_id, dealer_sku, cost) "
            "values ($1, 'TSEL10', $2, 's10', $3)",
            f"{dealer_id}-10",
            dealer_id,
            cost,
        )
    await owner.execute(PUBLISH)


@asynccontextmanager
async def open_shop(
    pool: Pool,
    dsn: str,
    limits: ApiLimits | None = None,
    backlog: Callable[[], int] = lambda: 0,
    policy: AddressPolicy | None = None,
) -> AsyncIterator[Shop]:
    """Stock a shop and run its flushers while the test lasts."""
    owner = await asyncpg.connect(dsn)
    key = generate_key()
    sealer = Sealer([key])
    await stock(owner, sealer)
    metrics, hints = Metrics(), Hints(None)
    router = Router(sealer, time.monotonic, 45.0)
    await router.refresh(pool)
    acceptor = Acceptor(pool, GROUPS, hints, metrics)
    policy = policy or AddressPolicy()
    clients = EndpointClients(policy)
    deliverer = Deliverer(
        pool, clients, sealer, metrics, Persistence(), GROUPS, random_fraction=lambda: 0.5
    )
    settler = Settler(pool, router, deliverer, hints, metrics, Patience(), GROUPS)
    api = Api(
        pool,
        router,
        acceptor,
        settler,
        Receiver(pool, router, settler, hints, metrics, GROUPS),
        sealer,
        metrics,
        TableDesk(PoolSettings(dsn), [key], 45.0),
        policy,
        limits or ApiLimits(),
        "operators-token",
        backlog,
        installation_id=await installation.public_id(owner),
    )
    shop = Shop(api, owner, deliverer)
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(acceptor.batches.run())
            group.create_task(settler.batches.run())
            group.create_task(deliverer.results.run())
            try:
                yield shop
            finally:
                acceptor.batches.close()
                settler.batches.close()
                deliverer.results.close()
    finally:
        for client in shop.customers:
            await client.aclose()
        await clients.close()
        await owner.close()
