"""Settle: what a word does to states, money, the next attempt, events, reviews, disputes."""

import asyncio
from dataclasses import replace
from typing import Any

import orjson
import pytest
from uuid_utils.compat import uuid7

from app.lifecycle.accept import OutOfFunds
from app.lifecycle.execute import Purchase
from app.lifecycle.settle import Withdrawal
from app.storage import endpoints
from app.storage.endpoints import NewEndpoint
from app.words import Source
from dealers.contract import Fault, Outcome
from tests.lifecycle.test_accept import OTHER
from tests.shops import OPENING_RUPIAH, PRICE, RESELLER, Shop, enrol


async def next_purchase(shop: Shop, purchase: Purchase) -> Purchase:
    """Have the first dealer refuse and the next attempt claimed."""
    await shop.refuse(purchase)
    return await shop.claim_one()


async def open_disputes(shop: Shop) -> list[int]:
    rows = await shop.fetch(
        "select attempt_no from disputes where closed_at is null order by attempt_no"
    )
    return [row[0] for row in rows]


async def open_reviews(shop: Shop) -> list[str]:
    rows = await shop.fetch("select reason from reviews where closed_at is null order by reason")
    return [row[0] for row in rows]


# ------------------------------------------------------------------ plain endings


async def test_success_captures_and_is_told(shop: Shop):
    purchase = await shop.bought()
    await shop.succeed(purchase)
    assert await shop.status(purchase.order_id) == "succeeded"
    assert await shop.kinds(purchase.order_id) == ["reserve", "capture"]
    assert await shop.money() == (OPENING_RUPIAH - PRICE, 0)
    assert await shop.events(purchase.order_id) == ["order.succeeded"]


async def test_event_shows_the_order_and_never_its_dealer(shop: Shop):
    purchase = await shop.bought()
    await shop.hear(purchase, Outcome.SUCCEEDED, message="from alfa", serial_number="SN1")
    payload = await shop.value("select payload from events")
    told: dict[str, Any] = orjson.loads(payload)
    assert told["type"] == "order.succeeded"
    assert told["data"]["id"] == str(purchase.order_id)
    assert told["data"]["serial_number"] == "SN1"
    assert told["data"]["status"] == "succeeded"
    assert "alfa" not in payload
    assert "5000" not in payload


async def test_refusal_makes_the_next_dealer_ready_with_its_proof(shop: Shop):
    purchase = await shop.bought()
    await shop.refuse(purchase)
    assert await shop.waiting() == [(2, "bravo")]
    decision = orjson.loads(await shop.value("select decision from ready"))
    assert "tried" in str(decision)
    assert await shop.status(purchase.order_id) == "processing"
    assert await shop.kinds(purchase.order_id) == ["reserve"]
    assert await shop.events(purchase.order_id) == []


async def test_order_fails_when_every_dealer_was_tried(shop: Shop):
    purchase = await shop.bought()
    for _ in range(2):
        purchase = await next_purchase(shop, purchase)
    await shop.refuse(purchase)
    assert await shop.states(purchase.order_id) == ["rejected"] * 3
    assert await shop.status(purchase.order_id) == "failed"
    assert await shop.kinds(purchase.order_id) == ["reserve", "release"]
    assert await shop.money() == (OPENING_RUPIAH, 0)
    code = await shop.value("select failure_code from orders")
    assert code == "not-delivered"


async def test_number_fault_is_not_tried_elsewhere(shop: Shop):
    purchase = await shop.bought()
    await shop.hear(purchase, Outcome.FAILED, fault=Fault.NUMBER)
    assert await shop.status(purchase.order_id) == "failed"
    assert await shop.waiting() == []
    assert await shop.value("select failure_code from orders") == "number-refused"


async def test_refusal_after_the_time_for_retries_ends_the_order(shop: Shop):
    purchase = await shop.bought()
    await shop.execute("update orders set retry_until = now()")
    await shop.refuse(purchase)
    assert await shop.status(purchase.order_id) == "failed"
    assert await shop.money() == (OPENING_RUPIAH, 0)


async def test_unknown_outcome_never_opens_a_second_attempt(shop: Shop):
    purchase = await shop.bought()
    await shop.hear(purchase, Outcome.UNKNOWN, transport=True)
    assert await shop.states(purchase.order_id) == ["unknown"]
    assert await shop.waiting() == []
    assert await shop.money() == (OPENING_RUPIAH - PRICE, PRICE)
    assert await shop.value("select due_at > now() and claim_id is null from attempts")


