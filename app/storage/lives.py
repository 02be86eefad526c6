"""Whole lives: everything that is known about one order, and what became of a group of orders.

Reads for operators and for the demo, which tells from them what happened and checks it.
"""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from app.storage.pool import Connection
from app.storage.work_queues import rows_of_both


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that happened to an order. `what` is its kind, `detail` a short sentence."""

    at: datetime
    what: str
    detail: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one order. `charged` is what the reseller paid in the end, in rupiah."""

    order_id: UUID
    ref_id: str
    customer_number: str
    status: str
    needs_review: bool
    price: int
    charged: int
    seconds: float | None
    """From acceptance to the newest final status."""
    events: int
    dealer_refs: list[str]
    disputed_refs: list[str]
    in_review: bool


async def life_of(connection: Connection, lane: int, order_id: UUID) -> list[Step]:
    """The order's life as steps in time order: acceptance, attempts, money, events, deliveries."""
    rows = await connection.fetch(
        """
        select created_at, 'accepted', 'price ' || price || ', number ' || customer_number
            from orders where lane = $1 and order_id = $2
        union all
        select sent_at, 'sent', 'attempt ' || attempt_no || ' to ' || dealer_id || ' as '
                || dealer_ref || ', cost ' || cost
            from attempts where lane = $1 and order_id = $2
        union all
        select closed_at, 'answered', dealer_id || ' said ' || state || ' (' || coalesce(code, '')
                || ')' || coalesce(', serial number ' || serial_number, '')
            from attempts where lane = $1 and order_id = $2 and closed_at is not null
        union all
        select created_at, kind, 'available ' || available_after || ', reserved ' || reserved_after
            from ledger_entries where lane = $1 and order_id = $2
        union all
        select created_at, 'event', type || ', number ' || event_seq
            from events where lane = $1 and order_id = $2
        union all
        select delivered_at, 'delivered', 'webhook evt_' || event_id || ', try ' || tries
            from deliveries where lane = $1 and order_id = $2 and delivered_at is not null
        order by 1
        """,
        lane,
        order_id,
    )
    return [Step(*row) for row in rows]


async def outcomes(
    connection: Connection, lane: int, reseller_id: UUID, ref_prefix: str
) -> list[Outcome]:
    """What became of a reseller's orders whose reference begins with `ref_prefix`."""
    rows = await connection.fetch(
        """
        select o.order_id, o.ref_id, o.customer_number, o.status, o.needs_review, o.price,
               (select coalesce(-sum(e.available_delta + e.reserved_delta), 0)::bigint
                from ledger_entries e where e.lane = o.lane and e.order_id = o.order_id),
               extract(epoch from o.finished_at - o.created_at)::float8,
               (select count(*) from events v
                where v.lane = o.lane and v.order_id = o.order_id),
               array(select a.dealer_ref from attempts a
                     where a.lane = o.lane and a.order_id = o.order_id order by a.attempt_no),
               array(select d.dealer_ref from disputes d
                     where d.lane = o.lane and d.order_id = o.order_id),
               exists (select from reviews r where r.lane = o.lane and r.order_id = o.order_id
                       and r.closed_at is null)
        from orders o
        where o.lane = $1 and o.reseller_id = $2 and starts_with(o.ref_id, $3)
        order by o.order_id
        """,
        lane,
        reseller_id,
        ref_prefix,
    )
    return [Outcome(*row) for row in rows]


@dataclass(frozen=True, slots=True)
class Unfinished:
    """What Jalur itself still has to do."""

    open_orders: int
    """Neither final nor in review."""
    due_attempts: int
    """In flight or to be asked about, those of orders in review left out."""
    waiting_callbacks: int
    pending_deliveries: int

    @property
    def nothing(self) -> bool:
        """Whether nothing is left to do."""
        return not (
            self.open_orders
            or self.due_attempts
            or self.waiting_callbacks
            or self.pending_deliveries
        )


_FIRST_ID = UUID(int=0)


async def unfinished(connection: Connection, since: UUID = _FIRST_ID) -> Unfinished:
    """Count what is left to do, of orders from this id on; ids begin with their time."""
    row = await connection.fetchrow(
        f"""
        select (select count(*) from generate_series(0, 63) l (lane)
                cross join lateral (
                    select from orders
                    where lane = l.lane and order_id >= $1
                      and status in ('accepted', 'processing') and not needs_review
                    offset 0
                ) o),
               (select count(*)
                from {rows_of_both("attempts")} a join orders o using (lane, order_id)
                where a.order_id >= $1 and not o.needs_review),
               (select count(*) from callbacks where verdict = 'waiting'),
               (select count(*) from deliveries
                where state = 'pending' and (order_id is null or order_id >= $1))
        """,  # noqa: S608 - put together from our own text
        since,
    )
    return Unfinished(*row) if row else Unfinished(0, 0, 0, 0)
