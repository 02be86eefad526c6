"""A decision in one sentence: who serves for how much, and what stood in the way of others.

A pure function of the decision, for people: amounts as `Rp 10,250`, shares rounded down.
"""

from collections import Counter
from collections.abc import Iterable

from routing.choose import Decision, Verdict, shares_count
from routing.monopoly import WHOLE_BASIS_POINTS
from routing.reasons import NoPick, Reason
from routing.table import Strategy

_BARRED = (Reason.DECLARED_MONOPOLY, Reason.MONOPOLY_BARRED, Reason.TOP_THREE_BARRED)
_EXCLUDED = {
    Reason.DISABLED: "switched off",
    Reason.DEALER_DISABLED: "of a dealer that is switched off",
    Reason.DEALER_UNUSABLE: "of a dealer that cannot be called as it is configured",
    Reason.DRAINED: "of a dealer that is drained",
    Reason.MUTED: "of a muted dealer",
    Reason.NOT_YET_VALID: "not valid yet",
    Reason.EXPIRED: "not valid any more",
    Reason.OUTSIDE_HOURS: "outside the selling hours",
    Reason.DEALER_DOWN: "of a dealer that is down",
    Reason.TRIED: "tried before",
    Reason.LOSS_GUARD: "too dear for what the reseller pays",
    Reason.ABOVE_MAX_PRICE: "above the order's own limit",
    Reason.LOW_FLOAT: "of a dealer where our money does not suffice",
    Reason.PRICE_RISEN: "whose dealer charged more than the cost that we know",
    Reason.QUOTA_USED: "with today's quota used up",
    Reason.REPEATED: "not to be repeated for this number today",
    Reason.CLUSTER_REFUSED: "of a dealer that has been refusing this cluster",
}
_FIRST = {
    Strategy.CHEAPEST: "the cheapest",
    Strategy.EXPECTED_VALUE: "the best by expected value",
    Strategy.WEIGHTED: "the furthest behind its target share",
}


def verdict(decision: Decision) -> str:
    """The decision in one sentence."""
    if decision.refusal is NoPick.NO_ROUTE:
        return _nobody_can(decision)
    if decision.refusal is NoPick.ALL_BARRED:
        return (
            f"Refused: everyone inside the premium{_premium(decision)} is barred, since "
            f"{_bars(decision)}, and the policy rejects such orders."
        )
    served = _served(decision)
    if decision.forced_monopoly:
        return f"{served}, a forced monopoly: {_least_bad(decision)}."
    if decision.overruled is not None:
        return f"{served}: {_overruled(decision)}."
    if barred := _passed_over(decision):
        return (
            f"{served}: {_names(barred)} would come first and {_are(barred)} barred, since "
            f"{_bars(decision)}; {_price_of_avoiding(decision)}."
        )
    return f"{served}: {_first(decision)}{_whether_shares_count(decision)}."


# ------------------------------------------------------------------ refusals


def _nobody_can(decision: Decision) -> str:
    counted = Counter(reason for reason in decision.excluded if reason is not None)
    if not counted:
        return (
            f"Refused: the table offers nobody for {decision.inquiry.sku} in {_market(decision)}."
        )
    told = _listed(f"{count} {_EXCLUDED[why]} ({why})" for why, count in counted.most_common())
    offers = counted.total()
    if offers == 1:
        return f"Refused: the only offer cannot serve: {told}."
    return f"Refused: none of the {offers} offers can serve: {told}."


# ------------------------------------------------------------------ all barred


def _least_bad(decision: Decision) -> str:
    all_barred = f"everyone inside the premium{_premium(decision)} is barred"
    if decision.overruled is Reason.DECLARED_MONOPOLY:
        held = f"is declared a monopoly in {_market(decision)}"
    else:
        held = f"holds {_held(decision, decision.owner_group or '')}"
    return f"{all_barred}, and its owner group {decision.owner_group}, which {held}, has the least"


def _overruled(decision: Decision) -> str:
    """Barred as everyone inside the premium, and yet not forced."""
    all_barred = f"everyone inside the premium{_premium(decision)} is barred"
    policy = decision.snapshot.policy
    if decision.overruled is Reason.TOP_THREE_BARRED:
        cap = _percent(policy.top_three_cap_basis_points)
        return f"{all_barred}, so the cap on the three largest owner groups ({cap}) gives way"
    cap = _percent(policy.single_cap_basis_points)
    return (
        f"{all_barred}, and its owner group {decision.owner_group} stands exactly at the cap "
        f"({cap}) in {_market(decision)}, not above it"
    )


