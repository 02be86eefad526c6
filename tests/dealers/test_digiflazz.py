"""Digiflazz: its requests, its codes one by one, its signature."""

import dataclasses
import hashlib
import hmac
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dealers.contract import (
    Answer,
    Callback,
    CallbackRefused,
    Fault,
    Outcome,
    Report,
)
from dealers.registry import load
from tests.dealers.recorded import ORDER, account, case

DIGIFLAZZ = load()["digiflazz"]
ACCOUNT = account("digiflazz")

EVERY_CODE = [f"{code:02}" for code in range(100)]
NUMBER = set(map(str, (51, 52, 54, 57, 60, 72, 73, 84)))
PRODUCT = set(map(str, (53, 55, 58, 71, 85, 86)))
CLUSTER = {"59"}
OUR_FAULT = set(map(str, (40, 41, 42, 43, 44, 45, 61, 64, 67, 80, 81, 82, 83, 87, 88)))
ROUTEABLE = set(map(str, (62, 63, 66, 68, 69)))
DRAWN_BEFORE_LOOKUP = OUR_FAULT | ROUTEABLE | {"58", "84", "85", "86"}


def _fault(code: str) -> Fault:
    if code in NUMBER:
        return Fault.NUMBER
    if code in CLUSTER:
        return Fault.CLUSTER
    return Fault.ACCOUNT if code in OUR_FAULT else Fault.PRODUCT


def _transaction(**fields: object) -> dict[str, object]:
    sent = {"ref_id": ORDER.dealer_ref, "customer_no": ORDER.customer_number}
    return {**sent, "message": "-", "sn": "", "price": 10_150, **fields}


def _body(**fields: object) -> bytes:
    return json.dumps({"data": _transaction(**fields)}).encode()


def _status_text(code: str) -> str:
    return {"00": "Sukses", "03": "Pending", "99": "Pending"}.get(code, "Gagal")


def _coded(code: str) -> Answer:
    return Answer(200, {}, _body(rc=code, status=_status_text(code)))


def _signed(body: bytes, secret: str = "s3cret") -> Callback:
    signature = "sha1=" + hmac.digest(secret.encode(), body, "sha1").hex()
    return Callback("POST", "", {"x-hub-signature": signature}, body)


def _verdict(report: Report) -> tuple[Outcome, Fault, bool]:
    return report.outcome, report.fault, report.reversal


def _expected(code: str, refusal: Outcome) -> tuple[Outcome, Fault, bool]:
    if code in OUR_FAULT | ROUTEABLE:
        return refusal, _fault(code), False
    if code in NUMBER | PRODUCT | CLUSTER | {"74"}:
        return Outcome.FAILED, _fault(code), code == "74"
    outcome = {"00": Outcome.SUCCEEDED, "03": Outcome.PENDING, "99": Outcome.PENDING}
    return outcome.get(code, Outcome.UNKNOWN), Fault.PRODUCT, False


@pytest.mark.parametrize("code", EVERY_CODE)
def test_each_code_of_a_purchase(code: str):
    read = DIGIFLAZZ.read_top_up(ACCOUNT, ORDER, _coded(code))

    assert read.code == code
    assert _verdict(read) == _expected(code, refusal=Outcome.REJECTED)


@pytest.mark.parametrize("code", EVERY_CODE)
def test_each_code_of_a_callback_speaks_of_a_stored_transaction(code: str):
    read = DIGIFLAZZ.read_callback(ACCOUNT, _signed(_coded(code).body)).report

    assert _verdict(read) == _expected(code, refusal=Outcome.FAILED)


@pytest.mark.parametrize("code", EVERY_CODE)
def test_each_code_of_a_check_is_final_only_where_it_is_the_stored_state(code: str):
    read = DIGIFLAZZ.read_status(ACCOUNT, ORDER, _coded(code))

    if code in DRAWN_BEFORE_LOOKUP:
        assert read.outcome is Outcome.UNKNOWN
    else:
        assert _verdict(read) == _expected(code, refusal=Outcome.UNKNOWN)
    assert read.not_found is (code == "50")


def test_the_purchase_request():
    request = DIGIFLAZZ.top_up(ACCOUNT, ORDER)
    sign = hashlib.md5(f"jalurtestdev-0d5a7c1e{ORDER.dealer_ref}".encode()).hexdigest()

    assert (request.method, request.url) == ("POST", "https://api.digiflazz.com/v1/transaction")
    assert request.headers == {"content-type": "application/json"}
    assert json.loads(request.body) == {
        "username": "jalurtest",
        "buyer_sku_code": "X10",
        "customer_no": "081234567890",
        "ref_id": ORDER.dealer_ref,
        "sign": sign,
        "max_price": 10_500,
        "cb_url": ORDER.callback_url,
    }


