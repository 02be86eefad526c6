"""The shortcut of new orders: it answers as the door does, and leaves to it what it cannot take."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import orjson
import pytest
from httptools import HttpResponseParser

from app.http.limits import DefaultRates
from app.http.order_shortcut import OrderShortcut, address_reader
from app.http.server import ApiLimits
from app.http.wire import WholeRequest
from app.rates import Rate
from app.storage.pool import Pool
from tests.http.serving import HOST, Served, serving
from tests.http.shop import TELKOMSEL, XL, Customer, Shop, open_shop
from tests.shops import until

GOOD = {"ref_id": "r-1", "sku": "TSEL10", "customer_number": TELKOMSEL, "allow_repeat": True}
TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
_EACH_TIME_ANOTHER = {"x-request-id", "date", "location", "ratelimit", "content-length"}


@dataclass(slots=True)
class Heard:
    """One whole answer."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict[str, str])
    body: bytes = b""


@dataclass(slots=True)
class Wire:
    """A connection that sends what bytes it is told to."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def ask(self, data: bytes) -> Heard:
        self.writer.write(data)
        return await self.hear()

    async def hear(self) -> Heard:
        """The next answer, which must come with its length."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        heard = Heard()
        parser = HttpResponseParser(_Into(heard))
        parser.feed_data(head)
        heard.status = parser.get_status_code()
        heard.body = await self.reader.readexactly(int(heard.headers["content-length"]))
        return heard

    async def ended(self) -> bool:
        return await self.reader.read(1) == b""

    def close(self) -> None:
        self.writer.close()


@dataclass(slots=True)
class _Into:
    heard: Heard

    def on_header(self, name: bytes, value: bytes) -> None:
        assert name.decode() not in self.heard.headers
        self.heard.headers[name.decode()] = value.decode()


async def connect(served: Served) -> Wire:
    wire = Wire(*await asyncio.open_connection(HOST, served.port))
    served.streams.append(wire)
    return wire


def request(customer: Customer, body: bytes | None = None, *more: str, **fields: object) -> bytes:
    content = orjson.dumps(GOOD | fields) if body is None else body
    return raw(
        content,
        f"authorization: {customer.http.headers['authorization']}",
        "content-type: application/json",
        *more,
    )


def raw(body: bytes, *headers: str, target: str = "/v1/orders") -> bytes:
    lines = (f"POST {target} HTTP/1.1", "host: jalur", f"content-length: {len(body)}", *headers)
    return "\r\n".join([*lines, "", ""]).encode() + body


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Whether each request that was offered was taken."""
    noted: list[bool] = []
    take = OrderShortcut.take

    def noting(self: OrderShortcut, asked: WholeRequest) -> bool:
        noted.append(take(self, asked))
        return noted[-1]

    monkeypatch.setattr(OrderShortcut, "take", noting)
    return noted


@pytest.fixture
async def served(shop: Shop, customer: Customer, taken: list[bool]) -> AsyncIterator[Served]:
    """The API, which knows the customer's key already."""
    await customer.http.get("/v1/balance")
    async with serving(shop.api) as running:
        yield running


def visits(shop: Shop) -> int:
    return shop.api.visits._under_way.total()


# ------------------------------------------------------------------ what it takes


async def test_an_order_is_accepted_and_told_as_it_is_read(
    shop: Shop, customer: Customer, served: Served, taken: list[bool]
) -> None:
    wire = await connect(served)
    heard = await wire.ask(request(customer, metadata={"till": "3"}, region="surabaya"))
    assert (heard.status, taken) == (202, [True])
    read = await customer.http.get(heard.headers["location"])
    assert read.json() == orjson.loads(heard.body)
    assert await shop.counts() == (1, 1, 1)
    assert visits(shop) == 0


async def test_one_connection_carries_one_order_after_the_other(
    shop: Shop, customer: Customer, served: Served, taken: list[bool]
) -> None:
    wire = await connect(served)
    for number in range(5):
        heard = await wire.ask(request(customer, ref_id=f"r-{number}"))
        assert orjson.loads(heard.body)["ref_id"] == f"r-{number}"
    assert taken == [True] * 5