async def test_word_about_an_unknown_order_or_attempt_is_not_found(shop: Shop):
    purchase = await shop.bought()
    stranger = await shop.engine.settler.withdraw(shop.lane, uuid7(), Withdrawal.CANCELLED)
    assert stranger is False
    settled = await shop.succeed(replace(purchase, attempt_no=7))
    assert not settled.found
    assert await shop.status(purchase.order_id) == "accepted"


# ------------------------------------------------------------------ several words


@pytest.mark.parametrize(
    ("first", "second", "status"),
    [
        (Outcome.SUCCEEDED, Outcome.REJECTED, "succeeded"),
        (Outcome.REJECTED, Outcome.SUCCEEDED, "succeeded"),
    ],
)
async def test_words_of_one_moment_are_applied_in_the_order_they_came(
    shop: Shop, first: Outcome, second: Outcome, status: str
):
    purchase = await shop.bought()
    await asyncio.gather(shop.hear(purchase, first), shop.hear(purchase, second, Source.CALLBACK))
    assert await shop.status(purchase.order_id) == status
    assert await shop.kinds(purchase.order_id) == ["reserve", "capture"]
    assert await shop.events(purchase.order_id) == ["order.succeeded"]
    assert await shop.waiting() == []


async def test_the_same_success_ten_times_is_captured_and_told_once(shop: Shop):
    purchase = await shop.bought()
    await asyncio.gather(*(shop.succeed(purchase, Source.CALLBACK) for _ in range(10)))
    assert await shop.kinds(purchase.order_id) == ["reserve", "capture"]
    assert await shop.events(purchase.order_id) == ["order.succeeded"]


async def test_serial_number_that_comes_late_is_told_once(shop: Shop):
    purchase = await shop.bought()
    await shop.hear(purchase, Outcome.SUCCEEDED)
    await shop.succeed(purchase, Source.CALLBACK)
    await shop.succeed(purchase, Source.CALLBACK)
    assert await shop.events(purchase.order_id) == ["order.succeeded", "order.updated"]
    row = (await shop.fetch("select serial_number, version from orders"))[0]
    assert (row[0], row[1]) == ("SN1", 3)


async def test_late_success_on_an_empty_wallet_charges_all_the_same(shop: Shop):
    purchase = await shop.bought()
    await shop.hear(purchase, Outcome.FAILED, fault=Fault.NUMBER)
    await shop.bought("A2", price=OPENING_RUPIAH)
    await shop.succeed(purchase, Source.CALLBACK)
    assert await shop.status(purchase.order_id) == "succeeded"
    assert await shop.kinds(purchase.order_id) == ["reserve", "release", "correction"]
    assert await shop.events(purchase.order_id) == ["order.failed", "order.corrected"]
    assert await shop.money() == (-PRICE, OPENING_RUPIAH)
    with pytest.raises(OutOfFunds):
        await shop.order("A3", price=1)


async def test_reversal_pays_back_and_a_success_after_it_is_for_people(shop: Shop):
    purchase = await shop.bought()
    await shop.succeed(purchase)
    await shop.hear(purchase, Outcome.FAILED, Source.CALLBACK, reversal=True)
    assert await shop.status(purchase.order_id) == "reversed"
    assert await shop.kinds(purchase.order_id) == ["reserve", "capture", "refund"]
    await shop.succeed(purchase, Source.CALLBACK)
    assert await shop.status(purchase.order_id) == "reversed"
    assert await shop.money() == (OPENING_RUPIAH, 0)
    assert await open_reviews(shop) == ["success-after-reversal"]


async def test_corrected_and_then_reversed_order_ends_at_nothing(shop: Shop):
    purchase = await shop.bought()
    await shop.hear(purchase, Outcome.FAILED, fault=Fault.NUMBER)
    await shop.succeed(purchase, Source.CALLBACK)
    await shop.hear(purchase, Outcome.FAILED, Source.CALLBACK, reversal=True)
    kinds = await shop.kinds(purchase.order_id)
    assert kinds == ["reserve", "release", "correction", "refund"]
    assert await shop.money() == (OPENING_RUPIAH, 0)


