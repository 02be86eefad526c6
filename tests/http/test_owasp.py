"""The OWASP API Security Top 10 of 2023, item by item, on the whole API.

What has its own tests is only touched here: addresses of webhooks (API7) in
tests/outbound/test_addresses.py, dealers' answers (API10) in tests/dealers/test_conformance.py and
tests/outbound/test_answers.py, forged callbacks in test_edges.py, rates in test_limits.py.
"""

import asyncio
import inspect
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import pytest
import uvicorn
from fastapi import FastAPI

from app.http import wire
from app.http.api import ApiLimits
from app.http.server import build_app
from app.http.wire import GatheringProtocol
from app.rates import Rate
from app.storage import api_keys
from app.storage.api_keys import KeyHolder
from app.storage.operator_tokens import TokenHolder
from app.storage.pool import Pool
from dealers.contract import Outcome
from tests.http.problems import assert_problem
from tests.http.shop import Customer, Shop, open_shop

URL = "https://toko.example.co.id/hook"
METHODS = {"get", "post", "put", "patch", "delete"}
IDS = {
    "order_id": str(uuid4()),
    "endpoint_id": str(uuid4()),
    "delivery_id": str(uuid4()),
    "event_id": str(uuid4()),
}


async def described(shop: Shop) -> dict[str, Any]:
    """What is told to resellers and to operators."""
    client = shop.client()
    told = [(await client.get(f"{side}/openapi.json")).json() for side in ("", "/admin")]
    return {"paths": told[0]["paths"] | told[1]["paths"]}


def operations(document: dict[str, Any], prefix: str) -> Iterator[tuple[str, str]]:
    """Every method and path under a prefix, with something in its places."""
    for path, methods in document["paths"].items():
        if path.startswith(prefix) and not path.startswith("/v1/callbacks"):
            filled = re.sub(r"\{(\w+)\}", lambda name: IDS.get(name[1], "none"), path)
            for method in METHODS & set(methods):
                yield method.upper(), filled


# ------------------------------------------------------------------ API1 object level


async def test_another_reseller_s_object_answers_as_one_that_is_not_there(
    shop: Shop, customer: Customer
) -> None:
    stranger = await shop.customer()
    order = (await customer.order()).json()
    hook = await customer.http.post("/v1/webhook-endpoints", json={"url": URL})
    mine = {"order_id": order["id"], "endpoint_id": hook.json()["id"]}
    tried = 0
    for path, methods in (await described(shop))["paths"].items():
        named = [name for name in mine if f"{{{name}}}" in path]
        if not path.startswith("/v1/") or not named:
            continue
        for method in METHODS & set(methods):
            answers: list[dict[str, Any]] = []
            for value in (mine[named[0]], IDS[named[0]]):
                place = re.sub(r"\{\w+\}", value, path)
                answer = await stranger.http.request(method, place, json={})
                assert answer.status_code in (404, 422), (method, place, answer.text)
                answers.append(answer.json() | {"trace_id": ""})
            assert answers[0] == answers[1]
            tried += 1
    assert tried >= 4
    assert await shop.owner.fetchval("select status from orders") == "accepted"
    assert await shop.owner.fetchval("select count(*) from webhook_endpoints") == 1


# ------------------------------------------------------------------ API2 authentication


def wrong_keys() -> Iterator[str | None]:
    token = api_keys.generate().token
    yield from (None, "", "Bearer", "Bearer ", f"Basic {token}", token, f"Bearer {token[:-1]}")
    yield f"Bearer {token}"
    yield f"Bearer {token} "
    # A token of another make that says it needs no signature.
    yield "Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiJhZG1pbiJ9."
    yield "Bearer " + "a" * 10_000


async def test_every_operation_refuses_every_wrong_key(pool: Pool, database_dsn: str) -> None:
    async with open_shop(pool, database_dsn, ApiLimits(auth_failures=Rate(10_000, 1))) as shop:
        document = await described(shop)
        client = shop.client()
        for method, path in [*operations(document, "/v1/"), *operations(document, "/admin/")]:
            answer = await client.request(method, path, json={})
            assert_problem(answer, 401, "invalid-key")
            assert answer.headers["www-authenticate"] == "Bearer"
        for wrong in wrong_keys():
            headers = {} if wrong is None else {"authorization": wrong}
            answer = await client.post("/v1/orders", json={}, headers=headers)
            assert_problem(answer, 401, "invalid-key")


def test_secrets_are_compared_in_constant_time() -> None:
    for holder in (KeyHolder, TokenHolder):
        assert "hmac.compare_digest(" in inspect.getsource(holder.matches)
        assert "secret_sha256 ==" not in inspect.getsource(holder)


# ------------------------------------------------------------------ API3 property level


