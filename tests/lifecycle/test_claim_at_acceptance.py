"""Accepting claims the first purchase in the same commit, where this process can buy at once."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest

from app.lifecycle.accept import Accepted, OutOfFunds, Replayed, Submission
from app.lifecycle.admit import Kind
from app.lifecycle.execute import Purchase
from app.workers.engine import Engine
from tests.proxies import dropping_proxy
from tests.shops import ALFA, PRICE, SKU, Owner, Shop, engine_on, enrol, furnish, submission


def buying(engine: Engine) -> list[Purchase]:
    """Open the handover, as the executor's loop does; what would be bought is collected."""
    begun: list[Purchase] = []
    engine.executor.handover.open(begun.append, lambda reserved: True)
    return begun


def routed(engine: Engine, ref_id: str = "A1", **details: Any) -> Submission:
    """A submission that knows its dealer's route."""
    route = engine.router.route_at(SKU, None, "alfa", datetime.now(UTC))
    return replace(submission(ref_id, **details), route=route)


def in_flight(engine: Engine) -> int:
    return engine.admission.held("alfa", Kind.PURCHASE)


async def test_accepted_order_is_claimed_in_the_same_commit(shop: Shop):
    begun = buying(shop.engine)
    accepted = await shop.engine.acceptor.accept(routed(shop.engine, lane=shop.lane))
    (attempt,) = await shop.fetch("select * from attempts")
    assert accepted == Accepted(attempt["order_id"], claimed=True)
    assert attempt["state"] == "sent"
    assert attempt["claim_id"] is not None
    assert attempt["due_at"] > attempt["sent_at"]
    assert [each.order.dealer_ref for each in begun] == [attempt["dealer_ref"]]
    assert await shop.value("select count(*) from ready") == 0
    assert await shop.claim() == []
    assert in_flight(shop.engine) == 1


async def test_purchase_claimed_at_acceptance_is_the_one_a_later_claim_would_make(
    shop: Shop, database_dsn: str
):
    begun = buying(shop.engine)
    order = routed(shop.engine, lane=shop.lane)
    await shop.engine.acceptor.accept(order)
    async with engine_on(database_dsn) as other:
        waiting = order.order._replace(ref_id="A2")
        late = waiting._replace(order_id=submission("A2", lane=shop.lane).order.order_id)
        await other.acceptor.accept(Submission(late, "alfa"))
        claimed = await Shop(other, shop.lane).claim_one()
    early = begun[0]
    assert replace(early.order, dealer_ref=claimed.order.dealer_ref) == claimed.order
    assert early.access.row == claimed.access.row


async def test_process_that_does_no_work_leaves_orders_to_those_that_do(shop: Shop):
    accepted = await shop.engine.acceptor.accept(routed(shop.engine, lane=shop.lane))
    assert accepted == Accepted(accepted.order_id, claimed=False)
    assert await shop.value("select count(*) from attempts") == 0
    assert (await shop.claim_one()).order_id == accepted.order_id


@pytest.mark.parametrize("price", [2_000_000, 6_000])
async def test_order_that_is_not_new_buys_nothing_and_gives_its_place_back(shop: Shop, price: int):
    await shop.order("A0")
    begun = buying(shop.engine)
    ref_id = "A1" if price > 1_000_000 else "A0"
    (outcome,) = await asyncio.gather(
        shop.engine.acceptor.accept(routed(shop.engine, ref_id, lane=shop.lane, price=price)),
        return_exceptions=True,
    )
    assert isinstance(outcome, OutOfFunds | Replayed)
    await asyncio.wait_for(shop.engine.executor.handover.settled(), 5)
    assert begun == []
    assert in_flight(shop.engine) == 0
    assert await shop.value("select count(*) from attempts") == 0


async def test_held_purchases_wait_in_the_table(shop: Shop):
    begun = buying(shop.engine)
    await shop.execute("update installation set hold = true")
    await shop.engine.acceptor.accept(routed(shop.engine, lane=shop.lane))
    assert begun == []
    assert in_flight(shop.engine) == 0
    assert await shop.value("select count(*) from ready") == 1


