"""The proof of the ledger: silent on a sound one, loud on every kind of corruption."""

from collections.abc import AsyncIterator

import asyncpg
import pytest

from app.storage import statements
from app.storage.pool import Pool
from app.storage.statements import CHECKS
from dealers.contract import Fault, Outcome
from tests.http.shop import Shop, open_shop


@pytest.fixture
async def shop(pool: Pool, database_dsn: str) -> AsyncIterator[Shop]:
    """A shop whose ledger has seen everything: open, bought, failed, reversed, corrected."""
    async with open_shop(pool, database_dsn) as opened:
        await live_through_everything(opened)
        yield opened


async def live_through_everything(shop: Shop) -> None:
    customer = await shop.customer()
    orders = [(await customer.order(f"r-{number}")).json() for number in range(6)]
    await customer.http.post(f"/v1/orders/{orders[5]['id']}/cancel")
    await shop.send_to_dealer(orders[1])
    bought = await shop.send_to_dealer(orders[2])
    await bought.hear(Outcome.SUCCEEDED)
    reversed_later = await shop.send_to_dealer(orders[3])
    await reversed_later.hear(Outcome.SUCCEEDED)
    await reversed_later.hear(Outcome.FAILED, reversal=True)
    corrected_later = await shop.send_to_dealer(orders[4])
    await corrected_later.hear(Outcome.FAILED, fault=Fault.NUMBER)
    await corrected_later.hear(Outcome.SUCCEEDED)
    states = await shop.owner.fetch("select status from orders order by ref_id")
    assert [row[0] for row in states] == [
        "accepted",
        "accepted",
        "succeeded",
        "reversed",
        "succeeded",
        "failed",
    ]


async def test_a_sound_ledger_is_proved(shop: Shop) -> None:
    async with shop.api.pool.acquire() as connection:
        assert await statements.verify(connection) == []
        assert await statements.difference(connection) == 0


async def test_what_is_wrong_is_counted_with_examples_and_in_rupiah(shop: Shop) -> None:
    await shop.owner.execute("update wallets set available = available - 7")
    async with shop.api.pool.acquire() as connection:
        (found,) = await statements.verify(connection)
        assert await statements.difference(connection) == 7
    assert (found.check, found.count) == ("wallet-equals-its-entries", 1)
    assert "wallet 957993" in found.examples[0]


PLANTED = {
    "wallet-equals-its-entries": "update wallets set entry_seq = entry_seq + 1",
    "entry-has-its-wallet": "delete from wallets",
    "entry-numbers-are-gapless": "update ledger_entries set seq = 900 where seq = 3",
    "balances-follow-from-entries": "update ledger_entries set reserved_after = 1 where seq = 3",
    "entries-sum-to-zero": """
        alter table ledger_entries drop constraint entry_sums_to_zero,
            drop constraint entry_is_of_its_kind;
        update ledger_entries set outside_delta = outside_delta + 1 where seq = 3
    """,
    "entry-has-its-order": """
        update ledger_entries set order_id = gen_random_uuid() where seq = 3
    """,
    "entry-moves-its-order's-price": """
        update ledger_entries set available_delta = -1, reserved_delta = 1 where seq = 3
    """,
    "order-is-reserved-once": "delete from ledger_entries where seq = 3",
    "only-finished-orders-are-resolved": """
        update orders set status = 'succeeded' where ref_id = 'r-1'
    """,
    "resolved-as-its-corrections-say": "update orders set status = 'failed' where ref_id = 'r-2'",
    "corrections-are-counted": "update orders set corrections = 3 where ref_id = 'r-4'",
    "order-costs-what-its-status-says": """
        update orders set status = 'failed' where ref_id = 'r-2'
    """,
    "reserved-is-for-open-orders": "update wallets set reserved = reserved + 1",
    "open-order-is-in-somebody's-hands": "delete from ready",
    "open-attempt-is-asked-about-or-reviewed": """
        update attempts set claim_id = null, due_at = null where state = 'sent'
    """,
    "success-has-its-purchase": "update attempts set state = 'failed'",
    "second-purchase-is-disputed": """
        insert into attempts
        select lane, order_id, 2, 'beta', route_id, dealer_sku, dealer_ref, cost, max_price, state,
               fence, claim_id, due_at, checks, asked_at, absent_since, code, message,
               serial_number, charged, sent_at, closed_at, decision
        from attempts where state = 'succeeded'
    """,
    "finished-order-is-reported": "delete from events where type = 'order.reversed'",
    "event-numbers-are-gapless": "delete from events where event_seq = 2",
    "attempt-has-its-order": "delete from orders where ref_id = 'r-2'",
    "ready-row-has-its-open-order": "update orders set status = 'failed' where ref_id = 'r-0'",
    "event-has-its-order": "delete from orders where ref_id = 'r-2'",
    "delivery-has-its-event": """
        insert into deliveries (lane, delivery_id, reseller_id, endpoint_id, event_id, event_seq)
        select lane, gen_random_uuid(), reseller_id, gen_random_uuid(), gen_random_uuid(), 1
        from wallets
    """,
}


async def test_every_check_finds_what_it_is_for(shop: Shop) -> None:
    assert PLANTED.keys() == CHECKS.keys()
    for check, corruption in PLANTED.items():
        assert await rows_after(shop.owner, corruption, CHECKS[check]), check
        assert not await shop.owner.fetch(CHECKS[check]), check


async def rows_after(
    owner: "asyncpg.Connection[asyncpg.Record]", corruption: str, query: str
) -> list[asyncpg.Record]:
    """The query's rows with the corruption in place, which is then undone."""
    transaction = owner.transaction()
    await transaction.start()
    try:
        await owner.execute(corruption)
        return await owner.fetch(query)
    finally:
        await transaction.rollback()


@pytest.mark.parametrize("table", ["ledger_entries", "events"])
async def test_the_service_cannot_rewrite_history(shop: Shop, table: str) -> None:
    for statement in (f"update {table} set lane = lane", f"delete from {table}"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await shop.api.pool.execute(statement)
