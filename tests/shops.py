"""A shop to test an order's life in: one process's parts on a real database, a reseller, dealers.

Nothing here stands in for what we own: the parts are those of a working process, without its
loops, so that a test claims, sends and settles in the order that it is about.
"""

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from typing import Any
from uuid import UUID

import asyncpg
from uuid_utils.compat import uuid7

from app.administration.money import deposit
from app.administration.operator import Operator
from app.lifecycle.accept import Submission
from app.lifecycle.deliver import Deliverer
from app.lifecycle.execute import Purchase
from app.lifecycle.reconcile import Check
from app.lifecycle.settle import Settled
from app.lifecycle.trade import credentials_context
from app.metrics import Metrics
from app.outbound.addresses import AddressPolicy
from app.sealing import Sealer
from app.storage import resellers
from app.storage.deliveries import DueDelivery
from app.storage.orders import NewOrder
from app.storage.pool import PoolSettings
from app.storage.resellers import NewReseller
from app.words import Source, Word
from app.workers.engine import Engine, EngineSettings, start_engine
from dealers.contract import Fault, Outcome, Report
from tests.publishing import PUBLISH

SECRET_KEY = "c2VjcmV0LWtleS1vZi0zMi1ieXRlcy1mb3ItdGVzdHM="
SKU = "TRI5"
PRICE = 6000
NUMBER = "089512345600"
RESELLER = UUID("0190a000-0000-7000-8000-000000000001")
OPENING_RUPIAH = 1_000_000
LOOPBACK = AddressPolicy(allow=(ip_network("127.0.0.0/8"),), allow_http=True)
OTOMAX = {"memberID": "YUSUF", "pin": "1144", "password": "abcd"}
XMLRPC = {"DealerID": "2009", "PIN": "1144"}
DIGIFLAZZ = {"username": "toko", "api_key": "kunci", "webhook_secret": "rahasia"}
OPERATOR = Operator("test", "here")
Owner = asyncpg.Connection
"""A connection that may see and do everything, unlike the service's."""
NOBODY = "http://127.0.0.1:9"
"""Nothing listens there."""


@dataclass(frozen=True)
class Seller:
    """A dealer to configure."""

    dealer_id: str
    cost: int
    protocol: str = "otomax"
    base_url: str = NOBODY
    concurrency: int = 32
    timeout_seconds: float = 5.0
    options: str = "{}"
    credentials: str | None = None
    dealer_sku: str = "S5"
    callback_from: tuple[str, ...] = ()
    test: bool = False


ACCOUNTS = {"otomax": OTOMAX, "digiflazz": DIGIFLAZZ, "xmlrpc_center": XMLRPC}
ALFA, BRAVO, CHARLIE = Seller("alfa", 5000), Seller("bravo", 5100), Seller("charlie", 5200)


@asynccontextmanager
async def engine_on(dsn: str, **settings: Any) -> AsyncIterator[Engine]:
    """One process's parts with their flushers running; its loops are left to the test."""
    settings.setdefault("address_policy", LOOPBACK)
    given = EngineSettings(PoolSettings(dsn, max_size=6), None, [SECRET_KEY], **settings)
    engine = await start_engine(given, Metrics())
    flushers = (engine.acceptor.batches, engine.settler.batches, engine.deliverer.results)
    running = [asyncio.ensure_future(flusher.run()) for flusher in flushers]
    try:
        yield engine
    finally:
        for flusher in flushers:
            flusher.close()
        await asyncio.gather(*running)
        await engine.close()


async def furnish(dsn: str, sellers: Sequence[Seller]) -> None:
    """Write the reference tables: one product, its dealers, one route each."""
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(
            "insert into products (sku, name, brand, denomination) values ($1, 'Tri', 'tri', 5000)",
            SKU,
        )
        await connection.execute("insert into prices values ('standard', $1, $2)", SKU, PRICE)
        for seller in sellers:
            await _add_seller(connection, seller)
        await connection.execute(PUBLISH)
    finally:
        await connection.close()


