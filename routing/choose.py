"""Which dealer an order goes to: filter, rank, and then pass over monopolies.

`choose` is a pure function, so explaining a pick and simulating a draft table run the very code
that routes orders. The order matters: a candidate that cannot serve must never take a place in the
ranking. All arithmetic is in whole rupiah and basis points.
"""

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, time
from types import MappingProxyType
from typing import NamedTuple
from uuid import UUID

from routing.image import Image, Offer
from routing.monopoly import WHOLE_BASIS_POINTS, MarketTotals
from routing.quality import NOTHING_KNOWN, Level, Quality
from routing.reasons import NoPick, Reason
from routing.snapshot import Snapshot
from routing.table import Condition, Policy, Route, Strategy, time_in_wib

_CHEAPEST, _CRITICAL = Strategy.CHEAPEST, Level.CRITICAL
_NOTHING: Mapping[str, int] = MappingProxyType({})
_LARGEST = 3
NONE_RISEN: frozenset[int] = frozenset()
"""As `Live.risen` where no price rose."""
_Key = Callable[[int], tuple[int, int, int, int]]


@dataclass(slots=True)
class Inquiry:
    """What is to be bought. Prices in rupiah; `price_rupiah` is what the reseller pays."""

    sku: str
    brand: str
    cluster: str | None
    price_rupiah: int
    max_price_rupiah: int | None = None
    tried: frozenset[str] = frozenset()
    """Dealers that this order was already attempted at."""
    tier: str = "standard"
    kind: str = "pulsa"
    order_id: UUID | None = None
    """Decides whether the order probes dealers below the quality floor; without it, it does not."""
    repeats: Mapping[str, int] = field(default_factory=dict[str, int])
    """How often each dealer, by id, has sold this product for this number today, in WIB."""
    test: bool = False
    """Whether it is of the test side, which has a table of its own."""


class Live(NamedTuple):
    """What changes by the second, by the numbers that dealers have in the snapshot."""

    standing: Sequence[Reason | None]
    """Why a dealer gets no orders now; as `Snapshot.standing`."""
    quality: Mapping[str, Sequence[Quality]] = MappingProxyType({})
    """By product kind; a kind of which nothing is known may be missing."""
    floats: Sequence[int | None] | None = None
    """Rupiah left on our account at each dealer, what is in flight taken off; None: not known."""
    sold_today: Mapping[str, int] = _NOTHING
    """Orders that routes with a quota, by id, took today, in WIB, in flight included."""
    risen: frozenset[int] = NONE_RISEN
    """Routes, by their number in the image, whose dealer charged more than their cost."""
    refusing: frozenset[str] = frozenset()
    """Dealers, by id, that are known to refuse the order's cluster."""


class Verdict(NamedTuple):
    """What became of one candidate. `rank` counts from 1 and is None where the filter excluded;
    `reason` is None for the chosen one alone."""

    dealer_id: str
    route_id: str
    cost_rupiah: int
    rank: int | None
    reason: Reason | None
    owner_group: str
    dealer_sku: str


