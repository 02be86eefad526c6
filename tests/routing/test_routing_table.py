from dataclasses import FrozenInstanceError, replace
from datetime import UTC, datetime, time, timedelta, timezone
from itertools import permutations
from zoneinfo import ZoneInfo

import pytest
from routing_examples import PRODUCT, candidates, offer, table

from routing.reasons import RowFault
from routing.snapshot import compile_table
from routing.table import WIB, BadTable, Dealer, Policy, Window, time_in_wib


def dealers_of(routes):
    return [route.dealer_id for route in routes]


@pytest.mark.parametrize(
    ("route", "fault"),
    [
        (offer("a", None), RowFault.NO_PRICE),
        (offer("a", 0), RowFault.PRICE_NOT_POSITIVE),
        (offer("a", -5), RowFault.PRICE_NOT_POSITIVE),
        (offer("nobody", 100), RowFault.UNKNOWN_DEALER),
        (offer("a", 100, sku="S99"), RowFault.UNKNOWN_PRODUCT),
        (offer("a", 100, hours=(Window(time(6), time(6)),)), RowFault.BAD_HOURS),
        (offer("a", 100, hours=(Window(time(6, tzinfo=UTC), time(7)),)), RowFault.BAD_HOURS),
        (offer("a", 100, valid_from=datetime(2025, 1, 1)), RowFault.BAD_VALIDITY),  # noqa: DTZ001
        (
            offer(
                "a",
                100,
                valid_from=datetime(2025, 1, 2, tzinfo=UTC),
                valid_until=datetime(2025, 1, 1, tzinfo=UTC),
            ),
            RowFault.BAD_VALIDITY,
        ),
    ],
)
def test_a_row_that_cannot_be_bought_from_is_reported_and_never_a_candidate(route, fault):
    snapshot = table([route], dealers=[Dealer("a", "A")])
    assert [(refusal.route_id, refusal.fault) for refusal in snapshot.refused] == [
        (route.route_id, fault)
    ]
    assert candidates(snapshot, route.sku, None) == []


def test_candidates_stand_by_cost_and_then_by_route_id():
    snapshot = table([offer("c", 100), offer("b", 100), offer("a", 200), offer("d", 50)])
    assert dealers_of(candidates(snapshot, "S10", None)) == ["d", "b", "c", "a"]


def test_a_cluster_route_stands_in_for_the_same_dealers_any_cluster_route():
    local = offer("a", 90, route_id="local", cluster="jabar", enabled=False)
    snapshot = table([offer("a", 100), offer("b", 110), local])
    assert [route.route_id for route in candidates(snapshot, "S10", "jabar")] == ["local", "r-b"]
    assert [route.route_id for route in candidates(snapshot, "S10", "jatim")] == ["r-a", "r-b"]


def test_local_and_any_cluster_routes_of_equal_cost_stand_by_route_id():
    snapshot = table([offer("a", 100), offer("b", 100, route_id="z", cluster="jabar")])
    assert [route.route_id for route in candidates(snapshot, "S10", "jabar")] == ["r-a", "z"]


def test_an_order_without_a_cluster_never_gets_a_cluster_route():
    snapshot = table([offer("a", 90, cluster="jabar")])
    assert candidates(snapshot, "S10", None) == []
    assert dealers_of(candidates(snapshot, "S10", "jabar")) == ["a"]


def test_the_version_does_not_depend_on_the_order_of_rows():
    routes = [offer("a", 100), offer("b", 90), offer("c", 95)]
    assert len({table(shuffled).version for shuffled in permutations(routes)}) == 1


def test_the_version_does_not_depend_on_the_zone_a_date_is_written_in():
    start = datetime(2025, 1, 1, tzinfo=UTC)
    elsewhere = start.astimezone(timezone(timedelta(hours=7)))
    versions = {table([offer("a", 1, valid_from=moment)]).version for moment in (start, elsewhere)}
    assert len(versions) == 1


