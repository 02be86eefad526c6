"""The reference tables, written: dealers, products, prices, routes, numbers, regions.

Every function replaces rows of the same key. `publish` or `publish_goods` ends a change: it raises
the revision, and each process takes the change up. Call it in the same transaction.
"""

from collections.abc import Sequence
from datetime import timedelta

from app.storage.pool import Connection, columns, transposed
from app.storage.reference import DealerRow, PriceRow, ProductRow, RouteRow

_GOODS = 0x6A616C75722D676C


async def lock(connection: Connection) -> None:
    """Keep other changes of dealers, numbers, regions and policy waiting until this transaction
    ends. Those of goods wait with their publishing."""
    await connection.execute("select from routing_policy for update")


async def publish(connection: Connection) -> int:
    """Make this transaction's changes of the terms the new revision. Returns its number."""
    return await connection.fetchval(
        "update routing_policy set revision = revision + 1 returning revision"
    )


async def publish_goods(connection: Connection) -> int:
    """As `publish`, after changes of products, prices or routes: they are compiled anew."""
    return await connection.fetchval(
        """
        update routing_policy set revision = revision + 1, goods_revision = revision + 1
        returning revision
        """
    )


async def lock_goods(connection: Connection, patience: timedelta | None = None) -> int:
    """Keep others from changing products, prices or routes until this transaction ends.

    A large sheet takes long to write; dealers can be paused meanwhile, since only `publish_goods`
    locks what they lock. Waits for whoever changes goods now, for as long as `patience`. Returns
    the goods' revision in force.
    """
    if patience is not None:
        milliseconds = patience // timedelta(milliseconds=1)
        await connection.execute("select set_config('lock_timeout', $1, true)", f"{milliseconds}ms")
    await connection.execute("select pg_advisory_xact_lock($1)", _GOODS)
    return await connection.fetchval("select goods_revision from routing_policy")


async def put_policy(connection: Connection, policy: str) -> None:
    """Replace the policy, JSON text."""
    await connection.execute("update routing_policy set policy = $1::json", policy)


async def put_dealers(connection: Connection, dealers: Sequence[DealerRow]) -> None:
    """Insert or replace dealers. A dealer's side stays as it was inserted."""
    await connection.executemany(
        """
        insert into dealers (
            dealer_id, name, owner_group, protocol, base_url, credentials_sealed, options,
            callback_token, concurrency, timeout_seconds, connect_timeout_seconds, enabled,
            drained, muted_until, requests_per_second, callback_from, test
        )
        values ($1, $2, $3, $4, $5, $6, $7::json, $8, $9, $10, $11, $12, $13, $14, $15,
                $16::text[]::cidr[], $17)
        on conflict (dealer_id) do update
        set name = excluded.name, owner_group = excluded.owner_group,
            protocol = excluded.protocol, base_url = excluded.base_url,
            credentials_sealed = excluded.credentials_sealed, options = excluded.options,
            callback_token = excluded.callback_token, concurrency = excluded.concurrency,
            timeout_seconds = excluded.timeout_seconds,
            connect_timeout_seconds = excluded.connect_timeout_seconds,
            enabled = excluded.enabled, drained = excluded.drained,
            muted_until = excluded.muted_until, callback_from = excluded.callback_from,
            requests_per_second = excluded.requests_per_second
        """,
        list(zip(*columns(dealers, *DealerRow.__slots__), strict=True)),
    )


async def put_products(connection: Connection, products: Sequence[ProductRow]) -> None:
    """Insert or replace products."""
    await connection.execute(
        """
        insert into products (sku, name, brand, kind, denomination, enabled)
        select * from unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::bigint[],
                             $6::boolean[])
        on conflict (sku) do update
        set name = excluded.name, brand = excluded.brand, kind = excluded.kind,
            denomination = excluded.denomination, enabled = excluded.enabled
        """,
        *columns(products, *ProductRow.__slots__),
    )


async def put_prices(connection: Connection, prices: Sequence[PriceRow]) -> None:
    """Insert or replace what resellers of a tier pay."""
    await connection.execute(
        """
        insert into prices (tier, sku, price)
        select * from unnest($1::text[], $2::text[], $3::bigint[])
        on conflict (tier, sku) do update set price = excluded.price
        """,
        *columns(prices, *PriceRow.__slots__),
    )


async def put_routes(connection: Connection, routes: Sequence[RouteRow]) -> None:
    """Insert or replace routes."""
    await connection.execute(
        """
        insert into routes (route_id, sku, cluster, dealer_id, dealer_sku, cost, enabled, hours,
                            valid_from, valid_until, daily_quota, repeat_limit, weight)
        select * from unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[],
                             $6::bigint[], $7::boolean[], $8::text[], $9::timestamptz[],
                             $10::timestamptz[], $11::integer[], $12::smallint[], $13::smallint[])
        on conflict (route_id) do update
        set sku = excluded.sku, cluster = excluded.cluster, dealer_id = excluded.dealer_id,
            dealer_sku = excluded.dealer_sku, cost = excluded.cost, enabled = excluded.enabled,
            hours = excluded.hours, valid_from = excluded.valid_from,
            valid_until = excluded.valid_until, daily_quota = excluded.daily_quota,
            repeat_limit = excluded.repeat_limit, weight = excluded.weight
        """,
        *columns(routes, *RouteRow._fields),
    )


async def put_prefixes(connection: Connection, prefixes: Sequence[tuple[str, str]]) -> None:
    """Insert or replace number prefixes and the brands they belong to."""
    await connection.execute(
        """
        insert into brand_prefixes (prefix, brand)
        select * from unnest($1::text[], $2::text[])
        on conflict (prefix) do update set brand = excluded.brand
        """,
        *transposed(prefixes, 2),
    )


async def put_regions(connection: Connection, regions: Sequence[tuple[str, str]]) -> None:
    """Insert or replace regions and the clusters they lie in."""
    await connection.execute(
        """
        insert into regions (region, cluster)
        select * from unnest($1::text[], $2::text[])
        on conflict (region) do update set cluster = excluded.cluster
        """,
        *transposed(regions, 2),
    )


async def put_numbering(connection: Connection, prefixes: Sequence[tuple[str, str]]) -> None:
    """Insert or replace number prefixes and the clusters they hint at."""
    await connection.execute(
        """
        insert into number_clusters (prefix, cluster)
        select * from unnest($1::text[], $2::text[])
        on conflict (prefix) do update set cluster = excluded.cluster
        """,
        *transposed(prefixes, 2),
    )


async def drop_numbering(connection: Connection, prefix: str) -> str | None:
    """Delete a prefix. Returns the cluster that it hinted at; None where there was none."""
    return await connection.fetchval(
        "delete from number_clusters where prefix = $1 returning cluster", prefix
    )
