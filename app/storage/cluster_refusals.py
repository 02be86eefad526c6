"""What dealers refused as outside their area: the newest refusal of each number.

cluster_refusals(dealer_id, brand, cluster, customer_number, refused_at)
    unique (dealer_id, brand, cluster, customer_number)

A small table that every process reads whole: a dealer is left alone after a few numbers.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime

from app.storage.pool import Connection, transposed
from routing.refusals import Area, Refusal


async def since(connection: Connection, moment: datetime) -> list[Refusal]:
    """Every refusal after a moment."""
    rows = await connection.fetch(
        """
        select dealer_id, brand, cluster, customer_number, refused_at from cluster_refusals
        where refused_at > $1
        order by dealer_id, brand, cluster, customer_number
        """,
        moment,
    )
    return [Refusal(Area(*row[:3]), row[3], row[4]) for row in rows]


async def put(connection: Connection, refusals: Sequence[Refusal]) -> None:
    """Write refusals down, the newest of each number, in key order."""
    rows = sorted((*area, number, at) for area, number, at in refusals)
    await connection.execute(
        """
        insert into cluster_refusals as r (dealer_id, brand, cluster, customer_number, refused_at)
        select * from unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::timestamptz[])
        on conflict (dealer_id, brand, cluster, customer_number) do update
        set refused_at = greatest(r.refused_at, excluded.refused_at)
        """,
        *transposed(rows, 5),
    )


async def void(connection: Connection, served: Mapping[Area, datetime]) -> None:
    """Forget what was refused before a success in the same area."""
    await connection.execute(
        """
        delete from cluster_refusals r
        using unnest($1::text[], $2::text[], $3::text[], $4::timestamptz[])
            k (dealer_id, brand, cluster, served_at)
        where r.dealer_id = k.dealer_id and r.brand = k.brand and r.cluster = k.cluster
          and r.refused_at <= k.served_at
        """,
        *transposed([(*area, at) for area, at in served.items()], 4),
    )


async def forget(
    connection: Connection, dealer_id: str, brand: str | None, cluster: str | None
) -> list[Area]:
    """Forget what a dealer refused: everywhere, or of one brand or cluster. Returns where."""
    rows = await connection.fetch(
        """
        delete from cluster_refusals
        where dealer_id = $1 and brand = coalesce($2, brand) and cluster = coalesce($3, cluster)
        returning dealer_id, brand, cluster
        """,
        dealer_id,
        brand,
        cluster,
    )
    return sorted({Area(*row) for row in rows})


async def drop_before(connection: Connection, moment: datetime) -> None:
    """Drop refusals up to a moment: nothing goes by them any more."""
    await connection.execute("delete from cluster_refusals where refused_at <= $1", moment)
