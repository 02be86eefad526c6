"""What a newly compiled table changes of the one before it, for telling operators."""

from collections.abc import Iterable
from dataclasses import dataclass

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
    changed = 0
    gone: set[bytes] = set()
    come: set[bytes] = set()
    old_places, new_places = _places(before), _places(after)
    for sku in old_places.keys() | new_places.keys():
        old = _rows(before, sku, old_places.get(sku, ()))
        new = _rows(after, sku, new_places.get(sku, ()))
        if old != new:
            both = old.keys() & new.keys()
            changed += sum(old[line] != new[line] for line in both)
            gone.update(map(_id_in, old.keys() - both))
            come.update(map(_id_in, new.keys() - both))
    # The dealer's SKU is part of a line, and a route may stand under another product than before.
    moved = len(gone & come)
    return Changes(len(come) - moved, changed + moved, len(gone) - moved)


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


_Row = tuple[str, int, str, Condition]
"""A route's cluster, cost in rupiah, dealer and terms."""


def _rows(image: Image, sku: str, clusters: Iterable[str]) -> dict[bytes, _Row]:
    """A product's routes by their lines. Those that serve anywhere come first, under no cluster,
    and again in the offers of each cluster."""
    rows: dict[bytes, _Row] = {}
    for cluster in clusters:
        offer = image.offer(sku, cluster or None)
        if offer is None:
            continue
        for cost, route, condition, dealer in zip(
            offer.costs, offer.routes, offer.conditions, offer.dealers, strict=True
        ):
            line = image.route_line(route)
            if line not in rows:
                rows[line] = (cluster, cost, image.dealers[dealer], image.conditions[condition])
    return rows


def _places(image: Image) -> dict[str, list[str]]:
    """Each product's clusters with candidates of their own, in order; empty for none."""
    places: dict[str, list[str]] = {}
    for key in image.keys():  # noqa: SIM118 - an image is no dictionary
        sku, _, cluster = key.partition("\t")
        places.setdefault(sku, []).append(cluster)
    return places


def _id_in(line: bytes) -> bytes:
    return line.partition(b"\t")[0]
