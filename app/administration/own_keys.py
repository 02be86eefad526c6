"""Keys as resellers manage them themselves: never more than the key that they do it with.

A key gives out no scope that it lacks, no address that it may not call from itself and no time
beyond its own; and it touches no key that opens more than it does. Otherwise a key that was bounded
with care could make itself one without bounds.
"""

from dataclasses import replace
from datetime import datetime, timedelta
from ipaddress import ip_network

from app.administration.acting import acting
from app.administration.checks import Checks
from app.administration.keys import (
    NewKey,
    check_overlap,
    end,
    give_out,
    locked_key,
    owners_of,
    put_in_place,
    read_terms,
)
from app.administration.operator import Operator
from app.administration.resellers import find, locked
from app.administration.sides import side_of
from app.errors import Conflict, Forbidden, NotFound, Unauthorized
from app.networks import covers
from app.scopes import KeyScope
from app.storage import api_keys
from app.storage.api_keys import KeyHolder, KeyRecord, KeyTerms
from app.storage.pool import Connection, Pool
from app.storage.resellers import Account
from app.storage.tokens import GeneratedKey


def acts_as(holder: KeyHolder, address: str | None) -> Operator:
    """Who a reseller's key is to the audit log: nobody who may do anything else."""
    return Operator(f"key:{holder.key_id}", address or "", frozenset())


async def listed(connection: Connection, holder: KeyHolder) -> list[KeyRecord]:
    """All keys that the reseller ever had; to a live key also those of the test side."""
    account = await find(connection, str(holder.reseller_id))
    return await api_keys.list_of(connection, owners_of(account))


async def add(
    pool: Pool, holder: KeyHolder, new: NewKey, address: str | None, now: datetime
) -> tuple[KeyRecord, GeneratedKey]:
    """Give the reseller another key. A live key may make test keys; a test key no live ones."""
    by, checks = acts_as(holder, address), Checks()
    stated = read_terms(checks, new, now)
    if holder.test and new.mode == api_keys.LIVE:
        checks.wrong("mode", "must be test: a test key makes test keys")
    checks.done()
    async with acting(pool) as connection:
        account = await locked(connection, str(holder.reseller_id))
        account = await side_of(connection, by, account, new.mode)
        own = (await _alive(connection, holder, now)).terms
        stated = replace(stated, orders_rate=own.orders_rate, reads_rate=own.reads_rate)
        terms = _narrowed(checks, own, stated)
        checks.done()
        key = await give_out(connection, by, account, terms, "")
        return await locked_key(connection, key.key_id), key


async def rotate(
    pool: Pool,
    holder: KeyHolder,
    key_id: str,
    overlap: timedelta,
    address: str | None,
    now: datetime,
) -> tuple[KeyRecord, GeneratedKey]:
    """Give out a key in place of another one, which lives on for `overlap`."""
    checks = Checks()
    check_overlap(checks, overlap)
    checks.done()
    async with acting(pool) as connection:
        account, found = await _own(connection, holder, key_id, now)
        by = acts_as(holder, address)
        key = await put_in_place(connection, by, account, found, overlap, now, "")
        return await locked_key(connection, key.key_id), key


async def revoke(
    pool: Pool, holder: KeyHolder, key_id: str, address: str | None, now: datetime
) -> bool:
    """Revoke a key for good. Returns whether it was alive.

    Raises Conflict for the last live key that can make others: then only an operator could help.
    """
    async with acting(pool) as connection:
        _, found = await _own(connection, holder, key_id, now)
        if found.mode == api_keys.LIVE and found.is_alive(now):
            await _require_another(connection, found)
        return await end(connection, acts_as(holder, address), found, "")


async def _alive(connection: Connection, holder: KeyHolder, now: datetime) -> KeyRecord:
    """The caller's own key as it stands now, locked. Raises Unauthorized where it ended since."""
    own = await locked_key(connection, holder.key_id)
    if not own.is_alive(now):
        raise Unauthorized("invalid-key", "This key is unknown or revoked.")
    return own


async def _own(
    connection: Connection, holder: KeyHolder, key_id: str, now: datetime
) -> tuple[Account, KeyRecord]:
    """One of the reseller's keys, locked. Raises NotFound, for another's as well, and Forbidden."""
    account = await locked(connection, str(holder.reseller_id))
    found = await locked_key(connection, key_id)
    if (found.lane, found.reseller_id) not in owners_of(account):
        raise NotFound("not-found", "There is no such key; its id is the part behind its mode.")
    beyond = _beyond((await _alive(connection, holder, now)).terms, found.terms)
    if beyond is not None:
        raise Forbidden("key-goes-further", f"That key goes further than yours: {beyond}.")
    return account, found


async def _require_another(connection: Connection, key: KeyRecord) -> None:
    alive = await api_keys.list_of(connection, [(key.lane, key.reseller_id)], only_alive=True)
    for each in alive:
        manages = each.scopes is None or KeyScope.KEYS_WRITE in each.scopes
        if manages and each.key_id != key.key_id and each.replaced_by is None:
            return
    raise Conflict(
        "last-key",
        "Without this key you have none left that can make others: make one first, or rotate it.",
    )


def _narrowed(checks: Checks, own: KeyTerms, terms: KeyTerms) -> KeyTerms:
    """The terms with those of the own where none were stated. Notes what goes beyond them."""
    narrowed = replace(
        terms,
        scopes=own.scopes if terms.scopes is None else terms.scopes,
        addresses=terms.addresses or own.addresses,
        expires_at=own.expires_at if terms.expires_at is None else terms.expires_at,
    )
    beyond = _beyond(own, narrowed)
    if beyond is not None:
        checks.wrong(beyond.split(" ", 1)[0], f"go beyond your own key's: {beyond}")
    return narrowed


def _beyond(own: KeyTerms, terms: KeyTerms) -> str | None:
    """In what terms go beyond a key: a field and why; None where they do not."""
    if own.scopes is not None and terms.scopes is None:
        return "scopes without a bound"
    if own.scopes is not None and terms.scopes is not None and terms.scopes - own.scopes:
        return f"scopes {', '.join(sorted(terms.scopes - own.scopes))}"
    everywhere = terms.addresses or (ip_network("0.0.0.0/0"), ip_network("::/0"))
    if own.addresses and not all(
        any(covers(mine, each) for mine in own.addresses) for each in everywhere
    ):
        return "addresses outside of " + ", ".join(map(str, own.addresses))
    ends, own_end = terms.expires_at, own.expires_at
    if own_end is not None and (ends is None or ends > own_end):
        return f"expires_at later than {own_end.isoformat()}"
    for rate in ("orders_rate", "reads_rate"):
        own_rate = getattr(own, rate)
        if own_rate is not None and getattr(terms, rate) != own_rate:
            return f"{rate} other than {own_rate}"
    return None
