"""Orders and words that nobody would ever come back to."""

import asyncio
import contextlib
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

from app.errors import Overloaded
from app.lifecycle.settle import Withdrawal
from app.words import Attempt, AttemptState, Order, OrderStatus, Source, Terms, Word, rule
from dealers.contract import Capabilities, Outcome, Recovery, Report
from routing.choose import Inquiry
from routing.monopoly import GroupTotal, Market
from tests.publishing import PUBLISH
from tests.shops import PRICE, SKU, Owner, Seller, Shop, engine_on, enrol, furnish, send, submission

NOW = datetime(2026, 11, 22, tzinfo=UTC)
TERMS = Terms(Capabilities(Recovery.STATUS_CALL), timedelta(minutes=30))


def _order(status: OrderStatus, *states: AttemptState) -> Order:
    sent = NOW - timedelta(hours=2)
    tries = [
        Attempt(number, f"d{number}", state, 2, in_flight=True, sent_at=sent, asked_at=sent)
        for number, state in enumerate(states, 1)
    ]
    return Order(status, False, None, 0, sent, tries, ready=False)


async def test_order_waiting_at_a_dealer_that_is_not_configured_any_more_goes_elsewhere(
    shop: Shop, owner: Owner
) -> None:
    await shop.order()
    await owner.execute("update dealers set protocol = 'vanished' where dealer_id = 'alfa'")
    await owner.execute(PUBLISH)
    await shop.engine.router.refresh(shop.engine.pool)
    claimed = [purchase for _ in range(3) for purchase in await shop.claim()]
    assert [purchase.access.row.dealer_id for purchase in claimed] == ["bravo"]


async def test_expired_order_that_cannot_be_given_up_now_loses_no_claimed_purchase(
    shop: Shop, owner: Owner
) -> None:
    expired = await shop.order("old", retry_seconds=0.5)
    await shop.order("new")
    async with owner.transaction():
        await owner.execute("select from orders where order_id = $1 for update", expired)
        try:
            claimed = await shop.claim()
        except Overloaded:
            claimed = []
    assert len(claimed) == await shop.value("select count(*) from attempts")


def test_failed_purchase_whose_question_got_no_answer_is_asked_again_or_reviewed() -> None:
    order = _order(OrderStatus.FAILED, AttemptState.FAILED)
    timed_out = Report(Outcome.UNKNOWN, "timed-out")
    ruling = rule(order, Word(1, Source.CHECK, timed_out, fence=2, transport=True), TERMS, NOW)
    assert ruling.check or ruling.review


def test_reversal_of_a_disputed_purchase_closes_its_own_dispute() -> None:
    order = _order(OrderStatus.SUCCEEDED, AttemptState.SUCCEEDED, AttemptState.SUCCEEDED)
    refunded = Report(Outcome.FAILED, "refund", reversal=True)
    ruling = rule(order, Word(1, Source.CHECK, refunded, fence=2), TERMS, NOW)
    assert ruling.order == OrderStatus.SUCCEEDED
    assert ruling.close_dispute_of == 1


async def test_lane_groups_share_a_dealer_s_places(
    database_dsn: str,
) -> None:
    await furnish(database_dsn, [Seller("alfa", 5000, concurrency=1)])
    async with engine_on(database_dsn, lane_groups=4) as engine:
        for number in range(12):
            reseller = UUID(int=number + 1)
            lane = await enrol(engine, reseller)
            await engine.acceptor.accept(submission(lane=lane, reseller_id=reseller))
        claimed = await engine.executor.claim(datetime.now(UTC), 100)
        assert len(claimed) == 1


async def test_purchases_hold_from_the_moment_that_the_database_is_another(
    shop: Shop, owner: Owner
) -> None:
    await shop.order()
    await owner.execute("update installation set timeline = timeline + 1")
    assert await shop.claim() == []


async def test_order_is_claimable_although_the_application_s_clock_is_ahead(shop: Shop) -> None:
    late, later = (datetime.now(UTC) + timedelta(minutes=minutes) for minutes in (5, 15))
    given = submission(lane=shop.lane)
    ahead = given.order._replace(created_at=late, retry_until=later)
    await shop.engine.acceptor.accept(replace(given, order=ahead))
    assert len(await shop.claim()) == 1


async def test_questions_never_take_the_places_of_purchases(database_dsn: str) -> None:
    writers: list[asyncio.StreamWriter] = []

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    await furnish(database_dsn, [Seller("alfa", 5000, base_url=url, concurrency=1)])
    async with engine_on(database_dsn) as engine:
        shop = Shop(engine, await enrol(engine))
        for number in range(2):
            bought = await shop.bought(f"old{number}")
            await shop.hear(bought, Outcome.PENDING)
        await shop.execute("update attempts set due_at = now()")
        checks = [
            asyncio.ensure_future(engine.reconciler.check(each))
            for each in await engine.reconciler.claim(64)
        ]
        await asyncio.sleep(0.3)
        fresh = await shop.bought("fresh")
        sending = asyncio.ensure_future(send(engine, fresh))
        await asyncio.wait([sending], timeout=1)
        (state, code) = (
            await shop.fetch("select state, code from attempts where order_id = $1", fresh.order_id)
        )[0]
        for task in [*checks, sending]:
            task.cancel()
        await asyncio.gather(*checks, sending, return_exceptions=True)
    server.close()
    for writer in writers:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
    assert (state, code) == ("sent", None)


async def test_cancelled_order_gives_its_market_share_back(shop: Shop) -> None:
    router, now = shop.engine.router, datetime.now(UTC)
    inquiry = Inquiry(SKU, "tri", None, PRICE)
    decision = router.choose(inquiry, now)
    router.take(inquiry, decision.chosen, now)
    order_id = await shop.order()
    assert await shop.engine.settler.withdraw(shop.lane, order_id, Withdrawal.CANCELLED)
    assert router.shares.totals(Market("tri", None), now).orders == 0


async def test_market_counts_the_next_dealer_s_purchase_and_not_the_refused_one(shop: Shop) -> None:
    router, market, now = shop.engine.router, Market("tri", None), datetime.now(UTC)
    router.count(market, "alfa", 5000, now, orders=1)
    await shop.refuse(await shop.bought())
    assert router.shares.totals(market, now).groups == {"bravo": GroupTotal(5100, 1)}
    await shop.succeed(await shop.claim_one())
    assert router.shares.totals(market, now).groups == {"bravo": GroupTotal(5100, 1)}
