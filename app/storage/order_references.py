"""Order references: the resellers' own, each unique for ever, and the orders they stand for.

order_references(lane, reseller_id, ref_id, order_id, fingerprint)
    unique (lane, reseller_id, ref_id)

A table of its own: orders may be partitioned by id and old partitions dropped, a reference never;
and with one index only there is only one plan to look a reference up.
"""

from dataclasses import dataclass
from uuid import UUID

from app.storage.pool import Connection

NO_ORDER = UUID(int=0)
"""Holds the references that a door called failed: whatever comes under them is another order."""


@dataclass(frozen=True, slots=True)
class Holder:
    """The order that a reference stands for."""

    order_id: UUID
    fingerprint: bytes


async def find(connection: Connection, lane: int, reseller_id: UUID, ref_id: str) -> Holder | None:
    """The order that a reseller's reference stands for."""
    row = await connection.fetchrow(
        """
        select order_id, fingerprint from order_references
        where lane = $1 and reseller_id = $2 and ref_id = $3
        """,
        lane,
        reseller_id,
        ref_id,
    )
    return Holder(row[0], row[1]) if row else None
