"""What must hold after a load, asked of everybody who saw a part of it; rates of a service that
loses, doubles or miscounts are worth nothing."""

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import asyncpg
import httpx

from app.storage import lives, statements
from app.storage.pool import Connection
from loadtests.orders import must_fail

_SETTLING_SECONDS = 20.0
_LOOK_SECONDS = 0.2
_ANSWER_SECONDS = 60.0
FIRST_ID = UUID(int=0)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the witnesses say of a load."""

    faults: Sequence[str]
    lost: int
    """Accepted, and not both ended and reported."""
    doubled: int
    """Customers who were served more than once."""


async def examine_accepted(dsn: str, accepted: int) -> list[str]:
    """What is wrong after orders were accepted and nobody worked on them."""
    connection = await asyncpg.connect(dsn)
    try:
        stored = await connection.fetchval("select count(*) from orders where status = 'accepted'")
        ready = await connection.fetchval("select count(*) from ready")
        return [
            *_differing("orders accepted", accepted, "stored", stored),
            *_differing("orders accepted", accepted, "waiting for a dealer", ready),
            *await _ledger_faults(connection),
        ]
    finally:
        await connection.close()


async def until_nothing_is_left(
    dsn: str, since: UUID = FIRST_ID, seconds: float = _SETTLING_SECONDS
) -> None:
    """The last results are recorded just after their webhooks: give them a moment, those of orders
    from this id on."""
    connection = await asyncpg.connect(dsn)
    deadline = time.monotonic() + seconds
    try:
        while time.monotonic() < deadline:
            if (await lives.unfinished(connection, since)).nothing:
                return
            await asyncio.sleep(_LOOK_SECONDS)
    finally:
        await connection.close()


async def examine_delivered(
    dsn: str, simulator_url: str, receiver_url: str, accepted: int, since: UUID = FIRST_ID
) -> list[str]:
    """What is wrong after every accepted order should have been bought once and reported."""
    return list((await judge_delivered(dsn, simulator_url, receiver_url, accepted, since)).faults)


async def judge_delivered(
    dsn: str, simulator_url: str, receiver_url: str, accepted: int, since: UUID = FIRST_ID
) -> Verdict:
    """The same with its counts; orders for numbers that nobody can serve must have failed.

    Of orders from the id `since` on; all money is looked at only where that is everything.
    """
    connection = await asyncpg.connect(dsn)
    try:
        left = await lives.unfinished(connection, since)
        orders = await connection.fetch(_ORDERS, since)
        purchases = await connection.fetch(_PURCHASES, since)
        ledger_faults = await _ledger_faults(connection) if since == FIRST_ID else []
    finally:
        await connection.close()
    async with httpx.AsyncClient(timeout=_ANSWER_SECONDS, trust_env=False) as client:
        book = (await client.get(f"{simulator_url}/book")).raise_for_status().json()
        counts = (await client.get(f"{receiver_url}/counts")).raise_for_status().json()
    hopeless = sum(must_fail(row[1]) for row in orders)
    ended = sum(row[0] == ("failed" if must_fail(row[1]) else "succeeded") for row in orders)
    served = Counter(row["customer_number"] for row in book)
    faults = [
        *([] if left.nothing else [f"left undone: {left}"]),
        *_differing("orders accepted", accepted, "ended as they had to", ended),
        *book_faults(book, {(row[0], row[1]) for row in purchases}, accepted - hopeless),
        *_differing("orders accepted", accepted, "reported", counts["orders"]),
        *(f"{count} webhooks rejected: {why}" for why, count in counts["rejected"].items()),
        *ledger_faults,
    ]
    reached = min(ended, len(served) + hopeless, counts["orders"])
    return Verdict(faults, max(0, accepted - reached), sum(each > 1 for each in served.values()))


_ORDERS = """
    select o.status, o.customer_number from generate_series(0, 63) l (lane)
    cross join lateral (
        select status, customer_number from orders
        where lane = l.lane and order_id >= $1
        offset 0
    ) o
"""
_PURCHASES = """
    select a.dealer_id, a.dealer_ref from generate_series(0, 63) l (lane)
    cross join lateral (
        select dealer_id, dealer_ref from attempts
        where lane = l.lane and order_id >= $1 and state = 'succeeded'
        offset 0
    ) a
"""


async def examine_ledger(dsn: str) -> list[str]:
    """What is wrong with the money of the whole installation."""
    connection = await asyncpg.connect(dsn)
    try:
        return await _ledger_faults(connection)
    finally:
        await connection.close()


def book_faults(
    book: list[dict[str, Any]], purchases: set[tuple[str, str]], accepted: int
) -> list[str]:
    """The dealers' own book: each customer served once, by the purchase that is on record here."""
    served = Counter(row["customer_number"] for row in book)
    twice = sum(count > 1 for count in served.values())
    delivered = {(row["dealer"], row["dealer_ref"]) for row in book}
    return [
        *_differing("orders that can be served", accepted, "customers served", len(served)),
        *([f"{twice} customers were served more than once"] if twice else []),
        *(
            [f"{left} purchases differ from the book"]
            if (left := len(delivered ^ purchases))
            else []
        ),
    ]


async def _ledger_faults(connection: Connection) -> list[str]:
    found = await statements.verify(connection)
    return [f"ledger: {each.check}, {each.count} rows: {each.examples[0]}" for each in found]


def _differing(expected_name: str, expected: int, name: str, found: int) -> list[str]:
    return [] if found == expected else [f"{expected} {expected_name}, {found} {name}"]
