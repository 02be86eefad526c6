"""Resellers' keys: given out once, revoked for good."""

from dataclasses import dataclass, replace

from app.administration.acting import acting
from app.administration.checks import Checks
from app.administration.operator import Operator, Scope
from app.administration.resellers import locked, subject
from app.errors import NotFound
from app.storage import api_keys, tokens
from app.storage.api_keys import KeyRecord
from app.storage.audit import Document
from app.storage.pool import Connection, Pool
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


@dataclass(frozen=True, slots=True)
class Limited:
    """A key as it is now, and whether anything changed."""

    key: KeyRecord
    changed: bool


async def limit(
    pool: Pool, by: Operator, key_id: str, orders: str | None, reads: str | None, reason: str = ""
) -> Limited:
    """Set a key's own rates beside its reseller's, in force within about a second.

    As `100/1s` or `100/1s,50000/1d`; `usual`: none of its own; None leaves them. Raises NotFound.
    """
    by.require(Scope.RESELLERS)
    checks = Checks()
    checks.reason(reason)
    new_orders = None if orders is None else checks.rates("orders", orders)
    new_reads = None if reads is None else checks.rates("reads", reads)
    checks.done()
    async with acting(pool) as connection:
        before = await _locked_key(connection, key_id)
        after = replace(
            before,
            orders_rate=before.orders_rate if orders is None else new_orders,
            reads_rate=before.reads_rate if reads is None else new_reads,
        )
        if after == before:
            return Limited(before, changed=False)
        await api_keys.set_rates(connection, after)
        await by.record(
            connection,
            "key.limited",
            f"reseller:{after.reseller_id}",
            before=_rates(before),
            after=_rates(after),
            reason=reason,
        )
    return Limited(after, changed=True)


def _rates(key: KeyRecord) -> Document:
    return {"key_id": key.key_id, "orders_rate": key.orders_rate, "reads_rate": key.reads_rate}


async def _locked_key(connection: Connection, key_id: str) -> KeyRecord:
    """The key, its row locked. Raises NotFound."""
    found = await api_keys.lock(connection, key_id) if tokens.is_id(key_id) else None
    if found is None:
        raise NotFound("not-found", "There is no such key; its id is the part behind its mode.")
    return found


async def revoke(pool: Pool, by: Operator, key_id: str, reason: str) -> bool:
    """Revoke a key for good, within a second. Returns whether it was alive. Raises NotFound."""
    by.require(Scope.RESELLERS)
    checks = Checks()
    checks.reason(reason, needed=True)
    checks.done()
    async with acting(pool) as connection:
        found = await _locked_key(connection, key_id)
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