async def test_failure_after_success_moves_nothing_and_is_asked_about_at_once(shop: Shop):
    purchase = await shop.bought()
    await shop.succeed(purchase)
    await shop.hear(purchase, Outcome.FAILED, Source.CALLBACK)
    assert await shop.kinds(purchase.order_id) == ["reserve", "capture"]
    assert await shop.value("select due_at <= now() from attempts")
    check = await shop.claim_check()
    await shop.hear(purchase, Outcome.FAILED, Source.CHECK, fence=check.due.fence)
    assert await open_reviews(shop) == ["contradiction"]
    assert await shop.status(purchase.order_id) == "succeeded"


# ------------------------------------------------------------------ disputes


async def test_success_of_an_abandoned_purchase_is_disputed_and_charged_once(shop: Shop):
    first = await shop.bought()
    second = await next_purchase(shop, first)
    await shop.succeed(first, Source.CALLBACK)
    assert await open_disputes(shop) == [1]
    assert await shop.status(first.order_id) == "processing"
    await shop.succeed(second)
    assert await shop.kinds(first.order_id) == ["reserve", "capture"]
    assert await shop.events(first.order_id) == ["order.succeeded"]
    assert await open_disputes(shop) == [1]
    row = (await shop.fetch("select dealer_id, dealer_ref, cost from disputes"))[0]
    assert (row[0], row[1], row[2]) == ("alfa", first.order.dealer_ref, 5000)


async def test_disputed_purchase_serves_when_the_other_dealer_fails(shop: Shop):
    first = await shop.bought()
    second = await next_purchase(shop, first)
    await shop.succeed(first, Source.CALLBACK)
    await shop.refuse(second)
    assert await shop.status(first.order_id) == "succeeded"
    assert await shop.kinds(first.order_id) == ["reserve", "capture"]
    assert await shop.value("select serial_number from orders") == "SN1"
    assert await open_disputes(shop) == []
    assert await shop.waiting() == []


async def test_reversal_of_the_serving_purchase_leaves_the_disputed_one_serving(shop: Shop):
    first = await shop.bought()
    second = await next_purchase(shop, first)
    await shop.hear(first, Outcome.SUCCEEDED, Source.CALLBACK, serial_number="OF-FIRST")
    await shop.hear(second, Outcome.SUCCEEDED, serial_number="OF-SECOND")
    await shop.hear(second, Outcome.FAILED, Source.CALLBACK, reversal=True)
    assert await shop.status(first.order_id) == "succeeded"
    assert await shop.kinds(first.order_id) == ["reserve", "capture"]
    assert await open_disputes(shop) == []
    assert await shop.value("select serial_number from orders") == "OF-FIRST"


async def test_reversal_of_a_disputed_purchase_ends_its_dispute(shop: Shop):
    first = await shop.bought()
    second = await next_purchase(shop, first)
    await shop.succeed(first, Source.CALLBACK)
    await shop.succeed(second)
    await shop.hear(first, Outcome.FAILED, Source.CALLBACK, reversal=True)
    assert await shop.status(first.order_id) == "succeeded"
    assert await shop.kinds(first.order_id) == ["reserve", "capture"]
    assert await open_disputes(shop) == []


async def test_purchase_disputed_again_is_listed_again(shop: Shop):
    first = await shop.bought()
    second = await next_purchase(shop, first)
    await shop.succeed(first, Source.CALLBACK)
    await shop.hear(first, Outcome.FAILED, Source.CALLBACK, reversal=True)
    assert await open_disputes(shop) == []
    await shop.succeed(first, Source.CALLBACK)
    await shop.succeed(second)
    assert await open_disputes(shop) == [1]


async def test_late_serial_number_of_a_disputed_purchase_is_not_the_orders(shop: Shop):
    first = await shop.bought()
    second = await next_purchase(shop, first)
    await shop.hear(first, Outcome.SUCCEEDED, Source.CALLBACK)
    await shop.hear(second, Outcome.SUCCEEDED)
    await shop.hear(first, Outcome.SUCCEEDED, Source.CALLBACK, serial_number="OF-FIRST")
    assert await shop.value("select serial_number from orders") is None


# ------------------------------------------------------------------ reviews


async def test_doubt_that_lasts_is_reviewed_until_a_word_ends_it(shop: Shop):
    purchase = await shop.bought()
    await shop.execute("update attempts set sent_at = now() - interval '31 minutes'")
    await shop.hear(purchase, Outcome.UNKNOWN, transport=True)
    assert await open_reviews(shop) == ["unresolved"]
    assert await shop.value("select needs_review from orders")
    assert await shop.value("select due_at is not null from attempts")
    await shop.succeed(purchase, Source.CALLBACK)
    assert await open_reviews(shop) == []
    assert not await shop.value("select needs_review from orders")


