"""The repeat rule and the dealer's counter: numbered on the number's own lane, before the claim."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, cast
from uuid import UUID

import asyncpg
import orjson
import pytest

from app.lifecycle.execute import Purchase
from app.lifecycle.trade import DealerAccess
from app.storage.lanes import lane_of
from app.workers.engine import Engine
from dealers.contract import Fault, Outcome
from routing.reasons import Reason
from tests.lifecycle.test_claim_at_acceptance import buying, routed
from tests.publishing import PUBLISH
from tests.shops import ALFA, BRAVO, NUMBER, RESELLER, SKU, Seller, Shop, engine_on, enrol, furnish

OTHER = next(
    each
    for each in (UUID(int=number << 64) for number in range(1, 99))
    if lane_of(each) != lane_of(RESELLER)
)


@asynccontextmanager
async def shop_of(dsn: str, *sellers: Seller, limit: int | None = 1) -> AsyncIterator[Shop]:
    """A shop whose dealer alfa sells so many a day for one number."""
    await furnish(dsn, sellers)
    connection = await asyncpg.connect(dsn)
    await connection.execute("update routes set repeat_limit = $1 where dealer_id = 'alfa'", limit)
    await connection.execute(PUBLISH)
    await connection.close()
    async with engine_on(dsn) as engine:
        yield Shop(engine, await enrol(engine))


async def claim(shop: Shop) -> list[Purchase]:
    """Claim as the loops do: what needs a number first is claimed once it has one."""
    found = await shop.claim()
    await shop.engine.marker.take()
    return found + await shop.claim()


async def bought(shop: Shop, ref_id: str, **details: Any) -> Purchase:
    await shop.order(ref_id, **details)
    (purchase,) = await claim(shop)
    return purchase


def count_repeats(engine: Engine) -> None:
    """Have alfa's protocol want to be told the how manieth purchase it is."""
    dealers = cast("dict[str, DealerAccess]", engine.router.trade.dealers)
    alfa = dealers["alfa"]
    dealers["alfa"] = replace(alfa, capabilities=replace(alfa.capabilities, counts_repeats=True))


def dealer(purchase: Purchase) -> str:
    return purchase.access.row.dealer_id


# ------------------------------------------------------------------ the rule


async def test_second_order_of_a_number_goes_to_the_next_dealer_and_nothing_is_sent(
    database_dsn: str,
):
    async with shop_of(database_dsn, ALFA, BRAVO) as shop:
        first = await bought(shop, "A1")
        await shop.order("A2")
        (second,) = await claim(shop)
        assert [dealer(first), dealer(second)] == ["alfa", "bravo"]
        proof = await shop.value("select decision from attempts where dealer_id = 'bravo'")
        reasons = {each[0]: each[3] for each in orjson.loads(proof)["candidates"]}
        assert reasons == {"alfa": Reason.REPEATED, "bravo": None}
        assert await shop.value("select count(*) from attempts") == 2


async def test_other_numbers_are_not_kept_waiting_by_the_rule(database_dsn: str):
    async with shop_of(database_dsn, ALFA, BRAVO) as shop:
        await bought(shop, "A1")
        other = await bought(shop, "A2", number="089512345601")
        assert dealer(other) == "alfa"


async def test_two_processes_that_race_for_one_number_buy_once_at_the_dealer(database_dsn: str):
    async with shop_of(database_dsn, ALFA, BRAVO) as shop, engine_on(database_dsn) as engine:
        other = Shop(engine, await enrol(engine, OTHER))
        assert shop.lane != other.lane
        for number in range(5):
            await shop.order(f"A{number}", number=f"08951234560{number}")
            await other.order(f"B{number}", number=f"08951234560{number}", reseller_id=OTHER)
        claimed: list[Purchase] = []
        for _ in range(9):
            for found in await asyncio.gather(shop.claim(), other.claim()):
                claimed += found
            await asyncio.gather(shop.engine.marker.take(), other.engine.marker.take())
        assert len(claimed) == 10
        at_alfa = [each.order.customer_number for each in claimed if dealer(each) == "alfa"]
        assert sorted(at_alfa) == [f"08951234560{number}" for number in range(5)]


async def test_rejected_purchase_gives_its_place_back(database_dsn: str):
    async with shop_of(database_dsn, ALFA, BRAVO) as shop:
        await shop.refuse(await bought(shop, "A1"))
        (elsewhere,) = await claim(shop)
        await shop.succeed(elsewhere)
        assert dealer(await bought(shop, "A2")) == "alfa"


