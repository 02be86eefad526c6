"""Which dealer an order goes to: filter, rank, and then pass over monopolies.

`choose` is a pure function, so explaining a pick and simulating a draft table run the very code
that routes orders. The order matters: a candidate that cannot serve must never take a place in the
ranking. All arithmetic is in whole rupiah and basis points.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, time
from typing import NamedTuple

from routing.monopoly import WHOLE_BASIS_POINTS, MarketTotals
from routing.reasons import RANKED, NoPick, Reason
from routing.table import WIB, Candidate, Policy, Route, Snapshot

DealerUp = Callable[[str], bool]
"""Whether a dealer, by its id, may be called now. It must not take a probe."""


@dataclass(frozen=True, slots=True)
class Inquiry:
    """What is to be bought. Prices in rupiah; `price_rupiah` is what the reseller pays."""

    sku: str
    brand: str
    cluster: str | None
    price_rupiah: int
    max_price_rupiah: int | None = None
    tried: frozenset[str] = frozenset()
    """Dealers that this order was already attempted at."""


class Verdict(NamedTuple):
    """What became of one candidate. `rank` counts from 1 and is None where the filter excluded;
    `reason` is None for the chosen one alone."""

    dealer_id: str
    route_id: str
    cost_rupiah: int
    rank: int | None
    reason: Reason | None


@dataclass(frozen=True, slots=True)
class Decision:
    """A pick and its proof. `reasons` stands in line with `candidates`."""

    table_version: str
    candidates: tuple[Candidate, ...]
    reasons: tuple[Reason | None, ...]
    totals: MarketTotals
    """The market before this order."""
    picked: Candidate | None = None
    refusal: NoPick | None = None
    forced_monopoly: bool = False
    """Whether the rule had to be broken for the order to be served."""
    cheapest_cost_rupiah: int | None = None
    """The lowest cost that passed the filter, barred or not."""

    @property
    def chosen(self) -> Route | None:
        """The route to buy from; None where `refusal` says why not."""
        return None if self.picked is None else self.picked.route

    @property
    def monopoly_cost_rupiah(self) -> int | None:
        """What passing over barred groups costs on this order."""
        if self.picked is None or self.cheapest_cost_rupiah is None:
            return None
        return self.picked.cost_rupiah - self.cheapest_cost_rupiah

    @property
    def share_basis_points(self) -> int | None:
        """The chosen owner group's share of the market before this order, rounded down."""
        if self.picked is None:
            return None
        return self.totals.share_basis_points(self.picked.owner_group)

    @property
    def verdicts(self) -> tuple[Verdict, ...]:
        """Every candidate in the table's order, built when asked for: most picks never are."""
        verdicts: list[Verdict] = []
        ranked = 0
        for candidate, reason in zip(self.candidates, self.reasons, strict=True):
            passed = reason is None or reason in RANKED
            ranked += passed
            route = candidate.route
            rank = ranked if passed else None
            verdicts.append(
                Verdict(route.dealer_id, route.route_id, candidate.cost_rupiah, rank, reason)
            )
        return tuple(verdicts)


def choose(
    snapshot: Snapshot,
    inquiry: Inquiry,
    dealer_up: DealerUp,
    totals: MarketTotals,
    now: datetime,
) -> Decision:
    """Pick the cheapest candidate whose owner group is not barred in the market.

    `totals` is the market (the inquiry's brand and cluster) before this order; `now` is aware.
    """
    candidates = snapshot.candidates(inquiry.sku, inquiry.cluster)
    policy = snapshot.policy
    excludes = _Filter.of(inquiry, policy, dealer_up, now).excludes
    reasons = [excludes(candidate) for candidate in candidates]
    ranking = [position for position, reason in enumerate(reasons) if reason is None]
    if not ranking:
        return Decision(
            snapshot.version, candidates, tuple(reasons), totals, refusal=NoPick.NO_ROUTE
        )
    shares_count = _shares_count([candidates[each] for each in ranking], policy, totals)
    rule = _Rule(policy, inquiry, totals, shares_count)
    position, forced = _walk(candidates, reasons, ranking, rule)
    return Decision(
        snapshot.version,
        candidates,
        tuple(reasons),
        totals,
        None if position is None else candidates[position],
        NoPick.ALL_BARRED if position is None else None,
        forced,
        candidates[ranking[0]].cost_rupiah,
    )


def recheck(
    snapshot: Snapshot, route_id: str, inquiry: Inquiry, dealer_up: DealerUp, now: datetime
) -> Reason | None:
    """Why a route chosen earlier must not be used any more, or None where it may.

    Asks the filter alone: a share that grew since the pick does not undo it.
    """
    for candidate in snapshot.candidates(inquiry.sku, inquiry.cluster):
        if candidate.route.route_id == route_id:
            return _Filter.of(inquiry, snapshot.policy, dealer_up, now).excludes(candidate)
    return Reason.GONE


def as_record(decision: Decision) -> dict[str, object]:
    """The proof that an order keeps, ready for JSON.

    A candidate is `[dealer, route, cost, rank, reason]`; `shares` are basis points by owner group,
    for the groups that passed the filter.
    """
    totals = decision.totals
    return {
        "table": decision.table_version,
        "route": decision.chosen and decision.chosen.route_id,
        "dealer": decision.chosen and decision.chosen.dealer_id,
        "refusal": decision.refusal,
        "forced_monopoly": decision.forced_monopoly,
        "cheapest_cost": decision.cheapest_cost_rupiah,
        "monopoly_cost": decision.monopoly_cost_rupiah,
        "market_orders": totals.orders,
        "shares": {
            candidate.owner_group: totals.share_basis_points(candidate.owner_group)
            for candidate, reason in zip(decision.candidates, decision.reasons, strict=True)
            if reason is None or reason in RANKED
        },
        "candidates": _candidates(decision),
    }


