"""Webhook signatures, held against the public reference package."""

import base64
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from app.signatures import InvalidSecret, new_secret, sign

SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()
OTHER = "whsec_" + base64.b64encode(bytes(range(1, 33))).decode()


def headers(signature: str, timestamp: int, webhook_id: str = "msg_1") -> dict[str, str]:
    return {
        "webhook-id": webhook_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": signature,
    }


@given(
    key=st.binary(min_size=24, max_size=64),
    webhook_id=st.text("0123456789abcdef_-", min_size=1, max_size=40),
    timestamp=st.integers(0, 4_000_000_000),
    body=st.text(max_size=200),
)
def test_signatures_equal_those_of_the_reference(
    key: bytes, webhook_id: str, timestamp: int, body: str
):
    secret = "whsec_" + base64.b64encode(key).decode()
    expected = Webhook(secret).sign(webhook_id, datetime.fromtimestamp(timestamp, UTC), body)
    assert sign([secret], webhook_id, timestamp, body.encode()) == expected


def test_while_a_secret_rotates_a_receiver_may_hold_either():
    now = int(datetime.now(UTC).timestamp())
    signature = sign([SECRET, OTHER], "msg_1", now, b"{}")
    assert len(signature.split(" ")) == 2
    Webhook(SECRET).verify(b"{}", headers(signature, now))
    Webhook(OTHER).verify(b"{}", headers(signature, now))


@pytest.mark.parametrize("changed", [b"{ }", b""])
def test_a_changed_body_does_not_verify(changed: bytes):
    now = int(datetime.now(UTC).timestamp())
    signature = sign([SECRET], "msg_1", now, b"{}")
    with pytest.raises(WebhookVerificationError):
        Webhook(SECRET).verify(changed, headers(signature, now))


def test_a_new_secret_is_accepted_by_the_reference_and_differs_each_time():
    first, second = new_secret(), new_secret()
    assert first != second
    assert len(Webhook(first)._whsecret) == 32
    assert new_secret(lambda size: b"\x00" * size) == "whsec_" + "A" * 43 + "="


@pytest.mark.parametrize(
    "secret",
    [
        "",
        "whsec_",
        "whsec_not base64!",
        "whsec_" + base64.b64encode(b"x" * 23).decode(),
        "whsec_" + base64.b64encode(b"x" * 65).decode(),
        base64.b64encode(b"x" * 32).decode(),
    ],
)
def test_a_malformed_secret_is_refused_and_never_quoted(secret: str):
    with pytest.raises(InvalidSecret) as caught:
        sign([secret], "msg_1", 1, b"{}")
    assert len(secret) < 10 or secret[6:] not in str(caught.value)


def test_signing_needs_a_secret_and_an_id_without_dots():
    with pytest.raises(ValueError, match="at least one secret"):
        sign([], "msg_1", 1, b"{}")
    with pytest.raises(ValueError, match="dot"):
        sign([SECRET], "msg.1", 1, b"{}")
