"""Daily quotas: counted as orders are taken, given back when they fail, read again at a start."""

from datetime import UTC, datetime

import asyncpg

from app.workers.engine import Engine
from routing.choose import Inquiry
from routing.reasons import Reason
from tests.publishing import PUBLISH
from tests.shops import ALFA, BRAVO, PRICE, SKU, Shop, engine_on, enrol, furnish

INQUIRY = Inquiry(SKU, "tri", None, PRICE)


async def furnish_with_a_quota_of_one(dsn: str) -> None:
    await furnish(dsn, [ALFA, BRAVO])
    connection = await asyncpg.connect(dsn)
    await connection.execute("update routes set daily_quota = 1 where dealer_id = 'alfa'")
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


def dealer_of(engine: Engine) -> str | None:
    chosen = engine.router.choose(INQUIRY, datetime.now(UTC)).chosen
    return chosen and chosen.dealer_id
