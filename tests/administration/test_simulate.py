"""A draft of the table on past orders: what it would have cost, and that nothing is changed."""

import csv
import io
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from app.administration.operator import Operator
from app.administration.plans import Sheet, Wanted
from app.administration.simulate import Window, simulate, window_of
from app.errors import PreconditionFailed, Problem, Unprocessable
from app.storage.pool import Pool
from routing.sheet import COLUMNS
from tests.past import place
from tests.shops import ALFA, BRAVO, CHARLIE, SKU, Owner, furnish

ADA = Operator("ada", "console")
NOW = datetime(2026, 11, 22, 5, tzinfo=UTC)
SINCE = datetime(2026, 11, 21, 5, 30, tzinfo=UTC)
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
WHOLE = Window(SINCE, NOW)


@pytest.fixture
async def owner(database_dsn: str) -> AsyncIterator[Owner]:
    """The owner's eyes on a shop with three dealers and one product at 6,000 rupiah."""
    await furnish(database_dsn, [ALFA, BRAVO, CHARLIE])
    connection = await asyncpg.connect(database_dsn)
    await connection.execute("insert into regions values ('bandung', 'jabar')")
    yield connection
    await connection.close()


def draft(*rows: dict[str, object]) -> Sheet:
    written = io.StringIO()
    writer = csv.DictWriter(written, COLUMNS, restval="")
    writer.writeheader()
    for row in rows:
        writer.writerow({"sku": SKU, "dealer_sku": "S5", "enabled": "true"} | row)
    return Sheet(written.getvalue().encode())


def costs(**rupiah: int) -> Sheet:
    return draft(*({"dealer": dealer_id, "cost": cost} for dealer_id, cost in rupiah.items()))


async def run(pool: Pool, sheet: Sheet | None, **wanted: Any) -> dict[str, Any]:
    """Simulate the whole window; its document, as JSON gives it back."""
    told = await simulate(pool, ADA, sheet, Wanted(allow_empty=True, **wanted), WHOLE, NOW)
    return json.loads(json.dumps(told.document()))


async def standing(owner: Owner) -> str:
    """Everything that a simulation must leave as it was."""
    return await owner.fetchval(
        """
        select concat_ws(';', (select p::text from routing_policy p),
                         (select string_agg(r::text, '|' order by route_id) from routes r),
                         (select string_agg(o::text, '|' order by order_id) from orders o),
                         (select string_agg(a::text, '|' order by order_id) from attempts a),
                         (select count(*) from audit_log), (select count(*) from table_versions),
                         (select count(*) from purchase_hours))
        """
    )


def bought(column: dict[str, Any]) -> dict[str, tuple[int, int, int]]:
    return {
        each["dealer"]: (each["orders"], each["value"], each["share_basis_points"])
        for each in column["dealers"]
    }


async def test_a_cheaper_draft_moves_every_order_and_changes_nothing(owner: Owner, pool: Pool):
    for number in range(10):
        await place(owner, SINCE + number * HOUR, number)
    before = await standing(owner)
    told = await run(pool, costs(alfa=5000, bravo=4900))
    assert await standing(owner) == before
    assert told["changes"] == {"added": 0, "changed": 1, "removed": 1, "unchanged": 1}
    assert told["orders"] == {"replayed": 10, "failed": 0, "reversed": 0, "waiting": 0}
    happened, in_force, drafted = told["happened"], told["in_force"], told["draft"]
    assert bought(happened) == bought(in_force) == {"alfa": (10, 50_000, 10_000)}
    assert bought(drafted) == {"bravo": (10, 49_000, 10_000)}
    assert (happened["price"], happened["cost"], happened["margin"]) == (60_000, 50_000, 10_000)
    assert (drafted["price"], drafted["cost"], drafted["margin"]) == (60_000, 49_000, 11_000)
    assert (in_force["moved"], in_force["cost_difference"], in_force["margin_difference"]) == (
        0,
        0,
        0,
    )
    assert (drafted["moved"], drafted["cost_difference"], drafted["margin_difference"]) == (
        10,
        -1000,
        1000,
    )
    assert in_force["table"] != drafted["table"]


