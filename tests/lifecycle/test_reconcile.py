"""Reconcile: what is not known is asked about, under a new fence, as the protocol declares."""

import asyncio
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest

from app.lifecycle.execute import Purchase
from app.lifecycle.reconcile import seconds_left
from app.lifecycle.settle import Patience
from app.storage import statements
from app.words import Source
from dealers.contract import Fault, Outcome, Recovery
from dealers.protocols import otomax
from dealers.registry import Dialect
from tests.lifecycle.counters import Asked, Reply, always, asked, counter, cut
from tests.outbound.peers import Peer
from tests.publishing import PUBLISH
from tests.shops import (
    ALFA,
    BRAVO,
    OPENING_RUPIAH,
    PRICE,
    Seller,
    Shop,
    engine_on,
    enrol,
    furnish,
    send,
)

DELTA = Seller("alfa", 5000, protocol="digiflazz")


@asynccontextmanager
async def shop_at(
    dsn: str, reply: Reply, seller: Seller = ALFA, **settings: Any
) -> AsyncIterator[tuple[Shop, Peer]]:
    """A shop whose dealer alfa answers as told; nobody listens at bravo."""
    async with counter(reply) as alfa:
        await furnish(dsn, [replace(seller, base_url=alfa.url), BRAVO])
        async with engine_on(dsn, **settings) as engine:
            shop = Shop(engine, await enrol(engine))
            yield shop, alfa
            async with engine.pool.acquire() as connection:
                assert await statements.verify(connection) == []


async def lost(shop: Shop) -> Purchase:
    """A purchase whose answer never came."""
    purchase = await shop.bought()
    await shop.hear(purchase, Outcome.UNKNOWN, transport=True)
    return purchase


async def ask(shop: Shop) -> None:
    """Make every waiting question due and ask it."""
    await shop.engine.reconciler.check(await shop.claim_check())


async def long_ago(shop: Shop, **columns: str) -> None:
    """Move moments of the one attempt into the past."""
    for column, interval in columns.items():
        await shop.execute(f"update attempts set {column} = now() - interval '{interval}'")
    shop.engine.reconciler.looks.look_again()


# ------------------------------------------------------------------ leases and fences


async def test_dead_lease_raises_the_fence_and_makes_the_attempt_unknown(shop: Shop):
    purchase = await shop.bought()
    assert await shop.engine.reconciler.claim(10) == []
    await long_ago(shop, due_at="100 milliseconds")
    (check,) = await shop.engine.reconciler.claim(10)
    assert (check.due.fence, check.due.state) == (2, "unknown")
    assert await shop.states(purchase.order_id) == ["unknown"]
    assert await shop.engine.reconciler.claim(10) == []


@pytest.mark.parametrize("outcome", [Outcome.UNKNOWN, Outcome.REJECTED])
async def test_late_transport_error_under_an_old_fence_does_nothing(shop: Shop, outcome: Outcome):
    purchase = await shop.bought()
    check = await shop.claim_check()
    await shop.hear(purchase, outcome, transport=True)
    row = (await shop.fetch("select state, fence, claim_id from attempts"))[0]
    assert (row["state"], row["fence"]) == ("unknown", check.due.fence)
    assert row["claim_id"] is not None
    assert await shop.waiting() == []


async def test_late_success_under_an_old_fence_settles_and_the_check_finds_it_so(
    database_dsn: str,
):
    async with shop_at(database_dsn, always(Asked.sukses)) as (shop, _):
        purchase = await shop.bought()
        check = await shop.claim_check()
        await shop.succeed(purchase)
        await shop.engine.reconciler.check(check)
        assert await shop.status(purchase.order_id) == "succeeded"
        assert await shop.kinds(purchase.order_id) == ["reserve", "capture"]
        assert await shop.value("select due_at is null and claim_id is null from attempts")


async def test_two_reconcilers_never_ask_about_the_same_attempt(shop: Shop, database_dsn: str):
    for number in range(20):
        await shop.bought(f"A{number}")
    await long_ago(shop, due_at="1 second")
    async with engine_on(database_dsn) as other:
        pair = (shop.engine.reconciler, other.reconciler)
        claimed: list[UUID] = []
        for _ in range(20):
            for each in pair:
                each.looks.look_again()
            for checks in await asyncio.gather(*(each.claim(16) for each in pair)):
                claimed += [check.due.order_id for check in checks]
    assert len(claimed) == len(set(claimed)) == 20