def test_no_callback_address_is_sent_where_none_is_given():
    request = DIGIFLAZZ.top_up(ACCOUNT, dataclasses.replace(ORDER, callback_url=None))

    assert "cb_url" not in json.loads(request.body)


@given(
    reference=st.text("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ", min_size=1, max_size=22),
    price=st.integers(1, 10**8),
)
def test_the_check_is_the_purchase_byte_for_byte(reference: str, price: int):
    order = dataclasses.replace(ORDER, dealer_ref=reference, max_price_rupiah=price)

    assert DIGIFLAZZ.status(ACCOUNT, order) == DIGIFLAZZ.top_up(ACCOUNT, order)


@pytest.mark.parametrize(
    ("request_of", "path", "subject", "command"),
    [
        (DIGIFLAZZ.balance, "/cek-saldo", "depo", "deposit"),
        (DIGIFLAZZ.price_list, "/price-list", "pricelist", "prepaid"),
    ],
)
def test_balance_and_price_list_sign_their_own_word(request_of, path, subject, command):
    request = request_of(ACCOUNT)
    sign = hashlib.md5(f"jalurtestdev-0d5a7c1e{subject}".encode()).hexdigest()

    assert request.url.endswith(path)
    assert json.loads(request.body) == {"cmd": command, "username": "jalurtest", "sign": sign}


@given(
    code=st.sampled_from(["00", "00", "02", "03", "54", "68", "74", 0, None]),
    status=st.sampled_from(["Sukses", "SUKSES", "sukses ", "Gagal", "Pending", "", None, 1]),
    reference=st.sampled_from([ORDER.dealer_ref, ORDER.dealer_ref.lower(), "OTHER", "", None]),
    number=st.sampled_from([ORDER.customer_number, "081299999999", "", None]),
    http_status=st.sampled_from([200, 201, 204, 301, 400, 404, 500]),
)
def test_nothing_but_an_explicit_success_succeeds(code, status, reference, number, http_status):
    body = _body(rc=code, status=status, ref_id=reference, customer_no=number)
    explicit = (
        (code, reference, number, http_status)
        == ("00", ORDER.dealer_ref, ORDER.customer_number, 200)
        and isinstance(status, str)
        and status.strip().lower() == "sukses"
    )
    for read in (DIGIFLAZZ.read_top_up, DIGIFLAZZ.read_status):
        outcome = read(ACCOUNT, ORDER, Answer(http_status, {}, body)).outcome
        assert (outcome is Outcome.SUCCEEDED) is explicit


def test_a_success_may_leave_the_number_out():
    data = _transaction(rc="00", status="Sukses")
    del data["customer_no"]
    answer = Answer(200, {}, json.dumps({"data": data}).encode())

    assert DIGIFLAZZ.read_top_up(ACCOUNT, ORDER, answer).outcome is Outcome.SUCCEEDED


def test_a_signed_callback_is_verified():
    assert DIGIFLAZZ.read_callback(ACCOUNT, _signed(_coded("00").body)).verified


@given(position=st.integers(0), mask=st.integers(1, 255))
def test_a_tampered_callback_is_refused(position: int, mask: int):
    callback = _signed(_coded("54").body)
    body = bytearray(callback.body)
    body[position % len(body)] ^= mask

    with pytest.raises(CallbackRefused):
        DIGIFLAZZ.read_callback(ACCOUNT, dataclasses.replace(callback, body=bytes(body)))


@pytest.mark.parametrize(
    "change",
    [
        lambda signature: "",
        lambda signature: signature.removeprefix("sha1="),
        lambda signature: signature[:-1],
        lambda signature: signature.replace("sha1", "sha256"),
        lambda signature: "sha1=\u00e9\u0142",
    ],
)
def test_a_wrong_signature_is_refused(change):
    callback = _signed(_coded("00").body)
    headers = {"x-hub-signature": change(callback.headers["x-hub-signature"])}

    with pytest.raises(CallbackRefused):
        DIGIFLAZZ.read_callback(ACCOUNT, dataclasses.replace(callback, headers=headers))


def test_a_missing_signature_is_refused():
    callback = dataclasses.replace(_signed(_coded("00").body), headers={})

    with pytest.raises(CallbackRefused):
        DIGIFLAZZ.read_callback(ACCOUNT, callback)


def test_without_a_secret_a_callback_is_only_a_hint():
    credentials = {"username": "jalurtest", "api_key": "dev-0d5a7c1e"}
    without = dataclasses.replace(ACCOUNT, credentials=credentials)
    read = DIGIFLAZZ.read_callback(without, case("digiflazz", "callback-unsigned").callback())

    assert read.report.outcome is Outcome.SUCCEEDED
    assert not read.verified
