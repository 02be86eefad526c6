"""The sentence that a decision is told in: one for each way that a pick can go."""

from dataclasses import replace

import pytest
from routing_examples import INQUIRY, NOON, live, market, offer, pick, table

from routing.choose import choose
from routing.monopoly import NO_PURCHASES, GroupTotal, MarketTotals
from routing.quality import NOTHING_KNOWN, Level, Quality
from routing.reasons import RANKED, Reason
from routing.table import Dealer, Policy, QualityRules, Strategy
from routing.verdict import verdict

JATIM = replace(INQUIRY, cluster="jatim")
THREE = [offer("a", 10_200), offer("b", 10_250), offer("c", 10_900)]
CONCENTRATED = market(A=531, B=300, C=169)


def told(routes, totals=NO_PURCHASES, policy=None, inquiry=JATIM, **state):
    return verdict(pick(table(routes, policy), totals, inquiry, **state))


def test_what_avoiding_a_monopoly_costs():
    assert told(THREE, CONCENTRATED) == (
        "b serves for Rp 10,250: a (Rp 10,200) would come first and is barred, since owner group A "
        "holds 53.1 % of telkomsel/jatim (cap 50 %); avoiding that costs Rp 50."
    )


def test_several_barred_groups_are_each_told_once():
    routes = [offer("a", 10_200), offer("d", 10_200), offer("b", 10_210), offer("c", 10_220)]
    known = [Dealer("a", "A"), Dealer("d", "A"), Dealer("b", "B"), Dealer("c", "C")]
    declared = Policy(declared_monopolies=frozenset({("telkomsel", "jatim", "B")}))
    snapshot = table(routes, declared, known)
    assert verdict(pick(snapshot, CONCENTRATED, JATIM)) == (
        "c serves for Rp 10,220: a (Rp 10,200), d (Rp 10,200) and b (Rp 10,210) would come first "
        "and are barred, since owner group A holds 53.1 % of telkomsel/jatim (cap 50 %) and owner "
        "group B is declared a monopoly in telkomsel/jatim; avoiding that costs Rp 20."
    )


def test_avoiding_may_cost_nothing():
    routes = [offer("a", 10_200), offer("b", 10_200)]
    assert told(routes, CONCENTRATED).endswith("; avoiding that costs nothing.")


def test_the_first_one_serves_with_its_share():
    assert told(THREE, market(A=30, B=30, C=40)) == (
        "a serves for Rp 10,200: the cheapest, and its owner group A holds 30 % of telkomsel/jatim "
        "(cap 50 %)."
    )


def test_a_share_just_below_the_cap_is_not_told_as_the_cap():
    assert "A holds 49.9 % of" in told(THREE, market(A=49_999, B=50_001, C=0))


def test_the_rule_is_idle_below_the_minimum_sample():
    before = MarketTotals.of({"A": GroupTotal(120_000, 12)})
    assert told(THREE, before, inquiry=INQUIRY) == (
        "a serves for Rp 10,200: the cheapest; shares bar nobody yet, since telkomsel without a "
        "cluster has 12 of the 50 orders that they count from."
    )


def test_the_rule_is_idle_where_one_group_alone_can_serve():
    assert told(THREE[:1], CONCENTRATED) == (
        "a serves for Rp 10,200: nobody else can serve; shares bar nobody here, since fewer than 2 "
        "owner groups can serve."
    )


def test_a_forced_monopoly_says_that_it_is_one():
    routes = [offer("a", 10_200), offer("c", 10_900)]
    assert told(routes, CONCENTRATED) == (
        "a serves for Rp 10,200, a forced monopoly: everyone inside the premium (2 %, up to Rp "
        "10,404) is barred, and its owner group A, which holds 53.1 % of telkomsel/jatim (cap "
        "50 %), has the least."
    )


def test_a_forced_declared_monopoly():
    declared = Policy(declared_monopolies=frozenset({("telkomsel", "jatim", "A")}))
    assert told(THREE[:1], policy=declared) == (
        "a serves for Rp 10,200, a forced monopoly: everyone inside the premium (2 %, up to Rp "
        "10,404) is barred, and its owner group A, which is declared a monopoly in "
        "telkomsel/jatim, has the least."
    )


