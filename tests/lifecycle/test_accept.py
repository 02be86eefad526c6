"""Accept: one commit holds the order and its money, whatever else is in the batch."""

import asyncio
from dataclasses import replace
from uuid import UUID

import asyncpg
import pytest
from uuid_utils.compat import uuid7

from app.errors import DatabaseUnavailable, Overloaded
from app.lifecycle.accept import Accepted, OutOfFunds, ReferenceTaken, Replayed, Submission
from app.storage.batches import BatchLimits
from app.storage.lanes import lane_of
from tests.proxies import dropping_proxy
from tests.shops import PRICE, Owner, Shop, engine_on, enrol, submission, until

OTHER = UUID("0190a000-0000-7000-8000-000000000002")
STRANGER = UUID("0190a000-0000-7000-8000-000000000003")


async def accept_together(shop: Shop, *submissions: Submission) -> list[object]:
    """Submit all in one turn of the loop, so that one flush takes them; errors are outcomes."""
    accept = shop.engine.acceptor.accept
    return await asyncio.gather(*map(accept, submissions), return_exceptions=True)


async def test_accepted_order_holds_its_money_and_waits_for_its_dealer(shop: Shop):
    order_id = await shop.order()
    assert await shop.status(order_id) == "accepted"
    assert await shop.money() == (1_000_000 - PRICE, PRICE)
    assert await shop.kinds(order_id) == ["reserve"]
    assert await shop.waiting() == [(1, "alfa")]


async def test_batch_of_several_resellers_charges_each_its_own(shop: Shop):
    other = await enrol(shop.engine, OTHER, 2 * PRICE)
    await accept_together(
        shop,
        submission("A1", lane=shop.lane),
        submission("A1", lane=other, reseller_id=OTHER),
        submission("A2", lane=shop.lane),
        submission("A2", lane=other, reseller_id=OTHER),
    )
    assert await shop.money() == (1_000_000 - 2 * PRICE, 2 * PRICE)
    assert await shop.money(OTHER) == (0, 2 * PRICE)


async def test_smaller_order_behind_a_refused_larger_one_is_accepted(shop: Shop):
    lane = await enrol(shop.engine, OTHER, 10_000)
    large, small, rest = await accept_together(
        shop,
        submission("A1", lane=lane, reseller_id=OTHER, price=12_000),
        submission("A2", lane=lane, reseller_id=OTHER, price=6_000),
        submission("A3", lane=lane, reseller_id=OTHER, price=6_000),
    )
    assert isinstance(large, OutOfFunds)
    assert isinstance(small, Accepted)
    assert isinstance(rest, OutOfFunds)
    assert rest.available == 4_000
    assert await shop.money(OTHER) == (4_000, 6_000)


async def test_credit_is_spent_to_the_last_rupiah_and_no_further(shop: Shop):
    lane = await enrol(shop.engine, OTHER, 0, credit_limit=PRICE)
    first, second = await accept_together(
        shop,
        submission("A1", lane=lane, reseller_id=OTHER),
        submission("A2", lane=lane, reseller_id=OTHER, price=1),
    )
    assert isinstance(first, Accepted)
    assert isinstance(second, OutOfFunds)
    assert await shop.money(OTHER) == (-PRICE, PRICE)


async def test_same_reference_in_one_batch_is_one_order(shop: Shop):
    first, again = await accept_together(
        shop, submission("A1", lane=shop.lane), submission("A1", lane=shop.lane)
    )
    assert isinstance(first, Accepted)
    assert again == Replayed(first.order_id)
    assert await shop.money() == (1_000_000 - PRICE, PRICE)


async def test_same_reference_later_is_the_order_it_stands_for(shop: Shop):
    order_id = await shop.order()
    again = await shop.engine.acceptor.accept(submission(lane=shop.lane))
    assert again == Replayed(order_id)


@pytest.mark.parametrize("together", [True, False])
async def test_reference_with_another_content_is_refused(shop: Shop, together: bool):
    first = submission(lane=shop.lane)
    other = submission(lane=shop.lane, fingerprint=b"other")
    if together:
        _, refused = await accept_together(shop, first, other)
    else:
        await shop.engine.acceptor.accept(first)
        (refused,) = await accept_together(shop, other)
    assert isinstance(refused, ReferenceTaken)
    assert await shop.value("select count(*) from orders") == 1


async def test_refused_order_leaves_its_reference_free(shop: Shop):
    dear = submission(lane=shop.lane, price=2_000_000)
    (refused,) = await accept_together(shop, dear)
    assert isinstance(refused, OutOfFunds)
    assert isinstance(await shop.engine.acceptor.accept(submission(lane=shop.lane)), Accepted)


async def test_the_same_reference_of_two_resellers_is_two_orders(shop: Shop):
    other = await enrol(shop.engine, OTHER)
    outcomes = await accept_together(
        shop, submission(lane=shop.lane), submission(lane=other, reseller_id=OTHER)
    )
    assert all(isinstance(outcome, Accepted) for outcome in outcomes)


