"""How candidates are ranked, and what more than the cost decides."""

from dataclasses import replace
from uuid import UUID

import pytest
from routing_examples import INQUIRY, NOON, market, offer, pick, reasons, table

from routing.monopoly import GroupTotal, Market, MarketTotals, Shares
from routing.quality import Level, Quality
from routing.reasons import Reason
from routing.table import Policy, QualityRules, Strategy

WELL = Quality(9_500, 0, 100)
BADLY = Quality(5_000, 0, 100, Level.CRITICAL)


def known(**by_dealer):
    """Quality by dealer, in the order of the dealers' ids, as the table numbers them."""
    return {"pulsa": [by_dealer[name] for name in sorted(by_dealer)]}


def strategy(name, **rules):
    return Policy(strategies={"pulsa": Strategy(name)}, **rules)


# ------------------------------------------------------------------ cheapest


def test_of_equal_costs_the_better_dealer_leads():
    decision = pick(
        table([offer("a", 10_000), offer("b", 10_000)]),
        quality=known(a=Quality(9_000, 0, 50), b=Quality(9_100, 0, 50)),
    )
    assert decision.chosen.dealer_id == "b"


def test_success_rates_of_one_band_are_equal():
    decision = pick(
        table([offer("a", 10_000), offer("b", 10_000)]),
        quality=known(a=Quality(9_000, 0, 50), b=Quality(9_099, 0, 50)),
    )
    assert decision.chosen.dealer_id == "a"


def test_of_equal_costs_and_rates_the_group_that_lacks_most_to_its_target_leads():
    policy = Policy(weights={"A": 1, "B": 3}, minimum_sample_orders=10**9)
    snapshot = table([offer("a", 10_000), offer("b", 10_000)], policy)
    assert pick(snapshot, market(A=30, B=70)).chosen.dealer_id == "b"
    assert pick(snapshot, market(A=20, B=80)).chosen.dealer_id == "a"


def test_a_cheaper_dealer_goes_before_a_better_one():
    decision = pick(
        table([offer("a", 10_000), offer("b", 10_001)]),
        quality=known(a=Quality(7_100, 0, 50), b=WELL),
    )
    assert decision.chosen.dealer_id == "a"


# ------------------------------------------------------------------ expected value


def test_a_dealer_that_delivers_more_often_may_be_worth_its_price():
    snapshot = table([offer("a", 10_000), offer("b", 10_100)], strategy("expected_value"))
    # 80 % of 1,000 is less than 99 % of 900.
    quality = known(a=Quality(8_000, 0, 50), b=Quality(9_900, 0, 50))
    decision = pick(snapshot, quality=quality)
    assert decision.chosen.dealer_id == "b"
    assert decision.first_cost_rupiah == 10_100


def test_unknown_outcomes_cost_what_they_tie_up():
    snapshot = table([offer("a", 10_000), offer("b", 10_020)], strategy("expected_value"))
    # A tenth of 10,000, five times in a hundred, is 50 rupiah an order.
    quality = known(a=Quality(10_000, 500, 50), b=Quality(10_000, 0, 50))
    assert pick(snapshot, quality=quality).chosen.dealer_id == "b"


def test_values_within_the_tolerance_are_equal_and_the_cheaper_leads():
    snapshot = table([offer("a", 10_000), offer("b", 10_100)], strategy("expected_value"))
    quality = known(a=Quality(9_000, 0, 50), b=Quality(10_000, 0, 50))  # 900 and 900
    assert pick(snapshot, quality=quality).chosen.dealer_id == "a"


def test_the_premium_counts_from_the_one_ranked_first():
    snapshot = table(
        [offer("a", 10_000), offer("b", 10_100), offer("c", 10_310)], strategy("expected_value")
    )
    quality = known(a=Quality(5_000, 0, 9), b=Quality(10_000, 0, 9), c=Quality(10_000, 0, 9))
    decision = pick(snapshot, market(B=80, A=10, C=10), quality=quality)
    assert decision.chosen.dealer_id == "a"  # 10,310 is past 2 % above 10,100
    assert reasons(decision)["c"] is Reason.OUTSIDE_PREMIUM


# ------------------------------------------------------------------ weighted


def test_groups_take_turns_until_their_targets_are_met():
    policy = strategy("weighted", weights={"A": 5, "B": 3, "C": 2}, minimum_sample_orders=10**9)
    snapshot = table([offer("a", 10_200), offer("b", 10_100), offer("c", 10_000)], policy)
    place, shares = Market("telkomsel", None), Shares(7)
    for _ in range(1_000):
        decision = pick(snapshot, shares.totals(place, NOON))
        shares.add(place, decision.owner_group, 10_000, 1, NOON)
    totals = shares.totals(place, NOON)
    assert [totals.share_basis_points(group) for group in "ABC"] == [5_000, 3_000, 2_000]


def test_weights_of_the_table_go_before_those_of_the_policy():
    policy = strategy("weighted", weights={"B": 9}, minimum_sample_orders=10**9)
    snapshot = table([offer("a", 10_100, weight=1), offer("b", 10_000)], policy)
    assert pick(snapshot, market(A=99, B=1)).chosen.dealer_id == "a"


def test_a_group_without_a_weight_comes_last():
    policy = strategy("weighted", weights={"B": 1}, minimum_sample_orders=10**9)
    snapshot = table([offer("a", 10_000), offer("b", 10_900)], policy)
    assert pick(snapshot, market(A=1, B=99)).chosen.dealer_id == "b"


# ------------------------------------------------------------------ quality floor and probes