async def test_what_is_not_a_resellers_to_set_is_refused(customer: Customer) -> None:
    for field in ("price", "status", "reseller_id", "dealer_id", "lane", "id", "serial_number"):
        assert_problem(await customer.order(**{field: "1"}), 422, "invalid-request")
        body = {"url": URL, field: "1"}
        answer = await customer.http.post("/v1/webhook-endpoints", json=body)
        assert_problem(answer, 422, "invalid-request")


async def test_no_answer_to_a_reseller_names_a_dealer_or_its_cost(
    shop: Shop, customer: Customer
) -> None:
    orders: list[dict[str, Any]] = []
    for number, outcome in enumerate((Outcome.SUCCEEDED, Outcome.FAILED, None)):
        placed = await customer.order(f"r-{number}")
        orders.append(placed.json())
        if outcome is not None:
            sent = await shop.send_to_dealer(placed.json())
            await sent.hear(outcome, message="Stok beta habis")
    told = [placed.text]
    for method, path in operations(await described(shop), "/v1/"):
        if method == "GET" and not path.endswith("/stream"):  # it never ends; it sends the events
            places = [path.replace(IDS["order_id"], order["id"]) for order in orders]
            told += [(await customer.http.get(place)).text for place in places]
    told.append((await customer.http.post(f"/v1/orders/{orders[2]['id']}/cancel")).text)
    told.append((await customer.order(max_price=1)).text)
    events = await shop.owner.fetch("select payload::text from events")
    text = "\n".join([*told, *(row[0] for row in events)]).lower()
    assert len(events) >= 2
    # Its dealers, their SKU, their names for the order, their messages, and what they take.
    for secret in ("alfa", "beta", "s10", "10100", "10200", "10500.0", "dealer_id", "cost"):
        assert re.search(rf"(?<![0-9a-z]){secret}(?![0-9a-z])", text) is None, secret
    references = await shop.owner.fetch("select dealer_ref from attempts")
    assert references
    assert not any(row[0].lower() in text for row in references)


# ------------------------------------------------------------------ API4 resources


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"[" * 60_000, 400),
        (b'{"metadata":' * 5_000 + b"1" + b"}" * 5_000, 400),
        (b'{"ref_id":' + b"9" * 60_000 + b"}", 422),
        (b" " * 70_000, 413),
        (b"\xff\xfe", 400),
    ],
)
async def test_a_body_made_to_hurt_is_refused(customer: Customer, body: bytes, code: int) -> None:
    answer = await customer.http.post("/v1/orders", content=body)
    assert answer.status_code in (code, 400, 422), answer.text
    assert answer.headers["content-type"] == "application/problem+json"


async def test_no_page_is_larger_than_a_hundred(customer: Customer) -> None:
    for path in ("orders", "events", "ledger", "products"):
        for limit in ("101", "1000000000000", "0", "-1", "1e3"):
            answer = await customer.http.get(f"/v1/{path}?limit={limit}")
            assert_problem(answer, 422, "invalid-request")


async def test_too_many_headers_are_refused(customer: Customer) -> None:
    headers = [("x-filler", "1")] * 101
    answer = await customer.http.get("/v1/balance", headers=headers)
    assert_problem(answer, 431, "head-too-large")


async def test_a_head_without_end_and_a_request_that_does_not_come_are_cut_off(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wire, "SLOWEST_SECONDS", 0.3)
    monkeypatch.setattr(wire, "LOOK_SECONDS", 0.1)
    customer = await shop.customer()
    key = customer.http.headers["authorization"].encode()
    body = b'{"ref_id":"r-1"'
    async with served(shop) as port:
        endless = await spoken(port, b"GET / HTTP/1.1\r\n" + b"x-a: " + b"b" * 1_000_000)
        assert endless.startswith(b"HTTP/1.1 431")
        for begun in (
            b"",
            b"GET /v1/balance HTTP/1.1\r\nhost: x\r\n",
            b"POST /v1/orders HTTP/1.1\r\nhost: x\r\nauthorization: %s\r\n"
            b"content-length: 200\r\n\r\n%s" % (key, body),
        ):
            assert await spoken(port, begun) == b""
        # What came whole is answered, and its connection kept.
        whole = b"GET /livez HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
        assert (await spoken(port, whole)).startswith(b"HTTP/1.1 200")
    assert await shop.counts() == (0, 0, 0)
    assert not shop.api.visits._under_way


async def test_a_connection_is_kept_for_the_next_request_but_not_for_ever(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wire, "LOOK_SECONDS", 0.05)
    ask = b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n"
    async with served(shop, keep_alive_seconds=1) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for _ in range(3):
            writer.write(ask)
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 30)
            assert head.startswith(b"HTTP/1.1 200")
            length = int(head.split(b"content-length: ")[1].split(b"\r\n")[0])
            await reader.readexactly(length)
            await asyncio.sleep(0.5)
        assert await asyncio.wait_for(reader.read(), 30) == b""
        writer.close()


