"""Whatever a door is asked, it buys at most once a reference, and the ledger adds up."""

import random

import pytest

from app.storage import statements
from dealers.contract import Outcome, Request
from tests.http.doors.client import SHAPES, Client, number_of, open_door
from tests.http.shop import TELKOMSEL, XL, Customer, Shop

REFS = [f"P{number}" for number in range(6)]
SKUS = ["TSEL10", "XL10", "TSEL99", "", "S 5.1 SUKSES"]
NUMBERS = [TELKOMSEL, "6281234567800", XL, "0811", "", "0812 SUKSES. SN: 1", "08123456780\n"]
LIMITS = [10_500, 10_499, 1, 10**12]
ASKED = 120


@pytest.mark.parametrize("seed", range(4))
async def test_it_buys_at_most_once_a_reference(shop: Shop, customer: Customer, seed: int) -> None:
    chance = random.Random(seed)
    clients = [await open_door(shop, customer, shape) for shape in SHAPES]
    failed: set[str] = set()
    for _ in range(ASKED):
        client, ref_id = chance.choice(clients), chance.choice(REFS)
        outcome = await ask(chance, client, ref_id)
        standing = await shop.owner.fetchrow("select status from orders where ref_id = $1", ref_id)
        if outcome in (Outcome.FAILED, Outcome.REJECTED):
            assert standing is None or standing[0] in ("failed", "reversed"), (client, ref_id)
        if standing is None and outcome in (Outcome.FAILED, Outcome.REJECTED):
            failed.add(ref_id)
        if outcome is Outcome.SUCCEEDED:
            assert standing is not None
            assert standing[0] == "succeeded"
        assert standing is None or ref_id not in failed, "told as failed, bought afterwards"
        if chance.random() < 0.1:
            await settle_one(shop, chance)
    most = await shop.owner.fetchval(
        "select max(count) from (select count(*) from orders group by ref_id) each"
    )
    assert most in (None, 1)
    async with shop.api.pool.acquire() as connection:
        assert await statements.verify(connection) == []


async def ask(chance: random.Random, client: Client, ref_id: str) -> Outcome:
    fields = {
        "dealer_sku": chance.choices(SKUS, [6, 1, 1, 1, 1])[0],
        "customer_number": chance.choice([number_of(ref_id)] * 12 + NUMBERS),
        "max_price_rupiah": chance.choices(LIMITS, [8, 1, 1, 1])[0],
    }
    match chance.randrange(6):
        case 0:
            return (await client.ask(ref_id, **fields)).outcome
        case 1:
            wrong = client.with_(**dict.fromkeys(client.account.credentials, "x"))
            report = await wrong.buy(ref_id, **fields)
            assert report.outcome in (Outcome.REJECTED, Outcome.UNKNOWN)
            return Outcome.UNKNOWN
        case 2:
            await client.send(broken(chance, client))
            return Outcome.UNKNOWN
        case _:
            return (await client.buy(ref_id, **fields)).outcome


def broken(chance: random.Random, client: Client) -> Request:
    junk = bytes(chance.randrange(1, 256) for _ in range(30))
    if client.dialect.name == "digiflazz":
        return Request("POST", f"{client.account.base_url}/transaction", {}, junk)
    path = "" if client.dialect.name == "irs" else "/trx"
    query = "&".join(f"%{byte:02x}={byte}" for byte in junk)
    return Request("GET", f"{client.account.base_url}{path}?{query}")


async def settle_one(shop: Shop, chance: random.Random) -> None:
    """Have a dealer's word come in for an order that waits."""
    row = await shop.owner.fetchrow("select order_id from ready limit 1")
    if row is None:
        return
    order = await shop.send_to_dealer({"id": row[0]})
    if chance.random() < 0.5:
        await order.hear(Outcome.SUCCEEDED, serial_number="SN 1. REFUND")
    else:
        await order.hear(Outcome.FAILED)
