"""Two resellers at several processes with the same references, numbers and moments."""

import asyncio
from collections import Counter
from uuid import UUID

import asyncpg
import httpx
from uuid_utils.compat import uuid7

from app.cli.demo import seed
from app.storage import api_keys, statements
from app.storage.pool import PoolSettings, open_pool
from tests.faults.shop import Shop, order
from tests.shops import until

REFERENCES = 25
TRIES = 4


async def enrol(shop: Shop) -> tuple[UUID, str]:
    """Another reseller with money; its id and its key."""
    reseller_id, key = uuid7(), api_keys.generate()
    pool = await open_pool(PoolSettings(shop.dsn, max_size=2))
    await seed.seed_reseller(pool, reseller_id, key)
    await pool.close()
    return reseller_id, key.token


async def test_resellers_with_the_same_references_never_meet(shop: Shop) -> None:
    """Each order is sent four times by each reseller, over connections to two processes."""
    other_id, token = await enrol(shop)
    shop.start("serve", JALUR_PROCESSES="2", JALUR_DRAIN_SECONDS="0")
    await shop.until_ready()
    tokens = {shop.reseller_id: shop.key.token, other_id: token}

    async def send(reseller_id: UUID, number: int) -> tuple[UUID, httpx.Response]:
        # A connection of its own, so that the processes share what comes.
        async with shop.client() as client:
            body = order(number, 0) | {"metadata": {"of": str(reseller_id)}}
            headers = {
                "authorization": f"Bearer {tokens[reseller_id]}",
                "idempotency-key": str(body["ref_id"]),
            }
            while True:
                answer = await client.post("/v1/orders", json=body, headers=headers)
                if answer.status_code not in (429, 503):
                    return reseller_id, answer

    wanted = [
        send(reseller_id, number)
        for number in range(REFERENCES)
        for _ in range(TRIES)
        for reseller_id in tokens
    ]
    answers = await asyncio.gather(*wanted)
    assert Counter(answer.status_code for _, answer in answers) == {
        202: 2 * REFERENCES,
        200: 2 * REFERENCES * (TRIES - 1),
    }
    ids: dict[tuple[UUID, str], set[str]] = {}
    for reseller_id, answer in answers:
        told = answer.json()
        assert told["metadata"] == {"of": str(reseller_id)}
        ids.setdefault((reseller_id, told["ref_id"]), set()).add(told["id"])
    assert all(len(each) == 1 for each in ids.values())
    assert len({next(iter(each)) for each in ids.values()}) == 2 * REFERENCES
    await shop.verdict()
    await each_has_its_own(shop, tokens, ids)
    connection = await asyncpg.connect(shop.dsn)
    assert await statements.verify(connection) == []
    await connection.close()


async def each_has_its_own(
    shop: Shop, tokens: dict[UUID, str], ids: dict[tuple[UUID, str], set[str]]
) -> None:
    for reseller_id, token in tokens.items():
        own = {next(iter(each)) for (owner, _), each in ids.items() if owner == reseller_id}
        headers = {"authorization": f"Bearer {token}"}
        async with shop.client() as client:
            listed = (await client.get("/v1/orders?limit=100", headers=headers)).json()["data"]
            events = (await client.get("/v1/events?limit=100", headers=headers)).json()["data"]
            ledger = (await client.get("/v1/ledger?limit=100", headers=headers)).json()["data"]
        assert {each["id"] for each in listed} == own
        assert {each["status"] for each in listed} == {"succeeded"}
        assert {each["data"]["id"] for each in events} == own
        of_orders = [each for each in ledger if each["order_id"] is not None]
        assert {each["order_id"] for each in of_orders} == own
        assert Counter(each["kind"] for each in of_orders) == {
            "reserve": REFERENCES,
            "capture": REFERENCES,
        }


async def test_processes_keep_one_rate_together(shop: Shop) -> None:
    """While they have Redis: a burst in which one of them lost it is sent by another reseller."""
    tokens = [shop.key.token, *[(await enrol(shop))[1] for _ in range(4)]]
    connection = await asyncpg.connect(shop.dsn)
    await connection.execute("update resellers set orders_rate = '40/1d'")
    await connection.close()
    serve = shop.start("serve", JALUR_PROCESSES="2", JALUR_DRAIN_SECONDS="0")
    await shop.until_ready()

    def count(event: str) -> int:
        assert serve.log is not None
        return serve.log.read_bytes().count(b'"event":"%b"' % event.encode())

    async def send(token: str, number: int) -> int:
        headers = {"authorization": f"Bearer {token}"}
        async with shop.client() as client:
            answer = await client.post("/v1/orders", json=order(number, 0), headers=headers)
            return answer.status_code

    found = 2

    async def all_have_found_redis() -> bool:
        return count("rates.central") >= found

    codes: Counter[int] = Counter()
    for token in tokens:
        await until(all_have_found_redis, 30)
        losses = count("rates.local")
        codes = Counter(await asyncio.gather(*(send(token, number) for number in range(80))))
        lost = count("rates.local") - losses
        if not lost:
            break
        found += lost
    assert codes[202] + codes[429] == 80
    # Each may be refused while the other holds a sixteenth.
    assert 40 - 2 * 40 // 16 <= codes[202] <= 40