async def test_an_order_that_comes_byte_by_byte_is_taken_whole(
    shop: Shop, customer: Customer, served: Served, taken: list[bool]
) -> None:
    wire = await connect(served)
    for byte in request(customer):
        wire.writer.write(bytes([byte]))
        await asyncio.sleep(0)
    assert ((await wire.hear()).status, taken) == (202, [True])


async def test_orders_sent_without_waiting_are_answered_in_their_order(
    shop: Shop, customer: Customer, served: Served, taken: list[bool]
) -> None:
    wire = await connect(served)
    wire.writer.write(b"".join(request(customer, ref_id=f"r-{n}") for n in range(6)))
    told = [orjson.loads((await wire.hear()).body)["ref_id"] for _ in range(6)]
    assert told == [f"r-{n}" for n in range(6)]
    assert taken == [True]  # the others came while it was under way: the door's, in turn


async def test_a_chunked_order_is_an_order(
    shop: Shop, customer: Customer, served: Served, taken: list[bool]
) -> None:
    body = orjson.dumps(GOOD)
    head = request(customer, b"").replace(b"content-length: 0", b"transfer-encoding: chunked")
    pieces = b"".join(b"%x\r\n%b\r\n" % (1, bytes([byte])) for byte in body)
    heard = await (await connect(served)).ask(head + pieces + b"0\r\n\r\n")
    assert (heard.status, taken) == (202, [True])


async def test_whoever_leaves_early_has_ordered_all_the_same(
    shop: Shop, customer: Customer, served: Served, taken: list[bool]
) -> None:
    wire = await connect(served)
    wire.writer.write(request(customer))
    await wire.writer.drain()
    await until(lambda: _is([True], taken))
    wire.writer.transport.abort()

    async def over() -> bool:
        return await shop.counts() != (0, 0, 0) and visits(shop) == 0

    await until(over)
    assert await shop.counts() == (1, 1, 1)


async def _is(wanted: list[bool], taken: list[bool]) -> bool:
    return taken == wanted


async def test_many_at_once_are_one_order_each(
    shop: Shop, customer: Customer, served: Served, taken: list[bool]
) -> None:
    wires = [await connect(served) for _ in range(40)]
    asked = [wire.ask(request(customer, ref_id=f"r-{n % 20}")) for n, wire in enumerate(wires)]
    heard = await asyncio.gather(*asked)
    assert sorted(each.status for each in heard) == [200] * 20 + [202] * 20
    assert await shop.counts() == (20, 20, 20)
    assert (all(taken), visits(shop)) == (True, 0)


# ------------------------------------------------------------------ as the door does


CASES: dict[str, list[tuple[tuple[str, ...], dict[str, object]]]] = {
    "new": [((), {})],
    "with everything": [
        ((f"traceparent: {TRACEPARENT}",), {"metadata": {"a": "b"}, "region": "surabaya"})
    ],
    "again": [((), {}), ((), {})],
    "again with another number": [((), {}), ((), {"customer_number": XL, "sku": "XL10"})],
    "for a busy number": [
        ((), {"allow_repeat": False}),
        ((), {"allow_repeat": False, "ref_id": "r-2"}),
    ],
    "too dear": [((), {"max_charge": 1})],
    "without a route": [((), {"max_price": 1})],
    "of an unknown product": [((), {"sku": "NONE"})],
    "for no number": [((), {"customer_number": "12"})],
    "with a wrong field": [((), {"quantity": 2})],
    "with a key of its own": [(("idempotency-key: r-1",), {})],
    "with another key": [(("idempotency-key: r-9",), {})],
    "with a bad trace": [(("traceparent: 00-zz",), {})],
    "by way of others": [(("jalur-hops: 0191d1ef-55c7-7d4c-8d9b-000000000001",), {})],
    "of another type": [(("content-type: text/plain",), {})],
}


@pytest.mark.parametrize("case", CASES)
async def test_its_answers_are_those_of_the_door(pool: Pool, database_dsn: str, case: str) -> None:
    async with open_shop(pool, database_dsn) as shop, AsyncExitStack() as stack:
        answers: list[list[tuple[int, set[str], object]]] = []
        for shortcut in (True, False):
            customer = await shop.customer()
            await customer.http.get("/v1/balance")
            served = await stack.enter_async_context(serving(shop.api, shortcut=shortcut))
            wire = await connect(served)
            answers.append(
                [
                    comparable(await wire.ask(request(customer, None, *more, **fields)))
                    for more, fields in CASES[case]
                ]
            )
    assert answers[0] == answers[1]


