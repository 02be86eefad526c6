"""The routing table: who sells what, where, when and for how much, compiled for picking.

A table is compiled once and never changed, so that a pick reads one consistent state and a decision
can name it by its version. Rows that cannot be bought from are reported, never guessed at: a
missing price read as zero would make the worst dealer look the cheapest.
"""

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from datetime import UTC, datetime, time, timedelta, timezone
from types import MappingProxyType
from typing import Literal, TypeVar, cast

from routing.monopoly import WHOLE_BASIS_POINTS
from routing.reasons import Reason, RowFault

WIB = timezone(timedelta(hours=7), "WIB")
"""Waktu Indonesia Barat, Western Indonesia Time: dealers state their hours in it."""

_VERSION_LENGTH = 16
_Row = TypeVar("_Row")


class BadTable(ValueError):
    """Rows that contradict each other: nothing was compiled. The message names the first fault."""


@dataclass(frozen=True, slots=True)
class Dealer:
    """Somebody to buy from. Dealers of one owner share an `owner_group`."""

    dealer_id: str
    owner_group: str
    enabled: bool = True
    drained: bool = False
    muted_until: datetime | None = None
    """Aware; no orders before this moment."""


@dataclass(frozen=True, slots=True)
class Product:
    """Something resellers order. `denomination` is the face value in rupiah, None where open."""

    sku: str
    name: str
    brand: str
    kind: str
    denomination: int | None


@dataclass(frozen=True, slots=True)
class Window:
    """A part of the day in WIB, `opens` included and `closes` not; it may cross midnight."""

    opens: time
    closes: time

    def contains(self, moment: time) -> bool:
        """Whether the window is open at this time of the day in WIB."""
        if self.opens < self.closes:
            return self.opens <= moment < self.closes
        return moment >= self.opens or moment < self.closes


def read_hours(text: str) -> tuple[Window, ...]:
    """Read selling hours such as `00:15-23:45` or `06:00-12:00,13:00-22:00`, in WIB."""
    windows: list[Window] = []
    for part in filter(None, (piece.strip() for piece in text.split(","))):
        opens, _, closes = part.partition("-")
        windows.append(Window(time.fromisoformat(opens), time.fromisoformat(closes)))
    return tuple(windows)


@dataclass(frozen=True, slots=True)
class Route:
    """One dealer's offer of one product in one cluster, or in any (`cluster` None)."""

    route_id: str
    sku: str
    cluster: str | None
    dealer_id: str
    dealer_sku: str
    cost_rupiah: int | None
    """None where the dealer's price is not known; such a route is refused."""
    enabled: bool = True
    hours: tuple[Window, ...] = ()
    """When it sells; empty means always."""
    valid_from: datetime | None = None
    valid_until: datetime | None = None
    """Aware; the offer ends at this moment."""


@dataclass(frozen=True, slots=True)
class Policy:
    """The shop's rules for choosing. Basis points: 100 are one percent. Raises `ValueError`."""

    window_days: int = 7
    minimum_sample_orders: int = 50
    minimum_groups: int = 2
    premium_basis_points: int = 200
    single_cap_basis_points: int = 5_000
    when_all_barred: Literal["allow", "reject"] = "allow"
    minimum_margin_rupiah: int = 0
    """May be negative: a shop may choose to sell below cost."""
    declared_monopolies: frozenset[tuple[str, str | None, str]] = frozenset()
    """(brand, cluster, owner group). The cluster names one market; None is the market of orders
    without a cluster, not every market."""

    def __post_init__(self) -> None:
        if self.window_days < 1:
            raise ValueError("window_days must be at least 1")
        if min(self.minimum_sample_orders, self.minimum_groups, self.premium_basis_points) < 0:
            raise ValueError("samples, groups and the premium must not be negative")
        if not 0 < self.single_cap_basis_points <= WHOLE_BASIS_POINTS:
            raise ValueError("single_cap_basis_points must be within 1 and 10000")
        if self.when_all_barred not in ("allow", "reject"):
            raise ValueError("when_all_barred must be allow or reject")


@dataclass(frozen=True, slots=True)
class Refusal:
    """A route that was left out of the compiled table, and why."""

    route_id: str
    fault: RowFault


@dataclass(frozen=True, slots=True)
class Candidate:
    """A route that can be picked, with what a pick needs to know about its dealer."""

    route: Route
    cost_rupiah: int
    owner_group: str
    muted_until: datetime | None
    standing: Reason | None
    """Why it cannot be picked while this table is in force; None where it can."""
    timed: bool
    """Whether the time of day or the date matters at all."""


@dataclass(frozen=True, slots=True, eq=False)
class Snapshot:
    """A compiled table. `version` names what decisions are made from: equal versions choose alike.

    `refused` lists the routes left out. `dealers` and `products` are keyed by their id and SKU.
    """

    version: str
    policy: Policy
    dealers: Mapping[str, Dealer] = field(repr=False)
    products: Mapping[str, Product] = field(repr=False)
    refused: tuple[Refusal, ...]
    _offers: Mapping[tuple[str, str | None], tuple[Candidate, ...]] = field(repr=False)

    def candidates(self, sku: str, cluster: str | None) -> tuple[Candidate, ...]:
        """Offers for the product, sorted by cost, then route id; empty where there are none.

        A dealer's route for this very cluster stands in for its any-cluster route, even while it is
        switched off. Without a cluster only any-cluster routes serve.
        """
        offers = self._offers.get((sku, cluster))
        return self._offers.get((sku, None), ()) if offers is None else offers