@dataclass(slots=True)
class Decision:
    """A pick and its proof. Positions are those of candidates in `offer`."""

    snapshot: Snapshot
    inquiry: Inquiry
    totals: MarketTotals
    """The market before this order."""
    offer: Offer | None = None
    excluded: Sequence[Reason | None] = ()
    """Why the filter excluded each candidate; None where it did not."""
    ranking: Sequence[int] = ()
    """Positions of those that passed, the first the best."""
    passed_over: Mapping[int, Reason] = field(default_factory=dict[int, Reason])
    """Why candidates ranked before the picked one do not serve."""
    position: int | None = None
    """Of the picked candidate."""
    refusal: NoPick | None = None
    forced_monopoly: bool = False
    """Whether the rule had to be broken for the order to be served."""
    overruled: Reason | None = None
    """What barred the picked candidate, where everyone inside the premium was barred."""

    @property
    def chosen(self) -> Route | None:
        """The route to buy from; None where `refusal` says why not."""
        return None if self.position is None else self._route(self.position)

    @property
    def cost_rupiah(self) -> int | None:
        """What the picked candidate costs."""
        return self._cost(self.position)

    @property
    def first_cost_rupiah(self) -> int | None:
        """What the candidate ranked first costs, barred or not."""
        return self._cost(self.ranking[0] if self.ranking else None)

    @property
    def cheapest_cost_rupiah(self) -> int | None:
        """The lowest cost that passed the filter, barred or not."""
        return self._cost(min(self.ranking, default=None))

    @property
    def monopoly_cost_rupiah(self) -> int | None:
        """What passing over barred groups costs on this order."""
        picked, first = self.cost_rupiah, self.first_cost_rupiah
        return None if picked is None or first is None else picked - first

    @property
    def owner_group(self) -> str | None:
        """The picked candidate's."""
        if self.position is None or self.offer is None:
            return None
        return self.snapshot.groups[self.offer.dealers[self.position]]

    @property
    def share_basis_points(self) -> int | None:
        """The picked owner group's share of the market before this order, rounded down."""
        group = self.owner_group
        return None if group is None else self.totals.share_basis_points(group)

    @property
    def verdicts(self) -> tuple[Verdict, ...]:
        """Every candidate by cost, built when asked for: most picks never are."""
        if self.offer is None:
            return ()
        ranks = {position: rank for rank, position in enumerate(self.ranking, 1)}
        return tuple(
            self._verdict(position, ranks.get(position), reason)
            for position, reason in enumerate(self.reasons)
        )

    @property
    def reasons(self) -> list[Reason | None]:
        """Why each candidate was not chosen, in the offer's order; None for the chosen one."""
        reasons = list(self.excluded)
        rest = Reason.DEARER if self.position is not None else Reason.OUTSIDE_PREMIUM
        for place in self.ranking:
            if place != self.position:
                reasons[place] = self.passed_over.get(place, rest)
        return reasons

    def _cost(self, position: int | None) -> int | None:
        return None if position is None or self.offer is None else self.offer.costs[position]

    def _verdict(self, position: int, rank: int | None, reason: Reason | None) -> Verdict:
        route = self._route(position)
        group = self.snapshot.dealers[route.dealer_id].owner_group
        cost_rupiah = route.cost_rupiah or 0
        return Verdict(
            route.dealer_id, route.route_id, cost_rupiah, rank, reason, group, route.dealer_sku
        )

    def _route(self, position: int) -> Route:
        assert self.offer is not None  # noqa: S101 - a position is one of an offer
        return route_of(self.snapshot, self.inquiry.sku, self.inquiry.cluster, self.offer, position)


def route_of(
    snapshot: Snapshot, sku: str, cluster: str | None, offer: Offer, position: int
) -> Route:
    """A candidate as a route. Its `cluster` is the one asked for, also where it sells in any."""
    route_id, dealer_sku = snapshot.image.route_text(offer.routes[position])
    return Route(
        route_id,
        sku,
        cluster,
        snapshot.image.dealers[offer.dealers[position]],
        dealer_sku,
        offer.costs[position],
        snapshot.image.conditions[offer.conditions[position]],
    )


def choose(
    snapshot: Snapshot, inquiry: Inquiry, live: Live, totals: MarketTotals, now: datetime
) -> Decision:
    """Pick the best-ranked candidate whose owner group is not barred in the market.

    `totals` is the market (the inquiry's brand and cluster) before this order; `now` is aware.
    """
    offer = snapshot.image.offer(inquiry.sku, inquiry.cluster)
    if offer is None:
        return Decision(snapshot, inquiry, totals, refusal=NoPick.NO_ROUTE)
    excluded = _judge(snapshot, inquiry, live, offer, now)
    passed = _passed(excluded)
    if not passed:
        return Decision(snapshot, inquiry, totals, offer, excluded, refusal=NoPick.NO_ROUTE)
    ranking, below = _rank(snapshot, inquiry, offer, passed, live, totals)
    counts = shares_count(snapshot, offer, passed, totals)
    walk = _Walk(snapshot, inquiry, offer, ranking, totals, shares_count=counts)
    position, forced = walk.pick()
    if below:
        walk.passed_over |= dict.fromkeys(below, Reason.BELOW_QUALITY)
        ranking = ranking + below
    refusal = NoPick.ALL_BARRED if position is None else None
    return Decision(
        snapshot, inquiry, totals, offer, excluded, ranking, walk.passed_over, position, refusal,
        forced, walk.overruled,
    )  # fmt: skip


