import json
from dataclasses import replace
from datetime import UTC, datetime, time, timedelta
from pathlib import Path

import pytest
from routing_examples import INQUIRY, NOON, live, market, offer, pick, reasons, table

from routing.choose import Inquiry, as_record, standing_offer
from routing.monopoly import GroupTotal, MarketTotals
from routing.reasons import NoPick, Reason, RowFault
from routing.table import Dealer, Policy, Window

HOUR = timedelta(hours=1)
DOCUMENTATION = Path(__file__).parents[2] / "docs" / "routing.md"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"enabled": False}, Reason.DISABLED),
        ({"valid_from": NOON + HOUR}, Reason.NOT_YET_VALID),
        ({"valid_until": NOON}, Reason.EXPIRED),
        ({"hours": (Window(time(22), time(6)),)}, Reason.OUTSIDE_HOURS),
        ({"cost_rupiah": 11_001}, Reason.LOSS_GUARD),
    ],
)
def test_an_offer_that_does_not_stand_is_excluded(changes, reason):
    decision = pick(table([offer("a", **{"cost_rupiah": 10_000, **changes})]))
    assert reasons(decision) == {"a": reason}
    assert (decision.chosen, decision.refusal) == (None, NoPick.NO_ROUTE)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"enabled": False}, Reason.DEALER_DISABLED),
        ({"drained": True}, Reason.DRAINED),
        ({"muted_until": NOON + HOUR}, Reason.MUTED),
    ],
)
def test_a_dealer_that_ops_took_out_is_excluded(changes, reason):
    dealers = [replace(Dealer("a", "A"), **changes), Dealer("b", "B")]
    decision = pick(table([offer("a", 100), offer("b", 200)], dealers=dealers))
    assert reasons(decision) == {"a": reason, "b": None}


@pytest.mark.parametrize(
    "changes",
    [
        {"valid_from": NOON},
        {"valid_until": NOON + HOUR},
        {"hours": (Window(time(12), time(13)),)},
        {"hours": (Window(time(1), time(2)), Window(time(11), time(12, 1)))},
        {"cost_rupiah": 11_000},
    ],
)
def test_an_offer_stands_up_to_its_very_limits(changes):
    assert pick(table([offer("a", **{"cost_rupiah": 10_000, **changes})])).chosen is not None


def test_a_mute_ends_by_itself():
    snapshot = table([offer("a", 100)], dealers=[Dealer("a", "A", muted_until=NOON)])
    assert pick(snapshot).chosen is not None


def test_hours_are_read_in_western_indonesian_time():
    snapshot = table([offer("a", 100, hours=(Window(time(23), time(1)),))])
    assert pick(snapshot, now=datetime(2025, 6, 2, 17, 59, tzinfo=UTC)).chosen is not None
    assert pick(snapshot, now=datetime(2025, 6, 2, 18, 0, tzinfo=UTC)).chosen is None


def test_a_moment_without_a_time_zone_is_refused():
    with pytest.raises(ValueError, match="time zone"):
        pick(table([offer("a", 100)]), now=datetime(2025, 6, 2))  # noqa: DTZ001


def test_a_dealer_that_is_down_loses_to_a_dearer_one():
    snapshot = table([offer("a", 100), offer("b", 200)])
    decision = pick(snapshot, dealer_up={"a": False, "b": True}.__getitem__)
    assert reasons(decision) == {"a": Reason.DEALER_DOWN, "b": None}


def test_a_dealer_is_never_tried_twice_for_one_order():
    decision = pick(
        table([offer("a", 100), offer("b", 200)]), inquiry=replace(INQUIRY, tried=frozenset("a"))
    )
    assert reasons(decision) == {"a": Reason.TRIED, "b": None}


def test_the_orders_own_limit_holds_beside_the_loss_guard():
    inquiry = replace(INQUIRY, max_price_rupiah=10_500)
    decision = pick(table([offer("a", 10_501), offer("b", 11_001)]), inquiry=inquiry)
    assert reasons(decision) == {"a": Reason.ABOVE_MAX_PRICE, "b": Reason.LOSS_GUARD}


def test_a_cost_of_just_the_orders_limit_is_allowed():
    inquiry = replace(INQUIRY, max_price_rupiah=10_500)
    assert pick(table([offer("a", 10_500)]), inquiry=inquiry).chosen is not None


def test_the_loss_guard_keeps_the_minimum_margin():
    policy = Policy(minimum_margin_rupiah=200)
    decision = pick(table([offer("a", 10_800), offer("b", 10_801)], policy))
    assert reasons(decision) == {"a": None, "b": Reason.LOSS_GUARD}


def test_equal_costs_are_ordered_by_route_id():
    decision = pick(table([offer("b", 100), offer("a", 100)]))
    assert reasons(decision) == {"a": None, "b": Reason.DEARER}


def test_ranks_count_only_those_that_passed_the_filter():
    decision = pick(table([offer("a", 90, enabled=False), offer("b", 100), offer("c", 110)]))
    assert [verdict.rank for verdict in decision.verdicts] == [None, 1, 2]


