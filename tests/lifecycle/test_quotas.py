"""Daily quotas: counted as orders are taken, given back when they fail, read again at a start."""

from dataclasses import replace
from datetime import UTC, datetime

import asyncpg

from app.workers.engine import Engine
from routing.choose import Inquiry
from routing.reasons import Reason
from tests.publishing import PUBLISH
from tests.shops import ALFA, BRAVO, CHARLIE, PRICE, SKU, Shop, engine_on, enrol, furnish

INQUIRY = Inquiry(SKU, "tri", None, PRICE)


async def furnish_with_a_quota_of_one(dsn: str) -> None:
    await furnish(dsn, [ALFA, BRAVO])
    await state_quota_of_one(dsn, "alfa")


async def state_quota_of_one(dsn: str, dealer_id: str) -> None:
    connection = await asyncpg.connect(dsn)
    await connection.execute("update routes set daily_quota = 1 where dealer_id = $1", dealer_id)
    await connection.execute(PUBLISH)
    await connection.close()


async def test_route_sells_its_quota_and_no_more(database_dsn: str):
    await furnish_with_a_quota_of_one(database_dsn)
    async with engine_on(database_dsn) as engine:
        now = datetime.now(UTC)
        first = engine.router.choose(INQUIRY, now).chosen
        assert first is not None
        engine.router.take(INQUIRY, first, now)
        second = engine.router.choose(INQUIRY, now)
        assert first.dealer_id == "alfa"
        assert second.chosen is not None
        assert second.chosen.dealer_id == "bravo"
        assert second.reasons == [Reason.QUOTA_USED, None]
        engine.router.give_back(INQUIRY, first, now)
        assert engine.router.choose(INQUIRY, now).chosen == first


async def test_what_was_sold_before_the_start_counts_and_what_failed_does_not(database_dsn: str):
    await furnish_with_a_quota_of_one(database_dsn)
    async with engine_on(database_dsn) as engine:
        shop = Shop(engine, await enrol(engine))
        purchase = await shop.bought()
        async with engine_on(database_dsn) as later:
            assert dealer_of(later) == "bravo"
            await Shop(later, shop.lane).refuse(purchase)
            assert dealer_of(later) == "alfa"


def take_at(engine: Engine, dealer_id: str) -> None:
    """Choose and count an order's dealer, as the door does before it is accepted."""
    now = datetime.now(UTC)
    chosen = engine.router.choose(INQUIRY, now).chosen
    assert chosen is not None
    assert chosen.dealer_id == dealer_id
    engine.router.take(INQUIRY, chosen, now)


def dealer_of(engine: Engine, inquiry: Inquiry = INQUIRY) -> str | None:
    chosen = engine.router.choose(inquiry, datetime.now(UTC)).chosen
    return chosen and chosen.dealer_id


async def test_order_that_waits_keeps_its_place_in_the_quota(database_dsn: str):
    await furnish_with_a_quota_of_one(database_dsn)
    async with engine_on(database_dsn) as engine:
        shop = Shop(engine, await enrol(engine))
        take_at(engine, "alfa")
        purchase = await shop.bought()
        assert purchase.access.row.dealer_id == "alfa"
        assert dealer_of(engine) == "bravo"


async def test_next_dealer_s_quota_is_used_and_given_back(database_dsn: str):
    await furnish(database_dsn, [ALFA, BRAVO, CHARLIE])
    await state_quota_of_one(database_dsn, "bravo")
    async with engine_on(database_dsn) as engine:
        shop = Shop(engine, await enrol(engine))
        refused_at_alfa = replace(INQUIRY, tried=frozenset({"alfa"}))
        await shop.refuse(await shop.bought())
        assert await shop.waiting() == [(2, "bravo")]
        assert dealer_of(engine, refused_at_alfa) == "charlie"
        await shop.refuse(await shop.claim_one())
        assert dealer_of(engine, refused_at_alfa) == "bravo"


async def test_orders_that_wait_are_in_a_count_made_anew(database_dsn: str):
    await furnish_with_a_quota_of_one(database_dsn)
    async with engine_on(database_dsn) as engine:
        shop = Shop(engine, await enrol(engine))
        take_at(engine, "alfa")
        await shop.order()
        await engine.router.rebuild_sales(engine.pool, datetime.now(UTC))
        assert dealer_of(engine) == "bravo"
        await shop.succeed(await shop.claim_one())
        await engine.router.rebuild_sales(engine.pool, datetime.now(UTC))
        assert dealer_of(engine) == "bravo"
