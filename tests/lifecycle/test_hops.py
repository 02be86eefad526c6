"""Purchases and questions carry the installations that their order came through, this one last."""

from uuid import UUID

from app.storage import installation
from dealers.contract import Outcome
from tests.shops import Shop, engine_on, submission

FIRST, SECOND = UUID(int=1), UUID(int=2)


async def test_first_purchase_of_an_order_placed_here_names_this_installation(shop: Shop):
    purchase = await shop.bought()
    assert purchase.order.hops == (str(shop.engine.installation_id),)


async def test_every_purchase_of_an_order_names_its_whole_way(shop: Shop):
    order = submission(lane=shop.lane)
    came = order.order._replace(hops=(FIRST, SECOND))
    await shop.engine.acceptor.accept(type(order)(came, order.dealer_id))
    way = (str(FIRST), str(SECOND), str(shop.engine.installation_id))

    first = await shop.claim_one()
    assert first.order.hops == way
    await shop.refuse(first)
    second = await shop.claim_one()
    assert (second.attempt_no, second.order.hops) == (2, way)
    await shop.hear(second, Outcome.UNKNOWN)
    check = await shop.claim_check()
    assert check.due.hops == [FIRST, SECOND]


async def test_processes_of_one_installation_call_it_the_same(shop: Shop, database_dsn: str):
    async with engine_on(database_dsn) as other:
        assert other.installation_id == shop.engine.installation_id
    async with shop.engine.pool.acquire() as connection:
        assert await installation.public_id(connection) == shop.engine.installation_id
