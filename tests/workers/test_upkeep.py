"""Upkeep: what is measured stands in the metrics, and one duty's trouble is its own."""

import re

import asyncpg

from app.storage import statements
from app.storage.statements import WalletTotals
from tests.lifecycle.counters import Asked, always
from tests.shops import OPENING_RUPIAH, PRICE, Shop, until
from tests.workers.test_engine import becomes, working


def measured(shop: Shop, series: str) -> float | None:
    text = shop.engine.metrics.exposition().decode()
    found = re.search(rf"^{re.escape(series)} (\S+)$", text, re.MULTILINE)
    return float(found[1]) if found else None


async def shows(shop: Shop, series: str, least: float = 1.0) -> float:
    """What a series shows once it is large enough."""

    async def seen() -> bool:
        return (measured(shop, series) or 0.0) >= least

    await until(seen)
    return measured(shop, series) or 0.0


async def test_connections_dealers_and_table_are_measured(database_dsn: str):
    async with working(database_dsn, always(Asked.sukses)) as (shop, _):
        await shows(shop, "jalur_database_connections_max", 6)
        await shows(shop, 'jalur_dealer_breaker_state{dealer="alfa",state="closed"}')
        await shows(shop, "jalur_table_revision")
        await shows(shop, 'jalur_upkeep_last_success_timestamp_seconds{duty="wallets"}')
        assert measured(shop, "jalur_redis_up") is None


async def test_wallets_are_added_up_with_what_is_owed(database_dsn: str):
    async with (
        working(database_dsn, always(Asked.sukses)) as (shop, _),
        shop.engine.pool.acquire() as connection,
    ):
        before = await statements.wallet_totals(connection)
        undo = connection.transaction()
        await undo.start()
        await connection.execute("update wallets set available = -500, credit_limit = 300")
        after = await statements.wallet_totals(connection)
        await undo.rollback()
    assert before == WalletTotals(OPENING_RUPIAH, 0, 0, 0)
    assert after == WalletTotals(-500, 0, 500, 1)


async def test_what_is_bought_stands_in_its_markets_share(database_dsn: str):
    async with working(database_dsn, always(Asked.sukses)) as (shop, _):
        await shop.order()
        await becomes(shop, "select status = 'succeeded' from orders")
        await shows(shop, 'jalur_attempts_settled_total{dealer="alfa",outcome="succeeded",'
                          'source="purchase"}')  # fmt: skip
        assert measured(shop, 'jalur_dealer_call_duration_seconds_count{dealer="alfa",'
                              'kind="purchase"}') == 1  # fmt: skip
        assert await shop.money() == (OPENING_RUPIAH - PRICE, 0)


async def test_table_that_cannot_be_taken_up_is_counted_and_holds_up_nothing(database_dsn: str):
    async with working(database_dsn, always(Asked.sukses)) as (shop, _):
        await shop.execute(
            "update routing_policy set revision = 9, policy = '{\"window_days\": 0}'"
        )
        assert await shows(shop, 'jalur_upkeep_failures_total{duty="table"}') >= 1
        backlog = 'jalur_upkeep_last_success_timestamp_seconds{duty="backlog"}'
        counted = await shows(shop, backlog)
        assert await shows(shop, backlog, counted + 0.5) > counted
        assert shop.engine.router.trade.revision < 9


async def test_process_looks_at_itself_while_the_database_is_away(database_dsn: str):
    async with working(database_dsn, always(Asked.sukses)) as (shop, _):
        await cut_off(database_dsn, allow=False)
        try:
            assert await shows(shop, 'jalur_upkeep_failures_total{duty="installation"}') >= 1
            beats = measured(shop, "jalur_event_loop_lag_seconds_count") or 0.0
            assert await shows(shop, "jalur_event_loop_lag_seconds_count", beats + 5) > beats
        finally:
            await cut_off(database_dsn, allow=True)


async def cut_off(dsn: str, *, allow: bool) -> None:
    """Close a database to everybody and end what is connected, or open it again."""
    address, _, name = dsn.rpartition("/")
    connection = await asyncpg.connect(f"{address}/postgres")
    await connection.execute(f'alter database "{name}" allow_connections {str(allow).lower()}')
    await connection.execute(
        "select pg_terminate_backend(pid) from pg_stat_activity where datname = $1", name
    )
    await connection.close()
