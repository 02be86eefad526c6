"""Jalur as the dealer: its requests, every refusal, its pages, and whose webhooks are believed."""

import dataclasses
import json

import pytest

from app import hops, signatures
from dealers.contract import Answer, Callback, CallbackRefused, Fault, Outcome, Report
from dealers.registry import load
from schemas.problems import CATALOGUE
from tests.dealers.recorded import ORDER, account, case

JALUR = load()["jalur"]
ACCOUNT = account("jalur")

REFUSED = {
    "no-route": Fault.PRODUCT,
    "number-busy": Fault.PRODUCT,
    "order-loop": Fault.PRODUCT,
    "price-above-limit": Fault.PRODUCT,
    "invalid-number": Fault.PRODUCT,
    "brand-mismatch": Fault.PRODUCT,
    "invalid-key": Fault.ACCOUNT,
    "insufficient-balance": Fault.ACCOUNT,
    "invalid-json": Fault.ACCOUNT,
    "invalid-request": Fault.ACCOUNT,
    "body-too-large": Fault.ACCOUNT,
    "unsupported-media-type": Fault.ACCOUNT,
    "unknown-sku": Fault.ACCOUNT,
    "unknown-region": Fault.ACCOUNT,
    "not-found": Fault.ACCOUNT,
    "method-not-allowed": Fault.ACCOUNT,
}
"""Refusals of an order that create nothing, whose reference stays free."""

STATES = {
    "accepted": Outcome.PENDING,
    "processing": Outcome.PENDING,
    "succeeded": Outcome.SUCCEEDED,
    "reversed": Outcome.FAILED,
}


def _problem(code: str, status: int) -> Answer:
    return Answer(status, {}, json.dumps({"code": code, "status": status, "detail": "…"}).encode())


def _bought(answer: Answer) -> Report:
    return JALUR.read_top_up(ACCOUNT, ORDER, answer)


def _callback(name: str = "callback-success") -> Callback:
    return case("jalur", name).callback()


def test_the_purchase_names_the_price_limit_and_the_hops():
    came_through = ("3f8a1f0e-6d0c-4a52-9f5b-0f6f8f6f2a10", "9be2d3f4-1c55-4f0e-8f0a-5f8f6b7f3c21")
    request = JALUR.top_up(ACCOUNT, dataclasses.replace(ORDER, hops=came_through))

    assert (request.method, request.url) == ("POST", "https://upstream.example/v1/orders")
    assert request.headers["authorization"] == "Bearer jalur_live_k3y_s3cret"
    assert request.headers[hops.HEADER.lower()] == ", ".join(came_through)
    assert json.loads(request.body) == {
        "ref_id": ORDER.dealer_ref,
        "sku": "X10",
        "customer_number": "081234567890",
        "max_charge": 10_500,
    }


def test_what_the_purchase_says_of_hops_can_be_read():
    own = "3f8a1f0e-6d0c-4a52-9f5b-0f6f8f6f2a10"
    request = JALUR.top_up(ACCOUNT, dataclasses.replace(ORDER, hops=(own, own)))

    assert [str(hop) for hop in hops.read_hops(request.headers["jalur-hops"])] == [own, own]


def test_the_question_asks_by_reference_and_cannot_buy():
    request = JALUR.status(ACCOUNT, ORDER)

    address = f"https://upstream.example/v1/orders?ref_id={ORDER.dealer_ref}"
    assert (request.method, request.url, request.body) == ("GET", address, b"")


@pytest.mark.parametrize("code", [*REFUSED, *CATALOGUE])
@pytest.mark.parametrize("status", [401, 409, 422, 429])
def test_only_refusals_that_use_no_reference_send_the_order_elsewhere(code: str, status: int):
    read = _bought(_problem(code, status))

    expected = Outcome.REJECTED if code in REFUSED else Outcome.UNKNOWN
    assert (read.outcome, read.code) == (expected, code)
    assert read.fault is REFUSED.get(code, Fault.PRODUCT)


@pytest.mark.parametrize("code", REFUSED)
@pytest.mark.parametrize("status", [200, 202, 302, 500, 502, 503])
def test_a_refusal_with_a_status_that_is_none_says_nothing(code: str, status: int):
    assert _bought(_problem(code, status)).outcome is Outcome.UNKNOWN


@pytest.mark.parametrize("code", CATALOGUE)
def test_a_refused_question_says_nothing_of_the_purchase(code: str):
    read = JALUR.read_status(ACCOUNT, ORDER, _problem(code, 404))

    assert (read.outcome, read.not_found) == (Outcome.UNKNOWN, False)


@pytest.mark.parametrize("state", [*STATES, "refunded", "Succeeded", "", None, 2])
def test_only_known_states_are_read(state: object):
    document = json.loads(case("jalur", "success").answer().body) | {"status": state}
    read = _bought(Answer(202, {}, json.dumps(document).encode()))

    assert read.outcome is STATES.get(str(state), Outcome.UNKNOWN)
    assert read.reversal is (state == "reversed")


def test_our_own_webhooks_are_believed():
    body = _callback().body
    signed = signatures.sign([ACCOUNT.credentials["webhook_secret"]], "evt_1", 1795308006, body)
    headers = {
        "webhook-id": "evt_1",
        "webhook-timestamp": "1795308006",
        "webhook-signature": signed,
    }

    assert JALUR.read_callback(ACCOUNT, Callback("POST", "", headers, body)).verified


@pytest.mark.parametrize("part", ["webhook-id", "webhook-timestamp", "webhook-signature"])
def test_a_webhook_with_one_part_changed_is_refused(part: str):
    callback = _callback()
    changed = dict(callback.headers) | {part: callback.headers[part] + "1"}

    with pytest.raises(CallbackRefused):
        JALUR.read_callback(ACCOUNT, dataclasses.replace(callback, headers=changed))


def test_a_webhook_with_another_body_is_refused():
    callback = _callback()
    body = callback.body.replace(b"succeeded", b"reversed")

    with pytest.raises(CallbackRefused):
        JALUR.read_callback(ACCOUNT, dataclasses.replace(callback, body=body))


def test_without_the_secret_a_webhook_is_a_hint():
    at = dataclasses.replace(ACCOUNT, credentials={"api_key": "k"})

    assert JALUR.validate(at) == []
    assert not JALUR.read_callback(at, _callback()).verified


@pytest.mark.parametrize("secret", ["rahasia", "whsec_", "whsec_c2hvcnQ=", "whsec_no base64"])
def test_a_secret_that_signs_nothing_is_named(secret: str):
    at = dataclasses.replace(ACCOUNT, credentials={**ACCOUNT.credentials, "webhook_secret": secret})

    assert any("webhook_secret" in fault for fault in JALUR.validate(at))


def test_the_price_list_goes_on_page_by_page():
    first = case("jalur", "price-list-page").answer()
    last = case("jalur", "price-list").answer()
    behind = JALUR.next_price_list(ACCOUNT, first)

    assert behind is not None
    assert behind.url == "https://upstream.example/v1/products?limit=100&cursor=cHJvZHVjdHM6WDEw"
    assert JALUR.next_price_list(ACCOUNT, last) is None
