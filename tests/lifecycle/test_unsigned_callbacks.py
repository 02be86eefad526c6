"""Callbacks that nobody signs: a word only where nothing can be asked and their origin is sure."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from xmlrpc.client import dumps

import pytest

from app.errors import Forbidden, NotFound
from app.lifecycle.execute import Purchase
from app.storage import statements
from dealers.contract import Callback, Outcome
from tests.lifecycle.counters import Asked, counter
from tests.outbound.peers import Peer
from tests.shops import ALFA, BRAVO, OPENING_RUPIAH, PRICE, Seller, Shop, engine_on, enrol, furnish

CODES = {"success_codes": "00", "failure_codes": "01", "number_codes": "16", "reversal_codes": "25"}
NETWORK, THEIRS, ELSEWHERE = "203.0.113.0/28", "203.0.113.7", "203.0.113.77"
LAMA = Seller("lama", 4900, "xmlrpc_center", options=json.dumps(CODES), callback_from=(NETWORK,))
UNLISTED = replace(LAMA, callback_from=())


@asynccontextmanager
async def opened(dsn: str, *sellers: Seller) -> AsyncIterator[Shop]:
    await furnish(dsn, sellers)
    async with engine_on(dsn) as engine:
        shop = Shop(engine, await enrol(engine))
        yield shop
        async with engine.pool.acquire() as connection:
            assert await statements.verify(connection) == []


@pytest.fixture
async def shop(database_dsn: str) -> AsyncIterator[Shop]:
    """A shop that can buy from lama, which cannot be asked, and from bravo, which can."""
    async with opened(database_dsn, LAMA, BRAVO) as shop:
        yield shop


def result(purchase: Purchase, code: str, message: str = "") -> Callback:
    """What lama calls with."""
    told = {
        "TransactionID": "551",
        "ResponseCode": code,
        "ReffTransactionID": purchase.order.dealer_ref,
        "Message": message,
    }
    return Callback("POST", "", {}, dumps((told,), "pulsaservertopupinfo").encode())


async def receive(
    shop: Shop, purchase: Purchase, code: str, message: str = "", source: str = THEIRS
) -> None:
    callback = result(purchase, code, message)
    await shop.engine.receiver.receive("lama", "sesame", callback, source)


async def acknowledged(shop: Shop) -> Purchase:
    """A purchase that lama has taken."""
    purchase = await shop.bought(dealer_id="lama")
    await shop.hear(purchase, Outcome.PENDING)
    return purchase


async def verdicts(shop: Shop) -> list[str]:
    rows = await shop.fetch("select verdict from callbacks order by received_at")
    return [row[0] for row in rows]


async def reviews(shop: Shop) -> list[str]:
    rows = await shop.fetch("select reason from reviews where closed_at is null")
    return [row[0] for row in rows]


# ------------------------------------------------------------------ nothing can be asked


async def test_a_trusted_success_settles_an_acknowledged_purchase(shop: Shop):
    purchase = await acknowledged(shop)
    assert await reviews(shop) == []
    await receive(shop, purchase, "00", "SUKSES. SN: 0123.")
    assert await shop.status(purchase.order_id) == "succeeded"
    assert await shop.value("select serial_number from orders") == "0123"
    assert await shop.money() == (OPENING_RUPIAH - PRICE, 0)
    assert await verdicts(shop) == ["applied"]
    assert await shop.events(purchase.order_id) == ["order.succeeded"]


async def test_a_trusted_failure_opens_the_next_dealer(shop: Shop):
    purchase = await acknowledged(shop)
    await receive(shop, purchase, "01", "Produk gangguan")
    assert await shop.states(purchase.order_id) == ["failed"]
    assert len(await shop.waiting()) == 1


async def test_a_trusted_word_on_the_number_ends_the_order(shop: Shop):
    purchase = await acknowledged(shop)
    await receive(shop, purchase, "16")
    assert await shop.status(purchase.order_id) == "failed"
    assert await shop.money() == (OPENING_RUPIAH, 0)


async def test_a_trusted_callback_comes_before_the_acknowledgement(shop: Shop):
    purchase = await shop.bought(dealer_id="lama")
    await receive(shop, purchase, "00")
    await shop.hear(purchase, Outcome.PENDING)
    await shop.hear(purchase, Outcome.UNKNOWN, transport=True)
    assert await shop.kinds(purchase.order_id) == ["reserve", "capture"]
    assert await shop.events(purchase.order_id) == ["order.succeeded"]
    assert await reviews(shop) == []


async def test_trusted_duplicates_move_money_once(shop: Shop):
    purchase = await acknowledged(shop)
    await asyncio.gather(*(receive(shop, purchase, "00") for _ in range(5)))
    assert await shop.kinds(purchase.order_id) == ["reserve", "capture"]
    assert await shop.events(purchase.order_id) == ["order.succeeded"]
    assert await shop.value("select times_received from callbacks") == 5


async def test_a_trusted_success_after_failure_is_charged_and_told_once(shop: Shop):
    purchase = await acknowledged(shop)
    await shop.execute("update orders set retry_until = now()")
    await receive(shop, purchase, "01")
    assert await shop.money() == (OPENING_RUPIAH, 0)
    for _ in range(2):
        await receive(shop, purchase, "00", "SUKSES. SN: 9.")
    assert await shop.status(purchase.order_id) == "succeeded"
    assert await shop.events(purchase.order_id) == ["order.failed", "order.corrected"]
    assert await shop.money() == (OPENING_RUPIAH - PRICE, 0)


async def test_a_trusted_reversal_is_paid_back_and_told_once(shop: Shop):
    purchase = await acknowledged(shop)
    await receive(shop, purchase, "00")
    for _ in range(2):
        await receive(shop, purchase, "25", "Dana dikembalikan")
    assert await shop.status(purchase.order_id) == "reversed"
    assert await shop.events(purchase.order_id) == ["order.succeeded", "order.reversed"]
    assert await shop.money() == (OPENING_RUPIAH, 0)


async def test_a_trusted_contradiction_moves_nothing_and_people_look(shop: Shop):
    purchase = await acknowledged(shop)
    await receive(shop, purchase, "00")
    await receive(shop, purchase, "01")
    assert await shop.status(purchase.order_id) == "succeeded"
    assert await reviews(shop) == ["contradiction"]
    assert await shop.events(purchase.order_id) == ["order.succeeded"]


async def test_a_success_while_another_dealer_buys_is_a_dispute(shop: Shop):
    purchase = await acknowledged(shop)
    await receive(shop, purchase, "01")
    (second,) = await shop.claim()
    await shop.hear(second, Outcome.PENDING)
    await receive(shop, purchase, "00")
    await shop.succeed(second)
    assert await shop.value("select count(*) from disputes where closed_at is null") == 1
    assert await shop.money() == (OPENING_RUPIAH - PRICE, 0)
    assert await shop.events(purchase.order_id) == ["order.succeeded"]


async def test_a_trusted_callback_that_cannot_be_understood_is_for_people(shop: Shop):
    purchase = await acknowledged(shop)
    await receive(shop, purchase, "77")
    assert await shop.states(purchase.order_id) == ["pending"]
    assert await reviews(shop) == ["unresolved"]


async def test_an_acknowledged_purchase_is_awaited_until_the_review(shop: Shop):
    purchase = await acknowledged(shop)
    due_in = "select due_at - sent_at from attempts"
    assert await shop.value(due_in) == timedelta(minutes=30)
    await shop.execute(
        "update attempts set sent_at = sent_at - interval '30 minutes', due_at = now()"
    )
    await shop.engine.reconciler.check(await shop.claim_check())
    assert await reviews(shop) == ["unresolved"]
    assert await shop.value("select needs_review from orders")
    assert await shop.value("select due_at is null from attempts")
    await receive(shop, purchase, "00")
    assert await shop.status(purchase.order_id) == "succeeded"
    assert await reviews(shop) == []


async def test_a_lost_answer_is_for_people_at_once_and_a_trusted_callback_ends_it(shop: Shop):
    purchase = await shop.bought(dealer_id="lama")
    await shop.hear(purchase, Outcome.UNKNOWN, transport=True)
    assert await reviews(shop) == ["unresolved"]
    await receive(shop, purchase, "00")
    assert await shop.status(purchase.order_id) == "succeeded"
    assert await reviews(shop) == []


async def test_a_trusted_callback_left_by_a_dead_process_is_applied_by_the_sweep(shop: Shop):
    purchase = await acknowledged(shop)
    await receive(shop, purchase, "00")
    await shop.execute("update callbacks set verdict = 'waiting'")
    await shop.execute("update callbacks set last_received_at = now() - interval '1 minute'")
    assert await shop.engine.receiver.sweep() == 1
    assert await verdicts(shop) == ["applied"]


# ------------------------------------------------------------------ their origin is not sure


async def test_without_a_list_a_callback_is_for_people(database_dsn: str):
    async with opened(database_dsn, UNLISTED) as shop:
        purchase = await acknowledged(shop)
        await receive(shop, purchase, "00")
        assert await shop.states(purchase.order_id) == ["pending"]
        assert await verdicts(shop) == ["review"]
        assert await reviews(shop) == ["unsigned-callback"]


async def test_without_a_secret_path_a_callback_is_for_people(database_dsn: str):
    async with opened(database_dsn, LAMA) as shop:
        await shop.execute("update dealers set callback_token = null")
        await shop.execute("update routing_policy set revision = revision + 1")
        await shop.engine.router.refresh(shop.engine.pool)
        purchase = await acknowledged(shop)
        await shop.engine.receiver.receive("lama", None, result(purchase, "00"), THEIRS)
        assert await shop.states(purchase.order_id) == ["pending"]
        assert await reviews(shop) == ["unsigned-callback"]


async def test_what_came_before_the_list_is_not_trusted_because_of_it(database_dsn: str):
    async with opened(database_dsn, UNLISTED) as shop:
        purchase = await acknowledged(shop)
        await receive(shop, purchase, "00", source=ELSEWHERE)
        await shop.execute("update dealers set callback_from = $1::text[]::cidr[]", [NETWORK])
        await shop.execute("update routing_policy set revision = revision + 1")
        await shop.engine.router.refresh(shop.engine.pool)
        await shop.execute(
            "update callbacks set verdict = 'waiting', "
            "last_received_at = now() - interval '1 minute'"
        )
        await shop.engine.receiver.sweep()
        assert await shop.states(purchase.order_id) == ["pending"]
        assert await verdicts(shop) == ["review"]


@pytest.mark.parametrize("source", [ELSEWHERE, "203.0.113.16", "::1", "unknown", ""])
async def test_from_elsewhere_nothing_is_taken(shop: Shop, source: str):
    purchase = await acknowledged(shop)
    with pytest.raises(Forbidden):
        await receive(shop, purchase, "00", source=source)
    assert await shop.states(purchase.order_id) == ["pending"]
    assert await verdicts(shop) == []
    kept = await shop.fetch("select cause, source_address from refused_callbacks")
    assert [tuple(row) for row in kept] == [("address", source)]


async def test_from_the_right_address_by_the_wrong_path_nothing_is_taken(shop: Shop):
    purchase = await acknowledged(shop)
    with pytest.raises(NotFound):
        await shop.engine.receiver.receive("lama", "guess", result(purchase, "00"), THEIRS)
    assert await shop.states(purchase.order_id) == ["pending"]
    assert await shop.value("select cause from refused_callbacks") == "path"


# ------------------------------------------------------------------ where asking is possible


@asynccontextmanager
async def asked_of(dsn: str, *answers: str) -> AsyncIterator[tuple[Shop, Peer]]:
    """A shop whose dealer alfa calls from a listed address, and says these one after another."""
    said = iter(answers)

    async def reply(asked: Asked) -> bytes | None:
        return getattr(asked, next(said))()

    async with AsyncExitStack() as stack:
        alfa = await stack.enter_async_context(counter(reply))
        seller = replace(ALFA, base_url=alfa.url, callback_from=(NETWORK,))
        yield await stack.enter_async_context(opened(dsn, seller)), alfa


async def hint(shop: Shop, purchase: Purchase, status: str) -> None:
    query = f"refid={purchase.order.dealer_ref}&status={status}"
    await shop.engine.receiver.receive("alfa", "sesame", Callback("GET", query, {}, b""), THEIRS)


async def check_all(shop: Shop) -> int:
    checks = await shop.engine.reconciler.claim(10)
    for check in checks:
        await shop.engine.reconciler.check(check)
    return len(checks)


async def test_where_asking_is_possible_even_a_trusted_callback_only_makes_us_ask(
    database_dsn: str,
):
    async with asked_of(database_dsn, "diproses", "sukses") as (shop, alfa):
        purchase = await shop.bought()
        await shop.hear(purchase, Outcome.PENDING)
        for _ in range(2):
            await hint(shop, purchase, "20")
            assert await shop.states(purchase.order_id) == ["pending"]
            assert await check_all(shop) == 1
        assert await shop.status(purchase.order_id) == "succeeded"
        assert len(alfa.requests) == 2


async def test_many_hints_at_once_are_one_question(database_dsn: str):
    async with asked_of(database_dsn, "sukses") as (shop, alfa):
        purchase = await shop.bought()
        await shop.hear(purchase, Outcome.PENDING)
        await asyncio.gather(*(hint(shop, purchase, status) for status in ("20", "40") * 3))
        assert await check_all(shop) == 1
        assert len(alfa.requests) == 1
        assert await shop.events(purchase.order_id) == ["order.succeeded"]


async def test_a_hint_of_failure_after_success_changes_nothing_unless_the_dealer_says_so(
    database_dsn: str,
):
    async with asked_of(database_dsn, "sukses", "gagal") as (shop, _):
        purchase = await shop.bought()
        await shop.succeed(purchase)
        await hint(shop, purchase, "40")
        await check_all(shop)
        assert await reviews(shop) == []
        await hint(shop, purchase, "40")
        await check_all(shop)
        assert await reviews(shop) == ["contradiction"]
        assert await shop.events(purchase.order_id) == ["order.succeeded"]
        assert await shop.money() == (OPENING_RUPIAH - PRICE, 0)


async def test_a_hint_of_a_refund_pays_back_and_tells_once(database_dsn: str):
    async with asked_of(database_dsn, "refund", "refund") as (shop, _):
        purchase = await shop.bought()
        await shop.succeed(purchase)
        for _ in range(2):
            await hint(shop, purchase, "40")
            await check_all(shop)
        assert await shop.status(purchase.order_id) == "reversed"
        assert await shop.events(purchase.order_id) == ["order.succeeded", "order.reversed"]
        assert await shop.money() == (OPENING_RUPIAH, 0)


async def test_hints_out_of_order_end_where_the_dealer_stands(database_dsn: str):
    async with asked_of(database_dsn, "gagal", "sukses", "sukses") as (shop, _):
        purchase = await shop.bought()
        await shop.execute("update orders set retry_until = now()")
        await shop.hear(purchase, Outcome.PENDING)
        for status in ("20", "40", "20"):
            await hint(shop, purchase, status)
            await check_all(shop)
        assert await shop.status(purchase.order_id) == "succeeded"
        assert await shop.events(purchase.order_id) == ["order.failed", "order.corrected"]
        assert await shop.money() == (OPENING_RUPIAH - PRICE, 0)