def compile_table(
    dealers: Iterable[Dealer],
    products: Iterable[Product],
    routes: Iterable[Route],
    policy: Policy,
) -> Snapshot:
    """Compile rows, in whatever order, into a snapshot. Raises `BadTable`."""
    dealers_by_id = _by_unique_key("dealer", ((dealer.dealer_id, dealer) for dealer in dealers))
    products_by_sku = _by_unique_key("product", ((product.sku, product) for product in products))
    routes_by_id = _by_unique_key("route", ((route.route_id, route) for route in routes))
    for dealer in dealers_by_id.values():
        if _naive(dealer.muted_until):
            raise BadTable(f"dealer {dealer.dealer_id}: muted_until has no time zone")

    accepted: list[Candidate] = []
    refused: list[Refusal] = []
    for route in routes_by_id.values():
        offer = _candidate(route, dealers_by_id, products_by_sku)
        if isinstance(offer, RowFault):
            refused.append(Refusal(route.route_id, offer))
        else:
            accepted.append(offer)

    sold = [candidate.route for candidate in accepted]
    content = [list(dealers_by_id.values()), list(products_by_sku.values()), sold, policy]
    return Snapshot(
        version=_checksum(content),
        policy=policy,
        dealers=MappingProxyType(dealers_by_id),
        products=MappingProxyType(products_by_sku),
        refused=tuple(refused),
        _offers=MappingProxyType(_merge_clusters(accepted)),
    )


def _by_unique_key(what: str, rows: Iterable[tuple[str, _Row]]) -> dict[str, _Row]:
    """Rows by key, in the order of their keys."""
    found: dict[str, _Row] = {}
    for key, row in rows:
        if key in found:
            raise BadTable(f"{what} {key} appears more than once")
        found[key] = row
    return dict(sorted(found.items()))


def _candidate(
    route: Route, dealers: Mapping[str, Dealer], products: Mapping[str, Product]
) -> Candidate | RowFault:
    cost_rupiah, dealer = route.cost_rupiah, dealers.get(route.dealer_id)
    if dealer is None:
        return RowFault.UNKNOWN_DEALER
    if route.sku not in products:
        return RowFault.UNKNOWN_PRODUCT
    if cost_rupiah is None:
        return RowFault.NO_PRICE
    if cost_rupiah <= 0:
        return RowFault.PRICE_NOT_POSITIVE
    return _time_fault(route) or Candidate(
        route=route,
        cost_rupiah=cost_rupiah,
        owner_group=dealer.owner_group,
        muted_until=dealer.muted_until,
        standing=_standing(route, dealer),
        timed=bool(route.hours or route.valid_from or route.valid_until or dealer.muted_until),
    )


def _time_fault(route: Route) -> RowFault | None:
    for window in route.hours:
        zoned = window.opens.tzinfo or window.closes.tzinfo
        if zoned or window.opens == window.closes:
            return RowFault.BAD_HOURS
    if _naive(route.valid_from) or _naive(route.valid_until):
        return RowFault.BAD_VALIDITY
    if route.valid_from and route.valid_until and route.valid_from >= route.valid_until:
        return RowFault.BAD_VALIDITY
    return None


def _naive(moment: datetime | None) -> bool:
    return moment is not None and moment.tzinfo is None


def _standing(route: Route, dealer: Dealer) -> Reason | None:
    if not route.enabled:
        return Reason.DISABLED
    if not dealer.enabled:
        return Reason.DEALER_DISABLED
    return Reason.DRAINED if dealer.drained else None


def _merge_clusters(
    accepted: Sequence[Candidate],
) -> dict[tuple[str, str | None], tuple[Candidate, ...]]:
    by_place: defaultdict[tuple[str, str | None], list[Candidate]] = defaultdict(list)
    for candidate in accepted:
        by_place[candidate.route.sku, candidate.route.cluster].append(candidate)
    merged: dict[tuple[str, str | None], tuple[Candidate, ...]] = {}
    for (sku, cluster), own in by_place.items():
        anywhere = by_place.get((sku, None), []) if cluster is not None else []
        local_dealers = {candidate.route.dealer_id for candidate in own}
        joined = own + [c for c in anywhere if c.route.dealer_id not in local_dealers]
        merged[sku, cluster] = tuple(sorted(joined, key=_rank_cheapest))
    return merged


def _rank_cheapest(candidate: Candidate) -> tuple[int, str]:
    return candidate.cost_rupiah, candidate.route.route_id


def _checksum(content: object) -> str:
    text = json.dumps(content, default=_plain, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:_VERSION_LENGTH]


def _plain(value: object) -> object:
    """One JSON form for every value, so that equal tables give equal text."""
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    if isinstance(value, time):
        return value.isoformat()
    if isinstance(value, frozenset):
        return sorted(map(json.dumps, cast("frozenset[object]", value)))
    if is_dataclass(value):
        return [getattr(value, column.name) for column in fields(value)]
    raise TypeError(f"no canonical form for {type(value).__name__}")