async def test_new_orders_queue_up_behind_those_that_wait_for_their_dealer(database_dsn: str):
    await furnish(database_dsn, [replace(ALFA, concurrency=4)])
    async with engine_on(database_dsn) as engine:
        shop = Shop(engine, await enrol(engine))
        begun = buying(engine)
        for number in range(5):
            await engine.acceptor.accept(routed(engine, f"A{number}", lane=shop.lane))
        assert len(begun) == 3  # the fourth place is for orders that wait
        assert engine.executor.places() == {"alfa": 1}
        engine.executor.leave(begun[0])
        await engine.acceptor.accept(routed(engine, "A5", lane=shop.lane))
        assert len(begun) == 3
        assert [each.order_id for each in await shop.claim()] == await waiting_first(shop)
        assert len(await shop.claim()) == 1
        await engine.acceptor.accept(routed(engine, "A6", lane=shop.lane))
        assert len(begun) == 4


async def waiting_first(shop: Shop) -> list[Any]:
    """The orders that waited longest, of those just claimed."""
    rows = await shop.fetch(
        "select order_id from orders where ref_id in ('A3', 'A4') order by order_id"
    )
    return [row["order_id"] for row in rows]


async def test_commit_in_doubt_is_bought_once(shop: Shop, database_dsn: str):
    async with dropping_proxy(database_dsn) as (proxy, dsn), engine_on(dsn) as doubtful:
        begun = buying(doubtful)
        proxy.arm(b"IN-DOUBT")
        sent = [routed(doubtful, f"IN-DOUBT-{number}", lane=shop.lane) for number in range(3)]
        outcomes = await asyncio.gather(*map(doubtful.acceptor.accept, sent))
        assert proxy.dropped == 1
    assert outcomes == [Accepted(each.order.order_id, claimed=True) for each in sent]
    assert sorted(each.order_id for each in begun) == sorted(each.order.order_id for each in sent)
    assert await shop.value("select count(*) from attempts") == 3


async def test_commit_in_doubt_while_purchases_hold_buys_nothing(shop: Shop, database_dsn: str):
    await shop.execute("update installation set hold = true")
    async with dropping_proxy(database_dsn) as (proxy, dsn), engine_on(dsn) as doubtful:
        begun = buying(doubtful)
        proxy.arm(b"IN-DOUBT")
        sent = routed(doubtful, "IN-DOUBT", lane=shop.lane)
        outcome = await doubtful.acceptor.accept(sent)
        assert proxy.dropped == 1
        assert in_flight(doubtful) == 0
    assert outcome == Accepted(sent.order.order_id, claimed=False)
    assert begun == []
    assert await shop.waiting() == [(1, "alfa")]


async def test_caller_that_goes_away_does_not_stop_its_purchase(shop: Shop):
    begun = buying(shop.engine)
    caller = asyncio.ensure_future(shop.engine.acceptor.accept(routed(shop.engine, lane=shop.lane)))
    await asyncio.sleep(0)
    caller.cancel()
    await asyncio.gather(caller, return_exceptions=True)
    await asyncio.wait_for(shop.engine.executor.handover.settled(), 5)
    assert len(begun) == 1
    assert await shop.value("select count(*) from attempts") == 1


async def test_order_whose_margin_rule_changed_meanwhile_waits_in_the_table(
    shop: Shop, owner: Owner
):
    begun = buying(shop.engine)
    order = routed(shop.engine, lane=shop.lane)
    neighbour = routed(shop.engine, "A2", lane=shop.lane)
    await owner.execute(
        "update routing_policy set revision = revision + 1, policy = $1::json",
        orjson.dumps({"minimum_margin_rupiah": PRICE - ALFA.cost + 1}).decode(),
    )
    await shop.engine.router.refresh(shop.engine.pool)
    accepted = await asyncio.gather(
        shop.engine.acceptor.accept(order), shop.engine.acceptor.accept(neighbour)
    )
    assert [each for each in accepted if not isinstance(each, Accepted)] == []
    assert begun == []
    assert in_flight(shop.engine) == 0
    assert await shop.waiting() == [(1, "alfa"), (1, "alfa")]