@pytest.mark.parametrize(("failures_count", "then"), [("no", "alfa"), ("yes", "bravo")])
async def test_failed_purchase_counts_where_the_dealer_says_so(
    database_dsn: str, failures_count: str, then: str
):
    alfa = replace(ALFA, options=f'{{"failures_count": "{failures_count}"}}')
    async with shop_of(database_dsn, alfa, BRAVO) as shop:
        await shop.hear(await bought(shop, "A1"), Outcome.FAILED, fault=Fault.NUMBER)
        await shop.order("A2")
        claimed = await claim(shop) or await claim(shop)
        assert [dealer(each) for each in claimed] == [then]


async def test_late_success_counts_again(database_dsn: str):
    async with shop_of(database_dsn, ALFA, BRAVO) as shop:
        first = await bought(shop, "A1")
        await shop.hear(first, Outcome.FAILED, fault=Fault.NUMBER)
        await shop.order("A2")
        await shop.hear(first, Outcome.SUCCEEDED)
        assert await claim(shop) == []
        (second,) = await claim(shop)
        assert dealer(second) == "bravo"


async def test_limit_of_two_lets_two_through(database_dsn: str):
    async with shop_of(database_dsn, ALFA, BRAVO, limit=2) as shop:
        for ref_id in ("A1", "A2", "A3"):
            await shop.order(ref_id)
        claimed = await claim(shop) + await claim(shop)
        assert sorted(dealer(each) for each in claimed) == ["alfa", "alfa", "bravo"]


# ------------------------------------------------------------------ the counter


async def test_processes_that_race_never_tell_a_dealer_the_same_number_twice(database_dsn: str):
    async with (
        shop_of(database_dsn, ALFA, limit=None) as shop,
        engine_on(database_dsn) as engine,
    ):
        other = Shop(engine, await enrol(engine, OTHER))
        count_repeats(shop.engine)
        count_repeats(engine)
        for number in range(8):
            await shop.order(f"A{number}")
            await other.order(f"B{number}", reseller_id=OTHER)
        claimed: list[Purchase] = []
        for _ in range(9):
            for found in await asyncio.gather(shop.claim(6), other.claim(6)):
                claimed += found
            await asyncio.gather(shop.engine.marker.take(), engine.marker.take())
        told = sorted(each.order.counter for each in claimed)
        assert told == list(range(1, 17))
        stored = await shop.fetch("select counter from attempts order by counter")
        assert [row["counter"] for row in stored] == told


async def test_check_says_what_the_purchase_said(database_dsn: str):
    async with shop_of(database_dsn, ALFA, limit=None) as shop:
        count_repeats(shop.engine)
        first, second = await bought(shop, "A1"), await bought(shop, "A2")
        await shop.succeed(first)
        await shop.hear(second, Outcome.PENDING)
        check = await shop.claim_check()
        assert second.order.counter == 2
        assert check.due.counter == 2


async def test_number_that_may_have_reached_the_dealer_is_not_told_again(database_dsn: str):
    async with shop_of(database_dsn, ALFA, limit=None) as shop:
        count_repeats(shop.engine)
        await shop.refuse(await bought(shop, "A1"))
        assert (await bought(shop, "A2")).order.counter == 2


async def test_dealer_with_a_rule_that_is_told_no_number_hears_always_one(database_dsn: str):
    async with shop_of(database_dsn, ALFA, limit=9) as shop:
        told = [(await bought(shop, ref_id)).order.counter for ref_id in ("A1", "A2")]
        assert told == [1, 1]


# ------------------------------------------------------------------ between taking and claiming


async def test_process_that_dies_with_a_number_leaves_it_to_whoever_claims(database_dsn: str):
    async with shop_of(database_dsn, ALFA, BRAVO) as shop:
        await shop.order("A1")
        await shop.claim()
        await shop.engine.marker.take()
        async with engine_on(database_dsn) as engine:
            (purchase,) = await claim(Shop(engine, shop.lane))
            assert dealer(purchase) == "alfa"
        assert await shop.value("select count(*) from number_marks") == 1


