"""Resellers: added, changed, suspended and activated."""

from dataclasses import dataclass, replace
from uuid import UUID

from uuid_utils.compat import uuid7

from app.administration.acting import acting
from app.administration.checks import Checks
from app.administration.operator import Operator, Scope
from app.errors import Conflict, NotFound
from app.storage import resellers
from app.storage.audit import Document
from app.storage.pool import Connection, Pool
from app.storage.resellers import Account, NewReseller


@dataclass(frozen=True, slots=True)
class Edit:
    """What to change of a reseller; None leaves it. `credit_limit` in rupiah."""

    name: str | None = None
    tier: str | None = None
    credit_limit: int | None = None


@dataclass(frozen=True, slots=True)
class Changed:
    """The reseller as it is now, and whether anything changed."""

    account: Account
    changed: bool


async def add(
    pool: Pool, by: Operator, name: str, tier: str, credit_limit: int, reason: str = ""
) -> Account:
    """Add a reseller. A credit limit is money: it needs that scope as well.

    Raises Conflict where there is one of this name: names are what people call resellers by.
    """
    by.require(Scope.RESELLERS)
    if credit_limit:
        by.require(Scope.MONEY)
    _check(name, tier, credit_limit, reason)
    async with acting(pool) as connection:
        await _require_new_name(connection, name)
        new = NewReseller(uuid7(), name, tier, credit_limit)
        await resellers.create(connection, new)
        account = await find(connection, str(new.reseller_id))
        await by.record(
            connection, "reseller.added", subject(account), after=document(account), reason=reason
        )
    return account


async def change(pool: Pool, by: Operator, reseller: str, edit: Edit, reason: str = "") -> Changed:
    """Change a reseller's name, tier or credit limit. Its open orders keep their prices."""
    by.require(Scope.RESELLERS)
    if edit.credit_limit is not None:
        by.require(Scope.MONEY)
    async with acting(pool) as connection:
        before = await locked(connection, reseller)
        after = replace(
            before,
            name=before.name if edit.name is None else edit.name,
            tier=before.tier if edit.tier is None else edit.tier,
            credit_limit=before.credit_limit if edit.credit_limit is None else edit.credit_limit,
        )
        _check(after.name, after.tier, after.credit_limit, reason)
        if after.name != before.name:
            await _require_new_name(connection, after.name)
        return await _write(connection, by, "reseller.changed", before, after, reason)


async def limit(
    pool: Pool,
    by: Operator,
    reseller: str,
    orders: str | None,
    reads: str | None,
    reason: str = "",
) -> Changed:
    """Set a reseller's own rates, over all its keys, in force within about a second.

    As `100/1s` or `100/1s,50000/1d`; `usual`: those of the settings; None leaves them.
    """
    by.require(Scope.RESELLERS)
    checks = Checks()
    checks.reason(reason)
    new_orders = None if orders is None else checks.rates("orders", orders)
    new_reads = None if reads is None else checks.rates("reads", reads)
    checks.done()
    async with acting(pool) as connection:
        before = await locked(connection, reseller)
        after = replace(
            before,
            orders_rate=before.orders_rate if orders is None else new_orders,
            reads_rate=before.reads_rate if reads is None else new_reads,
        )
        return await _write(connection, by, "reseller.limited", before, after, reason)


async def suspend(pool: Pool, by: Operator, reseller: str, reason: str) -> Changed:
    """Refuse the reseller's keys, within a second. Its accepted orders are seen through."""
    return await _set_status(pool, by, reseller, "suspended", reason)


async def activate(pool: Pool, by: Operator, reseller: str, reason: str = "") -> Changed:
    """Take the reseller's keys again."""
    return await _set_status(pool, by, reseller, "active", reason)


async def find(connection: Connection, reseller: str) -> Account:
    """The reseller of this id or name. Raises NotFound; Conflict where several have the name."""
    checks = Checks()
    checks.text("reseller", reseller)
    checks.done()
    reseller_id = _id_in(reseller)
    if reseller_id is None:
        found = await resellers.accounts(connection, name=reseller, limit=2)
    else:
        found = await resellers.accounts(connection, reseller_id=reseller_id)
    if not found:
        raise NotFound(
            "unknown-reseller", f"There is no reseller {reseller}; `jalur resellers list` has all."
        )
    if len(found) > 1:
        raise Conflict("ambiguous-name", f"Several resellers are called {reseller}: use the id.")
    return found[0]


async def locked(connection: Connection, reseller: str) -> Account:
    """The reseller of this id or name, its row locked. Raises as `find` does."""
    found = await find(connection, reseller)
    await resellers.lock(connection, found.lane, found.reseller_id)
    return await find(connection, str(found.reseller_id))


def subject(account: Account) -> str:
    """How the audit log calls a reseller."""
    return f"reseller:{account.reseller_id}"


def document(account: Account) -> Document:
    """What operators decide about a reseller, for the audit log."""
    return {
        "name": account.name,
        "tier": account.tier,
        "status": account.status,
        "credit_limit": account.credit_limit,
        "orders_rate": account.orders_rate,
        "reads_rate": account.reads_rate,
    }


async def _set_status(pool: Pool, by: Operator, reseller: str, status: str, reason: str) -> Changed:
    by.require(Scope.RESELLERS)
    checks = Checks()
    checks.reason(reason, needed=status == "suspended")
    checks.done()
    action = "reseller.suspended" if status == "suspended" else "reseller.activated"
    async with acting(pool) as connection:
        before = await locked(connection, reseller)
        after = replace(before, status=status)
        return await _write(connection, by, action, before, after, reason)


async def _write(
    connection: Connection, by: Operator, action: str, before: Account, after: Account, reason: str
) -> Changed:
    if after == before:
        return Changed(before, changed=False)
    await resellers.update(connection, after)
    await by.record(
        connection,
        action,
        subject(after),
        before=document(before),
        after=document(after),
        reason=reason,
    )
    return Changed(after, changed=True)


def _check(name: str, tier: str, credit_limit: int, reason: str) -> None:
    checks = Checks()
    checks.text("name", name)
    if _id_in(name) is not None:
        checks.wrong("name", "must not look like an id")
    checks.tier("tier", tier)
    checks.rupiah("credit_limit", credit_limit, 0)
    checks.reason(reason)
    checks.done()


async def _require_new_name(connection: Connection, name: str) -> None:
    await resellers.lock_names(connection)
    if await resellers.accounts(connection, name=name, limit=1):
        raise Conflict("name-taken", f"There is a reseller called {name} already.")


def _id_in(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None
