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

from app.administration.operator import Operator, Scope
from app.administration.plans import Plan, Sheet, Wanted
from app.administration.routes import Applied, apply, diff, export_routes
from app.errors import Forbidden, NotFound, PreconditionFailed, Problem
from app.storage.pool import Pool
from routing.sheet import COLUMNS
from tests.shops import ALFA, BRAVO, CHARLIE, SKU, Owner, furnish

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
