"""DT One's Digital Value Services: JSON over HTTPS with basic authentication, numbered states.

A transaction is created and confirmed in one request (`auto_confirm`) and settled later. Its state
is the status *class*, by number; DT One itself says to build on classes and to take the status
within a class for insight only, so a status decides about whose fault it was and nothing else.

A refusal is a list of errors; only one in DT One's own words proves anything. "External ID has
already been used" (1007001) means that an earlier transaction holds our reference: UNKNOWN.

Our product is `<product id>`, or `<product id>:<rupiah>` for a product with a range of amounts.

The account may be in any currency and our book is in rupiah: a price in another one, or with a
fraction, is not read. There is no price limit in the request. Callbacks are not signed: they only
trigger a check. DT One limits requests without saying how many a second.

Sources: the DVS API reference 1.14, https://dvs-api-doc.dtone.com (Transactions, Callbacks, Status
and Errors, Balances), https://developers.dtone.com/reference/transactions, and DT One's own client
github.com/dtone/dtone-dvs-api-java-client.
"""

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Final, cast
from urllib.parse import quote, urlencode

import orjson

from dealers.answers import Fields, decimal_number, fields_of, read_json, text_in
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
    # The reference calls the query by external_id the way to a transaction whose answer was not
    # received; a transaction is there once its creation was answered.
    absent_after_seconds=300.0,
    low_balance_codes=frozenset({"1006001", "REJECTED-INSUFFICIENT-BALANCE"}),
)
CREDENTIALS: Final = (
    Setting("api_key", "the API key, of production or pre-production"),
    Setting("api_secret", "its secret"),
)
OPTIONS: Final = ()

_COUNTRY, _CALLING_CODE = "IDN", "+62"
_RUPIAH = "IDR"
_PAGE_LINES = 100
"""The largest page."""
_LONGEST_PAGE_NUMBER = 6

_SKU = re.compile(r"(?P<product>\d{1,9})(?::(?P<rupiah>\d{1,9}))?")


@dataclass(frozen=True, slots=True)
class _Meaning:
    outcome: Outcome
    fault: Fault = Fault.PRODUCT
    reversal: bool = False
    not_found: bool = False


_Meanings = Mapping[str, _Meaning]

_UNKNOWN = _Meaning(Outcome.UNKNOWN)


@dataclass(frozen=True, slots=True)
class _Class:
    name: str
    meaning: _Meaning


def _each(codes: str, outcome: Outcome, fault: Fault) -> dict[str, _Meaning]:
    return dict.fromkeys(codes.split(), _Meaning(outcome, fault))


# REJECTED is DT One's own refusal of a transaction that it has created: for us it failed.
_CLASSES: Mapping[int, _Class] = {
    1: _Class("CREATED", _Meaning(Outcome.PENDING)),
    2: _Class("CONFIRMED", _Meaning(Outcome.PENDING)),
    3: _Class("REJECTED", _Meaning(Outcome.FAILED)),
    4: _Class("CANCELLED", _Meaning(Outcome.FAILED)),
    5: _Class("SUBMITTED", _Meaning(Outcome.PENDING)),
    7: _Class("COMPLETED", _Meaning(Outcome.SUCCEEDED)),
    8: _Class("REVERSED", _Meaning(Outcome.FAILED, reversal=True)),
    9: _Class("DECLINED", _Meaning(Outcome.FAILED)),
}

# What follows the class's name in a status. Every other one is the product's fault.
_FAULTS: Mapping[str, Fault] = {
    "INVALID-CREDIT-PARTY": Fault.NUMBER,
    "BARRED-CREDIT-PARTY": Fault.NUMBER,
    "INVALID-DEBIT-PARTY": Fault.ACCOUNT,
    "BARRED-DEBIT-PARTY": Fault.ACCOUNT,
    "INSUFFICIENT-BALANCE": Fault.ACCOUNT,
    "LIMITATIONS-ON-CUSTOMER-AMOUNT": Fault.ACCOUNT,
    "LIMITATIONS-ON-CUSTOMER-QUANTITY": Fault.ACCOUNT,
}

_REFUSED: _Meanings = {
    **_each(
        "1000400 1000401 1000429 1003001 1003002 1003003 1005503 1006001 1006003 1006009",
        Outcome.REJECTED,
        Fault.ACCOUNT,
    ),
    **_each("1007500", Outcome.REJECTED, Fault.PRODUCT),
    **_each("1005003 1006503", Outcome.FAILED, Fault.NUMBER),
}
_ABSENT: _Meanings = {"1008004": _Meaning(Outcome.UNKNOWN, not_found=True)}
"""Transaction not found: all that an error on a check can tell."""

