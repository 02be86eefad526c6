"""Older centers that speak XML-RPC: a purchase is acknowledged, its result comes in a call to us.

As centers publish it ("Parameter H2H"), we call `pulsaservertopupreq` with one struct

    DealerID, PIN, RefTrxID, MSISDN, ProductCode

and are answered at once with `ResponseCode` 200 and `Message` OK, which only says that the request
was taken. The result is a call of theirs, `pulsaservertopupinfo`, to an address set up with them:

    TransactionID, ResponseCode, ReffTransactionID, Message

Neither a call for the status nor one for the balance is published, so a lost result cannot be
asked for: `Recovery.NONE`. Nor is the call to us signed. It counts only where the router knows it
for the center's by other means.

What `ResponseCode` means in a result, each center tells its own buyers: it is configuration, and a
code that is not configured is unknown. There is no price limit in the request.
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from http import HTTPStatus
from typing import Final
from urllib.parse import urlsplit
from xml.etree.ElementTree import Element, ParseError
from xml.sax.saxutils import escape

from defusedxml.ElementTree import fromstring

from dealers import centers
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

CAPABILITIES: Final = Capabilities(recovery=Recovery.NONE)
CREDENTIALS: Final = (
    Setting("DealerID", "our id at the center"),
    Setting("PIN", "its PIN"),
)
OPTIONS: Final = (
    Setting("success_codes", "ResponseCodes of a result that mean delivered: 00,01"),
    Setting("failure_codes", "those that mean failed, so that another dealer may serve"),
    Setting(
        "number_codes",
        "those, of a result or a refusal, that mean the number is wrong",
        required=False,
    ),
    Setting("reversal_codes", "those that take an earlier success back", required=False),
    Setting(
        "refusal_codes",
        "ResponseCodes of the first answer that mean refused, nothing created",
        required=False,
    ),
    Setting("method", "the method to call; without it pulsaservertopupreq", required=False),
)

_METHOD = "pulsaservertopupreq"
_TAKEN = "200"
_LONGEST_DOCUMENT = 16_384
"""Bytes. A struct of five short texts fills some hundred; whatever is longer is no answer."""

_METHOD_NAME = re.compile(r"[A-Za-z0-9_.:/]{1,100}")
_CODE = re.compile(r"-?[0-9A-Za-z]{1,10}")
_RESULT_OPTIONS = ("success_codes", "failure_codes", "number_codes", "reversal_codes")
_SCALARS = frozenset({"string", "int", "i4"})


class _Unreadable(Exception):
    """A document that is not one struct in XML-RPC. The message is a report's code."""


def validate(account: Account) -> list[str]:
    """Codes must be codes, each with one meaning; 200 is an acknowledgement."""
    faults = [
        f"{name} must be codes, separated by commas"
        for name in (*_RESULT_OPTIONS, "refusal_codes")
        if not all(_CODE.fullmatch(code) for code in _codes(account, name))
    ]
    if not _METHOD_NAME.fullmatch(account.options.get("method", _METHOD)):
        faults.append("method must be a method's name")
    results = [code for name in _RESULT_OPTIONS for code in _codes(account, name)]
    twice = sorted({code for code in results if results.count(code) > 1})
    faults += [f"code {code} has two meanings" for code in twice]
    if _TAKEN in _codes(account, "refusal_codes"):
        faults.append("refusal_codes must not hold 200: it acknowledges a purchase")
    return faults


def top_up(account: Account, order: TopUp) -> Request:
    """One call with one struct. The center calls back to an address that is set up with it."""
    fields = {
        "DealerID": account.credentials["DealerID"],
        "PIN": account.credentials["PIN"],
        "RefTrxID": order.dealer_ref,
        "MSISDN": order.customer_number,
        "ProductCode": order.dealer_sku,
    }
    method = account.options.get("method", _METHOD)
    body = f"<methodCall><methodName>{method}</methodName>{_params(fields)}</methodCall>"
    return Request("POST", _address(account), {"content-type": "text/xml"}, _document(body))


def read_top_up(account: Account, order: TopUp, answer: Answer) -> Report:
    """Read the acknowledgement. It names no reference, so it is never a result."""
    if answer.status != HTTPStatus.OK:
        return Report(Outcome.UNKNOWN, f"http-{answer.status}")
    try:
        fields = _struct(answer.body, "methodResponse")
    except _Unreadable as error:
        return Report(Outcome.UNKNOWN, str(error))
    code, message = fields.get("ResponseCode", ""), fields.get("Message", "")
    if not _may_be_about(order, fields):
        return Report(Outcome.UNKNOWN, "other-reference", message)
    if code == _TAKEN:
        return Report(Outcome.PENDING, code, message)
    if code in _codes(account, "refusal_codes"):
        return _refusal(account, code, message)
    return Report(Outcome.UNKNOWN, code or "no-code", message)


def status(account: Account, order: TopUp) -> Request:
    """An empty request, which buys nothing. It is never sent: the center has no call for this."""
    return Request("GET", _address(account))


def read_status(account: Account, order: TopUp, answer: Answer) -> Report:
    """Nothing that a center answers to no question says anything."""
    return Report(Outcome.UNKNOWN, "cannot-ask")


