"""Reloadly: its requests, its log-in, its codes one by one, its signature."""

import dataclasses
import hashlib
import hmac
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dealers.contract import (
    Account,
    Answer,
    Callback,
    CallbackRefused,
    Fault,
    Outcome,
    Report,
    Session,
    UnreadableAnswer,
)
from dealers.registry import load
from tests.dealers.recorded import account, order

RELOADLY = load()["reloadly"]
ORDER = order("reloadly")
ACCOUNT = dataclasses.replace(account("reloadly"), session="t0ken")

OUR_FAULT = [
    "INVALID_TOKEN",
    "TOKEN_EXPIRED",
    "MISSING_TOKEN",
    "INVALID_CREDENTIALS",
    "INVALID_AUDIENCE",
    "INACTIVE_ACCOUNT",
    "ACCOUNT_NOT_FOUND",
    "INSUFFICIENT_BALANCE",
    "MAX_DAILY_TRANSACTION_COUNT_REACHED",
    "MAX_DAILY_TRANSACTION_AMOUNT_REACHED",
    "INVALID_INPUT_PROVIDED",
    "INVALID_AMOUNT",
    "INVALID_AMOUNT_FOR_OPERATOR",
    "INVALID_LOCAL_AMOUNT_FOR_OPERATOR",
    "LOCAL_AMOUNTS_NOT_SUPPORTED_BY_OPERATOR",
    "INVALID_SENDER_PHONE",
    "COUNTRY_NOT_SUPPORTED",
]
PRODUCT = [
    "OPERATOR_UNAVAILABLE_OR_CURRENTLY_INACTIVE",
    "OPERATOR_NOT_IN_SERVICE",
    "PHONE_RECENTLY_RECHARGED",
    "OPERATOR_AND_RECIPIENT_PHONE_MISMATCH",
]
NUMBER = ["INVALID_RECIPIENT_PHONE", "INVALID_PHONE_NUMBER"]
PROVES_NOTHING = [
    "CUSTOM_IDENTIFIER_ALREADY_USED",
    "TOPUP_TRANSACTION_FAILED",
    "COULD_NOT_AUTO_DETECT_OPERATOR",
    "TRANSACTION_CANNOT_BE_PROCESSED_AT_THE_MOMENT",
    "TRANSACTION_NOT_FOUND",
    "ANYTHING_NEW",
]
EVERY_CODE = [*OUR_FAULT, *PRODUCT, *NUMBER, *PROVES_NOTHING]


def _refusal(code: object, status: int = 400) -> Answer:
    return _answer({"message": "-", "errorCode": code, "details": []}, status)


def _answer(content: object, status: int = 200) -> Answer:
    return Answer(status, {}, json.dumps(content).encode())


def _row(**fields: object) -> dict[str, object]:
    row = {
        "transactionId": 4602843,
        "status": "SUCCESSFUL",
        "customIdentifier": ORDER.dealer_ref,
        "recipientPhone": "6281234567890",
    }
    return {**row, **fields}


def _event(body: bytes, secret: str = "wh-5e1c0b7a", timestamp: str = "1774238820000") -> Callback:
    seal = hmac.new(secret.encode(), b"%b:%b" % (body, timestamp.encode()), hashlib.sha256)
    headers = {
        "x-reloadly-request-timestamp": timestamp,
        "x-reloadly-signature": seal.hexdigest(),
    }
    return Callback("POST", "", headers, body)


EVENT = _event(json.dumps({"type": "airtime_transaction.status", "data": _row()}).encode())


def _verdict(report: Report) -> tuple[Outcome, Fault]:
    return report.outcome, report.fault


@pytest.mark.parametrize("code", EVERY_CODE)
def test_each_refusal_of_a_purchase(code: str):
    expected = (Outcome.UNKNOWN, Fault.PRODUCT)
    if code in OUR_FAULT:
        expected = (Outcome.REJECTED, Fault.ACCOUNT)
    elif code in PRODUCT:
        expected = (Outcome.REJECTED, Fault.PRODUCT)
    elif code in NUMBER:
        expected = (Outcome.FAILED, Fault.NUMBER)

    assert _verdict(RELOADLY.read_top_up(ACCOUNT, ORDER, _refusal(code))) == expected


@pytest.mark.parametrize("code", EVERY_CODE)
@pytest.mark.parametrize("status", [400, 401, 404, 409])
def test_no_refusal_of_a_question_says_anything_of_the_purchase(code: str, status: int):
    read = RELOADLY.read_status(ACCOUNT, ORDER, _refusal(code, status))

    assert read.outcome is Outcome.UNKNOWN
    assert not read.not_found


