"""Dealers: added, changed, and stopped for a while.

A dealer that cannot be called as it is configured never gets into the table: an act that would
leave it so is refused, with what lacks. Whatever is done to a dealer, checks of its open purchases
and its callbacks go on.
"""

import json
import re
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from urllib.parse import urlsplit

from app.administration.acting import acting
from app.administration.checks import Checks
from app.administration.operator import Operator, Scope
from app.errors import ConfigurationError, Conflict, NotFound, Unprocessable
from app.lifecycle.trade import DealerLimits, access_to, credentials_context, open_credentials
from app.sealing import CannotOpen, Sealer
from app.storage import callbacks, catalogue, reference
from app.storage.callbacks import Seen
from app.storage.pool import Connection, Pool
from app.storage.reference import DealerRow

DEFAULT_CONCURRENCY = 32
DEFAULT_TIMEOUT_SECONDS = 30.0
DEFAULT_CONNECT_TIMEOUT_SECONDS = 5.0
LONGEST_MUTE = timedelta(days=366)

_ID = re.compile(r"[a-z][a-z0-9_-]{0,31}")
_MOST_CONCURRENCY = 10_000
_RATES = (0.001, 10_000.0)
_MOST_VALUES = 50
_MOST_NETWORKS = 50
_WIDEST = {4: 16, 6: 32}
"""The shortest prefix by IP version: a list that holds half the world vouches for nobody."""
_LONGEST_VALUE = 32_000
"""A described dealer's whole description stands in one option."""
_TOKEN_BYTES = 18
_TIMES = ("timeout_seconds", "connect_timeout_seconds")
_SHORTEST_SECONDS = 0.001


@dataclass(frozen=True, slots=True)
class NewDealer:
    """A dealer to add. `credentials` are our account there; times in seconds."""

    dealer_id: str
    name: str
    owner_group: str
    protocol: str
    base_url: str
    credentials: Mapping[str, str] = field(repr=False)
    options: Mapping[str, str] = field(default_factory=dict[str, str])
    concurrency: int = DEFAULT_CONCURRENCY
    timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS
    connect_timeout_seconds: float = DEFAULT_CONNECT_TIMEOUT_SECONDS
    callback_from: Sequence[str] = ()
    """The networks that its callbacks may come from; none: any."""
    requests_per_second: float | None = None
    """None: what the protocol declares."""
    test: bool = False
    """A simulator, for orders of the test side only. For good."""


@dataclass(frozen=True, slots=True)
class Edit:
    """What to change of a dealer; None leaves it.

    Credentials and options are merged into those that stand, an empty value takes one away;
    `replace_credentials` forgets those that stand, which also mends what no key opens any more.
    """

    name: str | None = None
    owner_group: str | None = None
    protocol: str | None = None
    base_url: str | None = None
    credentials: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    replace_credentials: bool = False
    options: Mapping[str, str] = field(default_factory=dict[str, str])
    concurrency: int | None = None
    timeout_seconds: float | None = None
    connect_timeout_seconds: float | None = None
    renew_callback_token: bool = False
    callback_from: Sequence[str] | None = None
    """All of its networks anew; an empty list takes the callbacks of any."""
    requests_per_second: float | None = None
    """0 takes the dealer's own rate away."""


@dataclass(frozen=True, slots=True)
class Changed:
    """The dealer as it is now, and whether anything changed."""

    dealer: DealerRow
    changed: bool


