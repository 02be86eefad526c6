"""Orders: one row each, inserted when accepted, changed only by settling.

orders(lane, order_id, reseller_id, ref_id, sku, …, status, version, decision)
    unique (lane, order_id); index (reseller_id, order_id)
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from app.storage.lanes import LANES
from app.storage.pool import Connection
from app.traces import Trace


class NewOrder(NamedTuple):
    """An order as it is accepted. Prices in rupiah; `decision` and `metadata` are JSON text."""

    lane: int
    order_id: UUID
    reseller_id: UUID
    ref_id: str
    fingerprint: bytes
    sku: str
    brand: str
    customer_number: str
    cluster: str | None
    region: str | None
    outlet_id: str | None
    max_price: int | None
    price: int
    retry_until: datetime
    created_at: datetime
    metadata: str | None
    decision: str
    hops: Sequence[UUID] | None = None
    """The installations that it came through; None where it was placed here."""
    trace: Trace | None = None
    may_repeat: bool = False
    """Whether it may stand beside other open orders of its reseller for its number and product."""


class LockedOrder(NamedTuple):
    """An order as settling needs it, under its lock. `now` is the database's time."""

    lane: int
    order_id: UUID
    reseller_id: UUID
    ref_id: str
    sku: str
    brand: str
    customer_number: str
    cluster: str | None
    max_price: int | None
    price: int
    status: str
    needs_review: bool
    corrections: int
    failure_code: str | None
    failure_message: str | None
    serial_number: str | None
    version: int
    retry_until: datetime
    created_at: datetime
    finished_at: datetime | None
    metadata: str | None
    serving_attempt: int | None
    trace: Trace | None
    now: datetime


class OrderChange(NamedTuple):
    """What settling writes back, as the type `order_change`: the whole changeable part."""

    lane: int
    order_id: UUID
    status: str
    needs_review: bool
    corrections: int
    failure_code: str | None
    failure_message: str | None
    serial_number: str | None
    version: int
    finished_at: datetime | None
    serving_attempt: int | None


async def find_lane(connection: Connection, order_id: UUID) -> int | None:
    """The lane that an order lies in, for operators, who name orders by their id alone."""
    return await connection.fetchval(
        "select lane from orders where lane = any($1::smallint[]) and order_id = $2",
        list(range(LANES)),
        order_id,
    )


@dataclass(frozen=True, slots=True)
class StoredDecision:
    """How a dealer was chosen. `decision` is JSON text."""

    attempt_no: int
    dealer_id: str
    state: str
    """The attempt's; `ready` before it is claimed, `unsent` where it was given up before."""
    decision: str


async def decisions(connection: Connection, lane: int, order_id: UUID) -> list[StoredDecision]:
    """The choices made for an order, in order. What was chosen when it was accepted stands for
    every attempt that was not chosen anew."""
    rows = await connection.fetch(
        """
        select coalesce(t.attempt_no, 1), coalesce(t.dealer_id, o.decision ->> 'dealer', ''),
               coalesce(t.state, 'unsent'), coalesce(t.decision, o.decision)::text
        from orders o
        left join (
            select attempt_no, dealer_id, state, decision from attempts
            where lane = $1 and order_id = $2
            union all
            select attempt_no, dealer_id, 'ready', decision from ready
            where lane = $1 and order_id = $2
        ) t on true
        where o.lane = $1 and o.order_id = $2
        order by 1
        """,
        lane,
        order_id,
    )
    return [StoredDecision(*row) for row in rows]
