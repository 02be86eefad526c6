"""Route: the table in force, and the choices made from it, in memory, without I/O.

One `Router` a process holds what was compiled from the newest revision of the reference tables
(`Terms of trade`), the market shares and the dealers' breakers. A choice reads only these.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import date, datetime, timedelta

from app.errors import ConfigurationError
from app.lifecycle.floats import Floats
from app.lifecycle.goods import Goods, Newer, newer_small_goods
from app.lifecycle.price_watch import PriceWatch
from app.lifecycle.tally import Tally
from app.lifecycle.trade import DealerLimits, Trade, make_trade
from app.sealing import Sealer
from app.storage import cluster_refusals, outlets, purchase_hours, reference
from app.storage.outlets import Change
from app.storage.pool import Pool, one_view
from app.storage.purchase_hours import HOUR, Bought, Waiting
from dealers.registry import load
from routing.choose import Decision, Inquiry, Live, choose, route_of, standing_offer
from routing.clusters import Outlet
from routing.health import Breaker, BreakerRules, BreakerState
from routing.monopoly import NO_PURCHASES, Market, ShareRow, Shares
from routing.quality import Outcome, Quality, QualityBook
from routing.reasons import Reason
from routing.refusals import RefusalBook
from routing.repeats import RepeatBook
from routing.table import WIB, Condition, Policy, Route

_QUALITY_SECONDS = 1.0
"""How long a look at the dealers' quality serves."""