def test_all_barred_and_refused():
    routes = [offer("a", 10_200), offer("c", 10_900)]
    assert told(routes, CONCENTRATED, Policy(when_all_barred="reject")) == (
        "Refused: everyone inside the premium (2 %, up to Rp 10,404) is barred, since owner group "
        "A holds 53.1 % of telkomsel/jatim (cap 50 %), and the policy rejects such orders."
    )


def test_a_tie_at_the_cap_is_no_monopoly():
    assert told(THREE[:2], market(A=50, B=50)) == (
        "a serves for Rp 10,200: everyone inside the premium (2 %, up to Rp 10,404) is barred, and "
        "its owner group A stands exactly at the cap (50 %) in telkomsel/jatim, not above it."
    )


def test_the_three_largest_are_told_together():
    routes = [offer(name, 10_200 + place) for place, name in enumerate("abcde")]
    totals = market(A=500, B=200, C=150, D=100, E=50)
    assert told(routes, totals) == (
        "e serves for Rp 10,204: a (Rp 10,200), b (Rp 10,201), c (Rp 10,202) and d (Rp 10,203) "
        "would come first and are barred, since owner group A holds 50 % of telkomsel/jatim (cap "
        "50 %) and the three largest owner groups together are at their cap (75 %) there; avoiding "
        "that costs Rp 4."
    )


def test_the_cap_on_the_three_largest_gives_way_first():
    routes = [offer(name, 10_200 + place) for place, name in enumerate("abcde")]
    declared = frozenset({("telkomsel", "jatim", "E")})
    totals = market(A=500, B=200, C=150, D=100, E=50)
    assert told(routes, totals, Policy(declared_monopolies=declared)) == (
        "b serves for Rp 10,201: everyone inside the premium (2 %, up to Rp 10,404) is barred, so "
        "the cap on the three largest owner groups (75 %) gives way."
    )


def test_reasons_of_a_refusal_are_counted():
    routes = [offer("a", 11_001), offer("b", 11_002), offer("c", 10_000, enabled=False)]
    assert told(routes) == (
        "Refused: none of the 3 offers can serve: 2 too dear for what the reseller pays "
        "(loss-guard) and 1 switched off (disabled)."
    )
    assert told(routes[:1]).startswith("Refused: the only offer cannot serve: 1 too dear")


def test_a_product_without_an_offer():
    assert told([]) == "Refused: the table offers nobody for S10 in telkomsel/jatim."


@pytest.mark.parametrize(
    ("strategy", "why"),
    [
        (Strategy.EXPECTED_VALUE, "the best by expected value"),
        (Strategy.WEIGHTED, "the furthest behind its target share"),
    ],
)
def test_other_strategies_have_other_firsts(strategy, why):
    assert f": {why}; shares" in told(THREE, policy=Policy(strategies={"pulsa": strategy}))


def test_a_saving_is_told_as_one():
    policy = Policy(strategies={"pulsa": Strategy.WEIGHTED}, weights={"B": 1})
    totals = market(A=20, B=60, C=20)
    routes = [offer("a", 10_100), offer("b", 10_200)]
    assert told(routes, totals, policy).endswith("avoiding that saves Rp 100.")


def test_a_cheaper_dealer_below_the_floor_is_accounted_for():
    quality = {"pulsa": [Quality(5_000, 0, 50, Level.CRITICAL), NOTHING_KNOWN, NOTHING_KNOWN]}
    snapshot = table(THREE, Policy(quality=QualityRules(floor_basis_points=7_000)))
    decision = choose(snapshot, JATIM, live(snapshot, quality=quality), NO_PURCHASES, NOON)
    assert "the cheapest of those that deliver often enough (at least 70 %)" in verdict(decision)


@pytest.mark.parametrize("reason", sorted(set(Reason) - RANKED - {Reason.GONE}))
def test_every_reason_of_the_filter_has_its_words(reason):
    refused = pick(table([offer("a", 11_001)]))
    refused.excluded = [reason]
    assert f"({reason})" in verdict(refused)
