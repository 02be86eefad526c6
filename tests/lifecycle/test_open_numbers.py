"""One open order a reseller, number and product: refused while it stands, free once it closes."""

import asyncio
from uuid import UUID

import pytest

from app.lifecycle.accept import Accepted, NumberBusy, OutOfFunds, Replayed, Submission
from app.lifecycle.settle import Withdrawal
from dealers.contract import Fault, Outcome
from tests.shops import PRICE, Shop, engine_on, enrol, submission

OTHER = UUID("0190a000-0000-7000-8000-000000000002")


def guarded(ref_id: str = "A1", *, shop: Shop, **details: object) -> Submission:
    """An order that must be the only one for its number."""
    return submission(ref_id, **{"lane": shop.lane, "may_repeat": False} | details)  # pyright: ignore[reportArgumentType]


async def together(shop: Shop, *submissions: Submission) -> list[object]:
    """Submit all in one turn of the loop, so that one flush takes them; errors are outcomes."""
    accept = shop.engine.acceptor.accept
    return await asyncio.gather(*map(accept, submissions), return_exceptions=True)


async def one(shop: Shop, each: Submission) -> object:
    (outcome,) = await together(shop, each)
    return outcome


async def held(shop: Shop) -> int:
    return await shop.value("select count(*) from open_numbers")


async def test_second_order_for_a_number_is_refused_and_named_while_one_is_open(shop: Shop):
    first = await one(shop, guarded(shop=shop))
    assert isinstance(first, Accepted)
    refused = await one(shop, guarded("A2", shop=shop))
    assert isinstance(refused, NumberBusy)
    assert refused.order_id == first.order_id
    assert await shop.money() == (1_000_000 - PRICE, PRICE)
    # The reference was not used up.
    await shop.engine.settler.withdraw(shop.lane, first.order_id, Withdrawal.CANCELLED)
    assert isinstance(await one(shop, guarded("A2", shop=shop)), Accepted)


async def test_another_number_another_product_and_another_reseller_are_free(shop: Shop):
    other = await enrol(shop.engine, OTHER)
    product = guarded("A3", shop=shop)
    outcomes = await together(
        shop,
        guarded("A1", shop=shop),
        guarded("A2", shop=shop, number="089500000001"),
        Submission(product.order._replace(sku="TRI20"), product.dealer_id),
        guarded("A1", shop=shop, lane=other, reseller_id=OTHER),
    )
    assert all(isinstance(each, Accepted) for each in outcomes)


async def test_a_repeated_reference_behind_another_for_the_number_is_one_flush(shop: Shop):
    flushed = shop.engine.acceptor.batches
    before = sum(each.flushes for each in flushed._batchers)  # pyright: ignore[reportPrivateUsage]
    first, *rest = await together(
        shop, *(guarded(ref_id, shop=shop) for ref_id in ("A1", "A2", "A2"))
    )
    assert isinstance(first, Accepted)
    assert all(isinstance(each, NumberBusy) for each in rest)
    assert await shop.money() == (1_000_000 - PRICE, PRICE)
    after = sum(each.flushes for each in flushed._batchers)  # pyright: ignore[reportPrivateUsage]
    assert after - before == 1


async def test_order_that_may_repeat_stands_beside_others_and_bars_those_that_may_not(shop: Shop):
    first = await one(shop, guarded("A1", shop=shop))
    assert isinstance(first, Accepted)
    beside = await one(shop, guarded("A2", shop=shop, may_repeat=True))
    assert isinstance(beside, Accepted)
    await shop.engine.settler.withdraw(shop.lane, first.order_id, Withdrawal.CANCELLED)
    refused = await one(shop, guarded("A3", shop=shop))
    assert isinstance(refused, NumberBusy)
    assert refused.order_id == beside.order_id


async def test_the_same_reference_is_answered_with_its_order_before_the_number_is_looked_at(
    shop: Shop,
):
    first = await one(shop, guarded("A1", shop=shop))
    assert isinstance(first, Accepted)
    for may_repeat in (False, True):
        again = await one(shop, guarded("A1", shop=shop, may_repeat=may_repeat))
        assert again == Replayed(first.order_id)


async def test_of_many_for_one_number_in_one_batch_the_first_stands(shop: Shop):
    batch = [guarded(f"A{number}", shop=shop) for number in range(200)]
    first, *others = await together(shop, *batch)
    assert isinstance(first, Accepted)
    assert {type(each) for each in others} == {NumberBusy}
    assert {each.order_id for each in others if isinstance(each, NumberBusy)} == {first.order_id}
    assert await shop.money() == (1_000_000 - PRICE, PRICE)


async def test_of_many_for_one_number_that_cannot_be_paid_none_stands(shop: Shop):
    lane = await enrol(shop.engine, OTHER, PRICE - 1)
    batch = [guarded(f"A{n}", shop=shop, lane=lane, reseller_id=OTHER) for n in range(200)]
    outcomes = await together(shop, *batch)
    assert {type(each) for each in outcomes} == {OutOfFunds}
    assert await held(shop) == 0


