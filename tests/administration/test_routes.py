"""The routing table, steered: a sheet is taken whole or not at all, and leaves its line."""

import asyncio
import csv
import hashlib
import io
import itertools
import json
from collections.abc import AsyncIterator
from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import Any

import asyncpg
import pytest

from app.administration import dealers
from app.administration.operator import Operator, Scope
from app.administration.plans import Plan, Sheet, Wanted
from app.administration.routes import (
    Applied,
    apply,
    diff,
    export_routes,
    list_versions,
    roll_back,
)
from app.errors import (
    Conflict,
    FieldError,
    Forbidden,
    NotFound,
    PreconditionFailed,
    Problem,
    Unprocessable,
)
from app.storage import reference
from app.storage.drafts import Loss, TierEffect
from app.storage.pool import Pool
from routing.choose import Inquiry
from routing.sheet import COLUMNS, Form, SheetRow, sheet_as_json, write_sheet
from tests.publishing import PUBLISH
from tests.shops import ALFA, BRAVO, CHARLIE, SKU, Owner, engine_on, furnish, until

ADA = Operator("ada", "console")
NOW = datetime(2026, 11, 22, 5, tzinfo=UTC)


@pytest.fixture
async def owner(database_dsn: str) -> AsyncIterator[Owner]:
    """The owner's eyes on a shop with three dealers and one product."""
    await furnish(database_dsn, [ALFA, BRAVO, CHARLIE])
    connection = await asyncpg.connect(database_dsn)
    await connection.execute("insert into regions values ('bandung', 'jabar')")
    yield connection
    await connection.close()


def sheet(*rows: dict[str, object]) -> bytes:
    """Rows of the shop's product, each stating what it is about."""
    written = io.StringIO()
    writer = csv.DictWriter(written, COLUMNS, restval="")
    writer.writeheader()
    for row in rows:
        writer.writerow({"sku": SKU, "dealer_sku": "S5", "enabled": "true"} | row)
    return written.getvalue().encode()


AS_FURNISHED = [
    {"dealer": "alfa", "cost": 5000},
    {"dealer": "bravo", "cost": 5100},
    {"dealer": "charlie", "cost": 5200},
]


async def bring(pool: Pool, content: bytes, **wanted: Any) -> Applied:
    return await apply(pool, ADA, Sheet(content), Wanted(**wanted), NOW)


async def look(pool: Pool, content: bytes, **wanted: Any) -> Plan:
    return await diff(pool, ADA, Sheet(content), Wanted(**wanted), NOW)


def counts(outcome: Applied) -> dict[str, int]:
    return asdict(outcome.plan.counts)


async def standing(owner: Owner) -> tuple[int, str, int]:
    """What must not change when an import is refused: revision, table, audit lines."""
    row = await owner.fetchrow(
        """
        select (select revision from routing_policy),
               (select string_agg(r::text, '|' order by route_id) from routes r),
               (select count(*) from audit_log)
        """
    )
    return tuple(row)


async def refused(owner: Owner, pool: Pool, content: bytes, **wanted: Any) -> Problem:
    """The problem that an import meets, after which everything stands as before."""
    before = await standing(owner)
    with pytest.raises(Problem) as met:
        await bring(pool, content, **wanted)
    assert await standing(owner) == before
    return met.value


async def test_import_adds_changes_and_removes_in_one_revision(owner: Owner, pool: Pool):
    before = await owner.fetchval("select revision from routing_policy")
    imported = await bring(
        pool,
        sheet(
            {"dealer": "alfa", "cost": 4900},
            {"dealer": "bravo", "cost": 5100},
            {"dealer": "bravo", "cluster": "jabar", "cost": 5050, "hours": "06:00-22:00"},
        ),
        reason="new price list",
    )
    assert counts(imported) == {
        "added": 1,
        "changed": 1,
        "removed": 1,
        "unchanged": 1,
    }
    assert imported.revision == before + 1
    assert await owner.fetchval("select revision from routing_policy") == before + 1
    rows = await owner.fetch("select route_id, cost, hours from routes order by route_id")
    assert [tuple(row) for row in rows] == [
        ("TRI5/jabar/bravo", 5050, "06:00-22:00"),
        ("r-alfa", 4900, ""),
        ("r-bravo", 5100, ""),
    ]


