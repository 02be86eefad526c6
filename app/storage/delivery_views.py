"""Deliveries as their reseller reads and repeats them.

The newest first, by the key that begins with the reseller; an id begins with its time, so a stretch
of time is a range of it. A page is looked for among a bounded number of rows.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from app.storage.pool import Connection

MOST_LOOKED_AT = 5000
UNDELIVERED = ("pending", "failed")
LAST_ID = UUID(int=(1 << 128) - 1)
FIRST_ID = UUID(int=0)


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which deliveries. None leaves a matter open; ids from `first` up to `end`, excluded."""

    endpoint_id: UUID | None = None
    states: Sequence[str] | None = None
    event_types: Sequence[str] | None = None
    order_id: UUID | None = None
    first: UUID = FIRST_ID
    end: UUID = LAST_ID


@dataclass(frozen=True, slots=True)
class DeliveryView:
    """A delivery with its event's kind."""

    lane: int
    reseller_id: UUID
    delivery_id: UUID
    endpoint_id: UUID
    event_id: UUID
    event_type: str
    order_id: UUID | None
    state: str
    tries: int
    claim_id: UUID | None
    due_at: datetime | None
    last_status: int | None
    last_error: str | None
    created_at: datetime
    delivered_at: datetime | None
    replay_of: UUID | None


class Stretch(NamedTuple):
    """What matches among the rows looked at, and the last of these; None: there are no more."""

    found: list[DeliveryView]
    looked_up_to: UUID | None


_VIEW = """
    select d.lane, d.reseller_id, d.delivery_id, d.endpoint_id, d.event_id, v.type, d.order_id,
           d.state, d.tries, d.claim_id, d.due_at, d.last_status, d.last_error, d.created_at,
           d.delivered_at, d.replay_of
"""
_ALL = """
    with look as materialized (
        select * from deliveries
        where lane = $1 and reseller_id = $2 and delivery_id >= $3 and delivery_id < $4
        order by delivery_id desc limit $5
    )
"""
_OPEN = """
    with look as materialized (
        select * from deliveries
        where lane = $1 and reseller_id = $2 and delivery_id >= $3 and delivery_id < $4
          and state in ('pending', 'failed')
        order by delivery_id desc limit $5
    )
"""
_ALL_FORWARD = """
    with look as materialized (
        select * from deliveries
        where lane = $1 and reseller_id = $2 and delivery_id >= $3 and delivery_id < $4
        order by delivery_id limit $5
    )
"""
_OPEN_FORWARD = """
    with look as materialized (
        select * from deliveries
        where lane = $1 and reseller_id = $2 and delivery_id >= $3 and delivery_id < $4
          and state in ('pending', 'failed')
        order by delivery_id limit $5
    )
"""
_MATCHES = """
    from look d
    join events v on v.lane = d.lane and v.reseller_id = d.reseller_id
                 and v.event_seq = d.event_seq
    where ($6::uuid is null or d.endpoint_id = $6)
      and ($7::text[] is null or d.state = any($7))
      and ($8::text[] is null or v.type = any($8))
      and ($9::uuid is null or d.order_id = $9)
"""
_LOOKED_UP_TO = """
    select count(*), (array_agg(delivery_id order by delivery_id))[1],
           (array_agg(delivery_id order by delivery_id desc))[1]
    from look
"""


async def page(
    connection: Connection, lane: int, reseller_id: UUID, wanted: Wanted, limit: int
) -> Stretch:
    """Deliveries that match, the newest first, at most `limit`, among 5000 at most."""
    return await _stretch(connection, lane, reseller_id, wanted, limit, forward=False)