async def test_contradiction_that_the_dealer_resolves_leaves_the_review_queue(shop: Shop):
    purchase = await shop.bought()
    await shop.succeed(purchase)
    await shop.hear(purchase, Outcome.FAILED, Source.CHECK)
    assert await open_reviews(shop) == ["contradiction"]
    await shop.hear(purchase, Outcome.FAILED, Source.CALLBACK, reversal=True)
    assert await shop.status(purchase.order_id) == "reversed"
    assert await open_reviews(shop) == []


async def test_two_not_found_answers_asked_in_one_breath_do_not_prove_absence(shop: Shop):
    """The second question was asked 5 s after the first; only its settling was held up."""
    purchase = await shop.bought()
    await shop.hear(purchase, Outcome.UNKNOWN, transport=True)
    await shop.execute(
        """
        update attempts set absent_since = now() - interval '61 seconds',
                            asked_at = now() - interval '56 seconds', fence = 2
        """
    )
    await shop.hear(purchase, Outcome.UNKNOWN, Source.CHECK, fence=2, not_found=True)
    assert await shop.states(purchase.order_id) == ["unknown"]
    assert await shop.waiting() == []


# ------------------------------------------------------------------ telling


async def test_events_are_numbered_without_gaps_and_go_to_whoever_wants_them(shop: Shop):
    purchases = [await shop.bought(f"A{number}") for number in range(6)]
    wanted = {uuid7(): None, uuid7(): ["order.failed"], uuid7(): ["order.updated"]}
    async with shop.engine.pool.acquire() as connection:
        for endpoint_id, types in wanted.items():
            new = NewEndpoint(
                shop.lane, endpoint_id, RESELLER, "https://a.example", types, b"sealed"
            )
            await endpoints.create(connection, new)
    for number, purchase in enumerate(purchases):
        outcome = Outcome.SUCCEEDED if number % 2 else Outcome.FAILED
        await shop.hear(purchase, outcome, fault=Fault.NUMBER)
    rows = await shop.fetch("select event_seq from events order by event_seq")
    assert [row[0] for row in rows] == [1, 2, 3, 4, 5, 6]
    counts = await shop.fetch("select endpoint_id, count(*) from deliveries group by 1")
    told = {row[0]: row[1] for row in counts}
    everything, failures, updates = wanted
    assert (told[everything], told[failures], told.get(updates)) == (6, 3, None)


async def test_settlers_of_two_resellers_number_their_events_apart(shop: Shop):
    lane = await enrol(shop.engine, OTHER)
    await shop.order("A1")
    await shop.order("A1", lane=lane, reseller_id=OTHER)
    purchases = await shop.claim()
    await asyncio.gather(*map(shop.succeed, purchases))
    rows = await shop.fetch("select event_seq from events")
    assert [row[0] for row in rows] == [1, 1]


# ------------------------------------------------------------------ cancelling


async def test_unclaimed_order_is_cancelled_and_pays_back(shop: Shop):
    order_id = await shop.order()
    assert await shop.engine.settler.withdraw(shop.lane, order_id, Withdrawal.CANCELLED)
    assert await shop.status(order_id) == "failed"
    assert await shop.value("select failure_code from orders") == "cancelled"
    assert await shop.money() == (OPENING_RUPIAH, 0)
    assert await shop.waiting() == []
    assert not await shop.engine.settler.withdraw(shop.lane, order_id, Withdrawal.CANCELLED)


async def test_claimed_order_is_not_cancelled(shop: Shop):
    purchase = await shop.bought()
    settler = shop.engine.settler
    assert not await settler.withdraw(shop.lane, purchase.order_id, Withdrawal.CANCELLED)
    assert await shop.status(purchase.order_id) == "accepted"


async def test_cancelling_races_claiming_and_one_of_them_wins(shop: Shop):
    order_ids = [await shop.order(f"A{number}") for number in range(20)]
    settler = shop.engine.settler
    claiming = asyncio.ensure_future(shop.claim(20))
    cancelled = await asyncio.gather(
        *(settler.withdraw(shop.lane, each, Withdrawal.CANCELLED) for each in order_ids)
    )
    claimed = {purchase.order_id for purchase in await claiming}
    claimed |= {purchase.order_id for purchase in await shop.claim(20)}
    won = {each for each, done in zip(order_ids, cancelled, strict=True) if done}
    assert claimed.isdisjoint(won)
    assert claimed | won == set(order_ids)
