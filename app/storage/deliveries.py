"""Deliveries: one event on its way to one endpoint.

deliveries(lane, reseller_id, delivery_id, endpoint_id, event_id, event_seq, order_id, state, …)
    unique (lane, reseller_id, delivery_id)
    index (due_at) of what is to be tried, and another of what is being tried
    index (order_id, endpoint_id, event_seq) of what is pending
    index (endpoint_id, due_at) of what is unfinished; (endpoint_id, event_seq) of what is parked

`claim_id` stands while a try is under way and `due_at` is then the end of its lease. Events of one
order go to one endpoint one at a time, in order. A pending delivery without `due_at` is parked: its
endpoint is disabled.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

from app.storage.pool import Connection
from app.storage.work_queues import WorkQueue, rows_of_both
from app.traces import Trace

_PARKED = "due_at is null and state not in ('delivered', 'failed', 'replayed')"
"""The words of `deliveries_parked`: said as `pending`, another index of what is pending would do as
well, which while a snapshot is held is full of what is done."""
LOOK = 4
"""How many are looked at for each that is wanted."""


class DueDelivery(NamedTuple):
    """A delivery claimed for one try, with all that the try needs."""

    lane: int
    reseller_id: UUID
    delivery_id: UUID
    endpoint_id: UUID
    claim_id: UUID
    tries: int
    event_id: UUID
    payload: str
    url: str
    secrets_sealed: list[bytes]
    """The endpoint's secret; while it rotates the old one behind it."""
    schedule_seconds: list[float] | None
    """The endpoint's own, if it has one."""
    rate_per_second: float | None
    endpoint_deleted: bool
    order_id: UUID | None
    trace: Trace | None = None
    """The order's."""
    shape: str = "standard"


class TryResult(NamedTuple):
    """How one try ended, as the type `delivery_try_2`.

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
    reseller_id: UUID


class Claimed(NamedTuple):
    """What a claim took, and how many due ones it looked at for that."""

    deliveries: list[DueDelivery]
    looked_at: int


_OF_ENDPOINT = """
    e.url, e.status, e.shape, e.schedule_seconds, e.rate_per_second,
    array_remove(array[e.secret_sealed, case when e.old_secret_until > now()
                                        then e.old_secret_sealed end], null) as secrets
"""
_CLAIM = """
    , parked as (
        update deliveries d set due_at = null, claim_id = null
        from (
            select d.lane, d.reseller_id, d.delivery_id
            from look l
            join deliveries d on d.lane = l.lane and d.reseller_id = l.reseller_id
                              and d.delivery_id = l.delivery_id
            where l.status = 'disabled' and d.due_at <= now()
            for update of d skip locked
        ) p
        where d.lane = p.lane and d.reseller_id = p.reseller_id and d.delivery_id = p.delivery_id
    ), candidate as materialized (
        select l.*,
               row_number() over (partition by l.endpoint_id order by l.due_at, l.delivery_id)
                   as place
        from (
            select l.*, row_number() over (
                partition by l.endpoint_id, coalesce(l.order_id, l.delivery_id)
                order by l.event_seq, l.delivery_id
            ) as turn
            from look l
        ) l
        where l.turn = 1 and l.endpoint_id <> all($7::uuid[]) and l.status <> 'disabled'
          and (l.order_id is null or (
              select true from deliveries other
              where other.order_id = l.order_id and other.endpoint_id = l.endpoint_id
                and other.lane = l.lane and other.state = 'pending'
                and other.delivery_id <> l.delivery_id
                and (other.claim_id is not null and other.due_at > now()
                     or other.event_seq < l.event_seq
                     and (other.replay_of is null or other.tries = 0))
              limit 1
          ) is null)
    ), due as materialized (
        select d.lane, d.reseller_id, d.delivery_id, c.url, c.secrets, c.schedule_seconds,
               c.rate_per_second, c.status, c.shape
        from candidate c
        join deliveries d on d.lane = c.lane and d.reseller_id = c.reseller_id
                          and d.delivery_id = c.delivery_id
        left join unnest($5::uuid[], $6::integer[]) p (endpoint_id, places)
            on p.endpoint_id = c.endpoint_id
        where c.place <= coalesce(p.places, least($8, ceil(c.rate_per_second)))
          and d.due_at <= now()
        order by c.place, c.due_at
        limit $3
        for update of d skip locked
    ), taken as (
        update deliveries d set claim_id = $1, due_at = now() + $4::interval
        from due, events v
        where d.lane = due.lane and d.reseller_id = due.reseller_id
          and d.delivery_id = due.delivery_id
          and v.lane = d.lane and v.reseller_id = d.reseller_id and v.event_seq = d.event_seq
        returning d.lane, d.reseller_id, d.delivery_id, d.endpoint_id, d.claim_id, d.tries,
                  d.event_id, v.payload, due.url, due.secrets, due.schedule_seconds,
                  due.rate_per_second, due.status = 'deleted', d.order_id,
                  (select o.trace from orders o
                   where o.lane = d.lane and o.order_id = d.order_id), due.shape
    )
    select (select count(*) from look) as looked, taken.* from (select) always
    left join taken on true
