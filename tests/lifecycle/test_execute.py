"""Execute: the intent is committed before a byte leaves, and nobody else can have it."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from app.lifecycle.admit import boottime_seconds
from app.lifecycle.execute import Lease
from app.references import lane_of_reference
from app.storage import installation, statements
from app.storage.lanes import lane_of
from dealers.contract import Outcome
from routing.health import Breaker, BreakerRules
from tests.lifecycle.counters import Asked, Reply, always, asked, counter, cut, forever
from tests.outbound.peers import Peer
from tests.proxies import dropping_proxy
from tests.publishing import PUBLISH
from tests.shops import (
    ALFA,
    BRAVO,
    NUMBER,
    OPENING_RUPIAH,
    PRICE,
    Owner,
    Shop,
    engine_on,
    enrol,
    furnish,
    send,
    until,
)


@asynccontextmanager
async def shop_at(
    dsn: str, reply: Reply, second: Reply | None = None, **settings: Any
) -> AsyncIterator[tuple[Shop, Peer]]:
    """A shop whose dealer alfa answers as told; bravo answers too where `second` is given."""
    async with counter(reply) as alfa, counter(second or reply) as bravo:
        sellers = [
            replace(ALFA, base_url=alfa.url, timeout_seconds=0.5),
            replace(BRAVO, base_url=bravo.url),
        ]
        await furnish(dsn, sellers if second else sellers[:1])
        async with engine_on(dsn, **settings) as engine:
            shop = Shop(engine, await enrol(engine))
            yield shop, alfa
            async with engine.pool.acquire() as connection:
                assert await statements.verify(connection) == []


async def test_attempt_is_committed_as_sent_before_the_dealer_hears_of_it(
    database_dsn: str, owner: Owner
):
    seen: list[asyncpg.Record] = []

    async def look(asked: Asked) -> bytes:
        row = await owner.fetchrow("select state, dealer_ref, fence, claim_id from attempts")
        seen.append(row)
        assert row is not None
        assert row["dealer_ref"] == asked.query["refID"]
        return asked.sukses()

    async with shop_at(database_dsn, look) as (shop, _):
        purchase = await shop.bought()
        await send(shop.engine, purchase)
        assert await shop.status(purchase.order_id) == "succeeded"
    (row,) = seen
    assert (row["state"], row["fence"]) == ("sent", 1)
    assert row["claim_id"] is not None
    assert lane_of_reference(row["dealer_ref"], 64) == purchase.lane


async def test_purchase_names_the_number_and_the_dealers_own_sku(database_dsn: str):
    async with shop_at(database_dsn, always(Asked.sukses)) as (shop, alfa):
        await send(shop.engine, await shop.bought())
        (request,) = asked(alfa)
        assert (request.query["dest"], request.query["product"]) == (NUMBER, "S5")
        assert not request.is_check
        row = (await shop.fetch("select serial_number, charged, cost from attempts"))[0]
        assert tuple(row) == ("0123", 5000, 5000)


@pytest.mark.parametrize(
    ("answer", "state", "status"),
    [
        (Asked.sukses, "succeeded", "succeeded"),
        (Asked.diproses, "pending", "processing"),
        (Asked.gagal, "failed", "failed"),
        (Asked.stok_kosong, "rejected", "failed"),
        (cut, "unknown", "processing"),
        (lambda _: b"<html>", "unknown", "processing"),
    ],
)
async def test_every_answer_leads_to_its_state(
    database_dsn: str, answer: Any, state: str, status: str
):
    async with shop_at(database_dsn, always(answer)) as (shop, _):
        purchase = await shop.bought()
        await send(shop.engine, purchase)
        assert await shop.states(purchase.order_id) == [state]
        assert await shop.status(purchase.order_id) == status


async def test_time_out_is_unknown_and_never_bought_elsewhere(database_dsn: str):
    async with shop_at(database_dsn, forever, always(Asked.sukses)) as (shop, _):
        purchase = await shop.bought()
        await send(shop.engine, purchase)
        assert await shop.states(purchase.order_id) == ["unknown"]
        assert await shop.waiting() == []


async def test_refused_connection_proves_that_nothing_was_sent(shop: Shop):
    """Nobody listens at the dealers of this shop."""
    purchase = await shop.bought()
    await send(shop.engine, purchase)
    assert await shop.states(purchase.order_id) == ["rejected"]
    assert await shop.waiting() == [(2, "bravo")]


async def test_refusal_is_served_by_the_next_dealer(database_dsn: str):
    async with shop_at(database_dsn, always(Asked.stok_kosong), always(Asked.sukses)) as (shop, _):
        first = await shop.bought()
        await send(shop.engine, first)
        second = await shop.claim_one()
        await send(shop.engine, second)
        assert await shop.states(first.order_id) == ["rejected", "succeeded"]
        assert second.order.dealer_ref != first.order.dealer_ref
        assert await shop.money() == (OPENING_RUPIAH - PRICE, 0)
        decision = "select decision is not null from attempts where attempt_no = 2"
        assert await shop.value(decision)


async def test_nothing_is_sent_past_the_lease(database_dsn: str):
    lease = Lease(seconds=14)
    async with shop_at(database_dsn, always(Asked.sukses), lease=lease) as (shop, alfa):
        purchase = replace(await shop.bought(), send_before=boottime_seconds())
        await send(shop.engine, purchase)
        assert alfa.requests == []
        assert await shop.states(purchase.order_id) == ["rejected"]


async def test_stopping_hands_the_question_over_at_once(database_dsn: str):
    async with shop_at(database_dsn, forever) as (shop, alfa):
        purchase = await shop.bought()
        sending = asyncio.ensure_future(send(shop.engine, purchase))
        await alfa.called.wait()
        sending.cancel()
        await sending
        assert await shop.states(purchase.order_id) == ["unknown"]
        assert await shop.value("select claim_id is null from attempts")


async def test_two_executors_never_claim_the_same_order(shop: Shop, database_dsn: str):
    order_ids = {await shop.order(f"A{number}") for number in range(60)}
    async with engine_on(database_dsn) as other:
        elsewhere = Shop(other, shop.lane)
        rounds = await asyncio.gather(*(each.claim(7) for each in (shop, elsewhere) * 6))
    claimed = [purchase.order_id for purchases in rounds for purchase in purchases]
    assert len(claimed) == len(set(claimed))
    assert set(claimed) == order_ids
    assert await shop.value("select count(*) from attempts") == 60


async def test_claim_takes_no_more_than_the_places(database_dsn: str):
    await furnish(database_dsn, [replace(ALFA, concurrency=3)])
    async with engine_on(database_dsn) as engine:
        shop = Shop(engine, await enrol(engine))
        for number in range(8):
            await shop.order(f"A{number}")
        claimed = await engine.executor.claim(datetime.now(UTC), 10)
        assert await shop.value("select count(*) from attempts") == 3
        assert await shop.claim() == []
        engine.executor.leave(claimed[0])
        assert len(await shop.claim()) == 1


async def test_claim_over_several_lane_groups_takes_no_more_than_the_places(database_dsn: str):
    await furnish(database_dsn, [replace(ALFA, concurrency=3)])
    async with engine_on(database_dsn, lane_groups=4) as engine:
        shop = Shop(engine, 0)
        for number in range(12):
            reseller_id = UUID(int=number + 1)
            lane = await enrol(engine, reseller_id)
            await shop.order(lane=lane, reseller_id=reseller_id)
        assert len(await shop.claim()) == 3


async def test_lanes_take_turns(shop: Shop):
    """A reseller with a long backlog in one lane starves nobody in another."""
    other_id = next(UUID(int=n) for n in range(1, 99) if lane_of(UUID(int=n)) != shop.lane)
    lane = await enrol(shop.engine, other_id)
    for number in range(64):
        await shop.order(f"A{number}")
    order_id = await shop.order(lane=lane, reseller_id=other_id)
    claimed = [purchase.order_id for _ in range(64) for purchase in await shop.claim(1)]
    assert order_id in claimed


async def test_nobody_waits_long_behind_those_who_came_later(shop: Shop):
    """As many come as are claimed, to all lanes alike: each has its turn by the time that twice as
    many as waited before it were claimed."""
    of_lane = {lane_of(UUID(int=n)): UUID(int=n) for n in range(1, 200)}
    buyers = [(await enrol(shop.engine, each), each) for _, each in sorted(of_lane.items())]

    async def order(place: int, ref_id: str) -> UUID:
        lane, reseller_id = buyers[place % len(buyers)]
        return await shop.order(ref_id, lane=lane, reseller_id=reseller_id)

    each = 4
    waiting = {await order(place, f"A{place}") for place in range(len(buyers))}
    newcomers = itertools.count()
    for _ in range(2 * len(buyers) // each):
        waiting -= {purchase.order_id for purchase in await shop.claim(each)}
        for number in itertools.islice(newcomers, each):
            await order(number * 23, f"B{number}")
    assert not waiting


async def test_lane_groups_take_turns(database_dsn: str):
    """Where one group's orders take every place, the others' come next."""
    await furnish(database_dsn, [replace(ALFA, concurrency=2)])
    async with engine_on(database_dsn, lane_groups=4) as engine:
        shop, groups = Shop(engine, 0), dict[int, UUID]()
        for number in range(1, 40):
            groups.setdefault(lane_of(UUID(int=number)) % 4, UUID(int=number))
        for reseller_id in groups.values():
            lane = await enrol(engine, reseller_id)
            for number in range(8):
                await shop.order(f"A{number}", lane=lane, reseller_id=reseller_id)
        claimed = [purchase.lane % 4 for _ in groups for purchase in await shop.claim(2)]
        assert sorted(set(claimed)) == [0, 1, 2, 3]


async def test_what_waits_for_our_own_pace_is_told_from_what_waits_for_its_dealer(shop: Shop):
    executor = shop.engine.executor
    for number in range(8):
        await shop.order(f"A{number}")
    await asyncio.sleep(0.02)
    # Fewer than wait, although the dealer has room: from now on it is for us that they wait.
    assert len(await shop.claim(2)) == 2
    assert executor.waited_seconds == 0.0
    await asyncio.sleep(0.02)
    assert len(await shop.claim(2)) == 2
    assert 0.02 <= executor.waited_seconds < 10
    # All that wait: nobody waits for us.
    assert len(await shop.claim(64)) == 4
    assert executor.waited_seconds == 0.0


# ------------------------------------------------------------------ holding


async def test_hold_stops_claims_and_checks_until_it_is_lifted(shop: Shop):
    purchase = await shop.bought("A1")
    await shop.hear(purchase, Outcome.UNKNOWN, transport=True)
    await shop.order("A2")
    await shop.execute("update attempts set due_at = now()")
    await shop.execute("update installation set hold = true")
    assert await shop.claim() == []
    assert await shop.engine.reconciler.claim(10) == []
    async with shop.engine.pool.acquire() as connection:
        assert await installation.resume(connection)
        assert not await installation.resume(connection)
    assert len(await shop.claim()) == 1
    assert len(await shop.engine.reconciler.claim(10)) == 1


@pytest.mark.parametrize("change", ["system_identifier = 'another'", "timeline = timeline + 1"])
async def test_another_database_than_remembered_is_held(shop: Shop, change: str):
    await shop.order()
    await shop.execute(f"update installation set {change}")
    await shop.engine.upkeep.look_at_installation()
    assert await shop.claim() == []
    await shop.engine.upkeep.look_at_installation()
    assert await shop.value("select hold from installation")


async def test_the_same_database_is_not_held(shop: Shop):
    await shop.engine.upkeep.look_at_installation()
    assert not await shop.value("select hold from installation")


# ------------------------------------------------------------------ the table in force


async def test_order_of_a_dealer_that_is_down_goes_to_another(shop: Shop):
    await shop.order()
    breaker = shop.engine.router.breaker("alfa")
    now = shop.engine.calls.monotonic()
    for _ in range(5):
        ticket = breaker.enter(now)
        assert ticket is not None
        breaker.failed(ticket, now)
    assert await shop.claim() == []
    assert await shop.waiting() == [(1, "bravo")]
    purchase = await shop.claim_one()
    assert purchase.access.row.dealer_id == "bravo"


async def test_dealer_that_comes_back_is_sent_one_purchase_until_it_answers(
    database_dsn: str, monkeypatch: pytest.MonkeyPatch
):
    """Over all that the process does, and what was not sent after all."""
    async with shop_at(database_dsn, always(Asked.sukses)) as (shop, alfa):
        engine, clock = shop.engine, [0.0]
        breaker = Breaker(BreakerRules(consecutive_failures=1, cooldown_seconds=10.0))
        monkeypatch.setattr(engine.calls, "monotonic", lambda: clock[0])
        monkeypatch.setattr(engine.router, "_monotonic", lambda: clock[0])
        monkeypatch.setattr(engine.router, "_breakers", {"alfa": breaker})
        breaker.failed(breaker.enter(0.0) or 0, 0.0)
        for number in range(5):
            await shop.order(f"A{number}")
        assert await shop.claim() == []
        await shop.execute("update ready set not_before = now()")
        clock[0] = 11.0
        (probe,) = await shop.claim()
        for later in (11.0, 40.0):
            clock[0] = later
            await shop.execute("update ready set not_before = now()")
            assert await shop.claim() == []
        await send(engine, replace(probe, send_before=boottime_seconds()))
        await shop.execute("update ready set not_before = now()")
        (second,) = await shop.claim()
        await send(engine, second)
        assert len(alfa.requests) == 1
        await shop.execute("update ready set not_before = now()")
        assert len(await shop.claim()) == 4


async def test_order_waits_a_little_where_no_dealer_may_serve_now(shop: Shop):
    await shop.order()
    await shop.execute("update dealers set drained = true")
    await shop.execute(PUBLISH)
    await shop.engine.router.refresh(shop.engine.pool)
    assert await shop.claim() == []
    assert await shop.value("select not_before > now() from ready")


async def test_expired_order_is_given_up_unsent(shop: Shop):
    order_id = await shop.order(retry_seconds=0.5)
    assert await shop.claim() == []
    await shop.engine.executor.give_up_expired()
    assert await shop.status(order_id) == "failed"
    assert await shop.value("select failure_code from orders") == "expired"
    assert await shop.money() == (OPENING_RUPIAH, 0)
    assert await shop.value("select count(*) from attempts") == 0


async def test_order_of_a_dealer_left_out_of_the_table_goes_to_another(shop: Shop):
    await shop.order()
    await shop.execute("update dealers set protocol = 'gone' where dealer_id = 'alfa'")
    await shop.execute(PUBLISH)
    await shop.engine.router.refresh(shop.engine.pool)
    await shop.claim()
    assert await shop.waiting() == [(1, "bravo")]


async def test_dealer_whose_account_is_incomplete_gets_no_orders(database_dsn: str):
    await furnish(database_dsn, [replace(ALFA, credentials='{"memberID": "YUSUF"}'), BRAVO])
    async with engine_on(database_dsn) as engine:
        assert engine.router.trade.faults
        assert "alfa" not in engine.router.trade.dealers


async def test_request_that_cannot_be_built_was_never_sent(database_dsn: str):
    """Whatever a dealer's settings do to its protocol, the order is not stuck with it."""
    await furnish(database_dsn, [replace(ALFA, credentials='{"memberID": "YUSUF"}'), BRAVO])
    async with engine_on(database_dsn) as engine:
        shop = Shop(engine, await enrol(engine))
        order_id = await shop.order()
        for purchase in await shop.claim():
            await send(engine, purchase)
        assert await shop.states(order_id) in ([], ["rejected"])
        assert await shop.waiting() != [(1, "alfa")]


