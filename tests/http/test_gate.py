"""Orders refused on the wire while the intake sheds: as the order door would, and nothing else."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

import httpx
import orjson
import pytest

from app.administration import keys
from app.http.api import ApiLimits
from app.http.gate import Gate
from app.http.intake import IntakeLimits
from app.http.wire import _MOST_HEADS, Asking, ShortWay, WholeRequest, _Heads
from app.storage.pool import Pool
from tests.http.problems import assert_problem
from tests.http.serving import HOST, serving
from tests.http.shop import Customer, Shop, open_shop
from tests.shops import OPERATOR

_BLOCKED = """
    select count(*) from pg_stat_activity
    where datname = current_database() and wait_event_type = 'Lock'
"""
ORDER = {"sku": "TSEL10", "customer_number": "081234567890"}


@dataclass(slots=True)
class Full:
    """A shop whose backlog is as deep as told, behind a real socket."""

    shop: Shop
    customer: Customer
    http: httpx.AsyncClient
    port: int
    key: str

    async def order(self, ref_id: str, **headers: str) -> httpx.Response:
        return await self.http.post("/v1/orders", json={"ref_id": ref_id, **ORDER}, headers=headers)


@pytest.fixture
async def backlog() -> list[int]:
    return [0]


@pytest.fixture
async def full(pool: Pool, database_dsn: str, backlog: list[int]) -> AsyncIterator[Full]:
    limits = ApiLimits(intake=IntakeLimits(backlog_orders=10))
    async with open_shop(pool, database_dsn, limits, backlog=lambda: backlog[0]) as shop:
        customer = await shop.customer()
        key = customer.http.headers["authorization"]
        async with serving(shop.api) as served:
            url = f"http://{HOST}:{served.port}"
            async with httpx.AsyncClient(base_url=url, headers={"authorization": key}) as http:
                yield Full(shop, customer, http, served.port, key)


def fill(full: Full, backlog: list[int]) -> None:
    backlog[0] = 10
    full.shop.api.intake.look(0.0, 0.0)


def drain(full: Full, backlog: list[int]) -> None:
    backlog[0] = 0
    full.shop.api.intake.look(1.0, 0.0)


async def test_refusal_on_the_wire_is_the_doors(full: Full, backlog: list[int]) -> None:
    assert (await full.order("r-1")).status_code == 202
    fill(full, backlog)
    wire = await full.order("r-2")
    # What the gate does not know well enough goes to the door.
    door = await full.order("r-2", connection="close")
    for answer in (wire, door):
        assert_problem(answer, 503, "overloaded")
        assert answer.headers["retry-after"] == "5"
    passing = {"date", "x-request-id", "connection"}
    assert set(wire.headers) - passing == set(door.headers) - passing
    same = {name for name in wire.headers if name not in passing}
    assert {name: wire.headers[name] for name in same} == {
        name: door.headers[name] for name in same
    }
    assert wire.json() | {"trace_id": ""} == door.json() | {"trace_id": ""}
    assert wire.json()["trace_id"] != door.json()["trace_id"]


async def test_connection_goes_on_behind_a_refusal(full: Full, backlog: list[int]) -> None:
    assert (await full.order("r-1")).status_code == 202
    fill(full, backlog)
    for number in range(3):
        assert (await full.order(f"full-{number}")).status_code == 503
    assert (await full.http.get("/v1/balance")).status_code == 200
    drain(full, backlog)
    assert (await full.order("r-2")).status_code == 409  # the number is busy: it was looked at
    assert full.shop.api.acceptor.batches.served >= 1


async def test_orders_in_one_packet_are_answered_in_turn(full: Full, backlog: list[int]) -> None:
    assert (await full.order("r-1")).status_code == 202
    fill(full, backlog)
    body = orjson.dumps({"ref_id": "r-2", **ORDER})
    head = f"POST /v1/orders HTTP/1.1\r\nhost: x\r\nauthorization: {full.key}\r\n"
    order = b"%bcontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (
        head.encode(),
        len(body),
        body,
    )
    alive = b"GET /livez HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
    reader, writer = await asyncio.open_connection(HOST, full.port)
    writer.write(order)
    first = await reader.readuntil(b"}")
    writer.write(order * 3 + alive)
    rest = await asyncio.wait_for(reader.read(), 10)
    writer.close()
    assert first.startswith(b"HTTP/1.1 503 ")
    assert rest.count(b"HTTP/1.1 503 ") == 3
    assert rest.count(b"HTTP/1.1 200 ") == 1
    assert rest.rindex(b"HTTP/1.1 503 ") < rest.index(b"HTTP/1.1 200 ")


async def test_refusal_does_not_overtake_the_answer_before_it(
    full: Full, backlog: list[int]
) -> None:
    assert (await full.order("r-1")).status_code == 202
    fill(full, backlog)
    head = f"HTTP/1.1\r\nhost: x\r\nauthorization: {full.key}\r\n"
    body = orjson.dumps({"ref_id": "r-2", **ORDER})
    reader, writer = await asyncio.open_connection(HOST, full.port)
    async with full.shop.owner.transaction():
        await full.shop.owner.execute("lock table wallets in access exclusive mode")
        writer.write(f"GET /v1/balance {head}\r\n".encode())
        while not await full.shop.owner.fetchval(_BLOCKED):  # noqa: ASYNC110 - what it waits for happens in the database
            await asyncio.sleep(0.002)
        order = f"POST /v1/orders {head}content-length: {len(body)}\r\n\r\n".encode() + body
        writer.write(order)
        # Long enough for the order to come, and not so long that the lock is given up.
        await asyncio.sleep(0.03)
    first = await asyncio.wait_for(reader.readuntil(b"}"), 10)
    second = await asyncio.wait_for(reader.readuntil(b"}"), 10)
    writer.close()
    assert b"HTTP/1.1 200 " in first
    assert b"HTTP/1.1 503 " in second


@pytest.mark.parametrize(
    ("lines", "behind"),
    [
        ("content-length: %d\r\nconnection: close", b""),
        ("content-length: %d\r\ncontent-length: %d", b""),
        ("content-length: %d\r\nx-y: z\nauthorization: Bearer other", b""),
        ("content-length: %d\r\ntransfer-encoding: chunked", b""),
        ("content-length: %d\r\nexpect: 100-continue", b""),
        ("content-length: 99999999999999999999999", b""),
        ("content-length: %d", b"POST"),
        ("content-length: 1", b""),
        ("x-y: z", b""),
    ],
)
def test_what_is_not_one_plain_request_is_parsed_first(lines: str, behind: bytes) -> None:
    way = ShortWay(
        shortcut=_Nobody(),
        gate=_Nobody(),
        method=b"POST",
        target=b"/v1/orders",
        first_line=b"POST /v1/orders HTTP/1.1\r\n",
        most_body_bytes=1000,
    )
    body = b'{"ref_id":"r-1"}'
    plain = _request("content-length: %d", body)
    for _ in range(2):
        # The second time the head is known already.
        assert way.asking(plain) == Asking(b"Bearer key", None)
        assert way.asking(_request(lines, body) + behind) is None
        assert way.asking(plain[:-1]) is None
        assert way.asking(plain + b"P") is None
        assert way.asking(b"GET" + plain.removeprefix(b"POST")) is None


def _request(lines: str, body: bytes) -> bytes:
    lines = lines.replace("%d", str(len(body)))
    head = f"POST /v1/orders HTTP/1.1\r\nhost: x\r\nauthorization: Bearer key\r\n{lines}\r\n\r\n"
    return head.encode() + body


class _Nobody:
    """Neither shortcut nor gate is asked here."""

    is_closing = True

    def take(self, request: WholeRequest) -> bool:
        raise AssertionError

    def asking(self, headers: Sequence[tuple[bytes, bytes]]) -> Asking:
        return Asking(dict(headers)[b"authorization"], None)

    def refusal(self, asking: Asking) -> bytes | None:
        raise AssertionError


async def test_key_that_nobody_has_seen_is_shed_by_the_door(full: Full, backlog: list[int]) -> None:
    fill(full, backlog)
    for number in range(2):
        answer = await full.order(f"r-{number}")
        assert_problem(answer, 503, "overloaded")
    wrong = await full.http.post("/v1/orders", headers={"authorization": "Bearer jalur_no"})
    assert_problem(wrong, 401, "invalid-key")
    assert await full.shop.counts() == (0, 0, 0)


async def test_whose_key_was_revoked_is_told_so_though_the_head_is_known(
    full: Full, backlog: list[int]
) -> None:
    assert (await full.order("r-1")).status_code == 202
    fill(full, backlog)
    assert_problem(await full.order("r-2"), 503, "overloaded")
    await keys.revoke(full.shop.api.pool, OPERATOR, full.customer.key_id, "lost")
    await full.shop.api.authenticator.refresh()
    assert_problem(await full.order("r-2"), 401, "invalid-key")


async def test_each_refusal_tells_its_own_trace_or_the_callers(
    full: Full, backlog: list[int]
) -> None:
    assert (await full.order("r-1")).status_code == 202
    fill(full, backlog)
    own = {(await full.order("r-2")).json()["trace_id"] for _ in range(3)}
    assert len(own) == 3
    for digit in "ab":
        told = await full.order("r-2", traceparent=f"00-{digit * 32}-{'c' * 16}-01")
        assert told.json()["trace_id"] == told.headers["x-request-id"] == digit * 32


def test_heads_are_kept_to_a_bound() -> None:
    gate, heads = _Nobody(), _Heads()
    for number in range(_MOST_HEADS + 1):
        head = b"POST / HTTP/1.1\r\nauthorization: Bearer key\r\ncontent-length: %d" % number
        assert heads.read(gate, head) == (Asking(b"Bearer key", None), number)
    assert len(heads._told) <= _MOST_HEADS


async def test_what_is_kept_of_a_head_has_no_key(full: Full) -> None:
    heads, secret = _Heads(), full.key.removeprefix("Bearer ")
    head = f"POST / HTTP/1.1\r\nauthorization: {full.key}\r\ncontent-length: 2"
    assert heads.read(Gate(full.shop.api), head.encode()) is not None
    assert secret not in repr(heads._told)


async def test_refusals_are_counted_and_take_nothing_from_rates(
    full: Full, backlog: list[int]
) -> None:
    left = (await full.order("r-1")).headers["ratelimit"]
    fill(full, backlog)
    await full.order("r-2")
    await full.order("r-3", connection="close")
    drain(full, backlog)
    metrics = full.shop.api.metrics.exposition().decode()
    assert 'jalur_orders_shed_total{reason="backlog"} 2.0' in metrics
    assert 'jalur_orders_refused_total{code="overloaded"} 2.0' in metrics
    assert 'route="/v1/orders",status="5xx"} 2.0' in metrics
    remaining = int(left.partition("r=")[2].partition(";")[0])
    after = (await full.order("r-4", connection="close")).headers["ratelimit"]
    assert int(after.partition("r=")[2].partition(";")[0]) >= remaining - 1
