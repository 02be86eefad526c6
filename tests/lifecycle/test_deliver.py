"""Deliver: signed, repeated under one id until heard, and nobody's slowness is another's."""

import asyncio
import json
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from standardwebhooks import Webhook
from uuid_utils.compat import uuid7

from app.lifecycle.deliver import Persistence, secret_context
from app.outbound.addresses import AddressPolicy
from app.signatures import new_secret
from app.storage import endpoints
from app.storage.deliveries import DueDelivery
from app.storage.endpoints import NewEndpoint
from app.words import Source
from app.workers.engine import Engine
from dealers.contract import Outcome
from tests.outbound.peers import Conversation, Peer, answer_forever, hang, listening
from tests.shops import RESELLER, Owner, Shop, deliver_once, engine_on

SECRET = new_secret(lambda count: b"s" * count)


def refusing(head: bytes, body: bytes = b"") -> Callable[[Conversation], Any]:
    """A receiver that answers every request with this status line and these headers."""

    async def converse(conversation: Conversation) -> None:
        while True:
            await conversation.read_request()
            length = b"Content-Length: %d\r\n\r\n" % len(body)
            await conversation.send(b"HTTP/1.1 " + head + b"\r\n" + length + body)

    return converse


@asynccontextmanager
async def receiver(shop: Shop, behaviour: Any = answer_forever) -> AsyncIterator[Peer]:
    """A webhook receiver that the reseller registered."""
    async with listening(behaviour) as peer:
        await register(shop, peer.url)
        yield peer


async def register(shop: Shop, url: str) -> UUID:
    endpoint_id = uuid7()
    sealed = shop.engine.sealer.seal(SECRET, secret_context(endpoint_id))
    new = NewEndpoint(shop.lane, endpoint_id, RESELLER, url, None, sealed)
    async with shop.engine.pool.acquire() as connection:
        await endpoints.create(connection, new)
    return endpoint_id


async def deliver(shop: Shop, limit: int = 100) -> int:
    """Claim what is due and make one try of each. Returns how many."""
    deliverer = shop.engine.deliverer
    claimed = await deliverer.claim(limit)
    await asyncio.gather(*(deliver_once(deliverer, each) for each in claimed))
    for delivery in claimed:
        deliverer.leave(delivery.endpoint_id)
    return len(claimed)


async def due_now(shop: Shop) -> None:
    await shop.execute("update deliveries set due_at = now() where due_at is not null")
    shop.engine.deliverer.looks.look_again()


async def succeeded(shop: Shop, count: int = 1) -> None:
    for number in range(count):
        await shop.succeed(await shop.bought(f"A{number}"))


async def the_delivery(shop: Shop) -> Any:
    return (await shop.fetch("select *, due_at - now() as wait from deliveries"))[0]


def headers_of(raw: bytes) -> dict[str, str]:
    lines = raw.partition(b"\r\n\r\n")[0].decode().split("\r\n")[1:]
    return {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}


def read(raw: bytes) -> Any:
    """What a receiver understands, its signature checked by the standard's own package."""
    return Webhook(SECRET).verify(raw.partition(b"\r\n\r\n")[2], headers_of(raw))


async def test_delivery_is_signed_after_the_standard(shop: Shop):
    async with receiver(shop) as peer:
        await succeeded(shop)
        assert await deliver(shop) == 1
        told = read(peer.requests[0])
    assert told["type"] == "order.succeeded"
    assert told["data"]["ref_id"] == "A0"
    row = await the_delivery(shop)
    assert (row["state"], row["tries"], row["due_at"]) == ("delivered", 1, None)
    assert await deliver(shop) == 0


async def test_every_try_carries_the_same_id_and_body(shop: Shop):
    async with receiver(shop, refusing(b"500 Oops")) as peer:
        await succeeded(shop)
        for _ in range(3):
            await due_now(shop)
            await deliver(shop)
        ids = {headers_of(raw)["webhook-id"] for raw in peer.requests}
        bodies = {raw.partition(b"\r\n\r\n")[2] for raw in peer.requests}
        assert (len(peer.requests), len(ids), len(bodies)) == (3, 1, 1)
        for raw in peer.requests:
            read(raw)


