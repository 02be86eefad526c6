"""Logs of the real service at debug level, through trouble: no secret, no number, every order."""

import asyncio
import base64
import json
import re
import socket
from collections.abc import Iterator
from urllib.parse import quote, urlsplit

import asyncpg
import httpx
import pytest

from app.cli.demo import seed
from app.lifecycle.deliver import secret_context
from app.sealing import Sealer
from tests.faults.shop import Process, Shop, load, order
from tests.ports import free_port
from tests.shops import until

ADMIN_TOKEN = "operators-own-token-5d41402abc4b2a76"
WRONG_TOKEN = "guessed-path-7c6a180b36896a0a"
STRAYS = ["081299887766", "6285711223344", "+6281998877665"]


def encodings(secret: str) -> Iterator[str]:
    """A secret as it stands, and as it could hide; base64 at each of its three alignments."""
    raw = secret.encode()
    yield from {
        secret,
        quote(secret, safe=""),
        raw.hex(),
        json.dumps(secret)[1:-1],
        repr(raw)[2:-1],
    }
    for before in range(3):
        # The first and last characters mix with what stands around the secret.
        text = base64.b64encode(b"\0" * before + raw).decode().rstrip("=")
        inner = text[(0, 2, 3)[before] : -1]
        yield from {inner, inner.replace("+", "-").replace("/", "_"), quote(inner, safe="")}


async def secrets_of(shop: Shop) -> list[str]:
    """Everything that must not be told; the PIN is looked for apart, it is too short."""
    connection = await asyncpg.connect(shop.dsn)
    rows = await connection.fetch("select endpoint_id, secret_sealed from webhook_endpoints")
    await connection.close()
    sealer = Sealer([shop.secret_key])
    webhooks = [sealer.open(row[1], secret_context(row[0])) for row in rows]
    dealers = [
        value
        for dealer in seed.DEALERS
        for name, value in dealer.credentials.items()
        if name not in {"username", "memberID", "pin"}
    ]
    urls = [urlsplit(url).password for url in (shop.dsn, shop.redis_url) if url]
    own = [ADMIN_TOKEN, WRONG_TOKEN, shop.secret_key, shop.key.token, shop.key.token[-39:]]
    told = [secret.removeprefix("whsec_") for secret in webhooks]
    return [*own, *dealers, *told, seed.CALLBACK_TOKEN, *filter(None, urls)]


async def misbehave(shop: Shop) -> None:
    """Requests that should never have been sent, each carrying something that must not be told."""
    number = STRAYS[0]
    async with shop.client() as client:
        await client.post("/v1/orders", content=f'{{"customer_number": "{number}", '.encode())
        await client.post("/v1/orders", json={**order(1), "customer_number": STRAYS[1], "sku": "?"})
        await client.post("/v1/orders", json={**order(1), STRAYS[2]: shop.key.token})
        await client.get(f"/v1/orders?api_key={shop.key.token}&number={number}&status=none")
        await client.get(f"/v1/callbacks/cahaya/{WRONG_TOKEN}?refid=X&message={number}")
        await client.get(f"/v1/callbacks/cahaya/{seed.CALLBACK_TOKEN}?message=gagal+{number}")
        hook = f"/v1/callbacks/nusantara/{seed.CALLBACK_TOKEN}"
        await client.post(hook, json={"data": number}, headers={"x-hub-signature": "sha1=00"})
        await client.post("/v1/webhook-endpoints", json={"url": f"http://u:{ADMIN_TOKEN}@x/"})
        wrong = {"authorization": f"Bearer {ADMIN_TOKEN}x", "x-forwarded-for": "10.1.2.3"}
        await client.get("/metrics", headers=wrong)
    await asyncio.to_thread(say_nonsense, shop.port, f"NO {ADMIN_TOKEN} {number}\r\n\r\n".encode())


def say_nonsense(port: int, text: bytes) -> None:
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(text)
        connection.recv(1000)


async def break_things(shop: Shop) -> None:
    """A dealer's credentials unreadable, the cheapest dealer down, a table that cannot be taken up,
    every connection cut."""
    connection = await asyncpg.connect(shop.dsn)
    down = f"http://127.0.0.1:{free_port()}/nusantara"
    await connection.execute("update dealers set base_url = $1 where dealer_id = 'nusantara'", down)
    await connection.execute(
        "update dealers set credentials_sealed = 'x' where dealer_id = 'rimba'"
    )
    for policy in ("{}", '{"window_days": 0}', "{}"):
        await connection.execute(
            "update routing_policy set revision = revision + 1, policy = $1", policy
        )
        await asyncio.sleep(1.5)
    await connection.execute(
        "select pg_terminate_backend(pid) from pg_stat_activity "
        "where datname = current_database() and pid <> pg_backend_pid()"
    )
    await connection.close()


