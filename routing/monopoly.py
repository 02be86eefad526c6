"""How much of each market every owner group holds: the shares that the monopoly rule looks at.

Shares are purchase value over a rolling window of hourly buckets. Sums run along with the buckets,
so a pick costs the number of groups, not the number of hours.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

WHOLE_BASIS_POINTS = 10_000
"""One hundred percent."""

HHI_WARNING, HHI_ALARM = 1_800, 2_500
"""Concentration levels of the Indonesian merger guideline: unconcerning below the first,
assessed in full above the second."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_HOUR = timedelta(hours=1)
_HOURS_A_DAY = 24


class Market(NamedTuple):
    """Where shares are counted. `cluster` is None for orders whose selling area is not known."""

    brand: str
    cluster: str | None


class GroupTotal(NamedTuple):
    """What was bought from one owner group: rupiah and number of orders."""

    value_rupiah: int = 0
    orders: int = 0


class ShareRow(NamedTuple):
    """Purchases to rebuild shares from; `at` lies anywhere within their hour."""

    market: Market
    owner_group: str
    value_rupiah: int
    orders: int
    at: datetime


@dataclass(slots=True)
class MarketTotals:
    """One market at one moment. Never changes, so a decision may keep it as its evidence.

    Every purchase makes one: not frozen, it is made in two thirds of the time.
    """

    groups: Mapping[str, GroupTotal]
    values_rupiah: Sequence[int]
    """The groups' values, the largest last."""
    value_rupiah: int
    orders: int

    @classmethod
    def of(cls, groups: Mapping[str, GroupTotal]) -> "MarketTotals":
        """Add the groups up."""
        orders = 0
        values_rupiah: list[int] = []
        for total_rupiah, total_orders in groups.values():
            orders += total_orders
            values_rupiah.append(total_rupiah)
        values_rupiah.sort()
        return cls(groups, values_rupiah, sum(values_rupiah), orders)

    def value_of(self, owner_group: str) -> int:
        """Rupiah bought from the group; 0 for one never bought from."""
        total = self.groups.get(owner_group)
        return 0 if total is None else total.value_rupiah

    def share_basis_points(self, owner_group: str) -> int:
        """The group's share, rounded down, for showing: comparing uses `above_cap_rupiah`."""
        if self.value_rupiah <= 0:
            return 0
        return self.value_of(owner_group) * WHOLE_BASIS_POINTS // self.value_rupiah

    def share_after_basis_points(self, owner_group: str, cost_rupiah: int) -> int:
        """What the group's share would be, rounded down, once it sold for so much."""
        value_rupiah = self.value_rupiah + cost_rupiah
        if value_rupiah <= 0:
            return 0
        return (self.value_of(owner_group) + cost_rupiah) * WHOLE_BASIS_POINTS // value_rupiah

    def above_cap_rupiah(self, owner_group: str, cap_basis_points: int) -> int:
        """How far the group stands above the cap, scaled by 10,000 to stay exact.

        Positive above the cap, 0 exactly at it, negative below it or in an empty market.
        """
        if self.value_rupiah <= 0:
            return -1
        held = self.value_of(owner_group) * WHOLE_BASIS_POINTS
        return held - cap_basis_points * self.value_rupiah

    def largest_at_cap(self, count: int, cap_basis_points: int) -> bool:
        """Whether the largest groups, so many, together stand at or above the cap."""
        held = sum(self.values_rupiah[-count:]) * WHOLE_BASIS_POINTS
        return self.value_rupiah > 0 and held >= cap_basis_points * self.value_rupiah


NO_PURCHASES = MarketTotals.of({})


def herfindahl_hirschman_index(totals: MarketTotals) -> int:
    """Concentration from 0 (no purchases) to 10,000 (one group): the sum of squared percentages."""
    if totals.value_rupiah <= 0:
        return 0
    squares = sum(total.value_rupiah**2 for total in totals.groups.values())
    return squares * WHOLE_BASIS_POINTS // totals.value_rupiah**2


