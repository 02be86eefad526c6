"""Callers whose keys were wrong, by address: who tries too many is slowed.

Kept by each process for itself, the addresses last seen only. IPv6 is counted by its /64, which is
what one customer of a network has.
"""

import math
import time
from collections import OrderedDict
from collections.abc import Callable
from functools import lru_cache
from ipaddress import IPv6Address, ip_address

from app.errors import FieldError, TooManyRequests
from app.rates import Rate

_REMEMBERED_ADDRESSES = 10_000
_NETWORK_BITS = 64


class Failures:
    """So many failures at a rate from each address."""

    def __init__(self, rate: Rate, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._rate = rate
        self._monotonic = monotonic
        self._full_at: OrderedDict[str, float] = OrderedDict()
        """By network: when all of its failures will be forgotten."""

    def count(self, address: str) -> None:
        """A key from this address was wrong."""
        network, now = _network(address), self._monotonic()
        full_at = max(now, self._full_at.get(network, now)) + 1 / self._rate.per_second
        self._full_at[network] = full_at
        self._full_at.move_to_end(network)
        while len(self._full_at) > _REMEMBERED_ADDRESSES:
            self._full_at.popitem(last=False)

    def require_patience(self, address: str) -> None:
        """Raise TooManyRequests where another failure would be one too many."""
        wait = self.wait_seconds(address)
        if wait:
            raise TooManyRequests(
                "rate-limited",
                "Too many wrong keys came from your address. Go on after `Retry-After`.",
                errors=[FieldError("auth", "too many wrong keys")],
                retry_after_seconds=wait,
            )

    def wait_seconds(self, address: str) -> int:
        """How long until another failure is borne; 0: at once."""
        if not self._full_at:
            return 0
        full_at = self._full_at.get(_network(address))
        if full_at is None:
            return 0
        over = full_at - self._monotonic() + 1 / self._rate.per_second - self._rate.window_seconds
        # What is left of rounding is no failure too many.
        return max(0, math.ceil(over - 1e-6))


@lru_cache(4096)
def _network(address: str) -> str:
    try:
        parsed = ip_address(address)
    except ValueError:
        return address
    if not isinstance(parsed, IPv6Address):
        return address
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return f"{int(parsed) >> _NETWORK_BITS:x}::/64"
