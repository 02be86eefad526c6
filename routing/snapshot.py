"""A compiled table with the dealers and the rules in force beside it: what a pick reads.

The routes are compiled once and shared; a dealer that is muted or a rule that changes makes a new
snapshot around the same routes, at once.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields
from datetime import UTC, datetime
from types import MappingProxyType

from routing.image import Image, Refusal, compile_routes
from routing.reasons import Reason
from routing.table import BadTable, Dealer, Policy, Product, Route

_VERSION_LENGTH = 16


class Snapshot:
    """Everything that picks are made from, but for what changes by the second.

    `version` names it: equal versions choose alike. Never changes.
    """

    __slots__ = ("_standing", "_timed", "dealers", "groups", "image", "policy", "refused", "version")

    def __init__(
        self,
        image: Image,
        dealers: Iterable[Dealer],
        policy: Policy,
        refused: Iterable[Refusal] = (),
    ) -> None:
        """`dealers` must hold all that the image names. Raises `BadTable`."""
        by_id = _by_id(dealers)
        missing = [each for each in image.dealers if each not in by_id]
        if missing:
            raise BadTable(f"dealer {missing[0]} has routes but is not known")
        self.image = image
        self.policy = policy
        self.dealers: Mapping[str, Dealer] = MappingProxyType(by_id)
        self.refused = tuple(refused)
        numbered = [by_id[dealer_id] for dealer_id in image.dealers]
        self.groups = tuple(dealer.owner_group for dealer in numbered)
        """Owner groups by the dealers' numbers."""
        self._standing = tuple(_standing(dealer) for dealer in numbered)
        self._timed = any(dealer.muted_until for dealer in numbered)
        self.version = _version(image, by_id, policy)

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
    return Snapshot(Image(compiled.content), by_id.values(), policy, compiled.refused)


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
    return Reason.DRAINED if dealer.drained else None


def _version(image: Image, dealers: Mapping[str, Dealer], policy: Policy) -> str:
    content = [image.checksum, [_values(each) for each in dealers.values()], _values(policy)]
    text = json.dumps(content, default=_plain, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:_VERSION_LENGTH]


def _values(row: object) -> list[object]:
    return [getattr(row, column.name) for column in fields(row)]  # type: ignore[arg-type]


def _plain(value: object) -> object:
    """One JSON form for every value, so that equal tables give equal text."""
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    return repr(value)
