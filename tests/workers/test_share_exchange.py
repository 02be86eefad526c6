"""The exchange of shares: processes agree within moments, and with the database in the end."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import asyncpg
import pytest
from redis.asyncio import Redis
from uuid_utils.compat import uuid7

from app.embedded.valkey import RunningValkey, start_valkey
from app.lifecycle.route import Router
from app.metrics import Metrics
from app.sealing import Sealer
from app.storage import installation
from app.storage.pool import Pool
from app.storage.share_stream import News, Position, open_stream
from app.workers import share_exchange
from app.workers.share_exchange import ExchangeSettings, ShareExchange
from routing.choose import Inquiry
from routing.monopoly import GroupTotal, Market, ShareRow
from tests.publishing import PUBLISH
from tests.shops import ALFA, BRAVO, PRICE, SECRET_KEY, SKU, Owner, furnish, until
from tests.test_metrics import samples

TRI = Market("tri", None)
DAY_SECONDS = 86_400.0


@dataclass
class Party:
    """One process's part in the exchange, and its shares."""

    router: Router
    exchange: ShareExchange
    metrics: Metrics

    def buys(self, dealer_id: str, cost: int, *, orders: int = 1, hours_ago: int = 0) -> None:
        at = datetime.now(UTC) - timedelta(hours=hours_ago)
        self.router.count(TRI, dealer_id, cost, at, orders=orders)

    @property
    def shares(self) -> dict[str, GroupTotal]:
        return dict(self.router.shares.totals(TRI, datetime.now(UTC)).groups)

    def rebuilds(self, reason: str) -> float:
        return samples(self.metrics, "jalur_share_rebuilds_total")[reason,]


@asynccontextmanager
async def party(
    pool: Pool, redis_url: str | None, correction_seconds: float = DAY_SECONDS
) -> AsyncIterator[Party]:
    router = Router(Sealer([SECRET_KEY]), time.monotonic, 45)
    await router.refresh(pool)
    settings = ExchangeSettings(redis_url, correction_seconds)
    metrics = Metrics()
    exchange = ShareExchange(pool, router, metrics, settings, random.random)
    running = asyncio.ensure_future(exchange.run())
    try:
        yield Party(router, exchange, metrics)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


@asynccontextmanager
async def parties(pool: Pool, redis_url: str, count: int) -> AsyncIterator[list[Party]]:
    """So many processes that know each other and have nothing to doubt."""
    async with AsyncExitStack() as stack:
        entered = [await stack.enter_async_context(party(pool, redis_url)) for _ in range(count)]
        await becomes(lambda: all(each.exchange.peers == count - 1 for each in entered))
        await becomes(lambda: all(each.rebuilds("connected") for each in entered))
        yield entered


async def becomes(holds: Callable[[], object], seconds: float = 30) -> None:
    async def asked() -> object:
        await asyncio.sleep(0.02)
        return holds()

    await until(asked, seconds)


@pytest.fixture
async def shop(database_dsn: str, pool: Pool) -> Pool:
    await furnish(database_dsn, [ALFA, BRAVO])
    return pool


@pytest.fixture
async def owner(database_dsn: str) -> AsyncIterator[Owner]:
    connection = await asyncpg.connect(database_dsn)
    yield connection
    await connection.close()


@pytest.fixture
async def stream_name(shop: Pool) -> str:
    async with shop.acquire() as connection:
        return await installation.name(connection)


def news(sender: str, number: int, value: int) -> News:
    row = ShareRow(TRI, "alfa", value, 1, datetime.now(UTC))
    return News(sender, number, Position(), asks=False, leaves=False, rows=[row])


async def test_what_one_counts_all_count_once(shop: Pool, valkey: RunningValkey):
    async with parties(shop, valkey.url, 3) as (one, two, three):
        one.buys("alfa", 5000)
        two.buys("alfa", 5000)
        two.buys("bravo", 5100, hours_ago=2)
        expected = {"alfa": GroupTotal(10_000, 2), "bravo": GroupTotal(5100, 1)}
        await becomes(lambda: one.shares == two.shares == three.shares)
        assert one.shares == expected


