"""A client of a door: our own reader of the protocol, which knows nothing of how doors answer."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any
from zlib import crc32

import httpx

from app.administration.doors import DoorTools, WantedDoor, add
from app.http.server import build_app
from app.outbound.addresses import AddressPolicy
from dealers.contract import Account, Answer, Balance, Capabilities, Report, Request, TopUp
from dealers.registry import Dialect, load
from tests.http.shop import Customer, Shop
from tests.shops import OPERATOR

SHAPES = ("digiflazz", "otomax", "irs")
PATHS = {"digiflazz": "/doors/digiflazz/v1", "otomax": "/doors/otomax", "irs": "/doors/irs/trx"}
OPTIONS = {"irs": {"same_idtrx_is_status_days": "90", "price_limit_parameter": "hargamax"}}
DIALECTS = load()


def number_of(ref_id: str) -> str:
    """A number for each reference: one that is being topped up is not topped up once more."""
    return f"08123456{crc32(ref_id.encode()) % 10_000:04}"


def order_of(ref_id: str, **fields: Any) -> TopUp:
    order = TopUp(ref_id, "TSEL10", number_of(ref_id), 10_500)
    return replace(order, **fields)


ORDER = order_of("R1")


@dataclass(slots=True)
class Client:
    """One account at a door."""

    account: Account
    dialect: Dialect
    http: httpx.AsyncClient

    @property
    def name(self) -> str:
        return next(
            self.account.credentials[each]
            for each in ("username", "memberID", "id")
            if each in self.account.credentials
        )

    async def buy(self, ref_id: str = "R1", **fields: Any) -> Report:
        order = order_of(ref_id, **fields)
        answer = await self.send(self.dialect.top_up(self.account, order))
        return self.dialect.read_top_up(self.account, order, answer)

    async def ask(self, ref_id: str = "R1", **fields: Any) -> Report:
        order = order_of(ref_id, **fields)
        answer = await self.send(self.dialect.status(self.account, order))
        return self.dialect.read_status(self.account, order, answer)

    async def balance(self) -> Balance:
        request = self.dialect.balance(self.account)
        assert request is not None
        return self.dialect.read_balance(self.account, await self.send(request))

    async def send(self, request: Request) -> Answer:
        answer = await self.http.request(
            request.method, request.url, headers=dict(request.headers), content=request.body
        )
        return Answer(answer.status_code, dict(answer.headers), answer.content)

    def with_(self, **credentials: str) -> "Client":
        """The same client with other credentials."""
        merged = {**self.account.credentials, **credentials}
        return replace(self, account=replace(self.account, credentials=merged))


def tools(shop: Shop) -> DoorTools:
    policy = AddressPolicy(shop.api.address_policy.allow, allow_http=True)
    return DoorTools(shop.api.sealer, policy)


async def open_door(
    shop: Shop, customer: Customer, shape: str, networks: tuple[str, ...] = (), **options: str
) -> Client:
    wanted = WantedDoor(shape, networks=networks)
    opened = await add(shop.api.pool, OPERATOR, tools(shop), str(customer.reseller_id), wanted)
    return client_of(shop, shape, opened.credentials)


def client_of(shop: Shop, shape: str, credentials: Mapping[str, str]) -> Client:
    http = httpx.AsyncClient(transport=httpx.ASGITransport(build_app(shop.api)))
    shop.customers.append(http)
    account = Account("jalur", f"http://jalur{PATHS[shape]}", credentials, OPTIONS.get(shape, {}))
    return Client(account, DIALECTS[shape], http)


def capabilities(client: Client) -> Capabilities:
    return client.dialect.capabilities_of(client.account)
