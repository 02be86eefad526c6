"""Endpoints that fail, hang or are disabled: nothing is lost, and nobody else waits."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from uuid_utils.compat import uuid7

from app.lifecycle.deliver import Persistence, secret_context
from app.lifecycle.tell import tell
from app.storage import deliveries, delivery_tries, endpoints
from app.storage.delivery_tries import NewTry
from app.storage.endpoints import NewEndpoint
from app.storage.lanes import LANES
from app.words import EventType, Source
from app.workers.engine import Engine
from dealers.contract import Outcome
from tests.lifecycle.test_deliver import (
    SECRET,
    deliver,
    due_now,
    read,
    receiver,
    refusing,
    register,
    succeeded,
)
from tests.shops import NOBODY, RESELLER, Shop, engine_on, enrol

OTHER = UUID("0190a000-0000-7000-8000-000000000002")


async def unpark(shop: Shop, limit: int = 100) -> int:
    async with shop.engine.pool.acquire() as connection:
        unparked = await deliveries.unpark(connection, range(LANES), limit, UUID(int=0))
        return unparked.made_due


async def backlog(shop: Shop, count: int, reseller_id: UUID = RESELLER) -> UUID:
    """An endpoint with so many deliveries due, the oldest of all."""
    endpoint_id = uuid7()
    sealed = shop.engine.sealer.seal(SECRET, secret_context(endpoint_id))
    new = NewEndpoint(shop.lane, endpoint_id, reseller_id, f"{NOBODY}/", None, sealed)
    async with shop.engine.pool.acquire() as connection, connection.transaction():
        await endpoints.create(connection, new)
        key, now = (shop.lane, reseller_id), datetime.now(UTC).isoformat()
        await tell(connection, key, EventType.PING, {}, now, [endpoint_id])
    await shop.execute(
        """
        insert into deliveries (lane, delivery_id, reseller_id, endpoint_id, event_id, event_seq,
                                due_at)
        select lane, gen_random_uuid(), reseller_id, endpoint_id, event_id, event_seq,
               now() - interval '1 hour'
        from deliveries, generate_series(2, $2::integer) where endpoint_id = $1
        """,
        endpoint_id,
        count,
    )
    return endpoint_id


async def test_what_collects_while_disabled_is_parked_and_sent_in_order_afterwards(shop: Shop):
    async with receiver(shop) as peer:
        await shop.execute("update webhook_endpoints set status = 'disabled'")
        purchase = await shop.bought()
        await shop.succeed(purchase)
        await shop.hear(purchase, Outcome.FAILED, Source.CALLBACK, reversal=True)
        assert await deliver(shop) == 0
        assert await shop.value("select count(*) from deliveries where due_at is null") == 2
        assert await unpark(shop) == 0
        await shop.execute("update webhook_endpoints set status = 'active'")
        assert await unpark(shop, 1) == 1
        assert await unpark(shop, 1) == 0
        assert await deliver(shop) == 1
        assert await unpark(shop, 1) == 1
        assert await deliver(shop) == 1
        assert [read(raw)["type"] for raw in peer.requests] == ["order.succeeded", "order.reversed"]


async def test_parked_deliveries_of_a_deleted_endpoint_are_given_up(shop: Shop):
    await register(shop, NOBODY)
    await shop.execute("update webhook_endpoints set status = 'disabled'")
    await succeeded(shop)
    assert await deliver(shop) == 0
    await shop.execute("update webhook_endpoints set status = 'deleted'")
    assert await unpark(shop) == 1
    await deliver(shop)
    assert await shop.value("select state from deliveries") == "failed"


async def test_five_days_of_failure_disable_an_endpoint_and_its_reseller_is_told(shop: Shop):
    async with receiver(shop, refusing(b"500 Oops")) as broken, receiver(shop) as healthy:
        await succeeded(shop)
        await deliver(shop)
        await shop.execute(
            """
            update webhook_endpoints set failing_since = now() - interval '119 hours'
            where failing_since is not null
            """
        )
        await due_now(shop)
        await deliver(shop)
        assert await shop.value("select count(*) from webhook_endpoints where status='active'") == 2
        await shop.execute(
            """
            update webhook_endpoints set failing_since = failing_since - interval '1 hour'
            where failing_since is not null
            """
        )
        await due_now(shop)
        await deliver(shop)
        reason = "select disabled_reason from webhook_endpoints where status = 'disabled'"
        assert await shop.value(reason) == "failing"
        await due_now(shop)
        assert await deliver(shop) == 1
        told = read(healthy.requests[-1])
        assert told["type"] == "endpoint.disabled"
        assert told["data"]["url"] == broken.url
        assert told["data"]["reason"] == "failing"
    assert await shop.value("select count(*) from deliveries where state = 'pending'") == 1


async def test_gone_is_told_once_whoever_hears_it(shop: Shop):
    async with receiver(shop, refusing(b"410 Gone")), receiver(shop) as healthy:
        await succeeded(shop, 3)
        await deliver(shop)
        while await deliver(shop):
            pass
        kinds = [read(raw)["type"] for raw in healthy.requests]
    assert kinds.count("endpoint.disabled") == 1
    assert (
        await shop.value(
            "select count(*) from deliveries where due_at is null and state = 'pending'"
        )
        == 3
    )


async def test_a_long_backlog_does_not_starve_another_resellers_one(shop: Shop, database_dsn: str):
    other_lane = await enrol(shop.engine, OTHER)
    crowd = await backlog(shop, 2000)
    other = Shop(shop.engine, other_lane)
    single = await backlog(other, 1, OTHER)
    await shop.execute("update deliveries set due_at = now() where endpoint_id = $1", single)
    few = Persistence(endpoint_concurrency=2)
    async with engine_on(database_dsn, persistence=few) as engine:
        deliverer = engine.deliverer
        seen: list[UUID] = []
        for _ in range(3):
            claimed = await deliverer.claim(8)
            seen += [each.endpoint_id for each in claimed]
            for each in claimed:
                deliverer.leave(each.endpoint_id)
    assert single in seen
    assert crowd in seen


@pytest.mark.parametrize("lane_groups", [1, 2])
async def test_claims_in_turn_reach_every_endpoint(
    shop: Shop, database_dsn: str, monkeypatch: pytest.MonkeyPatch, lane_groups: int
):
    monkeypatch.setattr("app.lifecycle.deliver._MOST_IN_TURN", 2)
    wanted = {await backlog_of_own(shop, number, 60) for number in range(8)}
    few = Persistence(endpoint_concurrency=2)
    async with engine_on(database_dsn, persistence=few, lane_groups=lane_groups) as engine:
        seen: set[UUID] = set()
        for _ in range(16):
            claimed = await engine.deliverer.claim(4)
            for each in claimed:
                seen.add(each.endpoint_id)
                engine.deliverer.leave(each.endpoint_id)
    assert seen == wanted


async def backlog_of_own(shop: Shop, number: int, count: int) -> UUID:
    reseller_id = UUID(int=number + 100)
    lane = await enrol(shop.engine, reseller_id, rupiah=0)
    return await backlog(Shop(shop.engine, lane), count, reseller_id)


async def test_an_endpoint_that_fails_in_a_row_is_left_alone_and_probed_by_one(shop: Shop):
    async with receiver(shop, refusing(b"500 Oops")) as peer:
        await succeeded(shop, 8)
        await deliver(shop, 5)
        assert len(peer.requests) == 5
        await due_now(shop)
        assert await shop.engine.deliverer.claim(100) == []
        let_pass(shop.engine)
        assert len(await shop.engine.deliverer.claim(100)) == 1


def let_pass(engine: Engine) -> None:
    """Let the time pass for which endpoints are left alone."""
    for line in engine.deliverer.lines._lines.values():
        line.held_until = 0


async def test_an_endpoint_that_asks_to_wait_is_sent_nothing_else_meanwhile(shop: Shop):
    async with receiver(shop, refusing(b"429 Slow\r\nRetry-After: 60")) as peer:
        await succeeded(shop, 3)
        await deliver(shop, 1)
        assert await deliver(shop) == 0
        assert len(peer.requests) == 1


async def test_an_endpoints_rate_is_kept_to(shop: Shop):
    async with receiver(shop) as peer:
        await shop.execute("update webhook_endpoints set rate_per_second = 2")
        await succeeded(shop, 8)
        assert await deliver(shop) == 2
        assert len(peer.requests) == 2


async def test_an_endpoints_own_schedule_comes_before_ours(shop: Shop):
    async with receiver(shop, refusing(b"500 Oops")):
        await shop.execute("update webhook_endpoints set schedule_seconds = '{0, 600}'")
        await succeeded(shop)
        await deliver(shop)
        wait = await shop.value("select due_at - now() from deliveries")
        assert timedelta(seconds=470) < wait <= timedelta(seconds=720)
        await due_now(shop)
        await deliver(shop)
    assert await shop.value("select state from deliveries") == "failed"


async def test_tries_are_kept_within_bounds(shop: Shop, database_dsn: str):
    few = Persistence(logged_a_second=0)
    async with engine_on(database_dsn, persistence=few) as engine, receiver(shop):
        await succeeded(shop, 3)
        await deliver(Shop(engine, shop.lane))
        await engine.deliverer.try_log.flush()
    assert await shop.value("select count(*) from delivery_tries") == 0


async def test_old_days_of_the_log_are_emptied_whole(shop: Shop):
    now = datetime(2026, 11, 22, 12, tzinfo=UTC)
    tries = [
        NewTry(1, RESELLER, RESELLER, now - timedelta(days=age), 5, 200, None, {}, None, None)
        for age in range(9)
    ]
    async with shop.engine.pool.acquire() as connection:
        await delivery_tries.write(connection, tries)
        assert await delivery_tries.drop_old(connection, now, 7) == 1
        assert await delivery_tries.drop_old(connection, now, 7) == 0
        assert len(await delivery_tries.of_delivery(connection, 1, RESELLER, RESELLER)) == 8
