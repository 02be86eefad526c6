"""Signatures of the field's protocols, the same from either end: as a buyer and at our doors."""

import base64
import hashlib
import hmac


def digiflazz(username: str, api_key: str, subject: str) -> str:
    """Digiflazz's `sign`: MD5 in hex. The subject is the `ref_id`, `depo` or `pricelist`."""
    plain = username + api_key + subject
    return hashlib.md5(plain.encode(), usedforsecurity=False).hexdigest()


def hub_signature(secret: str, body: bytes) -> str:
    """Digiflazz's `X-Hub-Signature` over the raw body of a webhook."""
    return "sha1=" + hmac.digest(secret.encode(), body, "sha1").hex()


def otomax(pin: str, password: str, *subject: str) -> str:
    """OtomaX's `sign`: SHA-1 in unpadded, URL-safe base64.

    The subject of a purchase is the member, the product, the number and the reference; that of a
    balance is `CheckBalance` and the member.
    """
    plain = "|".join(("OtomaX", *subject, pin, password))
    digest = hashlib.sha1(plain.encode(), usedforsecurity=False).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