async def test_what_a_dead_process_left_is_taken_over_without_a_wait_in_between(shop: Shop):
    for number in range(20):
        await shop.bought(f"A{number}")
    await long_ago(shop, due_at="1 second")
    found = 0
    while checks := await shop.engine.reconciler.claim(8):
        found += len(checks)
        for check in checks:
            shop.engine.reconciler.leave(check)
    assert found == 20


async def test_a_lease_that_ran_out_comes_before_a_backlog_of_checks(shop: Shop):
    """Whose places are all taken by what waits would never see what a dead process left."""
    for number in range(30):
        await shop.bought(f"A{number}")
    abandoned = await shop.bought("B")
    await long_ago(shop, due_at="1 second", asked_at="1 hour")
    await shop.execute(
        """
        update attempts set state = 'unknown', claim_id = null, due_at = now() - interval '1 hour'
        where order_id <> $1
        """,
        abandoned.order_id,
    )
    checks = await shop.engine.reconciler.claim(64)
    assert len(checks) < 31
    assert abandoned.order_id in {check.due.order_id for check in checks}


# ------------------------------------------------------------------ what the dealer says


@pytest.mark.parametrize(
    ("answer", "state", "status"),
    [
        (Asked.sukses, "succeeded", "succeeded"),
        (Asked.gagal, "failed", "processing"),
        (Asked.diproses, "pending", "processing"),
        (Asked.stok_kosong, "unknown", "processing"),
        (cut, "unknown", "processing"),
    ],
)
async def test_answer_to_a_check_settles_only_what_it_proves(
    database_dsn: str, answer: Any, state: str, status: str
):
    async with shop_at(database_dsn, always(answer)) as (shop, alfa):
        purchase = await lost(shop)
        await ask(shop)
        assert asked(alfa)[-1].is_check
        assert await shop.states(purchase.order_id) == [state]
        assert await shop.status(purchase.order_id) == status


async def test_refused_connection_says_nothing_about_the_purchase(shop: Shop):
    """Nobody listens at the dealers of this shop: on a purchase that is a refusal."""
    purchase = await lost(shop)
    await ask(shop)
    assert await shop.states(purchase.order_id) == ["unknown"]
    assert await shop.waiting() == []
    assert await shop.value("select due_at > now() and claim_id is null from attempts")


async def test_checks_follow_the_schedule(shop: Shop):
    schedule = ((1, 10.0), (1, 40.0))
    async with engine_on_patience(shop, schedule) as patient:
        await lost(patient)
        waits = [await wait_seconds(patient)]
        for _ in range(3):
            await ask(patient)
            waits.append(await wait_seconds(patient))
    assert waits == [10, 40, 40, 40]


async def test_a_dealers_own_schedule_goes_before_the_routers(database_dsn: str):
    own = replace(ALFA, options='{"check_schedule": "2x40,70"}')
    async with shop_at(database_dsn, always(cut), own) as (shop, _):
        await lost(shop)
        waits = [await wait_seconds(shop)]
        for _ in range(3):
            await ask(shop)
            waits.append(await wait_seconds(shop))
    assert waits == [40, 40, 70, 70]


@asynccontextmanager
async def engine_on_patience(
    shop: Shop, schedule: tuple[tuple[int, float], ...]
) -> AsyncIterator[Shop]:
    dsn = shop.engine.settings.database.dsn
    async with engine_on(dsn, patience=Patience(check_schedule=schedule)) as engine:
        yield Shop(engine, shop.lane)


async def wait_seconds(shop: Shop) -> int:
    return await shop.value("select round(extract(epoch from due_at - now()))::int from attempts")


async def test_absence_is_proved_by_two_answers_a_minute_apart(database_dsn: str):
    async with shop_at(database_dsn, always(Asked.tidak_ada_data)) as (shop, _):
        purchase = await lost(shop)
        await ask(shop)
        await ask(shop)
        assert await shop.states(purchase.order_id) == ["unknown"]
        await long_ago(shop, absent_since="61 seconds")
        await ask(shop)
        assert await shop.states(purchase.order_id) == ["rejected"]
        assert await shop.waiting() == [(2, "bravo")]


async def test_absence_of_what_was_acknowledged_is_never_proved(database_dsn: str):
    async with shop_at(database_dsn, always(Asked.tidak_ada_data)) as (shop, _):
        purchase = await shop.bought()
        await shop.hear(purchase, Outcome.PENDING)
        await ask(shop)
        await long_ago(shop, absent_since="1 hour")
        await ask(shop)
        assert await shop.states(purchase.order_id) == ["pending"]
        assert await shop.waiting() == []


