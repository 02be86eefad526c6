"""Resellers' keys: given out once, revoked for good."""

from app.administration.acting import acting
from app.administration.checks import Checks
from app.administration.operator import Operator, Scope
from app.administration.resellers import locked, subject
from app.errors import NotFound
from app.storage import api_keys, tokens
from app.storage.pool import Pool
from app.storage.resellers import Account
from app.storage.tokens import GeneratedKey


async def add(
    pool: Pool, by: Operator, reseller: str, mode: str, reason: str = ""
) -> tuple[Account, GeneratedKey]:
    """Give a reseller another key. Its token is in what is returned and nowhere else."""
    by.require(Scope.RESELLERS)
    checks = Checks()
    checks.reason(reason)
    if mode not in api_keys.MODES:
        checks.wrong("mode", f"must be {' or '.join(api_keys.MODES)}")
    checks.done()
    key = api_keys.generate(mode)
    async with acting(pool) as connection:
        account = await locked(connection, reseller)
        await api_keys.create(connection, key, account.lane, account.reseller_id)
        after = {"key_id": key.key_id, "mode": mode}
        await by.record(connection, "key.added", subject(account), after=after, reason=reason)
    return account, key


async def revoke(pool: Pool, by: Operator, key_id: str, reason: str) -> bool:
    """Revoke a key for good, within a second. Returns whether it was alive. Raises NotFound."""
    by.require(Scope.RESELLERS)
    checks = Checks()
    checks.reason(reason, needed=True)
    checks.done()
    async with acting(pool) as connection:
        found = await api_keys.lock(connection, key_id) if tokens.is_id(key_id) else None
        if found is None:
            raise NotFound("not-found", "There is no such key; its id is the part behind its mode.")
        if not await api_keys.revoke(connection, key_id):
            return False
        named = {"key_id": key_id, "mode": found.mode}
        await by.record(
            connection,
            "key.revoked",
            f"reseller:{found.reseller_id}",
            before={**named, "revoked": False},
            after={**named, "revoked": True},
            reason=reason,
        )
    return True