async def _add_seller(connection: "asyncpg.Connection[asyncpg.Record]", seller: Seller) -> None:
    plain = seller.credentials or json.dumps(ACCOUNTS[seller.protocol])
    sealed = Sealer([SECRET_KEY]).seal(plain, credentials_context(seller.dealer_id))
    await connection.execute(
        """
        insert into dealers (dealer_id, name, owner_group, protocol, base_url, credentials_sealed,
                             options, concurrency, timeout_seconds, callback_token,
                             callback_from, test)
        values ($1, $1, $1, $2, $3, $4, $5, $6, $7, 'sesame', $8::text[]::cidr[], $9)
        """,
        seller.dealer_id,
        seller.protocol,
        seller.base_url,
        sealed,
        seller.options,
        seller.concurrency,
        seller.timeout_seconds,
        list(seller.callback_from),
        seller.test,
    )
    await connection.execute(
        """
        insert into routes (route_id, sku, dealer_id, dealer_sku, cost)
        values ('r-' || $1, $2, $1, $4, $3)
        """,
        seller.dealer_id,
        SKU,
        seller.cost,
        seller.dealer_sku,
    )


async def enrol(
    engine: Engine,
    reseller_id: UUID = RESELLER,
    rupiah: int = OPENING_RUPIAH,
    credit_limit: int = 0,
    test_of: UUID | None = None,
) -> int:
    """Create a reseller with money in its wallet. Returns its lane."""
    new = NewReseller(reseller_id, "Toko", credit_limit=credit_limit, test_of=test_of)
    async with engine.pool.acquire() as connection:
        lane = await resellers.create(connection, new)
    if rupiah:
        await deposit(engine.pool, OPERATOR, str(reseller_id), rupiah, "opening")
    return lane


def submission(
    ref_id: str = "A1",
    *,
    lane: int,
    reseller_id: UUID = RESELLER,
    dealer_id: str = "alfa",
    price: int = PRICE,
    fingerprint: bytes = b"f",
    number: str = NUMBER,
    retry_seconds: float = 600,
    order_id: UUID | None = None,
    may_repeat: bool = True,
    test: bool = False,
) -> Submission:
    """An order as the door hands it to `accept`."""
    now = datetime.now(UTC) - timedelta(seconds=1)
    order = NewOrder(
        lane,
        order_id or uuid7(),
        reseller_id,
        ref_id,
        fingerprint,
        SKU,
        "tri",
        number,
        None,
        None,
        None,
        None,
        price,
        now + timedelta(seconds=retry_seconds),
        now,
        None,
        "{}",
        may_repeat=may_repeat,
    )
    return Submission(order, dealer_id, test=test)


async def send(engine: Engine, purchase: Purchase) -> None:
    """Buy, and settle the dealer's word."""
    word = await engine.executor.buy(purchase)
    await engine.executor.tell(purchase, word)


async def deliver_once(deliverer: Deliverer, delivery: DueDelivery) -> None:
    """Make one try of a claimed delivery and record it."""
    await deliverer.record(await deliverer.deliver(delivery, datetime.now(UTC)))