class Router:
    """The table in force with its live state: shares and breakers. For the event loop only."""

    def __init__(
        self,
        sealer: Sealer,
        monotonic: Callable[[], float],
        longest_call_seconds: float,
        breaker_rules: BreakerRules | None = None,
        simulator_url: str | None = None,
    ) -> None:
        self._monotonic = monotonic
        self.limits = DealerLimits(load(), sealer, longest_call_seconds, simulator_url)
        self._breaker_rules = breaker_rules or BreakerRules()
        self._breakers: dict[str, Breaker] = {}
        self._trade: Trade | None = None
        self._goods: Goods | None = None
        self._refreshing = asyncio.Lock()
        # Read on, not anew: every table in force looks into these two.
        self._outlets: dict[Outlet, str] = {}
        self._blocked: dict[Outlet, str] = {}
        self._outlets_revision = 0
        self.goods_wanted = 0
        """The goods' newest revision when last looked; those in force may be older for a while."""
        self.shares = Shares(Policy().window_days)
        self.tally = Tally()
        self.floats = Floats(monotonic)
        self.price_watch = PriceWatch()
        self._sold: Counter[str] = Counter()
        self._sold_day = date.min
        """Orders by route on one day in WIB, kept where the table in force states a quota."""
        self.quality = QualityBook()
        self.repeats = RepeatBook()
        self.refusals = RefusalBook()
        self._seen_quality: dict[str, tuple[float, tuple[Quality, ...]]] = {}

    @property
    def trade(self) -> Trade:
        """What is in force. Raises ConfigurationError before the first load."""
        if self._trade is None:
            raise ConfigurationError("the routing table is not loaded yet")
        return self._trade

    @property
    def loaded(self) -> bool:
        """Whether there is a table in force."""
        return self._trade is not None

    @property
    def goods_held(self) -> int:
        """The revision of the goods in force, or about to be; 0 without any."""
        return self._goods.revision if self._goods else 0

    def bring(self, goods: Goods) -> None:
        """Goods that were compiled elsewhere: in force from the next refreshing on."""
        if goods.revision > self.goods_held:
            self._goods = goods

    async def refresh(self, pool: Pool, newer: Newer = newer_small_goods) -> bool:
        """Take up newer terms and newer goods, if there are any. Returns whether there were.

        Large goods are brought (`bring`), and those in force serve until then. What cannot be
        compiled raises BadTable, and what is in force stays.
        """
        async with self._refreshing:
            return await self._refresh(pool, newer)

    async def _refresh(self, pool: Pool, newer: Newer) -> bool:
        held = self._trade
        async with pool.acquire() as connection:
            seen = await reference.revisions(connection)
            self.goods_wanted = seen.goods
            if seen.outlets != self._outlets_revision:
                self._take_up(await outlets.changed_since(connection, self._outlets_revision))
                self._outlets_revision = seen.outlets
            # Kept even where the terms do not fit: they are not to be fetched every second.
            found = await newer(connection, self._goods, seen.goods)
            if found is not None:
                self.bring(found)
            goods = self._goods
            if goods is None:
                return False
            if held and held.goods is goods and held.revision == seen.revision:
                return False
            terms = await reference.terms(connection)
        made = await asyncio.to_thread(
            make_trade, terms, goods, self.limits, self._outlets, self._blocked
        )
        before = [held]
        held, self._trade = None, made
        self._seen_quality.clear()  # it goes by the dealers' numbers in the table
        # The memory of a million routes takes a while to be given back: not on the event loop.
        await asyncio.to_thread(before.clear)
        return True

    def _take_up(self, changes: Iterable[Change]) -> None:
        for change in changes:
            outlet = (change.reseller_id, change.outlet_id)
            self._outlets.pop(outlet, None)
            self._blocked.pop(outlet, None)
            if change.region is not None:
                self._outlets[outlet] = change.region
            if change.blocked:
                self._blocked[outlet] = change.blocked_reason

    async def rebuild_shares(self, pool: Pool, now: datetime) -> None:
        """Count the shares anew: what was bought within the window, what waits to be bought, and
        what is counted or heard from the moment of that look on."""
        window_days = self.trade.snapshot.policy.window_days
        # An hour more: the clock of the process that made an order may be ahead of ours.
        wanted = purchase_hours.hours(now - timedelta(days=window_days), now + HOUR)
        async with pool.acquire() as connection:
            with self.tally.meanwhile() as meanwhile:
                async with one_view(connection):
                    bought = await purchase_hours.bought(connection, wanted)
                    waiting = await purchase_hours.waiting(connection)
                # Off the event loop: a large shop has tens of thousands of rows.
                shares = Shares(window_days)
                await asyncio.to_thread(shares.load, self._counted(bought, waiting))
                for row in meanwhile.rows():
                    shares.add(*row)
                self.shares = shares

    def _counted(self, bought: Iterable[Bought], waiting: Iterable[Waiting]) -> Iterator[ShareRow]:
        yield from self._bought(bought)
        yield from self._waiting(waiting)

    def _bought(self, rows: Iterable[Bought]) -> Iterator[ShareRow]:
        dealers = self.trade.snapshot.dealers
        for row in rows:
            if row.dealer_id in dealers:
                market, group = Market(row.brand, row.cluster), dealers[row.dealer_id].owner_group
                yield ShareRow(market, group, row.cost, row.orders, row.hour)

    def _waiting(self, rows: Iterable[Waiting]) -> Iterator[ShareRow]:
        dealers = self.trade.snapshot.dealers
        for row in rows:
            route = self.route_at(row.sku, row.cluster, row.dealer_id, row.hour)
            if route is not None and row.dealer_id in dealers:
                market, group = Market(row.brand, row.cluster), dealers[row.dealer_id].owner_group
                cost_rupiah = (route.cost_rupiah or 0) * row.orders
                yield ShareRow(market, group, cost_rupiah, row.orders, row.hour)

    async def exchange_refusals(self, pool: Pool, now: datetime) -> None:
        """Write down which clusters dealers refused and served here, and learn what others did."""
        rules, learned = self.trade.snapshot.policy.refusal_rules, self.refusals.untold()
        async with pool.acquire() as connection:
            if learned:
                await cluster_refusals.put(connection, learned)
            self.refusals.told(learned)
            known = await cluster_refusals.since(connection, now - rules.window)
            served = self.refusals.void(known)
            if served:
                await cluster_refusals.void(connection, served)
        self.refusals.take_up(known, rules)

    def hear(self, rows: Iterable[ShareRow]) -> None:
        """Count what another process counted."""
        for row in rows:
            self.shares.add(*row)
            self.tally.hear(row)

    def choose(self, inquiry: Inquiry, now: datetime) -> Decision:
        """Choose a route. Changes nothing: `take` counts what is chosen for good."""
        if inquiry.test:
            live = self._sandbox_live(now)
            return choose(self.trade.sandbox, inquiry, live, NO_PURCHASES, now)
        totals = self.shares.totals(Market(inquiry.brand, inquiry.cluster), now)
        snapshot = self.trade.snapshot
        return choose(snapshot, inquiry, self._live(inquiry, now), totals, now)

    def choose_at(self, inquiry: Inquiry, at: datetime, now: datetime) -> Decision:
        """What would be chosen at another moment: hours, validity, mutes and quotas are those of
        `at`; shares, quality and breakers as they stand now."""
        snapshot = self.trade.snapshot
        live = self._live(inquiry, now)._replace(
            standing=snapshot.standing(self.is_up, at),
            refusing=self.refusals.dealers_out(inquiry.brand, inquiry.cluster, at),
        )
        if _day_of(at) != _day_of(now):
            live = live._replace(sold_today={})
        totals = self.shares.totals(Market(inquiry.brand, inquiry.cluster), now)
        return choose(snapshot, inquiry, live, totals, at)

    def standing_offer(self, inquiry: Inquiry, dealer_id: str, now: datetime) -> Route | Reason:
        """A dealer's offer that was chosen earlier and may still be used, or why there is none."""
        if inquiry.test:
            live = self._sandbox_live(now)
            return standing_offer(self.trade.sandbox, inquiry, dealer_id, live, now)
        live = self._live(inquiry, now)
        return standing_offer(self.trade.snapshot, inquiry, dealer_id, live, now)

    def is_test(self, dealer_id: str) -> bool:
        """Whether a dealer is one of the test side."""
        return dealer_id in self.trade.sandbox.dealers

    def route_at(
        self, sku: str, cluster: str | None, dealer_id: str, now: datetime
    ) -> Route | None:
        """The dealer's route for a product in the table in force; the one valid now, if any is."""
        snapshot = self.trade.sandbox if self.is_test(dealer_id) else self.trade.snapshot
        offer = snapshot.image.offer(sku, cluster)
        found: Route | None = None
        for position, dealer in enumerate(() if offer is None else offer.dealers):
            if snapshot.image.dealers[dealer] == dealer_id and offer is not None:
                route = route_of(snapshot, sku, cluster, offer, position)
                if _is_valid(route.condition, now):
                    return route
                found = found or route
        return found

    def learn(
        self, dealer_id: str, sku: str, before: Outcome | None, after: Outcome | None, at: datetime
    ) -> None:
        """What became of an attempt sent at `at`, and what it was counted as until now."""
        product = self.trade.price_book.product(sku)
        if product is None or before is after:
            return
        self.quality.correct(dealer_id, product.kind, before, after, at)

    def kind_of(self, sku: str) -> str:
        """A product's kind; empty for one that is off sale."""
        product = self.trade.price_book.product(sku)
        return "" if product is None else product.kind

    def _live(self, inquiry: Inquiry, now: datetime) -> Live:
        snapshot = self.trade.snapshot
        standing = snapshot.lasting if self._all_closed() else None
        if standing is None:
            standing = snapshot.standing(self.is_up, now)
        return Live(
            standing,
            self._quality(inquiry.kind, now),
            self.floats.left(snapshot.image.dealers),
            self._sold_today(now),
            self.price_watch.routes(snapshot.image),
            self.refusals.dealers_out(inquiry.brand, inquiry.cluster, now),
        )

    def _sandbox_live(self, now: datetime) -> Live:
        """Of test dealers nothing counts but what operators say: they misbehave on demand, so a
        breaker makes their orders wait and refuses none."""
        return Live(self.trade.sandbox.standing(lambda _: True, now))

    def count_sale(self, route_id: str, at: datetime, orders: int) -> None:
        """Count an order that a route took at `at`, or with -1 one that failed there."""
        if self.trade.snapshot.image.has_quotas and _day_of(at) == self._sold_day:
            self._sold[route_id] += orders

    def _sold_today(self, now: datetime) -> Mapping[str, int]:
        if self.trade.snapshot.image.has_quotas and _day_of(now) != self._sold_day:
            self._sold_day = _day_of(now)
            self._sold.clear()
        return self._sold

    async def rebuild_sales(self, pool: Pool, now: datetime) -> None:
        """Count today's orders of the routes with a quota anew, where there are any: what was
        bought, and what waits to be bought."""
        if not self.trade.snapshot.image.has_quotas:
            return
        midnight = now.astimezone(WIB).replace(hour=0, minute=0, second=0, microsecond=0)
        async with pool.acquire() as connection, one_view(connection):
            sold = Counter(await purchase_hours.sold_under_quota(connection, midnight))
            waiting = await purchase_hours.waiting(connection)
        for row in waiting:
            route = self.route_at(row.sku, row.cluster, row.dealer_id, row.hour)
            if route is not None and row.hour >= midnight:
                sold[route.route_id] += row.orders
        self._sold, self._sold_day = sold, _day_of(now)

    def _all_closed(self) -> bool:
        return all(breaker.is_closed for breaker in self._breakers.values())

    def _quality(self, kind: str, now: datetime) -> Mapping[str, tuple[Quality, ...]]:
        """What is known of the dealers in a product kind; empty where nothing is."""
        seen, monotonic = self._seen_quality.get(kind), self._monotonic()
        if seen is None or seen[0] <= monotonic:
            rules = self.trade.snapshot.policy.quality
            ids = self.trade.snapshot.image.dealers
            found = tuple(self.quality.of(dealer_id, kind, rules, now) for dealer_id in ids)
            seen = self._seen_quality[kind] = (monotonic + _QUALITY_SECONDS, found)
        return {kind: seen[1]} if any(each.sample for each in seen[1]) else {}

    def take(self, inquiry: Inquiry, route: Route, at: datetime) -> None:
        """Count a chosen purchase in its market's shares, before it is sent."""
        market = Market(inquiry.brand, inquiry.cluster)
        self.count(market, route.dealer_id, route.cost_rupiah or 0, at, orders=1)
        self.count_sale(route.route_id, at, 1)

    def give_back(self, inquiry: Inquiry, route: Route, at: datetime) -> None:
        """Uncount a purchase that was not made."""
        market = Market(inquiry.brand, inquiry.cluster)
        self.count(market, route.dealer_id, route.cost_rupiah or 0, at, orders=-1)
        self.count_sale(route.route_id, at, -1)

    def count(
        self, market: Market, dealer_id: str, cost_rupiah: int, at: datetime, *, orders: int
    ) -> None:
        """Count a purchase sent at `at`: `orders` is -1 where it failed, 1 where it stands."""
        dealer = self.trade.snapshot.dealers.get(dealer_id)
        if dealer is not None:
            row = ShareRow(market, dealer.owner_group, cost_rupiah * orders, orders, at)
            self.shares.add(*row)
            self.tally.count(row)

    def breaker(self, dealer_id: str) -> Breaker:
        """The dealer's breaker."""
        found = self._breakers.get(dealer_id)
        if found is None:
            found = self._breakers[dealer_id] = Breaker(self._breaker_rules)
        return found

    def is_up(self, dealer_id: str) -> bool:
        """Whether the dealer may be called now, as far as its breaker goes."""
        found = self._breakers.get(dealer_id)
        return found is None or found.permits(self._monotonic())

    def breaker_states(self) -> dict[str, BreakerState]:
        """Every dealer's breaker state, for the metrics."""
        now = self._monotonic()
        return {
            dealer_id: self._breakers[dealer_id].state(now)
            if dealer_id in self._breakers
            else BreakerState.CLOSED
            for dealer_id in self.trade.dealers
        }


def _day_of(moment: datetime) -> date:
    return moment.astimezone(WIB).date()


def _is_valid(condition: Condition, now: datetime) -> bool:
    starts, ends = condition.valid_from, condition.valid_until
    return (starts is None or starts <= now) and (ends is None or now < ends)