@pytest.mark.parametrize(
    "changed",
    [
        table([offer("a", 101)]),
        table([offer("a", 100, enabled=False)]),
        table([offer("a", 100, hours=(Window(time(6), time(7)),))]),
        table([offer("a", 100)], Policy(premium_basis_points=300)),
        table([offer("a", 100)], Policy(declared_monopolies=frozenset({("telkomsel", None, "A")}))),
        table([offer("a", 100)], dealers=[Dealer("a", "A", drained=True)]),
        table([offer("a", 100)], dealers=[Dealer("a", "Other")]),
    ],
)
def test_whatever_changes_picks_changes_the_version(changed):
    assert changed.version != table([offer("a", 100)]).version
    assert len(changed.version) == 16


def test_a_refused_row_leaves_the_version_alone():
    assert (
        table([offer("a", 100)]).version
        == table([offer("a", 100), offer("b", 0)], dealers=[Dealer("a", "A")]).version
    )


@pytest.mark.parametrize(
    ("dealers", "products", "routes"),
    [
        ([Dealer("a", "A"), Dealer("a", "B")], [], []),
        ([], [PRODUCT, PRODUCT], []),
        ([], [], [offer("a", 1), offer("a", 2)]),
    ],
)
def test_rows_that_contradict_each_other_compile_to_nothing(dealers, products, routes):
    with pytest.raises(BadTable, match="more than once"):
        compile_table(dealers, products, routes, Policy())


def test_a_mute_without_a_time_zone_is_refused_before_it_can_break_picks():
    muted = Dealer("a", "A", muted_until=datetime(2025, 1, 1))  # noqa: DTZ001
    with pytest.raises(BadTable, match="muted_until"):
        compile_table([muted], [], [], Policy())


@pytest.mark.parametrize(
    "change",
    [
        {"window_days": 0},
        {"premium_basis_points": -1},
        {"single_cap_basis_points": 0},
        {"single_cap_basis_points": 10_001},
        {"when_all_barred": "maybe"},
    ],
)
def test_a_policy_that_makes_no_sense_is_refused(change):
    with pytest.raises(ValueError, match="must"):
        replace(Policy(), **change)


def test_a_snapshot_cannot_be_changed():
    snapshot = table([offer("a", 100)])
    with pytest.raises(FrozenInstanceError):
        snapshot.version = "x"  # type: ignore[misc]
    with pytest.raises(TypeError):
        snapshot.dealers["b"] = Dealer("b", "B")  # type: ignore[index]


@pytest.mark.parametrize(
    ("window", "moment", "inside"),
    [
        (Window(time(6), time(22)), time(6), True),
        (Window(time(6), time(22)), time(22), False),
        (Window(time(0, 15), time(23, 45)), time(0, 10), False),
        (Window(time(22), time(2)), time(23, 59, 59), True),
        (Window(time(22), time(2)), time(1, 59, 59), True),
        (Window(time(22), time(2)), time(2), False),
        (Window(time(22), time(2)), time(12), False),
        (Window(time(6), time(0)), time(23, 59), True),
        (Window(time(6), time(0)), time(0), False),
    ],
)
def test_windows_may_cross_midnight(window, moment, inside):
    assert window.contains(moment) is inside


@pytest.mark.parametrize(
    "moment",
    [
        datetime(2026, 3, 1, 16, 59, 59, 999_999, UTC),
        datetime(2026, 3, 1, 17, tzinfo=UTC),
        datetime(2026, 3, 2, 0, 0, tzinfo=WIB),
        datetime(2026, 3, 1, 12, 30, tzinfo=ZoneInfo("America/New_York")),
        datetime(2026, 3, 1, 17, tzinfo=ZoneInfo("UTC")),
    ],
)
def test_the_time_of_the_day_in_wib_is_that_of_the_moment_wherever_it_was_told(moment):
    assert time_in_wib(moment) == moment.astimezone(WIB).time()