def comparable(heard: Heard) -> tuple[int, set[str], object]:
    """What two orders' answers have in common."""
    kept = {f"{name}: {heard.headers[name]}" for name in heard.headers.keys() - _EACH_TIME_ANOTHER}
    body = orjson.loads(heard.body)
    for name in ("id", "created_at", "trace_id", "detail", "errors"):
        body.pop(name, None)
    return heard.status, kept | _EACH_TIME_ANOTHER & heard.headers.keys(), body


async def test_a_caller_s_trace_is_kept_with_the_order(
    shop: Shop, customer: Customer, served: Served, taken: list[bool]
) -> None:
    heard = await (await connect(served)).ask(
        request(customer, None, f"traceparent: {TRACEPARENT}")
    )
    assert heard.headers["x-request-id"] == TRACEPARENT.split("-")[1]
    kept = await shop.owner.fetchval("select trace from orders")
    assert (kept.hex(), taken) == (TRACEPARENT.split("-")[1] + "01", [True])


async def test_too_little_money_is_told_and_nothing_is_left(
    shop: Shop, served: Served, taken: list[bool]
) -> None:
    poor = await shop.customer(money=10)
    await poor.http.get("/v1/balance")
    heard = await (await connect(served)).ask(request(poor))
    assert (heard.status, orjson.loads(heard.body)["code"]) == (402, "insufficient-balance")
    assert (taken, await shop.counts(), visits(shop)) == ([True], (0, 0, 0), 0)


async def test_a_fault_of_ours_is_told_without_its_text(
    shop: Shop, customer: Customer, served: Served, taken: list[bool]
) -> None:
    await shop.owner.execute("drop table wallets cascade")
    heard = await (await connect(served)).ask(request(customer))
    assert (heard.status, orjson.loads(heard.body)["code"]) == (500, "internal-error")
    assert (taken, visits(shop)) == ([True], 0)


async def test_a_database_that_is_away_is_told_as_unknown(
    shop: Shop, customer: Customer, served: Served, taken: list[bool]
) -> None:
    await shop.api.pool.close()
    heard = await (await connect(served)).ask(request(customer))
    assert (heard.status, orjson.loads(heard.body)["code"]) == (503, "unavailable")
    assert visits(shop) == 0


# ------------------------------------------------------------------ what it leaves to the door


@pytest.mark.parametrize(
    "spoil",
    [
        lambda whole: whole.replace(b"/v1/orders", b"/v1/orders?x=1"),
        lambda whole: whole.replace(b"HTTP/1.1", b"HTTP/1.0"),
        lambda whole: whole.replace(b"host: jalur", b"host: jalur\r\nconnection: close"),
        lambda whole: whole.replace(b"host: jalur", b"host: jalur\r\nexpect: 100-continue"),
    ],
)
async def test_what_is_unusual_is_not_even_offered(
    customer: Customer, served: Served, taken: list[bool], spoil
) -> None:
    wire = await connect(served)
    wire.writer.write(spoil(request(customer)))
    head = await wire.reader.readuntil(b"\r\n\r\n")
    if b"100 Continue" in head:
        head = await wire.reader.readuntil(b"\r\n\r\n")
    assert (b" 202 " in head, taken) == (True, [])


async def test_a_key_that_is_not_known_is_looked_up_once_and_then_taken(
    shop: Shop, served: Served, taken: list[bool]
) -> None:
    stranger = await shop.customer()
    wire = await connect(served)
    statuses = [(await wire.ask(request(stranger, ref_id=f"r-{n}"))).status for n in range(3)]
    assert (statuses, taken) == ([202] * 3, [False, True, True])


@pytest.mark.parametrize(
    ("header", "status"),
    [("authorization: Bearer jalur_live_x", 401), ("x-nothing: 1", 401)],
)
async def test_without_a_key_nothing_is_taken(
    shop: Shop, served: Served, taken: list[bool], header: str, status: int
) -> None:
    heard = await (await connect(served)).ask(raw(orjson.dumps(GOOD), header))
    assert (heard.status, taken, await shop.counts()) == (status, [False], (0, 0, 0))