def standing_offer(
    snapshot: Snapshot, inquiry: Inquiry, dealer_id: str, live: Live, now: datetime
) -> Route | Reason:
    """A dealer's offer that may still be used for an order, or why there is none.

    Asks the filter alone: a share that grew since the pick does not undo it. Nor do the sales of
    the day, among which the order itself was counted as it was chosen.
    """
    offer = snapshot.image.offer(inquiry.sku, inquiry.cluster)
    why = Reason.GONE
    if offer is None or dealer_id not in snapshot.image.dealers:
        return why
    number = snapshot.image.dealers.index(dealer_id)
    uncounted = live._replace(sold_today=_NOTHING)
    excluded = _judge(snapshot, inquiry, uncounted, offer, now)
    for position, dealer in enumerate(offer.dealers):
        if dealer == number:
            reason = excluded[position]
            if reason is None:
                return route_of(snapshot, inquiry.sku, inquiry.cluster, offer, position)
            why = reason
    return why


def as_record(decision: Decision) -> dict[str, object]:
    """The proof that an order keeps, ready for JSON.

    A candidate is `[dealer, cost, rank, reason]`, by cost; `shares` are basis points by owner
    group, for the groups that passed the filter.
    """
    chosen, totals = decision.chosen, decision.totals
    return {
        "table": decision.snapshot.version,
        "route": chosen and chosen.route_id,
        "dealer": chosen and chosen.dealer_id,
        "refusal": decision.refusal,
        "forced_monopoly": decision.forced_monopoly,
        "cheapest_cost": decision.cheapest_cost_rupiah,
        "monopoly_cost": decision.monopoly_cost_rupiah,
        "market_orders": totals.orders,
        "shares": _shares(decision),
        "candidates": _candidates(decision),
    }


def _shares(decision: Decision) -> dict[str, int]:
    if decision.offer is None:
        return {}
    groups, dealers = decision.snapshot.groups, decision.offer.dealers
    return {
        group: decision.totals.share_basis_points(group)
        for group in dict.fromkeys(groups[dealers[position]] for position in decision.ranking)
    }


def _candidates(decision: Decision) -> list[list[object]]:
    """As `Decision.verdicts`, in lists: every order keeps them."""
    offer, ids = decision.offer, decision.snapshot.image.dealers
    if offer is None:
        return []
    made: list[list[object]] = [
        [ids[dealer], cost, None, reason]
        for dealer, cost, reason in zip(offer.dealers, offer.costs, decision.reasons, strict=True)
    ]
    for rank, position in enumerate(decision.ranking, 1):
        made[position][2] = rank
    return made


# ------------------------------------------------------------------ filter


def _judge(
    snapshot: Snapshot, inquiry: Inquiry, live: Live, offer: Offer, now: datetime
) -> list[Reason | None]:
    """The first reason why each candidate cannot serve the order at all, whatever its rank.

    Each step judges those that the steps before left.
    """
    if now.tzinfo is None:
        raise ValueError("now has no time zone")
    image, standing = snapshot.image, live.standing
    excluded = [standing[dealer] for dealer in offer.dealers]
    if any(offer.conditions):
        _judge_terms(image, offer, now, excluded)
    if inquiry.tried or live.refusing or not live.risen.isdisjoint(offer.routes):
        _judge_past(image, inquiry, live, offer, excluded)
    ceiling = snapshot.policy.ceiling_rupiah(inquiry.price_rupiah, inquiry.tier, inquiry.kind)
    most = inquiry.max_price_rupiah
    limit = ceiling if most is None or most > ceiling else most
    if offer.costs[-1] > limit or live.floats is not None:
        _judge_amounts(offer, ceiling, limit, live.floats, excluded)
    if image.has_limits:
        _judge_counts(image, inquiry, live, offer, excluded)
    return excluded


