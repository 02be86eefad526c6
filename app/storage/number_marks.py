"""Marks: which purchase of a product holds which number, for one customer's number, dealer and day.

number_marks(lane, day, customer_number, dealer_id, dealer_sku, counter, order_lane, order_id, …)
    unique (lane, day, customer_number, dealer_id, dealer_sku, counter)

`lane` is the customer number's own: resellers on different lanes meet here. Two purchases never get
one number, by that key alone. Days are those of the database's clock, in WIB.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import NamedTuple
from uuid import UUID

from app.storage.pool import Connection, transposed
from routing.repeats import Holder, Mark

_TODAY = "(now() at time zone 'utc' + interval '7 hours')::date"


class NumberKey(NamedTuple):
    """What is counted together on a day."""

    lane: int
    customer_number: str
    dealer_id: str
    dealer_sku: str


class NewMark(NamedTuple):
    """A number to take."""

    lane: int
    day: date
    customer_number: str
    dealer_id: str
    dealer_sku: str
    counter: int
    order_lane: int
    order_id: UUID
    attempt_no: int


@dataclass(frozen=True, slots=True)
class DayOfMarks:
    """The marks of one key, by counter, on the day that it is."""

    day: date
    marks: list[Mark]


async def today(connection: Connection, keys: Sequence[NumberKey]) -> list[DayOfMarks]:
    """What stands for each key today, in the order of `keys`; of the purchases nothing is told."""
    rows = await connection.fetch(
        f"""
        select k.place, {_TODAY}, m.counter, m.order_lane, m.order_id, m.attempt_no,
               extract(epoch from now() - m.taken_at)::float8
        from unnest($1::smallint[], $2::text[], $3::text[], $4::text[])
            with ordinality k (lane, customer_number, dealer_id, dealer_sku, place)
        left join lateral (
            select * from number_marks
            where lane = k.lane and day = {_TODAY} and customer_number = k.customer_number
              and dealer_id = k.dealer_id and dealer_sku = k.dealer_sku
            offset 0
        ) m on true
        order by k.place, m.counter
        """,  # noqa: S608 - one constant expression, written once
        *transposed(keys, 4),
    )
    found: dict[int, DayOfMarks] = {}
    for place, day, counter, order_lane, order_id, attempt_no, age_seconds in rows:
        marks = found.setdefault(place, DayOfMarks(day, [])).marks
        if counter is not None:
            marks.append(Mark(counter, Holder(order_lane, order_id, attempt_no), age_seconds))
    return [found[place] for place in range(1, len(keys) + 1)]


async def insert(connection: Connection, marks: Sequence[NewMark]) -> set[NewMark]:
    """Take numbers, in key order. Returns those taken: another purchase was quicker with others."""
    rows = await connection.fetch(
        """
        insert into number_marks (lane, day, customer_number, dealer_id, dealer_sku, counter,
                                  order_lane, order_id, attempt_no)
        select * from unnest($1::smallint[], $2::date[], $3::text[], $4::text[], $5::text[],
                             $6::smallint[], $7::smallint[], $8::uuid[], $9::smallint[])
        on conflict do nothing
        returning lane, day, customer_number, dealer_id, dealer_sku, counter, order_lane, order_id,
                  attempt_no
        """,
        *transposed(sorted(marks), len(NewMark._fields)),
    )
    return {NewMark(*row) for row in rows}


async def drop_old(connection: Connection, lane: int) -> int:
    """Drop a lane's marks of the days before yesterday. Returns how many there were."""
    dropped = await connection.execute(
        f"delete from number_marks where lane = $1 and day < {_TODAY} - 1",  # noqa: S608 - as above
        lane,
    )
    return int(dropped.rpartition(" ")[2])
