"""API keys: `jalur_<live|test>_<key id>_<secret><checksum>`, kept only as a hash.

api_keys(key_id, lane, reseller_id, mode, secret_sha256, revoked_at)
    unique (key_id)
"""

import hmac
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from app.storage import tokens
from app.storage.pool import Connection
from app.storage.tokens import GeneratedKey, PresentedKey

MODES = ("live", "test")


@dataclass(frozen=True, slots=True)
class KeyHolder:
    """Whose key it is: a live key of an active reseller."""

    key_id: str
    mode: str
    lane: int
    reseller_id: UUID
    tier: str
    secret_sha256: bytes = field(repr=False)

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
        select k.key_id, k.mode, k.lane, k.reseller_id, r.tier, k.secret_sha256
        from unnest($1::text[]) wanted (key_id)
        join api_keys k on k.key_id = wanted.key_id
        join resellers r on r.lane = k.lane and r.reseller_id = k.reseller_id
        where k.revoked_at is null and r.status = 'active'
        """,
        list(key_ids),
    )
    return {row[0]: KeyHolder(*row) for row in rows}


async def lock(connection: Connection, key_id: str) -> KeyRecord | None:
    """Lock a key, alive or revoked, and read it."""
    row = await connection.fetchrow(
        """
        select key_id, lane, reseller_id, mode, created_at, revoked_at from api_keys
        where key_id = $1 for update
        """,
        key_id,
    )
    return KeyRecord(*row) if row else None


async def list_of(connection: Connection, lane: int, reseller_id: UUID) -> list[KeyRecord]:
    """All keys that a reseller ever had, the oldest first."""
    rows = await connection.fetch(
        """
        select key_id, lane, reseller_id, mode, created_at, revoked_at from api_keys
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
