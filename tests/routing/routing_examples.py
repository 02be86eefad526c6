"""Small tables to choose from: every test states only what it is about."""

from collections.abc import Iterable
from datetime import UTC, datetime

from routing.choose import Decision, Inquiry, choose
from routing.monopoly import NO_PURCHASES, GroupTotal, MarketTotals
from routing.reasons import Reason
from routing.table import Dealer, Policy, Product, Route, Snapshot, compile_table

NOON = datetime(2025, 6, 2, 5, 0, tzinfo=UTC)
"""12:00 in WIB."""
PRODUCT = Product("S10", "Telkomsel 10.000", "telkomsel", "pulsa", 10_000)
INQUIRY = Inquiry("S10", "telkomsel", None, price_rupiah=11_000)


def all_up(_dealer_id: str) -> bool:
    return True


def offer(dealer_id: str, cost_rupiah: int | None, **changes: object) -> Route:
    values: dict[str, object] = {
        "route_id": f"r-{dealer_id}",
        "sku": PRODUCT.sku,
        "cluster": None,
        "dealer_id": dealer_id,
        "dealer_sku": "TS10",
        "cost_rupiah": cost_rupiah,
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


def market(**values_rupiah: int) -> MarketTotals:
    """Totals with far more orders than the minimum sample."""
    return MarketTotals.of({group: GroupTotal(v, 100) for group, v in values_rupiah.items()})


def pick(
    snapshot: Snapshot,
    totals: MarketTotals = NO_PURCHASES,
    inquiry: Inquiry = INQUIRY,
    now: datetime = NOON,
) -> Decision:
    return choose(snapshot, inquiry, all_up, totals, now)


def reasons(decision: Decision) -> dict[str, Reason | None]:
    return {verdict.dealer_id: verdict.reason for verdict in decision.verdicts}
