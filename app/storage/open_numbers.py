"""Open numbers: what each reseller has an open order for, a product for a number.

open_numbers(lane, reseller_id, customer_number, sku, slot, order_id)
    unique (lane, reseller_id, customer_number, sku, slot)

A row is written by the statement that accepts its order (`app/storage/acceptance.py`), and goes in
the one that closes it (`app/storage/ledger.py`). Both hold the reseller's wallet, so that neither
ever waits for the other's row: whoever did, holding a wallet that the other wants, would wait for
ever. The table stays as small as what is open, and nothing about `orders` needs another index.
"""

from collections.abc import Sequence
from typing import NamedTuple
from uuid import UUID

from app.storage.orders import NewOrder
from app.storage.pool import Connection, columns

ONLY = UUID(int=0)
"""The slot of an order that must be the only one; one that may stand beside others has its own."""


class OpenNumber(NamedTuple):
    """What an open order holds."""

    lane: int
    reseller_id: UUID
    customer_number: str
    sku: str
    order_id: UUID


async def forget_closed(connection: Connection, wanted: Sequence[NewOrder]) -> None:
    """Delete the rows in the way of these orders whose own order is closed.

    A process of a version without this table leaves them behind when it closes an order.
    """
    await connection.execute(
        """
        delete from open_numbers b
        using unnest($1::smallint[], $2::uuid[], $3::text[], $4::text[])
            k (lane, reseller_id, customer_number, sku)
        where b.lane = k.lane and b.reseller_id = k.reseller_id
          and b.customer_number = k.customer_number and b.sku = k.sku
          and not exists (
              select from orders o
              where o.lane = b.lane and o.order_id = b.order_id
                and o.status in ('accepted', 'processing')
          )
        """,
        *columns(wanted, "lane", "reseller_id", "customer_number", "sku"),
    )
