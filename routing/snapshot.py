"""A compiled table with the dealers and the rules in force beside it: what a pick reads.

The routes are compiled once and shared; a dealer that is muted or a rule that changes makes a new
snapshot around the same routes, at once.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields, is_dataclass
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, cast

from routing.image import Image, Refusal, compile_routes
from routing.reasons import Reason
from routing.table import BadTable, Dealer, Policy, Product, Route

_VERSION_LENGTH = 16


@dataclass(frozen=True, slots=True, eq=False)
class Snapshot:
    """Everything that picks are made from, but for what changes by the second.

    `version` names it: equal versions choose alike. Made by `snapshot_of`.
    """

    version: str
    image: Image
    policy: Policy
    dealers: Mapping[str, Dealer]
    groups: tuple[str, ...]
    """Owner groups by the dealers' numbers."""
    refused: tuple[Refusal, ...]
    _standing: tuple[Reason | None, ...]
    _timed: bool

    @property
    def lasting(self) -> tuple[Reason | None, ...] | None:
        """As `standing` while every dealer is up; None where that depends on the time."""
        return None if self._timed else self._standing

    def standing(
        self, dealer_up: Callable[[str], bool], now: datetime
    ) -> tuple[Reason | None, ...]:
        """Why each dealer, by number, gets no orders at this moment, whatever they are; else None.

        `dealer_up` tells whether a dealer, by its id, may be called. It must not take a probe.
        """
        return tuple(
            standing or self._passing(dealer_id, dealer_up, now)
            for dealer_id, standing in zip(self.image.dealers, self._standing, strict=True)
        )

    def _passing(
        self, dealer_id: str, dealer_up: Callable[[str], bool], now: datetime
    ) -> Reason | None:
        muted_until = self.dealers[dealer_id].muted_until if self._timed else None
        if muted_until is not None and now < muted_until:
            return Reason.MUTED
        return None if dealer_up(dealer_id) else Reason.DEALER_DOWN


def snapshot_of(
    image: Image, dealers: Iterable[Dealer], policy: Policy, refused: Iterable[Refusal] = ()
) -> Snapshot:
    """A snapshot around compiled routes. Raises `BadTable` where a dealer of theirs is missing."""
    by_id = _by_id(dealers)
    missing = [each for each in image.dealers if each not in by_id]
    if missing:
        raise BadTable(f"dealer {missing[0]} has routes but is not known")
    numbered = [by_id[dealer_id] for dealer_id in image.dealers]
    return Snapshot(
        _version(image, by_id, policy),
        image,
        policy,
        MappingProxyType(by_id),
        tuple(dealer.owner_group for dealer in numbered),
        tuple(refused),
        tuple(_standing(dealer) for dealer in numbered),
        any(dealer.muted_until for dealer in numbered),
    )


def compile_table(
    dealers: Iterable[Dealer],
    products: Iterable[Product],
    routes: Iterable[Route],
    policy: Policy,
) -> Snapshot:
    """Compile rows, in whatever order, into a snapshot. Raises `BadTable`."""
    by_id = _by_id(dealers)
    skus: set[str] = set()
    for product in products:
        if product.sku in skus:
            raise BadTable(f"product {product.sku} appears more than once")
        skus.add(product.sku)
    compiled = compile_routes(routes, by_id, skus)
    return snapshot_of(Image(compiled.content), by_id.values(), policy, compiled.refused)


def _by_id(dealers: Iterable[Dealer]) -> dict[str, Dealer]:
    """Dealers by id, in the order of their ids."""
    found: dict[str, Dealer] = {}
    for dealer in dealers:
        if dealer.dealer_id in found:
            raise BadTable(f"dealer {dealer.dealer_id} appears more than once")
        if dealer.muted_until is not None and dealer.muted_until.tzinfo is None:
            raise BadTable(f"dealer {dealer.dealer_id}: muted_until has no time zone")
        found[dealer.dealer_id] = dealer
    return dict(sorted(found.items()))


def _standing(dealer: Dealer) -> Reason | None:
    if not dealer.enabled:
        return Reason.DEALER_DISABLED
    if not dealer.usable:
        return Reason.DEALER_UNUSABLE
    return Reason.DRAINED if dealer.drained else None


def _version(image: Image, dealers: Mapping[str, Dealer], policy: Policy) -> str:
    content = [image.checksum, [_values(each) for each in dealers.values()], _values(policy)]
    text = json.dumps(content, default=_plain, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:_VERSION_LENGTH]


def _values(row: object) -> list[object]:
    """A dataclass as a list; mappings as sorted pairs, since their keys may be tuples."""
    values = [getattr(row, column.name) for column in fields(cast("Any", row))]
    return [
        sorted(cast("Mapping[Any, object]", value).items()) if isinstance(value, Mapping) else value
        for value in values
    ]


def _plain(value: object) -> object:
    """One JSON form for every value, so that equal rules give equal text."""
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    if isinstance(value, frozenset):
        return sorted(map(json.dumps, cast("frozenset[object]", value)))
    if is_dataclass(value):
        return _values(value)
    raise TypeError(f"no canonical form for {type(value).__name__}")
