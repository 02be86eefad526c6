"""PortalPulsa and JavaH2H: their requests, their four states, what is taken for a refusal."""

import dataclasses
import json
from urllib.parse import parse_qs

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dealers.contract import Answer, Fault, Outcome, Report, Request
from dealers.registry import load
from tests.dealers.recorded import ORDER, account

PORTALPULSA = load()["portalpulsa"]
ACCOUNT = account("portalpulsa")
JAVAH2H = dataclasses.replace(ACCOUNT, options={"header_prefix": "h2h"})


def _form(request: Request) -> dict[str, str]:
    pairs = parse_qs(request.body.decode(), strict_parsing=True, keep_blank_values=True)
    return {name: value for name, (value,) in pairs.items()}


def _row(state: object, **fields: object) -> dict[str, object]:
    transaction = {"trxid_api": ORDER.dealer_ref, "phone": ORDER.customer_number, "note": ""}
    return {**transaction, "status": state, "sn": "123", "price": "10150", **fields}


def _checked(*rows: object) -> Report:
    body = json.dumps({"result": "success", "message": rows}).encode()
    return PORTALPULSA.read_status(ACCOUNT, ORDER, Answer(200, {}, body))


def _refused(message: str) -> Report:
    body = json.dumps({"result": "failed", "message": message}).encode()
    return PORTALPULSA.read_top_up(ACCOUNT, ORDER, Answer(200, {}, body))


@pytest.mark.parametrize(
    ("state", "outcome", "reversal"),
    [
        (1, Outcome.PENDING, False),
        (2, Outcome.FAILED, False),
        (3, Outcome.FAILED, True),
        (4, Outcome.SUCCEEDED, False),
        *((state, Outcome.UNKNOWN, False) for state in (0, 5, 40, -4)),
    ],
)
def test_each_state_as_a_number_and_as_text(state: int, outcome: Outcome, reversal: bool):
    for said in (state, str(state)):
        read = _checked(_row(said))
        assert (read.outcome, read.reversal) == (outcome, reversal)


@pytest.mark.parametrize(
    ("note", "fault"),
    [
        ("GAGAL. Nomor tujuan salah", Fault.NUMBER),
        ("GAGAL, no hp salah", Fault.NUMBER),
        ("tujuan diblokir", Fault.NUMBER),
        ("GAGAL. Di luar wilayah", Fault.CLUSTER),
        ("GAGAL. Produk gangguan", Fault.PRODUCT),
        ("", Fault.PRODUCT),
    ],
)
def test_a_note_tells_whose_fault_it_was(note: str, fault: Fault):
    assert _checked(_row(2, note=note)).fault is fault


@pytest.mark.parametrize(
    ("message", "outcome", "fault"),
    [
        ("Saldo tidak cukup", Outcome.REJECTED, Fault.ACCOUNT),
        ("PRODUK TIDAK DITEMUKAN!", Outcome.REJECTED, Fault.ACCOUNT),
        ("Produk gangguan.", Outcome.REJECTED, Fault.PRODUCT),
        ("Stok kosong", Outcome.REJECTED, Fault.PRODUCT),
        ("Nomor salah", Outcome.FAILED, Fault.NUMBER),
        ("Saldo tidak cukup untuk transaksi 2", Outcome.UNKNOWN, Fault.PRODUCT),
        ("trxid_api sudah pernah digunakan", Outcome.UNKNOWN, Fault.PRODUCT),
        ("", Outcome.UNKNOWN, Fault.PRODUCT),
    ],
)
def test_only_whole_known_sentences_refuse(message: str, outcome: Outcome, fault: Fault):
    read = _refused(message)

    assert (read.outcome, read.fault) == (outcome, fault)


def test_the_purchase_counts_the_repeats_of_the_day():
    request = PORTALPULSA.top_up(ACCOUNT, dataclasses.replace(ORDER, counter=2))

    assert (request.method, request.url) == ("POST", "https://portalpulsa.com/api/connect/")
    assert _form(request) == {
        "inquiry": "I",
        "code": "X10",
        "phone": "081234567890",
        "trxid_api": ORDER.dealer_ref,
        "no": "2",
    }


def test_the_other_requests():
    status = PORTALPULSA.status(ACCOUNT, ORDER)
    balance, prices = PORTALPULSA.balance(ACCOUNT), PORTALPULSA.price_list(ACCOUNT)

    assert _form(status) == {"inquiry": "STATUS", "trxid_api": ORDER.dealer_ref}
    assert balance is not None
    assert _form(balance) == {"inquiry": "S"}
    assert prices is not None
    assert _form(prices) == {"inquiry": "HARGA", "code": "pulsa"}


@pytest.mark.parametrize(("at", "prefix"), [(ACCOUNT, "portal"), (JAVAH2H, "h2h")])
def test_the_headers_carry_the_vendors_prefix(at, prefix: str):
    assert PORTALPULSA.top_up(at, ORDER).headers == {
        "content-type": "application/x-www-form-urlencoded",
        f"{prefix}-userid": "P123456",
        f"{prefix}-key": "8d0f5a3c1e",
        f"{prefix}-secret": "f1b7e9042a",
    }


def test_a_third_prefix_is_named():
    at = dataclasses.replace(ACCOUNT, options={"header_prefix": "java"})

    assert PORTALPULSA.validate(at) == ["option header_prefix must be portal or h2h"]
    assert PORTALPULSA.validate(JAVAH2H) == []


@given(
    result=st.sampled_from(["success", "success", "failed", "SUCCESS", True, None]),
    state=st.sampled_from([4, "4", "4", 3, "2", 1, 4.0, True, None]),
    reference=st.sampled_from([ORDER.dealer_ref, "OTHER", "", None]),
    number=st.sampled_from([ORDER.customer_number, "081299999999", "", None]),
    note=st.sampled_from(["", "SUKSES", "GAGAL", "REFUND", "belum sukses"]),
    http_status=st.sampled_from([200, 201, 301, 400, 500]),
)
def test_nothing_but_an_explicit_success_succeeds(
    result, state, reference, number, note, http_status
):
    row = _row(state, trxid_api=reference, phone=number, note=note)
    answer = Answer(http_status, {}, json.dumps({"result": result, "message": [row]}).encode())
    explicit = (
        (result, str(state), reference, number, http_status)
        == ("success", "4", ORDER.dealer_ref, ORDER.customer_number, 200)
    ) and note in ("", "SUKSES")

    assert PORTALPULSA.read_top_up(ACCOUNT, ORDER, answer).outcome is not Outcome.SUCCEEDED
    read = PORTALPULSA.read_status(ACCOUNT, ORDER, answer)
    assert (read.outcome is Outcome.SUCCEEDED) is explicit


@given(text=st.text())
def test_no_sentence_of_a_purchase_succeeds(text: str):
    for result in ("success", "failed"):
        body = json.dumps({"result": result, "message": text}).encode()
        read = PORTALPULSA.read_top_up(ACCOUNT, ORDER, Answer(200, {}, body))
        assert read.outcome is not Outcome.SUCCEEDED
