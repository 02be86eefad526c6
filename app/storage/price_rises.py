"""Routes whose dealer charged more than their cost, until the cost follows.

    price_rises(route_id, dealer_id, dealer_sku, cost, charged, …, muted_until, lifted_at)

One stands while its route has the cost and the dealer's SKU that were bought at, it has not
expired and nobody lifted it; its route is not bought from meanwhile.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from app.storage.pool import Connection, transposed

_STANDS = """
    p.lifted_at is null and p.muted_until > now() and r.cost = p.cost
        and r.dealer_sku = p.dealer_sku
"""


class Rise(NamedTuple):
    """A purchase that was charged above its route's cost. Rupiah."""

    route_id: str
    dealer_id: str
    dealer_sku: str
    cost: int
    charged: int
    order_id: UUID
    sent_at: datetime
    sku: str
    cluster: str | None


@dataclass(frozen=True, slots=True)
class Risen:
    """A route whose price rose. `order_id` is the last such purchase's."""

    route_id: str
    dealer_id: str
    dealer_sku: str
    cost: int
    charged: int
    purchases: int
    order_id: UUID
    first_seen_at: datetime
    last_seen_at: datetime
    muted_until: datetime
    lifted_at: datetime | None
    stands: bool


class Muted(NamedTuple):
    """A route that is not bought from."""

    route_id: str
    sku: str
    cluster: str | None


async def note(connection: Connection, rises: Sequence[Rise], lasts: timedelta) -> None:
    """Write rises down, one a route. What was bought at another cost than the route's present one,
    or sent before its mute was lifted, says nothing new."""
    newest = {rise.route_id: rise for rise in rises}
    purchases = Counter(rise.route_id for rise in rises)
    counted = [(*newest[route_id][:7], purchases[route_id]) for route_id in sorted(newest)]
    await connection.execute(
        """
        insert into price_rises as p (route_id, dealer_id, dealer_sku, cost, charged, order_id,
                                      purchases, muted_until)
        select k.route_id, k.dealer_id, k.dealer_sku, k.cost, k.charged, k.order_id, k.purchases,
               now() + $9::interval
        from unnest($1::text[], $2::text[], $3::text[], $4::bigint[], $5::bigint[], $6::uuid[],
                    $7::timestamptz[], $8::bigint[])
            k (route_id, dealer_id, dealer_sku, cost, charged, order_id, sent_at, purchases)
        join routes r on r.route_id = k.route_id and r.cost = k.cost and r.dealer_sku = k.dealer_sku
        where not exists (
            select from price_rises b where b.route_id = k.route_id and b.lifted_at > k.sent_at
        )
        on conflict (route_id) do update
        set dealer_id = excluded.dealer_id, dealer_sku = excluded.dealer_sku, cost = excluded.cost,
            charged = excluded.charged, order_id = excluded.order_id, last_seen_at = now(),
            purchases = excluded.purchases + case
                when p.lifted_at is null and p.cost = excluded.cost then p.purchases else 0 end,
            first_seen_at = case
                when p.lifted_at is null and p.cost = excluded.cost then p.first_seen_at
                else now() end,
            muted_until = excluded.muted_until, lifted_at = null
        """,
        *transposed(counted, 8),
        lasts,
    )


async def standing(connection: Connection) -> list[Muted]:
    """The routes that are not bought from."""
    rows = await connection.fetch(
        f"""
        select p.route_id, r.sku, r.cluster
        from price_rises p join routes r on r.route_id = p.route_id
        where {_STANDS}
        """  # noqa: S608 - put together from this module's own text
    )
    return [Muted(*row) for row in rows]


async def list_all(connection: Connection, most: int) -> list[Risen]:
    """Rises, those that stand first, then by when they were last seen."""
    rows = await connection.fetch(
        f"""
        select p.route_id, p.dealer_id, p.dealer_sku, p.cost, p.charged, p.purchases, p.order_id,
               p.first_seen_at, p.last_seen_at, p.muted_until, p.lifted_at,
               coalesce({_STANDS}, false) as stands
        from price_rises p left join routes r on r.route_id = p.route_id
        order by stands desc, p.last_seen_at desc, p.route_id limit $1
        """,  # noqa: S608 - put together from this module's own text
        most,
    )
    return [Risen(*row) for row in rows]


async def lift(connection: Connection, route_id: str) -> Risen | None:
    """End a route's mute. What stood; None where none did."""
    row = await connection.fetchrow(
        f"""
        with before as (
            select p.* from price_rises p join routes r on r.route_id = p.route_id
            where p.route_id = $1 and {_STANDS}
            for update of p
        )
        update price_rises p set lifted_at = clock_timestamp()
        from before b where p.route_id = b.route_id
        returning p.route_id, p.dealer_id, p.dealer_sku, p.cost, p.charged, p.purchases,
                  p.order_id, p.first_seen_at, p.last_seen_at, p.muted_until, p.lifted_at, false
        """,  # noqa: S608 - put together from this module's own text
        route_id,
    )
    return None if row is None else Risen(*row)


async def lift_dealer(connection: Connection, dealer_id: str) -> None:
    """End the mutes of a dealer's routes: its price list was just taken over."""
    await connection.execute(
        """
        update price_rises set lifted_at = clock_timestamp()
        where dealer_id = $1 and lifted_at is null
        """,
        dealer_id,
    )
