"""Hops: the installations that an order came through, so that a chain which closes is noticed.

An installation that buys at another one names itself behind those that its order came with:

    Jalur-Hops: 3f8a1f0e-6d0c-4a52-9f5b-0f6f8f6f2a10, 9be2d3f4-1c55-4f0e-8f0a-5f8f6b7f3c21

Whoever finds itself named is asked to buy what it is selling. Pure.
"""

import re
from collections.abc import Sequence
from uuid import UUID

HEADER = "Jalur-Hops"
MOST_HOPS = 8
"""An order that came through more installations is refused like a loop."""
_LONGEST_TEXT = 1024
_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")

Hops = tuple[UUID, ...]
"""The installations that an order came through, the first one first."""


class InvalidHops(ValueError):
    """The header cannot be read. The message completes "The header …"."""


def read_hops(text: str) -> Hops:
    """The hops of a header's value; several headers are joined with commas. Raises InvalidHops."""
    if len(text) > _LONGEST_TEXT:
        raise InvalidHops(f"is longer than {_LONGEST_TEXT} characters")
    parts = [part.strip(" \t").lower() for part in text.split(",")]
    if not all(_ID.fullmatch(part) for part in parts):
        raise InvalidHops("must hold the ids of installations, UUIDs with commas between")
    return tuple(UUID(part) for part in parts)


def loop_in(hops: Hops, own: UUID) -> str | None:
    """Why an order with these hops may not pass this installation, a sentence; None if it may."""
    if own in hops:
        return "The order came through this installation before."
    if len(set(hops)) < len(hops):
        return "The order came through an installation twice."
    if len(hops) > MOST_HOPS:
        return f"The order came through {len(hops)} installations; {MOST_HOPS} are allowed."
    return None


def passed_on(hops: Sequence[UUID] | None, own: str) -> tuple[str, ...]:
    """The hops that a purchase for an order carries: the order's, and this installation last."""
    return (*map(str, hops), own) if hops else (own,)
