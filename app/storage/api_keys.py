"""API keys: `jalur_<live|test>_<key id>_<secret><checksum>`, kept only as a hash.

api_keys(key_id, lane, reseller_id, mode, secret_sha256, scopes, addresses, expires_at, …)
    unique (key_id)
key_uses(key_id, used_at, address)
    unique (key_id)
"""

import hmac
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from ipaddress import ip_network
from typing import Any, NamedTuple
from uuid import UUID

from asyncpg import Record

from app.networks import Network
from app.rates import Rate, read_rates
from app.storage import tokens
from app.storage.pool import Connection, transposed
from app.storage.tokens import GeneratedKey, PresentedKey

LIVE, TEST = "live", "test"
MODES = (LIVE, TEST)


@dataclass(frozen=True, slots=True)
class KeyTerms:
    """What bounds a key. No scopes stated: it opens everything; no addresses: from anywhere."""

    name: str = ""
    scopes: frozenset[str] | None = None
    addresses: tuple[Network, ...] = ()
    expires_at: datetime | None = None
    orders_rate: str | None = None
    """Its own rates, as `app.rates` writes them, beside its reseller's."""
    reads_rate: str | None = None


UNBOUNDED = KeyTerms()


@dataclass(frozen=True, slots=True)
class OwnRates:
    """The rates that operators set for a reseller and for one of its keys; none: the usual ones."""

    orders: Sequence[Rate] = ()
    reads: Sequence[Rate] = ()
    key_orders: Sequence[Rate] = ()
    key_reads: Sequence[Rate] = ()


@dataclass(frozen=True, slots=True)
class KeyHolder:
    """Whose key it is: a key, not revoked, of an active reseller."""

    key_id: str
    mode: str
    lane: int
    reseller_id: UUID
    tier: str
    secret_sha256: bytes = field(repr=False)
    scopes: frozenset[str] | None = None
    """What it opens; None: everything."""
    addresses: tuple[Network, ...] = ()
    """From where; none: from anywhere."""
    expires_at: datetime | None = None
    rates: OwnRates = OwnRates()

    @property
    def test(self) -> bool:
        """Whether it is of the test side."""
        return self.mode == TEST

    def matches(self, presented: PresentedKey) -> bool:
        """Whether this is the key presented, compared in constant time."""
        same_secret = hmac.compare_digest(self.secret_sha256, presented.secret_sha256)
        return same_secret and self.mode == presented.mode


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """A key as its reseller and operators see it, alive or not."""

    key_id: str
    lane: int
    reseller_id: UUID
    mode: str
    created_at: datetime
    revoked_at: datetime | None
    name: str
    scopes: frozenset[str] | None
    addresses: tuple[Network, ...]
    expires_at: datetime | None
    replaced_by: str | None
    """The key that takes its place; both live until this one expires."""
    last_used_at: datetime | None
    """To about a minute."""
    last_used_from: str | None

    orders_rate: str | None
    """Its own, beside its reseller's."""
    reads_rate: str | None

    @property
    def terms(self) -> KeyTerms:
        """What bounds it."""
        return KeyTerms(
            self.name,
            self.scopes,
            self.addresses,
            self.expires_at,
            self.orders_rate,
            self.reads_rate,
        )

    def is_alive(self, now: datetime) -> bool:
        """Whether it opens anything at this moment."""
        expired = self.expires_at is not None and self.expires_at <= now
        return self.revoked_at is None and not expired


def generate(
    mode: str = "live", random_bytes: Callable[[int], bytes] = secrets.token_bytes
) -> GeneratedKey:
    """A fresh key of a mode, `live` or `test`."""
    if mode not in MODES:
        raise ValueError(f"a key is {' or '.join(MODES)}, not {mode}")
    return tokens.generate(mode, random_bytes)


def parse(token: str) -> PresentedKey | None:
    """Read a key. None where it is none, or mistyped."""
    return tokens.parse(token, MODES)


async def create(
    connection: Connection,
    key: GeneratedKey,
    lane: int,
    reseller_id: UUID,
    terms: KeyTerms = UNBOUNDED,
) -> None:
    """Store a generated key for a reseller of the key's side."""
    await connection.execute(
        """
        insert into api_keys (key_id, lane, reseller_id, mode, secret_sha256, name, scopes,
                              addresses, expires_at, orders_rate, reads_rate)
        values ($1, $2, $3, $4, $5, $6, $7, $8::text[]::cidr[], $9, $10, $11)
        """,
        key.key_id,
        lane,
        reseller_id,
        key.mode,
        key.secret_sha256,
        terms.name,
        None if terms.scopes is None else sorted(terms.scopes),
        [str(network) for network in terms.addresses],
        terms.expires_at,
        terms.orders_rate,
        terms.reads_rate,
    )


