"""Webhook endpoints: where a reseller wants to be told.

webhook_endpoints(lane, endpoint_id, reseller_id, url, event_types, status, secret_sealed, …)
    unique (lane, endpoint_id); index (lane, reseller_id)

`version` counts what the reseller decided, and that we disabled it. While a secret rotates the old
one stands in `old_secret_sealed` until `old_secret_until`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from app.storage.pool import Connection, transposed


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An endpoint as it stands. `event_types` None: all of them."""

    lane: int
    endpoint_id: UUID
    reseller_id: UUID
    url: str
    event_types: list[str] | None
    status: str
    secrets_sealed: list[bytes]
    """All that sign now, the newest first."""
    created_at: datetime
    description: str
    version: int
    schedule_seconds: list[float] | None
    rate_per_second: float | None
    old_secret_until: datetime | None
    """Until when the old secret signs too; None without one."""
    disabled_reason: str | None
    disabled_at: datetime | None
    failing_since: datetime | None
    shape: str = "standard"
    """The form in which it is told: as webhooks are, or as a door's protocol has it."""

    def wants(self, event_type: str) -> bool:
        """Whether the reseller asked to be told of this kind of event here."""
        return self.event_types is None or event_type in self.event_types


_ENDPOINT = """
    select e.lane, e.endpoint_id, e.reseller_id, e.url, e.event_types, e.status,
           array_remove(array[e.secret_sealed, case when e.old_secret_until > now()
                                               then e.old_secret_sealed end], null),
           e.created_at, e.description, e.version, e.schedule_seconds, e.rate_per_second,
           case when e.old_secret_until > now() then e.old_secret_until end,
           e.disabled_reason, e.disabled_at, e.failing_since, e.shape
    from webhook_endpoints e
"""

OF_RESELLERS = (
    _ENDPOINT
    + """
    join unnest($1::smallint[], $2::uuid[]) k (lane, reseller_id)
      on e.lane = k.lane and e.reseller_id = k.reseller_id
    where e.status <> 'deleted'
"""
)
"""The end of a statement: $1 lanes, $2 reseller ids; columns as `Endpoint` names them."""


async def of_resellers(connection: Connection, keys: Sequence[tuple[int, UUID]]) -> list[Endpoint]:
    """The endpoints of these resellers that events go to; a disabled one goes on collecting."""
    rows = await connection.fetch(OF_RESELLERS, *transposed(keys, 2))
    return [Endpoint(*row) for row in rows]


async def spendable(connection: Connection, lane: int, endpoint_id: UUID) -> int | None:
    """What the endpoint's reseller can order for now, in rupiah: its balance and its credit."""
    return await connection.fetchval(
        """
        select w.available + w.credit_limit from webhook_endpoints e
        join wallets w on w.lane = e.lane and w.reseller_id = e.reseller_id
        where e.lane = $1 and e.endpoint_id = $2
        """,
        lane,
        endpoint_id,
    )


async def find(
    connection: Connection, lane: int, reseller_id: UUID, endpoint_id: UUID
) -> Endpoint | None:
    """A reseller's endpoint, unless it was deleted."""
    row = await connection.fetchrow(
        _ENDPOINT
        + " where e.lane = $1 and e.reseller_id = $2 and e.endpoint_id = $3"
        + " and e.status <> 'deleted'",
        lane,
        reseller_id,
        endpoint_id,
    )
    return Endpoint(*row) if row else None


async def lock(
    connection: Connection, lane: int, reseller_id: UUID, endpoint_id: UUID
) -> Endpoint | None:
    """As `find`, its row locked until the transaction ends."""
    row = await connection.fetchrow(
        _ENDPOINT
        + " where e.lane = $1 and e.reseller_id = $2 and e.endpoint_id = $3"
        + " and e.status <> 'deleted' for update",
        lane,
        reseller_id,
        endpoint_id,
    )
    return Endpoint(*row) if row else None


class Disabled(NamedTuple):
    """What was disabled by us."""

    reseller_id: UUID
    url: str
    description: str
    failing_since: datetime | None
    disabled_at: datetime


async def disable(
    connection: Connection, lane: int, endpoint_id: UUID, reason: str
) -> Disabled | None:
    """Stop sending to an endpoint. None where it was not active."""
    row = await connection.fetchrow(
        """
        update webhook_endpoints
        set status = 'disabled', disabled_at = now(), disabled_reason = $3, version = version + 1
        where lane = $1 and endpoint_id = $2 and status = 'active'
        returning reseller_id, url, description, failing_since, disabled_at
        """,
        lane,
        endpoint_id,
        reason,
    )
    return Disabled(*row) if row else None


