"""The reference that a dealer knows a purchase by: a pure function of the order and the attempt.

The lane comes first, so that a callback is found in the right lane without a search; then, as far
as there is room, the time of the order's id, so that what is written together lies together in the
index; the rest is a hash. Never a shortened UUID: those made in one millisecond share their first
half.
"""

import hashlib
from uuid import UUID

from dealers.contract import ReferenceRules

_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_PAIRS = [first + second for first in _DIGITS for second in _DIGITS]
_LANE_LENGTH = 2
_TIME_LENGTH = 8
"""Of milliseconds, before the year 2059 comes; a shorter time leaves its last digits out."""
_HASH_LENGTH = 12
"""62 bits."""
_LONGEST = _LANE_LENGTH + _TIME_LENGTH + _HASH_LENGTH
_SHORTEST = _LANE_LENGTH + _HASH_LENGTH
_BELOW_MILLISECONDS = 80
"""The bits of a UUIDv7 below its time."""


def dealer_reference(lane: int, order_id: UUID, attempt_no: int, rules: ReferenceRules) -> str:
    """The dealer reference, `[0-9A-Z]`, as long as the dealer allows, at most 22 characters.

    Raises ValueError for a dealer that allows fewer than 14.
    """
    length = min(rules.max_length, _LONGEST)
    if length < _SHORTEST:
        raise ValueError(f"a dealer reference needs {_SHORTEST} characters, not {length}")
    digest = hashlib.sha256(order_id.bytes + attempt_no.to_bytes(2, "big")).digest()
    return (
        _base36(lane, _LANE_LENGTH)
        + _base36(order_id.int >> _BELOW_MILLISECONDS, _TIME_LENGTH)[: length - _SHORTEST]
        + _base36(int.from_bytes(digest, "big"), _HASH_LENGTH)
    )


def lane_of_reference(dealer_ref: str, lanes: int) -> int | None:
    """The lane that a dealer reference names; None where it cannot be one of ours."""
    head = dealer_ref[:_LANE_LENGTH]
    if len(head) < _LANE_LENGTH or any(digit not in _DIGITS for digit in head):
        return None
    lane = int(head, len(_DIGITS))
    return lane if lane < lanes else None


def _base36(number: int, width: int) -> str:
    """The last `width` digits of a number in base 36."""
    pairs: list[str] = []
    number %= len(_DIGITS) ** width
    for _ in range((width + 1) // 2):
        number, pair = divmod(number, len(_PAIRS))
        pairs.append(_PAIRS[pair])
    pairs.reverse()
    return "".join(pairs)[-width:]
