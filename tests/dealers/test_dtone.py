"""DT One: its requests, its classes, statuses and error codes one by one."""

import base64
import dataclasses
import json
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dealers.contract import Answer, Callback, Fault, Outcome, UnreadableAnswer
from dealers.registry import load
from tests.dealers.recorded import account, order

DTONE = load()["dtone"]
ORDER = order("dtone")
ACCOUNT = account("dtone")
BASIC = "Basic " + base64.b64encode(b"8d2f-key:c0ffee-secret").decode()

CLASSES = {
    1: ("CREATED", Outcome.PENDING),
    2: ("CONFIRMED", Outcome.PENDING),
    3: ("REJECTED", Outcome.FAILED),
    4: ("CANCELLED", Outcome.FAILED),
    5: ("SUBMITTED", Outcome.PENDING),
    7: ("COMPLETED", Outcome.SUCCEEDED),
    8: ("REVERSED", Outcome.FAILED),
    9: ("DECLINED", Outcome.FAILED),
}
NUMBER = ["INVALID-CREDIT-PARTY", "BARRED-CREDIT-PARTY"]
OURS = [
    "INVALID-DEBIT-PARTY",
    "BARRED-DEBIT-PARTY",
    "INSUFFICIENT-BALANCE",
    "LIMITATIONS-ON-CUSTOMER-AMOUNT",
    "LIMITATIONS-ON-CUSTOMER-QUANTITY",
]
PRODUCT = [
    "INELIGIBLE-CREDIT-PARTY",
    "LIMITATIONS-ON-OPERATOR-AMOUNT",
    "LIMITATIONS-ON-OPERATOR-QUANTITY",
    "LIMITATIONS-ON-CREDIT-PARTY-AMOUNT",
    "LIMITATIONS-ON-CREDIT-PARTY-QUANTITY",
    "OPERATOR-CURRENTLY-UNAVAILABLE",
    "DUPLICATED-TRANSACTION",
    "EXCEPTION",
]
ACCOUNT_CODES = {
    *(1000400, 1000401, 1000429, 1003001, 1003002, 1003003),
    *(1005503, 1006001, 1006003, 1006009),
}
NUMBER_CODES = {1005003, 1006503}
EVERY_CODE = [
    *(1000400, 1000401, 1000404, 1000429, 1003001, 1003002, 1003003, 1003101, 1003201, 1003301),
    *(1005003, 1005004, 1005005, 1005006, 1005503, 1006001, 1006003, 1006009, 1006503),
    *(1007001, 1007002, 1007004, 1007005, 1007007, 1007500, 1008004, 1009001, 1009503),
]


def _status(number: int, name: str, status: str | None = None) -> dict[str, object]:
    return {
        "id": number * 10_000,
        "message": status or name,
        "class": {"id": number, "message": name},
    }


def _transaction(**fields: object) -> dict[str, object]:
    sent = {
        "id": 2235453268,
        "external_id": ORDER.dealer_ref,
        "credit_party_identifier": {"mobile_number": "+6281234567890"},
    }
    return {**sent, **fields}


def _answer(content: object, status: int = 200) -> Answer:
    return Answer(status, {}, json.dumps(content).encode())


def _errors(code: object, status: int = 400) -> Answer:
    return _answer({"errors": [{"code": code, "message": "-"}]}, status)


@pytest.mark.parametrize("number", range(-1, 12))
def test_each_class_decides_alike_wherever_it_is_read(number: int):
    name, outcome = CLASSES.get(number, ("PAUSED", Outcome.UNKNOWN))
    transaction = _transaction(status=_status(number, name))
    callback = Callback("POST", "", {}, json.dumps(transaction).encode())
    readings = [
        DTONE.read_top_up(ACCOUNT, ORDER, _answer(transaction, 201)),
        DTONE.read_status(ACCOUNT, ORDER, _answer([transaction])),
        DTONE.read_callback(ACCOUNT, callback).report,
    ]

    assert [read.outcome for read in readings] == [outcome] * 3
    assert [read.reversal for read in readings] == [number == 8] * 3


@pytest.mark.parametrize("reason", [*NUMBER, *OURS, *PRODUCT])
@pytest.mark.parametrize("number", [3, 9])
def test_each_status_of_a_failure_names_its_fault(number: int, reason: str):
    name, outcome = CLASSES[number]
    fault = {**dict.fromkeys(NUMBER, Fault.NUMBER), **dict.fromkeys(OURS, Fault.ACCOUNT)}
    transaction = _transaction(status=_status(number, name, f"{name}-{reason}"))
    read = DTONE.read_status(ACCOUNT, ORDER, _answer([transaction]))

    assert (read.outcome, read.fault) == (outcome, fault.get(reason, Fault.PRODUCT))


@pytest.mark.parametrize("code", EVERY_CODE)
def test_each_refusal_of_a_purchase(code: int):
    read = DTONE.read_top_up(ACCOUNT, ORDER, _errors(code))
    expected = (Outcome.UNKNOWN, Fault.PRODUCT)
    if code in ACCOUNT_CODES:
        expected = (Outcome.REJECTED, Fault.ACCOUNT)
    elif code in NUMBER_CODES:
        expected = (Outcome.FAILED, Fault.NUMBER)
    elif code == 1007500:
        expected = (Outcome.REJECTED, Fault.PRODUCT)

    assert (read.outcome, read.fault) == expected
    assert not read.not_found