@dataclass(frozen=True, slots=True)
class NewEndpoint:
    """An endpoint to create, its secret sealed already."""

    lane: int
    endpoint_id: UUID
    reseller_id: UUID
    url: str
    event_types: list[str] | None
    secret_sealed: bytes
    description: str = ""
    schedule_seconds: Sequence[float] | None = None
    rate_per_second: float | None = None
    shape: str = "standard"


async def create(connection: Connection, new: NewEndpoint) -> datetime:
    """Insert an active endpoint. Returns when it was created."""
    return await connection.fetchval(
        """
        insert into webhook_endpoints (lane, endpoint_id, reseller_id, url, event_types,
                                       secret_sealed, description, schedule_seconds,
                                       rate_per_second, shape)
        values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
        returning created_at
        """,
        new.lane,
        new.endpoint_id,
        new.reseller_id,
        new.url,
        new.event_types,
        new.secret_sealed,
        new.description,
        new.schedule_seconds,
        new.rate_per_second,
        new.shape,
    )


async def update(connection: Connection, after: Endpoint) -> None:
    """Write what a reseller may change of its endpoint, as the next version.

    Enabled, it begins anew: what failed before does not count against it.
    """
    await connection.execute(
        """
        update webhook_endpoints
        set url = $3, event_types = $4, description = $5, schedule_seconds = $6,
            rate_per_second = $7, status = $8, version = version + 1,
            failing_since = case when $8 = status then failing_since end,
            disabled_at = case when $8 = status then disabled_at
                               when $8 = 'disabled' then now() end,
            disabled_reason = case when $8 = status then disabled_reason
                                   when $8 = 'disabled' then 'reseller' end
        where lane = $1 and endpoint_id = $2
        """,
        after.lane,
        after.endpoint_id,
        after.url,
        after.event_types,
        after.description,
        after.schedule_seconds,
        after.rate_per_second,
        after.status,
    )


async def move(connection: Connection, lane: int, endpoint_id: UUID, url: str) -> bool:
    """Tell an endpoint at another address, active again. Returns False where it was deleted."""
    return (
        await connection.execute(
            """
            update webhook_endpoints
            set url = $3, status = 'active', disabled_at = null, disabled_reason = null,
                failing_since = null, version = version + 1
            where lane = $1 and endpoint_id = $2 and status <> 'deleted'
            """,
            lane,
            endpoint_id,
            url,
        )
        == "UPDATE 1"
    )


async def rotate(
    connection: Connection, lane: int, endpoint_id: UUID, secret_sealed: bytes, overlap: timedelta
) -> datetime | None:
    """Give an endpoint a new secret. Returns until when the old one signs too; None: at once."""
    return await connection.fetchval(
        """
        update webhook_endpoints
        set secret_sealed = $3, version = version + 1,
            old_secret_sealed = case when $4::interval > '0' then secret_sealed end,
            old_secret_until = case when $4::interval > '0' then now() + $4::interval end
        where lane = $1 and endpoint_id = $2
        returning old_secret_until
        """,
        lane,
        endpoint_id,
        secret_sealed,
        overlap,
    )


async def count(connection: Connection, lane: int, reseller_id: UUID) -> int:
    """How many endpoints the reseller has, disabled ones included."""
    return await connection.fetchval(
        """
        select count(*) from webhook_endpoints
        where lane = $1 and reseller_id = $2 and status <> 'deleted'
        """,
        lane,
        reseller_id,
    )


async def delete(connection: Connection, lane: int, reseller_id: UUID, endpoint_id: UUID) -> bool:
    """Delete a reseller's endpoint, and its old secret. Returns whether there was one.

    What is still to be sent there is given up when it is claimed next.
    """
    return (
        await connection.execute(
            """
            update webhook_endpoints
            set status = 'deleted', old_secret_sealed = null, old_secret_until = null
            where lane = $1 and reseller_id = $2 and endpoint_id = $3 and status <> 'deleted'
            """,
            lane,
            reseller_id,
            endpoint_id,
        )
        == "UPDATE 1"
    )


class Failing(NamedTuple):
    """How many active endpoints fail, and for how long the longest has."""

    endpoints: int
    longest_seconds: float


async def failing(connection: Connection) -> Failing:
    """Active endpoints of which nothing was heard since a failure."""
    row = await connection.fetchrow(
        """
        select count(*), coalesce(extract(epoch from now() - min(failing_since)), 0)::float8
        from webhook_endpoints where failing_since is not null and status = 'active'
        """
    )
    return Failing(*row) if row else Failing(0, 0.0)
