"""Sheets put off to a moment: applied once by whoever is first, refused where they do not fit."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from app.administration.operator import Operator
from app.administration.plans import Sheet, Wanted
from app.administration.schedules import PutOff, apply_due, cancel, list_all, put_off
from app.errors import Conflict, NotFound, Unprocessable
from app.storage import scheduled_tables
from app.storage.pool import Pool
from routing.sheet import Form
from tests.shops import ALFA, BRAVO, SKU, Owner, engine_on, furnish

ADA = Operator("ada", "console")
NOW = datetime(2026, 11, 22, 5, tzinfo=UTC)
SOON = NOW + timedelta(hours=1)


@pytest.fixture
async def owner(database_dsn: str) -> AsyncIterator[Owner]:
    await furnish(database_dsn, [ALFA, BRAVO])
    connection = await asyncpg.connect(database_dsn)
    yield connection
    await connection.close()


def sheet(cost: int) -> Sheet:
    row = {"sku": SKU, "dealer": "alfa", "dealer_sku": "S5", "cost": cost, "enabled": True}
    return Sheet(json.dumps([row]).encode(), Form.JSON)


async def wait_for(pool: Pool, cost: int, **wanted: Any) -> PutOff:
    return await put_off(pool, ADA, sheet(cost), Wanted("alfa", **wanted), SOON, NOW)


async def costs(owner: Owner) -> list[int]:
    return [row[0] for row in await owner.fetch("select cost from routes order by dealer_id")]


async def test_a_sheet_waits_and_is_then_applied_in_its_givers_name(owner: Owner, pool: Pool):
    waiting = await wait_for(pool, 4900, reason="december")
    assert (await costs(owner), waiting.plan.counts.changed) == ([5000, 5100], 1)
    done = await apply_due(pool, waiting.schedule_id, SOON)
    assert await costs(owner) == [4900, 5100]
    assert done is not None
    assert (done.state, done.outcome) == (
        "applied",
        {"revision": 3, "added": 0, "changed": 1, "removed": 0, "unchanged": 0},
    )
    lines = await owner.fetch("select operator, action, reason from audit_log order by audit_id")
    assert [tuple(line) for line in lines] == [
        ("ada", "scheduled_routes.scheduled", "december"),
        ("ada", "routes.scheduled", "december"),
    ]
    assert await owner.fetchval("select content is null from scheduled_tables")


async def test_it_is_applied_once_whoever_tries(owner: Owner, pool: Pool):
    waiting = await wait_for(pool, 4900)
    tries = [apply_due(pool, waiting.schedule_id, SOON) for _ in range(3)]
    done = await asyncio.gather(*tries)
    assert [each.state for each in done if each is not None] == ["applied"]
    assert await owner.fetchval("select count(*) from table_versions where act = 'scheduled'") == 1


async def test_only_one_claims_what_is_due_and_another_after_its_time(owner: Owner, pool: Pool):
    waiting = await wait_for(pool, 4900)

    async def claim(patience: timedelta) -> object:
        async with pool.acquire() as connection:
            return await scheduled_tables.claim(connection, patience)

    await owner.execute("update scheduled_tables set due_at = now() + interval '1 hour'")
    assert await claim(timedelta(hours=1)) is None
    await owner.execute("update scheduled_tables set due_at = now()")
    assert await claim(timedelta(0)) == waiting.schedule_id
    claims = await asyncio.gather(*(claim(timedelta(hours=1)) for _ in range(4)))
    assert sorted(claims, key=str) == [waiting.schedule_id, None, None, None]


async def test_one_that_could_not_be_worked_on_lets_those_behind_it_pass(owner: Owner, pool: Pool):
    first, second = await wait_for(pool, 4900), await wait_for(pool, 4800)
    await owner.execute("update scheduled_tables set due_at = now() - interval '1 s'")
    async with pool.acquire() as connection:
        claimed = await scheduled_tables.claim(connection, timedelta(minutes=10))
        assert claimed is not None
        await scheduled_tables.release(connection, claimed, timedelta(minutes=1))
        behind = await scheduled_tables.claim(connection, timedelta(minutes=10))
        assert {claimed, behind} == {first.schedule_id, second.schedule_id}
        await scheduled_tables.release(connection, claimed, timedelta())
        assert await scheduled_tables.claim(connection, timedelta(minutes=10)) == claimed


async def test_tables_that_keep_changing_do_not_refuse_it_for_good(owner: Owner, pool: Pool):
    waiting = await wait_for(pool, 4900)
    done = asyncio.Event()

    async def others() -> None:
        while not done.is_set():
            await owner.execute("update routing_policy set revision = revision + 1")

    publishing = asyncio.ensure_future(others())
    with pytest.raises(Conflict, match="keep changing"):
        await apply_due(pool, waiting.schedule_id, SOON)
    done.set()
    await publishing
    assert [each.state for each in await list_all(pool, ADA)] == ["waiting"]
    applied = await apply_due(pool, waiting.schedule_id, SOON)
    assert applied is not None
    assert applied.state == "applied"


async def test_what_does_not_fit_any_more_is_refused_with_its_reasons(owner: Owner, pool: Pool):
    waiting = await wait_for(pool, 4900)
    await owner.execute("delete from routes where dealer_id = 'alfa'")
    await owner.execute("delete from dealers where dealer_id = 'alfa'")
    done = await apply_due(pool, waiting.schedule_id, SOON)
    assert done is not None
    assert done.outcome is not None
    assert (done.state, done.outcome["code"]) == ("refused", "not-found")
    assert await costs(owner) == [5100]
    assert await owner.fetchval("select max(action) from audit_log") == "scheduled_routes.scheduled"


async def test_rises_are_looked_at_again_when_it_is_time(owner: Owner, pool: Pool):
    waiting = await wait_for(pool, 5900)
    await owner.execute("update routes set cost = 4000; update routing_policy set revision = 99")
    done = await apply_due(pool, waiting.schedule_id, SOON)
    assert done is not None
    assert done.outcome is not None
    assert (done.state, done.outcome["code"]) == ("refused", "large-rise")


async def test_what_does_not_fit_now_is_refused_at_once(owner: Owner, pool: Pool):
    with pytest.raises(Conflict, match="rise"):
        await wait_for(pool, 9000)
    with pytest.raises(Unprocessable):
        await wait_for(pool, 0)
    for moment in (NOW, NOW + timedelta(days=400)):
        with pytest.raises(Unprocessable, match="must lie ahead"):
            await put_off(pool, ADA, sheet(4900), Wanted("alfa"), moment, NOW)
    assert await list_all(pool, ADA) == []


async def test_a_cancelled_one_is_never_applied(owner: Owner, pool: Pool):
    waiting = await wait_for(pool, 4900)
    await cancel(pool, ADA, waiting.schedule_id, "not so")
    assert await apply_due(pool, waiting.schedule_id, SOON) is None
    assert await costs(owner) == [5000, 5100]
    with pytest.raises(Conflict, match="cancelled already"):
        await cancel(pool, ADA, waiting.schedule_id)
    with pytest.raises(NotFound):
        await cancel(pool, ADA, UUID(int=1))


async def test_the_service_applies_and_refuses_what_is_due(owner: Owner, database_dsn: str):
    async with engine_on(database_dsn) as engine:
        for cost in (4900, 5900):
            await wait_for(engine.pool, cost)
        await owner.execute("update scheduled_tables set due_at = now() - interval '1 s'")
        for _ in range(3):
            await engine.upkeep.apply_scheduled()
        shown = engine.metrics.exposition().decode()
    states = await owner.fetch("select state from scheduled_tables order by created_at")
    assert sorted(row[0] for row in states) == ["applied", "refused"]
    assert 'jalur_scheduled_tables_total{result="applied"} 1.0' in shown
    assert 'jalur_scheduled_tables_total{result="refused"} 1.0' in shown
