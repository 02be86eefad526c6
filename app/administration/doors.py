"""Doors: given to resellers whose clients speak a protocol of the field; changed, removed for good.

The credentials are made here and shown once. A client is told of its orders at the door's callback
address, which is a webhook endpoint in the door's shape: it stays when the door is removed, so that
what was accepted is still told.
"""

import json
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from ipaddress import ip_network
from types import MappingProxyType
from uuid import UUID

from uuid_utils.compat import uuid7

from app.administration.acting import acting
from app.administration.checks import Checks
from app.administration.operator import Operator, Scope
from app.administration.resellers import locked, subject
from app.errors import Conflict, FieldError, NotFound, Unprocessable
from app.lifecycle.deliver import secret_context
from app.networks import Network
from app.outbound.addresses import AddressPolicy, AddressRefused, parse_endpoint_url
from app.sealing import Sealer
from app.shapes.telling import ORDER_EVENTS
from app.storage import doors, endpoints
from app.storage.audit import Document
from app.storage.doors import Door, NewDoor
from app.storage.endpoints import NewEndpoint
from app.storage.pool import Connection, Pool
from app.storage.resellers import Account

SHAPES: Mapping[str, str] = MappingProxyType(
    {"digiflazz": "username", "otomax": "memberID", "irs": "id"}
)
"""Each shape, and what its protocol calls the name of an account."""

MOST_DOORS = 16
"""Open ones a reseller."""
LONGEST_OVERLAP = timedelta(days=30)

_MOST_NETWORKS = 50
_NAME_BYTES = 5
_KEY_BYTES = 20
_PIN_DIGITS = 6


@dataclass(frozen=True, slots=True)
class DoorTools:
    """What doors are made with: the key to their secrets, and which addresses may be called."""

    sealer: Sealer
    policy: AddressPolicy


@dataclass(frozen=True, slots=True)
class Opened:
    """A door with its credentials by their names in its protocol. Shown once."""

    door: Door
    credentials: Mapping[str, str] = field(repr=False)


@dataclass(frozen=True, slots=True)
class WantedDoor:
    """A door to give. Without a name it gets one; without networks it is open to all."""

    shape: str
    name: str | None = None
    callback_url: str | None = None
    networks: tuple[str, ...] = ()


async def add(
    pool: Pool, by: Operator, tools: DoorTools, reseller: str, wanted: WantedDoor, reason: str = ""
) -> Opened:
    """Give a reseller a door. Its credentials are in what is returned and nowhere else."""
    by.require(Scope.RESELLERS)
    name = wanted.name or f"j{secrets.token_hex(_NAME_BYTES)}"
    _check(wanted.shape, name, reason)
    url = None if wanted.callback_url is None else _checked_url(wanted.callback_url, tools.policy)
    networks = _networks(wanted.networks)
    door_id, credentials = uuid7(), _new_secrets(wanted.shape, name)
    sealed = _sealed(tools, door_id, credentials)
    async with acting(pool) as connection:
        account = await locked(connection, reseller)
        await _require_room(connection, account)
        line = (
            None if url is None else await _connect(connection, tools, account, wanted.shape, url)
        )
        new = NewDoor(
            door_id,
            wanted.shape,
            name,
            account.lane,
            account.reseller_id,
            networks,
            line.endpoint_id if line else None,
            sealed,
        )
        if not await doors.create(connection, new):
            raise Conflict("name-taken", f"There is, or was, a {wanted.shape} door called {name}.")
        door = await _locked(connection, wanted.shape, name)
        after = {**document(door), "callback_url": url}
        await by.record(connection, "door.added", subject(account), after=after, reason=reason)
    return Opened(door, _shown(door, credentials, line))


async def rotate(
    pool: Pool,
    by: Operator,
    tools: DoorTools,
    shape: str,
    name: str,
    overlap: timedelta,
    reason: str = "",
) -> Opened:
    """Give a door new credentials. The old ones go on opening for as long as `overlap`."""
    by.require(Scope.RESELLERS)
    _check(shape, name, reason)
    if not timedelta(0) <= overlap <= LONGEST_OVERLAP:
        most = f"must be 0 to {LONGEST_OVERLAP.days * 24} hours"
        raise Unprocessable("invalid-request", most, errors=[FieldError("overlap", most)])
    async with acting(pool) as connection:
        before = await _locked(connection, shape, name)
        credentials = _new_secrets(shape, name)
        sealed = _sealed(tools, before.door_id, credentials)
        await doors.replace_secrets(connection, before.door_id, sealed, overlap)
        after = await _locked(connection, shape, name)
        await _record(connection, by, "door.rotated", before, after, reason)
    return Opened(after, _shown(after, credentials, None))


async def set_networks(
    pool: Pool, by: Operator, shape: str, name: str, networks: Iterable[str], reason: str = ""
) -> Door:
    """Open a door to these networks only; with none, to all. In force within a second."""
    by.require(Scope.RESELLERS)
    _check(shape, name, reason)
    wanted = _networks(networks)
    async with acting(pool) as connection:
        before = await _locked(connection, shape, name)
        await doors.set_networks(connection, before.door_id, wanted)
        after = await _locked(connection, shape, name)
        await _record(connection, by, "door.networks_set", before, after, reason)
    return after