async def test_cheaper_order_behind_an_unpaid_one_for_its_number_is_accepted(shop: Shop):
    lane = await enrol(shop.engine, OTHER, PRICE)
    dear = guarded("A1", shop=shop, lane=lane, reseller_id=OTHER, price=PRICE + 1)
    fair = guarded("A2", shop=shop, lane=lane, reseller_id=OTHER)
    refused, accepted = await together(shop, dear, fair)
    assert isinstance(refused, OutOfFunds)
    assert isinstance(accepted, Accepted)


async def test_repeated_references_and_numbers_in_one_batch_are_told_apart(shop: Shop):
    old = await one(shop, guarded("old", shop=shop))
    assert isinstance(old, Accepted)
    await shop.engine.settler.withdraw(shop.lane, old.order_id, Withdrawal.CANCELLED)
    replayed, first, again, busy, replayed_too = await together(
        shop,
        guarded("old", shop=shop),
        guarded("A1", shop=shop),
        guarded("A1", shop=shop),
        guarded("A2", shop=shop),
        guarded("old", shop=shop, may_repeat=True),
    )
    assert replayed == replayed_too == Replayed(old.order_id)
    assert isinstance(first, Accepted)
    assert again == Replayed(first.order_id)
    assert isinstance(busy, NumberBusy)


async def test_of_forty_at_once_in_two_processes_one_stands(shop: Shop, database_dsn: str):
    async with engine_on(database_dsn) as other:
        outcomes = await asyncio.gather(
            *(
                (shop.engine, other)[number % 2].acceptor.accept(guarded(f"A{number}", shop=shop))
                for number in range(40)
            ),
            return_exceptions=True,
        )
    (stands,) = [each for each in outcomes if isinstance(each, Accepted)]
    refused = [each for each in outcomes if isinstance(each, NumberBusy)]
    assert {each.order_id for each in refused} == {stands.order_id}
    assert len(refused) == 39
    assert await shop.money() == (1_000_000 - PRICE, PRICE)


async def test_numbers_freed_and_taken_at_once_never_stand_twice_nor_get_stuck(
    shop: Shop, database_dsn: str
):
    async def trade(engine_number: int, seller: int) -> int:
        engine, accepted = engines[engine_number], 0
        for turn in range(15):
            each = guarded(f"A{engine_number}-{seller}-{turn}", shop=shop)
            try:
                outcome = await engine.acceptor.accept(each)
            except NumberBusy:
                continue
            assert await held(shop) == 1
            accepted += 1
            await engine.settler.withdraw(shop.lane, outcome.order_id, Withdrawal.CANCELLED)
        return accepted

    async with engine_on(database_dsn) as other:
        engines = (shop.engine, other)
        accepted = await asyncio.gather(*(trade(n % 2, n) for n in range(8)))
    assert sum(accepted) > 0
    assert await held(shop) == 0
    assert isinstance(await one(shop, guarded(shop=shop)), Accepted)


@pytest.mark.parametrize("close", ["succeeded", "refused", "expired"])
async def test_number_is_free_once_its_order_closes_whatever_closes_it(shop: Shop, close: str):
    accepted = await one(shop, guarded(shop=shop))
    assert isinstance(accepted, Accepted)
    if close == "expired":
        await shop.engine.settler.withdraw(shop.lane, accepted.order_id, Withdrawal.EXPIRED)
    else:
        purchase = await shop.claim_one()
        assert isinstance(await one(shop, guarded("A2", shop=shop)), NumberBusy)
        if close == "succeeded":
            await shop.succeed(purchase)
        else:
            await shop.refuse(purchase, Fault.NUMBER)
    assert await held(shop) == 0
    assert isinstance(await one(shop, guarded("A2", shop=shop)), Accepted)


async def test_number_stays_held_while_its_order_goes_on_to_the_next_dealer(shop: Shop):
    await one(shop, guarded(shop=shop))
    await shop.refuse(await shop.claim_one())
    assert isinstance(await one(shop, guarded("A2", shop=shop)), NumberBusy)
    await shop.succeed(await shop.claim_one())
    assert isinstance(await one(shop, guarded("A2", shop=shop)), Accepted)


async def test_correction_and_reversal_hold_nothing_again(shop: Shop):
    await one(shop, guarded(shop=shop))
    purchase = await shop.claim_one()
    await shop.refuse(purchase, Fault.NUMBER)
    await shop.succeed(purchase)
    assert await shop.status(purchase.order_id) == "succeeded"
    assert await held(shop) == 0
    await shop.hear(purchase, Outcome.FAILED, reversal=True)
    assert await shop.status(purchase.order_id) == "reversed"
    assert await held(shop) == 0
    assert isinstance(await one(shop, guarded("A2", shop=shop)), Accepted)


async def test_number_left_behind_by_a_process_that_knows_no_guard_is_taken_over(shop: Shop):
    accepted = await one(shop, guarded(shop=shop))
    assert isinstance(accepted, Accepted)
    await shop.execute("update orders set status = 'failed' where order_id = $1", accepted.order_id)
    taken = await one(shop, guarded("A2", shop=shop))
    assert isinstance(taken, Accepted)
    await shop.execute(
        "update orders set status = 'accepted' where order_id = $1", accepted.order_id
    )
    await shop.engine.settler.withdraw(shop.lane, accepted.order_id, Withdrawal.CANCELLED)
    assert await shop.fetch("select order_id from open_numbers") == [(taken.order_id,)]