async def test_forty_callers_with_one_reference_get_one_order(shop: Shop, database_dsn: str):
    async with engine_on(database_dsn) as other:
        acceptors = [shop.engine.acceptor, other.acceptor] * 20
        outcomes = await asyncio.gather(
            *(acceptor.accept(submission(lane=shop.lane)) for acceptor in acceptors)
        )
    assert len({outcome.order_id for outcome in outcomes}) == 1
    assert sum(isinstance(outcome, Accepted) for outcome in outcomes) == 1
    assert await shop.money() == (1_000_000 - PRICE, PRICE)


async def test_reseller_without_a_wallet_has_no_funds_and_fails_alone(shop: Shop):
    stranger = submission(lane=lane_of(STRANGER), reseller_id=STRANGER)
    refused, accepted = await accept_together(shop, stranger, submission(lane=shop.lane))
    assert isinstance(refused, OutOfFunds)
    assert refused.available == 0
    assert isinstance(accepted, Accepted)


async def test_row_that_breaks_a_constraint_fails_alone(shop: Shop):
    batch = [submission(f"A{number}", lane=shop.lane) for number in range(7)]
    batch.insert(3, submission("bad", lane=shop.lane, price=0))
    outcomes = await accept_together(shop, *batch)
    assert isinstance(outcomes.pop(3), asyncpg.CheckViolationError)
    assert all(isinstance(outcome, Accepted) for outcome in outcomes)
    assert await shop.money() == (1_000_000 - 7 * PRICE, 7 * PRICE)


async def test_row_that_cannot_be_encoded_fails_alone(shop: Shop):
    bad = submission("bad", lane=shop.lane, number="0895\0")
    refused, accepted = await accept_together(shop, bad, submission(lane=shop.lane))
    assert isinstance(refused, Exception)
    assert not isinstance(refused, DatabaseUnavailable)
    assert isinstance(accepted, Accepted)


async def test_row_with_an_impossible_number_fails_alone(shop: Shop):
    bad = submission("bad", lane=shop.lane)
    bad = replace(bad, order=bad.order._replace(max_price=2**63))
    refused, accepted = await accept_together(shop, bad, submission(lane=shop.lane))
    assert isinstance(refused, Exception)
    assert not isinstance(refused, DatabaseUnavailable)
    assert isinstance(accepted, Accepted)


async def test_locked_wallet_holds_up_nobody_else(shop: Shop, owner: Owner):
    other = await enrol(shop.engine, OTHER)
    async with owner.transaction():
        await owner.execute("select from wallets where reseller_id = $1 for update", OTHER)
        held = asyncio.ensure_future(
            shop.engine.acceptor.accept(submission(lane=other, reseller_id=OTHER))
        )
        free = shop.engine.acceptor.accept(submission(lane=shop.lane))
        assert isinstance(await free, Accepted)
        assert not held.done()
    assert isinstance(await held, Accepted)


async def test_commit_in_doubt_is_accepted_once(shop: Shop, database_dsn: str):
    async with dropping_proxy(database_dsn) as (proxy, dsn), engine_on(dsn) as doubtful:
        proxy.arm(b"IN-DOUBT")
        sent = [submission(f"IN-DOUBT-{number}", lane=shop.lane) for number in range(3)]
        outcomes = await asyncio.gather(*map(doubtful.acceptor.accept, sent))
        assert proxy.dropped == 1
    assert outcomes == [Accepted(each.order.order_id) for each in sent]
    assert await shop.money() == (1_000_000 - 3 * PRICE, 3 * PRICE)


async def test_backend_that_dies_before_its_commit_leaves_one_order(
    shop: Shop, owner: Owner, database_dsn: str
):
    async with owner.transaction():
        await owner.execute("select from wallets for update")
        accepting = asyncio.ensure_future(shop.order())
        victim = """
            select pg_terminate_backend(pid) from pg_stat_activity
            where datname = current_database() and wait_event_type = 'Lock'
        """
        other = await asyncpg.connect(database_dsn)
        await until(lambda: other.fetchval(victim))
        await other.close()
    order_id = await accepting
    assert await shop.kinds(order_id) == ["reserve"]


async def test_full_queue_is_refused_before_anything_is_written(shop: Shop, database_dsn: str):
    async with engine_on(database_dsn, accept_limits=BatchLimits(waiting=2)) as small:
        outcomes = await asyncio.gather(
            *(small.acceptor.accept(submission(f"A{n}", lane=shop.lane)) for n in range(5)),
            return_exceptions=True,
        )
    refused = [outcome for outcome in outcomes if isinstance(outcome, Overloaded)]
    assert len(refused) == 3
    assert await shop.value("select count(*) from orders") == 2


async def test_caller_that_leaves_cancels_nobodys_order(shop: Shop):
    leaving = asyncio.ensure_future(
        shop.engine.acceptor.accept(submission("A1", lane=shop.lane, order_id=uuid7()))
    )
    staying = asyncio.ensure_future(shop.engine.acceptor.accept(submission("A2", lane=shop.lane)))
    await asyncio.sleep(0)
    leaving.cancel()
    assert isinstance(await staying, Accepted)
    assert await shop.value("select count(*) from orders") == 2
