"""References that doors called failed although no order stands for them.

door_refusals(lane, reseller_id, ref_id, fingerprint, code)
    unique (lane, reseller_id, ref_id)

Kept for ever, as references of orders are: a client may ask years later.
"""

from dataclasses import dataclass
from uuid import UUID

from app.storage import order_references
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
    """Keep a refusal unless the reference is taken. Returns whether it was free.

    The reference is taken with it, by no order: one that is being accepted right now is waited for,
    and none is accepted under it afterwards.
    """
    return await connection.fetchval(
        """
        with taken as (
            insert into order_references (lane, reseller_id, ref_id, order_id, fingerprint)
            values ($1, $2, $3, $6, '')
            on conflict do nothing
            returning 1
        ), noted as (
            insert into door_refusals (lane, reseller_id, ref_id, fingerprint, code)
            select $1, $2, $3, $4, $5 from taken
        )
        select exists (select from taken)
        """,
        lane,
        reseller_id,
        ref_id,
        refusal.fingerprint,
        refusal.code,
        order_references.NO_ORDER,
    )
