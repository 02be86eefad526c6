"""One reference through two processes at the same moment, the system otherwise idle."""

import asyncio

import asyncpg

from app.lifecycle.accept import Accepted, Replayed
from tests.shops import RESELLER, Owner, Shop, engine_on, submission

_BLOCKED = """
    select count(*) from pg_stat_activity
    where datname = current_database() and wait_event_type = 'Lock'
"""


async def test_same_reference_through_two_processes_is_one_order_and_one_replay(
    shop: Shop, owner: Owner, database_dsn: str
) -> None:
    async with engine_on(database_dsn) as elsewhere:
        blocker = await asyncpg.connect(database_dsn)
        async with blocker.transaction():
            await blocker.execute("select from wallets where reseller_id = $1 for update", RESELLER)
            both = [
                asyncio.ensure_future(engine.acceptor.accept(submission(lane=shop.lane)))
                for engine in (shop.engine, elsewhere)
            ]
            while await owner.fetchval(_BLOCKED) < len(both):  # noqa: ASYNC110 - what it waits for happens in the database
                await asyncio.sleep(0.002)
        await blocker.close()
        outcomes = await asyncio.gather(*both, return_exceptions=True)
    assert {type(outcome) for outcome in outcomes} == {Accepted, Replayed}
    assert await shop.value("select count(*) from orders") == 1


async def test_word_survives_a_lock_held_for_as_long_as_a_frozen_process_may(
    shop: Shop, owner: Owner
) -> None:
    purchase = await shop.bought()
    transaction = owner.transaction()
    await transaction.start()
    await owner.execute("select from orders where order_id = $1 for update", purchase.order_id)
    settling = asyncio.ensure_future(shop.succeed(purchase))
    await asyncio.wait([settling], timeout=2.3)
    await transaction.rollback()
    await asyncio.gather(settling, return_exceptions=True)
    assert await shop.status(purchase.order_id) == "succeeded"
