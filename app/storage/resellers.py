"""Resellers: who may order, at which prices; each has one wallet from the first moment on.

resellers(lane, reseller_id, name, tier, status)
    unique (lane, reseller_id)
"""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from app.storage.lanes import lane_of
from app.storage.pool import Connection


@dataclass(frozen=True, slots=True)
class NewReseller:
    """A reseller to create. `credit_limit` in rupiah; `tier` names the prices it pays."""

    reseller_id: UUID
    name: str
    tier: str = "standard"
    credit_limit: int = 0


@dataclass(frozen=True, slots=True)
class Reseller:
    """A reseller as it stands."""

    lane: int
    reseller_id: UUID
    name: str
    tier: str
    status: str
    created_at: datetime


async def create(connection: Connection, new: NewReseller) -> int:
    """Insert a reseller and its empty wallet. Returns its lane."""
    lane = lane_of(new.reseller_id)
    await connection.execute(
        """
        with reseller as (
            insert into resellers (lane, reseller_id, name, tier) values ($1, $2, $3, $4)
        )
        insert into wallets (lane, reseller_id, credit_limit) values ($1, $2, $5)
        """,
        lane,
        new.reseller_id,
        new.name,
        new.tier,
        new.credit_limit,
    )
    return lane


async def find(connection: Connection, reseller_id: UUID) -> Reseller | None:
    """The reseller, or None."""
    row = await connection.fetchrow(
        """
        select lane, reseller_id, name, tier, status, created_at from resellers
        where lane = $1 and reseller_id = $2
        """,
        lane_of(reseller_id),
        reseller_id,
    )
    return Reseller(*row) if row else None


async def lock(connection: Connection, lane: int, reseller_id: UUID) -> None:
    """Lock the reseller's row, so that changes of what it owns come one after the other."""
    await connection.execute(
        "select from resellers where lane = $1 and reseller_id = $2 for update", lane, reseller_id
    )
