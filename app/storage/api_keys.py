"""API keys: `jalur_<live|test>_<key id>_<secret><checksum>`, kept only as a hash.

api_keys(key_id, lane, reseller_id, mode, secret_sha256, revoked_at)
    unique (key_id)

The secret is 160 random bits, so a plain SHA-256 is as good as a slow hash. The checksum tells a
mistyped or cut key, and most invented ones, without asking the database.
"""

import base64
import hashlib
import hmac
import re
import secrets
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from app.storage.pool import Connection

MODES = ("live", "test")

_SECRET_BYTES = 20
_KEY_ID_LENGTH = 12
_CHECKSUM_LENGTH = 7
_SHAPE = re.compile(r"(jalur_(live|test)_([a-z2-7]{12})_([a-z2-7]{32}))([a-z2-7]{7})")


@dataclass(frozen=True, slots=True)
class PresentedKey:
    """A key as a caller shows it, its checksum right."""

    key_id: str
    mode: str
    secret_sha256: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class GeneratedKey:
    """A new key. `token` is shown once; only the hash is kept."""

    key_id: str
    mode: str
    secret_sha256: bytes = field(repr=False)
    token: str = field(repr=False)


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


def generate(
    mode: str = "live", random_bytes: Callable[[int], bytes] = secrets.token_bytes
) -> GeneratedKey:
    """A fresh key of a mode, `live` or `test`."""
    if mode not in MODES:
        raise ValueError(f"a key is {' or '.join(MODES)}, not {mode}")
    key_id = _base32(random_bytes(_KEY_ID_LENGTH))[:_KEY_ID_LENGTH]
    secret = _base32(random_bytes(_SECRET_BYTES))
    body = f"jalur_{mode}_{key_id}_{secret}"
    return GeneratedKey(key_id, mode, _hash(secret), body + _checksum(body))


def parse(token: str) -> PresentedKey | None:
    """Read a key. None where it is none, or mistyped."""
    shape = _SHAPE.fullmatch(token)
    if shape is None or _checksum(shape[1]) != shape[5]:
        return None
    return PresentedKey(shape[3], shape[2], _hash(shape[4]))


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


async def revoke(connection: Connection, key_id: str) -> bool:
    """Revoke a key for good. Returns whether it was alive."""
    done = await connection.execute(
        "update api_keys set revoked_at = now() where key_id = $1 and revoked_at is null", key_id
    )
    return done == "UPDATE 1"


def _hash(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()


def _checksum(body: str) -> str:
    return _base32(zlib.crc32(body.encode()).to_bytes(4))[:_CHECKSUM_LENGTH]


def _base32(raw: bytes) -> str:
    return base64.b32encode(raw).decode().rstrip("=").lower()
