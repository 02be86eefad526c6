"""Two processes that hear about one order at once: what one wrote, the other must see."""

import asyncio

from app.administration.money import deposit
from app.lifecycle.execute import Purchase
from app.words import Source
from dealers.contract import Outcome
from tests.shops import OPERATOR, RESELLER, Owner, Shop, engine_on, until


async def test_success_behind_a_refusal_elsewhere_withdraws_the_next_attempt(
    shop: Shop, owner: Owner, database_dsn: str
):
    """One process settles the refusal while another waits for the same order with a success."""
    purchase = await shop.bought()
    async with engine_on(database_dsn) as other:
        elsewhere = Shop(other, shop.lane)
        async with shop.engine.pool.acquire() as connection, connection.transaction():
            await connection.execute("select from orders for update")
            refusal = asyncio.ensure_future(shop.refuse(purchase))
            await _waiting_for_locks(owner, 1)
            success = asyncio.ensure_future(
                elsewhere.hear(purchase, Outcome.SUCCEEDED, Source.CALLBACK)
            )
            await _waiting_for_locks(owner, 2)
        await asyncio.gather(refusal, success)
    assert await shop.status(purchase.order_id) == "succeeded"
    assert await shop.waiting() == []
    assert await shop.claim() == []


async def test_concurrent_settlers_capture_once(shop: Shop, database_dsn: str):
    purchases = [await shop.bought(f"A{number}") for number in range(20)]
    async with engine_on(database_dsn) as other:
        elsewhere = Shop(other, shop.lane)
        await asyncio.gather(
            *(
                each.hear(purchase, Outcome.SUCCEEDED, Source.CALLBACK)
                for purchase in purchases
                for each in (shop, elsewhere, shop)
            )
        )
    assert await shop.money() == (1_000_000 - 20 * 6000, 0)
    assert await shop.value("select count(*) from events") == 20


async def test_success_and_failure_in_two_processes_leave_one_resolution(
    shop: Shop, database_dsn: str
):
    purchases = [await shop.bought(f"A{number}") for number in range(20)]
    await shop.execute("update orders set retry_until = now()")
    async with engine_on(database_dsn) as other:
        elsewhere = Shop(other, shop.lane)
        await asyncio.gather(
            *(shop.refuse(purchase) for purchase in purchases),
            *(elsewhere.succeed(purchase, Source.CALLBACK) for purchase in purchases),
        )
    statuses = await shop.value("select array_agg(distinct status) from orders")
    assert statuses == ["succeeded"]
    assert await shop.money() == (1_000_000 - 20 * 6000, 0)


async def test_one_wallet_stays_right_under_two_busy_processes(shop: Shop, database_dsn: str):
    """Accepting, settling, paying in, reversing: all at once, on one reseller's money."""
    async with engine_on(database_dsn) as other:
        elsewhere = Shop(other, shop.lane)
        await asyncio.gather(
            *(live(each, f"{name}{n}") for n in range(30) for name, each in _named(shop, elsewhere))
        )
        await asyncio.gather(
            *(_buy_all(each) for each in (shop, elsewhere)),
            *(
                live(each, f"{name}{n}")
                for n in range(30, 60)
                for name, each in _named(shop, elsewhere)
            ),
        )
        await _buy_all(shop)
    counts = await shop.fetch("select status, count(*) from orders group by 1 order by 1")
    assert [tuple(row) for row in counts] == [("reversed", 120)]
    assert await shop.money() == (1_000_000 + 120, 0)


def _named(*shops: Shop) -> list[tuple[str, Shop]]:
    return list(zip("AB", shops, strict=True))


async def live(shop: Shop, ref_id: str) -> None:
    await shop.order(ref_id)
    await deposit(shop.engine.pool, OPERATOR, str(RESELLER), 1, ref_id)


async def _buy_all(shop: Shop) -> None:
    while purchases := await shop.claim(16):
        await asyncio.gather(*map(_buy_and_reverse, [shop] * len(purchases), purchases))


async def _buy_and_reverse(shop: Shop, purchase: Purchase) -> None:
    await shop.succeed(purchase)
    await shop.hear(purchase, Outcome.FAILED, Source.CALLBACK, reversal=True)


async def _waiting_for_locks(owner: Owner, count: int) -> None:
    """Return once so many sessions wait; asked outside transactions, which remember the answer."""
    waiting = """
        select count(*) >= $1 from pg_stat_activity
        where datname = current_database() and wait_event_type = 'Lock'
    """
    await until(lambda: owner.fetchval(waiting, count))
