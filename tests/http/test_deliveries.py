"""Deliveries as resellers see them: listed, looked into, replayed; delivered to real receivers."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from standardwebhooks import Webhook

from app.lifecycle.watch_balances import watch_balances
from app.storage.pool import Pool
from dealers.contract import Outcome
from tests.http.problems import assert_problem
from tests.http.shop import Customer, Shop, open_shop
from tests.outbound.peers import Conversation, Peer, answer_forever, listening
from tests.shops import LOOPBACK, deliver_once

ENDPOINTS = "/v1/webhook-endpoints"
DELIVERIES = "/v1/deliveries"


@pytest.fixture
async def shop(pool: Pool, database_dsn: str) -> AsyncIterator[Shop]:
    async with open_shop(pool, database_dsn, policy=LOOPBACK) as opened:
        yield opened


@pytest.fixture
async def peer() -> AsyncIterator[Peer]:
    async with listening(answer_forever) as listener:
        yield listener


async def refuse(conversation: Conversation) -> None:
    """A receiver that fails, says why, and sets a cookie."""
    while True:
        await conversation.read_request()
        await conversation.send(
            b"HTTP/1.1 500 Oops\r\nServer: toko\r\nSet-Cookie: s=1\r\nContent-Length: 6000\r\n\r\n"
            + b"x" * 6000
        )


async def endpoint(customer: Customer, peer: Peer, **fields: object) -> dict[str, Any]:
    answer = await customer.http.post(ENDPOINTS, json={"url": peer.url} | fields)
    assert answer.status_code == 201
    return answer.json()


async def succeed(shop: Shop, customer: Customer, ref_id: str = "r-1") -> str:
    """Have an order accepted and delivered. Returns its id."""
    order = (await customer.order(ref_id)).json()
    await (await shop.send_to_dealer(order)).hear(Outcome.SUCCEEDED)
    return order["id"]


async def deliver(shop: Shop) -> int:
    """Make one try of everything that is due."""
    claimed = await shop.deliverer.claim(100)
    await asyncio.gather(*(deliver_once(shop.deliverer, each) for each in claimed))
    for each in claimed:
        shop.deliverer.leave(each.endpoint_id)
    await shop.deliverer.try_log.flush()
    return len(claimed)


async def give_up(shop: Shop) -> None:
    """Let every pending delivery have failed for good."""
    await shop.owner.execute(
        "update deliveries set state = 'failed', due_at = null where state = 'pending'"
    )


async def listed(customer: Customer, **wanted: object) -> list[dict[str, Any]]:
    answer = await customer.http.get(DELIVERIES, params=wanted)
    assert answer.status_code == 200, answer.text
    assert answer.json()["has_more"] is False
    return answer.json()["data"]


def kinds(peer: Peer) -> list[str]:
    return [json.loads(raw.partition(b"\r\n\r\n")[2])["type"] for raw in peer.requests]


def ids(peer: Peer) -> list[bytes]:
    heads = [raw.partition(b"\r\n\r\n")[0] for raw in peer.requests]
    return [head.partition(b"webhook-id: ")[2].partition(b"\r\n")[0] for head in heads]


async def test_a_test_event_goes_to_its_endpoint_alone_and_its_result_is_shown(
    shop: Shop, customer: Customer, peer: Peer
) -> None:
    async with listening(answer_forever) as other:
        await endpoint(customer, other)
        mine = await endpoint(customer, peer, event_types=["order.failed"])
        sent = await customer.http.post(f"{ENDPOINTS}/{mine['id']}/test")
        assert sent.status_code == 202
        assert await deliver(shop) == 1
        assert other.requests == []
    seen = (await customer.http.get(sent.headers["location"])).json()
    assert (seen["event_type"], seen["state"], seen["tries"]) == ("test.ping", "delivered", 1)
    assert seen["log"][0]["status"] == 200
    assert seen["log"][0]["response_body"] == "ok"
    raw = peer.requests[0].partition(b"\r\n\r\n")
    assert json.loads(raw[2]) == seen["payload"]


async def test_a_failed_try_shows_what_came_back_and_no_secret(
    shop: Shop, customer: Customer
) -> None:
    async with listening(refuse) as peer:
        secret = (await endpoint(customer, peer))["secret"]
        await succeed(shop, customer)
        await deliver(shop)
    (delivery,) = await listed(customer, state="undelivered")
    answer = await customer.http.get(f"{DELIVERIES}/{delivery['id']}")
    (tried,) = answer.json()["log"]
    assert (tried["status"], tried["error"]) == (500, "HTTP 500")
    assert tried["response_headers"] == {"server": "toko", "content-length": "6000"}
    assert len(tried["response_body"]) == 4096
    assert tried["request_headers"]["webhook-id"] == delivery["webhook_id"]
    assert secret not in answer.text
    assert secret.removeprefix("whsec_") not in answer.text


async def test_deliveries_are_found_by_every_filter(
    shop: Shop, customer: Customer, peer: Peer
) -> None:
    mine = await endpoint(customer, peer)
    order_id = await succeed(shop, customer, "r-1")
    await succeed(shop, customer, "r-2")
    await deliver(shop)
    await customer.http.post(f"{ENDPOINTS}/{mine['id']}/test")
    hour = timedelta(hours=1)
    now = datetime.now(UTC)
    for wanted, count in (
        ({}, 3),
        ({"state": "delivered"}, 2),
        ({"state": "undelivered"}, 1),
        ({"state": "pending"}, 1),
        ({"state": "failed"}, 0),
        ({"event_type": "test.ping"}, 1),
        ({"order_id": order_id}, 1),
        ({"endpoint_id": mine["id"]}, 3),
        ({"endpoint_id": order_id}, 0),
        ({"from": (now - hour).isoformat(), "to": (now + hour).isoformat()}, 3),
        ({"to": (now - hour).isoformat()}, 0),
        ({"from": (now + hour).isoformat()}, 0),
    ):
        assert len(await listed(customer, **wanted)) == count, wanted
    stranger = await shop.customer()
    assert await listed(stranger) == []
    first = (await listed(customer))[0]["id"]
    assert_problem(await stranger.http.get(f"{DELIVERIES}/{first}"), 404, "not-found")
    replay = await stranger.http.post(f"{DELIVERIES}/{first}/replay")
    assert_problem(replay, 404, "not-found")


async def test_pages_of_deliveries_hold_each_once(
    shop: Shop, customer: Customer, peer: Peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.storage.delivery_views.MOST_LOOKED_AT", 3)
    await endpoint(customer, peer)
    for number in range(5):
        await succeed(shop, customer, f"r-{number}")
    await deliver(shop)
    for wanted in ({"limit": 2}, {"limit": 50}, {"limit": 2, "state": "delivered"}):
        seen: list[str] = []
        page: dict[str, Any] = {"has_more": True, "next_cursor": None}
        while page["has_more"]:
            cursor = {"cursor": page["next_cursor"]} if page["next_cursor"] else {}
            page = (await customer.http.get(DELIVERIES, params=wanted | cursor)).json()
            seen += [each["id"] for each in page["data"]]
        assert seen == sorted(set(seen), reverse=True)
        assert len(seen) == 5
    foreign = await customer.http.get(DELIVERIES, params={"cursor": "b3JkZXJzOng"})
    assert_problem(foreign, 400, "invalid-cursor")


# ------------------------------------------------------------------ replays


async def test_every_replay_is_its_own_delivery_of_the_same_event(
    shop: Shop, customer: Customer, peer: Peer
) -> None:
    await endpoint(customer, peer)
    await succeed(shop, customer)
    await deliver(shop)
    (first,) = await listed(customer)
    for _ in range(2):
        answer = await customer.http.post(f"{DELIVERIES}/{first['id']}/replay")
        assert answer.status_code == 202
        assert answer.json()["replay_of"] == first["id"]
        assert await deliver(shop) == 1
    assert len(await listed(customer, state="delivered")) == 3
    assert len(peer.requests) == 3
    assert len(set(ids(peer))) == 1


async def test_a_failed_delivery_is_undelivered_until_its_replay_is_heard(
    shop: Shop, customer: Customer, peer: Peer
) -> None:
    await endpoint(customer, peer)
    await succeed(shop, customer)
    await give_up(shop)
    (failed,) = await listed(customer, state="undelivered")
    await customer.http.post(f"{DELIVERIES}/{failed['id']}/replay")
    (waiting,) = await listed(customer, state="undelivered")
    assert waiting["replay_of"] == failed["id"]
    await deliver(shop)
    assert await listed(customer, state="undelivered") == []
    assert (await customer.http.get(f"{DELIVERIES}/{failed['id']}")).json()["state"] == "replayed"


async def test_replaying_what_is_pending_sends_it_at_once_and_only_once(
    shop: Shop, customer: Customer
) -> None:
    async with listening(refuse) as peer:
        await endpoint(customer, peer)
        await succeed(shop, customer)
        await deliver(shop)
        assert await deliver(shop) == 0
        (waiting,) = await listed(customer, state="pending")
        answer = await customer.http.post(f"{DELIVERIES}/{waiting['id']}/replay")
        assert answer.json()["id"] == waiting["id"]
        assert await deliver(shop) == 1
        assert len(await listed(customer)) == 1


async def test_what_is_being_sent_is_not_replayed(
    shop: Shop, customer: Customer, peer: Peer
) -> None:
    await endpoint(customer, peer)
    await succeed(shop, customer)
    await shop.deliverer.claim(10)
    (underway,) = await listed(customer)
    answer = await customer.http.post(f"{DELIVERIES}/{underway['id']}/replay")
    assert_problem(answer, 409, "in-flight")


async def test_nothing_is_replayed_to_a_deleted_endpoint(
    shop: Shop, customer: Customer, peer: Peer
) -> None:
    mine = await endpoint(customer, peer)
    await succeed(shop, customer)
    await deliver(shop)
    (delivered,) = await listed(customer)
    await customer.http.delete(f"{ENDPOINTS}/{mine['id']}", headers={"if-match": "*"})
    answer = await customer.http.post(f"{DELIVERIES}/{delivered['id']}/replay")
    assert_problem(answer, 409, "endpoint-deleted")
    bulk = await customer.http.post(f"{DELIVERIES}/replay", json={"state": "delivered"})
    assert bulk.json()["replayed"] == 0


async def test_everything_undelivered_is_replayed_in_bounded_calls(
    shop: Shop, customer: Customer, peer: Peer
) -> None:
    await endpoint(customer, peer)
    for number in range(5):
        await succeed(shop, customer, f"r-{number}")
    await give_up(shop)
    since = (datetime.now(UTC) - timedelta(hours=1)).isoformat()
    asked = {"limit": 2, "from": since, "event_types": ["order.succeeded"]}
    dry = (await customer.http.post(f"{DELIVERIES}/replay", json={**asked, "dry_run": True})).json()
    assert (dry["matched"], dry["replayed"], dry["has_more"]) == (2, 0, True)
    counts: list[int] = []
    page: dict[str, Any] = {"has_more": True, "next_cursor": None}
    while page["has_more"]:
        body = asked | {"cursor": page["next_cursor"]}
        page = (await customer.http.post(f"{DELIVERIES}/replay", json=body)).json()
        counts.append(page["replayed"])
    assert counts == [2, 2, 1]
    assert await deliver(shop) == 5
    assert len(set(ids(peer))) == 5
    assert await listed(customer, state="undelivered") == []
    nothing = (await customer.http.post(f"{DELIVERIES}/replay", json={})).json()
    assert (nothing["matched"], nothing["has_more"]) == (0, False)


async def test_a_replay_goes_before_the_orders_later_events_and_never_holds_them_up(
    shop: Shop, customer: Customer
) -> None:
    async with listening(refuse) as broken:
        mine = await endpoint(customer, broken)
        order = (await customer.order()).json()
        sent = await shop.send_to_dealer(order)
        await sent.hear(Outcome.SUCCEEDED)
        await give_up(shop)
        await sent.hear(Outcome.FAILED, reversal=True)
        await customer.http.post(f"{DELIVERIES}/replay", json={"state": "failed"})
        assert await deliver(shop) == 1
        assert kinds(broken) == ["order.succeeded"]
        # The replay waits for its next try: what is still to come does not wait for it.
        assert await deliver(shop) == 1
        assert kinds(broken) == ["order.succeeded", "order.reversed"]
    async with listening(answer_forever) as peer:
        location = f"{ENDPOINTS}/{mine['id']}"
        change = {"url": peer.url}
        await customer.http.patch(location, json=change, headers={"if-match": "*"})
        await customer.http.post(f"{DELIVERIES}/replay", json={})
        while await deliver(shop):
            pass
        assert kinds(peer) == ["order.succeeded", "order.reversed"]


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"limit": 501}, "limit"),
        ({"state": "lost"}, "state"),
        ({"from": "2026-11-22T00:00:00"}, "from"),
        ({"from": "0001-01-01T00:00:00Z"}, "from"),
        ({"everything": True}, "everything"),
    ],
)
async def test_a_wrong_replay_is_refused_by_name(
    customer: Customer, fields: dict[str, object], field: str
) -> None:
    answer = await customer.http.post(f"{DELIVERIES}/replay", json=fields)
    assert_problem(answer, 422, "invalid-request")
    assert answer.json()["errors"][0]["field"] == field


# ------------------------------------------------------------------ rotation


async def test_old_and_new_secret_both_verify_while_they_overlap(
    shop: Shop, customer: Customer, peer: Peer
) -> None:
    mine = await endpoint(customer, peer)
    rotated = await customer.http.post(f"{ENDPOINTS}/{mine['id']}/rotate-secret", json={})
    await succeed(shop, customer, "r-1")
    await deliver(shop)
    await shop.owner.execute("update webhook_endpoints set old_secret_until = now()")
    await succeed(shop, customer, "r-2")
    await deliver(shop)
    during, after = (_parts(raw) for raw in peer.requests)
    for secret in (mine["secret"], rotated.json()["secret"]):
        assert Webhook(secret).verify(*during)
    assert len(during[1]["webhook-signature"].split(" ")) == 2
    assert len(after[1]["webhook-signature"].split(" ")) == 1
    Webhook(rotated.json()["secret"]).verify(*after)
    with pytest.raises(Exception, match="signature"):
        Webhook(mine["secret"]).verify(*after)


def _parts(raw: bytes) -> tuple[bytes, dict[str, str]]:
    head, _, body = raw.partition(b"\r\n\r\n")
    lines = (line.split(": ", 1) for line in head.decode().split("\r\n")[1:])
    return body, {name.lower(): value for name, value in lines}


# ------------------------------------------------------------------ low balances


async def test_a_low_balance_is_told_once_a_crossing(
    shop: Shop, customer: Customer, peer: Peer
) -> None:
    await endpoint(customer, peer)
    alert = "/v1/balance/alert"
    assert (await customer.http.get(alert)).json() == {"below": None}
    assert (await customer.http.put(alert, json={"below": 995_000})).status_code == 200
    now = datetime.now(UTC)

    async def look() -> None:
        await watch_balances(shop.api.pool, now)
        await deliver(shop)

    await look()
    assert kinds(peer) == []
    order = (await customer.order()).json()
    await look()
    await look()
    assert kinds(peer) == ["balance.low"]
    told = (await customer.http.get("/v1/events")).json()["data"][0]["data"]
    assert told == {"available": 989_500, "below": 995_000, "currency": "IDR"}
    await customer.http.post(f"/v1/orders/{order['id']}/cancel")
    await look()
    await customer.order("r-2")
    await look()
    assert kinds(peer).count("balance.low") == 2
    await customer.http.put(alert, json={"below": None})
    assert await shop.owner.fetchval("select count(*) from balance_alerts") == 0
    refused = await customer.http.put(alert, json={"below": 0})
    assert_problem(refused, 422, "invalid-request")


async def test_an_answer_without_any_headers_is_logged_too(shop: Shop, customer: Customer) -> None:
    async def bare(conversation: Conversation) -> None:
        while True:
            await conversation.read_request()
            await conversation.send(b"HTTP/1.1 204 No Content\r\n\r\n")

    async with listening(bare) as peer:
        mine = await endpoint(customer, peer)
        sent = await customer.http.post(f"{ENDPOINTS}/{mine['id']}/test")
        await deliver(shop)
    (tried,) = (await customer.http.get(sent.headers["location"])).json()["log"]
    assert (tried["status"], tried["response_headers"], tried["response_body"]) == (204, {}, "")
