"""The policy, steered: every setting checked, taken whole or not at all, and recorded."""

from dataclasses import fields
from typing import Any

import pytest

from app.administration import policy
from app.administration.operator import Operator, Scope
from app.errors import Forbidden, PreconditionFailed, Unprocessable
from app.lifecycle.trade import read_policy
from app.storage import reference
from app.storage.pool import Pool
from routing.table import Policy, QualityRules, Strategy
from tests.administration.office import BY, acts, revision


async def in_force(pool: Pool) -> Policy:
    """As routing reads it."""
    async with pool.acquire() as connection:
        return read_policy((await reference.policy(connection))[1])


async def refused(pool: Pool, values: dict[str, Any]) -> list[str]:
    before = await revision(pool)
    with pytest.raises(Unprocessable) as met:
        await policy.set_values(pool, BY, values)
    assert (await revision(pool), await acts(pool)) == (before, [])
    return [each.field for each in met.value.errors]


async def test_every_rule_of_routing_is_shown_with_its_default_and_unit(pool: Pool):
    shown = {each.name: each for each in (await policy.show(pool, BY)).settings}
    rules = {each.name for each in fields(Policy)} - {"quality"}
    quality = {f"quality.{each.name}" for each in fields(QualityRules)}
    assert set(shown) == rules | quality | {"largest_rise_percent"}
    assert all(each.unit and each.value == each.default for each in shown.values())
    assert shown["premium_basis_points"].value == Policy().premium_basis_points


async def test_settings_are_set_one_by_one_and_the_others_stay(pool: Pool):
    before = await revision(pool)
    await policy.set_values(pool, BY, {"premium_basis_points": 300, "strategies.pulsa": "weighted"})
    done = await policy.set_values(pool, BY, {"quality.floor_basis_points": 6_000}, "lenient")
    assert done.changes == {"quality.floor_basis_points": (7_000, 6_000)}
    read = await in_force(pool)
    assert (read.premium_basis_points, read.quality.floor_basis_points) == (300, 6_000)
    assert read.strategies == {"pulsa": Strategy.WEIGHTED}
    assert done.standing.revision == await revision(pool) == before + 2
    act = (await acts(pool))[-1]
    assert (act.action, act.subject, act.reason) == ("policy.set", "policy", "lenient")
    assert (act.before, act.after) == (
        {"quality.floor_basis_points": 7_000},
        {"quality.floor_basis_points": 6_000},
    )


async def test_a_whole_policy_puts_what_it_leaves_out_back_to_default(pool: Pool):
    await policy.set_values(pool, BY, {"premium_basis_points": 300, "weights.alfa": 2})
    whole = {
        "declared_monopolies": [["tri", None, "alfa"], ["tri", "jabar", "alfa"]],
        "margins": [["gold", "pulsa", -50]],
        "quality": {"minimum_sample": 30},
        "largest_rise_percent": 12.5,
    }
    done = await policy.replace(pool, BY, whole)
    assert set(done.changes) == {
        "premium_basis_points",
        "weights",
        "declared_monopolies",
        "margins",
        "quality.minimum_sample",
        "largest_rise_percent",
    }
    read = await in_force(pool)
    assert (read.premium_basis_points, read.weights) == (200, {})
    assert read.declared_in("tri", "jabar") == {"alfa"}
    assert read.margins == {("gold", "pulsa"): -50}
    assert done.standing.stated == whole


async def test_null_is_the_default_and_the_same_again_changes_nothing(pool: Pool):
    await policy.set_values(pool, BY, {"when_all_barred": "reject"})
    assert (await in_force(pool)).when_all_barred == "reject"
    done = await policy.set_values(pool, BY, {"when_all_barred": None})
    assert done.standing.stated == {}
    published = await revision(pool)
    again = await policy.set_values(pool, BY, {"when_all_barred": "allow"})
    assert (again.changes, await revision(pool), len(await acts(pool))) == ({}, published, 2)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("premium_basis_point", 100),
        ("premium_basis_points", "200"),
        ("premium_basis_points", -1),
        ("premium_basis_points", True),
        ("window_days", 0),
        ("single_cap_basis_points", 10_001),
        ("when_all_barred", "perhaps"),
        ("declared_monopolies", [["tri"]]),
        ("declared_monopolies", [["tri", 1, "alfa"]]),
        ("margins", [["gold", None, 5]]),
        ("margins", [["gold", "pulsa", "5"]]),
        ("strategies", {"pulsa": "dearest"}),
        ("strategies", "weighted"),
        ("weights", {"alfa": -1}),
        ("quality.window", 5),
        ("quality.probe_one_in", 0),
        ("largest_rise_percent", -1),
        ("minimum_margin_rupiah", 1.5),
    ],
)
async def test_a_wrong_value_is_refused_by_its_name(pool: Pool, name: str, value: object):
    assert await refused(pool, {name: value, "tolerance_rupiah": 20}) == [name]


async def test_what_only_the_reader_sees_is_refused_too(pool: Pool):
    assert await refused(pool, {"quality.floor_basis_points": 9_500}) == []


async def test_a_mistyped_setting_that_is_stored_is_shown_and_can_be_taken_out(pool: Pool):
    async with pool.acquire() as connection:
        await connection.execute("update routing_policy set policy = '{\"premium\": 1}'")
    shown = (await policy.show(pool, BY)).settings[-1]
    assert (shown.name, shown.value, shown.unit) == ("premium", 1, "")
    assert await refused(pool, {"window_days": 8}) == ["premium"]
    assert (await policy.set_values(pool, BY, {"premium": None})).changes == {"premium": (1, None)}
    assert await in_force(pool) == Policy()


async def test_another_revision_and_a_missing_scope_are_refused(pool: Pool):
    in_the_way = await revision(pool) + 1
    with pytest.raises(PreconditionFailed):
        await policy.replace(pool, BY, {"window_days": 8}, "", in_the_way)
    with pytest.raises(Forbidden):
        await policy.replace(pool, Operator("eve", "x", frozenset({Scope.CATALOGUE})), {})
    assert await acts(pool) == []