async def test_import_leaves_one_line_with_counts_checksums_and_examples(owner: Owner, pool: Pool):
    before = (await export_routes(pool, ADA)).content
    await bring(pool, sheet({"dealer": "alfa", "cost": 4900}), reason="new price list")
    after = (await export_routes(pool, ADA)).content
    (line,) = await owner.fetch("select * from audit_log")
    assert (line["operator"], line["origin"]) == ("ada", "console")
    assert (line["action"], line["subject"]) == ("routes.applied", "routes")
    assert line["reason"] == "new price list"
    told = json.loads(line["after"])
    assert json.loads(line["before"])["checksum"] == hashlib.sha256(before).hexdigest()[:16]
    assert told["checksum"] == hashlib.sha256(after).hexdigest()[:16]
    assert (told["changed"], told["removed"], told["unchanged"]) == (1, 2, 0)
    assert told["examples"]["changed"] == [
        {"route": "r-alfa", "before": {"cost": 5000}, "after": {"cost": 4900}}
    ]


async def test_export_imported_again_changes_nothing(owner: Owner, pool: Pool):
    await owner.execute(
        """
        insert into routes values
            ('odd', $1, 'jabar', 'alfa', '=cmd|x, "y"; z', 9223372036854775807, false,
             '22:00-05:00, 06:00-07:30', '2026-01-01 00:00:00.123456+07', null),
            ('retired', $1, 'closed-cluster', 'alfa', 'S5', 1, true, '', null, now())
        """,
        SKU,
    )
    before = await standing(owner)
    exported = await export_routes(pool, ADA)
    imported = await bring(pool, exported.content, expected_revision=exported.revision)
    assert imported.plan.is_empty
    assert imported.revision == exported.revision
    assert await standing(owner) == before


async def test_export_is_sorted_and_stable(owner: Owner, pool: Pool):
    await bring(
        pool, sheet(*reversed(AS_FURNISHED), {"dealer": "bravo", "cluster": "jabar", "cost": 1})
    )
    lines = (await export_routes(pool, ADA)).content.decode().splitlines()
    assert lines[0] == ",".join(COLUMNS)
    assert [line.split(",")[1:3] for line in lines[1:]] == [
        ["", "alfa"],
        ["", "bravo"],
        ["", "charlie"],
        ["jabar", "bravo"],
    ]


async def test_diff_tells_the_change_and_makes_none(owner: Owner, pool: Pool):
    before = await standing(owner)
    told = await look(pool, sheet({"dealer": "alfa", "cost": 4900}))
    assert (told.counts.changed, told.counts.removed) == (1, 2)
    assert await standing(owner) == before


async def test_one_dealers_part_leaves_the_others_alone(owner: Owner, pool: Pool):
    part = sheet({"dealer": "alfa", "cluster": "jabar", "cost": 4800})
    imported = await bring(pool, part, dealer_id="alfa")
    assert counts(imported) == {
        "added": 1,
        "changed": 0,
        "removed": 1,
        "unchanged": 0,
    }
    rows = await owner.fetch("select dealer_id, cost from routes order by 1")
    assert [tuple(row) for row in rows] == [("alfa", 4800), ("bravo", 5100), ("charlie", 5200)]
    assert (await export_routes(pool, ADA, "alfa")).content.count(b"\n") == 2
    assert await owner.fetchval("select subject from audit_log") == "dealer:alfa"


async def test_faults_are_all_told_and_the_table_stays(owner: Owner, pool: Pool):
    bad = sheet({"dealer": "alfa", "cost": "11.000"}, {"dealer": "nobody", "cost": 1, "sku": "X"})
    problem = await refused(owner, pool, bad)
    assert (problem.code, problem.status) == ("invalid-table", 422)
    assert [each.field for each in problem.errors] == ["line 2.cost", "line 3.sku", "line 3.dealer"]
    assert "3 faults" in problem.detail


async def test_another_dealers_row_in_a_dealers_part_is_refused(owner: Owner, pool: Pool):
    problem = await refused(owner, pool, sheet(*AS_FURNISHED), dealer_id="alfa")
    assert [each.field for each in problem.errors] == ["line 3.dealer", "line 4.dealer"]


