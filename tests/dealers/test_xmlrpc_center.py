"""XML-RPC centers: the call, its acknowledgement, and the result that they call us with."""

import dataclasses
import xmlrpc.client
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dealers.contract import Answer, Callback, CallbackRefused, Fault, Outcome, Recovery, Report
from dealers.registry import load
from tests.dealers.recorded import ORDER, account

CENTER = load()["xmlrpc_center"]
ACCOUNT = account("xmlrpc_center")
_TEXTS = st.text(st.characters(categories=["L", "N", "P", "S", "Zs"]))


def _loads(document: bytes) -> tuple[Any, str]:
    params, method = cast(tuple[tuple[Any, ...], str], xmlrpc.client.loads(document))
    return params[0], method


def _answered(**fields: object) -> Report:
    body = xmlrpc.client.dumps((fields,), methodresponse=True).encode()
    return CENTER.read_top_up(ACCOUNT, ORDER, Answer(200, {}, body))


def _called(**fields: object) -> Report:
    told = {"ReffTransactionID": ORDER.dealer_ref, **fields}
    body = xmlrpc.client.dumps((told,), "pulsaservertopupinfo").encode()
    return CENTER.read_callback(ACCOUNT, Callback("POST", "", {}, body)).report


def test_the_purchase_is_the_published_call():
    request = CENTER.top_up(ACCOUNT, ORDER)

    assert (request.method, request.url) == ("POST", "http://center.example:8800/")
    assert _loads(request.body) == (
        {
            "DealerID": "20090217000001",
            "PIN": "918273",
            "RefTrxID": ORDER.dealer_ref,
            "MSISDN": "081234567890",
            "ProductCode": "X10",
        },
        "pulsaservertopupreq",
    )


def test_the_method_is_the_accounts_own():
    options = {**ACCOUNT.options, "method": "topUpRequest"}
    at = dataclasses.replace(ACCOUNT, base_url="http://center.example/rpc", options=options)

    assert _loads(CENTER.top_up(at, ORDER).body)[1] == "topUpRequest"
    assert CENTER.top_up(at, ORDER).url == "http://center.example/rpc"


@given(sku=_TEXTS)
def test_no_product_code_can_add_to_the_call(sku: str):
    order = dataclasses.replace(ORDER, dealer_sku=sku)

    assert _loads(CENTER.top_up(ACCOUNT, order).body)[0]["ProductCode"] == sku


def test_asking_buys_nothing():
    request = CENTER.status(ACCOUNT, ORDER)

    assert CENTER.capabilities.recovery is Recovery.NONE
    assert (request.method, request.body) == ("GET", b"")
    assert ORDER.dealer_ref not in request.url


@pytest.mark.parametrize(
    ("code", "outcome"),
    [
        (200, Outcome.PENDING),
        *((code, Outcome.REJECTED) for code in (402, 404, 417)),
        *((code, Outcome.UNKNOWN) for code in (0, 1, 201, 400, 500)),
    ],
)
def test_the_first_answer_is_an_acknowledgement_or_a_refusal_that_is_configured(
    code: int, outcome: Outcome
):
    assert _answered(ResponseCode=code, Message="-").outcome is outcome
    assert _answered(ResponseCode=str(code), Message="-").outcome is outcome


@pytest.mark.parametrize(
    ("code", "outcome", "fault", "reversal"),
    [
        ("00", Outcome.SUCCEEDED, Fault.PRODUCT, False),
        ("0", Outcome.SUCCEEDED, Fault.PRODUCT, False),
        ("01", Outcome.FAILED, Fault.PRODUCT, False),
        ("14", Outcome.FAILED, Fault.PRODUCT, False),
        ("16", Outcome.FAILED, Fault.NUMBER, False),
        ("25", Outcome.FAILED, Fault.PRODUCT, True),
        *((code, Outcome.UNKNOWN, Fault.PRODUCT, False) for code in ("200", "402", "99", "")),
    ],
)
def test_a_result_means_what_is_configured(
    code: str, outcome: Outcome, fault: Fault, reversal: bool
):
    read = _called(ResponseCode=code, Message="-")

    assert (read.outcome, read.fault, read.reversal) == (outcome, fault, reversal)


@pytest.mark.parametrize(
    ("code", "message"), [("00", "Transaksi GAGAL"), ("00", "belum"), ("01", "SUKSES. SN: 1")]
)
def test_a_result_that_its_own_message_denies_is_unknown(code: str, message: str):
    assert _called(ResponseCode=code, Message=message).outcome is Outcome.UNKNOWN


def test_a_result_is_never_verified():
    told = {"ReffTransactionID": ORDER.dealer_ref, "ResponseCode": "00"}
    body = xmlrpc.client.dumps((told,), "pulsaservertopupinfo").encode()
    read = CENTER.read_callback(ACCOUNT, Callback("POST", "", {"x-signature": "1"}, body))

    assert not read.verified
    assert not CENTER.capabilities.callback_is_word


def test_the_center_is_answered_as_it_answers_us():
    content_type, body = CENTER.acknowledge(ACCOUNT, Callback("POST", "", {}, b""))

    assert content_type == "text/xml"
    params, method = cast(tuple[Any, None], xmlrpc.client.loads(body))
    assert (params, method) == (({"ResponseCode": 200, "Message": "OK"},), None)


@pytest.mark.parametrize("size", [16_385, 65_536])
def test_a_huge_document_is_not_read(size: int):
    body = xmlrpc.client.dumps(({"ResponseCode": 200, "Message": "x" * size},), methodresponse=True)

    assert CENTER.read_top_up(ACCOUNT, ORDER, Answer(200, {}, body.encode())).code == "too-large"
    with pytest.raises(CallbackRefused):
        CENTER.read_callback(ACCOUNT, Callback("POST", "", {}, body.encode()))


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({"success_codes": "00,01"}, "code 01 has two meanings"),
        ({"number_codes": "01"}, "code 01 has two meanings"),
        ({"success_codes": "00;01"}, "success_codes must be codes"),
        ({"failure_codes": "01,,02"}, "failure_codes must be codes"),
        ({"refusal_codes": "404,200"}, "must not hold 200"),
        ({"method": "a b"}, "method must be a method's name"),
        ({"success_codes": ""}, "option success_codes is missing"),
    ],
)
def test_codes_that_cannot_be_meant_are_named(options: dict[str, str], fault: str):
    at = dataclasses.replace(ACCOUNT, options={**ACCOUNT.options, **options})

    assert any(fault in each for each in CENTER.validate(at))
