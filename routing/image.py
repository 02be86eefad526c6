"""The compiled routing table: one block of bytes that every process reads as it is.

A large table as objects would cost a process gigabytes and seconds, and each take-up as much again.
Here a pick finds its product by one look into an index and unpacks the few candidates there are.
Opening it reads next to nothing, so it costs the same whatever its size. The same rows in any order
give the same bytes, so their checksum names the table.

The parts of the block (`routing/blocks.py`), whose head has the dealers' ids:

    conditions  JSON lines, numbered from 1; 0 is none
    keys        an index of sku, or sku TAB cluster, sorted: where its candidates begin in
    slots       `candidates`
    candidates  u16 count, u16 whether costs repeat, then by column: i64 cost, u32 route,
                u32 condition, u16 dealer
    ends        u64 each route: where its text ends in `texts`
    texts       route id TAB dealer's sku, one behind the other
"""

import json
import struct
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time
from functools import cache
from itertools import groupby
from operator import itemgetter
from typing import NamedTuple

from routing.blocks import (
    Content,
    Index,
    checksum_of,
    read_block,
    read_numbers,
    write_block,
    written_index,
    written_numbers,
)
from routing.reasons import RowFault
from routing.table import NO_CONDITION, BadTable, Condition, Route, Window

_MAGIC = b"jalur routes 2\n"
_COUNT = struct.Struct("<HH")
_MOST_CANDIDATES = 0xFFFF


@dataclass(frozen=True, slots=True)
class Refusal:
    """A route that was left out of the compiled table, and why."""

    route_id: str
    fault: RowFault


@dataclass(slots=True)
class Offer:
    """The candidates for one product in one place, by column, sorted by cost, then route id.

    Never changes. Every pick makes one: not frozen, it is made in a third of the time.
    """

    costs: tuple[int, ...]
    """Rupiah."""
    routes: tuple[int, ...]
    """Numbers of routes, for `Image.route_text`."""
    conditions: tuple[int, ...]
    """Numbers into `Image.conditions`; 0 where there is none."""
    dealers: tuple[int, ...]
    """Numbers into `Image.dealers`."""
    costs_repeat: bool
    """Whether two candidates cost the same, so that more than the cost must rank them."""


@dataclass(frozen=True, slots=True)
class Compiled:
    """A compiled table and the routes left out of it."""

    content: bytes
    refused: tuple[Refusal, ...]


# ------------------------------------------------------------------ compiling


def compile_routes(
    routes: Iterable[Route], dealers: Iterable[str], skus: Iterable[str]
) -> Compiled:
    """Compile the routes of these dealers and products, in whatever order. Raises `BadTable`."""
    compiler = RouteCompiler(dealers, skus)
    compiler.add(routes)
    return compiler.finish()


