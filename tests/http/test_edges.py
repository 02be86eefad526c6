"""What surrounds the API: problems, traces, health, metrics, callbacks, its own description."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import httpx
import pytest
import uvicorn
from typer.testing import CliRunner
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from app.__main__ import cli
from app.errors import Problem
from app.http.server import build_app
from app.storage.pool import Pool
from schemas.problems import CATALOGUE
from tests.http.problems import assert_problem
from tests.http.shop import TELKOMSEL, Customer, Shop
from tests.publishing import PUBLISH

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


async def test_another_method_is_refused_with_all_that_are_allowed(customer: Customer) -> None:
    answer = await customer.http.put("/v1/orders")
    assert_problem(answer, 405, "method-not-allowed")
    assert answer.headers["allow"] == "GET, POST"


async def test_a_fault_of_ours_tells_nothing_of_its_text(shop: Shop, customer: Customer) -> None:
    await customer.http.get("/v1/balance")
    await shop.owner.execute("drop table wallets cascade")
    assert_problem(await customer.http.get("/v1/balance"), 500, "internal-error")
    assert_problem(await customer.order(), 500, "internal-error")


async def test_the_caller_s_trace_is_continued(customer: Customer) -> None:
    header = {"traceparent": f"00-{TRACE}-00f067aa0ba902b7-01"}
    answer = await customer.http.get("/v1/nothing", headers=header)
    assert answer.json()["trace_id"] == answer.headers["x-request-id"] == TRACE


async def test_an_order_is_kept_with_its_trace(shop: Shop, customer: Customer) -> None:
    header = {"traceparent": f"00-{TRACE}-00f067aa0ba902b7-01"}
    body = {"ref_id": "r-1", "sku": "TSEL10", "customer_number": TELKOMSEL}
    await customer.http.post("/v1/orders", json=body, headers=header)
    assert await shop.owner.fetchval("select trace from orders") == bytes.fromhex(TRACE + "01")
    made_up = await customer.order("r-2")
    kept = await shop.owner.fetchval("select trace from orders where ref_id = 'r-2'")
    assert kept.hex() == made_up.headers["x-request-id"]


@pytest.mark.parametrize(
    "traceparent", ["", "00-" + "0" * 32 + "-00f067aa0ba902b7-01", f"ff-{TRACE}-x-01", "a" * 9000]
)
async def test_a_bad_trace_is_replaced(customer: Customer, traceparent: str) -> None:
    answer = await customer.http.get("/livez", headers={"traceparent": traceparent})
    assert re.fullmatch(r"[0-9a-f]{32}", answer.headers["x-request-id"])
    assert answer.headers["x-request-id"] not in (TRACE, "0" * 32)


async def test_every_code_in_the_catalogue_is_explained(shop: Shop) -> None:
    client = shop.client()
    for code in CATALOGUE:
        assert (await client.get(f"/problems/{code}")).json()["code"] == code
    assert_problem(await client.get("/problems/unheard-of"), 404, "not-found")


async def test_it_is_ready_until_it_drains(shop: Shop) -> None:
    client = shop.client()
    assert (await client.get("/readyz")).json() == {"status": "ready"}
    shop.api.draining.set()
    answer = await client.get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["reasons"] == ["the process is stopping"]
    assert (await client.get("/livez")).status_code == 200


async def test_it_is_not_ready_on_another_revision_or_without_a_database(
    shop: Shop, pool: Pool
) -> None:
    client = shop.client()
    await shop.owner.execute("update alembic_version set version_num = '0000'")
    answer = await client.get("/readyz")
    assert answer.status_code == 503
    assert "revision" in answer.json()["reasons"][0]
    await pool.close()
    answer = await client.get("/readyz")
    assert answer.json()["reasons"] == ["the database does not answer"]


async def test_metrics_count_orders_by_route_and_never_by_path(
    shop: Shop, customer: Customer
) -> None:
    order = (await customer.order()).json()
    await customer.order()
    await customer.order(max_price=-1)
    await customer.http.get(f"/v1/orders/{order['id']}")
    await customer.http.get("/wp-login.php")
    text = (await shop.client().get("/metrics")).text
    assert "jalur_orders_accepted_total 1.0" in text
    assert "jalur_orders_replayed_total 1.0" in text
    assert 'jalur_orders_refused_total{code="invalid-request"} 1.0' in text
    assert 'method="POST",route="/v1/orders",status="2xx"} 2.0' in text
    assert 'method="GET",route="/v1/orders/{order_id}",status="2xx"} 1.0' in text
    assert 'route="unmatched",status="4xx"} 1.0' in text
    assert order["id"] not in text
    assert "wp-login" not in text


async def test_metrics_are_shown_while_the_database_is_away(shop: Shop) -> None:
    await shop.api.pool.close()
    answer = await shop.client().get("/metrics")
    assert (answer.status_code, b"jalur_ready_orders" in answer.content) == (200, True)


@pytest.mark.parametrize(
    ("source", "headers", "status"),
    [
        ("127.0.0.1", {}, 200),
        ("127.0.0.1", {"x-forwarded-for": "8.8.8.8"}, 403),
        ("8.8.8.8", {}, 403),
        ("8.8.8.8", {"authorization": "Bearer wrong"}, 403),
        ("8.8.8.8", {"authorization": "Bearer operators-token"}, 200),
    ],
)
async def test_metrics_are_for_this_machine_and_for_operators(
    shop: Shop, source: str, headers: dict[str, str], status: int
) -> None:
    transport = httpx.ASGITransport(build_app(shop.api), client=(source, 5))
    async with httpx.AsyncClient(transport=transport, base_url="http://jalur") as client:
        assert (await client.get("/metrics", headers=headers)).status_code == status


async def test_a_callback_of_an_unknown_dealer_is_not_found(shop: Shop) -> None:
    client = shop.client()
    for path in ("/v1/callbacks/nobody", "/v1/callbacks/alfa/a-token"):
        assert_problem(await client.post(path, content=b"{}"), 404, "not-found")
    assert await shop.owner.fetchval("select count(*) from callbacks") == 0


async def test_a_forged_callback_is_refused_and_kept_apart(shop: Shop) -> None:
    answer = await shop.client().post(
        "/v1/callbacks/alfa",
        content=b'{"data":{"ref_id":"00AAAAAAAAAAAAAAAAAAAA","status":"Sukses"}}',
        headers={"x-hub-signature": "sha1=00"},
    )
    assert_problem(answer, 403, "callback-refused")
    assert await shop.owner.fetchval("select count(*) from callbacks") == 0
    assert await shop.owner.fetchval("select cause from refused_callbacks") == "unreadable"


async def test_operators_see_what_a_dealer_called_with_and_why_it_was_refused(
    shop: Shop, database_dsn: str
) -> None:
    client = shop.client()
    wrong = {"x-hub-signature": "sha1=00"}
    await client.post("/v1/callbacks/alfa?try=1", content=b'{"data":{}}', headers=wrong)
    await client.post("/v1/callbacks/alfa/token", content=b"")
    admin = {"authorization": "Bearer operators-token"}
    shown = await client.get("/admin/v1/dealers/alfa/callbacks", headers=admin)
    newest, oldest = shown.json()["data"]
    assert (newest["verdict"], newest["cause"]) == ("refused", "path")
    assert (oldest["cause"], oldest["query"], oldest["body"]) == (
        "unreadable",
        "try=1",
        '{"data":{}}',
    )
    assert oldest["headers"]["x-hub-signature"] == "sha1=00"
    one = await client.get("/admin/v1/dealers/alfa/callbacks?limit=1", headers=admin)
    assert one.json()["data"] == [newest]
    assert_problem(
        await client.get("/admin/v1/dealers/nobody/callbacks", headers=admin), 404, "not-found"
    )
    assert_problem(await client.get("/admin/v1/dealers/alfa/callbacks"), 401, "invalid-key")
    typed = await asyncio.to_thread(
        CliRunner().invoke,
        cli,
        ["dealers", "callbacks", "alfa"],
        env={"DATABASE_URL": database_dsn},
    )
    assert "    unreadable: " in typed.output
    assert '    POST ?try=1 {"data":{}}' in typed.output


@pytest.mark.parametrize(
    ("peer", "forwarded", "source"),
    [
        ("203.0.113.7", None, "203.0.113.7"),
        ("::ffff:203.0.113.7", None, "::ffff:203.0.113.7"),
        ("10.0.0.2", "203.0.113.7", "203.0.113.7"),
        ("10.0.0.2", "8.8.8.8, 203.0.113.7, 10.0.0.3", "203.0.113.7"),
    ],
)
async def test_a_callback_from_a_listed_address_is_read(
    shop: Shop, peer: str, forwarded: str | None, source: str
) -> None:
    answer = await called_back(shop, peer, forwarded)
    assert_problem(answer, 403, "callback-refused")
    row = await shop.owner.fetchrow("select cause, source_address from refused_callbacks")
    assert row is not None
    # It got as far as its signature, which is wrong.
    assert tuple(row) == ("unreadable", source)


@pytest.mark.parametrize(
    ("peer", "forwarded", "source"),
    [
        ("8.8.8.8", None, "8.8.8.8"),
        ("8.8.8.8", "203.0.113.7", "8.8.8.8"),
        ("10.0.0.2", None, "10.0.0.2"),
        ("10.0.0.2", "203.0.113.7, 8.8.8.8", "8.8.8.8"),
        ("10.0.0.2", "203.0.113.7, nonsense", "nonsense"),
        ("203.0.113.16", None, "203.0.113.16"),
    ],
)
async def test_a_callback_from_elsewhere_is_refused_whatever_it_claims(
    shop: Shop, peer: str, forwarded: str | None, source: str
) -> None:
    answer = await called_back(shop, peer, forwarded)
    assert_problem(answer, 403, "callback-refused")
    row = await shop.owner.fetchrow("select cause, source_address from refused_callbacks")
    assert row is not None
    assert tuple(row) == ("address", source)


async def called_back(shop: Shop, peer: str, forwarded: str | None) -> httpx.Response:
    """A forged callback to a dealer that calls from 203.0.113.0/28, behind proxies in 10/8."""
    await shop.owner.execute("update dealers set callback_from = '{203.0.113.0/28}'")
    await shop.owner.execute(PUBLISH)
    await shop.api.router.refresh(shop.api.pool)
    proxied = ProxyHeadersMiddleware(cast("Any", build_app(shop.api)), ["10.0.0.0/8"])
    transport = httpx.ASGITransport(cast("Any", proxied), client=(peer, 5))
    headers = {} if forwarded is None else {"x-forwarded-for": forwarded}
    async with httpx.AsyncClient(transport=transport, base_url="http://jalur") as client:
        return await client.post("/v1/callbacks/alfa", content=b"{}", headers=headers)


async def test_a_callback_too_large_is_refused(shop: Shop) -> None:
    answer = await shop.client().post("/v1/callbacks/alfa", content=b"x" * 65_537)
    assert_problem(answer, 413, "body-too-large")


def test_every_problem_has_a_title_and_a_status() -> None:
    for kind in Problem.__subclasses__():
        assert kind.status >= 400
        assert kind.title != Problem.title


async def test_a_real_server_answers_a_large_body_and_goes_on_with_the_connection(
    shop: Shop,
) -> None:
    customer = await shop.customer()
    async with (
        served(shop) as base_url,
        httpx.AsyncClient(base_url=base_url, headers=customer.http.headers) as client,
    ):
        for _ in range(3):
            large = await client.post("/v1/orders", content=b" " * 10_000_000)
            assert_problem(large, 413, "body-too-large")
        body = {"ref_id": "r-1", "sku": "TSEL10", "customer_number": "081234567800"}
        assert (await client.post("/v1/orders", json=body)).status_code == 202


async def test_a_body_shorter_than_declared_leaves_nothing_behind(shop: Shop) -> None:
    customer = await shop.customer()
    key = customer.http.headers["authorization"]
    async with served(shop) as base_url:
        port = int(base_url.rpartition(":")[2])
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        head = f"POST /v1/orders HTTP/1.1\r\nhost: x\r\nauthorization: {key}\r\n"
        body = '{"ref_id":"r-1","sku":"TSEL10","customer_number":"081234567800"}'
        writer.write(f"{head}content-length: {len(body) + 1}\r\n\r\n{body}".encode())
        await writer.drain()
        writer.close()
        await writer.wait_closed()
    assert await shop.counts() == (0, 0, 0)


@asynccontextmanager
async def served(shop: Shop) -> AsyncIterator[str]:
    """The API on a real socket; its address."""
    config = uvicorn.Config(build_app(shop.api), port=0, lifespan="off", log_config=None)
    server = uvicorn.Server(config)
    serving = asyncio.ensure_future(server.serve())
    try:
        while not server.started:  # noqa: ASYNC110 (the server has no event for it)
            await asyncio.sleep(0.01)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        await serving
