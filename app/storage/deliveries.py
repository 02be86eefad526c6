"""Deliveries: one event on its way to one endpoint.

deliveries(lane, delivery_id, endpoint_id, event_id, event_seq, order_id, state, tries, due_at, …)
    unique (lane, delivery_id); index (due_at) of what is unfinished
    index (order_id, endpoint_id, event_seq) of what is pending

`claim_id` stands while a try is under way and `due_at` is then the end of its lease. Events of one
order go to one endpoint one at a time, in order.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from app.storage.pool import Connection
from app.traces import Trace


class DueDelivery(NamedTuple):
    """A delivery claimed for one try, with all that the try needs."""

    lane: int
    delivery_id: UUID
    endpoint_id: UUID
    claim_id: UUID
    tries: int
    event_id: UUID
    payload: str
    url: str
    secret_sealed: bytes
    endpoint_deleted: bool
    order_id: UUID | None
    trace: Trace | None = None
    """The order's."""
    shape: str = "standard"


class TryResult(NamedTuple):
    """How one try ended, as the type `delivery_try`.

    `due_at` is the next try; None when nothing is left to do.
    """

    lane: int
    delivery_id: UUID
    endpoint_id: UUID
    claim_id: UUID
    state: str
    charged: bool
    due_at: datetime | None
    last_status: int | None
    last_error: str | None


async def claim_due(
    connection: Connection,
    claim_id: UUID,
    lanes: Sequence[int],
    limit: int,
    lease: timedelta,
    places: Mapping[UUID, int],
    places_elsewhere: int,
) -> list[DueDelivery]:
    """Claim due deliveries, the first of each order only.

    At most `places[endpoint]` are taken of an endpoint, `places_elsewhere` of one not named. Those
    of a disabled endpoint wait; those of a deleted one are claimed to be given up. The lanes are no
    key here (hence `+ 0`): what is due is few, all deliveries are many.
    """
    rows = await connection.fetch(
        """
        with candidate as materialized (
            select d.lane, d.delivery_id, d.endpoint_id, d.due_at, d.url, d.secret_sealed,
                   d.status, d.shape,
                   row_number() over (partition by d.endpoint_id order by d.due_at) as place
            from (
                select d.*, e.url, e.secret_sealed, e.status, e.shape from deliveries d
                join webhook_endpoints e on e.lane = d.lane and e.endpoint_id = d.endpoint_id
                where d.due_at <= now() and d.lane + 0 = any($2::smallint[])
                  and d.endpoint_id <> all($7::uuid[]) and e.status <> 'disabled'
                order by d.due_at
                limit $3 * 4
            ) d
            where d.order_id is null or d.event_seq = (
                select min(first.event_seq) from deliveries first
                where first.order_id = d.order_id and first.endpoint_id = d.endpoint_id
                  and first.lane = d.lane and first.state = 'pending'
            )
        ), due as materialized (
            select d.lane, d.delivery_id, c.url, c.secret_sealed, c.status, c.shape
            from candidate c
            join deliveries d on d.lane = c.lane and d.delivery_id = c.delivery_id
            left join unnest($5::uuid[], $6::integer[]) p (endpoint_id, places)
                on p.endpoint_id = c.endpoint_id
            where c.place <= coalesce(p.places, $8) and d.due_at <= now()
            order by c.due_at
            limit $3
            for update of d skip locked
        )
        update deliveries d set claim_id = $1, due_at = now() + $4::interval
        from due, events v
        where d.lane = due.lane and d.delivery_id = due.delivery_id
          and v.lane = d.lane and v.reseller_id = d.reseller_id and v.event_seq = d.event_seq
        returning d.lane, d.delivery_id, d.endpoint_id, d.claim_id, d.tries, d.event_id,
                  v.payload, due.url, due.secret_sealed, due.status = 'deleted',
                  d.order_id,
                  (select o.trace from orders o
                   where o.lane = d.lane and o.order_id = d.order_id),
                  due.shape
        """,
        claim_id,
        list(lanes),
        limit,
        lease,
        [endpoint_id for endpoint_id, free in places.items() if free > 0],
        [free for free in places.values() if free > 0],
        [endpoint_id for endpoint_id, free in places.items() if free <= 0],
        places_elsewhere,
    )
    return [DueDelivery(*row) for row in rows]


async def record(connection: Connection, results: Sequence[TryResult]) -> None:
    """Record tries that still hold their claim, and how long their endpoints have been failing.

    What was neither charged nor answered was not sent, and says nothing about its endpoint.
    """
    await connection.execute(
        """
        with tried as (
            update deliveries d
            set state = k.state, tries = d.tries + k.charged::int::smallint, claim_id = null,
                due_at = k.due_at, last_status = k.last_status, last_error = k.last_error,
                delivered_at = case k.state when 'delivered' then now() end
            from unnest($1::delivery_try[]) k
            where d.lane = k.lane and d.delivery_id = k.delivery_id and d.claim_id = k.claim_id
            returning d.lane, d.endpoint_id, d.state, k.charged or k.last_status is not null as sent
        ), seen as (
            select lane, endpoint_id, bool_or(state = 'delivered') as healthy
            from tried where sent group by lane, endpoint_id
        )
        update webhook_endpoints e
        set failing_since = case when seen.healthy then null else now() end
        from seen
        where e.lane = seen.lane and e.endpoint_id = seen.endpoint_id
          and (e.failing_since is not null) = seen.healthy
        """,
        results,
    )


async def oldest_undelivered_seconds(connection: Connection) -> float:
    """The age of the oldest delivery that is still to be made; 0 without one."""
    return await connection.fetchval(
        """
        select coalesce(extract(epoch from now() - min(created_at)), 0)::float8
        from deliveries where due_at is not null
        """
    )


async def count_due(connection: Connection) -> int:
    """How many deliveries are due and not claimed, counted up to 100,001."""
    return await connection.fetchval(
        """
        select count(*) from (
            select from deliveries where due_at <= now() and claim_id is null limit 100001
        ) waiting
        """
    )
