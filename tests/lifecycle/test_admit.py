"""Admit: places and tokens are taken before anything is claimed, whatever it is."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from app.lifecycle.admit import Admission, Kind, boottime_seconds
from app.lifecycle.execute import Purchase
from app.lifecycle.trade import DealerAccess
from app.metrics import Metrics
from dealers.contract import Outcome
from routing.division import Part
from tests.lifecycle.counters import Asked, Reply, always, counter, cut
from tests.outbound.peers import Conversation, listening
from tests.publishing import PUBLISH
from tests.shops import ALFA, Shop, engine_on, enrol, furnish, send

SUCCESS = always(Asked.sukses)


class Clock:
    """A monotonic clock that a test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@asynccontextmanager
async def shop_of(dsn: str, reply: Reply = SUCCESS, **alfa: Any) -> AsyncIterator[Shop]:
    async with counter(reply) as peer:
        await furnish(dsn, [replace(ALFA, base_url=peer.url, **alfa)])
        async with engine_on(dsn) as engine:
            yield Shop(engine, await enrol(engine))


def gates(shop: Shop, rate: float | None) -> tuple[Admission, DealerAccess, Clock]:
    """Gates that a test steers, for the shop's dealer at a rate."""
    clock = Clock()
    access = shop.engine.router.trade.dealers["alfa"]
    return (
        Admission(Metrics(), clock),
        replace(access, row=replace(access.row, requests_per_second=rate)),
        clock,
    )


def limit_of(shop: Shop) -> int:
    access = shop.engine.router.trade.dealers["alfa"]
    return shop.engine.admission.pace(access).limit


async def set_rate(shop: Shop, rate: float) -> None:
    await shop.execute("update dealers set requests_per_second = $1", rate)
    await shop.execute(PUBLISH)
    await shop.engine.router.refresh(shop.engine.pool)


# ------------------------------------------------------------------ tokens


async def test_purchase_without_a_token_waits_unclaimed(database_dsn: str):
    async with shop_of(database_dsn) as shop:
        await set_rate(shop, 0.001)
        order_id = await shop.order()
        assert await shop.claim() == []
        assert await shop.waiting() == [(1, "alfa")]
        assert await shop.states(order_id) == []


async def test_question_without_a_token_waits_unclaimed(database_dsn: str):
    async with shop_of(database_dsn) as shop:
        purchase = await shop.bought()
        await shop.hear(purchase, Outcome.UNKNOWN, transport=True)
        await set_rate(shop, 0.001)
        await shop.execute("update attempts set due_at = now()")
        assert await shop.engine.reconciler.claim(10) == []
        assert await shop.value("select fence from attempts") == 1


async def test_what_a_claim_did_not_find_is_there_for_the_next(database_dsn: str):
    async with shop_of(database_dsn) as shop:
        admission, access, clock = gates(shop, 20.0)
        assert admission.room(access, Kind.PURCHASE) == 0
        clock.now += 1
        assert admission.room(access, Kind.PURCHASE) == 5
        admission.take("alfa", Kind.PURCHASE, 5)
        assert admission.room(access, Kind.QUESTION) == 0
        admission.give_back("alfa", Kind.PURCHASE, 3)
        assert admission.pace(access).tokens == 3
        admission.leave("alfa", Kind.PURCHASE)
        assert admission.pace(access).tokens == 3


async def test_own_rate_goes_before_that_of_the_protocol(shop: Shop):
    access = shop.engine.router.trade.dealers["alfa"]
    declared = replace(access.capabilities, requests_per_second=2.0)
    access = replace(access, capabilities=declared)
    assert access.requests_per_second == 2.0
    own = replace(access, row=replace(access.row, requests_per_second=7.0))
    assert own.requests_per_second == 7.0


# ------------------------------------------------------------------ turns