@pytest.mark.parametrize("code", EVERY_CODE)
@pytest.mark.parametrize("status", [200, 202, 301, 500, 503])
def test_a_refusal_is_at_home_in_a_4xx_only(code: str, status: int):
    read = RELOADLY.read_top_up(ACCOUNT, ORDER, _refusal(code, status))

    assert read.outcome is Outcome.UNKNOWN


def test_the_purchase_request():
    request = RELOADLY.top_up(ACCOUNT, ORDER)

    assert (request.method, request.url) == ("POST", "https://topups.reloadly.com/topups-async")
    assert request.headers == {
        "accept": "application/com.reloadly.topups-v1+json",
        "authorization": "Bearer t0ken",
        "content-type": "application/json",
    }
    assert json.loads(request.body) == {
        "operatorId": 1187,
        "amount": "10000",
        "useLocalAmount": True,
        "customIdentifier": ORDER.dealer_ref,
        "recipientPhone": {"countryCode": "ID", "number": "+6281234567890"},
    }


def test_an_amount_in_the_senders_currency():
    request = RELOADLY.top_up(ACCOUNT, dataclasses.replace(ORDER, dealer_sku="120:0.67:sender"))
    fields = json.loads(request.body)

    assert (fields["operatorId"], fields["amount"]) == (120, "0.67")
    assert fields["useLocalAmount"] is False


@pytest.mark.parametrize("sku", ["X10", "1187", "1187:", ":10000", "1187:1e4", "1187:5:other", ""])
def test_no_request_is_made_for_a_product_of_another_shape(sku: str):
    with pytest.raises(ValueError, match="operatorId"):
        RELOADLY.top_up(ACCOUNT, dataclasses.replace(ORDER, dealer_sku=sku))


def test_the_question_names_our_reference():
    request = RELOADLY.status(ACCOUNT, ORDER)

    assert (request.method, request.body) == ("GET", b"")
    assert request.url == (
        "https://topups.reloadly.com/topups/reports/transactions"
        f"?customIdentifier={ORDER.dealer_ref}"
    )
    assert request.headers["authorization"] == "Bearer t0ken"


@pytest.mark.parametrize(
    ("base_url", "options", "url", "audience"),
    [
        (
            "https://topups.reloadly.com/",
            {},
            "https://auth.reloadly.com/oauth/token",
            "https://topups.reloadly.com",
        ),
        (
            "https://topups-sandbox.reloadly.com",
            {"auth_url": "http://127.0.0.1:8/there/"},
            "http://127.0.0.1:8/there/oauth/token",
            "https://topups-sandbox.reloadly.com",
        ),
        (
            "https://proxy.example/reloadly",
            {"audience": "https://topups.reloadly.com"},
            "https://auth.reloadly.com/oauth/token",
            "https://topups.reloadly.com",
        ),
    ],
)
def test_the_log_in_asks_for_the_environments_token(
    base_url: str, options: dict[str, str], url: str, audience: str
):
    at = dataclasses.replace(ACCOUNT, base_url=base_url, options=options)
    request = RELOADLY.log_in(at)

    assert RELOADLY.validate(at) == []
    assert (request.method, request.url) == ("POST", url)
    assert json.loads(request.body) == {
        "client_id": "qwcLzefigu34894393jfdwj23",
        "client_secret": "7kscVxQZ32-fjgvee2842393bfdd383",
        "grant_type": "client_credentials",
        "audience": audience,
    }


@pytest.mark.parametrize("url", ["ftp://auth.example", "auth.example", "https://", "http://a?b=1"])
def test_a_wrong_authorization_server_is_named(url: str):
    at = dataclasses.replace(ACCOUNT, options={"auth_url": url})

    assert any("auth_url" in fault for fault in RELOADLY.validate(at))


def test_a_token_with_its_lifetime_is_read():
    given_token = {"access_token": "eyJ.a-b_c", "expires_in": 5184000, "token_type": "Bearer"}

    assert RELOADLY.read_log_in(ACCOUNT, _answer(given_token)) == Session("eyJ.a-b_c", 5184000.0)


