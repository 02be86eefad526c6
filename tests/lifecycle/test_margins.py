"""A tier's minimum margin holds wherever a dealer is chosen: at the claim, at a failover, after an
operator's word, for a purchase that the dealer does not know."""

import json

from uuid_utils.compat import uuid7

from app.lifecycle.execute import Purchase
from app.lifecycle.resolve import Answer, Resolution
from app.words import Said, Source
from dealers.contract import Outcome
from tests.publishing import PUBLISH
from tests.shops import PRICE, Shop


async def pay_as(shop: Shop, tier: str, margin: int) -> None:
    """The reseller's tier, and what it must leave of each order in rupiah."""
    await shop.execute("update resellers set tier = $1", tier)
    await state_margin(shop, tier, margin)


async def state_margin(shop: Shop, tier: str, margin: int) -> None:
    policy = json.dumps({"margins": [[tier, "pulsa", margin]]})
    await shop.execute("update routing_policy set revision = revision + 1, policy = $1", policy)
    await shop.engine.router.refresh(shop.engine.pool)


async def fail_over(shop: Shop) -> Purchase:
    """Bought at alfa for 5,000, refused there, and claimed at bravo for 5,100."""
    await shop.refuse(await shop.bought())
    second = await shop.claim_one()
    assert second.access.row.dealer_id == "bravo"
    return second


async def test_a_failover_goes_nowhere_that_leaves_less_than_the_tiers_margin(shop: Shop):
    await pay_as(shop, "gold", PRICE - 5_150)
    second = await fail_over(shop)
    await shop.refuse(second)  # charlie asks 5,200
    assert await shop.status(second.order_id) == "failed"
    assert await shop.waiting() == []


async def test_a_failover_of_another_tier_is_not_held_to_it(shop: Shop):
    await pay_as(shop, "gold", PRICE - 5_150)
    await shop.execute("update resellers set tier = 'standard'")
    await shop.refuse(await fail_over(shop))
    assert await shop.waiting() == [(3, "charlie")]


async def test_a_tiers_lower_margin_lets_a_failover_go_further(shop: Shop):
    await shop.execute("update resellers set tier = 'gold'")
    policy = {"minimum_margin_rupiah": PRICE - 5_150, "margins": [["gold", "pulsa", 0]]}
    await shop.execute(
        "update routing_policy set revision = revision + 1, policy = $1", json.dumps(policy)
    )
    await shop.engine.router.refresh(shop.engine.pool)
    await shop.refuse(await fail_over(shop))
    assert await shop.waiting() == [(3, "charlie")]


async def test_an_operators_word_sends_an_order_nowhere_that_leaves_less(shop: Shop):
    await pay_as(shop, "gold", PRICE - 5_050)
    purchase = await shop.bought()
    await shop.execute("update attempts set sent_at = now() - interval '31 minutes'")
    await shop.hear(purchase, Outcome.UNKNOWN, transport=True)
    said = Resolution(1, Said.FAILED, None, "ada", "console", "their statement", uuid7())
    resolved = await shop.engine.settler.resolve(purchase.lane, purchase.order_id, said)
    assert resolved.answer is Answer.DECIDED
    assert await shop.waiting() == []  # bravo asks 5,100
    assert await shop.status(purchase.order_id) == "failed"


async def test_an_absent_purchase_goes_nowhere_that_leaves_less(shop: Shop):
    await shop.execute("""update dealers set options = '{"absent_after_seconds": "60"}'""")
    await pay_as(shop, "gold", PRICE - 5_050)
    purchase = await shop.bought()
    await shop.hear(purchase, Outcome.UNKNOWN, transport=True)
    await shop.execute(
        "update attempts set fence = 2, asked_at = now(), absent_since = now() - interval '1 hour'"
    )
    await shop.hear(purchase, Outcome.UNKNOWN, Source.CHECK, fence=2, not_found=True)
    assert await shop.states(purchase.order_id) == ["rejected"]
    assert await shop.waiting() == []
    assert await shop.status(purchase.order_id) == "failed"


async def test_a_claim_chooses_nobody_anew_who_leaves_less(shop: Shop):
    order_id = await shop.order()
    await shop.execute("update dealers set enabled = false where dealer_id = 'alfa'")
    await pay_as(shop, "gold", PRICE - 5_050)
    assert await shop.claim() == []
    assert await shop.waiting() == [(1, "alfa")]
    assert await shop.states(order_id) == []
    await state_margin(shop, "gold", PRICE - 5_100)
    await shop.execute("update ready set not_before = now()")
    await shop.claim()
    assert await shop.waiting() == [(1, "bravo")]


async def test_a_claim_buys_nothing_that_came_to_leave_less_since_acceptance(shop: Shop):
    order_id = await shop.order()
    await shop.execute("update routes set cost = 5100 where dealer_id = 'alfa'")
    await shop.execute(PUBLISH)
    await pay_as(shop, "gold", PRICE - 5_050)
    assert await shop.claim() == []
    assert await shop.states(order_id) == []


async def test_the_dealer_is_told_the_most_that_leaves_the_tiers_margin(shop: Shop):
    await pay_as(shop, "gold", PRICE - 5_050)
    purchase = await shop.bought()
    assert purchase.order.max_price_rupiah == 5_050
