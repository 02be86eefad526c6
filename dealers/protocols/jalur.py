"""Jalur itself: another installation as the dealer, so that installations form a chain.

We are a reseller there. Orders go out as JSON with our reference as `ref_id`; what becomes of one
is told by signed webhooks and can be asked for by that reference. Every purchase names the
installations that its order came through (`Jalur-Hops`): one that finds itself named refuses with
`order-loop`.

A refusal is a problem document with a stable `code`. Those in `_REFUSED` are drawn before anything
is stored, so the reference stays free; whatever else is refused (5xx, a proxy's page, a code that
we do not know) says nothing. A question is answered by the order as it stands, or by an empty list
that names the reference asked for.

Webhooks are signed as Standard Webhooks has it, over `<id>.<timestamp>.<body>`. A protocol has no
clock, so their age is not judged, and an old one may be sent again by whoever overheard it. That is
borne: an order there goes from open to succeeded to reversed, or from open to failed, perhaps to
succeeded, and never back. An old failure contradicts a success, which makes the router ask; an old
success of a purchase that is closed makes it ask too (`app/words.py`); a reversal is the last word.

Source: docs/api.md of this project.
"""

import base64
import binascii
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Final, cast
from urllib.parse import quote

import orjson

from dealers.answers import Fields, fields_of, read_json, text_in, whole_number
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
    # What may still make an order of ours stand there once we have hung up: proxies give a request
    # up after a minute as a rule, and accepting one ends within 37 s, by the time-outs that Jalur
    # gives its own statements. Two minutes after a first "not here", a second one is the truth.
    absent_after_seconds=120.0,
    low_balance_codes=frozenset({"insufficient-balance"}),
    takes_traceparent=True,
    callback_is_word=True,
    callback_may_be_old=True,
)
CREDENTIALS: Final = (
    Setting("api_key", "our key there, jalur_live_…"),
    Setting("webhook_secret", "what its webhooks are signed with; else they are hints", False),
)
OPTIONS: Final = ()

_PATH = "/v1/orders"
_PAGE = 100
"""Products in one page of the price list: as many as there may be."""
_SECRET_PREFIX = "whsec_"  # noqa: S105 - a public prefix, not a secret
_SECRET_BYTES = range(24, 65)


@dataclass(frozen=True, slots=True)
class _Meaning:
    outcome: Outcome
    fault: Fault = Fault.PRODUCT
    reversal: bool = False


_Meanings = Mapping[str, _Meaning]


def _each(codes: str, outcome: Outcome, fault: Fault = Fault.PRODUCT) -> dict[str, _Meaning]:
    return dict.fromkeys(codes.split(), _Meaning(outcome, fault))


# An order's status, whoever tells it.
_STATES: _Meanings = {
    **_each("accepted processing", Outcome.PENDING),
    "succeeded": _Meaning(Outcome.SUCCEEDED),
    "reversed": _Meaning(Outcome.FAILED, reversal=True),
}

# Why an order failed there: `failure.code` beside the status `failed`.
_FAILURES: _Meanings = {
    "number-refused": _Meaning(Outcome.FAILED, Fault.NUMBER),
    **_each("not-delivered expired cancelled", Outcome.FAILED),
}

# Refusals of an order that use no reference. That the number or its brand is not known there is a
# difference between two tables of prefixes, ours having known it: another dealer may serve.
# Not here, so UNKNOWN: `idempotency-mismatch`, since our reference does stand for something there.
_REFUSED: _Meanings = {
    **_each("no-route number-busy order-loop price-above-limit", Outcome.REJECTED),
    **_each("invalid-number brand-mismatch", Outcome.REJECTED),
    **_each(
        "invalid-key insufficient-balance invalid-json invalid-request body-too-large "
        "unsupported-media-type unknown-sku unknown-region not-found method-not-allowed",
        Outcome.REJECTED,
        Fault.ACCOUNT,
    ),
}

_EVENTS: Mapping[str, str] = {
    "order.succeeded": "succeeded",
    "order.corrected": "succeeded",
    "order.updated": "succeeded",
    "order.failed": "failed",
    "order.reversed": "reversed",
}
"""The status that an event tells of."""


def validate(account: Account) -> list[str]:
    """The secret must be one that signatures can be checked with."""
    secret = account.credentials.get("webhook_secret")
    if secret and _key(secret) is None:
        return ["credential webhook_secret is not whsec_ and base64 of 24 to 64 bytes"]
    return []


