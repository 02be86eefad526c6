"""The rows of a routing table: who sells what, where, when and for how much, and the shop's rules.

Amounts are whole rupiah, shares and rates basis points, moments aware. `routing/snapshot.py`
compiles them for picking.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, time, timedelta, timezone
from enum import StrEnum
from typing import Literal, NamedTuple

from routing.monopoly import WHOLE_BASIS_POINTS
from routing.refusals import RefusalRules

_AHEAD_OF_UTC = timedelta(hours=7)
WIB = timezone(_AHEAD_OF_UTC, "WIB")
"""Waktu Indonesia Barat, Western Indonesia Time: dealers state their hours in it."""


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
    usable: bool = True
    """Whether it can be called as it is configured."""


class Product(NamedTuple):
    """Something resellers order. `denomination` is the face value in rupiah, None where open.

    Its `kind` is the product group that strategies, margins and the dealers' quality go by.
    """

    sku: str
    name: str
    brand: str
    kind: str
    denomination: int | None


def time_in_wib(moment: datetime) -> time:
    """The time of the day that an aware moment has in WIB."""
    # Most moments are in UTC, and adding is a fourth of what a conversion takes.
    return ((moment if moment.tzinfo is UTC else moment.astimezone(UTC)) + _AHEAD_OF_UTC).time()


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


class Condition(NamedTuple):
    """What limits a route besides its cost. Most routes have none."""

    enabled: bool = True
    hours: tuple[Window, ...] = ()
    """When it sells, in WIB; empty means always."""
    valid_from: datetime | None = None
    valid_until: datetime | None = None
    """Aware; the offer ends at this moment."""
    daily_quota: int | None = None
    """How many orders it takes a day in WIB."""
    repeat_limit: int | None = None
    """How often it sells the product for one number a day in WIB."""
    weight: int = 0
    """Its owner group's target share, against the others'; 0 leaves that to `Policy.weights`."""


NO_CONDITION = Condition()


class Route(NamedTuple):
    """One dealer's offer of one product in one cluster, or in any (`cluster` None).

    A dealer may offer the same thing several times, at different times or under other conditions:
    the cheapest that is in force serves.
    """

    route_id: str
    sku: str
    cluster: str | None
    dealer_id: str
    dealer_sku: str
    cost_rupiah: int | None
    """None where the dealer's price is not known; such a route is refused."""
    condition: Condition = NO_CONDITION


class Strategy(StrEnum):
    """How the candidates that passed the filter are ranked."""

    CHEAPEST = "cheapest"
    """By cost; then by success rate, by what is missing to the target shares, by route id."""
    EXPECTED_VALUE = "expected_value"
    """By what an attempt earns on average, after what an unknown outcome costs."""
    WEIGHTED = "weighted"
    """By what is missing to the owner groups' target shares."""


@dataclass(frozen=True, slots=True)
class QualityRules:
    """When a dealer's deliveries count as bad. Raises `ValueError`."""

    window_minutes: int = 60
    minimum_sample: int = 20
    """Definite outcomes below which a dealer's product group says nothing by itself."""
    warning_basis_points: int = 9_000
    """A success rate below this is shown to ops."""
    floor_basis_points: int = 7_000
    """Dealers below this rank after all others, and never serve merely to avoid a monopoly."""
    probe_one_in: int = 100
    """One order in so many ranks them where their cost does, so that they can come back."""

    def __post_init__(self) -> None:
        if min(self.window_minutes, self.minimum_sample, self.probe_one_in) < 1:
            raise ValueError("quality windows, samples and probes must be at least 1")
        if not 0 <= self.floor_basis_points <= self.warning_basis_points <= WHOLE_BASIS_POINTS:
            raise ValueError(
                "the quality floor must not be above the warning, nor that above 10000"
            )


_NOBODY: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Policy:
    """The shop's rules for choosing. Basis points: 100 are one percent. Raises `ValueError`."""

    window_days: int = 7
    minimum_sample_orders: int = 50
    minimum_groups: int = 2
    premium_basis_points: int = 200
    single_cap_basis_points: int = 5_000
    top_three_cap_basis_points: int = 7_500
    top_three_groups: int = 5
    """The cap on the three largest groups holds where so many are inside the premium."""
    when_all_barred: Literal["allow", "reject"] = "allow"
    minimum_margin_rupiah: int = 0
    """May be negative: a shop may choose to sell below cost."""
    margins: Mapping[tuple[str, str], int] = field(default_factory=dict[tuple[str, str], int])
    """Minimum margin by (tier, product kind), where it is another one."""
    strategies: Mapping[str, Strategy] = field(default_factory=dict[str, Strategy])
    """By product kind; `cheapest` where none is stated."""
    tied_up_basis_points: int = 1_000
    """What an unknown outcome costs, as a part of the cost that stays tied up meanwhile."""
    tolerance_rupiah: int = 10
    """Expected values this close to the best one count as equal; the cheaper candidate leads."""
    weights: Mapping[str, int] = field(default_factory=dict[str, int])
    """Target shares by owner group, relative to each other; 0 for those not named."""
    quality: QualityRules = QualityRules()
    cluster_refusal_numbers: int = 3
    """So many different numbers, refused as outside its area, keep a dealer out of a cluster …"""
    cluster_refusal_hours: int = 24
    """… where this lies between them at most, and for this long."""
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
        if not 0 < self.top_three_cap_basis_points <= WHOLE_BASIS_POINTS:
            raise ValueError("top_three_cap_basis_points must be within 1 and 10000")
        if min(self.cluster_refusal_numbers, self.cluster_refusal_hours) < 1:
            raise ValueError("cluster_refusal_numbers and cluster_refusal_hours must be at least 1")
        if min(self.tied_up_basis_points, self.tolerance_rupiah, *self.weights.values(), 0) < 0:
            raise ValueError(
                "tied_up_basis_points, tolerance_rupiah and weights cannot be negative"
            )
        if self.when_all_barred not in ("allow", "reject"):
            raise ValueError("when_all_barred must be allow or reject")

    def declared_in(self, brand: str, cluster: str | None) -> frozenset[str]:
        """Owner groups that ops declared a monopoly in a market."""
        if not self.declared_monopolies:
            return _NOBODY
        market = (brand, cluster)
        return frozenset(each[2] for each in self.declared_monopolies if each[:2] == market)

    @property
    def refusal_rules(self) -> RefusalRules:
        """When a dealer's refusals keep it out of a cluster."""
        return RefusalRules(
            self.cluster_refusal_numbers, timedelta(hours=self.cluster_refusal_hours)
        )

    def ceiling_rupiah(self, price_rupiah: int, tier: str, kind: str) -> int:
        """The highest cost that leaves the minimum margin of a tier and product kind."""
        margin = self.minimum_margin_rupiah
        if self.margins:
            margin = self.margins.get((tier, kind), margin)
        return price_rupiah - margin
