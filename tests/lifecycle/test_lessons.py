"""What a settled word teaches about its dealer's quality, and what it does not."""

from datetime import UTC, datetime

import pytest

from app.words import Source
from dealers.contract import Fault, Outcome
from routing.quality import Quality
from routing.table import QualityRules
from tests.shops import Shop

RULES = QualityRules(minimum_sample=1)


def known(shop: Shop, dealer_id: str = "alfa") -> Quality:
    """What this process learned of a dealer."""
    return shop.engine.router.quality.of(dealer_id, "pulsa", RULES, datetime.now(UTC))


def rates(shop: Shop) -> tuple[int, int, int]:
    """Success and unknown in basis points, and the sample."""
    quality = known(shop)
    return quality.success_basis_points, quality.unknown_basis_points, quality.sample


async def test_a_delivery_and_a_failure_are_learned(shop: Shop):
    await shop.succeed(await shop.bought("A1"))
    assert rates(shop) == (10_000, 0, 1)
    await shop.refuse(await shop.bought("A2"))
    assert rates(shop) == (5_000, 0, 2)
    assert known(shop, "bravo").sample == 0


async def test_the_same_word_again_teaches_nothing(shop: Shop):
    purchase = await shop.bought()
    for _ in range(3):
        await shop.succeed(purchase, Source.CALLBACK)
    assert rates(shop) == (10_000, 0, 1)


async def test_an_unknown_outcome_is_beside_the_sample_and_corrected_when_it_is_learned(shop: Shop):
    await shop.succeed(await shop.bought("A1"))
    late = await shop.bought("A2")
    await shop.hear(late, Outcome.UNKNOWN, transport=True)
    assert rates(shop) == (10_000, 5_000, 1)
    await shop.hear(late, Outcome.FAILED, Source.CALLBACK)
    assert rates(shop) == (5_000, 0, 2)


async def test_a_late_success_takes_its_failure_back(shop: Shop):
    purchase = await shop.bought()
    await shop.refuse(purchase)
    assert rates(shop) == (0, 0, 1)
    await shop.succeed(purchase, Source.CALLBACK)
    assert rates(shop) == (10_000, 0, 1)


async def test_a_reversal_is_a_failure_after_all(shop: Shop):
    purchase = await shop.bought()
    await shop.succeed(purchase)
    await shop.hear(purchase, Outcome.FAILED, Source.CALLBACK, reversal=True)
    assert rates(shop) == (0, 0, 1)


async def test_a_wrong_number_is_not_the_dealers_failure(shop: Shop):
    await shop.hear(await shop.bought(), Outcome.FAILED, fault=Fault.NUMBER)
    assert known(shop).sample == 0


@pytest.mark.parametrize("fault", [Fault.ACCOUNT, Fault.PRODUCT])
async def test_what_was_never_sent_is_not_the_dealers_failure(shop: Shop, fault: Fault):
    await shop.hear(await shop.bought(), Outcome.REJECTED, transport=True, fault=fault)
    assert known(shop).sample == 0


async def test_a_wrong_number_takes_its_unknown_outcome_back(shop: Shop):
    await shop.succeed(await shop.bought("A1"))
    purchase = await shop.bought("A2")
    await shop.hear(purchase, Outcome.UNKNOWN, transport=True)
    await shop.hear(purchase, Outcome.FAILED, Source.CALLBACK, fault=Fault.NUMBER)
    assert rates(shop) == (10_000, 0, 1)