@pytest.mark.parametrize("code", EVERY_CODE)
def test_an_error_on_a_question_tells_absence_at_most(code: int):
    read = DTONE.read_status(ACCOUNT, ORDER, _errors(code, 404))

    assert read.outcome is Outcome.UNKNOWN
    assert read.not_found is (code == 1008004)


@pytest.mark.parametrize("code", EVERY_CODE)
@pytest.mark.parametrize("status", [200, 201, 302, 500, 503])
def test_a_refusal_is_at_home_in_a_4xx_only(code: int, status: int):
    read = DTONE.read_top_up(ACCOUNT, ORDER, _errors(code, status))

    assert read.outcome is Outcome.UNKNOWN


def test_the_purchase_request():
    request = DTONE.top_up(ACCOUNT, ORDER)

    assert request.method == "POST"
    assert request.url == "https://dvs-api.dtone.com/v1/async/transactions"
    assert request.headers["authorization"] == BASIC
    assert json.loads(request.body) == {
        "external_id": ORDER.dealer_ref,
        "product_id": 6035,
        "auto_confirm": True,
        "credit_party_identifier": {"mobile_number": "+6281234567890"},
        "callback_url": ORDER.callback_url,
    }


def test_a_product_with_a_range_is_asked_for_its_rupiah():
    wanted = dataclasses.replace(ORDER, dealer_sku="77:25000", callback_url=None)
    fields = json.loads(DTONE.top_up(ACCOUNT, wanted).body)

    assert fields["product_id"] == 77
    assert fields["calculation_mode"] == "DESTINATION_AMOUNT"
    assert fields["destination"] == {"unit_type": "CURRENCY", "unit": "IDR", "amount": 25_000}
    assert "callback_url" not in fields


@pytest.mark.parametrize("sku", ["X10", "", "77:", "77:1.5", "77:-1", "7 7"])
def test_no_request_is_made_for_a_product_of_another_shape(sku: str):
    with pytest.raises(ValueError, match="product id"):
        DTONE.top_up(ACCOUNT, dataclasses.replace(ORDER, dealer_sku=sku))


def test_the_question_names_our_reference():
    request = DTONE.status(ACCOUNT, ORDER)

    assert (request.method, request.body) == ("GET", b"")
    assert request.url == (
        f"https://dvs-api.dtone.com/v1/transactions?external_id={ORDER.dealer_ref}"
    )


def test_a_key_that_would_end_early_is_named():
    credentials = {"api_key": "a:b", "api_secret": "c"}

    assert DTONE.validate(dataclasses.replace(ACCOUNT, credentials=credentials)) == [
        "credential api_key must not hold a colon"
    ]


def test_the_price_list_is_asked_for_page_by_page():
    first = DTONE.price_list(ACCOUNT)
    second = DTONE.next_price_list(ACCOUNT, Answer(200, {"x-next-page": "2"}, b"[]"))
    assert first is not None
    assert second is not None
    queries = [parse_qs(urlsplit(request.url).query) for request in (first, second)]

    assert [query.pop("page") for query in queries] == [["1"], ["2"]]
    assert queries[0] == queries[1]
    assert queries[0]["country_iso_code"] == ["IDN"]
    for headers in ({}, {"x-next-page": ""}):
        assert DTONE.next_price_list(ACCOUNT, Answer(200, headers, b"[]")) is None


@pytest.mark.parametrize("page", ["two", "-1", "2&x=1", "9" * 20, "\u00b2"])
def test_a_page_that_is_no_number_is_not_asked_for(page: str):
    with pytest.raises(UnreadableAnswer):
        DTONE.next_price_list(ACCOUNT, Answer(200, {"x-next-page": page}, b"[]"))


@given(
    group=st.sampled_from([(7, "COMPLETED"), (7, "COMPLETED"), (7, "DECLINED"), (9, "COMPLETED")]),
    status=st.sampled_from(["COMPLETED", "COMPLETED", "DECLINED", "", None]),
    reference=st.sampled_from([ORDER.dealer_ref, ORDER.dealer_ref.lower(), "OTHER", None]),
    number=st.sampled_from(["+6281234567890", "6281234567890", "+6281299999999", ""]),
    http_status=st.sampled_from([200, 204, 400, 404, 500]),
)
def test_nothing_but_an_explicit_success_succeeds(
    group: tuple[int, str], status: object, reference: object, number: str, http_status: int
):
    transaction = _transaction(
        external_id=reference,
        credit_party_identifier={"mobile_number": number},
        status={"message": status, "class": {"id": group[0], "message": group[1]}},
    )
    explicit = (group, status, reference, number, http_status) == (
        (7, "COMPLETED"),
        "COMPLETED",
        ORDER.dealer_ref,
        "+6281234567890",
        200,
    )
    readings = [
        DTONE.read_top_up(ACCOUNT, ORDER, _answer(transaction, http_status)),
        DTONE.read_status(ACCOUNT, ORDER, _answer([transaction], http_status)),
    ]

    assert [read.outcome is Outcome.SUCCEEDED for read in readings] == [explicit, explicit]
