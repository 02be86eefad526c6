"""Attempts: one purchase at one dealer each, written before a byte leaves.

attempts(lane, order_id, attempt_no, dealer_id, dealer_ref, state, fence, claim_id, due_at, …)
    unique (lane, order_id, attempt_no); unique (dealer_ref, dealer_id, lane)
    index (due_at) of what is to be asked about, and another of what is in flight

`claim_id` stands while a purchase or a check is in flight and `due_at` is then the end of its
lease; a lease that ran out is taken over by a check, which raises the fence.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from app.storage.pool import Connection, transposed
from app.storage.work_queues import WorkQueue, rows_of_both
from app.traces import Trace


class NewAttempt(NamedTuple):
    """A purchase about to be sent. `due_at` and `sent_at` are the database's time."""

    lane: int
    order_id: UUID
    attempt_no: int
    dealer_id: str
    route_id: str
    dealer_sku: str
    dealer_ref: str
    cost: int
    max_price: int
    claim_id: UUID
    decision: str | None
    counter: int = 1
    """Which purchase of this product for this number on this day it is for the dealer."""


class LockedAttempt(NamedTuple):
    """An attempt as settling needs it, under its lock."""

    lane: int
    order_id: UUID
    attempt_no: int
    dealer_id: str
    dealer_ref: str
    cost: int
    state: str
    fence: int
    claim_id: UUID | None
    due_at: datetime | None
    checks: int
    asked_at: datetime
    absent_since: datetime | None
    serial_number: str | None
    charged: int | None
    code: str | None
    message: str | None
    sent_at: datetime
    closed_at: datetime | None
    route_id: str
    dealer_sku: str


class AttemptChange(NamedTuple):
    """What settling writes back, as the type `attempt_change`: the whole changeable part."""

    lane: int
    order_id: UUID
    attempt_no: int
    state: str
    claim_id: UUID | None
    due_at: datetime | None
    absent_since: datetime | None
    code: str | None
    message: str | None
    serial_number: str | None
    charged: int | None
    closed_at: datetime | None


@dataclass(frozen=True, slots=True)
class DueAttempt:
    """An attempt claimed for a check, with what the question needs."""

    lane: int
    order_id: UUID
    attempt_no: int
    dealer_id: str
    dealer_sku: str
    dealer_ref: str
    max_price: int
    counter: int
    state: str
    fence: int
    checks: int
    sent_at: datetime
    customer_number: str
    age: timedelta
    hops: Sequence[UUID] | None
    """The installations that the order came through."""
    trace: Trace | None


async def insert(
    connection: Connection, attempts: Sequence[NewAttempt], lease: timedelta
) -> datetime:
    """Insert attempts as `sent`, their lease starting now. Returns the database's time."""
    return await connection.fetchval(
        """
        with written as (
            insert into attempts (
                lane, order_id, attempt_no, dealer_id, route_id, dealer_sku, dealer_ref, cost,
                max_price, claim_id, decision, counter, due_at, asked_at, sent_at
            )
            select k.*, now() + $13::interval, now(), now()
            from unnest($1::smallint[], $2::uuid[], $3::smallint[], $4::text[], $5::text[],
                        $6::text[], $7::text[], $8::bigint[], $9::bigint[], $10::uuid[],
                        $11::json[], $12::smallint[]) k
            returning 1
        )
        select now() from (select count(*) from written) counted
        """,
        *transposed(attempts, len(NewAttempt._fields)),
        lease,
    )


async def claimed(
    connection: Connection, claim_id: UUID, keys: Sequence[tuple[int, UUID]]
) -> set[tuple[int, UUID]]:
    """Which of these orders hold an attempt under this claim: reads back a commit in doubt."""
    rows = await connection.fetch(
        """
        select a.lane, a.order_id
        from unnest($2::smallint[], $3::uuid[]) k (lane, order_id)
        cross join lateral (
            select lane, order_id from attempts
            where lane = k.lane and order_id = k.order_id and claim_id = $1
            offset 0
        ) a
        """,
        claim_id,
        *transposed(keys, 2),
    )
    return {(row[0], row[1]) for row in rows}


@dataclass(frozen=True, slots=True)
class Fate:
    """What an attempt was to buy where, and its state."""

    dealer_id: str
    dealer_sku: str
    state: str


AttemptKey = tuple[int, UUID, int]
"""Lane, order, attempt number."""


async def fates(connection: Connection, keys: Sequence[AttemptKey]) -> dict[AttemptKey, Fate]:
    """What became of attempts, of those that exist."""
    rows = await connection.fetch(
        """
        select a.lane, a.order_id, a.attempt_no, a.dealer_id, a.dealer_sku, a.state
        from unnest($1::smallint[], $2::uuid[], $3::smallint[]) k (lane, order_id, attempt_no)
        cross join lateral (
            select lane, order_id, attempt_no, dealer_id, dealer_sku, state from attempts
            where lane = k.lane and order_id = k.order_id and attempt_no = k.attempt_no
            offset 0
        ) a
        """,
        *transposed(keys, 3),
    )
    return {(row[0], row[1], row[2]): Fate(row[3], row[4], row[5]) for row in rows}