async def test_three_columns_of_one_market_are_worked_out_to_the_rupiah(owner: Owner, pool: Pool):
    await owner.execute("""update routing_policy set policy = '{"minimum_sample_orders": 0}'""")
    # In truth charlie served three of ten.
    for number in range(10):
        dealer, cost = ("charlie", 5200) if number in (2, 5, 8) else ("alfa", 5000)
        await place(
            owner, SINCE + number * MINUTE, number, [(dealer, cost, "succeeded")], cluster="jabar"
        )
    told = await run(pool, costs(alfa=5000, bravo=5040))
    happened, in_force, drafted = told["happened"], told["in_force"], told["draft"]
    assert bought(happened) == {"alfa": (7, 35_000, 6916), "charlie": (3, 15_600, 3083)}
    # alfa first; then whoever holds half or more gives way to the other.
    assert bought(in_force) == {"bravo": (5, 25_500, 5049), "alfa": (5, 25_000, 4950)}
    assert bought(drafted) == {"bravo": (5, 25_200, 5019), "alfa": (5, 25_000, 4980)}
    assert (in_force["monopoly_cost"], drafted["monopoly_cost"]) == (500, 200)
    assert (in_force["cost_difference"], drafted["cost_difference"]) == (-100, -400)
    # 35,000² + 15,600² of 50,600²; 25,500² + 25,000² of 50,500²; 25,200² + 25,000² of 50,200².
    assert [each["hhi"] for each in (happened, in_force, drafted)] == [5734, 5000, 5000]
    assert [each["markets_above_alarm"] for each in (happened, in_force, drafted)] == [1, 1, 1]
    (market,) = told["markets"]
    assert (market["brand"], market["cluster"], told["market_count"]) == ("tri", "jabar", 1)
    assert market["happened"] == {
        "orders": 10,
        "value": 50_600,
        "hhi": 5734,
        "groups": [
            {"owner_group": "alfa", "orders": 7, "value": 35_000, "share_basis_points": 6916},
            {"owner_group": "charlie", "orders": 3, "value": 15_600, "share_basis_points": 3083},
        ],
    }


async def test_shares_begin_with_the_market_as_it_was_before_the_window(owner: Owner, pool: Pool):
    # Thirty in full hours before, thirty in the running hour: only both together are a sample.
    for number in range(30):
        await place(owner, SINCE - 2 * HOUR, number)
        await place(owner, SINCE - MINUTE, number)
    await place(owner, SINCE + MINUTE, 1)
    told = await run(pool, None)
    assert told["orders"]["replayed"] == 1
    assert bought(told["in_force"]) == {"bravo": (1, 5100, 10_000)}
    assert (told["draft"], told["changes"]) == (None, None)


async def test_orders_that_were_not_bought_are_counted_and_not_replayed(owner: Owner, pool: Pool):
    await place(owner, SINCE, 1)
    await place(owner, SINCE, 2, [("alfa", 5000, "failed")], status="failed", serving=None)
    await place(owner, SINCE, 3, [("alfa", 5000, "failed")], status="reversed")
    await place(owner, SINCE, 4, [], status="accepted", serving=None)
    await place(owner, SINCE, 5, [("bravo", 5100, "unknown")], status="processing", serving=None)
    told = await run(pool, None)
    assert told["orders"] == {"replayed": 2, "failed": 1, "reversed": 1, "waiting": 1}
    assert (told["happened"]["cost"], told["in_force"]["cost_difference"]) == (10_100, -100)


async def test_orders_without_a_route_are_told_with_their_reasons(owner: Owner, pool: Pool):
    await owner.execute(
        "insert into products (sku, name, brand, denomination) values ('TRI9', 'Tri', 'tri', 9000)"
    )
    await place(owner, SINCE, 1)
    await place(owner, SINCE + MINUTE, 2, max_price=5050)
    await place(owner, SINCE + 2 * MINUTE, 3, sku="TRI9")
    told = await run(
        pool,
        draft(
            {"dealer": "alfa", "cost": 5000, "daily_quota": 1}, {"dealer": "bravo", "cost": 6001}
        ),
    )
    assert told["draft"]["without_route"] == {
        "orders": 2,
        "refusals": {"no-route": 2},
        "reasons": {"quota-used": 1, "loss-guard": 1},
        "without_offer": 1,
        "skus": {SKU: 1, "TRI9": 1},
    }
    # Of those served the cost is that of truth; the margin of the two others is missing.
    assert told["draft"]["cost_difference"] == 0
    assert told["draft"]["margin_difference"] == -2000


