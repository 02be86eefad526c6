"""Large goods: compiled once, by a process of its own, and taken up by every other."""

import asyncio
import gc
import time
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from app.errors import DatabaseUnavailable
from app.lifecycle.route import Router
from app.lifecycle.trade import Trade
from app.sealing import Sealer
from app.storage.pool import Pool, PoolSettings
from app.workers.large_goods import Brought, LargeGoods
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
def large(pool: Pool, database_dsn: str) -> LargeGoods:
    return part_of(pool, database_dsn)


def part_of(pool: Pool, dsn: str) -> LargeGoods:
    """A process's part in bringing large goods."""
    return LargeGoods(pool, PoolSettings(dsn), time.monotonic)


def process() -> Router:
    """A process's router."""
    return Router(Sealer([SECRET_KEY]), time.monotonic, 45)


async def brought(large: LargeGoods, held: int = 0) -> Brought:
    found = await large.newer(held)
    assert found is not None
    return found


async def took(router: Router, pool: Pool, large: LargeGoods) -> Trade:
    router.bring((await brought(large, router.goods_held)).goods)
    assert await router.refresh(pool)
    return router.trade


async def test_a_large_table_is_compiled_once_and_taken_by_all(
    owner: Owner, pool: Pool, large: LargeGoods
):
    one, other = process(), process()
    assert not await one.refresh(pool)
    assert not one.loaded
    made, fetched = await brought(large), await brought(large)
    assert made.compiled_at is not None
    assert fetched.compiled_at is None
    for router, each in ((one, made), (other, fetched)):
        router.bring(each.goods)
        assert await router.refresh(pool)
        assert not await router.refresh(pool)
    assert one.trade.snapshot.version == other.trade.snapshot.version
    for goods in (made.goods, fetched.goods):
        assert goods.report.route_changes == Changes(added=LARGE + 2)
        for number in (1, LARGE):
            offer = goods.image.offer(SKU, f"cluster{number}")
            assert offer is not None
            assert f"r{number}" in {goods.image.route_text(each)[0] for each in offer.routes}
        assert len(goods.image) == LARGE + 2
        assert goods.price_book.product(SKU) is not None
    assert await large.newer(one.goods_held) is None


async def test_the_next_one_tells_what_it_changes(owner: Owner, pool: Pool, large: LargeGoods):
    router = process()
    await took(router, pool, large)
    await owner.execute("update routes set cost = 9 where route_id = 'r7'")
    await owner.execute("delete from routes where route_id = 'r8'")
    await owner.execute(f"update prices set price = 9999; {PUBLISH}")
    after = await took(router, pool, large)
    assert after.goods.report.route_changes == Changes(changed=1, removed=1)
    assert after.goods.report.product_changes == Changes(changed=1)
    assert after.price_book.price("standard", SKU) == 9999


async def test_a_pause_does_not_wait_for_the_compiling(owner: Owner, pool: Pool, large: LargeGoods):
    """Dealers are stopped at once, whatever the goods are at."""
    router = process()
    before = await took(router, pool, large)
    await owner.execute(f"update routes set cost = cost + 1; {PUBLISH}")
    await owner.execute("update dealers set drained = true where dealer_id = 'alfa'")
    assert await router.refresh(pool)
    assert router.trade.snapshot.dealers["alfa"].drained
    assert router.trade.goods is before.goods
    assert router.goods_wanted > before.goods.revision


async def test_what_does_not_compile_leaves_the_last_good_one_in_force(
    owner: Owner, pool: Pool, large: LargeGoods, database_dsn: str
):
    router = process()
    before = await took(router, pool, large)
    await owner.execute(f"update routes set hours = 'later' where route_id = 'r7'; {PUBLISH}")
    with pytest.raises(BadTable):
        await large.newer(router.goods_held)
    # It is left alone for a while.
    assert await large.newer(router.goods_held) is None
    await router.refresh(pool)
    assert router.trade.goods is before.goods
    restarted = await took(process(), pool, part_of(pool, database_dsn))
    assert restarted.snapshot.image.checksum == before.snapshot.image.checksum