async def trade(shop: Shop) -> dict[str, str]:
    """Every behaviour of the simulated dealers but the one that never ends. ref_id to order id."""
    accepted: dict[str, str] = {}
    shop.start(JALUR_LOG_LEVEL="debug", JALUR_ADMIN_TOKEN=ADMIN_TOKEN)
    await shop.until_ready()
    await shop.register_receiver()
    digits = [0, *range(70, 88), 90]
    async with shop.client() as client:
        await load(client, [order(n, each) for n, each in enumerate(digits)], accepted)
        await misbehave(shop)
        assert (await shop.verdict()).left.nothing
        await break_things(shop)
        await load(client, [order(100 + n, 7) for n in range(6)], accepted)
        assert (await shop.verdict()).left.nothing
    return accepted


@pytest.fixture
async def told(shop: Shop) -> tuple[Shop, dict[str, str], str]:
    """The shop after its trade, the accepted orders, and all that the service logged."""
    accepted = await trade(shop)
    return shop, accepted, log_of(shop.processes[-1])


async def told_of(process: Process, event: str) -> bool:
    """Whether the process has logged an event. Asked for now and then."""
    await asyncio.sleep(0.1)
    return event in log_of(process)


def log_of(process: Process) -> str:
    """All that a service logged, once it has ended."""
    process.terminate()
    assert process.log is not None
    return process.log.read_text()


async def test_service_tells_every_order_and_nothing_that_it_must_not(
    told: tuple[Shop, dict[str, str], str],
):
    shop, accepted, text = told
    lines = [json.loads(line) for line in text.splitlines()]
    assert_no_secret(text, await secrets_of(shop))
    assert_no_number(text, shop)
    assert_trouble_was_told(lines)
    for order_id in accepted.values():
        assert_followed(lines, order_id)
    of_70, of_71 = accepted["order-000001"], accepted["order-000002"]
    assert "callback.read" in events_of(lines, of_70)
    assert "attempt.asked" in events_of(lines, of_71)


def assert_no_secret(text: str, secrets: list[str]) -> None:
    folded = text.lower()
    for secret in secrets:
        for hidden in encodings(secret):
            assert hidden.lower() not in folded, f"{secret} as {hidden}"
    assert re.search(r"(?<![0-9a-f.])1144(?![0-9a-f])", text) is None, "the PIN"


def assert_no_number(text: str, shop: Shop) -> None:
    bodies = [order(n, each) for n, each in enumerate([0, *range(70, 88), 90])]
    bodies += [order(100 + n, 7) for n in range(6)]
    numbers = [str(body["customer_number"]) for body in bodies] + STRAYS
    for number in numbers:
        assert number.lstrip("+062")[-10:] not in text, number


def assert_trouble_was_told(lines: list[dict]) -> None:
    """What was provoked is in the log at all, so that its silence proves something."""
    events = {line["event"] for line in lines}
    assert {"callback.refused", "upkeep.failed", "table.taken"} <= events
    assert any("rimba" in str(line.get("faults")) for line in lines)
    assert any(line.get("code") == "not-connected" for line in lines)
    assert any("Invalid HTTP" in line["event"] for line in lines)


def events_of(lines: list[dict], order_id: str) -> list[str]:
    return [line["event"] for line in lines if line.get("order_id") == order_id]


def assert_followed(lines: list[dict], order_id: str) -> None:
    events = events_of(lines, order_id)
    mine = [line for line in lines if line.get("order_id") == order_id]
    # Accepted and claimed in one commit, it may be sent before its acceptance is told.
    accepted = mine[events.index("order.accepted")]
    assert re.fullmatch("[0-9a-f]{32}", accepted["trace_id"])
    assert events.index("order.accepted") <= 1
    assert events.index("attempt.sent") < events.index("attempt.settled")
    assert [line["result"] for line in mine if line["event"] == "delivery.tried"][-1] == "delivered"


async def test_caller_is_given_the_trace_that_its_order_is_logged_with(shop: Shop):
    process = shop.start(JALUR_LOG_LEVEL="debug")
    await shop.until_ready()
    await shop.register_receiver()
    async with shop.client() as client:
        answer = await client.post("/v1/orders", json=order(1))
        await until(lambda: told_of(process, "delivery.tried"), seconds=30)
    lines = [json.loads(line) for line in log_of(process).splitlines()]
    mine = [line for line in lines if line.get("order_id") == answer.json()["id"]]
    told = {line["event"] for line in mine}
    assert told >= {"order.accepted", "attempt.sent", "attempt.settled", "delivery.tried"}
    assert {line["trace_id"] for line in mine} == {answer.headers["x-request-id"]}


async def test_worker_shows_its_metrics_where_it_is_told_to(shop: Shop):
    port = free_port()
    shop.start("worker", JALUR_METRICS_PORT=str(port))
    await shop.until_ready(port)
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
        assert "jalur_ready_orders 0.0" in (await client.get("/metrics")).text
        assert (await client.post("/v1/orders", json=order(1))).status_code == 404
