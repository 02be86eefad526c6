"""Receive: callbacks are kept as they came; only what is signed is a word."""

import asyncio
import hmac
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest

from app.errors import Forbidden, NotFound
from app.lifecycle.execute import Purchase
from app.references import dealer_reference
from app.storage import statements
from dealers.contract import Callback, Outcome, ReferenceRules
from tests.lifecycle.counters import Asked, always, counter
from tests.outbound.peers import Peer
from tests.shops import ALFA, BRAVO, OPENING_RUPIAH, PRICE, Seller, Shop, engine_on, enrol, furnish

SIGNER = Seller("delta", 4900, protocol="digiflazz")


@pytest.fixture
async def signed_shop(database_dsn: str) -> AsyncIterator[Shop]:
    """A shop whose cheapest dealer signs its callbacks."""
    async with opened(database_dsn, [SIGNER, ALFA, BRAVO]) as shop:
        yield shop


@asynccontextmanager
async def opened(dsn: str, sellers: list[Seller]) -> AsyncIterator[Shop]:
    await furnish(dsn, sellers)
    async with engine_on(dsn) as engine:
        shop = Shop(engine, await enrol(engine))
        yield shop
        async with engine.pool.acquire() as connection:
            assert await statements.verify(connection) == []


@asynccontextmanager
async def asking_shop(dsn: str) -> AsyncIterator[tuple[Shop, Peer]]:
    """A shop whose dealer alfa does not sign, and says success when asked."""
    async with AsyncExitStack() as stack:
        alfa = await stack.enter_async_context(counter(always(Asked.sukses)))
        sellers = [replace(ALFA, base_url=alfa.url), BRAVO]
        yield await stack.enter_async_context(opened(dsn, sellers)), alfa


def signed(dealer_ref: str, code: str = "00", status: str = "Sukses", **more: Any) -> Callback:
    data = {"ref_id": dealer_ref, "rc": code, "status": status, "sn": "SN9", **more}
    body = json.dumps({"data": data}).encode()
    signature = hmac.digest(b"rahasia", body, "sha1").hex()
    return Callback("POST", "", {"x-hub-signature": f"sha1={signature}"}, body)


def unsigned(dealer_ref: str, status: str = "20") -> Callback:
    return Callback("GET", f"refid={dealer_ref}&status={status}", {}, b"")


async def receive(shop: Shop, dealer_id: str, callback: Callback) -> None:
    await shop.engine.receiver.receive(dealer_id, "sesame", callback, "127.0.0.1")


async def verdicts(shop: Shop) -> list[str]:
    rows = await shop.fetch("select verdict from callbacks order by received_at")
    return [row[0] for row in rows]


async def bought_from(shop: Shop, dealer_id: str) -> Purchase:
    return await shop.bought(dealer_id=dealer_id)


async def sweep_again(shop: Shop) -> int:
    await shop.execute("update callbacks set last_received_at = now() - interval '1 minute'")
    return await shop.engine.receiver.sweep()


# ------------------------------------------------------------------ signed


async def test_signed_callback_settles_before_the_purchases_own_answer(signed_shop: Shop):
    purchase = await bought_from(signed_shop, "delta")
    await receive(signed_shop, "delta", signed(purchase.order.dealer_ref))
    assert await signed_shop.status(purchase.order_id) == "succeeded"
    await signed_shop.hear(purchase, Outcome.UNKNOWN, transport=True)
    await signed_shop.hear(purchase, Outcome.PENDING)
    assert await signed_shop.kinds(purchase.order_id) == ["reserve", "capture"]
    assert await signed_shop.value("select due_at is null from attempts")
    assert await verdicts(signed_shop) == ["applied"]


async def test_duplicate_callbacks_are_counted_and_change_nothing(signed_shop: Shop):
    purchase = await bought_from(signed_shop, "delta")
    callback = signed(purchase.order.dealer_ref)
    await asyncio.gather(*(receive(signed_shop, "delta", callback) for _ in range(5)))
    assert await signed_shop.value("select times_received from callbacks") == 5
    assert await signed_shop.events(purchase.order_id) == ["order.succeeded"]
    assert await signed_shop.money() == (OPENING_RUPIAH - PRICE, 0)


async def test_the_same_callback_again_after_another_word_is_applied_again(signed_shop: Shop):
    purchase = await bought_from(signed_shop, "delta")
    ref = purchase.order.dealer_ref
    await receive(signed_shop, "delta", signed(ref))
    await receive(signed_shop, "delta", signed(ref, "74", "Gagal"))
    assert await signed_shop.status(purchase.order_id) == "reversed"
    await receive(signed_shop, "delta", signed(ref))
    assert await signed_shop.status(purchase.order_id) == "reversed"
    assert await signed_shop.value("select reason from reviews") == "success-after-reversal"


async def test_wrong_signature_is_refused_and_settles_nothing(signed_shop: Shop):
    purchase = await bought_from(signed_shop, "delta")
    forged = replace(signed(purchase.order.dealer_ref), headers={"x-hub-signature": "sha1=00"})
    with pytest.raises(Forbidden):
        await receive(signed_shop, "delta", forged)
    assert await signed_shop.status(purchase.order_id) == "accepted"
    assert await verdicts(signed_shop) == []