# ------------------------------------------------------------------ passed over


def _passed_over(decision: Decision) -> list[Verdict]:
    """The barred, the best-ranked first."""
    barred = [each for each in decision.verdicts if each.reason in _BARRED]
    return sorted(barred, key=lambda each: each.rank or 0)


def _bars(decision: Decision) -> str:
    """Why the barred are, each owner group once."""
    by_group = {each.owner_group: each.reason for each in _passed_over(decision)}
    market, policy = _market(decision), decision.snapshot.policy
    told = [
        f"owner group {group} "
        + (
            f"is declared a monopoly in {market}"
            if reason is Reason.DECLARED_MONOPOLY
            else f"holds {_held(decision, group)}"
        )
        for group, reason in by_group.items()
        if reason is not Reason.TOP_THREE_BARRED
    ]
    if Reason.TOP_THREE_BARRED in by_group.values():
        cap = _percent(policy.top_three_cap_basis_points)
        told.append(f"the three largest owner groups together are at their cap ({cap}) there")
    return _listed(told)


def _held(decision: Decision, group: str) -> str:
    share = _percent(decision.totals.share_basis_points(group) // 10 * 10)
    cap = _percent(decision.snapshot.policy.single_cap_basis_points)
    return f"{share} of {_market(decision)} (cap {cap})"


def _price_of_avoiding(decision: Decision) -> str:
    cost_rupiah = decision.monopoly_cost_rupiah or 0
    if cost_rupiah < 0:
        return f"avoiding that saves {_rupiah(-cost_rupiah)}"
    return f"avoiding that costs {_rupiah(cost_rupiah) if cost_rupiah else 'nothing'}"


# ------------------------------------------------------------------ ranked first


def _first(decision: Decision) -> str:
    """Why the picked one is ranked first."""
    if len(decision.ranking) == 1:
        return "nobody else can serve"
    policy, inquiry = decision.snapshot.policy, decision.inquiry
    why = _FIRST[policy.strategies.get(inquiry.kind, Strategy.CHEAPEST)]
    if any(each.reason is Reason.BELOW_QUALITY for each in decision.verdicts):
        floor = _percent(policy.quality.floor_basis_points)
        return f"{why} of those that deliver often enough (at least {floor})"
    return why


def _whether_shares_count(decision: Decision) -> str:
    """How the picked one's share stands, or why shares bar nobody here."""
    policy, totals, offer = decision.snapshot.policy, decision.totals, decision.offer
    if offer is not None and shares_count(decision.snapshot, offer, decision.ranking, totals):
        group = decision.owner_group or ""
        return f", and its owner group {group} holds {_held(decision, group)}"
    if totals.orders < policy.minimum_sample_orders or totals.value_rupiah <= 0:
        return (
            f"; shares bar nobody yet, since {_market(decision)} has {totals.orders:,} of the "
            f"{policy.minimum_sample_orders:,} orders that they count from"
        )
    return (
        f"; shares bar nobody here, since fewer than {policy.minimum_groups} owner groups can serve"
    )


# ------------------------------------------------------------------ words


def _served(decision: Decision) -> str:
    chosen = decision.chosen
    dealer = "" if chosen is None else chosen.dealer_id
    return f"{dealer} serves for {_rupiah(decision.cost_rupiah or 0)}"


def _premium(decision: Decision) -> str:
    """How far the premium reaches, in brackets."""
    first, premium = decision.first_cost_rupiah or 0, decision.snapshot.policy.premium_basis_points
    most = first * (WHOLE_BASIS_POINTS + premium) // WHOLE_BASIS_POINTS
    return f" ({_percent(premium)}, up to {_rupiah(most)})"


def _market(decision: Decision) -> str:
    inquiry = decision.inquiry
    if inquiry.cluster is None:
        return f"{inquiry.brand} without a cluster"
    return f"{inquiry.brand}/{inquiry.cluster}"


def _names(barred: Iterable[Verdict]) -> str:
    return _listed(f"{each.dealer_id} ({_rupiah(each.cost_rupiah)})" for each in barred)


def _are(barred: list[Verdict]) -> str:
    return "is" if len(barred) == 1 else "are"


def _listed(parts: Iterable[str]) -> str:
    *firsts, last = parts
    return f"{', '.join(firsts)} and {last}" if firsts else last


def _rupiah(amount: int) -> str:
    return f"Rp {amount:,}"


def _percent(basis_points: int) -> str:
    return f"{basis_points / 100:g} %"