async def test_number_that_nobody_claimed_locks_the_customer_out_for_a_lease_only(
    database_dsn: str,
):
    async with shop_of(database_dsn, ALFA, BRAVO) as shop:
        await shop.order("A1")
        await shop.claim()
        await shop.engine.marker.take()
        await shop.execute("delete from ready")  # as its cancellation does
        async with engine_on(database_dsn) as engine:
            other = Shop(engine, shop.lane)
            await other.order("A2")
            assert await claim(other) == []
            await shop.execute("update number_marks set taken_at = taken_at - interval '91 s'")
            engine.router.repeats.forget(NUMBER, SKU, "alfa")
            await other.execute("update ready set dealer_id = 'alfa'")
            (purchase,) = await claim(other)
            assert dealer(purchase) == "alfa"


async def test_nothing_is_sent_under_a_number_that_may_count_no_more(database_dsn: str):
    async with shop_of(database_dsn, ALFA, BRAVO) as shop:
        await shop.order("A1")
        await shop.claim()
        await shop.engine.marker.take()
        await shop.execute("update number_marks set taken_at = taken_at - interval '40 s'")
        async with engine_on(database_dsn) as engine:
            (purchase,) = await claim(Shop(engine, shop.lane))
            (plain,) = await claim_elsewhere(Shop(engine, shop.lane))
            assert purchase.send_before < plain.send_before - 30


async def claim_elsewhere(shop: Shop) -> list[Purchase]:
    await shop.order("B1", dealer_id="bravo")
    return await shop.claim()


async def test_number_grown_old_before_its_claim_is_taken_anew(database_dsn: str):
    async with shop_of(database_dsn, ALFA, BRAVO) as shop:
        await shop.order("A1")
        await shop.claim()
        await shop.engine.marker.take()
        await shop.execute("update number_marks set taken_at = taken_at - interval '60 s'")
        async with engine_on(database_dsn) as engine:
            (purchase,) = await claim(Shop(engine, shop.lane))
            assert dealer(purchase) == "alfa"
        marks = await shop.fetch("select counter from number_marks order by counter")
        assert [row["counter"] for row in marks] == [1, 2]


# ------------------------------------------------------------------ who pays for it


async def test_order_that_needs_a_number_is_not_claimed_as_it_is_accepted(database_dsn: str):
    async with shop_of(database_dsn, ALFA, BRAVO) as shop:
        begun = buying(shop.engine)
        await shop.engine.acceptor.accept(routed(shop.engine, lane=shop.lane))
        assert begun == []
        assert await shop.waiting() == [(1, "alfa")]


async def test_dealers_without_a_rule_take_no_numbers(shop: Shop):
    begun = buying(shop.engine)
    await shop.engine.acceptor.accept(routed(shop.engine, lane=shop.lane))
    await shop.order("A2")
    assert len(begun) + len(await shop.claim()) == 2
    assert await shop.value("select count(*) from number_marks") == 0


async def test_repeat_is_known_before_the_next_order_is_accepted(database_dsn: str):
    async with shop_of(database_dsn, ALFA, BRAVO) as shop:
        await bought(shop, "A1")
        repeats = shop.engine.router.repeats
        assert repeats.of(NUMBER, SKU, datetime.now(UTC)) == {"alfa": 1}
        assert repeats.of(NUMBER, SKU, datetime.now(UTC) + timedelta(seconds=61)) == {}


# ------------------------------------------------------------------ days


async def test_numbers_begin_anew_each_day_in_wib(database_dsn: str):
    async with shop_of(database_dsn, ALFA, BRAVO) as shop:
        await bought(shop, "A1")
        days = await shop.fetch(
            "select day = (taken_at at time zone interval '7 hours')::date from number_marks"
        )
        assert [row[0] for row in days] == [True]
        await shop.execute("update number_marks set day = day - 1")
        shop.engine.router.repeats.forget(NUMBER, SKU, "alfa")
        assert dealer(await bought(shop, "A2")) == "alfa"


async def test_days_before_yesterday_are_dropped(database_dsn: str):
    async with shop_of(database_dsn, ALFA, BRAVO) as shop:
        await bought(shop, "A1")
        await shop.execute(
            """
            insert into number_marks
            select lane, day - age, customer_number, dealer_id, dealer_sku, counter, order_lane,
                   order_id, attempt_no, taken_at
            from number_marks, generate_series(1, 3) age
            """
        )
        await shop.engine.upkeep.drop_old()
        assert await shop.value("select max(day) - min(day) from number_marks") == 1
