"""The table of the test side: simulators that sell every product there is, for next to nothing.

It takes no routes. What resellers can order, they can try out, whatever the routing table says; and
no route can lead from one side to the other.
"""

from collections.abc import Iterable, Set

from routing.image import Image, Offer
from routing.table import NO_CONDITION

COST_RUPIAH = 1
"""What the first simulator takes; each further one a rupiah more, so that they have an order."""


class SandboxImage(Image):
    """A table in which each of these dealers offers each product, under the SKU it has here."""

    __slots__ = ("_named", "_numbers", "_on_sale")

    def __init__(self, dealers: Iterable[str], on_sale: Set[str]) -> None:
        """`on_sale` are the SKUs of all products."""
        self.dealers = tuple(sorted(dealers))
        self.checksum = "sandbox"
        self.conditions = (NO_CONDITION,)
        self.has_quotas = self.has_limits = False
        self._on_sale = on_sale
        self._numbers: dict[str, int] = {}
        self._named: list[str] = []

    def __len__(self) -> int:
        """How many offers there are."""
        return len(self._on_sale) * len(self.dealers)

    def offer(self, sku: str, cluster: str | None) -> Offer | None:
        """What each dealer asks for the product, wherever it is."""
        if sku not in self._on_sale or not self.dealers:
            return None
        count, number = len(self.dealers), self._number(sku)
        return Offer(
            tuple(range(COST_RUPIAH, COST_RUPIAH + count)),
            tuple(range(number * count, number * count + count)),
            (0,) * count,
            tuple(range(count)),
            costs_repeat=False,
        )

    def route_text(self, route: int) -> tuple[str, str]:
        """A name for the offer, and the product's SKU."""
        number, dealer = divmod(route, len(self.dealers))
        sku = self._named[number]
        return f"{self.dealers[dealer]}/{sku}", sku

    def _number(self, sku: str) -> int:
        """The product's number, given out when it is first asked for."""
        number = self._numbers.setdefault(sku, len(self._named))
        if number == len(self._named):
            self._named.append(sku)
        return number
