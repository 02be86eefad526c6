"""What must hold for any table, any market and any order.

`expected` says the whole rule again, plainly, over exact fractions and apart from the production
code; the properties after it say what the rule promises.
"""

import json
from dataclasses import dataclass, replace
from datetime import time, timedelta
from fractions import Fraction
from uuid import UUID

from hypothesis import event, given, settings
from hypothesis import strategies as st
from routing_examples import NOON, PRODUCT, offer, pick, table

from routing.choose import Inquiry, as_record
from routing.monopoly import GroupTotal, Market, MarketTotals, Shares
from routing.quality import NOTHING_KNOWN, Level, Quality
from routing.reasons import NoPick
from routing.snapshot import compile_table
from routing.table import Dealer, Policy, QualityRules, Strategy, Window

NAMES = "abcdefgh"
GROUPS = "ABCDEFG"
ORDER = UUID(int=1)
MOMENTS = [NOON - timedelta(hours=1), NOON, NOON + timedelta(hours=1)]
SELLING, ASLEEP = Window(time(11), time(13)), Window(time(22), time(2))
CRITICAL = Quality(5_000, 3_000, 50, Level.CRITICAL)
FAIR = Quality(8_950, 100, 50, Level.WARNING)
GOOD, ALIKE, BETTER = Quality(9_010, 0, 50), Quality(9_090, 0, 50), Quality(9_110, 0, 50)
UNSURE = Quality(9_110, 300, 50)


def seldom(usual, *others):
    """One of the others in a tenth of the cases."""
    return st.sampled_from([usual] * 9 * len(others) + list(others))


def dealers_of(groups):
    return st.fixed_dictionaries(
        {
            name: st.builds(
                Dealer,
                dealer_id=st.just(name),
                owner_group=st.sampled_from(GROUPS[:groups]),
                enabled=seldom(True, False),
                drained=seldom(False, True),
                muted_until=seldom(None, *MOMENTS),
            )
            for name in NAMES
        }
    )


dealers = st.integers(1, len(GROUPS)).flatmap(dealers_of)
one_a_group = st.permutations(GROUPS).map(
    lambda groups: {name: Dealer(name, group) for name, group in zip(NAMES, groups, strict=False)}
)
routes = st.lists(
    st.builds(
        offer,
        st.sampled_from(NAMES[:7]),
        st.sampled_from(
            [None, 0, 9_990, 9_995, 10_000, 10_000, 10_001, 10_190, 10_200, 10_201, 10_900]
        ),
        cluster=seldom(None, "jabar"),
        enabled=seldom(True, False),
        hours=seldom((), (SELLING,), (ASLEEP,)),
        valid_from=seldom(None, *MOMENTS),
        valid_until=seldom(None, *MOMENTS),
        daily_quota=st.sampled_from([None, None, None, None, 1, 5]),
        repeat_limit=st.sampled_from([None, None, None, None, 1, 2]),
        weight=st.sampled_from([0, 0, 0, 0, 1, 5]),
    ),
    max_size=14,
).map(lambda rows: [_numbered(row, number) for number, row in enumerate(rows)])
one_each = st.permutations(range(9_990, 10_010)).map(
    lambda costs: [
        _numbered(offer(name, cost), number)
        for number, (name, cost) in enumerate(zip(NAMES[:7], costs, strict=False))
    ]
)
DECLARED = [
    frozenset((PRODUCT.brand, cluster, group) for group in groups)
    for cluster in (None, "jabar")
    for groups in ("A", "BC", GROUPS)
]
policies = st.builds(
    Policy,
    single_cap_basis_points=st.sampled_from([2_500, 5_000]),
    top_three_cap_basis_points=st.sampled_from([6_000, 7_500]),
    top_three_groups=st.sampled_from([3, 5]),
    premium_basis_points=st.sampled_from([200, 200, 10, 0]),
    when_all_barred=st.sampled_from(["allow", "reject"]),
    minimum_margin_rupiah=st.sampled_from([0, 100]),
    margins=st.sampled_from([{}, {("gold", "pulsa"): 1_000}, {("gold", "data"): 1_000}]),
    strategies=st.sampled_from(
        [{}, *({"pulsa": strategy} for strategy in Strategy), {"data": Strategy.WEIGHTED}]
    ),
    weights=st.sampled_from([{}, {"A": 3, "B": 1}]),
    tolerance_rupiah=st.sampled_from([0, 10]),
    quality=st.sampled_from([QualityRules(), QualityRules(probe_one_in=1)]),
    declared_monopolies=st.sampled_from([frozenset()] * 12 + DECLARED),
)
totals = st.dictionaries(
    st.sampled_from(GROUPS), st.builds(GroupTotal, st.integers(0, 6), st.integers(0, 60))
).map(MarketTotals.of)
inquiries = st.builds(
    Inquiry,
    sku=st.just(PRODUCT.sku),
    brand=st.just(PRODUCT.brand),
    cluster=st.sampled_from([None, "jabar"]),
    price_rupiah=seldom(11_000, 10_200, 10_300),
    max_price_rupiah=seldom(None, 10_000),
    tried=st.one_of(st.just(frozenset()), st.frozensets(st.sampled_from(NAMES), max_size=2)),
    tier=st.sampled_from(["standard", "gold"]),
    kind=st.just("pulsa"),
    repeats=st.dictionaries(st.sampled_from(NAMES), st.sampled_from([1, 2]), max_size=3),
    order_id=st.sampled_from([None, ORDER]),
)


