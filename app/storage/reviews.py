"""What people must look at: orders whose fate stays unknown, and disputes with dealers.

reviews(lane, order_id, attempt_no, reason, opened_at, closed_at, resolution)
disputes(lane, order_id, attempt_no, dealer_id, dealer_ref, cost, opened_at, closed_at, resolution)
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from app.storage.pool import Connection, columns, transposed


@dataclass(frozen=True, slots=True)
class NewReview:
    """A doubt that only a dealer's word or an operator ends."""

    lane: int
    order_id: UUID
    attempt_no: int
    reason: str


@dataclass(frozen=True, slots=True)
class NewDispute:
    """A purchase that was delivered while another dealer served the order."""

    lane: int
    order_id: UUID
    attempt_no: int
    dealer_id: str
    dealer_ref: str
    cost: int


@dataclass(frozen=True, slots=True)
class OpenReview:
    """One line of the review queue."""

    lane: int
    order_id: UUID
    attempt_no: int
    reason: str
    opened_at: datetime
    reseller_id: UUID
    ref_id: str
    status: str
    dealer_id: str
    dealer_ref: str
    customer_number: str
    price: int


async def open_reviews(connection: Connection, reviews: Sequence[NewReview]) -> None:
    """Put orders into the review queue; one that stands there already stays as it is."""
    await connection.execute(
        """
        insert into reviews (lane, order_id, attempt_no, reason)
        select * from unnest($1::smallint[], $2::uuid[], $3::smallint[], $4::text[])
        on conflict (lane, order_id, attempt_no, reason) do update
        set opened_at = now(), closed_at = null, resolution = null
        where reviews.closed_at is not null
        """,
        *columns(reviews, *NewReview.__slots__),
    )


@dataclass(frozen=True, slots=True)
class EndedReview:
    """What to take out of the review queue: an order's, or one attempt's alone."""

    lane: int
    order_id: UUID
    attempt_no: int | None
    resolution: str


async def close_reviews(connection: Connection, ended: Sequence[EndedReview]) -> None:
    """Take orders, or single attempts, out of the review queue."""
    await connection.execute(
        """
        update reviews r set closed_at = now(), resolution = k.resolution
        from unnest($1::smallint[], $2::uuid[], $3::smallint[], $4::text[])
             k (lane, order_id, attempt_no, resolution)
        where r.lane = k.lane and r.order_id = k.order_id and r.closed_at is null
          and (k.attempt_no is null or r.attempt_no = k.attempt_no)
        """,
        *columns(ended, *EndedReview.__slots__),
    )


@dataclass(frozen=True, slots=True)
class StoredReview:
    """A review as it stands. `resolution` is None while it is open."""

    order_id: UUID
    attempt_no: int
    reason: str
    resolution: str | None


async def of_orders(connection: Connection, keys: Sequence[tuple[int, UUID]]) -> list[StoredReview]:
    """Every review of these orders; the open ones first, then the last closed."""
    rows = await connection.fetch(
        """
        select r.order_id, r.attempt_no, r.reason,
               case when r.closed_at is not null then coalesce(r.resolution, '') end
        from unnest($1::smallint[], $2::uuid[]) k (lane, order_id)
        join reviews r on r.lane = k.lane and r.order_id = k.order_id
        order by r.closed_at desc nulls first
        """,
        *transposed(keys, 2),
    )
    return [StoredReview(*row) for row in rows]


async def open_disputes(connection: Connection, disputes: Sequence[NewDispute]) -> None:
    """List purchases to be disputed with their dealers."""
    await connection.execute(
        """
        insert into disputes (lane, order_id, attempt_no, dealer_id, dealer_ref, cost)
        select * from unnest($1::smallint[], $2::uuid[], $3::smallint[], $4::text[], $5::text[],
                             $6::bigint[])
        on conflict (lane, order_id, attempt_no) do update
        set opened_at = now(), closed_at = null, resolution = null
        where disputes.closed_at is not null
        """,
        *columns(disputes, *NewDispute.__slots__),
    )


async def close_disputes(
    connection: Connection, keys: Sequence[tuple[int, UUID, int]], resolution: str
) -> None:
    """Take purchases off the list of disputes."""
    await connection.execute(
        """
        update disputes d set closed_at = now(), resolution = $4
        from unnest($1::smallint[], $2::uuid[], $3::smallint[]) k (lane, order_id, attempt_no)
        where d.lane = k.lane and d.order_id = k.order_id and d.attempt_no = k.attempt_no
          and d.closed_at is null
        """,
        *transposed(keys, 3),
        resolution,
    )


@dataclass(frozen=True, slots=True)
class Standing:
    """What became of an order and one attempt of it."""

    order_status: str
    attempt_state: str
    needs_review: bool


async def standing(
    connection: Connection, lane: int, order_id: UUID, attempt_no: int
) -> Standing | None:
    """The order and the attempt as they are now."""
    row = await connection.fetchrow(
        """
        select o.status, a.state, o.needs_review
        from orders o
        join attempts a on a.lane = o.lane and a.order_id = o.order_id and a.attempt_no = $3
        where o.lane = $1 and o.order_id = $2
        """,
        lane,
        order_id,
        attempt_no,
    )
    return Standing(*row) if row else None


@dataclass(frozen=True, slots=True)
class Dispute:
    """A purchase to be settled with its dealer. `cost` in rupiah."""

    lane: int
    order_id: UUID
    attempt_no: int
    dealer_id: str
    dealer_ref: str
    cost: int
    opened_at: datetime
    closed_at: datetime | None
    resolution: str | None


async def list_disputes(connection: Connection, limit: int) -> list[Dispute]:
    """The open disputes, oldest first."""
    rows = await connection.fetch(
        """
        select lane, order_id, attempt_no, dealer_id, dealer_ref, cost, opened_at, closed_at,
               resolution
        from disputes
        where closed_at is null
        order by opened_at, order_id
        limit $1
        """,
        limit,
    )
    return [Dispute(*row) for row in rows]


async def lock_dispute(
    connection: Connection, lane: int, order_id: UUID, attempt_no: int
) -> Dispute | None:
    """Lock a dispute and read it, open or closed."""
    row = await connection.fetchrow(
        """
        select lane, order_id, attempt_no, dealer_id, dealer_ref, cost, opened_at, closed_at,
               resolution
        from disputes
        where lane = $1 and order_id = $2 and attempt_no = $3
        for update
        """,
        lane,
        order_id,
        attempt_no,
    )
    return Dispute(*row) if row else None


async def list_open(connection: Connection, limit: int) -> list[OpenReview]:
    """The review queue, oldest first."""
    rows = await connection.fetch(
        """
        select r.lane, r.order_id, r.attempt_no, r.reason, r.opened_at, o.reseller_id, o.ref_id,
               o.status, a.dealer_id, a.dealer_ref, o.customer_number, o.price
        from reviews r
        join orders o using (lane, order_id)
        join attempts a using (lane, order_id, attempt_no)
        where r.closed_at is null
        order by r.opened_at
        limit $1
        """,
        limit,
    )
    return [OpenReview(*row) for row in rows]


async def counts(connection: Connection) -> tuple[int, int]:
    """How many reviews and how many disputes are open."""
    row = await connection.fetchrow(
        """
        select (select count(*) from reviews where closed_at is null),
               (select count(*) from disputes where closed_at is null)
        """
    )
    return (row[0], row[1]) if row else (0, 0)
