"""IAK (Indobest Artha Kreasi, earlier Mobilepulsa), prepaid: JSON over POST, result codes (`rc`).

The first answer to a purchase always says PROCESS; the end comes by callback or by `check-status`,
after 1 to 30 seconds. `check-status` never buys. It shows a stored transaction with IAK's own
`tr_id` and the number, which is how a stored failure is told from a refusal of the question.

The callback's signature is the purchase's own, md5 over user name, key and reference: it says
nothing of the status, and whoever saw one can send it again with another. So a callback only
triggers a check, and one whose signature is wrong is refused.

Source: https://api.iak.id/api/prepaid/ (core/v2/transaction/top-up, core/check-status,
response-code, callback, flow).
"""

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Final, cast

import orjson

from dealers.answers import Fields, fields_of, loose_whole_number, read_json, text_in
from dealers.contract import (
    Account,
    Answer,
    Balance,
    Callback,
    CallbackRefused,
    CallbackReport,
    Capabilities,
    DealerPrice,
    Fault,
    Outcome,
    Recovery,
    Report,
    Request,
    Setting,
    TopUp,
    UnreadableAnswer,
)

CAPABILITIES: Final = Capabilities(
    recovery=Recovery.STATUS_CALL,
    absent_after_seconds=60.0,
    low_balance_codes=frozenset({"17"}),
    # Most end within half a minute; what does not may take hours.
    check_schedule=((36, 5.0), (42, 10.0), (40, 15.0), (80, 30.0), (1, 120.0)),
)
CREDENTIALS: Final = (
    Setting("username", "the phone number that the account is registered under"),
    Setting("api_key", "the production or the development key"),
)
OPTIONS: Final = ()


@dataclass(frozen=True, slots=True)
class _Meaning:
    outcome: Outcome
    fault: Fault = Fault.PRODUCT
    not_found: bool = False


_Meanings = Mapping[str, _Meaning]

_UNKNOWN = _Meaning(Outcome.UNKNOWN)


def _each(codes: str, outcome: Outcome, fault: Fault) -> dict[str, _Meaning]:
    return dict.fromkeys(codes.split(), _Meaning(outcome, fault))


# 201 is a code of the operator that IAK itself does not know yet.
_STATES: _Meanings = {
    "00": _Meaning(Outcome.SUCCEEDED),
    "39": _Meaning(Outcome.PENDING),
    "201": _Meaning(Outcome.PENDING),
}

# The number: daily limits (10, 202, 207) and a monthly one (121), balance at its maximum, blocked
# (13, 206), wrong, of another operator, not available, in use, expired, no such player (141, 142).
# The daily limits partly are switches of our own account; a number that was served today already
# is left alone all the same.
_FAILURES: _Meanings = {
    **_each("07", Outcome.FAILED, Fault.PRODUCT),
    **_each("10 12 13 14 16 18 19 21 121 141 142 202 206 207", Outcome.FAILED, Fault.NUMBER),
    **_each("131 132", Outcome.FAILED, Fault.CLUSTER),
}

# IP address, format, page, signature, command, maintenance: refused before IAK reads the reference.
_AT_THE_DOOR: _Meanings = {
    **_each("102 107 117 204 205", Outcome.REJECTED, Fault.ACCOUNT),
    **_each("110", Outcome.REJECTED, Fault.PRODUCT),
}

_REFUSED: _Meanings = {
    **_each("17 20 203", Outcome.REJECTED, Fault.ACCOUNT),
    **_each("106", Outcome.REJECTED, Fault.PRODUCT),
}

_PURCHASE: _Meanings = {**_STATES, **_FAILURES, **_AT_THE_DOOR, **_REFUSED}

# What reads as a refusal, of a stored transaction failed after it was created.
_STORED: _Meanings = {
    **_STATES,
    **_FAILURES,
    **{code: replace(each, outcome=Outcome.FAILED) for code, each in _REFUSED.items()},
}

_NOT_FOUND: _Meanings = {"06": _Meaning(Outcome.UNKNOWN, not_found=True)}

_STATUS: Mapping[Outcome, int] = {
    Outcome.PENDING: 0,
    Outcome.SUCCEEDED: 1,
    Outcome.REJECTED: 2,
    Outcome.FAILED: 2,
}


def validate(account: Account) -> list[str]:
    """Any values will do."""
    return []


def top_up(account: Account, order: TopUp) -> Request:
    """`POST /top-up`. The callback address is set at IAK, not sent; there is no price limit."""
    fields = {
        "username": account.credentials["username"],
        "ref_id": order.dealer_ref,
        "customer_id": order.customer_number,
        "product_code": order.dealer_sku,
        "sign": _sign(account, order.dealer_ref),
    }
    return _post(account, "/top-up", fields)


def read_top_up(account: Account, order: TopUp, answer: Answer) -> Report:
    """Read the answer to a purchase; normally it is in process."""
    return _read(answer, order, _PURCHASE)


def status(account: Account, order: TopUp) -> Request:
    """`POST /check-status`, by our reference alone: it has no product and cannot buy."""
    fields = {
        "username": account.credentials["username"],
        "ref_id": order.dealer_ref,
        "sign": _sign(account, order.dealer_ref),
    }
    return _post(account, "/check-status", fields)


def read_status(account: Account, order: TopUp, answer: Answer) -> Report:
    """Read the stored transaction; without `tr_id` and number a failure may be the question's."""
    fields = fields_of(_data(answer.body))
    stored = (_whole(fields.get("tr_id")) or 0) > 0 and fields.get(
        "customer_id"
    ) == order.customer_number
    return _read(answer, order, {**(_STORED if stored else _STATES), **_NOT_FOUND})