@dataclass(frozen=True)
class Case:
    """An order and all that its choice depends on."""

    known: dict[str, Dealer]
    rows: list
    policy: Policy
    inquiry: Inquiry
    up: frozenset
    before: MarketTotals
    quality: dict[str, Quality] | None
    floats: dict[str, int] | None
    sold: dict[str, int]


up = st.one_of(st.just(frozenset(NAMES)), st.frozensets(st.sampled_from(NAMES), min_size=3))
qualities = st.one_of(
    st.none(),
    st.fixed_dictionaries(
        {
            name: st.sampled_from([NOTHING_KNOWN, GOOD, ALIKE, BETTER, FAIR, CRITICAL])
            for name in NAMES
        }
    ),
)
floats = st.one_of(
    st.none(), st.dictionaries(st.sampled_from(NAMES), st.sampled_from([9_995, 10_000, 20_000]))
)
sold = st.dictionaries(st.sampled_from([f"r{number:02}" for number in range(14)]),
                       st.sampled_from([1, 4, 5]))  # fmt: skip


any_case = st.builds(
    Case, dealers, routes, policies, inquiries, up, totals, qualities, floats, sold
)
"""Whatever may stand in the way: most orders find few candidates, or none."""

SPREADS = [
    (50, 25, 10, 5, 5, 3, 2),
    (26, 25, 24, 10, 5, 5, 5),
    (50, 50, 0, 0, 0, 0, 0),
    (25, 25, 25, 25, 0, 0, 0),
    (60, 9, 8, 7, 6, 5, 5),
]
tense_markets = (
    st.sampled_from(SPREADS)
    .flatmap(st.permutations)
    .map(lambda values: [GroupTotal(value, 20) for value in values])
    .map(lambda held: MarketTotals.of(dict(zip(GROUPS, held, strict=True))))
)

tense_case = st.builds(
    Case,
    one_a_group,
    one_each,
    policies,
    inquiries.map(lambda asked: replace(asked, max_price_rupiah=None, tried=frozenset())),
    st.just(frozenset(NAMES)),
    tense_markets,
    st.one_of(st.none(), st.none(), qualities),
    st.none(),
    st.just({}),
)
"""Seven groups that could serve, in a market that a few of them hold."""

close_case = st.builds(
    Case,
    one_a_group,
    st.lists(
        st.builds(
            offer,
            st.sampled_from(NAMES[:7]),
            st.sampled_from([10_000, 10_000, 10_001]),
            weight=st.sampled_from([0, 1, 5]),
        ),
        min_size=2,
        max_size=7,
    ).map(lambda rows: [_numbered(row, number) for number, row in enumerate(rows)]),
    policies,
    inquiries.map(lambda asked: replace(asked, max_price_rupiah=None, tried=frozenset())),
    st.just(frozenset(NAMES)),
    totals,
    st.fixed_dictionaries(
        {name: st.sampled_from([GOOD, ALIKE, BETTER, UNSURE, FAIR, CRITICAL]) for name in NAMES}
    ),
    st.none(),
    st.just({}),
)
"""Offers so close that quality, expected value and target shares decide."""

cases = st.one_of(any_case, any_case, tense_case, close_case)


def _numbered(route, number):
    return route._replace(route_id=f"r{number:02}")


def decide(case):
    snapshot = compile_table(case.known.values(), [PRODUCT], case.rows, case.policy)
    ids = snapshot.image.dealers
    quality = {} if case.quality is None else {"pulsa": [case.quality[each] for each in ids]}
    money = None if case.floats is None else [case.floats.get(each) for each in ids]
    return pick(
        snapshot,
        case.before,
        case.inquiry,
        dealer_up=case.up.__contains__,
        quality=quality,
        floats=money,
        sold_today=case.sold,
    )


# ------------------------------------------------------------------ the rule, said plainly


