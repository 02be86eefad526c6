"""API keys: `jalur_<live|test>_<key id>_<secret><checksum>`, kept only as a hash.

api_keys(key_id, lane, reseller_id, mode, secret_sha256, revoked_at, orders_rate, reads_rate)
    unique (key_id)
"""

import hmac
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from app.rates import Rate, read_rates
from app.storage import tokens
from app.storage.pool import Connection
from app.storage.tokens import GeneratedKey, PresentedKey

MODES = ("live", "test")


@dataclass(frozen=True, slots=True)
class OwnRates:
    """The rates that operators set for a reseller and for one of its keys; none: the usual ones."""

    orders: Sequence[Rate] = ()
    reads: Sequence[Rate] = ()
    key_orders: Sequence[Rate] = ()
    key_reads: Sequence[Rate] = ()


@dataclass(frozen=True, slots=True)
class KeyHolder:
    """Whose key it is: a live key of an active reseller."""

    key_id: str
    mode: str
    lane: int
    reseller_id: UUID
    tier: str
    secret_sha256: bytes = field(repr=False)
    rates: OwnRates = OwnRates()

    def matches(self, presented: PresentedKey) -> bool:
        """Whether this is the key presented, compared in constant time."""
        same_secret = hmac.compare_digest(self.secret_sha256, presented.secret_sha256)
        return same_secret and self.mode == presented.mode


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """A key as operators see it, alive or revoked."""

    key_id: str
    lane: int
    reseller_id: UUID
    mode: str
    created_at: datetime
    revoked_at: datetime | None
    orders_rate: str | None
    reads_rate: str | None


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


async def create(connection: Connection, key: GeneratedKey, lane: int, reseller_id: UUID) -> None:
    """Store a generated key for a reseller."""
    await connection.execute(
        """
        insert into api_keys (key_id, lane, reseller_id, mode, secret_sha256)
        values ($1, $2, $3, $4, $5)
        """,
        key.key_id,
        lane,
        reseller_id,
        key.mode,
        key.secret_sha256,
    )


async def find(connection: Connection, key_ids: Sequence[str]) -> dict[str, KeyHolder]:
    """The holders, by key, of keys that are not revoked, of resellers that are not suspended."""
    rows = await connection.fetch(
        """
        select k.key_id, k.mode, k.lane, k.reseller_id, r.tier, k.secret_sha256,
               r.orders_rate, r.reads_rate, k.orders_rate, k.reads_rate
        from unnest($1::text[]) wanted (key_id)
        join api_keys k on k.key_id = wanted.key_id
        join resellers r on r.lane = k.lane and r.reseller_id = k.reseller_id
        where k.revoked_at is null and r.status = 'active'
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
    *rates: str | None,
) -> KeyHolder:
    own = own_rates(*rates)
    return KeyHolder(key_id, mode, lane, reseller_id, tier, secret_sha256, own)


def own_rates(*texts: str | None) -> OwnRates:
    """Rates as they are stored, in the order of `OwnRates`."""
    return OwnRates(*map(_rates, texts))


def _rates(text: str | None) -> tuple[Rate, ...]:
    return () if text is None else read_rates(text)


async def lock(connection: Connection, key_id: str) -> KeyRecord | None:
    """Lock a key, alive or revoked, and read it."""
    row = await connection.fetchrow(
        """
        select key_id, lane, reseller_id, mode, created_at, revoked_at, orders_rate, reads_rate
        from api_keys
        where key_id = $1 for update
        """,
        key_id,
    )
    return KeyRecord(*row) if row else None


async def list_of(connection: Connection, lane: int, reseller_id: UUID) -> list[KeyRecord]:
    """All keys that a reseller ever had, the oldest first."""
    rows = await connection.fetch(
        """
        select key_id, lane, reseller_id, mode, created_at, revoked_at, orders_rate, reads_rate
        from api_keys
        where lane = $1 and reseller_id = $2 order by created_at, key_id
        """,
        lane,
        reseller_id,
    )
    return [KeyRecord(*row) for row in rows]


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