def _candidates(decision: Decision) -> list[list[object]]:
    """As `Decision.verdicts`, in lists: every order keeps them, so they are made at once."""
    made: list[list[object]] = []
    ranked = 0
    for candidate, reason in zip(decision.candidates, decision.reasons, strict=True):
        route = candidate.route
        rank = None
        if reason is None or reason in RANKED:
            ranked += 1
            rank = ranked
        made.append([route.dealer_id, route.route_id, candidate.cost_rupiah, rank, reason])
    return made


class _Filter(NamedTuple):
    """What excludes a candidate from one order, whatever its rank would be."""

    inquiry: Inquiry
    ceiling_rupiah: int
    """The highest cost that leaves the minimum margin."""
    dealer_up: DealerUp
    now: datetime
    time_of_day: time
    """The same moment on a clock in WIB, read once: it costs more than all else here."""

    @classmethod
    def of(cls, inquiry: Inquiry, policy: Policy, dealer_up: DealerUp, now: datetime) -> "_Filter":
        if now.tzinfo is None:
            raise ValueError("now has no time zone")
        ceiling_rupiah = inquiry.price_rupiah - policy.minimum_margin_rupiah
        return cls(inquiry, ceiling_rupiah, dealer_up, now, now.astimezone(WIB).time())

    def excludes(self, candidate: Candidate) -> Reason | None:
        """The first reason why this candidate cannot serve the order at all."""
        excluded = candidate.standing or (candidate.timed and self._by_time(candidate))
        if excluded:
            return excluded
        dealer_id, cost_rupiah = candidate.route.dealer_id, candidate.cost_rupiah
        if not self.dealer_up(dealer_id):
            return Reason.DEALER_DOWN
        if dealer_id in self.inquiry.tried:
            return Reason.TRIED
        if cost_rupiah > self.ceiling_rupiah:
            return Reason.LOSS_GUARD
        limit_rupiah = self.inquiry.max_price_rupiah
        if limit_rupiah is not None and cost_rupiah > limit_rupiah:
            return Reason.ABOVE_MAX_PRICE
        return None

    def _by_time(self, candidate: Candidate) -> Reason | None:
        route, now = candidate.route, self.now
        if candidate.muted_until is not None and now < candidate.muted_until:
            return Reason.MUTED
        if route.valid_from is not None and now < route.valid_from:
            return Reason.NOT_YET_VALID
        if route.valid_until is not None and now >= route.valid_until:
            return Reason.EXPIRED
        for window in route.hours:
            if window.contains(self.time_of_day):
                return None
        return Reason.OUTSIDE_HOURS if route.hours else None


class _Rule(NamedTuple):
    """The monopoly rule, set up for one pick."""

    policy: Policy
    inquiry: Inquiry
    totals: MarketTotals
    shares_count: bool
    """Whether there is enough of a market for shares to mean anything."""

    def above_cap(self, owner_group: str) -> int:
        return self.totals.above_cap_rupiah(owner_group, self.policy.single_cap_basis_points)

    def bars(self, owner_group: str) -> Reason | None:
        """Why the group is barred. A declaration needs no sample: it is ops' own word."""
        declared = self.policy.declared_monopolies
        if declared and (self.inquiry.brand, self.inquiry.cluster, owner_group) in declared:
            return Reason.DECLARED_MONOPOLY
        if self.shares_count and self.above_cap(owner_group) >= 0:
            return Reason.MONOPOLY_BARRED
        return None


def _shares_count(ranking: Sequence[Candidate], policy: Policy, totals: MarketTotals) -> bool:
    if totals.orders < policy.minimum_sample_orders:
        return False
    return len({candidate.owner_group for candidate in ranking}) >= policy.minimum_groups


def _walk(
    candidates: Sequence[Candidate],
    reasons: list[Reason | None],
    ranking: Sequence[int],
    rule: _Rule,
) -> tuple[int | None, bool]:
    """Go down the ranking to the first candidate inside the premium that is not barred.

    Returns its position, or None, and whether the pick is forced; writes the reasons of those
    passed over.
    """
    factor = WHOLE_BASIS_POINTS + rule.policy.premium_basis_points
    limit = candidates[ranking[0]].cost_rupiah * factor
    barred: list[int] = []
    for position in ranking:
        candidate = candidates[position]
        if candidate.cost_rupiah * WHOLE_BASIS_POINTS > limit:
            break
        reason = rule.bars(candidate.owner_group)
        if reason is None:
            _pass_over(reasons, ranking[len(barred) + 1 :], Reason.DEARER)
            return position, False
        reasons[position] = reason
        barred.append(position)
    _pass_over(reasons, ranking[len(barred) :], Reason.OUTSIDE_PREMIUM)
    return _least_bad(candidates, reasons, barred, rule)


def _least_bad(
    candidates: Sequence[Candidate],
    reasons: list[Reason | None],
    barred: Sequence[int],
    rule: _Rule,
) -> tuple[int | None, bool]:
    """Every candidate inside the premium is barred: take the group with the lowest share.

    Where that group stands exactly at the cap, as two equal groups do again and again, nobody is
    above it and nothing is forced; otherwise such a market would stand still under `reject`.
    """
    position = min(barred, key=lambda each: rule.totals.value_of(candidates[each].owner_group))
    declared = reasons[position] is Reason.DECLARED_MONOPOLY
    forced = declared or rule.above_cap(candidates[position].owner_group) > 0
    if forced and rule.policy.when_all_barred == "reject":
        return None, False
    reasons[position] = None
    return position, forced


def _pass_over(reasons: list[Reason | None], positions: Sequence[int], reason: Reason) -> None:
    for position in positions:
        reasons[position] = reason