async def spoken(port: int, said: bytes) -> bytes:
    """Say this and no more; all that is answered until the other side hangs up."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        # In two parts, as a head that does not end comes.
        writer.write(said[: len(said) // 2])
        await writer.drain()
        writer.write(said[len(said) // 2 :])
        await writer.drain()
        return await asyncio.wait_for(reader.read(), 30)
    except ConnectionError:
        return b"HTTP/1.1 431 (the rest was cut off)"
    finally:
        writer.close()


@asynccontextmanager
async def served(shop: Shop, keep_alive_seconds: int = 5) -> AsyncIterator[int]:
    """The API on a real socket, as the service serves it; its port."""
    config = uvicorn.Config(
        build_app(shop.api),
        port=0,
        lifespan="off",
        log_config=None,
        http=GatheringProtocol,
        timeout_keep_alive=keep_alive_seconds,
    )
    server = uvicorn.Server(config)
    serving = asyncio.ensure_future(server.serve())
    try:
        while not server.started:  # noqa: ASYNC110 (the server has no event for it)
            await asyncio.sleep(0.01)
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        await serving


# ------------------------------------------------------------------ API5 function level


async def test_every_operators_operation_refuses_a_reseller_and_the_other_way_round(
    shop: Shop, customer: Customer
) -> None:
    document = await described(shop)
    admin = list(operations(document, "/admin/"))
    assert len(admin) > 40
    for method, path in admin:
        answer = await customer.http.request(method, path, json={})
        assert_problem(answer, 401, "invalid-key")
    operator = shop.client("operators-token")
    for method, path in operations(document, "/v1/"):
        answer = await operator.request(method, path, json={})
        assert answer.status_code in (401, 429), (method, path)


# ------------------------------------------------------------------ API6 sensitive flows


async def test_a_burst_of_the_same_order_buys_once(shop: Shop, customer: Customer) -> None:
    answers = await asyncio.gather(*(customer.order() for _ in range(20)))
    assert sorted(each.status_code for each in answers) == [200] * 19 + [202]
    assert await shop.counts() == (1, 1, 1)


# ------------------------------------------------------------------ API7 requests of ours


@pytest.mark.parametrize(
    "url",
    [
        "https://127.0.0.1/h",
        "https://169.254.169.254/latest/meta-data",
        "https://[::ffff:10.0.0.1]/h",
        "https://0x7f000001/h",
        "https://2130706433/h",
        "http://toko.example.co.id/h",
        "file:///etc/passwd",
        "https://user:secret@toko.example.co.id/h",
    ],
)
async def test_webhooks_go_to_no_inner_address(customer: Customer, url: str) -> None:
    answer = await customer.http.post("/v1/webhook-endpoints", json={"url": url})
    assert_problem(answer, 422, "invalid-url")


# ------------------------------------------------------------------ API8 configuration


async def test_answers_open_nothing_to_browsers_caches_and_odd_methods(
    shop: Shop, customer: Customer
) -> None:
    headers = {"origin": "https://evil.example", "access-control-request-method": "POST"}
    for client in (customer.http, shop.client()):
        for method in ("GET", "HEAD", "OPTIONS", "TRACE", "CONNECT", "PROPFIND", "POST"):
            answer = await client.request(method, "/v1/balance", headers=headers)
            assert not any(name.startswith("access-control") for name in answer.headers)
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert answer.headers["cache-control"] in ("no-store", "private, no-cache")
            assert "server" not in answer.headers
            assert "x-powered-by" not in answer.headers
            if method != "GET":
                assert answer.status_code == 405
    assert (await shop.client().get("/livez")).headers["x-content-type-options"] == "nosniff"


# ------------------------------------------------------------------ API9 inventory


async def test_what_is_served_is_what_is_described(shop: Shop) -> None:
    app: Any = build_app(shop.api)._app  # pyright: ignore[reportAttributeAccessIssue]
    assert isinstance(app, FastAPI)
    document = await described(shop)
    told = {
        (path, method.upper())
        for path, methods in document["paths"].items()
        for method in METHODS & set(methods)
    }
    served_here = {
        (route.path, method)
        for route in walked(app.routes)
        for method in route.methods - {"HEAD", "OPTIONS"}
    }
    # Doors speak the protocols of others, whose documents these are.
    doors = {each for each in served_here if each[0].startswith("/doors/")}
    assert served_here - doors - pages() == told


def pages() -> set[tuple[str, str]]:
    """The documentation itself."""
    names = ("openapi.json", "docs", "redoc")
    own = {(f"{side}/{name}", "GET") for side in ("", "/admin") for name in names}
    return own | {("/docs/assets/{name}", "GET")}


def walked(routes: Any) -> Iterator[Any]:
    """Every route, those of included routers too."""
    for route in routes:
        inner = getattr(route, "original_router", None)
        if getattr(route, "methods", None):
            yield route
        elif inner is not None:
            yield from walked(inner.routes)