@pytest.mark.parametrize("rate", [None, 4.0])
async def test_neither_kind_starves_where_both_wait_for_one_place(shop: Shop, rate: float | None):
    admission, access, clock = gates(shop, rate)
    narrow = replace(access, row=replace(access.row, concurrency=1))
    admission.room(narrow, Kind.PURCHASE)
    served: list[Kind] = []
    for _ in range(800):
        clock.now += 0.05
        for kind in (Kind.PURCHASE, Kind.QUESTION):
            if admission.room(narrow, kind):
                admission.take("alfa", kind)
                admission.found("alfa", kind, 1, 1)
                served.append(kind)
                admission.leave("alfa", kind)
    questions = served.count(Kind.QUESTION) / len(served)
    assert 0.2 <= questions <= 0.3


async def test_questions_of_which_nothing_is_known_get_a_look_now_and_then(shop: Shop):
    admission, access, clock = gates(shop, None)
    narrow = replace(access, row=replace(access.row, concurrency=1))
    looked = purchases = 0
    for _ in range(1000):
        clock.now += 0.05
        if admission.room(narrow, Kind.PURCHASE):
            admission.take("alfa", Kind.PURCHASE)
            admission.found("alfa", Kind.PURCHASE, 1, 1)
            assert admission.room(narrow, Kind.QUESTION) == 0
            admission.leave("alfa", Kind.PURCHASE)
            purchases += 1
        elif admission.room(narrow, Kind.QUESTION):
            admission.found("alfa", Kind.QUESTION, 1, 0)
            looked += 1
    assert looked >= 10
    assert purchases >= 900


async def test_questions_leave_half_of_the_places_to_purchases(shop: Shop):
    admission, access, _ = gates(shop, None)
    assert admission.room(access, Kind.QUESTION) == 16
    narrow = replace(access, row=replace(access.row, concurrency=5))
    assert admission.room(narrow, Kind.QUESTION) == 2


# ------------------------------------------------------------------ this process's part


async def test_part_of_the_limits_ends_when_it_is_not_renewed(shop: Shop):
    admission, access, _ = gates(shop, None)
    admission.divide({"alfa": Part(3)}, boottime_seconds() + 60)
    assert admission.room(access, Kind.PURCHASE) == 3
    admission.narrow({"alfa": Part(7)})
    assert admission.room(access, Kind.PURCHASE) == 3
    admission.narrow({"alfa": Part(2)})
    assert admission.room(access, Kind.PURCHASE) == 2
    admission.divide({"alfa": Part(3)}, boottime_seconds())
    assert admission.room(access, Kind.PURCHASE) == 0


async def test_process_without_a_place_leaves_orders_to_the_others(database_dsn: str):
    async with shop_of(database_dsn) as shop, engine_on(database_dsn) as other:
        shop.engine.admission.divide({}, boottime_seconds() + 60)
        await shop.order()
        assert await shop.claim() == []
        assert await shop.waiting() == [(1, "alfa")]
        assert len(await Shop(other, shop.lane).claim()) == 1


# ------------------------------------------------------------------ what calls tell


async def buy_in_turn(shop: Shop, count: int) -> None:
    for number in range(count):
        await shop.order(f"A{number}")
        (purchase,) = await claimed(shop)
        await send(shop.engine, purchase)
        shop.engine.executor.leave(purchase)


async def claimed(shop: Shop) -> list[Purchase]:
    return await shop.engine.executor.claim(datetime.now(UTC), 1)


async def test_answers_leave_the_limit_alone(database_dsn: str):
    async with shop_of(database_dsn, always(Asked.stok_kosong)) as shop:
        await buy_in_turn(shop, 6)
        assert limit_of(shop) == 32


async def test_cut_connection_lowers_the_limit(database_dsn: str):
    async with shop_of(database_dsn, always(cut)) as shop:
        await buy_in_turn(shop, 1)
        assert limit_of(shop) == 24
        text = shop.engine.metrics.exposition().decode()
        assert 'jalur_dealer_limit_decreases_total{dealer="alfa",reason="cut"} 1.0' in text