class RouteCompiler:
    """Compiles a table that comes in steps, so that it need not stand in memory as objects.

    Each step has all routes of some products; their SKUs come after those of the step before.
    """

    def __init__(self, dealers: Iterable[str], skus: Iterable[str]) -> None:
        self._dealers = {dealer_id: number for number, dealer_id in enumerate(sorted(dealers))}
        self._skus = frozenset(skus)
        self._conditions: dict[Condition, int] = {}
        self._offers: dict[str, int] = {}
        self._candidates = bytearray()
        self._ends = array("Q")
        self._texts = bytearray()
        self._route_ids: set[str] = set()
        self._refused: list[Refusal] = []
        self._newest_sku: str | None = None

    def add(self, routes: Iterable[Route]) -> None:
        """Add a step's routes, in whatever order. Raises `BadTable`, ValueError for a SKU that is
        not after those of the step before."""
        ordered = sorted(routes, key=lambda route: (route.sku, route.cluster or "", route.route_id))
        newest = self._newest_sku
        if ordered and newest is not None and ordered[0].sku <= newest:
            raise ValueError(f"{ordered[0].sku} comes after {newest}")
        for sku, group in groupby(ordered, key=itemgetter(1)):
            self._add_product(sku, list(group))
            self._newest_sku = sku

    def _add_product(self, sku: str, routes: Sequence[Route]) -> None:
        """Add all that is offered of one product, sorted by cluster, any-cluster routes first."""
        anywhere: list[_Entry] = []
        by_cluster: dict[str | None, list[_Entry]] = {}
        for route in routes:
            entry = self._entry(route)
            if isinstance(entry, RowFault):
                self._refused.append(Refusal(route.route_id, entry))
            elif route.cluster is None:
                anywhere.append(entry)
            else:
                by_cluster.setdefault(route.cluster, []).append(entry)
        if anywhere:
            self._add_offer(sku, anywhere)
        for cluster, own in by_cluster.items():
            # A dealer's route for this very cluster stands in for its any-cluster one, even while
            # it is switched off.
            local = {entry.dealer for entry in own}
            joined = own + [entry for entry in anywhere if entry.dealer not in local]
            self._add_offer(f"{sku}\t{cluster}", joined)

    def finish(self) -> Compiled:
        """What was added, compiled."""
        keys, slots = written_index(self._offers)
        parts = {
            "conditions": "".join(_written(each) for each in self._conditions).encode(),
            "keys": keys,
            "slots": slots,
            "candidates": self._candidates,
            "ends": written_numbers(self._ends),
            "texts": self._texts,
        }
        content = write_block(_MAGIC, {"dealers": list(self._dealers)}, parts)
        return Compiled(content, tuple(self._refused))

    def _entry(self, route: Route) -> "_Entry | RowFault":
        if route.route_id in self._route_ids:
            raise BadTable(f"route {route.route_id} appears more than once")
        self._route_ids.add(route.route_id)
        dealer = self._dealers.get(route.dealer_id)
        fault = _fault(route, known_dealer=dealer is not None, known_sku=route.sku in self._skus)
        if fault is not None or dealer is None or route.cost_rupiah is None:
            return fault or RowFault.UNKNOWN_DEALER
        return _Entry(
            route.cost_rupiah,
            route.route_id,
            self._number_route(route),
            self._number_condition(route.condition),
            dealer,
        )

    def _number_route(self, route: Route) -> int:
        self._texts += f"{route.route_id}\t{route.dealer_sku}".encode()
        self._ends.append(len(self._texts))
        return len(self._ends) - 1

    def _number_condition(self, condition: Condition) -> int:
        if condition == NO_CONDITION:
            return 0
        return self._conditions.setdefault(condition, len(self._conditions) + 1)

    def _add_offer(self, key: str, entries: "list[_Entry]") -> None:
        if len(entries) > _MOST_CANDIDATES:
            raise BadTable(f"{key.partition(chr(9))[0]} has more than {_MOST_CANDIDATES} routes")
        entries.sort()
        costs, _, routes, conditions, dealers = zip(*entries, strict=True)
        self._offers[key] = len(self._candidates)
        self._candidates += _COUNT.pack(len(entries), len(set(costs)) < len(costs))
        self._candidates += _columns(len(entries)).pack(*costs, *routes, *conditions, *dealers)


class _Entry(NamedTuple):
    """A route on its way into an offer; entries sort as candidates do."""

    cost_rupiah: int
    route_id: str
    route: int
    condition: int
    dealer: int


def _fault(route: Route, *, known_dealer: bool, known_sku: bool) -> RowFault | None:
    if not known_dealer:
        return RowFault.UNKNOWN_DEALER
    if not known_sku:
        return RowFault.UNKNOWN_PRODUCT
    if route.cost_rupiah is None:
        return RowFault.NO_PRICE
    if route.cost_rupiah <= 0:
        return RowFault.PRICE_NOT_POSITIVE
    texts = f"{route.route_id}{route.sku}{route.cluster}{route.dealer_sku}"
    if "\t" in texts or "\n" in texts:
        return RowFault.BAD_TEXT
    return None if route.condition == NO_CONDITION else _condition_fault(route.condition)