async def claim_due(
    connection: Connection,
    queue: WorkQueue,
    claim_id: UUID,
    lanes: Sequence[int],
    limit: int,
    lease: timedelta,
    places: Mapping[str, int],
    places_elsewhere: int,
    least_seconds: Mapping[str, float],
    since: datetime,
) -> list[DueAttempt]:
    """Claim attempts that are to be asked about, or whose lease ran out. Raises the fence.

    What was due before `since` is left out: nothing is, by `first_due`.
    None is asked about sooner than `least_seconds[dealer]` after it was sent or last asked about.
    At most `places[dealer]` are taken of a dealer, `places_elsewhere` of one not named, so that a
    slow dealer leaves room for the others. What was `sent` and ran out becomes `unknown`. Nothing
    is claimed while purchases hold. The lanes are no key here (hence `+ 0`): what is due is few.
    """
    rows = await connection.fetch(
        f"""
        with candidate as materialized (
            select a.lane, a.order_id, a.attempt_no, a.dealer_id, a.due_at,
                   row_number() over (partition by a.dealer_id order by a.due_at) as place
            from (
                select t.* from attempts t
                left join unnest($5::text[], $9::float8[]) q (dealer_id, least_seconds)
                    on q.dealer_id = t.dealer_id
                where t.{queue} and t.due_at >= $10 and t.due_at <= now()
                  and t.lane + 0 = any($2::smallint[])
                  and t.dealer_id <> all($7::text[])
                  and t.asked_at <= now() - make_interval(secs => coalesce(q.least_seconds, 0))
                order by t.due_at
                limit $3 * 8
            ) a
        ), due as materialized (
            select a.lane, a.order_id, a.attempt_no
            from candidate c
            join attempts a on a.lane = c.lane and a.order_id = c.order_id
                and a.attempt_no = c.attempt_no
            left join unnest($5::text[], $6::integer[], $9::float8[])
                p (dealer_id, places, least_seconds) on p.dealer_id = c.dealer_id
            where c.place <= coalesce(p.places, $8) and a.due_at <= now()
              and a.asked_at <= now() - make_interval(secs => coalesce(p.least_seconds, 0))
              and not exists (select from purchases_held)
            order by c.due_at
            limit $3
            for update of a skip locked
        )
        update attempts a
        set fence = a.fence + 1, claim_id = $1, due_at = now() + $4::interval, asked_at = now(),
            checks = a.checks + 1, state = case a.state when 'sent' then 'unknown' else a.state end
        from due, orders o
        where a.lane = due.lane and a.order_id = due.order_id and a.attempt_no = due.attempt_no
          and o.lane = due.lane and o.order_id = due.order_id
        returning a.lane, a.order_id, a.attempt_no, a.dealer_id, a.dealer_sku, a.dealer_ref,
                  a.max_price, a.counter, a.state, a.fence, a.checks, a.sent_at, o.customer_number,
                  now() - a.sent_at, o.hops, o.trace
        """,  # noqa: S608 - the queue is one of our own
        claim_id,
        list(lanes),
        limit,
        lease,
        [dealer_id for dealer_id, free in places.items() if free > 0],
        [free for free in places.values() if free > 0],
        [dealer_id for dealer_id, free in places.items() if free <= 0],
        places_elsewhere,
        [least_seconds.get(dealer_id, 0.0) for dealer_id, free in places.items() if free > 0],
        since,
    )
    return [DueAttempt(*row) for row in rows]


async def first_due(connection: Connection, queue: WorkQueue, since: datetime) -> datetime:
    """The moment before which no attempt is due of those that were from `since` on."""
    return await connection.fetchval(
        f"""
        select coalesce((
            select due_at from attempts
            where {queue} and due_at between $1 and now() order by due_at limit 1
        ), now())
        """,  # noqa: S608 - the queue is one of our own
        since,
    )


async def ask_now(
    connection: Connection,
    lane: int,
    dealer_id: str,
    dealer_ref: str,
    interval_seconds: float,
) -> bool:
    """Make an attempt due, unless an act on it is in flight. Returns whether it was.

    It is due at once, or `interval_seconds` after it was last asked about, whichever is later.
    """
    return (
        await connection.execute(
            """
            update attempts
            set due_at = greatest(now(), asked_at + make_interval(secs => $4))
            where lane = $1 and dealer_id = $2 and dealer_ref = $3 and claim_id is null
            """,
            lane,
            dealer_id,
            dealer_ref,
            interval_seconds,
        )
        == "UPDATE 1"
    )


@dataclass(frozen=True, slots=True)
class Referred:
    """The purchase behind a dealer reference."""

    order_id: UUID
    attempt_no: int
    is_open: bool


async def find_reference(
    connection: Connection, lane: int, dealer_id: str, dealer_ref: str
) -> Referred | None:
    """The purchase behind a dealer reference, if it is one of ours."""
    row = await connection.fetchrow(
        """
        select order_id, attempt_no, state in ('sent', 'pending', 'unknown') from attempts
        where lane = $1 and dealer_id = $2 and dealer_ref = $3
        """,
        lane,
        dealer_id,
        dealer_ref,
    )
    return Referred(*row) if row else None


async def oldest_unresolved_seconds(connection: Connection) -> float:
    """The age of the oldest attempt that is still in flight or to be asked about; 0 without one."""
    return await connection.fetchval(
        f"""
        select coalesce(extract(epoch from now() - min(sent_at)), 0)::float8
        from {rows_of_both("attempts")} open
        """  # noqa: S608 - put together from our own text
    )