@pytest.mark.parametrize(
    "head", [b"500 Oops", b"400 Bad", b"302 Found\r\nLocation: http://127.0.0.1:1/", b"404 Not"]
)
async def test_anything_but_a_200_is_tried_again_later(shop: Shop, head: bytes):
    async with receiver(shop, refusing(head)):
        await succeeded(shop)
        await deliver(shop)
    row = await the_delivery(shop)
    assert (row["state"], row["tries"]) == ("pending", 1)
    assert 3 < row["wait"].total_seconds() <= 6
    assert row["last_error"].startswith("HTTP ")
    assert await shop.value("select failing_since is not null from webhook_endpoints")


async def test_the_next_try_is_due_no_sooner_than_this_one_is_recorded(shop: Shop):
    """A try may take longer than the wait behind it, and looks begin where something is left."""
    async with receiver(shop, refusing(b"500 Oops")):
        await succeeded(shop)
        (delivery,) = await shop.engine.deliverer.claim(10)
        began = datetime.now(UTC) - timedelta(minutes=1)
        failed = await shop.engine.deliverer.deliver(delivery, began)
        recorded_after = await shop.value("select now()")
        await shop.engine.deliverer.record(failed)
    assert await shop.value("select due_at from deliveries") >= recorded_after


async def test_success_after_failures_makes_the_endpoint_healthy_again(shop: Shop):
    answers = iter([b"500 Oops", b"200 OK"])

    async def converse(conversation: Conversation) -> None:
        while True:
            await conversation.read_request()
            head = next(answers)
            await conversation.send(b"HTTP/1.1 " + head + b"\r\nContent-Length: 0\r\n\r\n")

    async with receiver(shop, converse):
        await succeeded(shop)
        await deliver(shop)
        await due_now(shop)
        await deliver(shop)
    assert (await the_delivery(shop))["state"] == "delivered"
    assert await shop.value("select failing_since is null from webhook_endpoints")


def test_schedule_grows_over_three_days_and_then_gives_up():
    persistence = Persistence()
    waits = [persistence.next_wait(tries, 0.5) for tries in range(1, 10)]
    assert [wait.total_seconds() for wait in waits if wait] == [
        5, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400,
    ]  # fmt: skip
    assert persistence.next_wait(10, 0.5) is None


def test_waits_are_varied_by_a_fifth_at_most():
    for _ in range(100):
        wait = Persistence().next_wait(2, random.random())
        assert wait is not None
        assert 240 <= wait.total_seconds() <= 360


async def test_delivery_is_given_up_after_its_last_try(shop: Shop, database_dsn: str):
    async with engine_on(database_dsn, persistence=Persistence(schedule_seconds=(0, 0))) as hasty:
        impatient = Shop(hasty, shop.lane)
        async with receiver(shop, refusing(b"500 Oops")):
            await succeeded(shop)
            assert await deliver(impatient) == 1
            assert await deliver(impatient) == 1
            assert await deliver(impatient) == 0
    row = await the_delivery(shop)
    assert (row["state"], row["tries"], row["due_at"]) == ("failed", 2, None)


async def test_gone_disables_the_endpoint_and_keeps_the_event_for_it(shop: Shop):
    async with receiver(shop, refusing(b"410 Gone")) as peer:
        await succeeded(shop, 2)
        await deliver(shop, 1)
        await due_now(shop)
        assert await deliver(shop) == 0
        assert len(peer.requests) == 1
    assert await shop.value("select status from webhook_endpoints") == "disabled"
    assert await shop.value("select count(*) from deliveries where state = 'pending'") == 2


@pytest.mark.parametrize("status", [b"429 Slow", b"503 Later"])
async def test_retry_after_is_heeded_and_costs_no_try(shop: Shop, status: bytes):
    async with receiver(shop, refusing(status + b"\r\nRetry-After: 120")):
        await succeeded(shop)
        await deliver(shop)
    row = await the_delivery(shop)
    assert (row["state"], row["tries"]) == ("pending", 0)
    assert 110 < row["wait"].total_seconds() <= 120


async def test_retry_after_beyond_reason_is_bounded(shop: Shop):
    async with receiver(shop, refusing(b"503 Later\r\nRetry-After: 999999999999999999")):
        await succeeded(shop)
        await deliver(shop)
    row = await the_delivery(shop)
    assert row["claim_id"] is None
    assert row["wait"].total_seconds() <= 36000