@pytest.mark.parametrize("dealer_id", [None, "alfa"])
async def test_emptying_the_table_must_be_said(owner: Owner, pool: Pool, dealer_id: str | None):
    problem = await refused(owner, pool, sheet(), dealer_id=dealer_id)
    assert problem.code == "would-be-empty"
    await bring(pool, sheet(), dealer_id=dealer_id, allow_empty=True)
    assert await owner.fetchval("select count(*) from routes") == (0 if dealer_id is None else 2)


async def test_emptying_what_is_empty_changes_nothing(owner: Owner, pool: Pool):
    await bring(pool, sheet(), allow_empty=True)
    assert (await bring(pool, sheet())).plan.is_empty


async def test_a_table_that_would_not_compile_is_refused(owner: Owner, pool: Pool):
    """Such as one whose new route would have the id that another one has by hand."""
    await owner.execute("update routes set route_id = 'TRI5/jabar/alfa' where dealer_id = 'bravo'")
    rows = [*AS_FURNISHED, {"dealer": "alfa", "cluster": "jabar", "cost": 4000}]
    problem = await refused(owner, pool, sheet(*rows))
    assert problem.code == "invalid-table"
    assert "TRI5/jabar/alfa" in problem.detail


async def test_rows_of_a_product_that_is_switched_off_are_kept_and_counted(
    owner: Owner, pool: Pool
):
    await owner.execute("update products set enabled = false")
    imported = await bring(pool, sheet({"dealer": "alfa", "cost": 4900}))
    assert imported.plan.not_sold == 1
    assert await owner.fetchval("select cost from routes") == 4900


async def test_expected_revision_guards_against_a_change_in_between(owner: Owner, pool: Pool):
    exported = await export_routes(pool, ADA)
    await bring(pool, sheet({"dealer": "alfa", "cost": 4900}))
    before = await standing(owner)
    with pytest.raises(PreconditionFailed, match="export the table again"):
        await bring(pool, exported.content, expected_revision=exported.revision)
    assert await standing(owner) == before


async def test_strange_dealer_is_not_found(owner: Owner, pool: Pool):
    with pytest.raises(NotFound):
        await export_routes(pool, ADA, "nobody")
    with pytest.raises(NotFound):
        await bring(pool, sheet(), dealer_id="nobody")


async def test_importing_needs_its_scope_and_exporting_none(owner: Owner, pool: Pool):
    reader = replace(ADA, scopes=frozenset({Scope.REVIEWS}))
    exported = await export_routes(pool, reader)
    with pytest.raises(Forbidden):
        await apply(pool, reader, Sheet(exported.content), Wanted(), NOW)


async def test_imports_of_one_moment_are_made_one_after_the_other(owner: Owner, pool: Pool):
    before = await owner.fetchval("select revision from routing_policy")
    costs = range(4001, 4005)
    sheets = [
        sheet(*AS_FURNISHED, {"dealer": "alfa", "cluster": "jabar", "cost": c}) for c in costs
    ]
    done = await asyncio.gather(*(bring(pool, content) for content in sheets))
    assert sorted(each.revision for each in done) == list(range(before + 1, before + 5))
    lines = await owner.fetch("select before, after from audit_log order by audit_id")
    told = [(json.loads(before), json.loads(after)) for before, after in lines]
    chain = sorted(told, key=lambda each: each[1]["revision"])
    for (_, earlier), (later, _) in itertools.pairwise(chain):
        assert (later["revision"], later["checksum"]) == (earlier["revision"], earlier["checksum"])


async def test_import_waits_for_a_publisher_and_takes_up_what_it_did(owner: Owner, pool: Pool):
    """A dealer paused in between is part of the table that the import was compiled with."""
    async with owner.transaction():
        await owner.execute("update routing_policy set revision = revision + 1")
        importing = asyncio.ensure_future(bring(pool, sheet({"dealer": "alfa", "cost": 4900})))
        await asyncio.sleep(0.5)
        assert not importing.done()
    assert (await importing).plan.counts.changed == 1
    assert await owner.fetchval("select cost from routes") == 4900


