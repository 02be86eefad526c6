"""Resellers' keys, as operators give them out, replace them and revoke them."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from uuid import UUID

from app.administration.acting import acting
from app.administration.checks import Checks
from app.administration.operator import Operator, Scope
from app.administration.resellers import find, locked, subject
from app.administration.sides import side_of
from app.errors import Conflict, NotFound
from app.networks import Network, read_network
from app.scopes import KeyScope
from app.storage import api_keys, resellers, tokens
from app.storage.api_keys import KeyRecord, KeyTerms
from app.storage.audit import Document
from app.storage.pool import Connection, Pool
from app.storage.resellers import Account
from app.storage.tokens import GeneratedKey

DEFAULT_OVERLAP = timedelta(hours=24)
LONGEST_OVERLAP = timedelta(days=30)
_MOST_ALIVE = 50
_MOST_ADDRESSES = 50


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key to give out. `scopes`: None opens everything; `addresses`: none takes any."""

    mode: str = api_keys.LIVE
    name: str = ""
    scopes: Collection[str] | None = None
    addresses: Sequence[str] = ()
    expires_at: datetime | None = None


async def add(
    pool: Pool, by: Operator, reseller: str, new: NewKey, now: datetime, reason: str = ""
) -> tuple[Account, GeneratedKey]:
    """Give a reseller another key. Its token is in what is returned and nowhere else.

    The first test key makes the reseller's test side.
    """
    by.require(Scope.RESELLERS)
    checks = Checks()
    checks.reason(reason)
    terms = read_terms(checks, new, now)
    checks.done()
    async with acting(pool) as connection:
        account = await side_of(connection, by, await locked(connection, reseller), new.mode)
        key = await give_out(connection, by, account, terms, reason)
    return account, key


async def rotate(
    pool: Pool, by: Operator, key_id: str, overlap: timedelta, now: datetime, reason: str = ""
) -> tuple[Account, GeneratedKey]:
    """Give out a key in place of another one, which lives on for `overlap`.

    Raises NotFound, and Conflict where the key is dead or being replaced already.
    """
    by.require(Scope.RESELLERS)
    checks = Checks()
    checks.reason(reason)
    check_overlap(checks, overlap)
    checks.done()
    async with acting(pool) as connection:
        found = await locked_key(connection, key_id)
        account = await find(connection, str(found.reseller_id))
        return account, await put_in_place(connection, by, account, found, overlap, now, reason)


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
        before = await locked_key(connection, key_id)
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


async def revoke(pool: Pool, by: Operator, key_id: str, reason: str) -> bool:
    """Revoke a key for good, within a second. Returns whether it was alive. Raises NotFound."""
    by.require(Scope.RESELLERS)
    checks = Checks()
    checks.reason(reason, needed=True)
    checks.done()
    async with acting(pool) as connection:
        return await end(connection, by, await locked_key(connection, key_id), reason)


async def keys_of(connection: Connection, reseller: str) -> list[KeyRecord]:
    """All keys that a reseller ever had on both of its sides, the oldest first. Raises NotFound."""
    account = await find(connection, reseller)
    return await api_keys.list_of(connection, owners_of(account))


# ------------------------------------------------------------------ what resellers do as well


def owners_of(account: Account) -> list[tuple[int, UUID]]:
    """Whose keys an account answers for: its own, and those of its test side."""
    own = (account.lane, account.reseller_id)
    if account.test or account.twin_id is None:
        return [own]
    return [own, resellers.key_of(account.twin_id)]


def read_terms(checks: Checks, new: NewKey, now: datetime) -> KeyTerms:
    """What bounds a key to be. Notes what is wrong with it."""
    if new.mode not in api_keys.MODES:
        checks.wrong("mode", f"must be {' or '.join(api_keys.MODES)}")
    checks.text("name", new.name, 100, 0)
    scopes = None if new.scopes is None else _read_scopes(checks, new.scopes)
    if new.expires_at is not None:
        checks.aware("expires_at", new.expires_at)
        if new.expires_at.tzinfo is not None and new.expires_at <= now:
            checks.wrong("expires_at", "must lie ahead")
    return KeyTerms(new.name, scopes, _read_addresses(checks, new.addresses), new.expires_at)


def _read_scopes(checks: Checks, names: Collection[str]) -> frozenset[str]:
    if not names:
        checks.wrong("scopes", f"must be some of {', '.join(KeyScope)}; leave them out for all")
    for name in names:
        if name not in tuple(KeyScope):
            checks.wrong("scopes", f"{name[:40]!r} is none of {', '.join(KeyScope)}")
    return frozenset(names)