class Shop:
    """One process and what a test does in it, in words."""

    def __init__(self, engine: Engine, lane: int) -> None:
        self.engine = engine
        self.lane = lane

    async def order(self, ref_id: str = "A1", **details: Any) -> UUID:
        """Have an order accepted."""
        details.setdefault("lane", self.lane)
        accepted = await self.engine.acceptor.accept(submission(ref_id, **details))
        return accepted.order_id

    async def claim(self, most: int = 10) -> list[Purchase]:
        """Claim what is ready, as the executor's loop does; the places are free again at once."""
        claimed = await self.engine.executor.claim(datetime.now(UTC), most)
        for purchase in claimed:
            self.engine.executor.leave(purchase)
        return claimed

    async def claim_one(self) -> Purchase:
        """Claim the one order that is ready."""
        (purchase,) = await self.claim()
        return purchase

    async def bought(self, ref_id: str = "A1", **details: Any) -> Purchase:
        """Have an order accepted and its first attempt claimed, but not sent."""
        await self.order(ref_id, **details)
        return await self.claim_one()

    async def claim_check(self) -> Check:
        """Make every waiting question due and claim the one check there is."""
        await self.execute(
            """
            update attempts set due_at = now(), asked_at = asked_at - interval '1 hour'
            where due_at is not null
            """
        )
        self.engine.reconciler.looks.look_again()
        (check,) = await self.engine.reconciler.claim(10)
        self.engine.reconciler.leave(check)
        return check

    async def hear(
        self,
        purchase: Purchase,
        outcome: Outcome,
        source: Source = Source.PURCHASE,
        *,
        fence: int | None = 1,
        transport: bool = False,
        **report: Any,
    ) -> Settled:
        """Settle a word about a purchase. Words that came in by themselves carry no fence."""
        word = Word(
            purchase.attempt_no,
            source,
            Report(outcome, "test", **report),
            fence if source in (Source.PURCHASE, Source.CHECK) else None,
            transport,
        )
        return await self.engine.settler.settle(purchase.lane, purchase.order_id, word)

    async def succeed(self, purchase: Purchase, source: Source = Source.PURCHASE) -> Settled:
        return await self.hear(purchase, Outcome.SUCCEEDED, source, serial_number="SN1")

    async def refuse(self, purchase: Purchase, fault: Fault = Fault.PRODUCT) -> Settled:
        return await self.hear(purchase, Outcome.REJECTED, fault=fault)

    # ------------------------------------------------------------------ looking

    async def fetch(self, query: str, *values: object) -> "list[asyncpg.Record]":
        async with self.engine.pool.acquire() as connection:
            return await connection.fetch(query, *values)

    async def value(self, query: str, *values: object) -> Any:
        async with self.engine.pool.acquire() as connection:
            return await connection.fetchval(query, *values)

    async def execute(self, query: str, *values: object) -> None:
        async with self.engine.pool.acquire() as connection:
            await connection.execute(query, *values)

    async def status(self, order_id: UUID) -> str:
        return await self.value("select status from orders where order_id = $1", order_id)

    async def states(self, order_id: UUID) -> list[str]:
        """The attempts' states, in order."""
        rows = await self.fetch(
            "select state from attempts where order_id = $1 order by attempt_no", order_id
        )
        return [row[0] for row in rows]

    async def kinds(self, order_id: UUID) -> list[str]:
        """The kinds of the order's ledger entries, in order."""
        rows = await self.fetch(
            "select kind from ledger_entries where order_id = $1 order by seq", order_id
        )
        return [row[0] for row in rows]

    async def events(self, order_id: UUID) -> list[str]:
        rows = await self.fetch(
            "select type from events where order_id = $1 order by event_seq", order_id
        )
        return [row[0] for row in rows]

    async def money(self, reseller_id: UUID = RESELLER) -> tuple[int, int]:
        """What is available and what is reserved."""
        row = await self.fetch(
            "select available, reserved from wallets where reseller_id = $1", reseller_id
        )
        return row[0][0], row[0][1]

    async def waiting(self) -> "list[tuple[int, str]]":
        """The ready rows: attempt number and dealer."""
        rows = await self.fetch("select attempt_no, dealer_id from ready order by order_id")
        return [(row[0], row[1]) for row in rows]


async def until(holds: Callable[[], Awaitable[object]], seconds: float = 10) -> None:
    """Wait until a condition holds, and not for ever."""
    async with asyncio.timeout(seconds):
        for _ in itertools.count():
            if await holds():
                return
            await asyncio.sleep(0.003)