def test_a_dealer_below_the_floor_ranks_after_all_others():
    snapshot = table([offer("a", 10_000), offer("b", 10_500)])
    decision = pick(snapshot, quality=known(a=BADLY, b=WELL))
    assert reasons(decision) == {"a": Reason.BELOW_QUALITY, "b": None}


def test_where_all_are_below_the_floor_the_cheapest_serves():
    snapshot = table([offer("a", 10_000), offer("b", 10_100)])
    decision = pick(snapshot, quality=known(a=BADLY, b=BADLY))
    assert decision.chosen.dealer_id == "a"


def test_a_dealer_below_the_floor_never_serves_to_avoid_a_monopoly():
    snapshot = table([offer("a", 10_000), offer("b", 10_100)])
    decision = pick(snapshot, market(A=90, B=10), quality=known(a=WELL, b=BADLY))
    assert (decision.chosen.dealer_id, decision.forced_monopoly) == ("a", True)


def test_one_order_in_a_hundred_probes_and_always_the_same_ones():
    snapshot = table([offer("a", 10_000), offer("b", 10_500)])
    quality = known(a=BADLY, b=WELL)
    probing = [
        number
        for number in range(10_000)
        if pick(
            snapshot, inquiry=replace(INQUIRY, order_id=UUID(int=number)), quality=quality
        ).chosen.dealer_id
        == "a"
    ]
    assert 60 <= len(probing) <= 140
    again = replace(INQUIRY, order_id=UUID(int=probing[0]))
    assert pick(snapshot, inquiry=again, quality=quality).chosen.dealer_id == "a"


# ------------------------------------------------------------------ limits


def test_the_margin_is_that_of_the_tier_and_the_product_kind():
    policy = Policy(minimum_margin_rupiah=100, margins={("gold", "pulsa"): 500})
    snapshot = table([offer("a", 10_600)], policy)
    gold = replace(INQUIRY, tier="gold")
    assert pick(snapshot).chosen is not None
    assert reasons(pick(snapshot, inquiry=gold)) == {"a": Reason.LOSS_GUARD}
    assert pick(snapshot, inquiry=replace(gold, kind="data")).chosen is not None


@pytest.mark.parametrize(
    ("left", "reason"), [(10_000, None), (9_999, Reason.LOW_FLOAT), (None, None)]
)
def test_a_dealer_must_have_enough_of_our_money_left(left, reason):
    assert reasons(pick(table([offer("a", 10_000)]), floats=[left])) == {"a": reason}


@pytest.mark.parametrize(("sold", "reason"), [(2, None), (3, Reason.QUOTA_USED)])
def test_a_route_takes_no_more_than_its_quota(sold, reason):
    snapshot = table([offer("a", 10_000, daily_quota=3)])
    assert reasons(pick(snapshot, sold_today={"r-a": sold})) == {"a": reason}


@pytest.mark.parametrize(("sold", "reason"), [(0, None), (1, Reason.REPEATED)])
def test_a_number_gets_a_product_only_so_often_a_day(sold, reason):
    snapshot = table([offer("a", 10_000, repeat_limit=1)])
    again = replace(INQUIRY, repeats={"a": sold})
    assert reasons(pick(snapshot, inquiry=again)) == {"a": reason}


# ------------------------------------------------------------------ the three largest


FIVE = [offer(name, 10_000 + 10 * place) for place, name in enumerate("abcde")]


def test_while_the_three_largest_hold_three_quarters_the_smallest_group_serves():
    decision = pick(table(FIVE), market(A=50, B=15, C=10, D=15, E=10))
    assert reasons(decision) == {
        "a": Reason.MONOPOLY_BARRED,
        "b": Reason.TOP_THREE_BARRED,
        "c": None,
        "d": Reason.DEARER,
        "e": Reason.DEARER,
    }
    assert not decision.forced_monopoly


def test_the_group_ranked_first_serves_up_to_its_own_cap():
    decision = pick(table(FIVE), market(A=49, B=21, C=10, D=10, E=10))
    assert decision.chosen.dealer_id == "a"


def test_below_three_quarters_nobody_gives_way():
    totals = market(A=50, B=12, C=12, D=13, E=13)
    assert pick(table(FIVE), market(A=50, B=25, C=20, D=3, E=2)).chosen.dealer_id == "e"
    assert pick(table(FIVE), MarketTotals.of({**totals.groups, "A": GroupTotal(48, 100)}))
    assert pick(table(FIVE), market(A=50, B=12, C=12, D=12, E=14)).chosen.dealer_id == "b"


def test_the_rule_on_the_three_largest_needs_five_groups_inside_the_premium():
    routes = [*FIVE[:4], offer("e", 10_500)]
    assert pick(table(routes), market(A=50, B=25, C=20, D=3, E=2)).chosen.dealer_id == "b"


def test_the_three_largest_are_those_of_the_market_not_of_this_product():
    totals = market(X=30, Y=30, A=20, B=8, C=6, D=4, E=2)
    policy = Policy(single_cap_basis_points=2_000)
    decision = pick(table(FIVE, policy), totals)
    assert reasons(decision)["b"] is Reason.TOP_THREE_BARRED
    assert decision.chosen.dealer_id == "e"


def test_where_all_are_barred_the_rule_on_the_three_largest_goes_first():
    policy = Policy(single_cap_basis_points=1_500)
    decision = pick(table(FIVE, policy), market(A=30, B=14, C=30, D=30, E=15))
    assert (decision.chosen.dealer_id, decision.forced_monopoly) == ("b", False)


def test_a_quality_that_makes_no_sense_is_refused():
    with pytest.raises(ValueError, match="must"):
        QualityRules(minimum_sample=0)
    with pytest.raises(ValueError, match="not be above"):
        QualityRules(floor_basis_points=9_500)