_CREATED = frozenset({HTTPStatus.OK, HTTPStatus.CREATED, HTTPStatus.ACCEPTED})


def validate(account: Account) -> list[str]:
    """The colon divides the two in the header."""
    if ":" in account.credentials["api_key"]:
        return ["credential api_key must not hold a colon"]
    return []


def top_up(account: Account, order: TopUp) -> Request:
    """`POST /async/transactions`, confirmed at once.

    Raises ValueError for a product that is not named as this one's are.
    """
    sku = _SKU.fullmatch(order.dealer_sku)
    if sku is None:
        raise ValueError("the dealer's sku must be <product id>[:<rupiah>]")
    fields: dict[str, object] = {
        "external_id": order.dealer_ref,
        "product_id": int(sku["product"]),
        "auto_confirm": True,
        "credit_party_identifier": {"mobile_number": _international(order)},
    }
    if sku["rupiah"] is not None:
        amount = {"unit_type": "CURRENCY", "unit": _RUPIAH, "amount": int(sku["rupiah"])}
        fields |= {"calculation_mode": "DESTINATION_AMOUNT", "destination": amount}
    if order.callback_url:
        fields["callback_url"] = order.callback_url
    return _request(account, "POST", "/async/transactions", orjson.dumps(fields))


def read_top_up(account: Account, order: TopUp, answer: Answer) -> Report:
    """Read the created transaction, or a refusal."""
    if answer.status in _CREATED:
        return _read_transaction(order, fields_of(read_json(answer.body)))
    return _read_errors(answer, _REFUSED)


def status(account: Account, order: TopUp) -> Request:
    """`GET /transactions`, filtered by our reference."""
    path = f"/transactions?external_id={quote(order.dealer_ref, safe='')}"
    return _request(account, "GET", path)


def read_status(account: Account, order: TopUp, answer: Answer) -> Report:
    """Read the list of transactions under our reference, which holds one or none."""
    if answer.status != HTTPStatus.OK:
        return _read_errors(answer, _ABSENT)
    listed = read_json(answer.body)
    if not isinstance(listed, list):
        return _unknown("no-list")
    transactions = cast(list[object], listed)
    if not transactions:
        return Report(Outcome.UNKNOWN, "not-found", not_found=True)
    if len(transactions) > 1:
        return _unknown("several-transactions")
    return _read_transaction(order, fields_of(transactions[0]))


def read_callback(account: Account, callback: Callback) -> CallbackReport:
    """The transaction again; nothing proves who sent it."""
    fields = fields_of(read_json(callback.body))
    dealer_ref = fields.get("external_id")
    if not isinstance(dealer_ref, str) or not fields_of(fields.get("status")):
        raise CallbackRefused("the body holds no transaction with external_id and status")
    return CallbackReport(dealer_ref, _report(fields), verified=False)


def acknowledge(account: Account, callback: Callback) -> tuple[str, bytes]:
    """Any 2xx is enough for DT One; else it calls again several times."""
    return "text/plain", b"ok"


def balance(account: Account) -> Request:
    """`GET /balances`."""
    return _request(account, "GET", "/balances")


def read_balance(account: Account, answer: Answer) -> Balance:
    """Read what is available in rupiah, sen left out. Raises `UnreadableAnswer`."""
    wallets = [wallet for wallet in _rows_or_raise(answer) if wallet.get("unit") == _RUPIAH]
    if len(wallets) != 1:
        raise UnreadableAnswer(f"{len(wallets)} balances in {_RUPIAH}, the book's currency")
    available = decimal_number(wallets[0].get("available"))
    if available is None:
        raise UnreadableAnswer("no amount available in the answer")
    return Balance(int(available))


def price_list(account: Account) -> Request:
    """`GET /products` for Indonesia, in pages as large as they can be."""
    return _products(account, "1")


def next_price_list(account: Account, answer: Answer) -> Request | None:
    """The page that `X-Next-Page` names, which is empty or absent on the last."""
    page = answer.headers.get("x-next-page", "").strip()
    if not page:
        return None
    if not page.isdecimal() or len(page) > _LONGEST_PAGE_NUMBER:
        raise UnreadableAnswer("X-Next-Page is not a number")
    return _products(account, page)


