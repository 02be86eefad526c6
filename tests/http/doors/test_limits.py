"""Rates at the doors: what is refused for them is never told as failed, and guesses are slowed."""

import pytest

from app.administration import resellers
from app.http.api import ApiLimits
from app.rates import Rate
from app.storage.pool import Pool
from dealers.contract import Outcome
from tests.http.doors.client import SHAPES, open_door
from tests.http.shop import Shop, open_shop
from tests.shops import OPERATOR


@pytest.mark.parametrize("shape", SHAPES)
async def test_orders_beyond_the_rate_are_pending_and_buy_nothing(shop: Shop, shape: str) -> None:
    customer = await shop.customer()
    await resellers.limit(shop.api.pool, OPERATOR, str(customer.reseller_id), "1/1d", None)
    client = await open_door(shop, customer, shape)
    for _ in range(3):
        assert (await client.buy()).outcome is Outcome.PENDING
    assert await shop.counts() == (1, 1, 1)
    # The same rate as over the reseller's keys.
    assert (await customer.order("r-9")).status_code == 429


@pytest.mark.parametrize("shape", SHAPES)
async def test_guesses_at_a_door_are_slowed_and_then_the_right_one_is_not_told(
    pool: Pool, database_dsn: str, shape: str
) -> None:
    limits = ApiLimits(auth_failures=Rate(3, 86_400))
    async with open_shop(pool, database_dsn, limits) as shop:
        customer = await shop.customer()
        client = await open_door(shop, customer, shape)
        for _ in range(3):
            shop.api.failures.count("127.0.0.1")
        # Its PIN is short: the right one is answered as a wrong one, which is not "failed" either.
        assert (await client.buy()).outcome is Outcome.PENDING
        assert await shop.counts() == (0, 0, 0)