async def test_retry_after_nothing_does_not_make_us_hurry(shop: Shop):
    async with receiver(shop, refusing(b"503 Later\r\nRetry-After: 0")):
        await succeeded(shop)
        await deliver(shop)
    assert (await the_delivery(shop))["wait"].total_seconds() > 0


async def test_refused_address_is_a_failed_try(shop: Shop, database_dsn: str):
    await register(shop, "http://127.0.0.1:9/")
    await succeeded(shop)
    closed = AddressPolicy(allow_http=True)
    async with engine_on(database_dsn, address_policy=closed) as strict:
        await deliver(Shop(strict, shop.lane))
    row = await the_delivery(shop)
    assert (row["state"], row["tries"]) == ("pending", 1)
    assert "loopback" in row["last_error"]


async def test_what_was_to_go_to_a_deleted_endpoint_is_given_up_unsent(shop: Shop):
    async with receiver(shop) as peer:
        await succeeded(shop)
        await shop.execute("update webhook_endpoints set status = 'deleted'")
        await deliver(shop)
        assert peer.requests == []
    row = await the_delivery(shop)
    assert (row["state"], row["tries"], row["due_at"]) == ("failed", 0, None)


async def test_secret_that_cannot_be_opened_costs_no_try(shop: Shop):
    async with receiver(shop) as peer:
        await shop.execute("update webhook_endpoints set secret_sealed = 'x'")
        await succeeded(shop)
        await deliver(shop)
        assert peer.requests == []
    row = await the_delivery(shop)
    assert (row["state"], row["tries"]) == ("pending", 0)
    assert await shop.value("select failing_since is null from webhook_endpoints")


async def test_time_out_is_a_failed_try(shop: Shop, database_dsn: str):
    hasty = Persistence(timeout_seconds=0.2)
    async with engine_on(database_dsn, persistence=hasty) as quick, receiver(shop, hang):
        await succeeded(shop)
        await deliver(Shop(quick, shop.lane))
    assert (await the_delivery(shop))["tries"] == 1


async def test_events_of_one_order_go_one_at_a_time_in_order(shop: Shop):
    async with receiver(shop) as peer:
        purchase = await shop.bought()
        await shop.succeed(purchase)
        await shop.hear(purchase, Outcome.FAILED, Source.CALLBACK, reversal=True)
        assert await deliver(shop) == 1
        assert await deliver(shop) == 1
        types = [read(raw)["type"] for raw in peer.requests]
    assert types == ["order.succeeded", "order.reversed"]


async def test_events_of_different_orders_do_not_wait_for_each_other(shop: Shop):
    async with receiver(shop):
        await succeeded(shop, 5)
        assert await deliver(shop) == 5


async def test_slow_endpoint_takes_no_more_than_its_places(shop: Shop, database_dsn: str):
    persistence = Persistence(endpoint_concurrency=4)
    async with engine_on(database_dsn, persistence=persistence) as engine, receiver(shop):
        await succeeded(shop, 12)
        claimed = await engine.deliverer.claim(100)
        assert len(claimed) <= 4
        assert await engine.deliverer.claim(100) == []
        engine.deliverer.leave(claimed[0].endpoint_id)
        assert len(await engine.deliverer.claim(100)) <= 1


async def test_slow_endpoint_leaves_the_claim_to_others(shop: Shop, database_dsn: str):
    persistence = Persistence(endpoint_concurrency=2)
    async with engine_on(database_dsn, persistence=persistence) as engine:
        slow = await register(shop, "http://127.0.0.1:9/slow")
        await succeeded(shop, 8)
        quick = await register(shop, "http://127.0.0.1:9/quick")
        await shop.succeed(await shop.bought("B1"))
        claimed = await engine.deliverer.claim(4)
    assert {each.endpoint_id for each in claimed} == {slow, quick}


async def test_process_that_dies_while_delivering_leaves_it_to_another(shop: Shop):
    async with receiver(shop) as peer:
        await succeeded(shop)
        (abandoned,) = await shop.engine.deliverer.claim(10)
        assert await deliver(shop) == 0
        await due_now(shop)
        assert await deliver(shop) == 1
        await deliver_once(shop.engine.deliverer, abandoned)
        assert len(peer.requests) == 2
    row = await the_delivery(shop)
    assert (row["state"], row["tries"]) == ("delivered", 1)


