"""Lanes: the key by which a reseller's rows, and what is kept of a customer's number, can be spread
over machines, chosen for ever."""

import hashlib
from collections.abc import Iterable
from uuid import UUID

LANES = 64


def lane_of(reseller_id: UUID) -> int:
    """The reseller's lane, 0 to 63: a stable hash of its id."""
    return _hash(reseller_id.bytes)


def lane_of_number(customer_number: str) -> int:
    """A customer number's own lane, 0 to 63, whichever resellers order for it."""
    return _hash(customer_number.encode())


def _hash(key: bytes) -> int:
    return int.from_bytes(hashlib.sha256(key).digest()[:4], "big") % LANES


def lane_groups(count: int) -> list[list[int]]:
    """Split the lanes into `count` groups; one statement serves one. 1 on plain PostgreSQL."""
    return [list(range(first, LANES, count)) for first in range(count)]


class Rounds:
    """Where the next look at the lanes begins, for each dealer: it goes round them, so that nobody
    waits for those who came later to the lanes before, nor for a lane that never ends."""

    def __init__(self) -> None:
        self._first: dict[str, int] = {}

    def first(self, dealer_id: str) -> int:
        """The lane with which the next look begins; those before it come last."""
        return self._first.get(dealer_id, 0)

    def looked(self, dealer_id: str, found: Iterable[int], *, everything: bool) -> None:
        """A look that began there found orders in these lanes, and perhaps everything there is.

        The next one begins in the lane where this one had to stop, but not twice in the same.
        """
        began = self.first(dealer_id)
        if not everything:
            passed = max(((lane - began) % LANES for lane in found), default=0)
            self._first[dealer_id] = (began + max(passed, 1)) % LANES