async def test_failure_settled_elsewhere_is_taken_back_everywhere(
    shop: Pool, valkey: RunningValkey
):
    async with parties(shop, valkey.url, 2) as (one, two):
        one.buys("alfa", 5000)
        await becomes(lambda: two.shares)
        two.buys("alfa", 5000, orders=-1)
        await becomes(lambda: not one.shares and not two.shares)
        assert (one.shares, two.shares) == ({}, {})


async def test_message_that_comes_twice_counts_once(
    shop: Pool, valkey: RunningValkey, stream_name: str
):
    async with (
        parties(shop, valkey.url, 1) as (one,),
        open_stream(valkey.url, stream_name) as other,
    ):
        for number in (1, 1, 2, 1, 2):
            await other.append(news("other", number, 1000))
        await becomes(lambda: one.shares == {"alfa": GroupTotal(2000, 2)})
        await asyncio.sleep(0.2)
        assert one.shares == {"alfa": GroupTotal(2000, 2)}
        assert one.rebuilds("gap") == 0


async def test_number_left_out_has_the_shares_counted_anew(
    shop: Pool, valkey: RunningValkey, stream_name: str
):
    async with (
        parties(shop, valkey.url, 1) as (one,),
        open_stream(valkey.url, stream_name) as other,
    ):
        await other.append(news("other", 1, 1000))
        await becomes(lambda: one.shares)
        await other.append(news("other", 3, 1000))
        await becomes(lambda: one.rebuilds("gap"))
        assert one.shares == {}, "the database says that nothing was bought"


async def test_message_that_cannot_be_read_has_the_shares_counted_anew(
    shop: Pool, valkey: RunningValkey, stream_name: str
):
    async with parties(shop, valkey.url, 1) as (one,), Redis.from_url(valkey.url) as redis:
        await redis.xadd(f"jalur:shares:1:{stream_name}", {"news": "{"})
        await becomes(lambda: one.rebuilds("gap"))
        assert one.exchange.age_seconds is not None


async def test_process_that_was_killed_leaves_nothing_miscounted(
    shop: Pool, valkey: RunningValkey, stream_name: str
):
    async with (
        parties(shop, valkey.url, 1) as (one,),
        open_stream(valkey.url, stream_name) as other,
    ):
        await other.append(news("other", 1, 1000))
        await becomes(lambda: one.exchange.peers == 1)
        await becomes(lambda: one.rebuilds("silence"))
        assert (one.exchange.peers, one.shares) == (0, {})


async def test_process_that_takes_its_leave_tells_its_last_counts_and_is_not_missed(
    shop: Pool, valkey: RunningValkey
):
    async with parties(shop, valkey.url, 1) as (one,):
        async with party(shop, valkey.url) as other:
            await becomes(lambda: one.exchange.peers == other.exchange.peers == 1)
            await becomes(lambda: other.rebuilds("connected"))
        other.buys("alfa", 5000)
        await other.exchange.take_leave()
        await becomes(lambda: one.shares == {"alfa": GroupTotal(5000, 1)})
        assert (one.exchange.peers, one.rebuilds("silence")) == (0, 0)


async def test_process_that_was_never_heard_of_leaves_nothing_counted_twice(
    shop: Pool, valkey: RunningValkey, monkeypatch: pytest.MonkeyPatch
):
    """What it bought meanwhile may be in what the others counted from the database."""
    monkeypatch.setattr(share_exchange, "_PROMPT_SECONDS", 0)
    async with parties(shop, valkey.url, 1) as (one,):
        router = Router(Sealer([SECRET_KEY]), time.monotonic, 45)
        await router.refresh(shop)
        settings = ExchangeSettings(valkey.url, DAY_SECONDS)
        unheard = ShareExchange(shop, router, Metrics(), settings, random.random)
        router.count(TRI, "alfa", 5000, datetime.now(UTC), orders=1)
        await unheard.take_leave()
        await becomes(lambda: one.rebuilds("gap"))
        assert one.shares == {}


async def test_tally_too_large_to_be_told_has_the_others_count_anew(
    shop: Pool, valkey: RunningValkey
):
    async with parties(shop, valkey.url, 2) as (one, two):
        now = datetime.now(UTC)
        for number in range(10_001):
            one.router.count(Market(f"brand{number}", None), "alfa", 1, now, orders=1)
        await becomes(lambda: two.rebuilds("gap"))
        assert one.rebuilds("gap") == 0


