"""Which database this is: after a restore or a failover, purchases hold until people agree.

installation(system_identifier, timeline, hold, public_id)

A restored `ready` row may already have been bought, and a restored attempt already settled. When
the database turns out to be another one than remembered, `hold` is set. Claims compare and read it
in their own statements (the view `purchases_held`): no process needs to be told.
"""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from app.storage.pool import Connection


@dataclass(frozen=True, slots=True)
class Installation:
    """The database as it was last seen, and whether purchases and checks hold."""

    system_identifier: str
    timeline: int
    hold: bool
    changed_at: datetime


async def read(connection: Connection) -> Installation:
    """Compare the database with what is remembered; hold when it is another. Returns the state."""
    row = await connection.fetchrow(
        """
        update installation i
        set system_identifier = d.system_identifier, timeline = d.timeline, hold = true,
            changed_at = now()
        from database_identity d
        where i.system_identifier <> d.system_identifier or i.timeline <> d.timeline
        returning i.system_identifier, i.timeline, i.hold, i.changed_at
        """
    ) or await connection.fetchrow(
        "select system_identifier, timeline, hold, changed_at from installation"
    )
    if row is None:
        raise RuntimeError("the installation row is missing: run `jalur migrate`")
    return Installation(*row)


async def name(connection: Connection) -> str:
    """What tells this database from others that may use the same Redis."""
    return await connection.fetchval(
        "select system_identifier || ':' || current_database() from installation"
    )


async def public_id(connection: Connection) -> UUID:
    """What this installation calls itself to others: made once, the same in a restored copy."""
    return await connection.fetchval("select public_id from installation")


async def resume(connection: Connection) -> bool:
    """End the hold. Returns whether there was one."""
    return (
        await connection.execute(
            "update installation set hold = false, changed_at = now() where hold"
        )
        == "UPDATE 1"
    )


async def hold(connection: Connection) -> bool:
    """Hold purchases and checks. Returns whether they were going on."""
    return (
        await connection.execute(
            "update installation set hold = true, changed_at = now() where not hold"
        )
        == "UPDATE 1"
    )
