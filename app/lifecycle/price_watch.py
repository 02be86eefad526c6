"""Price watch: routes whose dealer charged more than their cost are not bought from.

What this process hears counts at once; it is written down soon afterwards, and every process reads
what stands each second. What a process hears and dies with is heard again with the next purchase.
"""

from collections.abc import Iterable, Sequence

from app.storage.price_rises import Muted, Rise
from routing.choose import NONE_RISEN
from routing.image import Image

_MOST_KEPT = 10_000
"""Rises that wait to be written; beyond it they are counted and logged only."""


class PriceWatch:
    """One process's view. For the event loop only."""

    def __init__(self) -> None:
        self._standing: Sequence[Muted] = ()
        self._unsaved: list[Rise] = []
        self._seen: tuple[Image, frozenset[int]] | None = None

    def hear(self, rises: Iterable[Rise]) -> None:
        """Purchases were charged above their cost."""
        room = _MOST_KEPT - len(self._unsaved)
        self._unsaved += list(rises)[:room]
        self._seen = None

    @property
    def count(self) -> int:
        """How many routes are written down as not to be bought from."""
        return len(self._standing)

    def take_unsaved(self) -> list[Rise]:
        """Those not written down yet, for whoever does. They count on until `saved`."""
        return list(self._unsaved)

    def saved(self, rises: Sequence[Rise], standing: Sequence[Muted]) -> None:
        """The first ones are written down; this stands now."""
        if rises or standing != self._standing:
            del self._unsaved[: len(rises)]
            self._standing = standing
            self._seen = None

    def routes(self, image: Image) -> frozenset[int]:
        """The numbers, in this table, of routes not to be bought from."""
        if not self._standing and not self._unsaved:
            return NONE_RISEN
        if self._seen is None or self._seen[0] is not image:
            self._seen = (image, frozenset(self._numbers(image)))
        return self._seen[1]

    def _numbers(self, image: Image) -> Iterable[int]:
        muted = [
            *self._standing,
            *(Muted(rise.route_id, rise.sku, rise.cluster) for rise in self._unsaved),
        ]
        for each in set(muted):
            offer = image.offer(each.sku, each.cluster)
            for route in () if offer is None else offer.routes:
                if image.route_text(route)[0] == each.route_id:
                    yield route
