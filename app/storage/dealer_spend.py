"""What purchases took from our deposits at dealers since a balance was told.

When a dealer took the money of a purchase is not known to the second: after it was sent, and before
it was closed. A balance, too, is of some moment between the question and the answer. Purchases that
lie wholly between two balances are certain, those across one of them are in doubt, and are told
apart. Whole hours that are over come from `purchase_hours`, the others from the attempts. Of the
orders accepted more than `SLOW` before a balance only the slow purchases can be of its time: those
closed so long after their order was accepted have an index of their own.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from app.storage.pool import Connection, transposed
from app.storage.purchase_hours import (
    HOUR,
    HOURS_SQL,
    UNCOMMITTED,
    Hour,
    first_id,
    hour_columns,
    hours,
)
from app.storage.work_queues import rows_of_both

SLOW = timedelta(minutes=1)
"""A purchase closed so long after its order's id was made is in the index `attempts_slow`."""
_FOR_EVER = datetime(9999, 1, 1, tzinfo=UTC)
"""As the end of a span: up to now."""


_NOT_READ = """
    (a.order_id < s.first_id or exists (
        select from summed c
        where c.hour >= s.answered_at + interval '1 hour'
          and a.order_id >= c.first_id and a.order_id < c.end_id
    ))
"""
"""Of an open attempt `a`: it is not among those that are read hour by hour for the span `s`."""


class Span(NamedTuple):
    """From one balance of a dealer to the next, each between its question and its answer."""

    dealer_id: str
    asked_at: datetime
    answered_at: datetime
    asked_again_at: datetime | None = None
    """None, with the next one: up to now."""
    answered_again_at: datetime | None = None


class Spent(NamedTuple):
    """What a span's purchases took, in rupiah."""

    certain: int
    doubtful: int
    """Succeeded across one of the balances, or failed across the later one."""
    given_back: int
    """Of purchases that failed across the earlier balance: it may have lacked their money."""
    in_flight: int
    """Of purchases without a final word."""


NOTHING = Spent(0, 0, 0, 0)


class HourSpend(NamedTuple):
    """What a dealer's succeeded purchases of one hour took, in rupiah."""

    dealer_id: str
    hour: datetime
    rupiah: int


