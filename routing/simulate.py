"""What a table would have made of past orders, chosen by the code that routes orders.

Each table is asked for every order in turn and counts what it chooses in shares of its own. It
chooses once an order and what it chooses delivers: how its dealers would have failed, nobody knows.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import date, datetime
from typing import NamedTuple

from routing.choose import Decision, Inquiry, Live, choose
from routing.monopoly import GroupTotal, Market, MarketTotals, ShareRow, Shares
from routing.reasons import NoPick, Reason
from routing.snapshot import Snapshot
from routing.table import WIB


class PastOrder(NamedTuple):
    """An order that was bought: what was asked, when, from whom and for how many rupiah."""

    inquiry: Inquiry
    at: datetime
    market: Market
    """The inquiry's, made once: every table counts it there."""
    dealer_id: str
    cost_rupiah: int


class _Sum:
    """Purchases of one dealer in one market."""

    __slots__ = ("cost_rupiah", "orders", "price_rupiah")

    def __init__(self) -> None:
        self.orders = self.cost_rupiah = self.price_rupiah = 0


class Purchases:
    """What was bought of whom in which market. Holds sums, so it does not grow with the orders."""

    __slots__ = ("_groups", "_sums")

    def __init__(self, groups: Mapping[str, str]) -> None:
        self._groups = groups
        """Owner groups by dealer; a dealer that is not named stands for itself."""
        self._sums: dict[tuple[Market, str], _Sum] = {}

    def count(self, market: Market, dealer_id: str, cost_rupiah: int, price_rupiah: int) -> None:
        """Count one order."""
        held = self._sums.get((market, dealer_id))
        if held is None:
            held = self._sums[market, dealer_id] = _Sum()
        held.orders += 1
        held.cost_rupiah += cost_rupiah
        held.price_rupiah += price_rupiah

    @property
    def orders(self) -> int:
        """How many orders were bought."""
        return sum(held.orders for held in self._sums.values())

    @property
    def cost_rupiah(self) -> int:
        """What dealers were paid."""
        return sum(held.cost_rupiah for held in self._sums.values())

    @property
    def price_rupiah(self) -> int:
        """What resellers paid."""
        return sum(held.price_rupiah for held in self._sums.values())

    def group_of(self, dealer_id: str) -> str:
        """A dealer's owner group."""
        return self._groups.get(dealer_id, dealer_id)

    def dealers(self) -> MarketTotals:
        """All markets together, by dealer instead of by owner group."""
        found: dict[str, GroupTotal] = {}
        for (_, dealer_id), held in self._sums.items():
            _add(found, dealer_id, held)
        return MarketTotals.of(found)

    def markets(self) -> dict[Market, MarketTotals]:
        """Each market by owner group."""
        found: dict[Market, dict[str, GroupTotal]] = {}
        for (market, dealer_id), held in self._sums.items():
            _add(found.setdefault(market, {}), self.group_of(dealer_id), held)
        return {market: MarketTotals.of(groups) for market, groups in found.items()}


def _add(totals: dict[str, GroupTotal], name: str, held: _Sum) -> None:
    before = totals.get(name, GroupTotal())
    totals[name] = GroupTotal(before.value_rupiah + held.cost_rupiah, before.orders + held.orders)


class Refused:
    """Orders that a table finds no dealer for."""

    __slots__ = ("orders", "reasons", "refusals", "skus", "without_offer")

    def __init__(self) -> None:
        self.orders = 0
        self.without_offer = 0
        """Those of products that the table does not offer there at all."""
        self.refusals: Counter[NoPick] = Counter()
        self.reasons: Counter[Reason] = Counter()
        """Orders by why their candidates could not serve: one order may count under several."""
        self.skus: Counter[str] = Counter()

    def count(self, decision: Decision, refusal: NoPick) -> None:
        """Count a refusal."""
        self.orders += 1
        self.refusals[refusal] += 1
        self.skus[decision.inquiry.sku] += 1
        if decision.offer is None:
            self.without_offer += 1
        self.reasons.update({each for each in decision.reasons if each is not None})


class Replay:
    """One table, asked for every order. Orders come in the order of their time.

    Dealers stand as they do at `now`, a moment without a past: nobody knows which breakers were
    open then, nor what was left on our accounts. Quotas count from the first order on.
    """

    def __init__(self, snapshot: Snapshot, before: Iterable[ShareRow], now: datetime) -> None:
        self.snapshot = snapshot
        groups = {dealer.dealer_id: dealer.owner_group for dealer in snapshot.dealers.values()}
        self.purchases = Purchases(groups)
        self.refused = Refused()
        self.forced = 0
        self.monopoly_cost_rupiah = 0
        """What passing over barred groups cost."""
        self.moved = 0
        """Orders that go to another dealer than in truth."""
        self.true_cost_rupiah = 0
        """What the orders that it serves cost in truth."""
        self._shares = Shares(snapshot.policy.window_days)
        self._shares.load(before)
        self._sold: Counter[str] = Counter()
        self._day = date.min
        standing = snapshot.standing(_everybody, now)
        self._live = Live(standing, sold_today=self._sold)

    def lead_in(self, order: PastOrder) -> None:
        """Count an order from before the first one that is replayed, as it was bought."""
        group = self.purchases.group_of(order.dealer_id)
        self._shares.add(order.market, group, order.cost_rupiah, 1, order.at)

    def ask(self, order: PastOrder) -> Decision:
        """Choose for an order and count what was chosen."""
        market, at = order.market, order.at
        if self.snapshot.image.has_quotas:
            self._begin_day(at)
        totals = self._shares.totals(market, at)
        decision = choose(self.snapshot, order.inquiry, self._live, totals, at)
        if decision.refusal is not None:
            self.refused.count(decision, decision.refusal)
        else:
            self._take(order, market, decision)
        return decision

    def _take(self, order: PastOrder, market: Market, decision: Decision) -> None:
        offer, position, image = decision.offer, decision.position, self.snapshot.image
        assert offer is not None  # noqa: S101 - what is not refused was offered
        assert position is not None  # noqa: S101
        number, cost_rupiah = offer.dealers[position], offer.costs[position]
        dealer_id = image.dealers[number]
        self._shares.add(market, self.snapshot.groups[number], cost_rupiah, 1, order.at)
        self.purchases.count(market, dealer_id, cost_rupiah, order.inquiry.price_rupiah)
        if image.has_quotas:
            self._sold[image.route_text(offer.routes[position])[0]] += 1
        self.forced += decision.forced_monopoly
        self.monopoly_cost_rupiah += decision.monopoly_cost_rupiah or 0
        self.moved += dealer_id != order.dealer_id
        self.true_cost_rupiah += order.cost_rupiah

    def _begin_day(self, at: datetime) -> None:
        day = at.astimezone(WIB).date()
        if day != self._day:
            self._day = day
            self._sold.clear()


def _everybody(_dealer_id: str) -> bool:
    return True