# ------------------------------------------------------------------ handed over by settling


def taking(engine: Engine) -> list[DueDelivery]:
    """Open the handover, as the deliverer's loop does; what is begun is collected."""
    begun: list[DueDelivery] = []
    engine.deliverer.handover.open(begun.append, lambda reserved: True)
    return begun


async def make(shop: Shop, begun: list[DueDelivery]) -> None:
    """Make one try of each delivery that was begun."""
    for delivery in list(begun):
        begun.remove(delivery)
        await deliver_once(shop.engine.deliverer, delivery)
        shop.engine.deliverer.leave(delivery.endpoint_id)


async def test_first_event_is_handed_over_claimed_and_made_once(shop: Shop, database_dsn: str):
    async with receiver(shop) as peer, engine_on(database_dsn) as elsewhere:
        begun = taking(shop.engine)
        await succeeded(shop)
        assert await elsewhere.deliverer.claim(100) == []
        assert len(begun) == 1
        await make(shop, begun)
        assert len(peer.requests) == 1
        assert await deliver(shop) == 0
    assert (await the_delivery(shop))["state"] == "delivered"


async def test_later_event_of_an_order_waits_its_turn_in_the_database(shop: Shop):
    async with receiver(shop) as peer:
        begun = taking(shop.engine)
        purchase = await shop.bought()
        await shop.succeed(purchase)
        await shop.hear(purchase, Outcome.FAILED, Source.CALLBACK, reversal=True)
        claims = await shop.fetch("select claim_id from deliveries order by event_seq")
        assert [row["claim_id"] is None for row in claims] == [False, True]
        await make(shop, begun)
        while await deliver(shop):
            pass
        kinds = [json.loads(raw.partition(b"\r\n\r\n")[2])["type"] for raw in peer.requests]
    assert kinds == ["order.succeeded", "order.reversed"]


async def test_nothing_is_handed_over_where_nobody_would_deliver_it(shop: Shop):
    async with receiver(shop):
        await succeeded(shop)
        assert await shop.value("select claim_id from deliveries") is None
        assert await deliver(shop) == 1


async def test_no_more_than_fifteen_wait_for_each_place_of_their_endpoint(
    shop: Shop, database_dsn: str
):
    one = Persistence(endpoint_concurrency=1)
    async with engine_on(database_dsn, persistence=one) as engine, receiver(shop) as peer:
        busy = Shop(engine, shop.lane)
        begun = taking(engine)
        await succeeded(busy, 18)
        assert await shop.value("select count(*) from deliveries where claim_id is null") == 2
        for _ in range(16):
            assert len(begun) == 1
            await make(busy, begun)
        assert not begun
        assert len(peer.requests) == 16
        assert await deliver(busy) == 1


async def test_delivery_that_waited_too_long_for_a_place_is_left_to_its_lease(
    shop: Shop, database_dsn: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("app.lifecycle.deliver._QUEUE_SECONDS", 0.0)
    one = Persistence(endpoint_concurrency=1)
    async with engine_on(database_dsn, persistence=one) as engine, receiver(shop) as peer:
        busy = Shop(engine, shop.lane)
        begun = taking(engine)
        await succeeded(busy, 2)
        await make(busy, begun)
        assert not begun
        await asyncio.wait_for(engine.deliverer.handover.settled(), 5)
        await due_now(shop)
        assert await deliver(busy) == 1
        assert len(peer.requests) == 2


async def test_settling_that_fails_gives_its_places_back(
    shop: Shop, owner: Owner, database_dsn: str
):
    one = Persistence(endpoint_concurrency=1)
    async with engine_on(database_dsn, persistence=one) as engine, receiver(shop):
        busy = Shop(engine, shop.lane)
        begun = taking(engine)
        first, second = await busy.bought("A1"), await busy.bought("A2")
        await owner.execute("alter table events add constraint never check (false) not valid")
        with pytest.raises(Exception, match="never"):
            await busy.succeed(first)
        await asyncio.wait_for(engine.deliverer.handover.settled(), 5)
        await owner.execute("alter table events drop constraint never")
        await busy.succeed(second)
        assert len(begun) == 1
        await busy.succeed(first)
