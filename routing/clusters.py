"""Which cluster (dealers' selling area) an order lies in, by what is known of where it is sold.

Digits decide no cluster: an operator matches a dealer's chip with the cell that the customer's
phone is in. So the order's own region counts first, then where its outlet stands, and the number's
prefix is no more than a guess at where the number was first sold.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from uuid import UUID

from routing.numbering import ClusterTable

Outlet = tuple[UUID, str]
"""A reseller and its own name for one of its outlets."""


class UnknownRegion(LookupError):
    """An order names a region that is in no cluster."""


@dataclass(frozen=True, slots=True)
class Clusters:
    """What is known of places: regions with their clusters, outlets with their regions, numbers."""

    regions: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    outlets: Mapping[Outlet, str] = field(default_factory=lambda: MappingProxyType({}))
    numbers: ClusterTable = field(default_factory=ClusterTable)
    blocked: Mapping[Outlet, str] = field(default_factory=lambda: MappingProxyType({}))
    """Outlets whose orders their reseller refuses, with its reason."""

    def of_region(self, region: str) -> str:
        """A region's cluster. Raises UnknownRegion."""
        cluster = self.regions.get(region)
        if cluster is None:
            raise UnknownRegion(region)
        return cluster

    def of(self, region: str | None, outlet: Outlet | None, number: str | None) -> str | None:
        """The cluster by the region, else by the outlet, else by the number, else none.

        An outlet that is not known says nothing. Raises UnknownRegion for a region that is not.
        """
        if region is not None:
            return self.of_region(region)
        if outlet is not None and (stands_in := self.outlets.get(outlet)) is not None:
            return self.regions.get(stands_in)
        return None if number is None else self.numbers.cluster_of(number)