async def add(
    pool: Pool, by: Operator, new: NewDealer, limits: DealerLimits, reason: str = ""
) -> DealerRow:
    """Add a dealer. It gets no orders until there are routes to it.

    Raises Conflict where there is one of this id, Unprocessable where it could not be called.
    """
    by.require(Scope.DEALERS)
    _check_id(new.dealer_id, reason)
    credentials = _merged({}, new.credentials)
    row = DealerRow(
        new.dealer_id,
        new.name,
        new.owner_group,
        new.protocol,
        new.base_url,
        _seal(credentials, new.dealer_id, limits.sealer),
        json.dumps(_merged({}, new.options)),
        secrets.token_urlsafe(_TOKEN_BYTES),
        new.concurrency,
        new.timeout_seconds,
        new.connect_timeout_seconds,
        enabled=True,
        drained=False,
        muted_until=None,
        callback_from=_networks(new.callback_from),
        requests_per_second=new.requests_per_second or None,
        test=new.test,
    )
    _check(row, new.credentials, new.options)
    async with acting(pool) as connection:
        await catalogue.lock(connection)
        rows = await reference.dealers(connection)
        if any(each.dealer_id == new.dealer_id for each in rows):
            raise Conflict("dealer-exists", f"There is a dealer {new.dealer_id} already.")
        _require_the_shops_key(rows, limits.sealer)
        _require_usable(row, limits)
        await catalogue.put_dealers(connection, [row])
        after = {**_document(row), "credentials": sorted(credentials)}
        await by.record(connection, "dealer.added", _subject(row), after=after, reason=reason)
        await catalogue.publish(connection)
    return row


async def change(
    pool: Pool, by: Operator, dealer_id: str, edit: Edit, limits: DealerLimits, reason: str = ""
) -> Changed:
    """Change a dealer. Raises Unprocessable where it could not be called afterwards."""
    by.require(Scope.DEALERS)
    _check_id(dealer_id, reason)
    async with acting(pool) as connection:
        await catalogue.lock(connection)
        rows = await reference.dealers(connection)
        before = _in(rows, dealer_id)
        after = _edited(before, edit, limits.sealer)
        _check(after, edit.credentials, edit.options)
        if after == before:
            return Changed(before, changed=False)
        if after.credentials_sealed != before.credentials_sealed and not edit.replace_credentials:
            _require_the_shops_key(rows, limits.sealer)
        _require_usable(after, limits)
        await catalogue.put_dealers(connection, [after])
        await _record(connection, by, "dealer.changed", before, after, reason)
        await catalogue.publish(connection)
    return Changed(after, changed=True)


async def pause(pool: Pool, by: Operator, dealer_id: str, reason: str) -> Changed:
    """Buy nothing there until it is resumed."""
    return await _flag(pool, by, "dealer.paused", dealer_id, {"enabled": False}, reason)


async def drain(pool: Pool, by: Operator, dealer_id: str, reason: str) -> Changed:
    """Buy nothing there any more and see through what is open, before leaving the dealer."""
    return await _flag(pool, by, "dealer.drained", dealer_id, {"drained": True}, reason)


async def resume(pool: Pool, by: Operator, dealer_id: str, reason: str) -> Changed:
    """End a pause or a draining. A mute goes on until it ends."""
    flags = {"enabled": True, "drained": False}
    return await _flag(pool, by, "dealer.resumed", dealer_id, flags, reason)


async def mute(
    pool: Pool, by: Operator, dealer_id: str, until: datetime, now: datetime, reason: str
) -> Changed:
    """Buy nothing there until a moment; it then goes on by itself."""
    checks = Checks()
    checks.aware("until", until)
    checks.done()
    if not now < until <= now + LONGEST_MUTE:
        checks.wrong("until", f"must lie ahead, and at most {LONGEST_MUTE.days} days")
    checks.done()
    flags = {"muted_until": until.astimezone(UTC)}
    return await _flag(pool, by, "dealer.muted", dealer_id, flags, reason)


async def unmute(pool: Pool, by: Operator, dealer_id: str, reason: str = "") -> Changed:
    """End a mute."""
    flags = {"muted_until": None}
    return await _flag(pool, by, "dealer.unmuted", dealer_id, flags, reason, needed=False)


async def find(connection: Connection, dealer_id: str) -> DealerRow:
    """The dealer of this id. Raises NotFound."""
    return _in(await reference.dealers(connection), dealer_id)


async def callbacks_of(connection: Connection, dealer_id: str, limit: int) -> list[Seen]:
    """A dealer's callbacks, stored and refused, the last received first. Raises NotFound."""
    await find(connection, dealer_id)
    return await callbacks.newest(connection, dealer_id, limit)


def callback_path(dealer: DealerRow) -> str:
    """Where the dealer is to send its callbacks, behind our own address. It is a secret."""
    path = f"/v1/callbacks/{dealer.dealer_id}"
    return path if dealer.callback_token is None else f"{path}/{dealer.callback_token}"


