"""Doors: accounts of resellers whose clients speak a protocol of the field.

doors(door_id, shape, name, lane, reseller_id, secrets_sealed, previous_sealed, previous_until, …)
    unique (door_id), (shape, name); index (reseller_id)
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from app.networks import Network
from app.storage.pool import Connection


@dataclass(frozen=True, slots=True)
class Door:
    """A door as operators see it, open or removed."""

    door_id: UUID
    shape: str
    name: str
    lane: int
    reseller_id: UUID
    networks: tuple[Network, ...]
    endpoint_id: UUID | None
    created_at: datetime
    previous_until: datetime | None
    removed_at: datetime | None


@dataclass(frozen=True, slots=True)
class OpenDoor:
    """A door that was not removed, with its sealed secrets and those that they replaced."""

    door_id: UUID
    shape: str
    name: str
    lane: int
    reseller_id: UUID
    tier: str
    test: bool
    """Whether it is of the test side."""
    suspended: bool
    """Whether its reseller is."""
    networks: tuple[Network, ...]
    secrets_sealed: bytes = field(repr=False)
    previous_sealed: bytes | None = field(repr=False)
    previous_until: datetime | None
    orders_rate: str | None
    """What operators set for the reseller; None: the usual rates."""
    reads_rate: str | None


@dataclass(frozen=True, slots=True)
class NewDoor:
    """A door to create, its secrets sealed already."""

    door_id: UUID
    shape: str
    name: str
    lane: int
    reseller_id: UUID
    networks: tuple[Network, ...]
    endpoint_id: UUID | None
    secrets_sealed: bytes = field(repr=False)


_DOOR = """
    select door_id, shape, name, lane, reseller_id, networks, endpoint_id, created_at,
           previous_until, removed_at
    from doors
"""


def secrets_context(door_id: UUID) -> bytes:
    """What a door's sealed secrets are bound to."""
    return b"door-secrets:" + door_id.bytes


async def create(connection: Connection, new: NewDoor) -> bool:
    """Insert a door. Returns False where its name is, or was, another's."""
    done = await connection.execute(
        """
        insert into doors (door_id, shape, name, lane, reseller_id, networks, endpoint_id,
                           secrets_sealed)
        values ($1, $2, $3, $4, $5, $6, $7, $8)
        on conflict (shape, name) do nothing
        """,
        new.door_id,
        new.shape,
        new.name,
        new.lane,
        new.reseller_id,
        list(new.networks),
        new.endpoint_id,
        new.secrets_sealed,
    )
    return done == "INSERT 0 1"


async def find(
    connection: Connection, named: Sequence[tuple[str, str]]
) -> dict[tuple[str, str], OpenDoor]:
    """The doors of these shapes and names that were not removed."""
    rows = await connection.fetch(
        """
        select d.door_id, d.shape, d.name, d.lane, d.reseller_id, r.tier, r.test,
               r.status <> 'active', d.networks, d.secrets_sealed, d.previous_sealed,
               d.previous_until, r.orders_rate, r.reads_rate
        from unnest($1::text[], $2::text[]) wanted (shape, name)
        join doors d on d.shape = wanted.shape and d.name = wanted.name
        join resellers r on r.lane = d.lane and r.reseller_id = d.reseller_id
        where d.removed_at is null
        """,
        [shape for shape, _ in named],
        [name for _, name in named],
    )
    return {(row[1], row[2]): _open_door(row) for row in rows}


async def lock(connection: Connection, shape: str, name: str) -> Door | None:
    """Lock a door, open or removed, and read it."""
    row = await connection.fetchrow(
        _DOOR + " where shape = $1 and name = $2 for update", shape, name
    )
    return _door(row) if row else None


async def list_of(connection: Connection, lane: int, reseller_id: UUID) -> list[Door]:
    """All doors that a reseller ever had, the oldest first."""
    rows = await connection.fetch(
        _DOOR + " where lane = $1 and reseller_id = $2 order by created_at, door_id",
        lane,
        reseller_id,
    )
    return [_door(row) for row in rows]


async def replace_secrets(
    connection: Connection, door_id: UUID, sealed: bytes, overlap: timedelta
) -> None:
    """Take new secrets; the ones they replace go on opening for as long as said."""
    await connection.execute(
        """
        update doors
        set previous_sealed = case when $3::interval > '0' then secrets_sealed end,
            previous_until = case when $3::interval > '0' then now() + $3 end,
            secrets_sealed = $2
        where door_id = $1
        """,
        door_id,
        sealed,
        overlap,
    )


async def set_networks(connection: Connection, door_id: UUID, networks: Sequence[Network]) -> None:
    """Open the door only to these networks; to all with none."""
    await connection.execute(
        "update doors set networks = $2 where door_id = $1", door_id, list(networks)
    )


async def set_endpoint(connection: Connection, door_id: UUID, endpoint_id: UUID | None) -> None:
    """Say which endpoint the door's callbacks go to."""
    await connection.execute(
        "update doors set endpoint_id = $2 where door_id = $1", door_id, endpoint_id
    )


async def remove(connection: Connection, door_id: UUID) -> None:
    """Close the door for good."""
    await connection.execute("update doors set removed_at = now() where door_id = $1", door_id)


def _door(row: Any) -> Door:  # noqa: ANN401 - a record
    values = list(row)
    values[5] = tuple(values[5])
    return Door(*values)


def _open_door(row: Any) -> OpenDoor:  # noqa: ANN401 - a record
    values = list(row)
    values[8] = tuple(values[8])
    return OpenDoor(*values)