async def find(connection: Connection, key_ids: Sequence[str]) -> dict[str, KeyHolder]:
    """The holders, by key, of keys that are not revoked, of resellers that are not suspended.

    A key's side and its reseller's must be the same one.
    """
    rows = await connection.fetch(
        """
        select k.key_id, k.mode, k.lane, k.reseller_id, r.tier, k.secret_sha256, k.scopes,
               k.addresses::text[], k.expires_at, r.orders_rate, r.reads_rate, k.orders_rate,
               k.reads_rate
        from unnest($1::text[]) wanted (key_id)
        join api_keys k on k.key_id = wanted.key_id
        join resellers r on r.lane = k.lane and r.reseller_id = k.reseller_id
        where k.revoked_at is null and r.status = 'active' and r.test = (k.mode = 'test')
        """,
        list(key_ids),
    )
    return {row[0]: _holder(*row) for row in rows}


def _holder(
    key_id: str,
    mode: str,
    lane: int,
    reseller_id: UUID,
    tier: str,
    secret_sha256: bytes,
    scopes: list[str] | None,
    addresses: list[str],
    expires_at: datetime | None,
    *rates: str | None,
) -> KeyHolder:
    return KeyHolder(
        key_id,
        mode,
        lane,
        reseller_id,
        tier,
        secret_sha256,
        _scopes(scopes),
        _networks(addresses),
        expires_at,
        own_rates(*rates),
    )


def own_rates(*texts: str | None) -> OwnRates:
    """Rates as they are stored, in the order of `OwnRates`."""
    return OwnRates(*map(_rates, texts))


def _rates(text: str | None) -> tuple[Rate, ...]:
    return () if text is None else read_rates(text)


def _scopes(stored: list[str] | None) -> frozenset[str] | None:
    return None if stored is None else frozenset(stored)


def _networks(stored: list[str]) -> tuple[Network, ...]:
    return tuple(map(ip_network, stored))


def _record(row: Record) -> KeyRecord:
    stored: dict[str, Any] = dict(row)
    scopes, addresses = _scopes(stored.pop("scopes")), _networks(stored.pop("addresses"))
    return KeyRecord(**stored, scopes=scopes, addresses=addresses)


async def lock(connection: Connection, key_id: str) -> KeyRecord | None:
    """Lock a key, alive or not, and read it."""
    row = await connection.fetchrow(
        """
        select k.key_id, k.lane, k.reseller_id, k.mode, k.created_at, k.revoked_at, k.name,
               k.scopes, k.addresses::text[] as addresses, k.expires_at, k.replaced_by,
               k.orders_rate, k.reads_rate, u.used_at as last_used_at, u.address as last_used_from
        from api_keys k left join key_uses u on u.key_id = k.key_id
        where k.key_id = $1 for update of k
        """,
        key_id,
    )
    return _record(row) if row else None


async def list_of(
    connection: Connection, owners: Sequence[tuple[int, UUID]], *, only_alive: bool = False
) -> list[KeyRecord]:
    """All keys that these resellers, by (lane, id), ever had, the oldest first."""
    rows = await connection.fetch(
        """
        select k.key_id, k.lane, k.reseller_id, k.mode, k.created_at, k.revoked_at, k.name,
               k.scopes, k.addresses::text[] as addresses, k.expires_at, k.replaced_by,
               k.orders_rate, k.reads_rate, u.used_at as last_used_at, u.address as last_used_from
        from unnest($1::smallint[], $2::uuid[]) o (lane, reseller_id)
        join api_keys k on k.lane = o.lane and k.reseller_id = o.reseller_id
        left join key_uses u on u.key_id = k.key_id
        where not $3 or (k.revoked_at is null and (k.expires_at is null or k.expires_at > now()))
        order by k.created_at, k.key_id
        """,
        *transposed(owners, 2),
        only_alive,
    )
    return [_record(row) for row in rows]


async def replace(connection: Connection, key_id: str, successor: str, lives_on: timedelta) -> None:
    """Name a key's successor and let the key itself live on for so long at most."""
    await connection.execute(
        """
        update api_keys
        set replaced_by = $2, expires_at = least(expires_at, now() + $3::interval)
        where key_id = $1
        """,
        key_id,
        successor,
        lives_on,
    )


async def revoke(connection: Connection, key_id: str) -> bool:
    """Revoke a key for good. Returns whether it was alive."""
    done = await connection.execute(
        "update api_keys set revoked_at = now() where key_id = $1 and revoked_at is null", key_id
    )
    return done == "UPDATE 1"


async def set_rates(connection: Connection, key: KeyRecord) -> None:
    """Write a key's own rates."""
    await connection.execute(
        "update api_keys set orders_rate = $2, reads_rate = $3 where key_id = $1",
        key.key_id,
        key.orders_rate,
        key.reads_rate,
    )


class Use(NamedTuple):
    """When a key was used last, and from where."""

    key_id: str
    used_at: datetime
    address: str


async def note_uses(connection: Connection, uses: Sequence[Use]) -> None:
    """Write down when keys were used last, those told by other processes considered."""
    await connection.execute(
        """
        insert into key_uses (key_id, used_at, address)
        select * from unnest($1::text[], $2::timestamptz[], $3::text[]) u (key_id)
        order by u.key_id
        on conflict (key_id) do update
        set used_at = excluded.used_at, address = excluded.address
        where key_uses.used_at < excluded.used_at
        """,
        *transposed(uses, 3),
    )
