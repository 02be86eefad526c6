"""Rows that go to a statement or come from a function as they are.

Each type's attributes are the tuple's, in its order.
"""

import pytest

from app.storage.attempts import AttemptChange, LockedAttempt
from app.storage.deliveries import TryResult
from app.storage.ledger import Errand, Movement, News
from app.storage.orders import LockedOrder, NewOrder, OrderChange
from app.storage.pool import Pool
from app.storage.ready import Waiting

PLACED = ("place", "number")
ROWS = {
    "order_change": OrderChange._fields,
    "attempt_change": AttemptChange._fields,
    "locked_order": LockedOrder._fields,
    "locked_attempt": LockedAttempt._fields,
    "waiting_attempt": Waiting._fields,
    "delivery_try_2": TryResult._fields,
    "wallet_movement": (*Movement._fields, *PLACED, "available_so_far", "reserved_so_far"),
    "event_news": (*News._fields, *PLACED),
    "delivery_errand": (*Errand._fields, "reseller_id", "order_id", *PLACED),
}


@pytest.mark.parametrize("name", ROWS)
async def test_type_is_the_tuple_that_is_sent_as_it(pool: Pool, name: str):
    assert await attributes(pool, name) == ROWS[name]


async def test_candidate_is_the_order_and_the_intent_beside_it(pool: Pool):
    found = await attributes(pool, "order_candidate_3")
    assert found[0] == "place"
    order, rest = found[1 : 1 + len(NewOrder._fields)], found[1 + len(NewOrder._fields) :]
    assert [name.replace("order_max_price", "max_price") for name in order] == [*NewOrder._fields]
    assert rest == (
        "dealer_id", "barred", "route_id", "dealer_sku", "dealer_ref", "cost", "max_price",
        "claim_id",
    )  # fmt: skip


async def attributes(pool: Pool, name: str) -> tuple[str, ...]:
    rows = await pool.fetch(
        """
        select a.attname from pg_attribute a join pg_class c on c.oid = a.attrelid
        where c.relname = $1 and a.attnum > 0 order by a.attnum
        """,
        name,
    )
    return tuple(row[0] for row in rows)