class Shares:
    """Every market's rolling window of purchases.

    Times are aware datetimes. The window holds the running hour and the full hours before it. It
    only moves forward, with the `now` that `totals` is given; what is added behind it is ignored.
    A take-back may arrive before its addition (another process's news), so a total can be negative
    for a moment; such a group is never barred.
    """

    __slots__ = ("_hours", "_windows")

    def __init__(self, window_days: int) -> None:
        self._hours = window_days * _HOURS_A_DAY
        self._windows: dict[Market, _Window] = {}

    def add(
        self, market: Market, owner_group: str, value_rupiah: int, orders: int, at: datetime
    ) -> None:
        """Count purchases made, or put in flight, at `at`."""
        window = self._windows.get(market)
        if window is None:
            window = self._windows[market] = _Window()
        window.count(owner_group, value_rupiah, orders, _hour_of(at))

    def take_back(
        self, market: Market, owner_group: str, value_rupiah: int, orders: int, at: datetime
    ) -> None:
        """Uncount purchases that failed; `at` is the time that they were added with."""
        self.add(market, owner_group, -value_rupiah, -orders, at)

    def load(self, rows: Iterable[ShareRow]) -> None:
        """Forget everything and count these rows instead."""
        self._windows.clear()
        for row in rows:
            self.add(*row)

    def totals(self, market: Market, now: datetime) -> MarketTotals:
        """The market over the window that ends at `now`."""
        window = self._windows.get(market)
        if window is None:
            return NO_PURCHASES
        window.expire_before(_hour_of(now) - self._hours + 1)
        return window.totals()

    def markets(self) -> list[Market]:
        """Every market that anything was ever counted in."""
        return list(self._windows)


def largest_difference(one: Shares, other: Shares, now: datetime, minimum_orders: int) -> float:
    """By how much a group's part of a market differs at most, from 0 to 1.

    Only markets count that hold `minimum_orders` in either of the two.
    """
    pairs = (
        (one.totals(market, now), other.totals(market, now))
        for market in {*one.markets(), *other.markets()}
    )
    return max(
        (
            _difference(*pair)
            for pair in pairs
            if max(totals.orders for totals in pair) >= minimum_orders
        ),
        default=0.0,
    )


def _difference(one: MarketTotals, other: MarketTotals) -> float:
    return max(
        (abs(_part(one, group) - _part(other, group)) for group in {*one.groups, *other.groups}),
        default=0.0,
    )


def _part(totals: MarketTotals, owner_group: str) -> float:
    if totals.value_rupiah <= 0:
        return 0.0
    return totals.value_of(owner_group) / totals.value_rupiah


class _Window:
    """One market's hourly buckets and their running sums."""

    __slots__ = ("_buckets", "_first_hour", "_sums", "_totals")

    def __init__(self) -> None:
        self._buckets: dict[int, dict[str, GroupTotal]] = {}
        self._sums: dict[str, GroupTotal] = {}
        self._first_hour = 0
        self._totals: MarketTotals | None = NO_PURCHASES

    def count(self, owner_group: str, value_rupiah: int, orders: int, hour: int) -> None:
        if hour < self._first_hour:
            return
        _shift(self._buckets.setdefault(hour, {}), owner_group, value_rupiah, orders)
        _shift(self._sums, owner_group, value_rupiah, orders)
        self._totals = None

    def expire_before(self, first_hour: int) -> None:
        if first_hour <= self._first_hour:
            return
        self._first_hour = first_hour
        for hour in [hour for hour in self._buckets if hour < first_hour]:
            for owner_group, gone in self._buckets.pop(hour).items():
                _shift(self._sums, owner_group, -gone.value_rupiah, -gone.orders)
            self._totals = None

    def totals(self) -> MarketTotals:
        if self._totals is None:
            self._totals = MarketTotals.of(dict(self._sums))
        return self._totals


def _shift(totals: dict[str, GroupTotal], owner_group: str, value_rupiah: int, orders: int) -> None:
    before = totals.get(owner_group)
    if before is not None:
        value_rupiah += before.value_rupiah
        orders += before.orders
    if value_rupiah or orders:
        totals[owner_group] = GroupTotal(value_rupiah, orders)
    else:
        totals.pop(owner_group, None)


def _hour_of(moment: datetime) -> int:
    return (moment - _EPOCH) // _HOUR
