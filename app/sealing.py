"""Secrets at rest: dealer credentials and webhook secrets are stored sealed, never as they are.

A copy of the database alone must open nothing. The keys live in the environment; each sealed
value is bound to its place (the context), so that one row's secret cannot be moved into another.
"""

import base64
import binascii
import hashlib
import secrets
from collections.abc import Callable, Sequence

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

VERSION = b"\x01"
KEY_BYTES = 32
KEY_ID_BYTES = 4
NONCE_BYTES = 12
HEADER_BYTES = len(VERSION) + KEY_ID_BYTES
TAG_BYTES = 16


class InvalidKey(ValueError):
    """A sealing key that is not base64 of 32 bytes. Never quotes it."""


class CannotOpen(Exception):
    """A sealed value that these keys, in this context, do not open. The message says why."""


def generate_key(random_bytes: Callable[[int], bytes] = secrets.token_bytes) -> str:
    """A fresh key for JALUR_SECRET_KEY: base64 of 32 random bytes."""
    return base64.b64encode(random_bytes(KEY_BYTES)).decode()


class Sealer:
    """AES-256-GCM under several keys: the first seals, all open, so that keys can be rotated.

    A sealed value is a version byte, four bytes naming the key, the nonce, then ciphertext and
    tag. Random nonces bound one key to some four billion values.
    """

    def __init__(
        self, keys: Sequence[str], random_bytes: Callable[[int], bytes] = secrets.token_bytes
    ) -> None:
        """`keys` in base64, the current one first. Raises `InvalidKey`."""
        if not keys:
            raise InvalidKey("at least one sealing key is needed")
        raw_keys = [_decode_key(key) for key in keys]
        self._ciphers = {_key_id(raw): AESGCM(raw) for raw in raw_keys}
        self._current = _key_id(raw_keys[0])
        self._random_bytes = random_bytes

    def seal(self, plaintext: str, context: bytes) -> bytes:
        """Encrypt for one place. `context` names it, for example `b"webhook-secret:" + id`."""
        header = VERSION + self._current
        nonce = self._random_bytes(NONCE_BYTES)
        cipher = self._ciphers[self._current]
        return header + nonce + cipher.encrypt(nonce, plaintext.encode(), header + context)

    def open(self, sealed: bytes, context: bytes) -> str:
        """Decrypt what was sealed for the same context. Raises `CannotOpen`."""
        if len(sealed) < HEADER_BYTES + NONCE_BYTES + TAG_BYTES:
            raise CannotOpen("the sealed value is too short")
        if sealed[:1] != VERSION:
            raise CannotOpen(f"sealed in an unknown format, version {sealed[0]}")
        header, nonce = sealed[:HEADER_BYTES], sealed[HEADER_BYTES:][:NONCE_BYTES]
        cipher = self._ciphers.get(header[1:])
        if cipher is None:
            raise CannotOpen("sealed with a key that is not configured; add it after the first")
        try:
            opened = cipher.decrypt(nonce, sealed[HEADER_BYTES + NONCE_BYTES :], header + context)
        except InvalidTag:
            raise CannotOpen("the sealed value was changed or belongs elsewhere") from None
        return opened.decode()


def _decode_key(key: str) -> bytes:
    try:
        raw = base64.b64decode(key, validate=True)
    except (binascii.Error, ValueError):
        raise InvalidKey("a sealing key must be base64") from None
    if len(raw) != KEY_BYTES:
        raise InvalidKey(f"a sealing key must hold {KEY_BYTES} bytes, not {len(raw)}")
    return raw


def _key_id(raw: bytes) -> bytes:
    return hashlib.sha256(b"jalur sealing key" + raw).digest()[:KEY_ID_BYTES]