def _read_addresses(checks: Checks, texts: Sequence[str]) -> tuple[Network, ...]:
    networks: set[Network] = set()
    if len(texts) > _MOST_ADDRESSES:
        checks.wrong("addresses", f"at most {_MOST_ADDRESSES}")
    for text in texts[:_MOST_ADDRESSES]:
        try:
            networks.add(read_network(text))
        except ValueError:
            shape = "an address or a network, such as 203.0.113.7 or 203.0.113.0/28"
            checks.wrong("addresses", f"must be {shape}, not {text[:50]!r}")
    return tuple(sorted(networks, key=str))


def check_overlap(checks: Checks, overlap: timedelta) -> None:
    """Note an overlap that is too long, or none."""
    if not timedelta(0) <= overlap <= LONGEST_OVERLAP:
        most = int(LONGEST_OVERLAP.total_seconds())
        checks.wrong("overlap_seconds", f"must be 0 to {most}")


async def locked_key(connection: Connection, key_id: str) -> KeyRecord:
    """A key, its row locked behind its reseller's. Raises NotFound."""
    found = await api_keys.lock(connection, key_id) if tokens.is_id(key_id) else None
    if found is None:
        raise NotFound("not-found", "There is no such key; its id is the part behind its mode.")
    return found


async def give_out(
    connection: Connection, by: Operator, account: Account, terms: KeyTerms, reason: str
) -> GeneratedKey:
    """Make a key for an account whose row, or whose live twin's, is locked. Raises Conflict."""
    owner = (account.lane, account.reseller_id)
    if len(await api_keys.list_of(connection, [owner], only_alive=True)) >= _MOST_ALIVE:
        raise Conflict("too-many-keys", f"At most {_MOST_ALIVE} keys of a side can be alive.")
    key = api_keys.generate(api_keys.TEST if account.test else api_keys.LIVE)
    await api_keys.create(connection, key, *owner, terms)
    after = {"key_id": key.key_id, "mode": key.mode, **_document(terms)}
    await by.record(connection, "key.added", subject(account), after=after, reason=reason)
    return key


async def put_in_place(
    connection: Connection,
    by: Operator,
    account: Account,
    old: KeyRecord,
    overlap: timedelta,
    now: datetime,
    reason: str,
) -> GeneratedKey:
    """Make a key with the terms of another one, which is locked and lives on for `overlap`."""
    alive = await api_keys.list_of(connection, [(old.lane, old.reseller_id)], only_alive=True)
    if not old.is_alive(now):
        raise Conflict("key-over", "This key is revoked or expired: make a new one.")
    if old.replaced_by is not None:
        raise Conflict("key-replaced", f"The key {old.replaced_by} replaces this one already.")
    before = [each.key_id for each in alive if each.replaced_by == old.key_id]
    if before:
        raise Conflict(
            "key-rotating", f"The key {before[0]}, which this one replaces, is alive: revoke it."
        )
    # What bounds the old key bounds the new one, but for the name under which it is listed.
    key = api_keys.generate(old.mode)
    await api_keys.create(connection, key, old.lane, old.reseller_id, old.terms)
    await api_keys.replace(connection, old.key_id, key.key_id, overlap)
    if not overlap:
        await api_keys.revoke(connection, old.key_id)
    await by.record(
        connection,
        "key.rotated",
        subject(account),
        before={"key_id": old.key_id},
        after={"key_id": key.key_id, "overlap_seconds": int(overlap.total_seconds())},
        reason=reason,
    )
    return key


async def end(connection: Connection, by: Operator, key: KeyRecord, reason: str) -> bool:
    """Revoke a locked key. Returns whether it was alive."""
    if not await api_keys.revoke(connection, key.key_id):
        return False
    named = {"key_id": key.key_id, "mode": key.mode}
    await by.record(
        connection,
        "key.revoked",
        f"reseller:{key.reseller_id}",
        before={**named, "revoked": False},
        after={**named, "revoked": True},
        reason=reason,
    )
    return True


def _document(terms: KeyTerms) -> Document:
    return {
        "name": terms.name,
        "scopes": None if terms.scopes is None else sorted(terms.scopes),
        "addresses": [str(network) for network in terms.addresses],
        "expires_at": None if terms.expires_at is None else terms.expires_at.isoformat(),
    }
