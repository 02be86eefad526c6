"""Large goods: compiled once, by a process of its own, and taken up by every other."""

import asyncio
import time
from collections.abc import AsyncIterator

import asyncpg
import pytest

from app.lifecycle.route import Router
from app.lifecycle.trade import Trade
from app.sealing import Sealer
from app.storage.pool import Pool, PoolSettings
from app.workers.compiler import Compiler
from routing.compare import Changes
from routing.table import BadTable
from tests.lifecycle.conftest import Owner
from tests.publishing import PUBLISH
from tests.shops import ALFA, BRAVO, SECRET_KEY, SKU, engine_on, furnish

LARGE = 2_500


@pytest.fixture
async def owner(database_dsn: str) -> AsyncIterator[Owner]:
    """A shop of two dealers with more routes than are compiled beside orders."""
    await furnish(database_dsn, [ALFA, BRAVO])
    connection = await asyncpg.connect(database_dsn)
    await connection.execute(
        f"""
        insert into routes (route_id, sku, cluster, dealer_id, dealer_sku, cost)
        select 'r' || n, '{SKU}', 'cluster' || n, 'alfa', 'T5', 4000 + n
        from generate_series(1, {LARGE}) as n;
        {PUBLISH}
        """
    )
    yield connection
    await connection.close()


@pytest.fixture
def compiler(pool: Pool, database_dsn: str) -> Compiler:
    return make_compiler(pool, database_dsn)


def make_compiler(pool: Pool, dsn: str) -> Compiler:
    return Compiler(pool, PoolSettings(dsn), time.monotonic)


def process() -> Router:
    """Another process's router."""
    return Router(Sealer([SECRET_KEY]), time.monotonic, 45)


async def took(router: Router, pool: Pool) -> Trade:
    assert await router.refresh(pool)
    return router.trade


async def test_a_large_table_is_compiled_once_and_taken_by_all(
    owner: Owner, pool: Pool, compiler: Compiler
):
    one, other = process(), process()
    assert not await one.refresh(pool)
    assert not one.loaded
    done = await compiler.keep_up()
    assert done is not None
    assert done["route_changes"] == {"added": LARGE + 2, "changed": 0, "removed": 0}
    first, second = await took(one, pool), await took(other, pool)
    assert first.snapshot.version == second.snapshot.version
    assert len(first.goods.image) == LARGE + 2
    assert await compiler.keep_up() is None
    assert not await one.refresh(pool)


async def test_the_next_one_tells_what_it_changes(owner: Owner, pool: Pool, compiler: Compiler):
    router = process()
    await compiler.keep_up()
    await took(router, pool)
    await owner.execute("update routes set cost = 9 where route_id = 'r7'")
    await owner.execute("delete from routes where route_id = 'r8'")
    await owner.execute(f"update prices set price = 9999; {PUBLISH}")
    await compiler.keep_up()
    after = await took(router, pool)
    assert after.goods.report.route_changes == Changes(changed=1, removed=1)
    assert after.goods.report.product_changes == Changes(changed=1)
    assert after.price_book.price("standard", SKU) == 9999


async def test_a_pause_does_not_wait_for_the_compiling(
    owner: Owner, pool: Pool, compiler: Compiler
):
    """Dealers are stopped at once, whatever the goods are at."""
    router = process()
    await compiler.keep_up()
    before = await took(router, pool)
    await owner.execute(f"update routes set cost = cost + 1; {PUBLISH}")
    await owner.execute("update dealers set drained = true where dealer_id = 'alfa'")
    after = await took(router, pool)
    assert after.snapshot.dealers["alfa"].drained
    assert after.goods is before.goods
    assert router.goods_wanted > after.goods.revision


async def test_what_does_not_compile_leaves_the_last_good_one_in_force(
    owner: Owner, pool: Pool, compiler: Compiler
):
    router = process()
    await compiler.keep_up()
    before = await took(router, pool)
    await owner.execute(f"update routes set hours = 'later' where route_id = 'r7'; {PUBLISH}")
    with pytest.raises(BadTable):
        await compiler.keep_up()
    # It is left alone for a while.
    assert await compiler.keep_up() is None
    await router.refresh(pool)
    assert router.trade.goods is before.goods
    restarted = process()
    assert (await took(restarted, pool)).snapshot.image.checksum == before.snapshot.image.checksum


async def test_goods_that_come_while_the_policy_is_broken_are_in_force_once_it_is_mended(
    owner: Owner, pool: Pool, compiler: Compiler
):
    router = process()
    await compiler.keep_up()
    before = await took(router, pool)
    await owner.execute("update routing_policy set policy = '{\"window_days\": 0}'")
    await owner.execute(f"update routes set cost = 9 where route_id = 'r7'; {PUBLISH}")
    await compiler.keep_up()
    for _ in range(2):
        with pytest.raises(BadTable):
            await router.refresh(pool)
    assert router.trade is before
    # They were fetched once: nothing is left to be fetched.
    await owner.execute("truncate compiled_goods, compiled_pieces")
    await owner.execute("update routing_policy set revision = revision + 1, policy = '{}'")
    assert (await took(router, pool)).goods.report.route_changes == Changes(changed=1)


async def test_of_two_only_one_compiles(
    owner: Owner, pool: Pool, compiler: Compiler, database_dsn: str
):
    both = [compiler, make_compiler(pool, database_dsn)]
    done = await asyncio.gather(*(each.keep_up() for each in both))
    assert sorted(each is not None for each in done) == [False, True]


async def test_pieces_that_were_damaged_are_not_taken(owner: Owner, pool: Pool, compiler: Compiler):
    router = process()
    await compiler.keep_up()
    before = await took(router, pool)
    await owner.execute(f"update routes set cost = cost + 1; {PUBLISH}")
    await compiler.keep_up()
    await owner.execute(
        "update compiled_pieces set content = set_byte(content, 60, get_byte(content, 60) # 1)"
    )
    with pytest.raises(BadTable):
        await router.refresh(pool)
    assert router.trade is before


async def test_an_engine_starts_with_a_table_that_was_never_compiled(
    owner: Owner, database_dsn: str
):
    async with engine_on(database_dsn) as engine:
        assert len(engine.router.trade.goods.image) == LARGE + 2
    await owner.execute("truncate compiled_goods, compiled_pieces")
    async with engine_on(database_dsn) as engine:
        assert len(engine.router.trade.goods.image) == LARGE + 2