async def test_callback_of_one_dealer_about_anothers_purchase_is_unmatched(signed_shop: Shop):
    purchase = await bought_from(signed_shop, "alfa")
    await receive(signed_shop, "delta", signed(purchase.order.dealer_ref))
    assert await verdicts(signed_shop) == ["unmatched"]
    assert await signed_shop.status(purchase.order_id) == "accepted"


async def test_signed_callback_left_by_a_dead_process_is_applied_by_the_sweep(signed_shop: Shop):
    purchase = await bought_from(signed_shop, "delta")
    await receive(signed_shop, "delta", signed(purchase.order.dealer_ref, "03", "Pending"))
    await signed_shop.execute("update callbacks set verdict = 'waiting'")
    assert await signed_shop.engine.receiver.sweep() == 0
    assert await sweep_again(signed_shop) == 1
    assert await verdicts(signed_shop) == ["applied"]
    assert await signed_shop.states(purchase.order_id) == ["pending"]


# ------------------------------------------------------------------ unsigned


@pytest.mark.parametrize("status", ["20", "40", "52"])
async def test_unsigned_callback_only_makes_us_ask(database_dsn: str, status: str):
    async with asking_shop(database_dsn) as (shop, alfa):
        purchase = await shop.bought()
        await shop.hear(purchase, Outcome.PENDING)
        await receive(shop, "alfa", unsigned(purchase.order.dealer_ref, status))
        assert await shop.states(purchase.order_id) == ["pending"]
        assert await verdicts(shop) == ["check"]
        (check,) = await shop.engine.reconciler.claim(10)
        await shop.engine.reconciler.check(check)
        assert len(alfa.requests) == 1
        assert await shop.status(purchase.order_id) == "succeeded"


async def test_callback_while_the_purchase_is_on_its_way_waits_for_its_turn(database_dsn: str):
    async with asking_shop(database_dsn) as (shop, _):
        purchase = await shop.bought()
        await receive(shop, "alfa", unsigned(purchase.order.dealer_ref))
        assert await verdicts(shop) == ["waiting"]
        assert await shop.engine.reconciler.claim(10) == []
        assert await sweep_again(shop) == 1
        assert await verdicts(shop) == ["waiting"]
        await shop.hear(purchase, Outcome.PENDING)
        await sweep_again(shop)
        assert await verdicts(shop) == ["check"]
        assert len(await shop.engine.reconciler.claim(10)) == 1


async def test_unsigned_callback_after_the_order_failed_brings_a_late_success_to_light(
    database_dsn: str,
):
    async with asking_shop(database_dsn) as (shop, _):
        purchase = await shop.bought()
        await shop.execute("update orders set retry_until = now()")
        await shop.hear(purchase, Outcome.FAILED)
        assert await shop.status(purchase.order_id) == "failed"
        await receive(shop, "alfa", unsigned(purchase.order.dealer_ref))
        (check,) = await shop.engine.reconciler.claim(10)
        await shop.engine.reconciler.check(check)
        assert await shop.events(purchase.order_id) == ["order.failed", "order.corrected"]


async def test_unsigned_callbacks_where_asking_is_buying_keep_the_dealers_interval(
    database_dsn: str,
):
    unsigning = replace(SIGNER, credentials='{"username": "toko", "api_key": "kunci"}')
    async with opened(database_dsn, [unsigning]) as shop:
        purchase = await bought_from(shop, "delta")
        await shop.hear(purchase, Outcome.PENDING)
        await receive(shop, "delta", signed(purchase.order.dealer_ref))
        assert await verdicts(shop) == ["check"]
        soon = "select due_at < asked_at + interval '60 seconds' from attempts"
        assert not await shop.value(soon)


async def test_unsigned_callback_about_a_closed_purchase_is_not_answered_by_buying(
    database_dsn: str,
):
    unsigning = replace(SIGNER, credentials='{"username": "toko", "api_key": "kunci"}')
    async with opened(database_dsn, [unsigning, ALFA]) as shop:
        purchase = await bought_from(shop, "delta")
        await shop.refuse(purchase)
        await receive(shop, "delta", signed(purchase.order.dealer_ref))
        assert await verdicts(shop) == ["review"]
        assert await shop.engine.reconciler.claim(10) == []


# ------------------------------------------------------------------ strangers


async def test_unknown_reference_is_kept_as_unmatched(shop: Shop):
    foreign = dealer_reference(3, UUID(int=5), 1, ReferenceRules())
    await receive(shop, "alfa", unsigned(foreign))
    assert await verdicts(shop) == ["unmatched"]


@pytest.mark.parametrize("token", [None, "", "wrong"])
async def test_wrong_token_finds_no_such_address(shop: Shop, token: str | None):
    purchase = await shop.bought()
    callback = unsigned(purchase.order.dealer_ref)
    with pytest.raises(NotFound):
        await shop.engine.receiver.receive("alfa", token, callback, "127.0.0.1")
    assert await verdicts(shop) == []


async def test_unknown_dealer_finds_no_such_address(shop: Shop):
    with pytest.raises(NotFound):
        await receive(shop, "nobody", unsigned("AA"))


@pytest.mark.parametrize("reference", ["zz-not-ours", "ZZZZZZZZZZZZZZZZZZZZZZ", "1"])
async def test_reference_that_cannot_be_ours_is_refused(shop: Shop, reference: str):
    with pytest.raises(Forbidden):
        await receive(shop, "alfa", unsigned(reference))
