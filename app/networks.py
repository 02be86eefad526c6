"""Where a call comes from, and whether that is among the networks listed for it.

The address is that of the connection; behind a proxy named in the settings, the one that the proxy
vouches for (decision 0031). A server that listens on IPv6 sees IPv4 callers as `::ffff:192.0.2.1`:
that is the same address.
"""

from collections.abc import Iterable
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)

Network = IPv4Network | IPv6Network

_MAPPED = IPv6Network("::ffff:0:0/96")


def read_address(text: str) -> IPv4Address | IPv6Address | None:
    """An address, as IPv4 where it is one in an IPv6 coat; None for what is none."""
    try:
        address = ip_address(text)
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def is_within(text: str, networks: Iterable[Network]) -> bool:
    """Whether an address lies in one of the networks. What is no address lies in none."""
    address = read_address(text)
    return address is not None and any(address in network for network in networks)


def read_network(text: str) -> Network:
    """An address or a network; in an IPv6 coat, the IPv4 one in it. Raises ValueError."""
    network = ip_network(text)
    if isinstance(network, IPv6Network) and network.subnet_of(_MAPPED):
        inner = int(network.network_address) & 0xFFFF_FFFF
        return IPv4Network((inner, network.prefixlen - _MAPPED.prefixlen))
    return network


def covers(outer: Network, inner: Network) -> bool:
    """Whether all of `inner` lies in `outer`."""
    if isinstance(outer, IPv4Network):
        return isinstance(inner, IPv4Network) and inner.subnet_of(outer)
    return isinstance(inner, IPv6Network) and inner.subnet_of(outer)