@pytest.mark.parametrize(
    "answer",
    [
        _answer({"access_token": "eyJ", "expires_in": 60}, 401),
        _answer({"message": "Access Denied", "errorCode": "INVALID_CREDENTIALS"}, 401),
        _answer({"access_token": "", "expires_in": 60}),
        _answer({"access_token": "a\r\nx-evil: 1", "expires_in": 60}),
        _answer({"access_token": 7, "expires_in": 60}),
        _answer({"access_token": "eyJ"}),
        _answer({"access_token": "eyJ", "expires_in": "60"}),
        _answer({"access_token": "eyJ", "expires_in": True}),
        _answer({"access_token": "eyJ", "expires_in": 0}),
        _answer([]),
        Answer(200, {}, b"<html>"),
        Answer(200, {}, b'{"access_token": "eyJ", "expires_in": 60}', truncated=True),
    ],
)
def test_anything_else_gives_no_session(answer: Answer):
    with pytest.raises(UnreadableAnswer):
        RELOADLY.read_log_in(ACCOUNT, answer)


@given(body=st.binary(), status=st.sampled_from([200, 200, 400, 401, 500]))
def test_invented_log_ins_give_no_session_and_raise_nothing_of_their_own(body: bytes, status: int):
    with pytest.raises(UnreadableAnswer) as met:
        RELOADLY.read_log_in(ACCOUNT, Answer(status, {}, body))

    assert met.value.__cause__ is None


@pytest.mark.parametrize(
    ("status", "ended"), [(401, True), (200, False), (400, False), (403, False)]
)
def test_the_token_is_over_with_a_401(status: int, ended: bool):
    assert RELOADLY.session_ended(_refusal("TOKEN_EXPIRED", status)) is ended


def test_no_token_shows_in_what_is_printed():
    requests = [
        RELOADLY.top_up(ACCOUNT, ORDER),
        RELOADLY.status(ACCOUNT, ORDER),
        RELOADLY.balance(ACCOUNT),
    ]

    assert "t0ken" not in repr((ACCOUNT, Session("t0ken", 60), requests))


@given(
    state=st.sampled_from(["SUCCESSFUL", "SUCCESSFUL", "successful", "FAILED", "", None, 1]),
    reference=st.sampled_from([ORDER.dealer_ref, ORDER.dealer_ref.lower(), "OTHER", None]),
    number=st.sampled_from(["6281234567890", "+6281234567890", "081234567890", 6281234567890, ""]),
    http_status=st.sampled_from([200, 201, 400, 404, 500]),
)
def test_nothing_but_an_explicit_success_succeeds(
    state: object, reference: object, number: object, http_status: int
):
    row = _row(status=state, customIdentifier=reference, recipientPhone=number)
    explicit = (state, reference, http_status) == ("SUCCESSFUL", ORDER.dealer_ref, 200) and str(
        number
    ).removeprefix("+") == "6281234567890"
    readings = [
        RELOADLY.read_top_up(ACCOUNT, ORDER, _answer(row, http_status)),
        RELOADLY.read_status(ACCOUNT, ORDER, _answer({"content": [row]}, http_status)),
    ]

    assert [read.outcome is Outcome.SUCCEEDED for read in readings] == [explicit, explicit]


@given(position=st.integers(0), mask=st.integers(1, 255))
def test_a_tampered_callback_is_refused(position: int, mask: int):
    body = bytearray(EVENT.body)
    body[position % len(body)] ^= mask

    with pytest.raises(CallbackRefused):
        RELOADLY.read_callback(ACCOUNT, dataclasses.replace(EVENT, body=bytes(body)))


@pytest.mark.parametrize(
    "change",
    [
        {"x-reloadly-signature": ""},
        {"x-reloadly-signature": EVENT.headers["x-reloadly-signature"][:-1]},
        {"x-reloadly-signature": "\u00e9\u0142"},
        {"x-reloadly-request-timestamp": "1774238820001"},
        {"x-reloadly-request-timestamp": ""},
        {"x-reloadly-request-timestamp": "\ud800"},
    ],
)
def test_a_wrong_signature_is_refused(change: dict[str, str]):
    headers = {**EVENT.headers, **change}

    with pytest.raises(CallbackRefused):
        RELOADLY.read_callback(ACCOUNT, dataclasses.replace(EVENT, headers=headers))


def test_without_a_secret_a_callback_is_only_a_hint():
    credentials = {"client_id": "a", "client_secret": "b"}
    without = Account("d1", ACCOUNT.base_url, credentials)
    read = RELOADLY.read_callback(without, dataclasses.replace(EVENT, headers={}))

    assert read.report.outcome is Outcome.SUCCEEDED
    assert not read.verified
