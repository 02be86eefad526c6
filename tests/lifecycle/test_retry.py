"""Retry: what was never sent does not use a dealer up, and nothing is tried in a hot loop."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest

from app.lifecycle.admit import boottime_seconds
from app.lifecycle.retry import MOST_UNSENT
from tests.lifecycle.counters import Asked, always, counter
from tests.shops import (
    ALFA,
    BRAVO,
    OPENING_RUPIAH,
    PRICE,
    Seller,
    Shop,
    engine_on,
    enrol,
    furnish,
    send,
)


@asynccontextmanager
async def shop_of(dsn: str, *sellers: Seller) -> AsyncIterator[Shop]:
    await furnish(dsn, sellers)
    async with engine_on(dsn) as engine:
        yield Shop(engine, await enrol(engine))


async def unsent(shop: Shop, purchase: Any, code: str) -> None:
    """Settle that nothing of a purchase was sent."""
    word = await shop.engine.executor.buy(replace(purchase, send_before=boottime_seconds()))
    await shop.engine.executor.tell(purchase, replace(word, report=replace(word.report, code=code)))


async def waits_seconds(shop: Shop) -> float:
    return await shop.value("select extract(epoch from not_before - now())::float8 from ready")


async def come_due(shop: Shop) -> None:
    await shop.execute("update ready set not_before = now()")


def rest(shop: Shop) -> None:
    """Have alfa's breaker see answers, so that it never opens."""
    breaker, now = shop.engine.router.breaker("alfa"), shop.engine.calls.monotonic()
    for _ in range(2):
        breaker.succeeded(breaker.enter(now) or 0, now)


async def codes(shop: Shop, order_id: UUID) -> list[tuple[str, str]]:
    rows = await shop.fetch(
        "select dealer_id, code from attempts where order_id = $1 order by attempt_no", order_id
    )
    return [(row[0], row[1]) for row in rows]


async def test_claim_that_got_too_old_does_not_use_the_dealer_up(database_dsn: str):
    async with counter(always(Asked.sukses)) as alfa:
        here = replace(ALFA, base_url=alfa.url)
        async with shop_of(database_dsn, here, BRAVO) as shop:
            purchase = await shop.bought()
            await unsent(shop, purchase, "lease-ran-out")
            assert await shop.waiting() == [(2, "alfa")]
            assert 0 < await waits_seconds(shop) <= 1
            await come_due(shop)
            await send(shop.engine, await shop.claim_one())
            assert await codes(shop, purchase.order_id) == [
                ("alfa", "lease-ran-out"),
                ("alfa", "sukses"),
            ]
            assert await shop.money() == (OPENING_RUPIAH - PRICE, 0)
            references = "select count(distinct dealer_ref) from attempts"
            assert await shop.value(references) == 2


@pytest.mark.parametrize("code", ["not-connected", "not-built", "unsendable"])
async def test_dealer_that_was_not_reached_comes_after_the_others(database_dsn: str, code: str):
    async with shop_of(database_dsn, ALFA, BRAVO) as shop:
        await unsent(shop, await shop.bought(), code)
        assert await shop.waiting() == [(2, "bravo")]
        assert await waits_seconds(shop) <= 0
        await shop.refuse(await shop.claim_one())
        assert await shop.waiting() == [(3, "alfa")]
        assert 0 < await waits_seconds(shop) <= 1


async def test_refused_connection_is_tried_again_where_no_other_dealer_stands(database_dsn: str):
    """Nobody listens at alfa; a peer appears there before the second attempt."""
    async with shop_of(database_dsn, ALFA) as shop:
        purchase = await shop.bought()
        await send(shop.engine, purchase)
        assert await shop.status(purchase.order_id) == "processing"
        assert await shop.waiting() == [(2, "alfa")]
        assert await shop.claim() == []
        await come_due(shop)
        assert (await shop.claim_one()).attempt_no == 2


async def test_dealer_that_was_sent_something_is_never_tried_again(database_dsn: str):
    async with shop_of(database_dsn, ALFA) as shop:
        await unsent(shop, await shop.bought(), "not-connected")
        await come_due(shop)
        second = await shop.claim_one()
        await shop.refuse(second)
        assert await shop.status(second.order_id) == "failed"
        assert await shop.waiting() == []


async def test_attempts_come_slower_and_slower_and_end(database_dsn: str):
    async with shop_of(database_dsn, ALFA) as shop:
        order_id = await shop.order()
        pauses: list[int] = []
        while await shop.status(order_id) in ("accepted", "processing"):
            rest(shop)
            await come_due(shop)
            await send(shop.engine, await shop.claim_one())
            pauses += [round(await waits_seconds(shop) or 0)] if await shop.waiting() else []
        assert pauses == [1, 2, 4, 8, 16, *[30] * (MOST_UNSENT - 6)]
        assert len(await shop.states(order_id)) == MOST_UNSENT
        assert await shop.status(order_id) == "failed"
        assert await shop.kinds(order_id) == ["reserve", "release"]


async def test_none_is_made_after_the_time_allowed(database_dsn: str):
    async with shop_of(database_dsn, ALFA) as shop:
        purchase = await shop.bought(retry_seconds=1.8)
        await send(shop.engine, purchase)
        assert await shop.status(purchase.order_id) == "failed"
        assert await shop.money() == (OPENING_RUPIAH, 0)


async def test_order_of_the_only_dealer_waits_while_its_breaker_is_open(database_dsn: str):
    """The fifth refused connection opens it: this order is not to fail by that."""
    async with shop_of(database_dsn, ALFA) as shop:
        orders = [await shop.order(f"A{number}") for number in range(5)]
        for purchase in await shop.claim():
            await send(shop.engine, purchase)
        assert not shop.engine.router.is_up("alfa")
        assert [await shop.status(each) for each in orders] == ["processing"] * 5
        assert await shop.waiting() == [(2, "alfa")] * 5
        await come_due(shop)
        assert await shop.claim() == []
        assert await shop.value("select count(*) from attempts") == 5


async def test_order_whose_dealer_is_paused_meanwhile_fails(database_dsn: str):
    async with shop_of(database_dsn, ALFA) as shop:
        purchase = await shop.bought()
        snapshot = shop.engine.router.trade.snapshot
        assert snapshot.dealers["alfa"].enabled
        await shop.execute("update dealers set enabled = false")
        await shop.execute("update routing_policy set revision = revision + 1")
        await shop.engine.router.refresh(shop.engine.pool)
        await send(shop.engine, purchase)
        assert await shop.status(purchase.order_id) == "failed"