async def test_many_rows_are_told_in_several_messages(shop: Pool, valkey: RunningValkey):
    async with parties(shop, valkey.url, 2) as (one, two):
        now = datetime.now(UTC)
        for number in range(1_200):
            one.router.count(Market(f"brand{number}", None), "alfa", 1, now, orders=1)
        await becomes(lambda: len(two.router.shares.markets()) == 1_200)
        assert two.rebuilds("gap") == 0


async def test_flushed_stream_loses_nothing_for_long(shop: Pool, valkey: RunningValkey):
    async with parties(shop, valkey.url, 2) as (one, two), Redis.from_url(valkey.url) as redis:
        for _ in range(30):
            one.buys("alfa", 1000)
            two.buys("bravo", 1000)
            await redis.flushall()
            await asyncio.sleep(0.02)
        one.buys("alfa", 1000)

        # Nothing was bought for the database; whoever missed something finds that out there.
        def missed_nothing(each: Party) -> bool:
            return bool(each.rebuilds("gap")) or each.shares.get("alfa") == GroupTotal(31_000, 31)

        await becomes(lambda: missed_nothing(one) and missed_nothing(two))
        assert [missed_nothing(one), missed_nothing(two)] == [True, True]


async def test_redis_started_again_has_everybody_count_anew_and_go_on(shop: Pool, server_dir: Path):
    folder = server_dir / "own-valkey"
    first = start_valkey(folder)
    async with parties(shop, first.url, 2) as (one, two):
        first.stop()
        one.buys("alfa", 5000)
        await asyncio.sleep(0.5)
        with start_valkey(folder, port=first.port):
            await becomes(lambda: one.rebuilds("connected") > 1 and two.rebuilds("connected") > 1)
            await becomes(lambda: one.exchange.peers == two.exchange.peers == 1)
            calm = {**one.shares}
            one.buys("bravo", 5100)
            await becomes(lambda: two.shares.get("bravo") == GroupTotal(5100, 1))
            assert calm in ({}, {"alfa": GroupTotal(5000, 1)})


async def test_counting_never_waits_for_a_redis_that_is_silent(shop: Pool):
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, party(shop, f"redis://127.0.0.1:{port}/0", 1.0) as one:
        one.buys("alfa", 5000)
        assert one.shares == {"alfa": GroupTotal(5000, 1)}
        await becomes(lambda: one.rebuilds("correction"))


async def test_without_redis_the_corrections_remain(shop: Pool):
    async with party(shop, None, 1.0) as one:
        one.buys("alfa", 5000)
        await becomes(lambda: one.rebuilds("correction"))
        assert one.shares == {}
        assert one.exchange.age_seconds is None
        assert samples(one.metrics, "jalur_share_correction_difference_ratio") == {(): 0}


async def test_quota_stated_in_the_middle_of_a_day_counts_what_was_sold_before(
    shop: Pool, owner: Owner
):
    async with party(shop, None) as one:
        await becomes(lambda: one.exchange.peers == 0)
        now = datetime.now(UTC)
        await owner.execute(
            """
            insert into attempts (lane, order_id, attempt_no, dealer_id, route_id, dealer_sku,
                                  dealer_ref, cost, max_price, asked_at, sent_at, state)
            values (1, $1, 1, 'alfa', 'r-alfa', 'S5', 'ref', 5000, 6000, $2, $2, 'succeeded')
            """,
            uuid7(),
            now,
        )
        await owner.execute("update routes set daily_quota = 1 where dealer_id = 'alfa'")
        await owner.execute(PUBLISH)
        await one.router.refresh(shop)

        def dealer() -> str | None:
            chosen = one.router.choose(Inquiry(SKU, "tri", None, PRICE), now).chosen
            return chosen and chosen.dealer_id

        assert dealer() == "alfa"
        await becomes(lambda: dealer() == "bravo")


async def test_changed_owner_groups_have_the_shares_counted_anew(shop: Pool):
    async with party(shop, None) as one:
        await asyncio.sleep(0)
        async with shop.acquire() as connection:
            await connection.execute(
                "update dealers set owner_group = 'new' where dealer_id = 'alfa'"
            )
            await connection.execute(PUBLISH)
        await one.router.refresh(shop)
        await becomes(lambda: one.rebuilds("groups"))
        assert one.rebuilds("groups") == 1
        assert one.router.trade.snapshot.dealers["alfa"].owner_group == "new"
