"""References that doors called failed although no order stands for them.

door_refusals(lane, reseller_id, ref_id, fingerprint, code)
    unique (lane, reseller_id, ref_id)

Kept for ever, as references of orders are: a client may ask years later.
"""

from dataclasses import dataclass
from uuid import UUID

from app.storage.pool import Connection


@dataclass(frozen=True, slots=True)
class Refusal:
    """What was refused, and by which problem's code."""

    fingerprint: bytes
    code: str


async def find(connection: Connection, lane: int, reseller_id: UUID, ref_id: str) -> Refusal | None:
    """The refusal under a reseller's reference."""
    row = await connection.fetchrow(
        """
        select fingerprint, code from door_refusals
        where lane = $1 and reseller_id = $2 and ref_id = $3
        """,
        lane,
        reseller_id,
        ref_id,
    )
    return Refusal(row[0], row[1]) if row else None


async def note(
    connection: Connection, lane: int, reseller_id: UUID, ref_id: str, refusal: Refusal
) -> bool:
    """Keep a refusal unless an order stands for the reference. Returns whether none does."""
    return await connection.fetchval(
        """
        with held as materialized (
            select from order_references where lane = $1 and reseller_id = $2 and ref_id = $3
        ), noted as (
            insert into door_refusals (lane, reseller_id, ref_id, fingerprint, code)
            select $1, $2, $3, $4, $5 where not exists (select from held)
            on conflict do nothing
        )
        select not exists (select from held)
        """,
        lane,
        reseller_id,
        ref_id,
        refusal.fingerprint,
        refusal.code,
    )