async def test_dealer_that_is_gone_leaves_its_purchases_to_people(shop: Shop):
    """Once our patience is over; until then, and after, it is asked in case it comes back."""
    purchase = await lost(shop)
    await shop.execute("update attempts set sent_at = now() - interval '1 day'")
    await shop.execute("update dealers set protocol = 'gone' where dealer_id = 'alfa'")
    await shop.execute(PUBLISH)
    await shop.engine.router.refresh(shop.engine.pool)
    await ask(shop)
    assert await shop.states(purchase.order_id) == ["unknown"]
    assert await shop.value("select reason from reviews") == "unresolved"
    assert await shop.value("select needs_review from orders")
    assert await shop.value("select due_at > now() from attempts")


async def test_question_that_cannot_be_built_ends_with_people(shop: Shop):
    """The order is open for longer than we are patient, and every check fails on our side."""
    await lost(shop)
    await shop.execute("update attempts set sent_at = now() - interval '1 day'")
    check = await shop.claim_check()
    nameless = replace(check, due=replace(check.due, customer_number=None))
    await shop.engine.reconciler.check(nameless)
    assert await shop.value("select needs_review from orders")
    assert await shop.value("select code from attempts") == "not-built"


# ------------------------------------------------------------------ where asking is buying


async def test_check_is_the_purchase_byte_for_byte(database_dsn: str):
    pending = always(lambda asked: asked.digiflazz("03", "Pending"))
    async with shop_at(database_dsn, pending, DELTA) as (shop, alfa):
        purchase = await shop.bought()
        await send(shop.engine, purchase)
        await ask(shop)
        first, second = asked(alfa)
        assert first.body == second.body
        assert await shop.states(purchase.order_id) == ["pending"]


async def test_check_keeps_the_first_price_limit_when_prices_change(database_dsn: str):
    pending = always(lambda asked: asked.digiflazz("03", "Pending"))
    async with shop_at(database_dsn, pending, DELTA) as (shop, alfa):
        await send(shop.engine, await shop.bought())
        await shop.execute("update routes set cost = 5900, dealer_sku = 'OTHER'")
        await shop.execute(PUBLISH)
        await shop.engine.router.refresh(shop.engine.pool)
        await ask(shop)
        first, second = asked(alfa)
        assert first.body == second.body


async def test_checks_are_a_minute_apart(database_dsn: str):
    pending = always(lambda asked: asked.digiflazz("03", "Pending"))
    async with shop_at(database_dsn, pending, DELTA) as (shop, _):
        await send(shop.engine, await shop.bought())
        assert await wait_seconds(shop) in (59, 60)
        await ask(shop)
        assert await wait_seconds(shop) in (59, 60)


@pytest.mark.parametrize("state", ["rejected", "failed"])
async def test_closed_purchase_is_never_sent_again(database_dsn: str, state: str):
    async with shop_at(database_dsn, always(Asked.sukses), DELTA) as (shop, alfa):
        purchase = await shop.bought()
        await shop.hear(purchase, Outcome.FAILED, fault=Fault.NUMBER)
        await shop.execute("update attempts set due_at = now(), state = $1", state)
        await shop.engine.reconciler.check(await shop.claim_check())
        assert alfa.requests == []
        assert await shop.states(purchase.order_id) == [state]
        assert await shop.money() == (OPENING_RUPIAH, 0)


async def test_a_question_that_is_the_purchase_keeps_to_the_age_limit_on_its_way(
    database_dsn: str,
):
    """However much time its lease leaves: past the limit the dealer would buy again."""
    async with shop_at(database_dsn, always(Asked.sukses), DELTA) as (shop, _):
        await lost(shop)
        due = replace((await shop.claim_check()).due, age=timedelta(seconds=269))
        access = shop.engine.router.trade.dealers["alfa"]
        short = replace(access.capabilities, max_age_seconds=300.0)
        connect_seconds = access.row.connect_timeout_seconds
        assert seconds_left(due, replace(access, capabilities=short)) == 31 - connect_seconds
        asking = replace(short, recovery=Recovery.STATUS_CALL)
        assert seconds_left(due, replace(access, capabilities=asking)) == math.inf


@pytest.mark.parametrize(("age", "sent"), [("80 days", 1), ("82 days", 0)])
async def test_purchase_is_sent_again_only_below_nine_tenths_of_the_age_limit(
    database_dsn: str, age: str, sent: int
):
    success = always(lambda asked: asked.digiflazz("00", "Sukses"))
    async with shop_at(database_dsn, success, DELTA) as (shop, alfa):
        purchase = await lost(shop)
        await long_ago(shop, sent_at=age)
        await ask(shop)
        assert len(alfa.requests) == sent
        if not sent:
            assert await shop.states(purchase.order_id) == ["unknown"]
            assert await shop.value("select needs_review from orders")
            assert await shop.value("select due_at is null from attempts")


