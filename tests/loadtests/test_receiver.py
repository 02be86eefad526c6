"""The load test's receiver: only a right signature on the buyer's own delivered order counts."""

import json
import time
from array import array
from collections.abc import Callable

import pytest

from app.signatures import new_secret, sign
from loadtests.orders import ONE_IN, customer_number, reference
from loadtests.receiver import Inbox

SECRETS = [new_secret(), new_secret()]


def body(
    number: int = 7,
    buyer: int = 1,
    kind: str = "order.succeeded",
    status: str = "succeeded",
    customer: str = customer_number(7),
) -> bytes:
    data = {"ref_id": reference(number, buyer), "status": status, "customer_number": customer}
    return json.dumps({"type": kind, "data": data}).encode()


def headers(content: bytes, secret: str = SECRETS[1], age_seconds: int = 0) -> dict[bytes, bytes]:
    timestamp = int(time.time()) - age_seconds
    return {
        b"webhook-id": b"evt_1",
        b"webhook-timestamp": str(timestamp).encode(),
        b"webhook-signature": sign([secret], "evt_1", timestamp, content).encode(),
    }


def counts(inbox: Inbox) -> dict[str, object]:
    return json.loads(inbox.counts())


def test_a_signed_webhook_counts_its_order_once_however_often_it_comes():
    inbox = Inbox(SECRETS)
    assert inbox.take(1, headers(body()), body())
    assert inbox.take(1, headers(body()), body())
    assert counts(inbox) == {"orders": 1, "repeated": 1, "rejected": {}}
    number, _at = array("d", inbox.news(0))
    assert number == 7
    assert inbox.news(1) == b""


@pytest.mark.parametrize(
    ("content", "sign", "reason"),
    [
        (body(), lambda: headers(body(), SECRETS[0]), "signature"),
        (body(), lambda: headers(body(number=8)), "signature"),
        (body(), dict, "timestamp"),
        (body(), lambda: headers(body(), age_seconds=3600), "timestamp"),
        (body(buyer=0), lambda: headers(body(buyer=0)), "another reseller's order"),
        (body(kind="order.failed"), lambda: headers(body(kind="order.failed")), "order.failed"),
        (body(status="failed"), lambda: headers(body(status="failed")), "order.succeeded"),
    ],
    ids=["other secret", "other body", "unsigned", "old", "other reseller", "failed", "untrue"],
)
def test_a_wrong_webhook_is_rejected_and_counted(
    content: bytes, sign: Callable[[], dict[bytes, bytes]], reason: str
):
    """Signed only now: a signature made as the tests are collected may be old by the time."""
    inbox = Inbox(SECRETS)
    assert not inbox.take(1, sign(), content)
    assert counts(inbox) == {"orders": 0, "repeated": 0, "rejected": {reason: 1}}
    assert inbox.news(0) == b""


HOPELESS = customer_number(ONE_IN * 8 - 1, misbehaving=True)
"""A number that no dealer can serve."""


def test_an_order_that_nobody_can_serve_has_to_be_reported_as_failed():
    inbox = Inbox(SECRETS)
    failed = body(number=9, kind="order.failed", status="failed", customer=HOPELESS)
    delivered = body(number=9, customer=HOPELESS)
    assert not inbox.take(1, headers(delivered), delivered)
    assert inbox.take(1, headers(failed), failed)
    assert counts(inbox) == {"orders": 1, "repeated": 0, "rejected": {"order.succeeded": 1}}
