"""The form of everything that opens our doors: `jalur_<kind>_<id>_<secret><checksum>`.

The secret is 160 random bits, so a plain SHA-256 is as good as a slow hash. The checksum tells a
mistyped or cut token, and most invented ones, without asking the database.
"""

import base64
import hashlib
import re
import secrets
import zlib
from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from app.storage.pool import Connection

_SECRET_BYTES = 20
_ID_LENGTH = 12
_CHECKSUM_LENGTH = 7
_SHAPE = re.compile(r"(jalur_([a-z]{3,4})_([a-z2-7]{12})_([a-z2-7]{32}))([a-z2-7]{7})")
_ID = re.compile(r"[a-z2-7]{12}")


@dataclass(frozen=True, slots=True)
class PresentedKey:
    """A key as a caller shows it, its checksum right. `mode` is its kind."""

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


def generate(mode: str, random_bytes: Callable[[int], bytes] = secrets.token_bytes) -> GeneratedKey:
    """A fresh key of a kind: `live`, `test` or `ops`."""
    key_id = _base32(random_bytes(_ID_LENGTH))[:_ID_LENGTH]
    secret = _base32(random_bytes(_SECRET_BYTES))
    body = f"jalur_{mode}_{key_id}_{secret}"
    return GeneratedKey(key_id, mode, _hash(secret), body + _checksum(body))


def parse(token: str, modes: Collection[str]) -> PresentedKey | None:
    """Read a key of one of these kinds. None where it is none, or mistyped."""
    shape = _SHAPE.fullmatch(token)
    if shape is None or shape[2] not in modes or _checksum(shape[1]) != shape[5]:
        return None
    return PresentedKey(shape[3], shape[2], _hash(shape[4]))


def is_id(text: str) -> bool:
    """Whether this could be the id of a key."""
    return _ID.fullmatch(text) is not None


def _hash(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()


def _checksum(body: str) -> str:
    return _base32(zlib.crc32(body.encode()).to_bytes(4))[:_CHECKSUM_LENGTH]


def _base32(raw: bytes) -> str:
    return base64.b32encode(raw).decode().rstrip("=").lower()


async def revision(connection: Connection) -> int:
    """The number that every change of keys, operators' tokens and resellers raises."""
    return await connection.fetchval("select revision from identity_revision")
