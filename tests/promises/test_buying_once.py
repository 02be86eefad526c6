"""Two processes, two words about one order at the same moment."""

import asyncio

import asyncpg

from app.words import Source
from dealers.contract import Outcome
from tests.shops import Owner, Shop, engine_on


async def _blocked(owner: Owner, count: int) -> None:
    """Wait until so many of the service's sessions wait for a lock."""
    query = """select count(*) from pg_stat_activity
               where datname = current_database() and wait_event_type = 'Lock'"""
    while await owner.fetchval(query) < count:  # noqa: ASYNC110 - what it waits for happens in the database
        await asyncio.sleep(0.002)


async def test_success_that_arrives_while_the_next_attempt_is_written_withdraws_it(
    shop: Shop, owner: Owner, database_dsn: str
) -> None:
    first = await shop.bought()
    async with engine_on(database_dsn) as elsewhere:
        other = Shop(elsewhere, shop.lane)
        blocker = await asyncpg.connect(database_dsn)
        hold = blocker.transaction()
        await hold.start()
        # Holds up the first word between its order's lock and its next `ready` row.
        await blocker.execute("lock table ready in share mode")
        refused = asyncio.ensure_future(shop.refuse(first))
        await _blocked(owner, 1)
        late = asyncio.ensure_future(other.hear(first, Outcome.SUCCEEDED, Source.CALLBACK))
        await _blocked(owner, 2)
        await hold.rollback()
        await blocker.close()
        await asyncio.gather(refused, late)
    assert await shop.status(first.order_id) == "succeeded"
    assert await shop.claim() == []
    assert await shop.waiting() == []
