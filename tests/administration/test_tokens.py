"""Operators' tokens and the hold: scopes that cannot grow, a log that cannot shrink."""

import asyncpg
import pytest

from app.administration import installation, tokens
from app.administration.operator import Scope
from app.errors import Forbidden, NotFound, Unprocessable
from app.storage import installation as stored
from app.storage import operator_tokens
from app.storage.pool import Pool
from tests.administration.office import BY, acts, only, whole_log


async def test_a_token_is_kept_as_a_hash_and_told_without_it(pool: Pool):
    token = await tokens.add(pool, BY, "Sari", {Scope.MONEY, Scope.READ})
    assert token.token.startswith("jalur_ops_")
    presented = operator_tokens.parse(token.token)
    assert presented is not None
    async with pool.acquire() as connection:
        holder = (await operator_tokens.find(connection, [token.key_id]))[token.key_id]
        row = await connection.fetchval("select to_jsonb(t)::text from operator_tokens t")
    assert holder.matches(presented)
    assert holder.scopes == ["money", "read"]
    secret = token.token.split("_")[3][:32]
    assert secret not in row
    assert secret not in await whole_log(pool)
    (act,) = await acts(pool)
    assert act.after == {"name": "Sari", "scopes": ["money", "read"]}


async def test_a_revoked_token_opens_nothing_and_is_told_once(pool: Pool):
    token = await tokens.add(pool, BY, "Sari", {Scope.MONEY})
    assert await tokens.revoke(pool, BY, token.key_id, "left")
    assert not await tokens.revoke(pool, BY, token.key_id, "left")
    async with pool.acquire() as connection:
        assert await operator_tokens.find(connection, [token.key_id]) == {}
    assert [act.action for act in await acts(pool)] == ["operator.added", "operator.revoked"]


async def test_nobody_gives_away_a_scope_that_it_lacks(pool: Pool):
    giver = only(Scope.OPERATORS, Scope.MONEY)
    await tokens.add(pool, giver, "Sari", {Scope.MONEY})
    with pytest.raises(Forbidden):
        await tokens.add(pool, giver, "Sari", {Scope.MONEY, Scope.DEALERS})
    with pytest.raises(Forbidden):
        await tokens.add(pool, only(Scope.MONEY), "Sari", {Scope.MONEY})
    assert len(await acts(pool)) == 1


async def test_a_token_needs_a_name_scopes_and_its_end_a_reason(pool: Pool):
    for name, scopes in (("", {Scope.READ}), ("S\0", {Scope.READ}), ("Sari", set[Scope]())):
        with pytest.raises(Unprocessable):
            await tokens.add(pool, BY, name, scopes)
    with pytest.raises(Unprocessable, match="scopes"):
        tokens.read_scopes(["money", "everything"])
    with pytest.raises(Unprocessable, match="reason"):
        await tokens.revoke(pool, BY, "a" * 12, "")
    for unknown in ("a" * 12, "\0"):
        with pytest.raises(NotFound):
            await tokens.revoke(pool, BY, unknown, "left")


@pytest.mark.parametrize("change", ["update {} set reason = 'x'", "delete from {}", "truncate {}"])
async def test_the_service_cannot_rewrite_the_log(pool: Pool, change: str):
    await tokens.add(pool, BY, "Sari", {Scope.READ})
    async with pool.acquire() as connection:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute(change.format("audit_log"))
    assert len(await acts(pool)) == 1


async def test_a_hold_is_set_and_ended_with_a_line_each(pool: Pool):
    assert await installation.hold(pool, BY, "restoring")
    assert not await installation.hold(pool, BY, "restoring")
    async with pool.acquire() as connection:
        assert (await stored.read(connection)).hold
    assert await installation.resume(pool, BY, "compared", reconciled=True)
    assert not await installation.resume(pool, BY, "compared", reconciled=True)
    told = [(act.action, act.before, act.after) for act in await acts(pool)]
    assert told == [
        ("installation.held", {"hold": False}, {"hold": True}),
        ("installation.resumed", {"hold": True}, {"hold": False}),
    ]


async def test_a_hold_that_nobody_has_seen_yet_is_ended_too(pool: Pool):
    """A restored database is held from its first moment, before any process writes that down."""
    async with pool.acquire() as connection:
        await connection.execute("update installation set system_identifier = 'another'")
    assert await installation.resume(pool, BY, "compared", reconciled=True)
    async with pool.acquire() as connection:
        assert await connection.fetchval("select count(*) from purchases_held") == 0


async def test_a_hold_is_not_ended_lightly(pool: Pool):
    await installation.hold(pool, BY, "restoring")
    with pytest.raises(Unprocessable) as refused:
        await installation.resume(pool, BY, "sure", reconciled=False)
    assert refused.value.code == "not-reconciled"
    with pytest.raises(Unprocessable, match="reason"):
        await installation.resume(pool, BY, "", reconciled=True)
    with pytest.raises(Forbidden):
        await installation.resume(pool, only(Scope.DEALERS), "sure", reconciled=True)
    async with pool.acquire() as connection:
        assert (await stored.read(connection)).hold