def read_callback(account: Account, callback: Callback) -> CallbackReport:
    """Read the center's call with a result. It is not signed: never verified."""
    try:
        fields = _struct(callback.body, "methodCall")
    except _Unreadable as error:
        raise CallbackRefused(f"not a call with one struct: {error}") from error
    if not fields.get("ReffTransactionID") or "ResponseCode" not in fields:
        raise CallbackRefused("ReffTransactionID or ResponseCode is missing")
    report = _result(account, fields["ResponseCode"], fields.get("Message", ""))
    return CallbackReport(fields["ReffTransactionID"], report, verified=False)


def acknowledge(account: Account, callback: Callback) -> tuple[str, bytes]:
    """The answer that the center gives to our own call."""
    code = f"<member><name>ResponseCode</name><value><int>{_TAKEN}</int></value></member>"
    message = "<member><name>Message</name><value><string>OK</string></value></member>"
    value = f"<value><struct>{code}{message}</struct></value>"
    body = f"<methodResponse><params><param>{value}</param></params></methodResponse>"
    return "text/xml", _document(body)


def balance(account: Account) -> None:
    """There is no such call; the balance stands in the center's messages."""


def read_balance(account: Account, answer: Answer) -> Balance:
    """Raise `UnreadableAnswer`: there is no balance to read."""
    raise UnreadableAnswer("XML-RPC centers publish no call for the balance")


def price_list(account: Account) -> None:
    """Centers publish prices outside the protocol."""


def read_price_list(account: Account, answer: Answer) -> list[DealerPrice]:
    """Raise `UnreadableAnswer`: there is no price list to read."""
    raise UnreadableAnswer("XML-RPC centers have no price list")


def _address(account: Account) -> str:
    return account.base_url if urlsplit(account.base_url).path else f"{account.base_url}/"


def _codes(account: Account, option: str) -> list[str]:
    listed = account.options.get(option, "")
    return [code.strip() for code in listed.split(",")] if listed else []


def _may_be_about(order: TopUp, fields: Mapping[str, str]) -> bool:
    """Whether nothing in the answer names another purchase; it need not name any."""
    ours = {
        "RefTrxID": order.dealer_ref,
        "ReffTransactionID": order.dealer_ref,
        "MSISDN": order.customer_number,
    }
    return all(fields.get(name, value) == value for name, value in ours.items())


def _refusal(account: Account, code: str, message: str) -> Report:
    if centers.contradicts_failure(message):
        return Report(Outcome.UNKNOWN, code, message)
    if code in _codes(account, "number_codes"):
        return Report(Outcome.FAILED, code, message, Fault.NUMBER)
    return Report(Outcome.REJECTED, code, message)


def _result(account: Account, code: str, message: str) -> Report:
    """What a result says, by the account's own codes; unknown where its message denies it."""
    if code in _codes(account, "success_codes"):
        return replace(centers.success(message, message), code=code)
    if centers.contradicts_failure(message):
        return Report(Outcome.UNKNOWN, code, message)
    if code in _codes(account, "failure_codes"):
        return Report(Outcome.FAILED, code, message)
    if code in _codes(account, "number_codes"):
        return Report(Outcome.FAILED, code, message, Fault.NUMBER)
    if code in _codes(account, "reversal_codes"):
        return Report(Outcome.FAILED, code, message, reversal=True)
    return Report(Outcome.UNKNOWN, code or "no-code", message)


# ------------------------------------------------------------------ XML-RPC


def _document(body: str) -> bytes:
    return f'<?xml version="1.0"?>{body}'.encode()


def _params(fields: Mapping[str, str]) -> str:
    members = "".join(
        f"<member><name>{name}</name><value><string>{escape(text)}</string></value></member>"
        for name, text in fields.items()
    )
    return f"<params><param><value><struct>{members}</struct></value></param></params>"


def _struct(document: bytes, root: str) -> dict[str, str]:
    """The texts of the one struct in a document of this kind. Raises `_Unreadable`."""
    if len(document) > _LONGEST_DOCUMENT:
        raise _Unreadable("too-large")
    try:
        # Entities and what lies outside are refused: a bomb is a few lines long.
        tree: Element = fromstring(document, forbid_dtd=True)
    except (ParseError, ValueError, LookupError) as error:
        raise _Unreadable("not-xml") from error
    if tree.find("fault") is not None:
        raise _Unreadable("fault")
    structs = tree.findall("./params/param/value/struct")
    if tree.tag != root or len(structs) != 1:
        raise _Unreadable("not-one-struct")
    members = [_member(each) for each in structs[0]]
    if len(dict(members)) != len(members):
        raise _Unreadable("named-twice")
    return dict(members)


def _member(member: Element) -> tuple[str, str]:
    """Name and text of a struct's member: a string or a whole number. Raises `_Unreadable`."""
    name, value = member.find("name"), member.find("value")
    if [part.tag for part in member] != ["name", "value"] or name is None or value is None:
        raise _Unreadable("not-a-member")
    if len(value) == 0:
        return name.text or "", (value.text or "").strip()
    mixed = (value.text or "").strip() or (value[0].tail or "").strip()
    if mixed or len(value) > 1 or value[0].tag not in _SCALARS or len(value[0]):
        raise _Unreadable("not-a-text")
    return name.text or "", (value[0].text or "").strip()
