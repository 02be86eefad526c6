"""What must hold for any table, any market and any order."""

import json
from datetime import time, timedelta
from fractions import Fraction

from hypothesis import given, settings
from hypothesis import strategies as st
from routing_examples import NOON, PRODUCT, offer, pick, table

from routing.choose import Inquiry, as_record
from routing.monopoly import NO_PURCHASES, GroupTotal, Market, MarketTotals, Shares
from routing.reasons import NoPick
from routing.snapshot import compile_table
from routing.table import Dealer, Policy, Window

NAMES = "abcdef"
MOMENTS = [NOON - timedelta(hours=1), NOON, NOON + timedelta(hours=1)]
moments = st.sampled_from([None, *MOMENTS])

dealers = st.fixed_dictionaries(
    {
        name: st.builds(
            Dealer,
            dealer_id=st.just(name),
            owner_group=st.sampled_from("ABC"),
            enabled=st.sampled_from([True, True, True, False]),
            drained=st.sampled_from([False, False, False, True]),
            muted_until=moments,
        )
        for name in NAMES
    }
)
routes = st.lists(
    st.builds(
        offer,
        st.sampled_from(NAMES),
        st.sampled_from([None, 0, 9_900, 10_000, 10_000, 10_100, 10_200, 10_201, 10_900]),
        cluster=st.sampled_from([None, None, "jabar"]),
        enabled=st.sampled_from([True, True, True, False]),
        hours=st.sampled_from(
            [(), (), (Window(time(11), time(13)),), (Window(time(22), time(2)),)]
        ),
        valid_from=moments,
        valid_until=moments,
    ),
    max_size=10,
).map(lambda rows: [_numbered(row, number) for number, row in enumerate(rows)])
policies = st.builds(
    Policy,
    single_cap_basis_points=st.sampled_from([2_500, 5_000]),
    when_all_barred=st.sampled_from(["allow", "reject"]),
    minimum_margin_rupiah=st.sampled_from([0, 100]),
    declared_monopolies=st.sampled_from(
        [frozenset(), frozenset(), frozenset({("telkomsel", "jabar", "A")})]
    ),
)
totals = st.dictionaries(
    st.sampled_from("ABC"), st.builds(GroupTotal, st.integers(0, 4), st.integers(0, 60))
).map(MarketTotals.of)
inquiries = st.builds(
    Inquiry,
    sku=st.just(PRODUCT.sku),
    brand=st.just(PRODUCT.brand),
    cluster=st.sampled_from([None, "jabar"]),
    price_rupiah=st.sampled_from([10_200, 10_300, 11_000]),
    max_price_rupiah=st.sampled_from([None, 10_150]),
    tried=st.frozensets(st.sampled_from(NAMES), max_size=2),
)
up = st.frozensets(st.sampled_from(NAMES), min_size=3)
cases = st.tuples(dealers, routes, policies, inquiries, up, totals)


def _numbered(route, number):
    return route._replace(route_id=f"r{number}")


def decide(known, rows, policy, inquiry, up_now, before):
    snapshot = compile_table(known.values(), [PRODUCT], rows, policy)
    return pick(snapshot, before, inquiry, dealer_up=up_now.__contains__)


def may_serve(route, known, rows, policy, inquiry, up_now):
    """The filter, said plainly and apart from the production code."""
    dealer = known[route.dealer_id]
    priced = [row for row in rows if row.cost_rupiah and not contradictory(row)]
    local = {row.dealer_id for row in priced if inquiry.cluster and row.cluster == inquiry.cluster}
    here = route.cluster == inquiry.cluster or (
        route.cluster is None and route.dealer_id not in local
    )
    return (
        route in priced
        and here
        and (route.condition.enabled and dealer.enabled and not dealer.drained)
        and (dealer.muted_until is None or dealer.muted_until <= NOON)
        and (route.condition.valid_from is None or route.condition.valid_from <= NOON)
        and (route.condition.valid_until is None or route.condition.valid_until > NOON)
        and route.condition.hours in ((), (Window(time(11), time(13)),))
        and (route.dealer_id in up_now and route.dealer_id not in inquiry.tried)
        and route.cost_rupiah <= inquiry.price_rupiah - policy.minimum_margin_rupiah
        and route.cost_rupiah <= (inquiry.max_price_rupiah or route.cost_rupiah)
    )


def contradictory(route):
    starts, ends = route.condition.valid_from, route.condition.valid_until
    return bool(starts and ends and starts >= ends)