# ------------------------------------------------------------------ commits in doubt


async def test_claim_whose_commit_is_in_doubt_is_read_back(shop: Shop, database_dsn: str):
    await shop.order()
    async with dropping_proxy(database_dsn) as (proxy, dsn), engine_on(dsn) as doubtful:
        proxy.arm()
        purchase = await Shop(doubtful, shop.lane).claim_one()
        assert proxy.dropped == 1
    assert await shop.states(purchase.order_id) == ["sent"]
    assert await shop.waiting() == []


async def test_claim_that_died_before_its_commit_buys_nothing(
    shop: Shop, owner: Owner, database_dsn: str
):
    await shop.order()
    victim = """
        select pg_terminate_backend(pid) from pg_stat_activity
        where datname = current_database() and wait_event_type = 'Lock'
    """
    other = await asyncpg.connect(database_dsn)
    async with owner.transaction():
        await owner.execute("lock table attempts in share row exclusive mode")
        claiming = asyncio.ensure_future(shop.claim())
        await until(lambda: other.fetchval(victim))
        assert await claiming == []
    await other.close()
    assert await shop.waiting() == [(1, "alfa")]


async def test_settlement_whose_commit_is_in_doubt_is_applied_once(shop: Shop, database_dsn: str):
    purchase = await shop.bought()
    async with dropping_proxy(database_dsn) as (proxy, dsn), engine_on(dsn) as doubtful:
        proxy.arm()
        await Shop(doubtful, shop.lane).refuse(purchase)
        assert proxy.dropped == 1
    assert await shop.waiting() == [(2, "bravo")]
    assert await shop.kinds(purchase.order_id) == ["reserve"]


async def test_claimed_purchases_survive_an_expired_neighbour_that_cannot_be_settled(shop: Shop):
    """The claim is committed: whatever becomes of the neighbour, it must be sent."""
    await shop.order("A1", retry_seconds=0.5)
    order_id = await shop.order("A2")
    shop.engine.settler.batches.close()
    purchases = await shop.claim()
    assert [purchase.order_id for purchase in purchases] == [order_id]