def may_serve(route, case):
    """The filter."""
    dealer, inquiry, limits = case.known[route.dealer_id], case.inquiry, route.condition
    priced = [row for row in case.rows if row.cost_rupiah and not contradictory(row)]
    local = {row.dealer_id for row in priced if inquiry.cluster and row.cluster == inquiry.cluster}
    here = route.cluster == inquiry.cluster or (
        route.cluster is None and route.dealer_id not in local
    )
    margin = case.policy.margins.get((inquiry.tier, "pulsa"), case.policy.minimum_margin_rupiah)
    return (
        route in priced
        and here
        and (limits.enabled and dealer.enabled and not dealer.drained)
        and (dealer.muted_until is None or dealer.muted_until <= NOON)
        and (limits.valid_from is None or limits.valid_from <= NOON)
        and (limits.valid_until is None or limits.valid_until > NOON)
        and limits.hours in ((), (SELLING,))
        and (route.dealer_id in case.up and route.dealer_id not in inquiry.tried)
        and route.cost_rupiah <= inquiry.price_rupiah - margin
        and route.cost_rupiah <= (inquiry.max_price_rupiah or route.cost_rupiah)
        and (case.floats or {}).get(route.dealer_id, route.cost_rupiah) >= route.cost_rupiah
        and (limits.daily_quota is None or case.sold.get(route.route_id, 0) < limits.daily_quota)
        and inquiry.repeats.get(route.dealer_id, 0) < (limits.repeat_limit or 99)
    )


def contradictory(route):
    starts, ends = route.condition.valid_from, route.condition.valid_until
    return bool(starts and ends and starts >= ends)