async def test_quotas_serve_the_first_orders_of_all_lanes(owner: Owner, pool: Pool):
    for number in range(4):
        await place(owner, SINCE + number * MINUTE, 63 - number, max_price=5050 + number)
    told = await run(
        pool,
        draft(
            {"dealer": "alfa", "cost": 5000, "daily_quota": 3}, {"dealer": "bravo", "cost": 5053}
        ),
    )
    assert bought(told["draft"]) == {
        "alfa": (3, 15_000, 7480),
        "bravo": (1, 5053, 2519),
    }


async def test_a_dealers_part_is_merged_over_what_is_in_force(owner: Owner, pool: Pool):
    await place(owner, SINCE, 1)
    told = await run(pool, costs(charlie=4800), dealer_id="charlie")
    assert told["changes"] == {"added": 0, "changed": 1, "removed": 0, "unchanged": 0}
    assert bought(told["draft"]) == {"charlie": (1, 4800, 10_000)}
    without = await run(pool, draft(), dealer_id="alfa")
    assert bought(without["draft"]) == {"bravo": (1, 5100, 10_000)}


async def test_products_that_went_off_sale_since_are_replayed(owner: Owner, pool: Pool):
    await place(owner, SINCE, 1)
    await owner.execute("update products set enabled = false")
    told = await run(pool, costs(bravo=4900))
    assert bought(told["draft"]) == {"bravo": (1, 4900, 10_000)}


async def test_a_wrong_sheet_is_explained_line_by_line_and_changes_nothing(
    owner: Owner, pool: Pool
):
    await place(owner, SINCE, 1)
    before = await standing(owner)
    wrong = draft({"dealer": "alfa", "cost": "5.000"}, {"dealer": "zulu", "cost": 5000})
    with pytest.raises(Unprocessable) as refused:
        await run(pool, wrong)
    assert refused.value.code == "invalid-table"
    assert [each.field for each in refused.value.errors] == ["line 2.cost", "line 3.dealer"]
    with pytest.raises(PreconditionFailed):
        await run(pool, costs(alfa=5000), expected_revision=9_999)
    assert await standing(owner) == before


async def test_what_is_done_is_told_with_how_much_there_is(owner: Owner, pool: Pool):
    for number in range(6):
        await place(owner, SINCE + number * HOUR, number)
    told: list[tuple[str, int, int | None]] = []
    await simulate(
        pool,
        ADA,
        costs(alfa=5000),
        Wanted(),
        WHOLE,
        NOW,
        lambda stage, done, whole: told.append((stage, done, whole)),
    )
    assert list(dict.fromkeys(stage for stage, _, _ in told)) == [
        "read",
        "compare",
        "weigh",
        "compile",
        "replay",
    ]
    replayed = [(done, whole) for stage, done, whole in told if stage == "replay"]
    assert replayed[-1][0] == 6
    assert all(whole is None or done <= whole for done, whole in replayed)


async def test_a_window_without_orders_has_nothing_to_tell(owner: Owner, pool: Pool):
    told = await run(pool, None)
    assert told["orders"]["replayed"] == told["happened"]["hhi"] == told["market_count"] == 0


@pytest.mark.parametrize(
    ("since", "until", "begins", "ends"),
    [
        ("90m", None, NOW - 90 * MINUTE, NOW),
        ("7d", "24h", NOW - timedelta(days=7), NOW - timedelta(days=1)),
        ("2026-11-21T12:30", "2026-11-22T04:00+00:00", SINCE, NOW - HOUR),
    ],
)
def test_windows_are_read_back_from_now_or_as_moments(
    since: str, until: str | None, begins: datetime, ends: datetime
):
    assert window_of(since, until, NOW) == Window(begins, ends)


@pytest.mark.parametrize(
    ("since", "until", "field"),
    [
        ("yesterday", None, "since"),
        ("0h", None, "since"),
        ("32d", None, "since"),
        ("999999d", "999998d", "since"),
        ("1h", "2h", "since"),
        ("1960-01-01T00:00", "1960-01-02T00:00", "since"),
        ("1h", "2026-11-23T00:00", "until"),
    ],
)
def test_windows_that_are_none_are_refused(since: str, until: str | None, field: str):
    with pytest.raises(Problem) as refused:
        window_of(since, until, NOW)
    assert [each.field for each in refused.value.errors] == [field]
