"""Signatures on outgoing webhooks, after the Standard Webhooks specification.

Written out here because the reference package, which the tests hold this against, signs a wrong
time for aware timestamps outside UTC. https://www.standardwebhooks.com
"""

import base64
import binascii
import hmac
import secrets
from collections.abc import Callable, Sequence

SECRET_PREFIX = "whsec_"  # noqa: S105 (a public prefix, not a secret)
SECRET_BYTES = 32
ALLOWED_SECRET_BYTES = range(24, 65)


class InvalidSecret(ValueError):
    """A webhook secret that is not `whsec_` and base64 of 24 to 64 bytes. Never quotes it."""


def new_secret(random_bytes: Callable[[int], bytes] = secrets.token_bytes) -> str:
    """A fresh secret: `whsec_` and base64 of 32 random bytes."""
    return SECRET_PREFIX + base64.b64encode(random_bytes(SECRET_BYTES)).decode()


def sign(secrets: Sequence[str], webhook_id: str, timestamp: int, body: bytes) -> str:
    """The `webhook-signature` header: one `v1` signature for each secret, separated by spaces.

    While a secret rotates both the new and the old one sign, so that a receiver may hold either.
    `timestamp` is in Unix seconds. Raises `InvalidSecret`; ValueError without a secret, or for an
    id with a dot, which would let the end of an id be read as a timestamp.
    """
    if not secrets:
        raise ValueError("a webhook needs at least one secret to sign with")
    if "." in webhook_id:
        raise ValueError("a webhook id must not contain a dot")
    signed = b"%s.%d.%s" % (webhook_id.encode(), timestamp, body)
    return " ".join(_signature(_key(secret), signed) for secret in secrets)


def _signature(key: bytes, signed: bytes) -> str:
    return "v1," + base64.b64encode(hmac.digest(key, signed, "sha256")).decode()


def _key(secret: str) -> bytes:
    try:
        key = base64.b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        raise InvalidSecret("the webhook secret is not base64") from None
    if not secret.startswith(SECRET_PREFIX):
        raise InvalidSecret(f"a webhook secret begins with {SECRET_PREFIX}")
    if len(key) not in ALLOWED_SECRET_BYTES:
        raise InvalidSecret("a webhook secret holds 24 to 64 bytes")
    return key