class Plain:
    """One case looked at over exact fractions."""

    def __init__(self, case):
        self.case, self.policy = case, case.policy
        self.allowed = sorted(
            (row for row in case.rows if may_serve(row, case)),
            key=lambda row: (row.cost_rupiah, row.route_id),
        )
        present = {self.group(row) for row in self.allowed}
        self.counted = case.before.orders >= 50 and len(present) >= 2 and case.before.value_rupiah

    def group(self, row):
        return self.case.known[row.dealer_id].owner_group

    def share(self, row):
        before = self.case.before
        return Fraction(before.value_of(self.group(row)), before.value_rupiah or 1)

    def quality(self, row):
        return (self.case.quality or {}).get(row.dealer_id, NOTHING_KNOWN)

    def below_floor(self, row):
        probes = self.case.inquiry.order_id and self.policy.quality.probe_one_in == 1
        return self.quality(row) is CRITICAL and not probes

    def eligible(self):
        """Those that may serve instead of one another, the best first."""
        ranked = sorted(self.allowed, key=self.rank())
        return [row for row in ranked if not self.below_floor(row)] or ranked

    def rank(self):
        strategy = self.policy.strategies.get("pulsa", Strategy.CHEAPEST)
        if strategy is Strategy.WEIGHTED:
            return lambda row: (-self.deficit(row), row.cost_rupiah, row.route_id)
        if strategy is Strategy.CHEAPEST:
            return lambda row: (
                row.cost_rupiah,
                -(self.quality(row).success_basis_points // 100),
                -self.deficit(row),
                row.route_id,
            )
        close = max(map(self.earns, self.allowed), default=0) - self.policy.tolerance_rupiah
        return lambda row: (
            (0, 0, row.cost_rupiah, row.route_id)
            if self.earns(row) >= close
            else (1, -self.earns(row), row.cost_rupiah, row.route_id)
        )

    def earns(self, row):
        quality = self.quality(row)
        margin = self.case.inquiry.price_rupiah - row.cost_rupiah
        tied_up = row.cost_rupiah * Fraction(self.policy.tied_up_basis_points, 10_000)
        return (
            Fraction(quality.success_basis_points, 10_000) * margin
            - Fraction(quality.unknown_basis_points, 10_000) * tied_up
        )

    def deficit(self, row):
        """Target share less share, of the groups that passed the filter."""
        stated = {}
        for each in self.allowed:
            stated[self.group(each)] = stated.get(self.group(each), 0) + each.condition.weight
        if not any(stated.values()):
            stated = {group: self.policy.weights.get(group, 0) for group in stated}
        held = {group: self.case.before.value_of(group) for group in stated}
        weight, value, group = sum(stated.values()), sum(held.values()), self.group(row)
        if not weight or not value:
            return Fraction(0)
        return Fraction(stated[group], weight) - Fraction(held[group], value)

    def declared(self, row):
        inquiry = self.case.inquiry
        market = (inquiry.brand, inquiry.cluster, self.group(row))
        return market in self.policy.declared_monopolies

    def above_or_at_cap(self, row):
        cap = Fraction(self.policy.single_cap_basis_points, 10_000)
        return bool(self.counted) and self.share(row) >= cap

    def inside(self):
        eligible = self.eligible()
        most = eligible[0].cost_rupiah * (1 + Fraction(self.policy.premium_basis_points, 10_000))
        return [row for row in eligible if row.cost_rupiah <= most]

    def held_back_by_the_three_largest(self, row):
        """While the three largest stand at their cap, only the group ranked first and the smallest
        of the others inside the premium may serve."""
        inside = self.inside()
        groups = list(dict.fromkeys(map(self.group, inside)))
        if not self.counted or len(groups) < self.policy.top_three_groups:
            return False
        before = self.case.before
        largest = sorted((each.value_rupiah for each in before.groups.values()), reverse=True)[:3]
        cap = Fraction(self.policy.top_three_cap_basis_points, 10_000)
        if Fraction(sum(largest), before.value_rupiah) < cap:
            return False
        return self.group(row) not in (groups[0], min(groups[1:], key=before.value_of))

    def barred_by_itself(self, row):
        return self.declared(row) or self.above_or_at_cap(row)

    def barred(self, row):
        return self.barred_by_itself(row) or self.held_back_by_the_three_largest(row)

    def breaks_the_rule(self, row):
        """Above the cap, or declared: served it must be marked."""
        cap = Fraction(self.policy.single_cap_basis_points, 10_000)
        return self.declared(row) or (bool(self.counted) and self.share(row) > cap)


def expected(case):
    """(route id, forced), or a refusal."""
    plain = Plain(case)
    if not plain.allowed:
        return NoPick.NO_ROUTE
    inside = plain.inside()
    for good in (lambda row: not plain.barred(row), lambda row: not plain.barred_by_itself(row)):
        for row in inside:
            if good(row):
                return row.route_id, False
    lowest = min(inside, key=plain.share)
    forced = plain.breaks_the_rule(lowest)
    if forced and case.policy.when_all_barred == "reject":
        return NoPick.ALL_BARRED
    return lowest.route_id, forced


@settings(max_examples=1_200)
@given(cases)
def test_every_pick_is_the_one_that_the_plain_rule_makes(case):
    decision = decide(case)
    event(str(decision.overruled or decision.refusal or "picked"))
    for reason in set(decision.passed_over.values()):
        event(reason)
    found = decision.refusal or (decision.chosen.route_id, decision.forced_monopoly)
    assert found == expected(case)


# ------------------------------------------------------------------ what the rule promises


def chosen_of(case, decision):
    return next(row for row in case.rows if row.route_id == decision.chosen.route_id)


@settings(max_examples=300)
@given(cases)
def test_the_chosen_one_is_excluded_by_no_filter(case):
    decision = decide(case)
    if decision.chosen:
        assert may_serve(chosen_of(case, decision), case)
    else:
        # A refusal is no way around: someone who may serve is refused only where all are barred.
        serving = any(may_serve(row, case) for row in case.rows)
        assert serving is (decision.refusal is NoPick.ALL_BARRED)


@settings(max_examples=300)
@given(cases)
def test_under_cheapest_everyone_cheaper_is_barred_or_delivers_too_seldom(case):
    case = replace(case, policy=replace(case.policy, strategies={}))
    decision, plain = decide(case), Plain(case)
    if decision.chosen:
        for row in plain.allowed:
            if row.cost_rupiah < decision.cost_rupiah:
                assert plain.barred(row) or plain.below_floor(row)


@settings(max_examples=300)
@given(cases)
def test_a_pick_breaks_the_rule_if_and_only_if_it_is_marked_as_forced(case):
    decision, plain = decide(case), Plain(case)
    if decision.chosen:
        chosen = chosen_of(case, decision)
        assert decision.forced_monopoly is plain.breaks_the_rule(chosen)
        if decision.forced_monopoly:
            assert case.policy.when_all_barred == "allow"
            assert all(plain.barred_by_itself(row) for row in plain.inside())
        elif plain.barred(chosen):
            assert all(plain.barred(row) for row in plain.inside())


@settings(max_examples=300)
@given(cases)
def test_whoever_serves_is_inside_the_premium(case):
    decision = decide(case)
    if decision.chosen:
        assert chosen_of(case, decision) in Plain(case).inside()


@given(cases)
def test_each_candidate_has_one_reason_or_is_the_chosen_one(case):
    decision = decide(case)
    without_reason = [v.route_id for v in decision.verdicts if v.reason is None]
    assert without_reason == ([decision.chosen.route_id] if decision.chosen else [])
    assert (decision.chosen is None) is (decision.refusal is not None)


@settings(max_examples=300)
@given(cases, st.randoms(use_true_random=False))
def test_the_same_inputs_in_another_order_give_the_same_record(case, random):
    shuffled = random.sample(case.rows, len(case.rows))
    before = MarketTotals.of(dict(reversed(case.before.groups.items())))
    known = dict(reversed(case.known.items()))
    other = replace(case, rows=shuffled, before=before, known=known)
    assert json.dumps(as_record(decide(case))) == json.dumps(as_record(decide(other)))


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