def read_price_list(account: Account, answer: Answer) -> list[DealerPrice]:
    """Read one page of the products' wholesale prices. Raises `UnreadableAnswer`."""
    rows = _rows_or_raise(answer)
    return [_price_line(row) for row in rows if _is_id(row.get("id"))]


def _request(account: Account, method: str, path: str, body: bytes = b"") -> Request:
    credentials = account.credentials
    plain = f"{credentials['api_key']}:{credentials['api_secret']}"
    headers = {
        "accept": "application/json",
        "authorization": f"Basic {base64.b64encode(plain.encode()).decode()}",
    }
    if body:
        headers["content-type"] = "application/json"
    return Request(method, account.base_url.rstrip("/") + path, headers, body)


def _products(account: Account, page: str) -> Request:
    query = {
        "country_iso_code": _COUNTRY,
        "type": "FIXED_VALUE_RECHARGE",
        "per_page": _PAGE_LINES,
        "page": page,
    }
    return _request(account, "GET", f"/products?{urlencode(query)}")


def _international(order: TopUp) -> str:
    return _CALLING_CODE + order.customer_number.removeprefix("0")


def _read_errors(answer: Answer, meanings: _Meanings) -> Report:
    """Only a 4xx with one error in DT One's own words proves that it refused."""
    by_transport = _unknown(f"http-{answer.status}")
    if not HTTPStatus.BAD_REQUEST <= answer.status < HTTPStatus.INTERNAL_SERVER_ERROR:
        return by_transport
    errors = fields_of(read_json(answer.body)).get("errors")
    if not isinstance(errors, list):
        return by_transport
    listed = [fields_of(error) for error in cast(list[object], errors)]
    codes = {str(error.get("code")) for error in listed}
    if len(codes) != 1:
        return by_transport
    code = codes.pop()
    meaning = meanings.get(code, _UNKNOWN)
    return Report(
        meaning.outcome,
        code,
        text_in(listed[0], "message"),
        meaning.fault,
        not_found=meaning.not_found,
    )


def _read_transaction(order: TopUp, fields: Fields) -> Report:
    if fields.get("external_id") != order.dealer_ref:
        return _unknown("other-reference")
    party = fields_of(fields.get("credit_party_identifier"))
    number = party.get("mobile_number")
    if number is not None and number != _international(order):
        return _unknown("other-number")
    return _report(fields)


def _report(fields: Fields) -> Report:
    status = fields_of(fields.get("status"))
    group = fields_of(status.get("class"))
    number, message = group.get("id"), text_in(status, "message")
    known = _CLASSES.get(number) if _is_id(number) and isinstance(number, int) else None
    if known is None:
        return Report(Outcome.UNKNOWN, message or "no-class")
    name, _, reason = message.partition("-")
    if group.get("message") != known.name or name != known.name or not _is_id(fields.get("id")):
        return _unknown("contradiction")
    meaning = known.meaning
    fault = _FAULTS.get(reason, meaning.fault)
    report = Report(meaning.outcome, message, fault=fault, reversal=meaning.reversal)
    if meaning.outcome is not Outcome.SUCCEEDED:
        return report
    return replace(
        report,
        serial_number=_serial_number(fields),
        price_rupiah=_wholesale_rupiah(fields),
    )


def _serial_number(fields: Fields) -> str | None:
    """The voucher's code where the product is one, else the operator's own reference."""
    code = text_in(fields_of(fields.get("pin")), "code")
    return code or text_in(fields, "operator_reference") or None


def _wholesale_rupiah(fields: Fields) -> int | None:
    """What is held at creation and captured at completion: the wholesale price and its fee."""
    price = fields_of(fields_of(fields.get("prices")).get("wholesale"))
    amount, fee = decimal_number(price.get("amount")), decimal_number(price.get("fee", 0))
    if price.get("unit") != _RUPIAH or amount is None or fee is None:
        return None
    charged = amount + fee
    return int(charged) if charged > 0 and charged == int(charged) else None


def _price_line(row: Fields) -> DealerPrice:
    price = _wholesale_rupiah(row)
    return DealerPrice(
        str(row["id"]), text_in(row, "name"), price or 0, available=price is not None
    )


def _is_id(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _unknown(code: str) -> Report:
    return Report(Outcome.UNKNOWN, code)


def _rows_or_raise(answer: Answer) -> list[Fields]:
    body = read_json(answer.body)
    if answer.status != HTTPStatus.OK:
        raise UnreadableAnswer(f"http-{answer.status}")
    if not isinstance(body, list):
        raise UnreadableAnswer("the answer is not a list")
    return [fields_of(row) for row in cast(list[object], body)]