async def test_a_dealer_is_paused_while_a_sheet_is_written(owner: Owner, pool: Pool):
    async with owner.transaction():
        await owner.execute("select from routes where dealer_id = 'alfa' for update")
        importing = asyncio.ensure_future(bring(pool, sheet({"dealer": "alfa", "cost": 4900})))

        async def is_writing() -> object:
            return await owner.fetchval("select exists (select from pg_locks where not granted)")

        await until(is_writing)
        assert (await dealers.pause(pool, ADA, "alfa", "prices look wrong")).changed
        assert not importing.done()
    assert (await importing).plan.counts.changed == 1
    assert not await owner.fetchval("select enabled from dealers where dealer_id = 'alfa'")


async def test_twenty_thousand_routes_are_imported_exported_and_compared(owner: Owner, pool: Pool):
    await owner.execute(
        """
        insert into products (sku, name, brand, denomination)
            select 'P' || n, 'p', 'tri', 1000 from generate_series(1, 210) n;
        insert into regions select 'region' || n, 'c' || n from generate_series(1, 33) n
        """
    )
    rows = [
        {"sku": f"P{n}", "cluster": f"c{place}" if place else "", "dealer": dealer, "cost": n + 900}
        for n in range(1, 211)
        for place in range(33)
        for dealer in ("alfa", "bravo", "charlie")
    ]
    imported = await bring(pool, sheet(*AS_FURNISHED, *rows))
    assert imported.plan.counts.added == 20_790
    exported = await export_routes(pool, ADA)
    assert (await bring(pool, exported.content)).plan.counts.unchanged == 20_793
    dearer = exported.content.replace(b",1100,", b",1101,")
    assert (await bring(pool, dearer)).plan.counts.changed == 99
    assert len(await owner.fetchval("select after::text from audit_log limit 1")) < 20_000


async def test_a_commit_in_doubt_is_repeated_without_a_second_change(owner: Owner, pool: Pool):
    content = sheet({"dealer": "alfa", "cost": 4900})
    first = await bring(pool, content)
    again = await bring(pool, content)
    assert (again.revision, again.plan.is_empty) == (first.revision, True)
    assert await owner.fetchval("select count(*) from audit_log") == 1


# ------------------------------------------------------------------ prices of several times

MIDNIGHT = "2026-12-01T00:00:00+07:00"


async def test_an_offer_may_have_a_price_for_every_time(owner: Owner, pool: Pool):
    await bring(
        pool,
        sheet(
            {"dealer": "alfa", "cost": 5000, "valid_until": MIDNIGHT},
            {"dealer": "alfa", "cost": 5400, "valid_from": MIDNIGHT},
        ),
    )
    rows = await owner.fetch("select route_id, cost from routes order by cost")
    assert [tuple(row) for row in rows] == [("r-alfa", 5000), ("TRI5//alfa/20261130T170000Z", 5400)]
    exported = await export_routes(pool, ADA)
    assert (await bring(pool, exported.content)).plan.is_empty


async def test_ids_stay_while_prices_come_and_go(owner: Owner, pool: Pool):
    later = {"dealer": "alfa", "cost": 5400, "valid_from": MIDNIGHT}
    await bring(pool, sheet({"dealer": "alfa", "cost": 5000, "valid_until": MIDNIGHT}, later))
    await bring(pool, sheet(later | {"cost": 5300}))
    await bring(pool, sheet({"dealer": "alfa", "cost": 5200, "valid_until": MIDNIGHT}, later))
    rows = await owner.fetch("select route_id, cost from routes order by cost")
    assert [tuple(row) for row in rows] == [
        ("TRI5//alfa", 5200),
        ("TRI5//alfa/20261130T170000Z", 5400),
    ]


async def test_the_price_of_the_moment_is_the_one_bought_at(owner: Owner, database_dsn: str):
    async with engine_on(database_dsn) as engine:
        rows = sheet(
            {"dealer": "alfa", "cost": 5000, "valid_until": MIDNIGHT},
            {"dealer": "alfa", "cost": 5400, "valid_from": MIDNIGHT},
        )
        await bring(engine.pool, rows)
        await engine.router.refresh(engine.pool)
        midnight = datetime.fromisoformat(MIDNIGHT)
        for moment, cost in ((NOW, 5000), (midnight, 5400)):
            decision = engine.router.choose(Inquiry(SKU, "tri", None, 6000), moment)
            standing = engine.router.route_at(SKU, None, "alfa", moment)
            assert decision.chosen == standing
            assert standing is not None
            assert standing.cost_rupiah == cost