@pytest.mark.parametrize(("status", "limit"), [(429, 24), (503, 24), (500, 32), (404, 32)])
async def test_dealer_that_says_too_much_gets_less(database_dsn: str, status: int, limit: int):
    async def refuse(conversation: Conversation) -> None:
        await conversation.read_request()
        await conversation.send(b"HTTP/1.1 %d No\r\nContent-Length: 0\r\n\r\n" % status)

    async with listening(refuse) as peer:
        await furnish(database_dsn, [replace(ALFA, base_url=peer.url)])
        async with engine_on(database_dsn) as engine:
            shop = Shop(engine, await enrol(engine))
            await buy_in_turn(shop, 1)
            assert limit_of(shop) == limit


async def test_calls_cut_together_lower_the_limit_once(database_dsn: str):
    async with shop_of(database_dsn, always(cut)) as shop:
        for number in range(4):
            await shop.order(f"A{number}")
        purchases = await shop.engine.executor.claim(datetime.now(UTC), 4)
        await asyncio.gather(*(send(shop.engine, each) for each in purchases))
        for purchase in purchases:
            shop.engine.executor.leave(purchase)
        assert limit_of(shop) == 24


# ------------------------------------------------------------------ what is not claimed


async def test_what_waits_for_its_turn_takes_it_or_gives_up(shop: Shop):
    admission, access, clock = gates(shop, None)
    narrow = replace(access, row=replace(access.row, concurrency=1))
    assert await admission.turn(narrow, Kind.QUESTION, 5)
    waiting = asyncio.ensure_future(admission.turn(narrow, Kind.QUESTION, 5))
    await asyncio.sleep(0)
    assert not waiting.done()
    admission.leave("alfa", Kind.QUESTION)
    assert await waiting
    late = asyncio.ensure_future(admission.turn(narrow, Kind.QUESTION, 5))
    await asyncio.sleep(0)
    clock.now += 6
    assert not await late
    assert admission.in_use("alfa") == 1


async def test_log_in_is_counted_by_the_rate_and_waits_for_nobody(shop: Shop):
    admission, access, clock = gates(shop, 4.0)
    assert admission.room(access, Kind.PURCHASE) == 0
    admission.charge("alfa")
    clock.now += 0.25
    assert admission.room(access, Kind.PURCHASE) == 0
    clock.now += 0.25
    assert admission.room(access, Kind.PURCHASE) == 1


async def test_nothing_is_left_free_for_questions_that_could_not_take_it(database_dsn: str):
    async with shop_of(database_dsn, concurrency=2) as shop:
        admission, access, _ = gates(shop, None)
        assert admission.room(access, Kind.QUESTION) == 1
        admission.take("alfa", Kind.QUESTION)
        admission.found("alfa", Kind.QUESTION, 1, 1)
        for _ in range(5):
            # One question is on its way, which is all that may be; more wait.
            assert admission.room(access, Kind.PURCHASE) == 1
            admission.take("alfa", Kind.PURCHASE)
            admission.leave("alfa", Kind.PURCHASE)


async def test_look_for_waiting_orders_does_not_keep_new_ones_from_going_at_once(shop: Shop):
    """It holds the places that new orders must leave free anyhow."""
    admission, access, _ = gates(shop, None)
    narrow = replace(access, row=replace(access.row, concurrency=8))
    for looking in (False, True):
        offered = {"alfa": admission.small_room(narrow, Kind.PURCHASE)} if looking else {}
        assert offered == ({"alfa": 2} if looking else {})
        admission.look(offered)
        at_once = 0
        while admission.has_room_at_once(narrow):
            admission.take("alfa", Kind.PURCHASE)
            at_once += 1
        assert at_once == 6
        admission.looked(offered, offered)
        admission.give_back("alfa", Kind.PURCHASE, at_once)
        admission.found("alfa", Kind.PURCHASE, 1, 0)
    assert admission.in_use("alfa") == 0
