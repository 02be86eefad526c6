"""Resellers and their keys: each change once, with its line; names that tell them apart."""

import asyncio
from datetime import UTC, datetime

import pytest

from app.administration import keys, resellers
from app.administration.keys import NewKey
from app.administration.operator import Scope
from app.administration.resellers import Edit
from app.errors import Conflict, Forbidden, NotFound, Unprocessable
from app.storage import api_keys
from app.storage.pool import Pool
from tests.administration.office import BY, acts, only, whole_log

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


async def test_an_added_reseller_stands_with_its_wallet_and_one_line(pool: Pool):
    added = await resellers.add(pool, BY, "Toko Jaya", "gold", 50_000)
    async with pool.acquire() as connection:
        found = await resellers.find(connection, "Toko Jaya")
    assert found == added
    assert (found.tier, found.available, found.credit_limit) == ("gold", 0, 50_000)
    (act,) = await acts(pool)
    assert (act.operator, act.origin, act.action) == ("cli:rina", "kantor", "reseller.added")
    assert act.subject == f"reseller:{added.reseller_id}"
    assert act.before is None
    assert act.after == {
        "name": "Toko Jaya",
        "tier": "gold",
        "status": "active",
        "credit_limit": 50_000,
        "orders_rate": None,
        "reads_rate": None,
    }


async def test_of_many_who_add_one_name_at_once_one_does(pool: Pool):
    tries = [resellers.add(pool, BY, "Toko Jaya", "standard", 0) for _ in range(6)]
    outcomes = await asyncio.gather(*tries, return_exceptions=True)
    assert sum(isinstance(outcome, Conflict) for outcome in outcomes) == 5
    assert len(await acts(pool)) == 1


async def test_a_change_records_what_was_and_what_is(pool: Pool):
    added = await resellers.add(pool, BY, "Toko Jaya", "standard", 0)
    edit = Edit(tier="gold", credit_limit=10)
    done = await resellers.change(pool, BY, str(added.reseller_id), edit, "grows")
    assert (done.account.tier, done.account.credit_limit, done.account.name) == (
        "gold",
        10,
        "Toko Jaya",
    )
    act = (await acts(pool))[-1]
    assert act.before is not None
    assert act.after is not None
    assert (act.before["tier"], act.after["tier"]) == ("standard", "gold")
    assert (act.before["credit_limit"], act.after["credit_limit"]) == (0, 10)
    assert act.reason == "grows"


async def test_the_same_again_changes_nothing_and_writes_no_line(pool: Pool):
    await resellers.add(pool, BY, "Toko Jaya", "standard", 0)
    assert (await resellers.suspend(pool, BY, "Toko Jaya", "unpaid")).changed
    assert not (await resellers.suspend(pool, BY, "Toko Jaya", "unpaid")).changed
    assert not (await resellers.change(pool, BY, "Toko Jaya", Edit(tier="standard"))).changed
    assert [act.action for act in await acts(pool)] == ["reseller.added", "reseller.suspended"]


async def test_a_suspended_resellers_key_opens_nothing_until_it_is_activated(pool: Pool):
    await resellers.add(pool, BY, "Toko Jaya", "standard", 0)
    _, key = await keys.add(pool, BY, "Toko Jaya", NewKey(), NOW)

    async def opens() -> bool:
        async with pool.acquire() as connection:
            return key.key_id in await api_keys.find(connection, [key.key_id])

    assert await opens()
    await resellers.suspend(pool, BY, "Toko Jaya", "unpaid")
    assert not await opens()
    await resellers.activate(pool, BY, "Toko Jaya")
    assert await opens()


async def test_a_key_is_revoked_once_and_its_secret_is_nowhere(pool: Pool):
    account = await resellers.add(pool, BY, "Toko Jaya", "standard", 0)
    _, key = await keys.add(pool, BY, "Toko Jaya", NewKey(), NOW)
    assert await keys.revoke(pool, BY, key.key_id, "lost")
    assert not await keys.revoke(pool, BY, key.key_id, "lost")
    told = (await acts(pool))[1:]
    assert [act.action for act in told] == ["key.added", "key.revoked"]
    assert {act.subject for act in told} == {f"reseller:{account.reseller_id}"}
    secret = key.token.split("_")[3]
    log = await whole_log(pool)
    assert secret not in log
    assert key.secret_sha256.hex() not in log


@pytest.mark.parametrize(
    ("name", "tier", "credit", "field"),
    [
        ("", "standard", 0, "name"),
        ("x" * 201, "standard", 0, "name"),
        ("Toko\0", "standard", 0, "name"),
        ("Toko\n", "standard", 0, "name"),
        (" Toko", "standard", 0, "name"),
        ("Toko \udcff", "standard", 0, "name"),
        ("0190a000-0000-7000-8000-000000000001", "standard", 0, "name"),
        ("Toko", "gold;", 0, "tier"),
        ("Toko", "standard", -1, "credit_limit"),
        ("Toko", "standard", 10**15, "credit_limit"),
    ],
)
async def test_what_cannot_be_is_refused_by_its_field(
    pool: Pool, name: str, tier: str, credit: int, field: str
):
    with pytest.raises(Unprocessable) as refused:
        await resellers.add(pool, BY, name, tier, credit)
    assert [error.field for error in refused.value.errors] == [field]
    assert await acts(pool) == []


async def test_nobody_is_found_by_what_no_name_can_be(pool: Pool):
    with pytest.raises(NotFound):
        await resellers.suspend(pool, BY, "Toko Lain", "unpaid")
    with pytest.raises(Unprocessable):
        await resellers.suspend(pool, BY, "Toko\0", "unpaid")
    with pytest.raises(NotFound):
        await keys.revoke(pool, BY, "\0", "lost")


async def test_a_name_that_two_have_is_no_address(pool: Pool):
    for name in ("Toko Jaya", "Toko Baru"):
        await resellers.add(pool, BY, name, "standard", 0)
    async with pool.acquire() as connection:
        await connection.execute("update resellers set name = 'Toko Jaya'")
    with pytest.raises(Conflict) as refused:
        await resellers.suspend(pool, BY, "Toko Jaya", "unpaid")
    assert refused.value.code == "ambiguous-name"


async def test_a_grave_act_needs_its_reason(pool: Pool):
    await resellers.add(pool, BY, "Toko Jaya", "standard", 0)
    _, key = await keys.add(pool, BY, "Toko Jaya", NewKey(), NOW)
    for act in (
        resellers.suspend(pool, BY, "Toko Jaya", ""),
        keys.revoke(pool, BY, key.key_id, ""),
    ):
        with pytest.raises(Unprocessable, match="reason"):
            await act
    assert len(await acts(pool)) == 2


async def test_scopes_are_asked_for_in_the_act_itself(pool: Pool):
    keeper = only(Scope.RESELLERS)
    await resellers.add(pool, keeper, "Toko Jaya", "standard", 0)
    others = only(*(set(Scope) - {Scope.RESELLERS}))
    for act in (
        resellers.add(pool, others, "Toko Baru", "standard", 0),
        resellers.suspend(pool, others, "Toko Jaya", "unpaid"),
        resellers.activate(pool, others, "Toko Jaya"),
        keys.add(pool, others, "Toko Jaya", NewKey(), NOW),
        keys.revoke(pool, others, "a" * 12, "lost"),
        # Credit is money.
        resellers.add(pool, keeper, "Toko Baru", "standard", 1),
        resellers.change(pool, keeper, "Toko Jaya", Edit(credit_limit=1)),
    ):
        with pytest.raises(Forbidden):
            await act
    assert len(await acts(pool)) == 1
