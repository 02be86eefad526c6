"""Orders of the past, written as an order's life leaves them."""

from datetime import datetime
from uuid import UUID

from app.storage.purchase_hours import first_id
from tests.shops import PRICE, RESELLER, SKU, Owner

_Tries = list[tuple[str, int, str]]


async def place(
    owner: Owner,
    at: datetime,
    number: int = 0,
    tries: _Tries | None = None,
    *,
    status: str = "succeeded",
    serving: int | None = 1,
    sku: str = SKU,
    cluster: str | None = None,
    max_price: int | None = None,
) -> UUID:
    """Write an order with its tries: dealer, cost and state. Its number chooses its lane, and its
    place among the orders of the same millisecond."""
    order_id = UUID(int=first_id(at).int + number)
    await owner.execute(
        """
        insert into orders (lane, order_id, reseller_id, ref_id, sku, brand, customer_number, price,
                            status, serving_attempt, cluster, max_price, retry_until, created_at,
                            decision)
        values ($1, $2, $3, $2::uuid::text, $4, 'tri', '0895', $5, $6, $7, $8, $9, $10, $10, '{}')
        """,
        number % 64,
        order_id,
        RESELLER,
        sku,
        PRICE,
        status,
        serving,
        cluster,
        max_price,
        at,
    )
    for attempt_no, (dealer_id, cost, state) in enumerate(
        [("alfa", 5000, "succeeded")] if tries is None else tries, 1
    ):
        await owner.execute(
            """
            insert into attempts (lane, order_id, attempt_no, dealer_id, route_id, dealer_sku,
                                  dealer_ref, cost, max_price, asked_at, sent_at, state, closed_at)
            values ($1, $2, $3::smallint, $4, 'r', 'S5', $2::uuid::text || $3::smallint, $5, 9000,
                    $6, $6, $7, $6)
            """,
            number % 64,
            order_id,
            attempt_no,
            dealer_id,
            cost,
            at,
            state,
        )
    return order_id