async def test_a_key_that_opens_something_else_is_refused(
    shop: Shop, customer: Customer, served: Served, taken: list[bool]
) -> None:
    past = datetime.now(UTC) - timedelta(minutes=1)
    await shop.owner.execute("update api_keys set expires_at = $1", past)
    await shop.api.authenticator.refresh()
    heard = await (await connect(served)).ask(request(customer))
    assert (heard.status, await shop.counts()) == (401, (0, 0, 0))


async def test_the_rate_counts_each_order_once_whichever_way_it_goes(
    pool: Pool, database_dsn: str, taken: list[bool]
) -> None:
    limits = ApiLimits(rates=DefaultRates(orders=(Rate(100, 86_400),)))
    async with open_shop(pool, database_dsn, limits) as shop:
        customer = await shop.customer()
        await customer.http.get("/v1/balance")
        async with serving(shop.api) as served:
            wire = await connect(served)
            first = await wire.ask(request(customer))
            refused = await wire.ask(request(customer, b"{", "x-one: 1"))
            last = await wire.ask(request(customer, ref_id="r-2"))
    left = [remaining(each) for each in (first, refused, last)]
    assert (refused.status, taken) == (400, [True, False, True])
    assert left[0] - left[2] == 2


def remaining(heard: Heard) -> int:
    return int(heard.headers["ratelimit"].split(";r=")[1].split(";")[0])


async def test_a_body_that_is_too_large_is_refused(
    customer: Customer, served: Served, taken: list[bool]
) -> None:
    most = ApiLimits().body_bytes
    heard = await (await connect(served)).ask(request(customer, b" " * (most + 1)))
    assert (heard.status, taken) == (413, [])


async def test_more_under_way_than_are_allowed_are_refused(
    shop: Shop, customer: Customer, served: Served, taken: list[bool]
) -> None:
    shop.api.visits._under_way[customer.reseller_id] = shop.api.limits.in_flight
    heard = await (await connect(served)).ask(request(customer))
    assert (heard.status, orjson.loads(heard.body)["code"]) == (429, "too-many-at-once")
    assert taken == [False]


# ------------------------------------------------------------------ stopping


async def test_while_it_drains_the_last_answer_ends_the_connection(
    shop: Shop, customer: Customer, served: Served
) -> None:
    wire = await connect(served)
    shop.api.draining.set()
    heard = await wire.ask(request(customer))
    assert (heard.status, heard.headers["connection"]) == (202, "close")
    assert await wire.ended()


async def test_an_order_under_way_is_answered_before_the_server_ends(
    shop: Shop, customer: Customer, served: Served, taken: list[bool]
) -> None:
    wire = await connect(served)
    async with shop.api.pool.acquire() as holder, holder.transaction():
        await holder.execute("select from wallets for update")
        wire.writer.write(request(customer))
        await until(lambda: _is([True], taken))
        served.stop()
        await asyncio.sleep(0.1)
    heard = await wire.hear()
    assert (heard.status, heard.headers["connection"]) == (202, "close")
    assert await wire.ended()


async def test_half_an_order_is_waited_for_when_the_server_ends(
    shop: Shop, customer: Customer, served: Served
) -> None:
    wire, whole = await connect(served), request(customer)
    wire.writer.write(whole[:-5])
    await wire.writer.drain()
    await asyncio.sleep(0.1)
    served.server.should_exit = True
    await asyncio.sleep(0.3)
    wire.writer.write(whole[-5:])
    assert (await wire.hear()).status == 202


def test_addresses_behind_a_trusted_proxy_are_believed_and_no_others() -> None:
    read = address_reader(["10.0.0.0/8"])
    forwarded = {b"x-forwarded-for": b"1.2.3.4, 10.0.0.7"}
    assert read("10.0.0.9", forwarded) == "1.2.3.4"
    assert read("9.9.9.9", forwarded) == "9.9.9.9"
    assert read("10.0.0.9", {}) == "10.0.0.9"
    assert address_reader([])("9.9.9.9", forwarded) == "9.9.9.9"
