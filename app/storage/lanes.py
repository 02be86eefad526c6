"""Lanes: the key by which a reseller's rows, and what is kept of a customer's number, can be spread
over machines, chosen for ever."""

import hashlib
from collections.abc import Sequence
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


def rotated(lanes: Sequence[int], turn: int) -> tuple[list[int], list[int]]:
    """The lanes from the turn's starting point on, and those before it, so that none starves."""
    start = turn % len(lanes)
    return list(lanes[start:]), list(lanes[:start])
