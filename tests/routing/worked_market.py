"""The market of docs/worked-market.md: the orders picked one by one, and what they came to.

python tests/routing/worked_market.py     # writes the page's tables anew
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import combinations
from pathlib import Path

import numpy as np
from scipy.optimize import linprog

from routing.choose import Inquiry, Live, choose
from routing.monopoly import (
    NO_PURCHASES,
    WHOLE_BASIS_POINTS,
    Market,
    MarketTotals,
    Shares,
    herfindahl_hirschman_index,
)
from routing.snapshot import compile_table
from routing.table import Dealer, Policy, Product, Route

PAGE = Path(__file__).parents[2] / "docs" / "worked-market.md"
BEGIN, END = "<!-- figures: begin -->", "<!-- figures: end -->"

ORDERS = 10_000
LOOKS = (50, 100, 1_000, ORDERS)
"""After how many orders the page shows the shares."""
COSTS_RUPIAH = {
    "andalas": 10_000,
    "borneo": 10_040,
    "celebes": 10_080,
    "dewata": 10_120,
    "enggano": 10_160,
}
"""Each dealer belongs to an owner group of its own, with the same name."""

POLICIES = {
    "The default policy": Policy(),
    "The cap on single groups alone": Policy(top_three_groups=len(COSTS_RUPIAH) + 1),
}
"""By the heading on the page."""

_PRODUCT = Product("S10", "Telkomsel 10.000", "telkomsel", "pulsa", 10_000)
_MARKET = Market(_PRODUCT.brand, None)
_INQUIRY = Inquiry(_PRODUCT.sku, _PRODUCT.brand, None, price_rupiah=11_000)
_START = datetime(2025, 6, 2, tzinfo=UTC)
_BETWEEN_ORDERS = timedelta(seconds=30)
"""All orders lie within the seven days that shares are counted over."""


@dataclass(frozen=True, slots=True)
class Story:
    """What became of the orders."""

    orders: Mapping[str, int]
    """By dealer."""
    totals: MarketTotals
    """The market after the last order."""
    looks: Mapping[int, MarketTotals]
    """The market after so many orders."""
    cost_rupiah: int
    monopoly_cost_rupiah: int
    """The sum of what the decisions say that avoiding the monopoly cost."""
    forced: int

    @property
    def hhi(self) -> int:
        """Concentration at the end."""
        return herfindahl_hirschman_index(self.totals)


def run_market(policy: Policy) -> Story:
    """Pick a dealer for each order, counting its purchase before the next, as a process does."""
    routes = [
        Route(f"r-{dealer}", _PRODUCT.sku, None, dealer, "TS10", cost)
        for dealer, cost in COSTS_RUPIAH.items()
    ]
    dealers = [Dealer(name, name) for name in COSTS_RUPIAH]
    snapshot = compile_table(dealers, [_PRODUCT], routes, policy)
    shares = Shares(policy.window_days)
    live = Live(snapshot.standing(_always_up, _START))
    orders, looks = dict.fromkeys(COSTS_RUPIAH, 0), dict[int, MarketTotals]()
    totals, monopoly_cost, forced = NO_PURCHASES, 0, 0
    for number in range(1, ORDERS + 1):
        now = _START + number * _BETWEEN_ORDERS
        decision = choose(snapshot, _INQUIRY, live, shares.totals(_MARKET, now), now)
        assert decision.chosen is not None
        dealer = decision.chosen.dealer_id
        orders[dealer] += 1
        monopoly_cost += decision.monopoly_cost_rupiah or 0
        forced += decision.forced_monopoly
        shares.add(_MARKET, dealer, COSTS_RUPIAH[dealer], 1, now)
        totals = shares.totals(_MARKET, now)
        if number in LOOKS:
            looks[number] = totals
    return Story(orders, totals, looks, totals.value_rupiah, monopoly_cost, forced)


def _always_up(_dealer_id: str) -> bool:
    return True


# ------------------------------------------------------------------ the optimum


def optimum(policy: Policy) -> dict[str, float]:
    """Orders by dealer that cost the least under the policy's caps and premium.

    A linear programme over fractions of orders: it knows the whole window in advance, and needs
    no sample before its caps hold.
    """
    costs = np.array(list(COSTS_RUPIAH.values()), dtype=float)
    limits = [
        _at_most(costs, [group], policy.single_cap_basis_points) for group in range(len(costs))
    ]
    if _top_three_counts(costs, policy):
        cap = policy.top_three_cap_basis_points
        limits += [_at_most(costs, three, cap) for three in combinations(range(len(costs)), 3)]
    inside = costs * WHOLE_BASIS_POINTS <= _premium_limit(costs, policy)
    solved = linprog(
        costs,
        A_ub=np.array(limits),
        b_ub=np.zeros(len(limits)),
        A_eq=np.ones((1, len(costs))),
        b_eq=[ORDERS],
        bounds=[(0, ORDERS if each else 0) for each in inside],
    )
    assert solved.success, solved.message
    return dict(zip(COSTS_RUPIAH, (float(each) for each in solved.x), strict=True))


def optimum_cost(policy: Policy) -> float:
    """Rupiah for all orders, spread in the best way."""
    return sum(COSTS_RUPIAH[dealer] * orders for dealer, orders in optimum(policy).items())


def _at_most(costs: np.ndarray, groups: Sequence[int], cap_basis_points: int) -> np.ndarray:
    """`these groups' value - cap * everybody's value <= 0`, as the row of its factors."""
    row = -cap_basis_points / WHOLE_BASIS_POINTS * costs
    row[list(groups)] += costs[list(groups)]
    return row


def _top_three_counts(costs: np.ndarray, policy: Policy) -> bool:
    """Whether enough groups are inside the premium for the rule on the three largest."""
    inside = int(np.sum(costs * WHOLE_BASIS_POINTS <= _premium_limit(costs, policy)))
    return inside >= policy.top_three_groups


def _premium_limit(costs: np.ndarray, policy: Policy) -> float:
    """The highest cost inside the premium, scaled by 10,000."""
    return float(costs.min()) * (WHOLE_BASIS_POINTS + policy.premium_basis_points)


# ------------------------------------------------------------------ the page


def tables() -> str:
    """The page's tables, a section a policy."""
    lines: list[str] = []
    for heading, policy in POLICIES.items():
        story = run_market(policy)
        lines += [f"### {heading}", ""]
        for table in (_dealer_table, _look_table, _sum_table):
            lines += [*table(story, policy), ""]
    return "\n".join(lines)


