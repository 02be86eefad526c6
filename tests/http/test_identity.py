"""API keys: read once a second, refused in every wrong form."""

import asyncio
from collections.abc import Mapping, Sequence

from app.storage import api_keys
from app.storage.api_keys import KeyHolder
from app.storage.pool import Connection
from tests.http.problems import assert_problem
from tests.http.shop import Customer, Shop

KEY = api_keys.generate(random_bytes=lambda size: b"\7" * size)


async def test_no_header_opens_nothing(shop: Shop) -> None:
    assert_problem(await shop.client().get("/v1/orders"), 401, "invalid-key")


async def test_another_secret_under_a_known_key_id_opens_nothing(
    shop: Shop, customer: Customer
) -> None:
    chosen = {12: b"\1" * 12}
    key = api_keys.generate(random_bytes=lambda size: chosen.get(size, b"\2" * size))
    forged = api_keys.generate(random_bytes=lambda size: chosen.get(size, b"\3" * size))
    assert forged.key_id == key.key_id
    await api_keys.create(shop.owner, key, customer.lane, customer.reseller_id)
    assert (await shop.client(key.token).get("/v1/balance")).status_code == 200
    assert_problem(await shop.client(forged.token).get("/v1/balance"), 401, "invalid-key")


async def test_a_test_key_is_not_a_live_key_with_its_secret(shop: Shop) -> None:
    reseller = await shop.customer()
    live = api_keys.generate("live", random_bytes=lambda size: b"\1" * size)
    test = api_keys.generate("test", random_bytes=lambda size: b"\1" * size)
    await api_keys.create(shop.owner, live, reseller.lane, reseller.reseller_id)
    assert (await shop.client(live.token).get("/v1/balance")).status_code == 200
    assert_problem(await shop.client(test.token).get("/v1/balance"), 401, "invalid-key")


async def test_a_suspended_reseller_is_refused(shop: Shop, customer: Customer) -> None:
    await shop.owner.execute("update resellers set status = 'suspended'")
    assert_problem(await customer.http.get("/v1/balance"), 401, "invalid-key")


async def test_a_key_is_read_once_a_second_and_then_anew(shop: Shop) -> None:
    customer = await shop.customer()
    seconds = 100.0
    authenticator = shop.api.authenticator
    authenticator._monotonic = lambda: seconds
    assert (await customer.http.get("/v1/balance")).status_code == 200
    await api_keys.revoke(shop.owner, customer.key_id)
    assert (await customer.http.get("/v1/balance")).status_code == 200
    seconds += 1.1
    assert (await customer.http.get("/v1/balance")).status_code == 401


async def test_keys_in_use_stay_known_while_they_are_refreshed(shop: Shop) -> None:
    customer = await shop.customer()
    seconds = 100.0
    authenticator = shop.api.authenticator
    authenticator._monotonic = lambda: seconds
    assert (await customer.http.get("/v1/balance")).status_code == 200
    for _ in range(3):
        seconds += 0.6
        assert (await customer.http.get("/v1/balance")).status_code == 200
        await authenticator.refresh()
    assert (await customer.http.get("/v1/balance")).status_code == 200
    await shop.owner.execute("update resellers set status = 'suspended'")
    await authenticator.refresh()
    assert (await customer.http.get("/v1/balance")).status_code == 401


async def test_a_key_that_was_not_in_use_when_it_was_revoked_is_not_trusted_again(
    shop: Shop,
) -> None:
    customer = await shop.customer()
    seconds = 100.0
    authenticator = shop.api.authenticator
    authenticator._monotonic = lambda: seconds
    await authenticator.refresh()
    assert (await customer.http.get("/v1/balance")).status_code == 200
    seconds += 60
    await api_keys.revoke(shop.owner, customer.key_id)
    for _ in range(2):
        await authenticator.refresh()
    assert (await customer.http.get("/v1/balance")).status_code == 401


async def test_keys_that_are_late_to_be_refreshed_are_not_read_one_by_one(shop: Shop) -> None:
    customers = [await shop.customer() for _ in range(5)]
    seconds = 100.0
    authenticator = shop.api.authenticator
    authenticator._monotonic = lambda: seconds
    await authenticator.refresh()
    for each in customers:
        assert (await each.http.get("/v1/balance")).status_code == 200
    seconds += 3
    async with shop.owner.transaction():
        await shop.owner.execute("lock table api_keys in access exclusive mode")
        asked = asyncio.gather(*(each.http.get("/v1/balance") for each in customers))
        answers = await asyncio.wait_for(asked, 5)
    assert [each.status_code for each in answers] == [200] * 5