def read_callback(account: Account, callback: Callback) -> CallbackReport:
    """Check the signature and read the hint. Never verified: the status is not signed."""
    fields = fields_of(_data(callback.body))
    dealer_ref, code = fields.get("ref_id"), fields.get("rc")
    if not isinstance(dealer_ref, str) or not isinstance(code, str):
        raise CallbackRefused("the body holds no transaction with ref_id and rc")
    sign = text_in(fields, "sign").encode("utf-8", "replace")
    if not hmac.compare_digest(sign, _sign(account, dealer_ref).encode()):
        raise CallbackRefused("sign is missing or wrong")
    return CallbackReport(dealer_ref, _report(fields, code, _STORED), verified=False)


def acknowledge(account: Account, callback: Callback) -> tuple[str, bytes]:
    """Any 200 is enough for IAK."""
    return "text/plain", b"ok"


def balance(account: Account) -> Request:
    """`POST /check-balance`."""
    fields = {"username": account.credentials["username"], "sign": _sign(account, "bl")}
    return _post(account, "/check-balance", fields)


def read_balance(account: Account, answer: Answer) -> Balance:
    """Read `data.balance`. Raises `UnreadableAnswer`."""
    rupiah = _whole(fields_of(_data_or_raise(answer)).get("balance"))
    if rupiah is None:
        raise UnreadableAnswer("no whole balance in the answer")
    return Balance(rupiah)


def price_list(account: Account) -> Request:
    """`POST /pricelist`: every type and operator, also what is switched off."""
    fields = {
        "username": account.credentials["username"],
        "sign": _sign(account, "pl"),
        "status": "all",
    }
    return _post(account, "/pricelist", fields)


def read_price_list(account: Account, answer: Answer) -> list[DealerPrice]:
    """Read the list; rows without a code are left out. Raises `UnreadableAnswer`."""
    rows = fields_of(_data_or_raise(answer)).get("pricelist")
    if not isinstance(rows, list):
        raise UnreadableAnswer("the answer is not a price list")
    lines = (fields_of(row) for row in cast(list[object], rows))
    return [_price_line(line) for line in lines if text_in(line, "product_code")]


def _sign(account: Account, subject: str) -> str:
    plain = account.credentials["username"] + account.credentials["api_key"] + subject
    return hashlib.md5(plain.encode(), usedforsecurity=False).hexdigest()


def _post(account: Account, path: str, fields: Mapping[str, str]) -> Request:
    return Request(
        method="POST",
        url=account.base_url.rstrip("/") + path,
        headers={"content-type": "application/json"},
        body=orjson.dumps(fields),
    )


def _read(answer: Answer, order: TopUp, meanings: _Meanings) -> Report:
    """Read `rc`: with HTTP 200 whatever it says, with HTTP 400 only that it failed.

    Any other HTTP status says nothing of the transaction, whatever its body.
    """
    by_transport = _unknown(f"http-{answer.status}")
    if answer.status not in (HTTPStatus.OK, HTTPStatus.BAD_REQUEST):
        return by_transport
    report = _read_body(answer.body, order, meanings)
    failed = report.outcome in (Outcome.REJECTED, Outcome.FAILED) or report.not_found
    return report if failed or answer.status == HTTPStatus.OK else by_transport


def _read_body(body: bytes, order: TopUp, meanings: _Meanings) -> Report:
    fields = fields_of(_data(body))
    code = fields.get("rc")
    if not isinstance(code, str):
        return _unknown("no-code")
    if fields.get("ref_id") != order.dealer_ref:
        return _unknown("other-reference")
    if fields.get("customer_id", "") not in ("", order.customer_number):
        return _unknown("other-number")
    return _report(fields, code, meanings)


def _report(fields: Fields, code: str, meanings: _Meanings) -> Report:
    meaning = meanings.get(code, _UNKNOWN)
    outcome, message = meaning.outcome, text_in(fields, "message")
    due = _STATUS.get(outcome)
    if due is not None and _whole(fields.get("status")) != due:
        return replace(_unknown("contradiction"), message=message)
    report = Report(outcome, code, message, meaning.fault, not_found=meaning.not_found)
    if outcome is not Outcome.SUCCEEDED:
        return report
    price = _whole(fields.get("price"))
    return replace(report, serial_number=text_in(fields, "sn") or None, price_rupiah=price)


def _unknown(code: str) -> Report:
    return Report(Outcome.UNKNOWN, code)


def _data(body: bytes) -> object:
    return fields_of(read_json(body)).get("data")


def _data_or_raise(answer: Answer) -> object:
    if answer.status != HTTPStatus.OK:
        raise UnreadableAnswer(f"http-{answer.status}")
    data = _data(answer.body)
    fields = fields_of(data)
    if fields.get("rc", "00") != "00":
        raise UnreadableAnswer(f"refused with {fields['rc']}: {text_in(fields, 'message')[:100]}")
    return data


def _price_line(line: Fields) -> DealerPrice:
    price = _whole(line.get("product_price")) or 0
    name = f"{text_in(line, 'product_description')} {text_in(line, 'product_nominal')}"
    return DealerPrice(
        dealer_sku=text_in(line, "product_code"),
        name=name.strip(),
        # What has no price must never be routed.
        price_rupiah=max(price, 0),
        available=text_in(line, "status") == "active" and price > 0,
    )


def _whole(value: object) -> int | None:
    """A whole number: IAK types amounts and status as Double, and as text in callbacks."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return loose_whole_number(value)