def section(page: str) -> str:
    """What stands between the page's markers. Raises ValueError where they are missing."""
    _, begin, rest = page.partition(f"{BEGIN}\n")
    figures, end, _ = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the page lacks its markers {BEGIN} and {END}")
    return figures


def _dealer_table(story: Story, policy: Policy) -> list[str]:
    best = optimum(policy)
    lines = [
        "| dealer | cost | orders | rupiah | share | orders in the cheapest mix |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {dealer} | {cost:,} | {story.orders[dealer]:,} | {story.totals.value_of(dealer):,} "
        f"| {_share(story.totals, dealer)} | {best[dealer]:,.0f} |"
        for dealer, cost in COSTS_RUPIAH.items()
    ]
    return lines


def _look_table(story: Story, _policy: Policy) -> list[str]:
    lines = [
        "| after orders | " + " | ".join(COSTS_RUPIAH) + " | HHI |",
        "|---:|" + "---:|" * (len(COSTS_RUPIAH) + 1),
    ]
    for number, totals in story.looks.items():
        cells = " | ".join(_share(totals, dealer) for dealer in COSTS_RUPIAH)
        lines.append(f"| {number:,} | {cells} | {herfindahl_hirschman_index(totals):,} |")
    return lines


def _sum_table(story: Story, policy: Policy) -> list[str]:
    cheapest, best = ORDERS * min(COSTS_RUPIAH.values()), optimum_cost(policy)
    above_best = (story.cost_rupiah / best - 1) * 100
    return [
        "| in all | |",
        "|---|---:|",
        f"| paid, in rupiah | {story.cost_rupiah:,} |",
        f"| everything from the cheapest, in rupiah | {cheapest:,} |",
        f"| what avoiding the monopoly cost, in rupiah | {story.monopoly_cost_rupiah:,} |",
        f"| the same in percent of what was paid | "
        f"{story.monopoly_cost_rupiah / story.cost_rupiah * 100:.3f} |",
        f"| an order, in rupiah | {story.monopoly_cost_rupiah / ORDERS:.1f} |",
        f"| the cheapest mix under the same rules, in rupiah | {best:,.0f} |",
        f"| paid above that mix, in percent | {above_best:+.3f} |",
        f"| forced picks | {story.forced:,} |",
    ]


def _share(totals: MarketTotals, dealer: str) -> str:
    return f"{totals.share_basis_points(dealer) / 100:.2f} %"


def main() -> None:
    """Put the tables between the page's markers."""
    page = PAGE.read_text()
    PAGE.write_text(page.replace(section(page), tables()))


if __name__ == "__main__":
    main()