def top_up(account: Account, order: TopUp) -> Request:
    """`POST /v1/orders`. `max_charge` makes the other side refuse what has become dearer."""
    fields: dict[str, object] = {
        "ref_id": order.dealer_ref,
        "sku": order.dealer_sku,
        "customer_number": order.customer_number,
        "max_charge": order.max_price_rupiah,
    }
    headers = {"content-type": "application/json", **_authorization(account)}
    if order.hops:
        headers["jalur-hops"] = ", ".join(order.hops)
    return Request("POST", _address(account, _PATH), headers, orjson.dumps(fields))


def read_top_up(account: Account, order: TopUp, answer: Answer) -> Report:
    """Read the answer to a purchase: the order as it stands (202 new, 200 again), or a problem."""
    if answer.status in (HTTPStatus.ACCEPTED, HTTPStatus.OK):
        return _order_report(read_json(answer.body), order)
    if HTTPStatus.BAD_REQUEST <= answer.status < HTTPStatus.INTERNAL_SERVER_ERROR:
        return _refusal(answer)
    return _unknown(f"http-{answer.status}")


def status(account: Account, order: TopUp) -> Request:
    """`GET /v1/orders?ref_id=`: a list of the one order, or of none."""
    address = _address(account, f"{_PATH}?ref_id={quote(order.dealer_ref, safe='')}")
    return Request("GET", address, _authorization(account))


def read_status(account: Account, order: TopUp, answer: Answer) -> Report:
    """Read the list. That it is empty counts only where it names our reference."""
    if answer.status != HTTPStatus.OK:
        return _unknown(f"http-{answer.status}")
    fields = fields_of(read_json(answer.body))
    if fields.get("ref_id") != order.dealer_ref:
        return _unknown("other-reference")
    found = fields.get("data")
    if found == [] and fields.get("has_more") is False:
        return Report(Outcome.UNKNOWN, "not-found", not_found=True)
    if not isinstance(found, list) or len(cast(list[object], found)) != 1:
        return _unknown("no-order")
    return _order_report(cast(list[object], found)[0], order)


def read_callback(account: Account, callback: Callback) -> CallbackReport:
    """Check `webhook-signature` over the raw body, then read the order that the event carries."""
    verified = _verified(account, callback)
    event = fields_of(read_json(callback.body))
    order = fields_of(event.get("data"))
    dealer_ref, kind = order.get("ref_id"), event.get("type")
    if not isinstance(dealer_ref, str) or not isinstance(kind, str):
        raise CallbackRefused("the body holds no event with an order's ref_id")
    if kind not in _EVENTS:
        # Of a later version: taken, lest the events behind it wait, and asked about.
        return CallbackReport(dealer_ref, _unknown(kind), verified)
    report = _state_report(order)
    if order.get("status") != _EVENTS[kind]:
        report = _unknown("contradiction")
    return CallbackReport(dealer_ref, report, verified)


def acknowledge(account: Account, callback: Callback) -> tuple[str, bytes]:
    """Any 2xx is enough."""
    return "text/plain", b"ok"


def balance(account: Account) -> Request:
    """`GET /v1/balance`."""
    return Request("GET", _address(account, "/v1/balance"), _authorization(account))


def read_balance(account: Account, answer: Answer) -> Balance:
    """What can be spent: what is available and the credit beyond it. Raises `UnreadableAnswer`."""
    if answer.status != HTTPStatus.OK:
        raise UnreadableAnswer(f"http-{answer.status}")
    fields = fields_of(read_json(answer.body))
    available, credit = (
        whole_number(fields.get("available")),
        whole_number(fields.get("credit_limit")),
    )
    if available is None or credit is None or fields.get("currency") != "IDR":
        raise UnreadableAnswer("no balance in rupiah in the answer")
    return Balance(available + credit)


def price_list(account: Account) -> Request:
    """`GET /v1/products`: the first page."""
    return _products(account)


def read_price_list(account: Account, answer: Answer) -> list[DealerPrice]:
    """Read one page of products. Raises `UnreadableAnswer`."""
    return [_price_line(fields_of(row)) for row in _page(answer)[0]]


def next_price_list(account: Account, answer: Answer) -> Request | None:
    """The page behind this one, None behind the last. Raises `UnreadableAnswer`."""
    cursor = _page(answer)[1]
    return None if cursor is None else _products(account, cursor)


# ------------------------------------------------------------------ requests


def _authorization(account: Account) -> dict[str, str]:
    return {"authorization": f"Bearer {account.credentials['api_key']}"}