# ------------------------------------------------------------------ what it does to margins


async def test_diff_tells_what_happens_to_margins(owner: Owner, pool: Pool):
    await owner.execute("insert into prices values ('gold', $1, 5150)", SKU)
    told = await look(
        pool, sheet({"dealer": "bravo", "cost": 5100}, {"dealer": "charlie", "cost": 1})
    )
    assert [asdict(each) for each in told.effect.tiers] == [
        asdict(TierEffect("gold", 1, 0, 4999, 0)),
        asdict(TierEffect("standard", 1, 0, 4999, 0)),
    ]
    dearer = await look(pool, sheet({"dealer": "charlie", "cost": 5200}))
    assert [(each.margin_falls, each.summed_effect) for each in dearer.effect.tiers] == [
        (1, -200),
        (1, -200),
    ]
    assert dearer.effect.losses == [Loss("gold", SKU, 5150, 5200)]


@pytest.mark.parametrize(
    "rows",
    [
        [],
        [{"dealer": "alfa", "cost": 5000, "enabled": "false"}],
        [{"dealer": "alfa", "cost": 5000, "valid_from": MIDNIGHT}],
    ],
)
async def test_a_product_that_loses_its_last_offer_is_told(
    owner: Owner, pool: Pool, rows: list[dict[str, object]]
):
    told = await look(pool, sheet(*rows), allow_empty=True)
    assert (told.effect.without_offer, told.effect.first_without_offer) == (1, [SKU])


async def test_one_dealers_part_is_weighed_against_the_others(owner: Owner, pool: Pool):
    told = await look(pool, sheet({"dealer": "alfa", "cost": 9000}), dealer_id="alfa")
    (tier,) = told.effect.tiers
    assert (tier.summed_effect, tier.at_loss) == (-100, 0)


# ------------------------------------------------------------------ costs that rise by much


async def test_a_large_rise_needs_a_yes(owner: Owner, pool: Pool):
    dear = sheet({"dealer": "alfa", "cost": 6001}, *AS_FURNISHED[1:])
    problem = await refused(owner, pool, dear)
    assert (problem.code, problem.status) == ("large-rise", 409)
    assert problem.errors == (FieldError("r-alfa", "cost 5000 → 6001 rupiah"),)
    await bring(pool, dear, allow_rises=True)
    assert await owner.fetchval("select max(cost) from routes") == 6001


async def test_the_policy_says_what_a_large_rise_is(owner: Owner, pool: Pool):
    a_fifth = sheet({"dealer": "alfa", "cost": 6000}, *AS_FURNISHED[1:])
    assert (await look(pool, a_fifth)).rise_count == 0
    await owner.execute("update routing_policy set policy = '{\"largest_rise_percent\": 19.9}'")
    assert (await refused(owner, pool, a_fifth)).code == "large-rise"


async def test_a_further_price_of_an_offer_is_no_way_around_it(owner: Owner, pool: Pool):
    rows = (
        {"dealer": "alfa", "cost": 5000, "valid_until": MIDNIGHT},
        {"dealer": "alfa", "cost": 9000, "valid_from": MIDNIGHT},
    )
    assert (await refused(owner, pool, sheet(*rows))).code == "large-rise"


# ------------------------------------------------------------------ what was in force


async def test_every_table_is_kept_and_can_be_gone_back_to(owner: Owner, pool: Pool):
    first = (await export_routes(pool, ADA)).content
    await bring(pool, sheet({"dealer": "alfa", "cost": 4900}), reason="new list")
    second = (await export_routes(pool, ADA)).content
    await bring(pool, sheet({"dealer": "bravo", "cost": 4800}))
    kept = await list_versions(pool, ADA)
    assert [(each.version, each.act, each.reason, each.routes) for each in kept] == [
        (3, "applied", "", 1),
        (2, "applied", "new list", 1),
        (1, "found", "", 3),
    ]
    wanted = Wanted(allow_empty=True, reason="a slip")
    version, _ = await roll_back(pool, ADA, None, wanted, NOW)
    assert version == 2
    assert (await export_routes(pool, ADA)).content == second
    await roll_back(pool, ADA, 1, wanted, NOW)
    assert (await export_routes(pool, ADA)).content == first
    line = await owner.fetchrow("select action, reason from audit_log order by audit_id desc")
    assert tuple(line) == ("routes.rolled_back", "a slip")