def _judge_terms(image: Image, offer: Offer, now: datetime, excluded: list[Reason | None]) -> None:
    time_of_day = time_in_wib(now)
    for place, condition in enumerate(offer.conditions):
        if not condition:
            continue
        stated = image.conditions[condition]
        if not stated.enabled:
            # Whatever its dealer's standing.
            excluded[place] = Reason.DISABLED
        elif excluded[place] is None:
            excluded[place] = _by_time(stated, now, time_of_day)


def _by_time(stated: Condition, now: datetime, time_of_day: time) -> Reason | None:
    if stated.valid_from is not None and now < stated.valid_from:
        return Reason.NOT_YET_VALID
    if stated.valid_until is not None and now >= stated.valid_until:
        return Reason.EXPIRED
    if not stated.hours:
        return None
    for window in stated.hours:
        if window.contains(time_of_day):
            return None
    return Reason.OUTSIDE_HOURS


def _judge_past(
    image: Image, inquiry: Inquiry, live: Live, offer: Offer, excluded: list[Reason | None]
) -> None:
    for place, (route, dealer) in enumerate(zip(offer.routes, offer.dealers, strict=True)):
        if excluded[place] is not None:
            continue
        if image.dealers[dealer] in inquiry.tried:
            excluded[place] = Reason.TRIED
        elif route in live.risen:
            excluded[place] = Reason.PRICE_RISEN
        elif image.dealers[dealer] in live.refusing:
            excluded[place] = Reason.CLUSTER_REFUSED


def _judge_amounts(
    offer: Offer,
    ceiling: int,
    limit: int,
    floats: Sequence[int | None] | None,
    excluded: list[Reason | None],
) -> None:
    for place, (cost, dealer) in enumerate(zip(offer.costs, offer.dealers, strict=True)):
        if excluded[place] is not None:
            continue
        if cost > limit:
            excluded[place] = Reason.LOSS_GUARD if cost > ceiling else Reason.ABOVE_MAX_PRICE
        elif floats is not None and (left := floats[dealer]) is not None and left < cost:
            excluded[place] = Reason.LOW_FLOAT


def _judge_counts(
    image: Image, inquiry: Inquiry, live: Live, offer: Offer, excluded: list[Reason | None]
) -> None:
    for place, condition in enumerate(offer.conditions):
        if not condition or excluded[place] is not None:
            continue
        stated = image.conditions[condition]
        if stated.daily_quota is not None:
            route_id, _ = image.route_text(offer.routes[place])
            if live.sold_today.get(route_id, 0) >= stated.daily_quota:
                excluded[place] = Reason.QUOTA_USED
                continue
        if stated.repeat_limit is not None:
            dealer_id = image.dealers[offer.dealers[place]]
            if inquiry.repeats.get(dealer_id, 0) >= stated.repeat_limit:
                excluded[place] = Reason.REPEATED


def _passed(excluded: list[Reason | None]) -> list[int]:
    everyone = range(len(excluded))
    if excluded.count(None) == len(everyone):
        return list(everyone)
    return [position for position in everyone if excluded[position] is None]


# ------------------------------------------------------------------ rank


def _rank(
    snapshot: Snapshot,
    inquiry: Inquiry,
    offer: Offer,
    passed: list[int],
    live: Live,
    totals: MarketTotals,
) -> tuple[list[int], list[int]]:
    """Positions of those that may serve instead of one another, the best first; and of those that
    may not, since they are below the quality floor. Where all are below it, all may."""
    policy = snapshot.policy
    strategy = policy.strategies.get(inquiry.kind, _CHEAPEST)
    quality = live.quality.get(inquiry.kind)
    if strategy is _CHEAPEST and not offer.costs_repeat:
        ranked = passed  # an offer comes sorted by cost
    else:
        ranker = _Ranker(snapshot, inquiry, offer, quality, totals)
        ranked = sorted(passed, key=ranker.key(strategy, passed))
    if quality is None or _probes(inquiry, policy):
        return ranked, []
    below = [place for place in ranked if quality[offer.dealers[place]].level is _CRITICAL]
    if len(below) in (0, len(ranked)):
        return ranked, []
    return [place for place in ranked if place not in below], below


def _probes(inquiry: Inquiry, policy: Policy) -> bool:
    """Whether this order gives dealers below the floor their chance: by a hash, so it is the same
    choice whenever it is made again."""
    if inquiry.order_id is None:
        return False
    return zlib.crc32(inquiry.order_id.bytes) % policy.quality.probe_one_in == 0


