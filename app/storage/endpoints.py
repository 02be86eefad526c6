"""Webhook endpoints: where a reseller wants to be told.

webhook_endpoints(lane, endpoint_id, reseller_id, url, event_types, status, secret_sealed, …)
    unique (lane, endpoint_id); index (lane, reseller_id)
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
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
    secret_sealed: bytes
    created_at: datetime
    shape: str = "standard"
    """The form in which it is told: as webhooks are, or as a door's protocol has it."""

    def wants(self, event_type: str) -> bool:
        """Whether the reseller asked to be told of this kind of event here."""
        return self.event_types is None or event_type in self.event_types


_ENDPOINT = """
    select e.lane, e.endpoint_id, e.reseller_id, e.url, e.event_types, e.status, e.secret_sealed,
           e.created_at, e.shape
    from webhook_endpoints e
"""


async def of_resellers(connection: Connection, keys: Sequence[tuple[int, UUID]]) -> list[Endpoint]:
    """The endpoints of these resellers that events go to; a disabled one goes on collecting."""
    rows = await connection.fetch(
        _ENDPOINT
        + """
        join unnest($1::smallint[], $2::uuid[]) k (lane, reseller_id)
          on e.lane = k.lane and e.reseller_id = k.reseller_id
        where e.status <> 'deleted'
        """,
        *transposed(keys, 2),
    )
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


async def disable(connection: Connection, lane: int, endpoint_id: UUID) -> bool:
    """Stop sending to an endpoint. Returns whether it was active."""
    return (
        await connection.execute(
            """
            update webhook_endpoints set status = 'disabled', disabled_at = now()
            where lane = $1 and endpoint_id = $2 and status = 'active'
            """,
            lane,
            endpoint_id,
        )
        == "UPDATE 1"
    )


@dataclass(frozen=True, slots=True)
class NewEndpoint:
    """An endpoint to create, its secret sealed already."""

    lane: int
    endpoint_id: UUID
    reseller_id: UUID
    url: str
    event_types: list[str] | None
    secret_sealed: bytes
    shape: str = "standard"


async def create(connection: Connection, new: NewEndpoint) -> datetime:
    """Insert an active endpoint. Returns when it was created."""
    return await connection.fetchval(
        """
        insert into webhook_endpoints (lane, endpoint_id, reseller_id, url, event_types,
                                       secret_sealed, shape)
        values ($1, $2, $3, $4, $5, $6, $7)
        returning created_at
        """,
        new.lane,
        new.endpoint_id,
        new.reseller_id,
        new.url,
        new.event_types,
        new.secret_sealed,
        new.shape,
    )


async def move(connection: Connection, lane: int, endpoint_id: UUID, url: str) -> bool:
    """Tell an endpoint at another address, active again. Returns False where it was deleted."""
    return (
        await connection.execute(
            """
            update webhook_endpoints set url = $3, status = 'active', disabled_at = null,
                                         failing_since = null
            where lane = $1 and endpoint_id = $2 and status <> 'deleted'
            """,
            lane,
            endpoint_id,
            url,
        )
        == "UPDATE 1"
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
    """Delete a reseller's endpoint. Returns whether there was one.

    What is still to be sent there is given up when it is claimed next.
    """
    return (
        await connection.execute(
            """
            update webhook_endpoints set status = 'deleted'
            where lane = $1 and reseller_id = $2 and endpoint_id = $3 and status <> 'deleted'
            """,
            lane,
            reseller_id,
            endpoint_id,
        )
        == "UPDATE 1"
    )
