"""IAK: its requests, its codes one by one, its signature."""

import dataclasses
import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dealers.contract import Answer, Callback, CallbackRefused, Fault, Outcome, Report
from dealers.registry import load
from tests.dealers.recorded import ORDER, account

IAK = load()["iak"]
ACCOUNT = account("iak")

NUMBER = {"10", "12", "13", "14", "16", "18", "19", "21", "121", "141", "142", "202", "206", "207"}
CLUSTER = {"131", "132"}
OUR_FAULT = {"17", "20", "203"}
AT_THE_DOOR = {"102", "107", "110", "117", "204", "205"}
REFUSED = OUR_FAULT | AT_THE_DOOR | {"106"}
STATES = {"00": Outcome.SUCCEEDED, "39": Outcome.PENDING, "201": Outcome.PENDING}
EVERY_CODE = sorted({"07", *STATES, *NUMBER, *CLUSTER, *REFUSED, "06", "01", "99", "143", "301"})


def _fault(code: str) -> Fault:
    if code in NUMBER:
        return Fault.NUMBER
    if code in CLUSTER:
        return Fault.CLUSTER
    return Fault.ACCOUNT if code in REFUSED - {"106", "110"} else Fault.PRODUCT


def _failed(code: str) -> bool:
    return code in NUMBER | CLUSTER | {"07"}


def _body(code: object, **fields: object) -> bytes:
    transaction = {
        "ref_id": ORDER.dealer_ref,
        "customer_id": ORDER.customer_number,
        "status": {"00": 1, "39": 0, "201": 0}.get(str(code), 2),
        "message": "-",
        "price": 10_150,
        "tr_id": 3482,
        "rc": code,
        **fields,
    }
    return json.dumps({"data": transaction}).encode()


def _verdict(report: Report) -> tuple[Outcome, Fault]:
    return report.outcome, report.fault


def _sign(subject: str) -> str:
    return hashlib.md5(f"0817000000dev-5c1e7a90{subject}".encode()).hexdigest()


@pytest.mark.parametrize("code", EVERY_CODE)
@pytest.mark.parametrize("http_status", [200, 400])
def test_each_code_of_a_purchase(code: str, http_status: int):
    read = IAK.read_top_up(ACCOUNT, ORDER, Answer(http_status, {}, _body(code)))

    if code in REFUSED:
        assert _verdict(read) == (Outcome.REJECTED, _fault(code))
    elif _failed(code):
        assert _verdict(read) == (Outcome.FAILED, _fault(code))
    else:
        stated = STATES.get(code, Outcome.UNKNOWN)
        assert read.outcome is (stated if http_status == 200 else Outcome.UNKNOWN)


@pytest.mark.parametrize("code", EVERY_CODE)
def test_each_code_of_a_stored_transaction(code: str):
    read = IAK.read_status(ACCOUNT, ORDER, Answer(200, {}, _body(code)))

    if code in AT_THE_DOOR:
        assert read.outcome is Outcome.UNKNOWN
    elif code in REFUSED or _failed(code):
        assert _verdict(read) == (Outcome.FAILED, _fault(code))
    else:
        assert read.outcome is STATES.get(code, Outcome.UNKNOWN)
    assert read.not_found is (code == "06")


@pytest.mark.parametrize("code", sorted({"07", *NUMBER, *CLUSTER, *REFUSED}))
@pytest.mark.parametrize("missing", ["tr_id", "customer_id"])
def test_no_failure_is_believed_of_a_transaction_that_is_not_shown(code: str, missing: str):
    transaction = json.loads(_body(code))["data"]
    del transaction[missing]
    answer = Answer(200, {}, json.dumps({"data": transaction}).encode())

    assert IAK.read_status(ACCOUNT, ORDER, answer).outcome is Outcome.UNKNOWN


@pytest.mark.parametrize("code", EVERY_CODE)
def test_each_code_of_a_callback_is_a_hint(code: str):
    body = _body(code, status=str({"00": 1, "39": 0, "201": 0}.get(code, 2)))
    transaction = json.loads(body)["data"] | {"sign": _sign(ORDER.dealer_ref)}
    callback = Callback("POST", "", {}, json.dumps({"data": transaction}).encode())
    read = IAK.read_callback(ACCOUNT, callback)

    assert not read.verified
    assert read.report.outcome is not Outcome.REJECTED
    assert (read.report.outcome is Outcome.SUCCEEDED) is (code == "00")


def test_a_seen_signature_fits_another_status_so_no_callback_is_a_word():
    assert not IAK.capabilities.callback_is_word


def test_a_signature_for_another_reference_is_refused():
    transaction = json.loads(_body("00"))["data"] | {"sign": _sign("OTHER")}
    callback = Callback("POST", "", {}, json.dumps({"data": transaction}).encode())

    with pytest.raises(CallbackRefused):
        IAK.read_callback(ACCOUNT, callback)


@pytest.mark.parametrize(
    ("request_of", "path", "subject", "more"),
    [
        (
            lambda: IAK.top_up(ACCOUNT, ORDER),
            "/top-up",
            ORDER.dealer_ref,
            {
                "ref_id": ORDER.dealer_ref,
                "customer_id": ORDER.customer_number,
                "product_code": "X10",
            },
        ),
        (
            lambda: IAK.status(ACCOUNT, ORDER),
            "/check-status",
            ORDER.dealer_ref,
            {"ref_id": ORDER.dealer_ref},
        ),
        (lambda: IAK.balance(ACCOUNT), "/check-balance", "bl", {}),
        (lambda: IAK.price_list(ACCOUNT), "/pricelist", "pl", {"status": "all"}),
    ],
)
def test_each_request_signs_its_own_word(request_of, path, subject, more):
    request = request_of()

    assert (request.method, request.url) == ("POST", f"https://prepaid.iak.id/api{path}")
    assert json.loads(request.body) == {"username": "0817000000", "sign": _sign(subject), **more}


def test_a_check_cannot_buy():
    assert "product_code" not in json.loads(IAK.status(ACCOUNT, ORDER).body)


def test_checks_follow_iaks_own_schedule():
    schedule = IAK.capabilities.check_schedule

    assert schedule == ((36, 5.0), (42, 10.0), (40, 15.0), (80, 30.0), (1, 120.0))


@given(
    code=st.sampled_from(["00", "00", "07", "14", "39", "106", 0, None]),
    status=st.sampled_from([0, 1, 2, "1", 1.0, 1.5, True, None]),
    reference=st.sampled_from([ORDER.dealer_ref, ORDER.dealer_ref.lower(), "OTHER", "", None]),
    number=st.sampled_from([ORDER.customer_number, "081299999999", "", None]),
    http_status=st.sampled_from([200, 201, 301, 400, 404, 500]),
)
def test_nothing_but_an_explicit_success_succeeds(code, status, reference, number, http_status):
    body = _body(code, status=status, ref_id=reference, customer_id=number)
    explicit = (
        (code, reference, http_status) == ("00", ORDER.dealer_ref, 200)
        and number in (ORDER.customer_number, "")
        and status is not True
        and str(status) in ("1", "1.0")
    )
    for read in (IAK.read_top_up, IAK.read_status):
        outcome = read(ACCOUNT, ORDER, Answer(http_status, {}, body)).outcome
        assert (outcome is Outcome.SUCCEEDED) is explicit


def test_a_number_of_another_type_is_not_ours():
    order = dataclasses.replace(ORDER, customer_number="81234567890")
    answer = Answer(200, {}, _body("00", customer_id=81234567890))

    assert IAK.read_top_up(ACCOUNT, order, answer).outcome is Outcome.UNKNOWN
