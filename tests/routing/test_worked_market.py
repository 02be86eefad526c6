"""The worked market: ten thousand picks against its page and against the best mix there is.

`python tests/routing/worked_market.py` writes the page's tables anew.
"""

import pytest
from worked_market import (
    COSTS_RUPIAH,
    ORDERS,
    PAGE,
    POLICIES,
    Story,
    optimum,
    optimum_cost,
    run_market,
    section,
    tables,
)

from routing.monopoly import WHOLE_BASIS_POINTS
from routing.table import Policy

CHEAPEST = min(COSTS_RUPIAH, key=COSTS_RUPIAH.__getitem__)
NEAR_BASIS_POINTS = 10


@pytest.fixture(scope="module", params=POLICIES)
def heading(request):
    return request.param


@pytest.fixture(scope="module")
def policy(heading: str) -> Policy:
    return POLICIES[heading]


@pytest.fixture(scope="module")
def story(policy: Policy) -> Story:
    return run_market(policy)


def figures_under(heading: str) -> dict[str, list[str]]:
    """The cells of the page's rows by their first one, of the tables under a heading."""
    part = section(PAGE.read_text()).partition(f"### {heading}\n")[2].partition("### ")[0]
    rows = [line.strip("| ").split(" | ") for line in part.splitlines() if line.startswith("| ")]
    return {first: [cell.rstrip(" %").replace(",", "") for cell in cells] for first, *cells in rows}


def test_the_page_shows_what_the_picks_came_to():
    assert section(PAGE.read_text()) == tables()


def test_the_figures_of_the_page_add_up(heading: str):
    page = figures_under(heading)
    paid = int(page["paid, in rupiah"][0])
    by_dealer = {dealer: page[dealer] for dealer in COSTS_RUPIAH}
    for dealer, (cost, orders, rupiah, share, _) in by_dealer.items():
        assert int(cost) == COSTS_RUPIAH[dealer]
        assert int(orders) * int(cost) == int(rupiah)
        assert int(rupiah) / paid * 100 == pytest.approx(float(share), abs=0.01)
    assert sum(int(cells[1]) for cells in by_dealer.values()) == ORDERS
    assert sum(int(cells[2]) for cells in by_dealer.values()) == paid
    assert sum(int(cells[4]) for cells in by_dealer.values()) == pytest.approx(ORDERS, abs=2)
    cheapest = int(page["everything from the cheapest, in rupiah"][0])
    assert paid - cheapest == int(page["what avoiding the monopoly cost, in rupiah"][0])
    hhi = sum((int(cells[2]) / paid * 100) ** 2 for cells in by_dealer.values())
    assert hhi == pytest.approx(int(page[f"{ORDERS:,}"][-1]), abs=1)


def test_the_cheapest_settles_at_its_cap_and_the_three_largest_at_theirs(
    story: Story, policy: Policy
):
    largest = sorted(map(story.totals.share_basis_points, COSTS_RUPIAH), reverse=True)
    share = story.totals.share_basis_points(CHEAPEST)
    assert share == pytest.approx(policy.single_cap_basis_points, abs=NEAR_BASIS_POINTS)
    if cap := top_three_cap(policy):
        assert sum(largest[:3]) == pytest.approx(cap, abs=NEAR_BASIS_POINTS)
    assert largest[0] <= policy.single_cap_basis_points + NEAR_BASIS_POINTS
    assert story.forced == 0


def test_the_picks_cost_within_one_percent_of_the_best_mix(story: Story, policy: Policy):
    assert story.cost_rupiah == pytest.approx(optimum_cost(policy), rel=0.01)
    assert story.cost_rupiah == ORDERS * COSTS_RUPIAH[CHEAPEST] + story.monopoly_cost_rupiah


def test_the_best_mix_keeps_to_the_caps(policy: Policy):
    mix = optimum(policy)
    values = sorted((COSTS_RUPIAH[dealer] * orders for dealer, orders in mix.items()), reverse=True)
    scaled = [value * WHOLE_BASIS_POINTS / sum(values) for value in values]
    assert sum(mix.values()) == pytest.approx(ORDERS)
    assert scaled[0] <= policy.single_cap_basis_points + 0.01
    assert sum(scaled[:3]) <= (top_three_cap(policy) or WHOLE_BASIS_POINTS) + 0.01


def top_three_cap(policy: Policy) -> int | None:
    """The cap on the three largest groups, where enough groups are inside the premium."""
    return (
        policy.top_three_cap_basis_points if len(COSTS_RUPIAH) >= policy.top_three_groups else None
    )