def expected(known, rows, policy, inquiry, up_now, before):
    """(route id, forced), or a refusal: the rule over exact fractions."""
    allowed = [row for row in rows if may_serve(row, known, rows, policy, inquiry, up_now)]
    allowed.sort(key=lambda row: (row.cost_rupiah, row.route_id))
    if not allowed:
        return NoPick.NO_ROUTE
    groups = {row.route_id: known[row.dealer_id].owner_group for row in allowed}
    counted = before.orders >= 50 and len(set(groups.values())) >= 2 and before.value_rupiah > 0
    cap = Fraction(policy.single_cap_basis_points, 10_000)

    def share(row):
        return Fraction(before.value_of(groups[row.route_id]), before.value_rupiah or 1)

    def declared(row):
        market = (inquiry.brand, inquiry.cluster, groups[row.route_id])
        return market in policy.declared_monopolies

    inside = [
        row for row in allowed if row.cost_rupiah <= allowed[0].cost_rupiah * Fraction("1.02")
    ]
    for row in inside:
        if not declared(row) and not (counted and share(row) >= cap):
            return row.route_id, False
    lowest = min(inside, key=share)
    forced = declared(lowest) or share(lowest) > cap
    if forced and policy.when_all_barred == "reject":
        return NoPick.ALL_BARRED
    return lowest.route_id, forced


@settings(max_examples=400)
@given(cases)
def test_every_pick_is_the_one_that_the_plain_rule_makes(case):
    decision = decide(*case)
    found = decision.refusal or (decision.chosen.route_id, decision.forced_monopoly)
    assert found == expected(*case)


@given(cases)
def test_the_chosen_one_is_excluded_by_no_filter(case):
    decision = decide(*case)
    *filter_case, _before = case
    if decision.chosen:
        _known, rows, *_rest = filter_case
        chosen = next(row for row in rows if row.route_id == decision.chosen.route_id)
        assert may_serve(chosen, *filter_case)


@given(dealers, routes, inquiries, up)
def test_where_nothing_is_barred_nothing_allowed_is_cheaper(known, rows, inquiry, up_now):
    case = (known, rows, Policy(), inquiry, up_now)
    decision = decide(*case, NO_PURCHASES)
    costs = [row.cost_rupiah for row in rows if may_serve(row, *case)]
    assert (decision.chosen.cost_rupiah if decision.chosen else None) == min(costs, default=None)


@given(cases)
def test_each_candidate_has_one_reason_or_is_the_chosen_one(case):
    decision = decide(*case)
    without_reason = [v.route_id for v in decision.verdicts if v.reason is None]
    assert without_reason == ([decision.chosen.route_id] if decision.chosen else [])
    assert (decision.chosen is None) is (decision.refusal is not None)


@given(cases)
def test_the_same_rows_in_another_order_give_the_same_record(case):
    known, rows, *rest = case
    one, other = decide(known, rows, *rest), decide(known, rows[::-1], *rest)
    assert json.dumps(as_record(one)) == json.dumps(as_record(other))


def trade(costs, orders, policy=None, opening=()):
    """Let one market buy order after order; return the decisions and the final totals."""
    snapshot = table([offer(name, cost) for name, cost in costs.items()], policy)
    place, shares, decisions = Market("telkomsel", None), Shares(7), []
    for group, value_rupiah, count in opening:
        shares.add(place, group, value_rupiah, count, NOON)
    for _ in range(orders):
        decision = pick(snapshot, shares.totals(place, NOON))
        decisions.append(decision)
        if decision.chosen:
            shares.add(place, decision.owner_group, decision.cost_rupiah, 1, NOON)
    return decisions, shares.totals(place, NOON)


inside_premium = st.integers(0, 200)


@settings(max_examples=30)
@given(inside_premium, st.sampled_from(["allow", "reject"]))
def test_two_groups_settle_at_equal_shares_and_nothing_is_ever_forced(extra, when_all_barred):
    policy = Policy(when_all_barred=when_all_barred)
    decisions, after = trade({"a": 10_000, "b": 10_000 + extra}, 300, policy)
    assert all(decision.chosen and not decision.forced_monopoly for decision in decisions)
    assert abs(after.share_basis_points("A") - 5_000) < 50


@settings(max_examples=30)
@given(inside_premium, st.integers(50, 200))
def test_a_market_that_one_group_owns_opens(extra, orders):
    opening = [("A", orders * 10_000, orders)]
    decisions, after = trade({"a": 10_000, "b": 10_000 + extra}, orders + 50, opening=opening)
    assert decisions[0].chosen.dealer_id == "b"
    assert not any(decision.forced_monopoly for decision in decisions)
    assert abs(after.share_basis_points("A") - 5_000) < 100


def test_a_rival_outside_the_premium_never_opens_a_market_and_every_pick_says_so():
    decisions, after = trade({"a": 10_000, "b": 10_500}, 100)
    assert after.share_basis_points("A") == 10_000
    assert [decision.forced_monopoly for decision in decisions] == [False] * 50 + [True] * 50


@settings(max_examples=30)
@given(st.lists(inside_premium, min_size=3, max_size=6))
def test_among_three_groups_and_more_the_cheapest_is_held_at_the_cap(extras):
    costs = {name: 10_000 + extra for name, extra in zip(NAMES, sorted(extras), strict=False)}
    decisions, after = trade(costs, 400)
    assert not any(decision.forced_monopoly for decision in decisions)
    assert max(after.share_basis_points(name.upper()) for name in costs) < 5_000 + 50