# ------------------------------------------------------------------ stopping and going on


async def _flag(
    pool: Pool,
    by: Operator,
    action: str,
    dealer_id: str,
    flags: Mapping[str, object],
    reason: str,
    *,
    needed: bool = True,
) -> Changed:
    """Set what decides whether is bought there; it needs no sealing key, so it works in a hurry."""
    by.require(Scope.DEALERS)
    _check_id(dealer_id, reason, needed=needed)
    async with acting(pool) as connection:
        await catalogue.lock(connection)
        before = await find(connection, dealer_id)
        after = replace(before, **flags)
        if after == before:
            return Changed(before, changed=False)
        await catalogue.put_dealers(connection, [after])
        await _record(connection, by, action, before, after, reason)
        await catalogue.publish(connection)
    return Changed(after, changed=True)


def _in(rows: list[DealerRow], dealer_id: str) -> DealerRow:
    for row in rows:
        if row.dealer_id == dealer_id:
            return row
    raise NotFound("not-found", f"There is no dealer {dealer_id}; `jalur dealers list` has all.")


# ------------------------------------------------------------------ what may be configured


def _check_id(dealer_id: str, reason: str, *, needed: bool = False) -> None:
    checks = Checks()
    if _ID.fullmatch(dealer_id) is None:
        shape = "1 to 32 small letters, digits, dashes, underscores, a letter first"
        checks.wrong("dealer", f"must be {shape}, not {dealer_id[:40]!r}")
    checks.reason(reason, needed=needed)
    checks.done()


def _check(row: DealerRow, credentials: Mapping[str, str], options: Mapping[str, str]) -> None:
    checks = Checks()
    checks.text("name", row.name)
    checks.text("owner_group", row.owner_group, 64)
    checks.word("protocol", row.protocol)
    checks.text("base_url", row.base_url, 2048)
    if _names_a_user(row.base_url):
        checks.wrong("base_url", "must not hold a user or password: give them as credentials")
    if not 1 <= row.concurrency <= _MOST_CONCURRENCY:
        checks.wrong("concurrency", f"must be 1 to {_MOST_CONCURRENCY}")
    for name in _TIMES:
        if not _SHORTEST_SECONDS <= getattr(row, name) <= timedelta(hours=1).total_seconds():
            checks.wrong(name, "must be 0.001 to 3600")
    rate, (least, most) = row.requests_per_second, _RATES
    if rate is not None and not least <= rate <= most:
        checks.wrong("requests_per_second", f"must be {least} to {most:g}, or 0 for no own rate")
    _check_values("credentials", credentials, checks)
    _check_values("options", options, checks)
    checks.done()


def _check_values(what: str, values: Mapping[str, str], checks: Checks) -> None:
    if len(values) > _MOST_VALUES:
        checks.wrong(what, f"at most {_MOST_VALUES}")
    for name, value in values.items():
        checks.text(what, name, 100)
        checks.text(f"{what}.{name[:40]}", value, _LONGEST_VALUE, 0)


def _networks(texts: Iterable[str]) -> tuple[str, ...]:
    """Networks as they are stored, each once. Raises Unprocessable."""
    checks, networks = Checks(), set[str]()
    for text in texts:
        try:
            network = ip_network(text)
        except ValueError:
            shape = "an address or a network, such as 203.0.113.7 or 203.0.113.0/28"
            checks.wrong("callback_from", f"must be {shape}, not {text[:50]!r}")
            continue
        widest = _WIDEST[network.version]
        if network.prefixlen < widest:
            checks.wrong("callback_from", f"{network} is too wide: at most /{widest}")
        networks.add(str(network))
    if len(networks) > _MOST_NETWORKS:
        checks.wrong("callback_from", f"at most {_MOST_NETWORKS} networks")
    checks.done()
    return tuple(sorted(networks))


def _names_a_user(base_url: str) -> bool:
    try:
        return "@" in urlsplit(base_url).netloc
    except ValueError:
        return False