def test_a_product_nobody_offers_has_no_route():
    decision = pick(table([]))
    assert (decision.refusal, decision.verdicts) == (NoPick.NO_ROUTE, ())


TWO = [offer("a", 10_000), offer("b", 10_150)]


@pytest.mark.parametrize(
    ("totals", "chosen"),
    [
        (market(A=49, B=51), "a"),
        (market(A=5_001, B=4_999), "b"),
        (market(A=50, B=30, C=20), "b"),
        (market(), "a"),
    ],
)
def test_a_group_at_or_above_the_cap_gives_way_to_one_below_it(totals, chosen):
    decision = pick(table(TWO), totals)
    assert (decision.chosen.dealer_id, decision.forced_monopoly) == (chosen, False)


def test_what_avoiding_the_monopoly_cost_is_kept():
    decision = pick(table(TWO), market(A=90, B=10))
    assert reasons(decision) == {"a": Reason.MONOPOLY_BARRED, "b": None}
    assert (decision.cheapest_cost_rupiah, decision.monopoly_cost_rupiah) == (10_000, 150)
    assert decision.share_basis_points == 1_000


@pytest.mark.parametrize(("orders", "chosen"), [(49, "a"), (50, "b")])
def test_nothing_is_barred_below_the_minimum_sample(orders, chosen):
    totals = MarketTotals.of({"A": GroupTotal(1_000, orders)})
    assert pick(table(TWO), totals).chosen.dealer_id == chosen


def test_a_single_owner_group_is_no_market_to_share():
    dealers = [Dealer("a", "A"), Dealer("b", "A")]
    decision = pick(table(TWO, dealers=dealers), market(A=100))
    assert (decision.chosen.dealer_id, decision.forced_monopoly) == ("a", False)


def test_a_group_without_a_candidate_does_not_make_a_market():
    routes = [offer("a", 10_000), offer("b", 10_100, enabled=False)]
    decision = pick(table(routes), market(A=90, B=10))
    assert (decision.chosen.dealer_id, decision.forced_monopoly) == ("a", False)


@pytest.mark.parametrize(("cost_rupiah", "chosen"), [(10_200, "b"), (10_201, "a")])
def test_only_candidates_inside_the_premium_serve_instead(cost_rupiah, chosen):
    decision = pick(table([offer("a", 10_000), offer("b", cost_rupiah)]), market(A=90, B=10))
    assert decision.chosen.dealer_id == chosen
    assert decision.forced_monopoly is (chosen == "a")


def test_the_premium_is_measured_from_the_cheapest_that_passed_the_filter():
    routes = [offer("a", 9_000, enabled=False), offer("b", 10_000), offer("c", 10_200)]
    decision = pick(table(routes), market(B=90, C=10))
    assert decision.chosen.dealer_id == "c"
    assert decision.monopoly_cost_rupiah == 200


ALL_BARRED = Policy(single_cap_basis_points=2_500)
THREE = [offer("a", 10_000), offer("b", 10_100), offer("c", 10_150), offer("d", 10_500)]


def test_when_all_are_barred_the_lowest_share_inside_the_premium_is_forced():
    decision = pick(table(THREE, ALL_BARRED), market(A=40, B=28, C=30, D=2))
    assert decision.forced_monopoly
    assert reasons(decision) == {
        "a": Reason.MONOPOLY_BARRED,
        "b": None,
        "c": Reason.MONOPOLY_BARRED,
        "d": Reason.OUTSIDE_PREMIUM,
    }


def test_the_forced_group_serves_with_its_cheapest_dealer():
    dealers = [Dealer("a", "A"), Dealer("b", "B"), Dealer("c", "B"), Dealer("d", "D")]
    decision = pick(table(THREE, ALL_BARRED, dealers), market(A=60, B=40))
    assert (decision.chosen.dealer_id, decision.forced_monopoly) == ("b", True)


def test_when_all_are_barred_a_strict_policy_refuses_the_order():
    policy = replace(ALL_BARRED, when_all_barred="reject")
    decision = pick(table(THREE, policy), market(A=40, B=28, C=30, D=2))
    assert (decision.chosen, decision.refusal) == (None, NoPick.ALL_BARRED)
    assert set(reasons(decision).values()) == {Reason.MONOPOLY_BARRED, Reason.OUTSIDE_PREMIUM}
    assert (decision.forced_monopoly, decision.monopoly_cost_rupiah) == (False, None)


@pytest.mark.parametrize("when_all_barred", ["allow", "reject"])
def test_groups_exactly_at_the_cap_are_not_forced_on_each_other(when_all_barred):
    policy = Policy(when_all_barred=when_all_barred)
    decision = pick(table(TWO, policy), market(A=50, B=50))
    assert (decision.chosen.dealer_id, decision.forced_monopoly) == ("a", False)


def declared(cluster):
    return Policy(declared_monopolies=frozenset({("telkomsel", cluster, "A")}))


