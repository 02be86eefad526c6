"""Outlets: where each of a reseller's agents stands, and those whose orders the reseller refuses.

outlets(lane, reseller_id, outlet_id, region, blocked, blocked_reason, revision, removed_at)
    unique (lane, reseller_id, outlet_id); index (revision)

Every change raises the outlets' revision, under the lock of its row, and writes it into the rows it
changes: so a process that reads what is newer than it has misses nothing. A removed row stays for a
day, for those that have not read of it yet.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from app.storage.pool import Connection, transposed


@dataclass(frozen=True, slots=True)
class Outlet:
    """An outlet as its reseller sees it. `revision` names this state of it."""

    outlet_id: str
    region: str | None
    blocked: bool
    blocked_reason: str
    revision: int


@dataclass(frozen=True, slots=True)
class Change:
    """What became of an outlet: where it stands, if anywhere, and why its orders are refused."""

    reseller_id: UUID
    outlet_id: str
    region: str | None
    blocked: bool
    blocked_reason: str


_OUTLET = "select outlet_id, region, blocked, blocked_reason, revision from outlets"


async def changed_since(connection: Connection, revision: int) -> list[Change]:
    """Every outlet that changed after a revision, with nothing left of those removed; all at 0."""
    rows = await connection.fetch(
        """
        select reseller_id, outlet_id, region, blocked, blocked_reason from outlets
        where revision > $1 or ($1 = 0 and removed_at is null)
        """,
        revision,
    )
    return [Change(*row) for row in rows]


async def find(
    connection: Connection, lane: int, reseller_id: UUID, outlet_id: str
) -> Outlet | None:
    """One of a reseller's outlets."""
    row = await connection.fetchrow(
        _OUTLET + " where lane = $1 and reseller_id = $2 and outlet_id = $3 and removed_at is null",
        lane,
        reseller_id,
        outlet_id,
    )
    return Outlet(*row) if row else None


async def page(
    connection: Connection,
    lane: int,
    reseller_id: UUID,
    after: str,
    limit: int,
    *,
    blocked: bool | None = None,
) -> list[Outlet]:
    """A reseller's outlets behind an id, by id; all, or those that are blocked or not."""
    rows = await connection.fetch(
        _OUTLET
        + """
        where lane = $1 and reseller_id = $2 and outlet_id > $3 and removed_at is null
          and ($5::boolean is null or blocked = $5)
        order by outlet_id limit $4
        """,
        lane,
        reseller_id,
        after,
        limit,
        blocked,
    )
    return [Outlet(*row) for row in rows]


async def regions_of(
    connection: Connection,
    lane: int,
    reseller_id: UUID,
    after: str = "",
    most: int | None = None,
) -> list[tuple[str, str]]:
    """A reseller's outlets behind an id that stand somewhere, with their regions, by id."""
    rows = await connection.fetch(
        """
        select outlet_id, region from outlets
        where lane = $1 and reseller_id = $2 and outlet_id > $3 and region is not null
          and removed_at is null
        order by outlet_id limit $4
        """,
        lane,
        reseller_id,
        after,
        most,
    )
    return [(row[0], row[1]) for row in rows]


async def count(connection: Connection, lane: int, reseller_id: UUID) -> int:
    """How many rows a reseller has, those of removed outlets included."""
    return await connection.fetchval(
        "select count(*) from outlets where lane = $1 and reseller_id = $2", lane, reseller_id
    )


async def put_regions(
    connection: Connection, lane: int, reseller_id: UUID, outlets: Sequence[tuple[str, str]]
) -> None:
    """Insert or replace the regions that a reseller's outlets stand in; blocks stay."""
    await connection.execute(
        """
        with raised as (
            update routing_policy set outlets_revision = outlets_revision + 1
            returning outlets_revision
        )
        insert into outlets (lane, reseller_id, outlet_id, region, revision)
        select $1, $2, k.outlet_id, k.region, outlets_revision
        from raised, unnest($3::text[], $4::text[]) k (outlet_id, region)
        on conflict (lane, reseller_id, outlet_id) do update
        set region = excluded.region, revision = excluded.revision, removed_at = null
        """,
        lane,
        reseller_id,
        *transposed(outlets, 2),
    )


async def put(
    connection: Connection,
    lane: int,
    reseller_id: UUID,
    outlet_id: str,
    region: str | None,
    *,
    blocked: bool,
    reason: str,
) -> int:
    """Insert or replace an outlet. Returns the revision of what stands now."""
    return await connection.fetchval(
        """
        with raised as (
            update routing_policy set outlets_revision = outlets_revision + 1
            returning outlets_revision
        )
        insert into outlets (lane, reseller_id, outlet_id, region, blocked, blocked_reason,
                             revision)
        select $1, $2, $3, $4::text, $5::boolean, $6::text, outlets_revision from raised
        on conflict (lane, reseller_id, outlet_id) do update
        set region = excluded.region, blocked = excluded.blocked,
            blocked_reason = excluded.blocked_reason, revision = excluded.revision,
            removed_at = null
        returning revision
        """,
        lane,
        reseller_id,
        outlet_id,
        region,
        blocked,
        reason,
    )


async def forget_region(
    connection: Connection, lane: int, reseller_id: UUID, outlet_id: str
) -> None:
    """Forget where an outlet stands: with that the outlet, unless it is blocked."""
    await connection.execute(
        """
        with raised as (
            update routing_policy set outlets_revision = outlets_revision + 1
            returning outlets_revision
        )
        update outlets
        set region = null, revision = outlets_revision,
            removed_at = case when blocked then null else now() end
        from raised where lane = $1 and reseller_id = $2 and outlet_id = $3
        """,
        lane,
        reseller_id,
        outlet_id,
    )


async def remove(connection: Connection, lane: int, reseller_id: UUID, outlet_id: str) -> None:
    """Remove an outlet, its block included."""
    await connection.execute(
        """
        with raised as (
            update routing_policy set outlets_revision = outlets_revision + 1
            returning outlets_revision
        )
        update outlets
        set region = null, blocked = false, blocked_reason = '', removed_at = now(),
            revision = outlets_revision
        from raised where lane = $1 and reseller_id = $2 and outlet_id = $3
        """,
        lane,
        reseller_id,
        outlet_id,
    )


async def drop_removed(connection: Connection) -> None:
    """Drop the rows of outlets that were removed more than a day ago."""
    await connection.execute("delete from outlets where removed_at < now() - interval '1 day'")