async def _stretch(
    connection: Connection,
    lane: int,
    reseller_id: UUID,
    wanted: Wanted,
    limit: int,
    *,
    forward: bool,
) -> Stretch:
    """In one transaction, or rows may come between the two looks; they are harmless then."""
    is_open = wanted.states is not None and set(wanted.states) <= set(UNDELIVERED)
    if forward:
        look = _OPEN_FORWARD if is_open else _ALL_FORWARD
        order = " order by d.delivery_id limit $10"
    else:
        look = _OPEN if is_open else _ALL
        order = " order by d.delivery_id desc limit $10"
    span: tuple[Any, ...] = (lane, reseller_id, wanted.first, wanted.end, MOST_LOOKED_AT)
    rows = await connection.fetch(
        look + _VIEW + _MATCHES + order,
        *span,
        wanted.endpoint_id,
        wanted.states,
        wanted.event_types,
        wanted.order_id,
        limit + 1,
    )
    found = [DeliveryView(*row) for row in rows]
    if len(found) > limit:
        return Stretch(found[:limit], found[limit - 1].delivery_id)
    looked = await connection.fetchrow(look + _LOOKED_UP_TO, *span)
    if looked is None or looked[0] < MOST_LOOKED_AT:
        return Stretch(found, None)
    return Stretch(found, looked[2] if forward else looked[1])


async def find(
    connection: Connection, lane: int, reseller_id: UUID, delivery_id: UUID
) -> tuple[DeliveryView, str] | None:
    """A reseller's delivery and its event's payload."""
    row = await connection.fetchrow(
        _VIEW
        + """
        , v.payload
        from deliveries d
        join events v on v.lane = d.lane and v.reseller_id = d.reseller_id
                     and v.event_seq = d.event_seq
        where d.lane = $1 and d.reseller_id = $2 and d.delivery_id = $3
        """,
        lane,
        reseller_id,
        delivery_id,
    )
    return (DeliveryView(*row[:-1]), row[-1]) if row else None


async def to_replay(
    connection: Connection, lane: int, reseller_id: UUID, wanted: Wanted, limit: int
) -> Stretch:
    """As `page`, but the oldest first: the order in which they are sent again."""
    return await _stretch(connection, lane, reseller_id, wanted, limit, forward=True)


async def replay(
    connection: Connection,
    lane: int,
    reseller_id: UUID,
    delivery_ids: Sequence[UUID],
    new_ids: Sequence[UUID],
) -> list[UUID]:
    """Send deliveries again, each as one of its own under the new id in the same place.

    What is pending is made due at once with all its tries before it, and gets no second row. What
    had failed becomes `replayed`: its repetition stands in its place. Left out is what is being
    sent right now, has been repeated by somebody meanwhile or has no endpoint any more. Returns
    the ids under which they are sent now.
    """
    rows = await connection.fetch(
        """
        with wanted as materialized (
            select d.lane, d.reseller_id, d.delivery_id, k.new_id, d.state
            from unnest($3::uuid[], $4::uuid[]) k (delivery_id, new_id)
            join deliveries d on d.lane = $1 and d.reseller_id = $2
                             and d.delivery_id = k.delivery_id
            where (select e.status from webhook_endpoints e
                   where e.lane = d.lane and e.endpoint_id = d.endpoint_id) <> 'deleted'
            order by d.delivery_id
            for update of d
        ), hurried as (
            update deliveries d set due_at = now(), tries = 0, claim_id = null
            from wanted w
            where d.lane = w.lane and d.reseller_id = w.reseller_id
              and d.delivery_id = w.delivery_id and w.state = 'pending'
              and (d.claim_id is null or d.due_at <= now())
            returning d.delivery_id
        ), replaced as (
            update deliveries d set state = 'replayed'
            from wanted w
            where d.lane = w.lane and d.reseller_id = w.reseller_id
              and d.delivery_id = w.delivery_id and w.state = 'failed'
        ), repeated as (
            insert into deliveries (lane, delivery_id, reseller_id, endpoint_id, event_id,
                                    event_seq, order_id, due_at, replay_of)
            select d.lane, w.new_id, d.reseller_id, d.endpoint_id, d.event_id, d.event_seq,
                   d.order_id, now(), d.delivery_id
            from wanted w
            join deliveries d on d.lane = w.lane and d.reseller_id = w.reseller_id
                             and d.delivery_id = w.delivery_id
            where w.state <> 'pending'
            returning delivery_id
        )
        select delivery_id from hurried union all select delivery_id from repeated
        """,
        lane,
        reseller_id,
        list(delivery_ids),
        list(new_ids),
    )
    return [row[0] for row in rows]
