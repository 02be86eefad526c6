"""A dealer's cluster refusals are learned, shared between processes, and end."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from dealers.contract import Fault, Outcome
from routing.choose import Inquiry
from routing.reasons import Reason
from routing.refusals import Area
from tests.shops import ALFA, BRAVO, PRICE, SKU, Shop, engine_on, enrol, furnish

AREA = Area("alfa", "tri", "bandung")
INQUIRY = Inquiry(SKU, "tri", "bandung", PRICE)


@pytest.fixture
async def shop(database_dsn: str) -> AsyncIterator[Shop]:
    await furnish(database_dsn, [ALFA, BRAVO])
    async with engine_on(database_dsn) as engine:
        yield Shop(engine, await enrol(engine))


async def hear(shop: Shop, last_digit: int, outcome: Outcome, **report: Any) -> None:
    """Have an order from Bandung bought at alfa, and hear what it says."""
    ref_id = f"{outcome}{last_digit}{datetime.now(UTC).timestamp()}"
    order_id = await shop.order(ref_id, number=f"08951234560{last_digit}")
    await shop.execute("update orders set cluster = 'bandung' where order_id = $1", order_id)
    claimed = {each.order_id: each for each in await shop.claim()}
    await shop.hear(claimed[order_id], outcome, **report)
    await shop.execute("delete from ready")  # what follows at the next dealer


async def refuse(shop: Shop, *last_digits: int) -> None:
    for each in last_digits:
        await hear(shop, each, Outcome.REJECTED, fault=Fault.CLUSTER)


async def exchange(shop: Shop) -> None:
    await shop.engine.upkeep.exchange_refusals()


def reasons(shop: Shop) -> list[Reason | None]:
    return list(shop.engine.router.choose(INQUIRY, datetime.now(UTC)).reasons)


async def test_dealer_that_refused_three_numbers_is_not_asked_there_any_more(shop: Shop):
    await refuse(shop, 1, 2)
    assert reasons(shop) == [None, Reason.DEARER]
    await refuse(shop, 3)
    assert reasons(shop) == [Reason.CLUSTER_REFUSED, None]
    elsewhere = replace(INQUIRY, cluster="jakarta")
    assert shop.engine.router.choose(elsewhere, datetime.now(UTC)).reasons[0] is None


async def test_order_that_waits_for_such_a_dealer_is_sent_to_another(shop: Shop):
    await refuse(shop, 1, 2, 3)
    order_id = await shop.order("A9")
    await shop.execute("update orders set cluster = 'bandung' where order_id = $1", order_id)
    assert await shop.claim() == []
    assert (await shop.claim_one()).access.row.dealer_id == "bravo"


async def test_success_in_between_starts_the_count_anew(shop: Shop):
    await refuse(shop, 1, 2)
    await hear(shop, 4, Outcome.SUCCEEDED)
    await refuse(shop, 3)
    assert reasons(shop)[0] is None


@pytest.mark.parametrize("fault", [Fault.PRODUCT, Fault.ACCOUNT])
async def test_other_refusals_say_nothing_about_the_cluster(shop: Shop, fault: Fault):
    for each in (1, 2, 3):
        await hear(shop, each, Outcome.REJECTED, fault=fault)
    assert reasons(shop)[0] is None


async def test_orders_without_a_cluster_teach_nothing(shop: Shop):
    for each in (1, 2, 3):
        await shop.order(f"A{each}", number=f"08951234560{each}")
        await shop.refuse(await shop.claim_one(), Fault.CLUSTER)
        await shop.execute("delete from ready")
    assert shop.engine.router.refusals.areas_out(datetime.now(UTC)) == {}


async def test_processes_add_up_what_they_learned_and_a_restart_remembers(
    shop: Shop, database_dsn: str
):
    async with engine_on(database_dsn) as engine:
        other = Shop(engine, shop.lane)
        await refuse(shop, 1, 2)
        await refuse(other, 3)
        assert (reasons(shop)[0], reasons(other)[0]) == (None, None)
        for each in (shop, other, shop):
            await exchange(each)
        assert reasons(shop)[0] == reasons(other)[0] == Reason.CLUSTER_REFUSED
    async with engine_on(database_dsn) as restarted:
        assert reasons(Shop(restarted, shop.lane))[0] == Reason.CLUSTER_REFUSED


async def test_success_at_one_process_clears_what_another_learned(shop: Shop, database_dsn: str):
    async with engine_on(database_dsn) as engine:
        other = Shop(engine, shop.lane)
        await shop.order("A9", number="089512345609")
        await shop.execute("update orders set cluster = 'bandung'")
        late = await shop.claim_one()
        await refuse(other, 1, 2, 3)
        await exchange(other)
        await shop.succeed(late)
        await exchange(shop)
        await exchange(other)
        assert reasons(other)[0] is None
        assert await shop.value("select count(*) from cluster_refusals") == 0


async def test_what_was_refused_ends_after_its_window(shop: Shop):
    await refuse(shop, 1, 2, 3)
    await exchange(shop)
    await shop.execute("update cluster_refusals set refused_at = refused_at - interval '25 hours'")
    await exchange(shop)
    assert reasons(shop)[0] is None
    await shop.engine.upkeep.drop_old()
    assert await shop.value("select count(*) from cluster_refusals") == 0


async def test_markets_that_are_left_out_are_measured(shop: Shop):
    await refuse(shop, 1, 2, 3)
    shop.engine.gauges.look(datetime.now(UTC))
    text = shop.engine.metrics.exposition().decode()
    assert 'jalur_clusters_refused{dealer="alfa"} 1.0' in text
    assert 'jalur_cluster_refusals_total{dealer="alfa"} 3.0' in text
    assert list(shop.engine.router.refusals.areas_out(datetime.now(UTC))) == [AREA]