async def test_a_burst_of_callers_not_seen_before_is_read_together(shop: Shop) -> None:
    customers = [await shop.customer() for _ in range(40)]
    read: list[Sequence[str]] = []
    authenticator = shop.api.authenticator
    find_holders = authenticator._find_holders

    async def counted(connection: Connection, key_ids: Sequence[str]) -> Mapping[str, KeyHolder]:
        read.append(key_ids)
        return await find_holders(connection, key_ids)

    authenticator._find_holders = counted
    asked = [customer.http.get("/v1/balance") for customer in customers for _ in range(2)]
    answers = await asyncio.gather(*asked)
    assert {answer.status_code for answer in answers} == {200}
    key_ids = [key_id for batch in read for key_id in batch]
    assert sorted(key_ids) == sorted(customer.key_id for customer in customers)
    assert len(read) < len(customers) / 2


async def test_nobody_is_told_what_was_read_before_they_asked(shop: Shop) -> None:
    customer = await shop.customer()
    authenticator = shop.api.authenticator
    seconds = 100.0
    authenticator._monotonic = lambda: seconds
    find_holders = authenticator._find_holders
    read, answer = asyncio.Event(), asyncio.Event()

    async def slow(connection: Connection, key_ids: Sequence[str]) -> Mapping[str, KeyHolder]:
        found = await find_holders(connection, key_ids)
        read.set()
        await answer.wait()
        return found

    authenticator._find_holders = slow
    before = asyncio.ensure_future(customer.http.get("/v1/balance"))
    await read.wait()
    await api_keys.revoke(shop.owner, customer.key_id)
    seconds += 5
    after = asyncio.ensure_future(customer.http.get("/v1/balance"))
    await asyncio.sleep(0.05)
    answer.set()
    assert (await before).status_code == 200
    assert (await after).status_code == 401


async def test_who_waits_for_a_key_is_told_that_it_cannot_be_read(shop: Shop) -> None:
    customers = [await shop.customer() for _ in range(3)]
    authenticator = shop.api.authenticator
    find_holders = authenticator._find_holders

    async def away(connection: Connection, key_ids: Sequence[str]) -> Mapping[str, KeyHolder]:
        await asyncio.sleep(0.01)
        raise ConnectionRefusedError("away")

    authenticator._find_holders = away
    answers = await asyncio.gather(*(each.http.get("/v1/balance") for each in customers))
    assert [answer.status_code for answer in answers] == [503, 503, 503]
    authenticator._find_holders = find_holders
    answers = await asyncio.gather(*(each.http.get("/v1/balance") for each in customers))
    assert [answer.status_code for answer in answers] == [200, 200, 200]


async def test_keys_are_not_read_again_while_nothing_changes(shop: Shop) -> None:
    customer = await shop.customer()
    seconds = 100.0
    authenticator = shop.api.authenticator
    authenticator._monotonic = lambda: seconds
    await authenticator.refresh()
    assert (await customer.http.get("/v1/balance")).status_code == 200
    async with shop.owner.transaction():
        await shop.owner.execute("lock table api_keys in access exclusive mode")
        for _ in range(5):
            seconds += 0.8
            await asyncio.wait_for(authenticator.refresh(), 5)
            assert (await customer.http.get("/v1/balance")).status_code == 200


async def test_the_secret_is_kept_only_as_a_hash(shop: Shop, customer: Customer) -> None:
    row = await shop.owner.fetchval("select to_jsonb(k)::text from api_keys k")
    token = customer.http.headers["authorization"]
    assert token.split("_")[3][:32] not in row


def test_a_mistyped_key_is_told_without_the_database() -> None:
    for position in range(len(KEY.token)):
        other = "2" if KEY.token[position] != "2" else "3"
        assert api_keys.parse(KEY.token[:position] + other + KEY.token[position + 1 :]) is None
    assert api_keys.parse(KEY.token) is not None


def test_a_key_does_not_print_its_secret() -> None:
    assert KEY.token not in repr(KEY)
    assert KEY.token not in repr(api_keys.parse(KEY.token))