def test_a_declared_monopoly_is_barred_without_any_sample():
    assert reasons(pick(table(TWO, declared(None)))) == {
        "a": Reason.DECLARED_MONOPOLY,
        "b": None,
    }


def test_a_declaration_holds_in_its_own_market_only():
    assert pick(table(TWO, declared("jabar"))).chosen.dealer_id == "a"
    inquiry = replace(INQUIRY, cluster="jabar")
    assert pick(table(TWO, declared("jabar")), inquiry=inquiry).chosen.dealer_id == "b"


def test_a_declared_monopoly_that_must_serve_is_marked_as_forced():
    decision = pick(table([offer("a", 10_000)], declared(None)))
    assert (decision.chosen.dealer_id, decision.forced_monopoly) == ("a", True)


def standing(snapshot, dealer_id, inquiry=INQUIRY, dealer_up=lambda _: True):
    found = standing_offer(snapshot, inquiry, dealer_id, live(snapshot, dealer_up), NOON)
    return found if isinstance(found, Reason) else found.route_id


def test_a_standing_offer_is_what_the_filter_lets_pass():
    snapshot = table(TWO, dealers=[Dealer("a", "A", drained=True), Dealer("b", "B")])
    assert standing(snapshot, "a") is Reason.DRAINED
    assert standing(snapshot, "b") == "r-b"
    assert standing(snapshot, "b", dealer_up=lambda _: False) is Reason.DEALER_DOWN
    assert standing(snapshot, "x") is Reason.GONE


def test_a_price_that_rose_above_the_loss_guard_stands_no_more():
    assert standing(table([offer("a", 11_001)]), "a") is Reason.LOSS_GUARD


def test_of_a_dealers_scheduled_prices_the_one_in_force_stands():
    now = offer("a", 10_000, route_id="now", valid_until=NOON + HOUR)
    later = offer("a", 9_000, route_id="later", valid_from=NOON + HOUR)
    snapshot = table([now, later])
    assert standing(snapshot, "a") == "now"
    assert pick(snapshot, now=NOON + HOUR).chosen.route_id == "later"


def documented_example(down=("borneo-1",)):
    """The worked example of the documentation."""
    groups = {"andalas": "Andalas", "borneo": "Borneo", "celebes": "Celebes"}
    costs = {
        "andalas-1": 10_150,
        "borneo-1": 10_200,
        "andalas-2": 10_210,
        "celebes-1": 10_300,
        "borneo-2": 10_400,
        "celebes-2": 10_650,
    }
    snapshot = table(
        [offer(name, cost) for name, cost in costs.items()],
        dealers=[Dealer(name, groups[name.split("-")[0]]) for name in costs],
    )
    totals = MarketTotals.of(
        {
            "Andalas": GroupTotal(1_200_000, 120),
            "Borneo": GroupTotal(500_000, 50),
            "Celebes": GroupTotal(300_000, 30),
        }
    )
    inquiry = Inquiry("S10", "telkomsel", "jabar", price_rupiah=10_600)
    return pick(snapshot, totals, inquiry, dealer_up=lambda dealer_id: dealer_id not in down)


def test_the_documented_example_is_what_really_happens():
    decision = documented_example()
    text = DOCUMENTATION.read_text()
    for verdict in decision.verdicts:
        rank = verdict.rank or "none"
        fate = f"`{verdict.reason}`" if verdict.reason else "**chosen**"
        row = rf"| {verdict.dealer_id} | {verdict.cost_rupiah:,} | {rank} | {fate} |"
        assert row in text
    assert (decision.chosen.dealer_id, decision.monopoly_cost_rupiah) == ("celebes-1", 150)


def test_the_documented_variant_is_forced():
    decision = documented_example(down=("borneo-1", "celebes-1"))
    assert (decision.chosen.dealer_id, decision.forced_monopoly) == ("andalas-1", True)
    assert reasons(decision)["borneo-2"] is Reason.OUTSIDE_PREMIUM


def test_the_record_is_json_and_holds_the_whole_proof():
    decision = documented_example()
    record = json.loads(json.dumps(as_record(decision)))
    assert record["table"] == decision.snapshot.version
    assert (record["dealer"], record["route"]) == ("celebes-1", "r-celebes-1")
    assert (record["cheapest_cost"], record["monopoly_cost"]) == (10_150, 150)
    assert record["shares"] == {"Andalas": 6_000, "Borneo": 2_500, "Celebes": 1_500}
    assert record["candidates"][1] == ["borneo-1", 10_200, None, "dealer-down"]
    assert record["candidates"][3] == ["celebes-1", 10_300, 3, None]


def test_a_refusal_is_recorded_too():
    record = json.loads(json.dumps(as_record(pick(table([offer("a", 100, enabled=False)])))))
    assert (record["dealer"], record["refusal"], record["cheapest_cost"]) == (
        None,
        "no-route",
        None,
    )


@pytest.mark.parametrize("code", [*Reason, *NoPick, *RowFault])
def test_every_code_is_in_the_documentation(code):
    assert f"| `{code}` |" in DOCUMENTATION.read_text()