def _address(account: Account, path: str) -> str:
    return account.base_url.rstrip("/") + path


def _products(account: Account, cursor: str | None = None) -> Request:
    behind = "" if cursor is None else f"&cursor={quote(cursor, safe='')}"
    address = _address(account, f"/v1/products?limit={_PAGE}{behind}")
    return Request("GET", address, _authorization(account))


# ------------------------------------------------------------------ orders


def _order_report(document: object, order: TopUp) -> Report:
    """What an order document says, if it is about this very purchase."""
    fields = fields_of(document)
    if fields.get("ref_id") != order.dealer_ref:
        return _unknown("other-reference")
    if fields.get("customer_number") != order.customer_number:
        return _unknown("other-number")
    if fields.get("sku") != order.dealer_sku:
        return _unknown("other-product")
    return _state_report(fields)


def _state_report(fields: Fields) -> Report:
    """What an order's status says, failures by their reason; UNKNOWN for what is in no map."""
    state, failure = text_in(fields, "status"), fields_of(fields.get("failure"))
    code = text_in(failure, "code") if state == "failed" else state
    meaning = (_FAILURES if state == "failed" else _STATES).get(code)
    if meaning is None:
        return replace(_unknown(code or "no-code"), message=text_in(failure, "message"))
    report = Report(
        meaning.outcome,
        code,
        text_in(failure, "message"),
        meaning.fault,
        reversal=meaning.reversal,
    )
    if meaning.outcome is not Outcome.SUCCEEDED:
        return report
    serial_number = text_in(fields, "serial_number") or None
    return replace(
        report, serial_number=serial_number, price_rupiah=whole_number(fields.get("price"))
    )


def _refusal(answer: Answer) -> Report:
    """A problem document, whose own status must be the answer's."""
    fields = fields_of(read_json(answer.body))
    code = text_in(fields, "code")
    meaning = _REFUSED.get(code)
    if meaning is None or fields.get("status") != answer.status:
        return _unknown(code or f"http-{answer.status}")
    return Report(meaning.outcome, code, text_in(fields, "detail"), meaning.fault)


def _unknown(code: str) -> Report:
    return Report(Outcome.UNKNOWN, code)


# ------------------------------------------------------------------ webhooks


def _verified(account: Account, callback: Callback) -> bool:
    secret = account.credentials.get("webhook_secret")
    key = _key(secret) if secret else None
    if key is None:
        return False
    event_id, timestamp, given = (
        callback.headers.get(f"webhook-{name}", "") for name in ("id", "timestamp", "signature")
    )
    if "." in event_id or not (timestamp.isascii() and timestamp.isdigit()):
        # Else the end of the id could be read as the timestamp, or the beginning of the body.
        raise CallbackRefused("webhook-id or webhook-timestamp is missing or misshapen")
    signed = f"{event_id}.{timestamp}.".encode("utf-8", "replace") + callback.body
    expected = b"v1," + base64.b64encode(hmac.digest(key, signed, "sha256"))
    signatures = given.encode("utf-8", "replace").split()
    if not any(hmac.compare_digest(each, expected) for each in signatures):
        raise CallbackRefused("webhook-signature is missing or wrong")
    return True


def _key(secret: str) -> bytes | None:
    """The key in `whsec_…`, or None where there is none."""
    try:
        key = base64.b64decode(secret.removeprefix(_SECRET_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        return None
    return key if secret.startswith(_SECRET_PREFIX) and len(key) in _SECRET_BYTES else None


# ------------------------------------------------------------------ products


def _page(answer: Answer) -> tuple[list[object], str | None]:
    """A page's products and the cursor behind it."""
    if answer.status != HTTPStatus.OK:
        raise UnreadableAnswer(f"http-{answer.status}")
    fields = fields_of(read_json(answer.body))
    data, cursor = fields.get("data"), fields.get("next_cursor")
    if not isinstance(data, list) or not isinstance(cursor, str | None):
        raise UnreadableAnswer("the answer is not a page of products")
    if (cursor is None) is not (fields.get("has_more") is False):
        raise UnreadableAnswer("whether there is another page is not said clearly")
    return cast(list[object], data), cursor


def _price_line(row: Fields) -> DealerPrice:
    sku, price = text_in(row, "sku"), whole_number(row.get("price"))
    if not sku or price is None or price <= 0:
        raise UnreadableAnswer("a product without its sku or its price")
    return DealerPrice(sku, text_in(row, "name"), price, available=row.get("available") is True)


# ------------------------------------------------------------------ JSON