async def test_goods_that_come_while_the_policy_is_broken_are_in_force_once_it_is_mended(
    owner: Owner, pool: Pool, large: LargeGoods
):
    router = process()
    before = await took(router, pool, large)
    await owner.execute("update routing_policy set policy = '{\"window_days\": 0}'")
    await owner.execute(f"update routes set cost = 9 where route_id = 'r7'; {PUBLISH}")
    router.bring((await brought(large, router.goods_held)).goods)
    for _ in range(2):
        with pytest.raises(BadTable):
            await router.refresh(pool)
    assert router.trade is before
    # They were brought once: nothing is left to be brought.
    assert await large.newer(router.goods_held) is None
    await owner.execute("update routing_policy set revision = revision + 1, policy = '{}'")
    assert await router.refresh(pool)
    assert router.trade.goods.report.route_changes == Changes(changed=1)


async def test_goods_that_came_late_take_the_place_of_no_newer_ones(
    owner: Owner, pool: Pool, large: LargeGoods
):
    router = process()
    late = await brought(large)
    await owner.execute(f"update routes set cost = cost + 1; {PUBLISH}")
    newer = await took(router, pool, large)
    router.bring(late.goods)
    assert not await router.refresh(pool)
    assert router.trade is newer


async def test_what_failed_here_is_taken_at_once_when_another_compiled_it(
    owner: Owner, pool: Pool, database_dsn: str
):
    cut_off = LargeGoods(pool, PoolSettings("postgres://127.0.0.1:1/none"), time.monotonic)
    with pytest.raises(DatabaseUnavailable):
        await cut_off.newer(0)
    assert await cut_off.newer(0) is None
    await brought(part_of(pool, database_dsn))
    with pytest.raises(DatabaseUnavailable):
        await cut_off.newer(0)


async def test_two_who_refresh_at_once_take_up_once(owner: Owner, pool: Pool, large: LargeGoods):
    router = process()
    router.bring((await brought(large)).goods)
    taken = await asyncio.gather(router.refresh(pool), router.refresh(pool))
    assert sorted(taken) == [False, True]


async def test_of_two_only_one_compiles_and_the_other_has_them_as_soon(
    owner: Owner, pool: Pool, large: LargeGoods, database_dsn: str
):
    both = [large, part_of(pool, database_dsn)]
    done = await asyncio.gather(*(brought(each) for each in both))
    assert sorted(each.compiled_at is not None for each in done) == [False, True]
    assert len({each.goods.image.checksum for each in done}) == 1


async def test_goods_that_were_damaged_or_laid_out_otherwise_are_compiled_anew(
    owner: Owner, pool: Pool, large: LargeGoods
):
    first = await brought(large)
    for harm in (
        "update compiled_pieces set content = set_byte(content, 60, get_byte(content, 60) # 1)",
        "update compiled_goods set prices_checksum = routes_checksum",
        "delete from compiled_pieces",
        "update compiled_goods set layout = layout + 1",
    ):
        await owner.execute(harm)
        again = await brought(large)
        assert again.compiled_at is not None
        assert again.goods.image.checksum == first.goods.image.checksum


async def test_memory_is_shared_and_given_back_with_the_goods(
    owner: Owner, pool: Pool, large: LargeGoods
):
    before = shared_memories()
    trade = await took(process(), pool, large)
    assert shared_memories() > before
    assert trade.price_book.product(SKU) is not None
    del trade
    assert shared_memories() <= before


def shared_memories() -> int:
    """How many mappings of goods this process has."""
    gc.collect()
    return Path("/proc/self/maps").read_text().count("jalur-goods")


async def test_an_engine_starts_with_a_table_that_was_never_compiled(
    owner: Owner, database_dsn: str
):
    async with engine_on(database_dsn) as engine:
        assert len(engine.router.trade.goods.image) == LARGE + 2
    await owner.execute("truncate compiled_goods, compiled_pieces")
    async with engine_on(database_dsn) as engine:
        assert len(engine.router.trade.goods.image) == LARGE + 2
