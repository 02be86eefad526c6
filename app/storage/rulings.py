"""What rulings are made on, and what they change of orders and attempts, in one trip each.

Each trip to the database takes its turn of a busy event loop, and the orders' locks are held
meanwhile.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from app.storage.attempts import AttemptChange, LockedAttempt
from app.storage.endpoints import OF_RESELLERS, Endpoint
from app.storage.orders import LockedOrder, OrderChange
from app.storage.pool import Connection, transposed
from app.storage.ready import Waiting


@dataclass(frozen=True, slots=True)
class Locked:
    """Orders with all that may be decided about them, under the locks of this transaction."""

    orders: Sequence[LockedOrder]
    waiting: Sequence[Waiting]
    """Their next attempts that nobody claimed."""
    tries: Sequence[LockedAttempt]
    """Each order's in turn."""


async def lock(connection: Connection, keys: Sequence[tuple[int, UUID]]) -> Locked:
    """Lock orders in the order of `keys`, which is ascending everywhere, then their next attempts,
    then their attempts: each sees what the holder of the lock before it wrote (decision 0051)."""
    (found,) = await connection.fetch(
        "select locked, waiting, tries from lock_orders($1::smallint[], $2::uuid[])",
        *transposed(keys, 2),
    )
    return Locked(
        [LockedOrder(*each) for each in found[0]],
        [Waiting(*each) for each in found[1]],
        [LockedAttempt(*each) for each in found[2]],
    )


async def write(
    connection: Connection,
    attempt_changes: Sequence[AttemptChange],
    order_changes: Sequence[OrderChange],
    resellers: Sequence[tuple[int, UUID]],
) -> list[Endpoint]:
    """Write back what was decided about attempts and orders, all locked by this transaction.

    Returns the endpoints of `resellers`, by (lane, reseller id), that events go to.
    """
    rows = await connection.fetch(
        """
        with bought as (
            update attempts a
            set state = k.state, claim_id = k.claim_id, due_at = k.due_at,
                absent_since = k.absent_since, code = k.code, message = k.message,
                serial_number = k.serial_number, charged = k.charged, closed_at = k.closed_at
            from unnest($3::attempt_change[]) k
            where a.lane = k.lane and a.order_id = k.order_id and a.attempt_no = k.attempt_no
        ), ordered as (
            update orders o
            set status = k.status, needs_review = k.needs_review, corrections = k.corrections,
                failure_code = k.failure_code, failure_message = k.failure_message,
                serial_number = k.serial_number, version = k.version,
                finished_at = k.finished_at, serving_attempt = k.serving_attempt
            from unnest($4::order_change[]) k
            where o.lane = k.lane and o.order_id = k.order_id
        )
        """  # noqa: S608 - constants
        + OF_RESELLERS,
        *transposed(resellers, 2),
        attempt_changes,
        order_changes,
    )
    return [Endpoint(*row) for row in rows]
