"""Small tables to choose from: every test states only what it is about."""

from collections.abc import Callable, Iterable
from datetime import UTC, datetime

from routing.choose import Decision, Inquiry, Live, choose, route_of
from routing.monopoly import NO_PURCHASES, GroupTotal, MarketTotals
from routing.reasons import Reason
from routing.snapshot import Snapshot, compile_table
from routing.table import Condition, Dealer, Policy, Product, Route

NOON = datetime(2025, 6, 2, 5, 0, tzinfo=UTC)
"""12:00 in WIB."""
PRODUCT = Product("S10", "Telkomsel 10.000", "telkomsel", "pulsa", 10_000)
INQUIRY = Inquiry("S10", "telkomsel", None, price_rupiah=11_000)


def all_up(_dealer_id: str) -> bool:
    return True


def offer(dealer_id: str, cost_rupiah: int | None, **changes: object) -> Route:
    """A route; what belongs to its condition is stated by the same names."""
    stated = {name: changes.pop(name) for name in Condition._fields if name in changes}
    values: dict[str, object] = {
        "route_id": f"r-{dealer_id}",
        "sku": PRODUCT.sku,
        "cluster": None,
        "dealer_id": dealer_id,
        "dealer_sku": "TS10",
        "cost_rupiah": cost_rupiah,
        "condition": Condition(**stated),  # type: ignore[arg-type]
    }
    return Route(**(values | changes))  # type: ignore[arg-type]


def table(
    routes: Iterable[Route], policy: Policy | None = None, dealers: Iterable[Dealer] | None = None
) -> Snapshot:
    """Compile the routes; dealer `a` belongs to owner group `A`, and so on."""
    routes = list(routes)
    names = sorted({route.dealer_id for route in routes})
    known = [Dealer(name, name.upper()) for name in names] if dealers is None else dealers
    return compile_table(known, [PRODUCT], routes, policy or Policy())


def candidates(snapshot: Snapshot, sku: str, cluster: str | None) -> list[Route]:
    """What is offered for a product, by cost."""
    found = snapshot.image.offer(sku, cluster)
    if found is None:
        return []
    return [route_of(snapshot, sku, cluster, found, each) for each in range(len(found.costs))]


def market(**values_rupiah: int) -> MarketTotals:
    """Totals with far more orders than the minimum sample."""
    return MarketTotals.of({group: GroupTotal(v, 100) for group, v in values_rupiah.items()})


def live(
    snapshot: Snapshot,
    dealer_up: Callable[[str], bool] = all_up,
    now: datetime = NOON,
    **changes: object,
) -> Live:
    return Live(snapshot.standing(dealer_up, now), **changes)  # type: ignore[arg-type]


def pick(
    snapshot: Snapshot,
    totals: MarketTotals = NO_PURCHASES,
    inquiry: Inquiry = INQUIRY,
    now: datetime = NOON,
    dealer_up: Callable[[str], bool] = all_up,
    **changes: object,
) -> Decision:
    state = live(snapshot, dealer_up, now, **changes)
    return choose(snapshot, inquiry, state, totals, now)


def reasons(decision: Decision) -> dict[str, Reason | None]:
    return {verdict.dealer_id: verdict.reason for verdict in decision.verdicts}
