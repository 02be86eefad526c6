"""What a newly compiled table changes of the one before it, for telling operators."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from routing.image import Image
from routing.price_book import PriceBook
from routing.table import Condition


@dataclass(frozen=True, slots=True)
class Changes:
    """How many of a table's rows came, went, or are otherwise than before."""

    added: int = 0
    changed: int = 0
    removed: int = 0


def route_changes(before: Image | None, after: Image) -> Changes:
    """What became of the routes, by their ids."""
    if before is None:
        return Changes(added=len(after))
    old: dict[str, _Row] = {}
    new: dict[str, _Row] = {}
    for key in _joined(before.keys(), after.keys()):
        was, is_now = list(_rows(before, key)), list(_rows(after, key))
        if was != is_now:
            old.update((row.route_id, row) for row in was)
            new.update((row.route_id, row) for row in is_now)
    changed = sum(old[route_id] != new[route_id] for route_id in old.keys() & new.keys())
    return Changes(len(new.keys() - old.keys()), changed, len(old.keys() - new.keys()))


def product_changes(before: PriceBook | None, after: PriceBook) -> Changes:
    """What became of the products, what each tier pays for them included."""
    if before is None:
        return Changes(added=len(after))
    old, new = before.skus(), after.skus()
    tiers = sorted(before.tiers() | after.tiers())
    changed = sum(
        before.product(sku) != after.product(sku)
        or any(before.price(tier, sku) != after.price(tier, sku) for tier in tiers)
        for sku in old & new
    )
    return Changes(len(new - old), changed, len(old - new))


class _Row(NamedTuple):
    """A route with everything it says, for comparing."""

    route_id: str
    key: str
    dealer_sku: str
    cost_rupiah: int
    dealer_id: str
    terms: Condition


def _rows(image: Image, key: str) -> Iterator[_Row]:
    """The routes that stand under a key themselves, not those that serve it from anywhere."""
    sku, _, cluster = key.partition("\t")
    offer = image.offer(sku, cluster or None)
    if offer is None:
        return
    anywhere = image.offer(sku, None) if cluster else None
    elsewhere = frozenset(anywhere.routes if anywhere else ())
    for cost, route, condition, dealer in zip(
        offer.costs, offer.routes, offer.conditions, offer.dealers, strict=True
    ):
        if route not in elsewhere:
            route_id, dealer_sku = image.route_text(route)
            terms = image.conditions[condition]
            yield _Row(route_id, key, dealer_sku, cost, image.dealers[dealer], terms)


def _joined(first: Iterable[str], second: Iterable[str]) -> Iterator[str]:
    """Every key of both, once."""
    return iter(dict.fromkeys([*first, *second]))