def _edited(before: DealerRow, edit: Edit, sealer: Sealer) -> DealerRow:
    given = {
        name: getattr(edit, name)
        for name in ("name", "owner_group", "protocol", "base_url", "concurrency", *_TIMES)
        if getattr(edit, name) is not None and getattr(edit, name) != _document(before)[name]
    }
    if edit.requests_per_second is not None:
        given["requests_per_second"] = edit.requests_per_second or None
    if edit.options:
        given["options"] = json.dumps(_merged(json.loads(before.options), edit.options))
    if edit.callback_from is not None:
        given["callback_from"] = _networks(edit.callback_from)
    if edit.renew_callback_token:
        given["callback_token"] = secrets.token_urlsafe(_TOKEN_BYTES)
    if edit.credentials or edit.replace_credentials:
        given["credentials_sealed"] = _resealed(before, edit, sealer)
    return replace(before, **given)


def _resealed(before: DealerRow, edit: Edit, sealer: Sealer) -> bytes:
    standing = {} if edit.replace_credentials else _opened(before, sealer)
    merged = _merged(standing, edit.credentials)
    if merged == standing:
        return before.credentials_sealed
    return _seal(merged, before.dealer_id, sealer)


def _opened(row: DealerRow, sealer: Sealer) -> dict[str, str]:
    try:
        return open_credentials(row, sealer)
    except CannotOpen as error:
        raise Conflict(
            "dealer-refused",
            f"Its credentials cannot be opened ({error}). Use the service's JALUR_SECRET_KEY; "
            "where that is lost, give all credentials anew and have them replaced.",
        ) from None


def _merged(standing: Mapping[str, str], given: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in {**standing, **given}.items() if value}


def _seal(credentials: Mapping[str, str], dealer_id: str, sealer: Sealer) -> bytes:
    return sealer.seal(json.dumps(credentials), credentials_context(dealer_id))


def _require_the_shops_key(rows: list[DealerRow], sealer: Sealer) -> None:
    """Refuse to seal under a key that opens nothing here: the service could not open it either."""
    if rows and not any(_opens(row, sealer) for row in rows):
        raise Conflict(
            "dealer-refused",
            "JALUR_SECRET_KEY opens no dealer's credentials here: use the service's own.",
        )


def _opens(row: DealerRow, sealer: Sealer) -> bool:
    try:
        open_credentials(row, sealer)
    except CannotOpen:
        return False
    return True


def _require_usable(row: DealerRow, limits: DealerLimits) -> None:
    """Raise Unprocessable where the dealer could not be called."""
    try:
        access_to(row, limits)
    except (CannotOpen, ConfigurationError) as fault:
        known = ", ".join(sorted(limits.dialects))
        raise Unprocessable(
            "dealer-refused",
            f"dealer {row.dealer_id}: {fault}. Nothing was changed; protocols are {known}.",
        ) from None


# ------------------------------------------------------------------ the record


async def _record(
    connection: Connection,
    by: Operator,
    action: str,
    before: DealerRow,
    after: DealerRow,
    reason: str,
) -> None:
    """Record what differs; of secrets only that they do."""
    old, new = _document(before), _document(after)
    changed = [name for name in new if old[name] != new[name]]
    told = {name: new[name] for name in changed}
    for name in ("credentials_sealed", "callback_token"):
        if getattr(before, name) != getattr(after, name):
            told[name.removesuffix("_sealed")] = "renewed"
    await by.record(
        connection,
        action,
        _subject(after),
        before={name: old[name] for name in changed},
        after=told,
        reason=reason,
    )


def _document(row: DealerRow) -> dict[str, object]:
    return {
        "name": row.name,
        "owner_group": row.owner_group,
        "protocol": row.protocol,
        "base_url": row.base_url,
        "options": json.loads(row.options),
        "concurrency": row.concurrency,
        "timeout_seconds": round(row.timeout_seconds, 3),
        "connect_timeout_seconds": round(row.connect_timeout_seconds, 3),
        "callback_from": list(row.callback_from),
        "requests_per_second": row.requests_per_second,
        "enabled": row.enabled,
        "drained": row.drained,
        "test": row.test,
        "muted_until": None if row.muted_until is None else row.muted_until.isoformat(),
    }


def _subject(row: DealerRow) -> str:
    return f"dealer:{row.dealer_id}"