def _condition_fault(condition: Condition) -> RowFault | None:
    for window in condition.hours:
        zoned = window.opens.tzinfo or window.closes.tzinfo
        if zoned or window.opens == window.closes:
            return RowFault.BAD_HOURS
    valid_from, valid_until = condition.valid_from, condition.valid_until
    if any(moment is not None and moment.tzinfo is None for moment in (valid_from, valid_until)):
        return RowFault.BAD_VALIDITY
    if valid_from and valid_until and valid_from >= valid_until:
        return RowFault.BAD_VALIDITY
    limits = (condition.daily_quota, condition.repeat_limit)
    if condition.weight < 0 or any(limit is not None and limit < 1 for limit in limits):
        return RowFault.BAD_LIMIT
    return None


def _written(condition: Condition) -> str:
    """One form for every condition, so that equal tables give equal bytes."""
    return (
        json.dumps(
            [
                condition.enabled,
                [[w.opens.isoformat(), w.closes.isoformat()] for w in condition.hours],
                condition.valid_from and condition.valid_from.astimezone(UTC).isoformat(),
                condition.valid_until and condition.valid_until.astimezone(UTC).isoformat(),
                condition.daily_quota,
                condition.repeat_limit,
                condition.weight,
            ]
        )
        + "\n"
    )


def _read_condition(line: bytes) -> Condition:
    enabled, hours, valid_from, valid_until, *limits = json.loads(line)
    return Condition(
        enabled,
        tuple(Window(time.fromisoformat(a), time.fromisoformat(b)) for a, b in hours),
        valid_from and datetime.fromisoformat(valid_from),
        valid_until and datetime.fromisoformat(valid_until),
        *limits,
    )


@cache
def _columns(count: int) -> struct.Struct:
    return struct.Struct(f"<{count}q{count}I{count}I{count}H")


# ------------------------------------------------------------------ reading


class Image:
    """A compiled table, read where it lies. Never changes."""

    __slots__ = (
        "_candidates",
        "_ends",
        "_offers",
        "_texts",
        "checksum",
        "conditions",
        "dealers",
        "has_limits",
        "has_quotas",
    )

    def __init__(self, content: Content, checksum: str | None = None) -> None:
        """Read a table; `checksum`, where it is known, saves reading all of it.

        Raises `BadTable` for bytes that are none.
        """
        self.checksum = checksum or checksum_of(content)
        head, parts = read_block(_MAGIC, content)
        self.dealers: tuple[str, ...] = tuple(head["dealers"])
        lines = bytes(parts["conditions"]).splitlines()
        self.conditions = (NO_CONDITION, *(_read_condition(line) for line in lines))
        self.has_quotas = any(each.daily_quota is not None for each in self.conditions)
        self.has_limits = self.has_quotas or any(
            each.repeat_limit is not None for each in self.conditions
        )
        self._candidates = parts["candidates"]
        self._ends = read_numbers(parts["ends"], "Q")
        self._texts = parts["texts"]
        self._offers = Index(parts["keys"], parts["slots"])

    def __len__(self) -> int:
        """How many routes there are."""
        return len(self._ends)

    def offer(self, sku: str, cluster: str | None) -> Offer | None:
        """The candidates for a product; None where there are none.

        A dealer's route for this very cluster stands in for its any-cluster route, even while it is
        switched off. Without a cluster only any-cluster routes serve.
        """
        place = None if cluster is None else self._offers.find(f"{sku}\t{cluster}")
        if place is None:
            place = self._offers.find(sku)
            if place is None:
                return None
        count, costs_repeat = _COUNT.unpack_from(self._candidates, place)
        values = _columns(count).unpack_from(self._candidates, place + _COUNT.size)
        twice, thrice = 2 * count, 3 * count
        return Offer(
            values[:count],
            values[count:twice],
            values[twice:thrice],
            values[thrice:],
            costs_repeat != 0,
        )

    def route_text(self, route: int) -> tuple[str, str]:
        """A route's id and its dealer's SKU."""
        route_id, _, dealer_sku = self.route_line(route).decode().partition("\t")
        return route_id, dealer_sku

    def route_line(self, route: int) -> bytes:
        """A route's id, a tab, and its dealer's SKU, in UTF-8."""
        begins = self._ends[route - 1] if route else 0
        return bytes(self._texts[begins : self._ends[route]])

    def keys(self) -> Iterator[str]:
        """Every SKU, and SKU TAB cluster, that has candidates of its own."""
        return iter(self._offers)