async def test_going_back_undoes_no_table_that_was_applied_meanwhile(owner: Owner, pool: Pool):
    await bring(pool, sheet({"dealer": "alfa", "cost": 4900}))
    async with owner.transaction():
        await owner.execute("select from routing_policy for update")
        returning = asyncio.ensure_future(roll_back(pool, ADA, None, Wanted(), NOW))
        await asyncio.sleep(0.5)
        assert not returning.done()
        await owner.execute(
            f"""
            insert into table_versions
            select version + 1, revision + 1, now(), 'applied', operator, '', checksum, routes,
                   added, changed, removed
            from table_versions order by version desc limit 1;
            {PUBLISH}
            """
        )
    with pytest.raises(Conflict, match="meanwhile"):
        await returning
    assert await owner.fetchval("select cost from routes") == 4900


async def test_going_back_to_what_does_not_fit_any_more_is_refused(owner: Owner, pool: Pool):
    await bring(pool, sheet({"dealer": "alfa", "cost": 4900}))
    await owner.execute("delete from dealers where dealer_id = 'charlie'")
    before = await standing(owner)
    with pytest.raises(Unprocessable) as met:
        await roll_back(pool, ADA, 1, Wanted(), NOW)
    assert [each.field for each in met.value.errors] == ["line 4.dealer"]
    assert await standing(owner) == before


async def test_there_is_nothing_to_go_back_to_at_first(owner: Owner, pool: Pool):
    with pytest.raises(Conflict, match="no table to go back to"):
        await roll_back(pool, ADA, None, Wanted(), NOW)
    with pytest.raises(NotFound):
        await roll_back(pool, ADA, 7, Wanted(), NOW)


async def test_the_newest_thirty_are_kept(owner: Owner, pool: Pool):
    for cost in range(5001, 5041):
        await bring(pool, sheet({"dealer": "alfa", "cost": cost}))
    kept = await list_versions(pool, ADA)
    assert [each.version for each in kept] == list(range(41, 11, -1))


# ------------------------------------------------------------------ forms


async def test_an_export_is_what_the_sheets_own_writer_writes(owner: Owner, pool: Pool):
    await owner.execute(
        """
        insert into routes values
            ('odd', $1, 'jabar', 'alfa', '=cmd|x, "y"; z', 9223372036854775807, false,
             '22:00-05:00', '2026-01-01 00:00:00.123456+07', '2027-01-01', 7, 3, 12),
            ('bare', $1, 'Jabar', 'bravo', E'tab\\there ü', null, true, '', null, now(), null, 1, 0)
        """,
        SKU,
    )
    async with pool.acquire() as connection:
        rows = await reference.routes(connection)
    written = write_sheet(SheetRow(*row[1:]) for row in rows)
    assert (await export_routes(pool, ADA)).content == written.encode()


async def test_a_sheet_in_json_is_the_same_sheet(owner: Owner, pool: Pool):
    await bring(pool, sheet({"dealer": "alfa", "cost": 4900, "daily_quota": 9, "weight": 70}))
    exported = (await export_routes(pool, ADA)).content
    as_json = "".join(sheet_as_json(exported))
    (item,) = json.loads(as_json)
    assert (item["cost"], item["enabled"], item["cluster"], item["weight"]) == (
        4900,
        True,
        None,
        70,
    )
    same = await apply(pool, ADA, Sheet(as_json.encode(), Form.JSON), Wanted(), NOW)
    assert same.plan.is_empty


async def test_a_sheet_without_the_newer_columns_leaves_them_empty(owner: Owner, pool: Pool):
    old = "sku,cluster,dealer,dealer_sku,cost,enabled,hours,valid_from,valid_until\n"
    await bring(pool, f"{old}{SKU},,alfa,S5,4900,true,,,\n".encode())
    row = await owner.fetchrow("select daily_quota, repeat_limit, weight from routes")
    assert tuple(row) == (None, None, 0)