class _Ranker:
    """The strategies' keys: the lowest is the best."""

    def __init__(
        self,
        snapshot: Snapshot,
        inquiry: Inquiry,
        offer: Offer,
        quality: Sequence[Quality] | None,
        totals: MarketTotals,
    ) -> None:
        self._policy = snapshot.policy
        self._price = inquiry.price_rupiah
        self._costs = offer.costs
        self._groups = [snapshot.groups[dealer] for dealer in offer.dealers]
        self._weights = [snapshot.image.conditions[each].weight for each in offer.conditions]
        self._quality = [
            NOTHING_KNOWN if quality is None else quality[dealer] for dealer in offer.dealers
        ]
        self._totals = totals

    def key(self, strategy: Strategy, passed: Sequence[int]) -> _Key:
        """What those that passed are sorted by."""
        match strategy:
            case Strategy.CHEAPEST:
                return self._by_cost(passed)
            case Strategy.EXPECTED_VALUE:
                return self._by_expected_value(passed)
            case Strategy.WEIGHTED:
                return self._by_deficit(passed)

    def _by_cost(self, passed: Sequence[int]) -> _Key:
        """Ties go by success rate in bands of one point, then by what is missing to the target
        shares, then by route id, which is the offer's own order."""
        deficits = self._deficits(passed)
        return lambda place: (
            self._costs[place],
            -(self._quality[place].success_basis_points // 100),
            -deficits[self._groups[place]],
            place,
        )

    def _by_expected_value(self, passed: Sequence[int]) -> _Key:
        """P(success) x margin - P(unknown) x what stays tied up; equal within the tolerance."""
        values = {place: self._expected_value(place) for place in passed}
        scale = WHOLE_BASIS_POINTS * WHOLE_BASIS_POINTS
        close = max(values.values()) - self._policy.tolerance_rupiah * scale
        return lambda place: (
            (0, self._costs[place], place, 0)
            if values[place] >= close
            else (1, -values[place], self._costs[place], place)
        )

    def _by_deficit(self, passed: Sequence[int]) -> _Key:
        """What is missing to the target share, the most first: groups take turns."""
        deficits = self._deficits(passed)
        return lambda place: (-deficits[self._groups[place]], self._costs[place], place, 0)

    def _expected_value(self, place: int) -> int:
        """In rupiah, scaled by 10,000 twice to stay exact."""
        quality, cost = self._quality[place], self._costs[place]
        earned = quality.success_basis_points * (self._price - cost) * WHOLE_BASIS_POINTS
        return earned - quality.unknown_basis_points * cost * self._policy.tied_up_basis_points

    def _deficits(self, passed: Sequence[int]) -> dict[str, int]:
        """By owner group: target share less share, among these candidates, scaled to stay exact."""
        groups = {self._groups[place] for place in passed}
        weights = dict.fromkeys(groups, 0)
        for place in passed:
            weights[self._groups[place]] += self._weights[place]
        if not any(weights.values()):
            weights = {group: self._policy.weights.get(group, 0) for group in groups}
        values = {group: self._totals.value_of(group) for group in groups}
        weight, value = sum(weights.values()), sum(values.values())
        return {group: weights[group] * value - values[group] * weight for group in groups}


# ------------------------------------------------------------------ monopolies


def shares_count(
    snapshot: Snapshot, offer: Offer, passed: Sequence[int], totals: MarketTotals
) -> bool:
    """Whether shares mean anything: enough orders, and enough groups with a candidate."""
    policy = snapshot.policy
    if totals.orders < policy.minimum_sample_orders or totals.value_rupiah <= 0:
        return False
    present: set[str] = set()
    for place in passed:
        present.add(snapshot.groups[offer.dealers[place]])
        if len(present) >= policy.minimum_groups:
            return True
    return len(present) >= policy.minimum_groups


class _Walk:
    """The monopoly rule on one ranking of those that may serve instead of one another."""

    __slots__ = ("_cap", "_declared", "_limit", "_offer", "_policy", "_ranking", "_snapshot",
                 "_totals", "overruled", "passed_over")  # fmt: skip

    def __init__(
        self,
        snapshot: Snapshot,
        inquiry: Inquiry,
        offer: Offer,
        ranking: Sequence[int],
        totals: MarketTotals,
        *,
        shares_count: bool,
    ) -> None:
        policy = snapshot.policy
        self._snapshot = snapshot
        self._policy = policy
        self._offer = offer
        self._ranking = ranking
        self._totals = totals
        self._cap = policy.single_cap_basis_points * totals.value_rupiah if shares_count else None
        """What a group may hold, in rupiah scaled by 10,000; None while shares do not count."""
        self._declared = policy.declared_in(inquiry.brand, inquiry.cluster)
        first = offer.costs[ranking[0]]
        self._limit = first * (WHOLE_BASIS_POINTS + policy.premium_basis_points)
        """The highest cost inside the premium, scaled by 10,000."""
        self.passed_over: dict[int, Reason] = {}
        self.overruled: Reason | None = None

    def pick(self) -> tuple[int | None, bool]:
        """The first one inside the premium that is not barred, and whether it is forced; None where
        all are barred and such orders are refused."""
        costs, dealers, groups = self._offer.costs, self._offer.dealers, self._snapshot.groups
        limit, passed_over = self._limit, self.passed_over
        serving = self._groups_that_may_still_serve()
        barred: list[int] = []
        for place in self._ranking:
            if costs[place] * WHOLE_BASIS_POINTS > limit:
                passed_over[place] = Reason.OUTSIDE_PREMIUM
                continue
            reason = self._bars(groups[dealers[place]], serving)
            if reason is None:
                return place, False
            passed_over[place] = reason
            barred.append(place)
        return self._least_bad(barred)

    def _bars(self, group: str, serving: Sequence[str] | None) -> Reason | None:
        """Why the group is barred. A declaration needs no sample: it is ops' own word."""
        if self._declared and group in self._declared:
            return Reason.DECLARED_MONOPOLY
        if self._cap is not None and self._totals.value_of(group) * WHOLE_BASIS_POINTS >= self._cap:
            return Reason.MONOPOLY_BARRED
        return None if serving is None or group in serving else Reason.TOP_THREE_BARRED

    def _groups_that_may_still_serve(self) -> Sequence[str] | None:
        """While the three largest groups together stand at or above their cap, and enough groups
        are inside the premium: the group ranked first, and of the others the one with the lowest
        share. None while there is no such rule.

        The first keeps to its own cap; the other brings the three largest down, whatever grows.
        """
        policy, costs = self._policy, self._offer.costs
        few = self._cap is None or len(self._ranking) < policy.top_three_groups
        if few or not self._totals.largest_at_cap(_LARGEST, policy.top_three_cap_basis_points):
            return None
        limit = self._limit
        inside = dict.fromkeys(
            self._group(place)
            for place in self._ranking
            if costs[place] * WHOLE_BASIS_POINTS <= limit
        )
        if len(inside) < policy.top_three_groups:
            return None
        first, *others = inside
        return first, min(others, key=self._totals.value_of)

    def _least_bad(self, barred: Sequence[int]) -> tuple[int | None, bool]:
        """Every candidate inside the premium is barred: first the rule on the three largest goes,
        then the group with the lowest share serves.

        Where that group stands exactly at the cap, as two equal groups do again and again, nobody
        is above it and nothing is forced; otherwise such a market would stand still under `reject`.
        """
        for place in barred:
            if self.passed_over[place] is Reason.TOP_THREE_BARRED:
                self.overruled = self.passed_over.pop(place)
                return place, False
        place = min(barred, key=lambda each: self._totals.value_of(self._group(each)))
        held = self._totals.value_of(self._group(place)) * WHOLE_BASIS_POINTS
        cap = self._policy.single_cap_basis_points * self._totals.value_rupiah
        declared = self.passed_over[place] is Reason.DECLARED_MONOPOLY
        forced = declared or held > cap
        if forced and self._policy.when_all_barred == "reject":
            return None, False
        self.overruled = self.passed_over.pop(place)
        return place, forced

    def _group(self, place: int) -> str:
        return self._snapshot.groups[self._offer.dealers[place]]
