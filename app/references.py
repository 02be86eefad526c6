"""The reference that a dealer knows a purchase by: a pure function of the order and the attempt.

The lane comes first, so that a callback is found in the right lane without a search; the rest is
a hash. Never a shortened UUID: those made in one millisecond share their first half.
"""

import hashlib
from uuid import UUID

from dealers.contract import ReferenceRules

_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_PAIRS = [first + second for first in _DIGITS for second in _DIGITS]
_LANE_LENGTH = 2
_LONGEST = 22
_SHORTEST = 14
"""Twelve characters of hash: 62 bits."""


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
        + _base36(int.from_bytes(digest, "big"), length)[_LANE_LENGTH - length :]
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