async def spent(connection: Connection, spans: Sequence[Span], now: datetime) -> list[Spent]:
    """What each span's purchases took. `now` is the database's."""
    if not spans:
        return []
    earliest = min(span.asked_at for span in spans) - SLOW
    wanted = hours(earliest, now + HOUR)
    rows = await connection.fetch(
        f"""
        with {HOURS_SQL}, span as materialized (
            select * from unnest($5::integer[], $6::text[], $7::timestamptz[], $8::timestamptz[],
                                 $9::timestamptz[], $10::timestamptz[], $11::uuid[])
                s (place, dealer_id, asked_at, answered_at, asked_again_at, answered_again_at,
                   first_id)
        ), reading as materialized (
            select c.hour, greatest(c.first_id, $12::uuid) as first_id, c.end_id,
                   exists (select from open where open.hour = c.hour) as is_open
            from counted c
            where exists (select from open where open.hour = c.hour) or exists (
                select from span s
                where c.hour < s.answered_at + interval '1 hour' and c.end_id > s.first_id
            )
        ), summed as materialized (
            select * from counted c where not exists (select from open where open.hour = c.hour)
        ), purchase as (
            select s.place, a.state, a.sent_at, a.closed_at, a.rupiah
            from reading w
            cross join generate_series(0, 63) l (lane)
            cross join lateral (
                select dealer_id, order_id, state, sent_at, closed_at,
                       coalesce(charged, cost) as rupiah
                from attempts
                where lane = l.lane and order_id >= w.first_id and order_id < w.end_id
                  and state <> 'rejected'
                offset 0
            ) a
            join span s on s.dealer_id = a.dealer_id and a.order_id >= s.first_id
                and (w.is_open or w.hour < s.answered_at + interval '1 hour')
            union all
            select s.place, a.state, a.sent_at, a.closed_at, coalesce(a.charged, a.cost)
            from attempts a join span s on s.dealer_id = a.dealer_id and a.order_id < s.first_id
            where a.closed_at - order_moment(a.order_id) > interval '1 minute'
              and a.closed_at > (select min(asked_at) from span)
              and a.closed_at > s.asked_at and a.state in ('succeeded', 'failed')
            union all
            select s.place, a.state, a.sent_at, a.closed_at, coalesce(a.charged, a.cost)
            from {rows_of_both("attempts")} a
            join span s on s.dealer_id = a.dealer_id
            where a.state in ('sent', 'pending', 'unknown') and {_NOT_READ}
            union all
            select s.place, a.state, a.sent_at, a.closed_at, coalesce(a.charged, a.cost)
            from (select distinct lane, order_id, attempt_no from reviews where closed_at is null) r
            cross join lateral (
                select * from attempts
                where lane = r.lane and order_id = r.order_id and attempt_no = r.attempt_no
                offset 0
            ) a
            join span s on s.dealer_id = a.dealer_id
            where a.due_at is null and a.state in ('sent', 'pending', 'unknown')
              and {_NOT_READ}
        ), judged as (
            select p.place, p.state, p.rupiah, p.sent_at < s.answered_at as is_before,
                   p.sent_at < s.answered_at and p.closed_at > s.asked_at as is_across_first,
                   p.closed_at > s.asked_again_at as is_across_second
            from purchase p join span s using (place)
            where p.sent_at < s.answered_again_at
        ), told as (
            select place,
                   sum(rupiah) filter (where state = 'succeeded' and not is_before
                                       and not is_across_second) as certain,
                   sum(rupiah) filter (where state = 'succeeded'
                                       and (is_across_first or is_across_second)
                                       or state = 'failed' and is_across_second) as doubtful,
                   sum(rupiah) filter (where state = 'failed' and is_across_first) as given_back,
                   sum(rupiah) filter (where state in ('sent', 'pending', 'unknown')) as in_flight
            from judged group by place
            union all
            select s.place, sum(h.rupiah), 0, 0, 0
            from span s
            join summed c on c.hour >= s.answered_at + interval '1 hour'
            join purchase_hours p on p.hour = c.hour
            cross join lateral unnest(p.spends) h
            where h.dealer_id = s.dealer_id
            group by s.place
        )
        select place, coalesce(sum(certain), 0)::bigint, coalesce(sum(doubtful), 0)::bigint,
               coalesce(sum(given_back), 0)::bigint, coalesce(sum(in_flight), 0)::bigint
        from told group by place
        """,  # noqa: S608 - put together from this module's own text
        *hour_columns(wanted),
        UNCOMMITTED,
        *transposed([_row(place, span) for place, span in enumerate(spans)], 7),
        first_id(earliest),
    )
    found = {row[0]: Spent(*tuple(row)[1:]) for row in rows}
    return [found.get(place, NOTHING) for place in range(len(spans))]


def _row(place: int, span: Span) -> tuple[object, ...]:
    return (
        place,
        span.dealer_id,
        span.asked_at,
        span.answered_at,
        span.asked_again_at or _FOR_EVER,
        span.answered_again_at or _FOR_EVER,
        first_id(span.asked_at - SLOW),
    )


async def by_hour(connection: Connection, wanted: Sequence[Hour]) -> list[HourSpend]:
    """What each dealer's succeeded purchases took in these hours; hours without any are missing."""
    rows = await connection.fetch(
        f"""
        with {HOURS_SQL}
        select s.dealer_id, c.hour, s.rupiah
        from counted c
        join purchase_hours p on p.hour = c.hour
        cross join lateral unnest(p.spends) s
        where not exists (select from open where open.hour = c.hour)
        union all
        select a.dealer_id, w.hour, sum(a.rupiah)::bigint
        from open w
        cross join generate_series(0, 63) l (lane)
        cross join lateral (
            select dealer_id, coalesce(charged, cost) as rupiah from attempts
            where lane = l.lane and order_id >= w.first_id and order_id < w.end_id
              and state = 'succeeded'
            offset 0
        ) a
        group by a.dealer_id, w.hour
        """,  # noqa: S608 - put together from this module's own text
        *hour_columns(wanted),
        UNCOMMITTED,
    )
    return [HourSpend(*row) for row in rows]
