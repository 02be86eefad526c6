"""The census: processes share the dealers' limits and never have more than all of them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial

import asyncpg
import pytest

from app.lifecycle.admit import Admission, Kind
from app.metrics import Metrics
from app.storage import processes
from app.workers.census import MISSED_SECONDS, VALID_SECONDS, Census
from app.workers.engine import Engine
from tests.publishing import PUBLISH
from tests.shops import ALFA, Owner, engine_on, furnish, until


@pytest.fixture
async def owner(database_dsn: str) -> AsyncIterator[Owner]:
    connection = await asyncpg.connect(database_dsn)
    yield connection
    await connection.close()


class Member:
    """A process's part in the census, by a clock that the test moves."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.admission = Admission(Metrics())
        self.now = 0.0
        self.census = Census(
            engine.pool, engine.router, self.admission, Metrics(), 90.0, lambda: self.now
        )

    async def beat(self, seconds: float = 1.0) -> None:
        self.now += seconds
        await self.census.beat()

    def room(self) -> int:
        return self.admission.room(self.engine.router.trade.dealers["alfa"], Kind.PURCHASE)

    def units(self) -> int:
        return self.admission.part_of(self.engine.router.trade.dealers["alfa"]).units


@asynccontextmanager
async def members(dsn: str, count: int, concurrency: int) -> AsyncIterator[list[Member]]:
    await furnish(dsn, [replace(ALFA, concurrency=concurrency)])
    async with engine_on(dsn) as engine:
        yield [Member(engine) for _ in range(count)]


async def settle(found: list[Member]) -> None:
    """Have each beat until nothing moves any more."""
    for _ in range(3):
        for each in found:
            await each.beat()


@pytest.mark.parametrize(
    ("concurrency", "parts"), [(1, [0, 0, 1]), (2, [0, 1, 1]), (4, [1, 1, 2]), (9, [3, 3, 3])]
)
async def test_limits_are_divided_among_those_who_buy(
    database_dsn: str, concurrency: int, parts: list[int]
):
    async with members(database_dsn, 3, concurrency) as found:
        await settle(found)
        assert sorted(each.room() for each in found) == parts


async def test_one_alone_has_all(database_dsn: str):
    async with members(database_dsn, 1, 4) as (alone,):
        assert alone.room() == 4
        await alone.census.join()
        assert alone.room() == 4


async def test_who_joins_has_nothing_before_the_others_gave_way(database_dsn: str):
    async with members(database_dsn, 2, 4) as (first, second):
        await first.beat()
        await second.census.join()
        assert (first.room(), second.room()) == (4, 0)
        await first.beat()
        await second.beat()
        assert (first.room(), second.room()) == (2, 2)


async def test_places_of_calls_under_way_are_not_given_away(database_dsn: str):
    async with members(database_dsn, 2, 4) as (first, second):
        await first.beat()
        first.admission.take("alfa", Kind.PURCHASE, 4)
        await second.census.join()
        await settle([first, second])
        assert second.room() == 0
        first.admission.leave("alfa", Kind.PURCHASE)
        await settle([first, second])
        assert (first.room(), second.room()) == (0, 1)
        for _ in range(3):
            first.admission.leave("alfa", Kind.PURCHASE)
        await settle([first, second])
        assert (first.room(), second.room()) == (2, 2)


async def test_who_leaves_is_succeeded_at_once(database_dsn: str):
    async with members(database_dsn, 2, 4) as (first, second):
        await settle([first, second])
        await first.census.leave()
        await second.beat()
        assert (first.room(), second.room()) == (0, 4)


async def test_who_falls_silent_is_missed_after_a_while(database_dsn: str):
    async with members(database_dsn, 2, 4) as (silent, other):
        await settle([silent, other])
        for _ in range(int(MISSED_SECONDS)):
            assert other.room() == 2
            await other.beat()
        await other.beat()
        assert other.room() == 4


async def test_nobody_is_missed_by_one_who_was_away_too(database_dsn: str):
    """After an outage of the database everybody's row is old."""
    async with members(database_dsn, 2, 4) as (first, second):
        await settle([first, second])
        await first.beat(seconds=60)
        await first.beat(VALID_SECONDS)
        assert first.room() == 2
        await second.beat(seconds=64)
        await first.beat(VALID_SECONDS)
        assert (first.room(), second.room()) == (2, 2)


async def test_row_that_is_older_than_any_call_holds_nothing(database_dsn: str, owner: Owner):
    async with members(database_dsn, 2, 4) as (dead, other):
        await dead.beat()
        await owner.execute("update processes set beat_at = now() - interval '91 seconds'")
        await other.census.join()
        assert other.room() == 4


async def test_who_was_missed_and_comes_back_takes_only_what_is_left(database_dsn: str):
    async with members(database_dsn, 2, 4) as (silent, other):
        await settle([silent, other])
        for _ in range(int(MISSED_SECONDS) + 2):
            await other.beat()
        assert other.room() == 4
        await silent.beat()
        assert silent.room() == 0
        await settle([silent, other])
        assert (silent.room(), other.room()) == (2, 2)


async def test_without_the_database_a_process_stops_within_its_time(
    database_dsn: str, owner: Owner, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("app.workers.census.VALID_SECONDS", 0.3)
    async with members(database_dsn, 1, 4) as (alone,):
        await alone.census.join()
        async with owner.transaction():
            await processes.lock(owner)
            with pytest.raises(asyncpg.LockNotAvailableError):
                await alone.beat()
        await until(partial(nothing_left, alone))


async def nothing_left(member: Member) -> bool:
    return member.room() == 0


async def test_burst_of_one_belongs_to_one_process(database_dsn: str, owner: Owner):
    async with members(database_dsn, 3, 4) as found:
        await owner.execute("update dealers set requests_per_second = 2")
        await owner.execute(PUBLISH)
        await found[0].engine.router.refresh(found[0].engine.pool)
        await settle(found)
        assert sorted(each.units() for each in found) == [0, 0, 1]


async def test_many_at_once_never_hold_more_than_all(database_dsn: str):
    async with members(database_dsn, 5, 7) as found:
        for _ in range(6):
            await asyncio.gather(*(each.census.join() for each in found))
            async with found[0].engine.pool.acquire() as connection:
                rows = await processes.read(connection)
            assert sum(row.holds["alfa"].places for row in rows) <= 7
            assert sum(each.room() for each in found) <= 7
        await settle(found)
        assert sum(each.room() for each in found) == 7