async def set_callback(
    pool: Pool, by: Operator, tools: DoorTools, shape: str, name: str, url: str, reason: str = ""
) -> Opened:
    """Tell the door's client of its orders at this address from now on.

    What is still to be told goes there as well. The first address of a door comes with the secret
    that signs, where the protocol has one.
    """
    by.require(Scope.RESELLERS)
    _check(shape, name, reason)
    checked = _checked_url(url, tools.policy)
    async with acting(pool) as connection:
        before = await _locked(connection, shape, name)
        line = None
        if before.endpoint_id is None or not await endpoints.move(
            connection, before.lane, before.endpoint_id, checked
        ):
            account = await locked(connection, str(before.reseller_id))
            line = await _connect(connection, tools, account, shape, checked)
            await doors.set_endpoint(connection, before.door_id, line.endpoint_id)
        after = await _locked(connection, shape, name)
        told = {**document(after), "callback_url": checked}
        await _record(connection, by, "door.callback_set", before, after, reason, told)
    return Opened(after, _shown(after, {}, line))


async def remove(pool: Pool, by: Operator, shape: str, name: str, reason: str) -> bool:
    """Close a door for good, within a second. Returns whether it was open.

    What came through it is seen through and told at its callback address.
    """
    by.require(Scope.RESELLERS)
    _check(shape, name, reason, needed=True)
    async with acting(pool) as connection:
        before = await _found(connection, shape, name)
        if before.removed_at is not None:
            return False
        await doors.remove(connection, before.door_id)
        after = await _found(connection, shape, name)
        await _record(connection, by, "door.removed", before, after, reason)
    return True


def document(door: Door) -> Document:
    """What operators decide about a door, for the audit log."""
    return {
        "shape": door.shape,
        "name": door.name,
        "networks": [str(each) for each in door.networks],
        "endpoint_id": door.endpoint_id and str(door.endpoint_id),
        "removed": door.removed_at is not None,
    }


# ------------------------------------------------------------------ credentials


@dataclass(frozen=True, slots=True)
class _Line:
    """An endpoint that was made for a door."""

    endpoint_id: UUID
    secret: str = field(repr=False)


async def _connect(
    connection: Connection, tools: DoorTools, account: Account, shape: str, url: str
) -> _Line:
    line = _Line(uuid7(), secrets.token_hex(_KEY_BYTES))
    sealed = tools.sealer.seal(line.secret, secret_context(line.endpoint_id))
    new = NewEndpoint(
        account.lane,
        line.endpoint_id,
        account.reseller_id,
        url,
        list(ORDER_EVENTS),
        sealed,
        shape=shape,
    )
    await endpoints.create(connection, new)
    return line


def _new_secrets(shape: str, name: str) -> dict[str, str]:
    if shape == "digiflazz":
        return {"api_key": secrets.token_hex(_KEY_BYTES)}
    pin = f"{secrets.randbelow(10**_PIN_DIGITS):0{_PIN_DIGITS}}"
    password = secrets.token_hex(_KEY_BYTES)
    if shape == "otomax":
        return {"pin": pin, "password": password}
    return {"pin": pin, "user": name, "pass": password}


def _sealed(tools: DoorTools, door_id: UUID, credentials: Mapping[str, str]) -> bytes:
    return tools.sealer.seal(json.dumps(credentials), doors.secrets_context(door_id))


def _shown(door: Door, credentials: Mapping[str, str], line: _Line | None) -> dict[str, str]:
    """What the client is configured with, by its protocol's names."""
    shown = {SHAPES[door.shape]: door.name, **credentials}
    if line is not None and door.shape == "digiflazz":
        shown["webhook_secret"] = line.secret
    return shown


# ------------------------------------------------------------------ checks


def _check(shape: str, name: str, reason: str, *, needed: bool = False) -> None:
    checks = Checks()
    if shape not in SHAPES:
        checks.wrong("shape", f"must be {', '.join(SHAPES)}, not {shape[:20]!r}")
    checks.sku("name", name)
    checks.reason(reason, needed=needed)
    checks.done()


def _checked_url(url: str, policy: AddressPolicy) -> str:
    try:
        return parse_endpoint_url(url, policy).url
    except AddressRefused as refused:
        wrong = FieldError("callback", refused.reason)
        raise Unprocessable("invalid-url", f"{refused.reason}.", errors=[wrong]) from None


def _networks(texts: Iterable[str]) -> tuple[Network, ...]:
    checks, found = Checks(), set[Network]()
    for text in texts:
        try:
            found.add(ip_network(text))
        except ValueError:
            shape = "an address or a network, such as 203.0.113.7 or 203.0.113.0/28"
            checks.wrong("from", f"must be {shape}, not {text[:50]!r}")
    if len(found) > _MOST_NETWORKS:
        checks.wrong("from", f"at most {_MOST_NETWORKS} networks")
    checks.done()
    return tuple(sorted(found, key=str))


async def _require_room(connection: Connection, account: Account) -> None:
    held = await doors.list_of(connection, account.lane, account.reseller_id)
    if sum(door.removed_at is None for door in held) >= MOST_DOORS:
        raise Conflict("too-many-doors", f"A reseller has at most {MOST_DOORS} doors: remove one.")


async def _found(connection: Connection, shape: str, name: str) -> Door:
    door = await doors.lock(connection, shape, name)
    if door is None:
        raise NotFound("not-found", f"There is no {shape} door called {name}.")
    return door


async def _locked(connection: Connection, shape: str, name: str) -> Door:
    """An open door. Raises NotFound."""
    door = await _found(connection, shape, name)
    if door.removed_at is not None:
        raise NotFound("not-found", f"The {shape} door {name} was removed: add another one.")
    return door


async def _record(
    connection: Connection,
    by: Operator,
    action: str,
    before: Door,
    after: Door,
    reason: str,
    told: Document | None = None,
) -> None:
    await by.record(
        connection,
        action,
        f"reseller:{after.reseller_id}",
        before=document(before),
        after=told or document(after),
        reason=reason,
    )