async def test_old_refusal_while_the_purchase_is_sent_again_does_not_buy_elsewhere(
    database_dsn: str,
):
    success = always(lambda asked: asked.digiflazz("00", "Sukses"))
    async with shop_at(database_dsn, success, DELTA) as (shop, _):
        purchase = await shop.bought()
        check = await shop.claim_check()
        await shop.refuse(purchase)
        assert await shop.waiting() == []
        await shop.engine.reconciler.check(check)
        assert await shop.status(purchase.order_id) == "succeeded"
        assert await shop.money() == (OPENING_RUPIAH - PRICE, 0)


async def test_refusal_at_the_door_of_a_check_is_not_the_purchases(database_dsn: str):
    refusing = always(lambda asked: asked.digiflazz("44", "Gagal"))
    async with shop_at(database_dsn, refusing, DELTA) as (shop, _):
        purchase = await lost(shop)
        await ask(shop)
        assert await shop.states(purchase.order_id) == ["unknown"]
        assert await shop.waiting() == []


async def test_success_that_its_dealer_contradicts_is_asked_about(database_dsn: str):
    success = always(lambda asked: asked.digiflazz("00", "Sukses"))
    async with shop_at(database_dsn, success, DELTA) as (shop, alfa):
        purchase = await shop.bought()
        await shop.succeed(purchase)
        await shop.hear(purchase, Outcome.FAILED, Source.CALLBACK)
        await ask(shop)
        assert len(alfa.requests) == 1
        assert await shop.value("select due_at is null from attempts")
        assert await shop.kinds(purchase.order_id) == ["reserve", "capture"]


# ------------------------------------------------------------------ what a protocol declares


async def declare(shop: Shop, **capabilities: Any) -> None:
    """Have the dealer's protocol declare something else."""
    declared = replace(otomax.CAPABILITIES, **capabilities)
    module: Any = SimpleNamespace(**{**vars(otomax), "CAPABILITIES": declared})
    router = shop.engine.router
    router.limits = replace(router.limits, dialects={"otomax": Dialect("otomax", module)})
    await shop.execute(PUBLISH)
    await router.refresh(shop.engine.pool)


async def test_lost_answer_of_a_dealer_that_cannot_be_asked_goes_straight_to_review(
    database_dsn: str,
):
    async with shop_at(database_dsn, always(cut)) as (shop, alfa):
        await declare(shop, recovery=Recovery.NONE)
        purchase = await shop.bought()
        await send(shop.engine, purchase)
        assert await shop.value("select needs_review from orders")
        assert await shop.value("select reason from reviews") == "unresolved"
        assert await shop.value("select due_at is null from attempts")
        assert len(alfa.requests) == 1
        assert await shop.waiting() == []


async def test_dead_lease_at_a_dealer_that_cannot_be_asked_goes_to_review(database_dsn: str):
    async with shop_at(database_dsn, always(Asked.sukses)) as (shop, alfa):
        await declare(shop, recovery=Recovery.NONE)
        await shop.bought()
        await ask(shop)
        assert await shop.value("select reason from reviews") == "unresolved"
        assert alfa.requests == []


async def test_checks_go_by_the_schedule_that_the_protocol_declares(database_dsn: str):
    async with shop_at(database_dsn, always(cut)) as (shop, _):
        await declare(shop, check_schedule=((1, 7.0), (1, 70.0)))
        await send(shop.engine, await shop.bought())
        waits = [await wait_seconds(shop)]
        for _ in range(2):
            await ask(shop)
            waits.append(await wait_seconds(shop))
        assert waits == [7, 70, 70]


async def test_nothing_makes_a_check_come_sooner_than_its_interval(database_dsn: str):
    """Neither a lease that ended nor an unread callback."""
    async with shop_at(database_dsn, always(cut)) as (shop, alfa):
        await declare(shop, min_check_interval_seconds=60.0)
        purchase = await shop.bought()
        await long_ago(shop, due_at="1 second")
        assert await shop.engine.reconciler.claim(10) == []
        await shop.hear(purchase, Outcome.UNKNOWN, Source.CALLBACK)
        assert await shop.engine.reconciler.claim(10) == []
        await long_ago(shop, asked_at="61 seconds", due_at="1 second")
        (check,) = await shop.engine.reconciler.claim(10)
        await shop.engine.reconciler.check(check)
        await long_ago(shop, due_at="1 second")
        assert await shop.engine.reconciler.claim(10) == []
        assert len(alfa.requests) == 1
