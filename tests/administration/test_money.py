"""Money by hand: booked once a reference and audited once, whoever races and whatever is lost."""

import asyncio

import pytest

from app.administration import money, resellers
from app.administration.operator import Operator, Scope
from app.errors import Conflict, DatabaseUnavailable, Forbidden, NotFound, Unprocessable
from app.storage import statements
from app.storage.pool import Pool, PoolSettings, open_pool
from tests.administration.office import BY, acts, only
from tests.proxies import dropping_proxy


@pytest.fixture
async def toko(pool: Pool) -> str:
    account = await resellers.add(pool, BY, "Toko Jaya", "standard", 0)
    return str(account.reseller_id)


async def booked(pool: Pool) -> list[tuple[str, int]]:
    async with pool.acquire() as connection:
        assert await statements.verify(connection) == []
        rows = await connection.fetch("select kind, available_delta from ledger_entries order by 2")
    return [(row[0], row[1]) for row in rows]


async def told_of_money(pool: Pool) -> list[str]:
    return [act.action for act in await acts(pool) if act.action.endswith(".booked")]


async def test_ten_who_book_one_deposit_at_once_book_it_once(pool: Pool, toko: str):
    tries = [money.deposit(pool, BY, toko, 250_000, "BCA 17") for _ in range(10)]
    receipts = await asyncio.gather(*tries)
    assert sorted(receipt.repeated for receipt in receipts) == [False] + [True] * 9
    assert {receipt.available for receipt in receipts} == {250_000}
    assert await booked(pool) == [("deposit", 250_000)]
    assert await told_of_money(pool) == ["deposit.booked"]


async def test_different_deposits_at_once_are_all_booked(pool: Pool, toko: str):
    await asyncio.gather(*(money.deposit(pool, BY, toko, 1000 + n, f"BCA {n}") for n in range(10)))
    assert await booked(pool) == [("deposit", 1000 + n) for n in range(10)]
    assert len(await told_of_money(pool)) == 10


async def test_the_reference_of_another_amount_is_refused(pool: Pool, toko: str):
    await money.deposit(pool, BY, toko, 250_000, "BCA 17")
    with pytest.raises(Conflict) as refused:
        await money.deposit(pool, BY, toko, 250_001, "BCA 17")
    assert refused.value.code == "reference-taken"
    assert "250000" in refused.value.detail
    assert await booked(pool) == [("deposit", 250_000)]
    assert await told_of_money(pool) == ["deposit.booked"]


async def test_a_deposit_and_its_line_stand_or_fall_together(
    pool: Pool, toko: str, monkeypatch: pytest.MonkeyPatch
):
    async def fail(*_: object, **__: object) -> None:
        raise RuntimeError("the log is full")

    with monkeypatch.context() as broken:
        broken.setattr(Operator, "record", fail)
        with pytest.raises(RuntimeError):
            await money.deposit(pool, BY, toko, 250_000, "BCA 17")
    assert await booked(pool) == []
    assert not (await money.deposit(pool, BY, toko, 250_000, "BCA 17")).repeated


async def test_a_deposit_whose_commit_was_not_heard_of_is_safely_repeated(
    pool: Pool, toko: str, database_dsn: str
):
    async with dropping_proxy(database_dsn) as (proxy, address):
        unlucky = await open_pool(PoolSettings(address, max_size=2))
        proxy.arm()
        with pytest.raises(DatabaseUnavailable):
            await money.deposit(unlucky, BY, toko, 250_000, "BCA 17")
        assert proxy.dropped == 1
        assert (await money.deposit(pool, BY, toko, 250_000, "BCA 17")).repeated
        unlucky.terminate()
    assert await booked(pool) == [("deposit", 250_000)]
    assert await told_of_money(pool) == ["deposit.booked"]


async def test_a_deposit_waits_for_the_orders_that_hold_the_wallet(pool: Pool, toko: str):
    async with pool.acquire() as connection:
        held = connection.transaction()
        await held.start()
        await connection.execute("select from wallets for update")
        waiting = asyncio.ensure_future(money.deposit(pool, BY, toko, 5, "BCA 17"))
        # Longer than the 200 ms after which a session of the service gives up.
        await asyncio.sleep(0.4)
        assert not waiting.done()
        await held.rollback()
    assert (await waiting).available == 5


async def test_an_adjustment_takes_what_was_paid_in_wrongly(pool: Pool, toko: str):
    await money.deposit(pool, BY, "Toko Jaya", 250_000, "BCA 17")
    receipt = await money.adjust(pool, BY, "Toko Jaya", -300_000, "FIX 17", "another's money")
    assert (receipt.available, receipt.repeated) == (-50_000, False)
    assert (await money.adjust(pool, BY, toko, -300_000, "FIX 17", "again")).repeated
    assert await booked(pool) == [("adjustment", -300_000), ("deposit", 250_000)]
    act = (await acts(pool))[-1]
    assert act.before == {"available": 250_000}
    assert act.after == {"available": -50_000, "amount": -300_000, "reference": "FIX 17"}
    assert act.reason == "another's money"


async def test_a_deposits_reference_is_not_an_adjustments(pool: Pool, toko: str):
    await money.deposit(pool, BY, toko, 5, "BCA 17")
    with pytest.raises(Conflict):
        await money.adjust(pool, BY, toko, 5, "BCA 17", "wrong")


@pytest.mark.parametrize("amount", [0, -5, 10**15])
async def test_no_deposit_is_nothing_or_unbelievable(pool: Pool, toko: str, amount: int):
    with pytest.raises(Unprocessable, match="amount"):
        await money.deposit(pool, BY, toko, amount, "BCA 17")


@pytest.mark.parametrize("reference", ["", " BCA", "BCA\0", "x" * 201])
async def test_a_reference_is_one_line_of_text(pool: Pool, toko: str, reference: str):
    with pytest.raises(Unprocessable, match="reference"):
        await money.deposit(pool, BY, toko, 5, reference)


async def test_an_adjustment_of_nothing_or_without_reason_is_refused(pool: Pool, toko: str):
    with pytest.raises(Unprocessable, match="amount"):
        await money.adjust(pool, BY, toko, 0, "FIX", "why")
    with pytest.raises(Unprocessable, match="reason"):
        await money.adjust(pool, BY, toko, 5, "FIX", "")


async def test_money_needs_its_scope_and_its_reseller(pool: Pool, toko: str):
    others = only(*(set(Scope) - {Scope.MONEY}))
    with pytest.raises(Forbidden):
        await money.deposit(pool, others, toko, 5, "BCA 17")
    with pytest.raises(Forbidden):
        await money.adjust(pool, others, toko, 5, "FIX", "why")
    with pytest.raises(NotFound):
        await money.deposit(pool, BY, "Toko Lain", 5, "BCA 17")
    assert await booked(pool) == []