"""


async def claim_due(
    connection: Connection,
    queue: WorkQueue,
    claim_id: UUID,
    lanes: Sequence[int],
    limit: int,
    lease: timedelta,
    places: Mapping[UUID, int],
    places_elsewhere: int,
    since: datetime,
) -> Claimed:
    """Claim deliveries that are to be tried, or whose lease ran out, of what has been due longest.

    Of each order only the first. What was due before `since` is left out: nothing is, by
    `first_due`. At most `places[endpoint]` are taken of an endpoint, `places_elsewhere` of one not
    named. Those of a disabled endpoint are parked; those of a deleted one are claimed to be given
    up. The lanes are no key here (hence `+ 0`): what is due is few, all deliveries are many.
    """
    rows = await connection.fetch(
        f"""
        with look as materialized (
            select d.lane, d.reseller_id, d.delivery_id, d.endpoint_id, d.order_id, d.event_seq,
                   d.due_at, {_OF_ENDPOINT}
            from deliveries d
            join webhook_endpoints e on e.lane = d.lane and e.endpoint_id = d.endpoint_id
            where d.{queue} and d.due_at >= $10 and d.due_at <= now()
              and d.lane + 0 = any($2::smallint[])
            order by d.due_at
            limit $3 * $9::integer
        )
        {_CLAIM}
        """,  # noqa: S608 - put together from our own text
        claim_id,
        list(lanes),
        limit,
        lease,
        *_in_columns(places),
        places_elsewhere,
        LOOK,
        since,
    )
    return _claimed(rows)


async def first_due(connection: Connection, queue: WorkQueue, since: datetime) -> datetime:
    """The moment before which no delivery is due of those that were from `since` on."""
    return await connection.fetchval(
        f"""
        select coalesce((
            select due_at from deliveries
            where {queue} and due_at between $1 and now() order by due_at limit 1
        ), now())
        """,  # noqa: S608 - the queue is one of our own
        since,
    )


async def claim_in_turn(
    connection: Connection,
    claim_id: UUID,
    lanes: Sequence[int],
    limit: int,
    lease: timedelta,
    places: Mapping[UUID, int],
    places_elsewhere: int,
    since: datetime,
    endpoint_ids: Sequence[UUID],
) -> Claimed:
    """As `claim_due`, but of both queues of these endpoints, each with an equal part of what is
    looked at."""
    rows = await connection.fetch(
        """
        with look as materialized (
            select d.lane, d.reseller_id, d.delivery_id, d.endpoint_id, d.order_id, d.event_seq,
                   d.due_at,
        """  # noqa: S608 - constants
        + _OF_ENDPOINT
        + """
            from unnest($9::uuid[]) k (endpoint_id)
            cross join lateral (
                select * from deliveries
                where endpoint_id = k.endpoint_id and due_at >= $11 and due_at <= now()
                  and lane + 0 = any($2::smallint[])
                order by due_at
                limit $10::integer
            ) d
            join webhook_endpoints e on e.lane = d.lane and e.endpoint_id = d.endpoint_id
        )
        """
        + _CLAIM,
        claim_id,
        list(lanes),
        limit,
        lease,
        *_in_columns(places),
        places_elsewhere,
        list(endpoint_ids),
        max(LOOK, limit * LOOK // max(len(endpoint_ids), 1)),
        since,
    )
    return _claimed(rows)


async def waiting_endpoints(connection: Connection, after: UUID, limit: int) -> list[UUID]:
    """Endpoints behind `after` that something is still to be sent to, one look-up each."""
    rows = await connection.fetch(
        """
        with recursive holder (endpoint_id, number) as (
            select (select endpoint_id from deliveries
                    where due_at is not null and endpoint_id > $1 order by endpoint_id limit 1), 1
            union all
            select (select d.endpoint_id from deliveries d
                    where d.due_at is not null and d.endpoint_id > h.endpoint_id
                    order by d.endpoint_id limit 1), h.number + 1
            from holder h where h.endpoint_id is not null and h.number < $2
        )
        select endpoint_id from holder where endpoint_id is not null
        """,
        after,
        limit,
    )
    return [row[0] for row in rows]


def _in_columns(places: Mapping[UUID, int]) -> tuple[list[UUID], list[int], list[UUID]]:
    """Endpoints with places and how many, and those without any."""
    free = {endpoint_id: count for endpoint_id, count in places.items() if count > 0}
    none = [endpoint_id for endpoint_id, count in places.items() if count <= 0]
    return list(free), list(free.values()), none


def _claimed(rows: Sequence[Any]) -> Claimed:
    taken = [DueDelivery(*row[1:]) for row in rows if row[1] is not None]
    return Claimed(taken, max((row[0] for row in rows), default=0))


class Unparked(NamedTuple):
    """How many were made due, and the endpoint to go on behind; None once all were looked at."""

    made_due: int
    last: UUID | None


async def unpark(connection: Connection, lanes: Sequence[int], limit: int, after: UUID) -> Unparked:
    """Make parked deliveries due whose endpoints take them again, the oldest of each first.

    No more than `limit` of an endpoint are due at once, which paces what collected. Of the
    endpoints behind `after` 1,024 are looked at, and 64 at most get something.
    """
    row = await connection.fetchrow(
        f"""
        with recursive holder (lane, endpoint_id, number) as (
            (select lane, endpoint_id, 1 from deliveries
             where {_PARKED} and endpoint_id > $3
             order by endpoint_id limit 1)
            union all
            (select n.lane, n.endpoint_id, h.number + 1
             from holder h
             cross join lateral (
                 select d.lane, d.endpoint_id from deliveries d
                 where {_PARKED} and d.endpoint_id > h.endpoint_id
                 order by d.endpoint_id limit 1
             ) n
             where h.number < 1024)
        ), ready as materialized (
            select h.endpoint_id, w.under_way
            from holder h
            join webhook_endpoints e on e.lane = h.lane and e.endpoint_id = h.endpoint_id
            cross join lateral (
                select count(*) as under_way from (
                    select from deliveries
                    where endpoint_id = h.endpoint_id and due_at is not null limit $2
                ) due
            ) w
            where e.status <> 'disabled' and h.lane = any($1::smallint[]) and w.under_way < $2
            order by h.endpoint_id
            limit 64
        ), oldest as materialized (
            select d.lane, d.reseller_id, d.delivery_id
            from ready r
            cross join lateral (
                select * from deliveries
                where endpoint_id = r.endpoint_id and {_PARKED}
                order by event_seq limit $2 - r.under_way
                for update skip locked
            ) d
        ), made_due as (
            update deliveries d set due_at = now()
            from oldest o
            where d.lane = o.lane and d.reseller_id = o.reseller_id
              and d.delivery_id = o.delivery_id
            returning 1
        )
        select (select count(*) from made_due),
               case when (select count(*) from ready) = 64
                    then (select endpoint_id from ready order by endpoint_id desc limit 1)
                    else (select endpoint_id from holder where number = 1024)
               end
        """,  # noqa: S608 - a constant
        list(lanes),
        limit,
        after,
    )
    return Unparked(*row) if row else Unparked(0, None)


class Failing(NamedTuple):
    """An endpoint whose tries have failed for too long."""

    lane: int
    endpoint_id: UUID


async def record(
    connection: Connection, results: Sequence[TryResult], longest: timedelta
) -> list[Failing]:
    """Record tries that still hold their claim, and how long their endpoints have been failing.

    What was neither charged nor answered was not sent, and says nothing about its endpoint.
    Returns those that failed again now and have for longer than `longest`.
    """
    rows = await connection.fetch(
        """
        with tried as (
            update deliveries d
            set state = k.state, tries = d.tries + k.charged::int::smallint, claim_id = null,
                due_at = case when k.due_at is not null then greatest(k.due_at, now()) end,
                last_status = k.last_status, last_error = k.last_error,
                delivered_at = case k.state when 'delivered' then now() end
            from unnest($1::delivery_try_2[]) k
            where d.lane = k.lane and d.reseller_id = k.reseller_id
              and d.delivery_id = k.delivery_id and d.claim_id = k.claim_id
            returning d.lane, d.endpoint_id, d.state, k.charged or k.last_status is not null as sent
        ), seen as materialized (
            select lane, endpoint_id, bool_or(state = 'delivered') as healthy
            from tried where sent group by lane, endpoint_id
        ), marked as (
            update webhook_endpoints e
            set failing_since = case when seen.healthy then null else now() end
            from seen
            where e.lane = seen.lane and e.endpoint_id = seen.endpoint_id
              and (e.failing_since is not null) = seen.healthy
        )
        select e.lane, e.endpoint_id
        from seen
        join webhook_endpoints e on e.lane = seen.lane and e.endpoint_id = seen.endpoint_id
        where not seen.healthy and e.status = 'active' and e.failing_since < now() - $2::interval
        """,
        results,
        longest,
    )
    return [Failing(*row) for row in rows]


async def oldest_undelivered_seconds(connection: Connection) -> float:
    """The age of the oldest delivery that is still to be made; 0 without one."""
    return await connection.fetchval(
        f"""
        select coalesce(extract(epoch from now() - min(created_at)), 0)::float8
        from {rows_of_both("deliveries")} open
        """  # noqa: S608 - put together from our own text
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
