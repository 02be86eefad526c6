"""DT One's Digital Value Services: basic authentication, transactions with numbered classes.

The account is in rupiah. A product is `<product id>`, or `<product id>:<rupiah>` where the buyer
names the amount. Of its own sandbox, whose numbers choose by their last three digits, nothing is
copied: here two digits choose, as at every simulated dealer.
"""

import base64
import hmac
from collections.abc import Mapping
from http import HTTPStatus
from types import MappingProxyType
from typing import Any, cast
from urllib.parse import parse_qs

import orjson

from dealers.simulator.behaviour import Reason, State
from dealers.simulator.book import Purchase
from dealers.simulator.config import Dealer
from dealers.simulator.dialect import NO_SUCH_PAGE, Ask, Incoming, Outgoing, Reply

CREDENTIALS = ("api_key", "api_secret")
OPTIONAL_CREDENTIALS = ()

_JSON = b"application/json"
_CALLING_CODE = "+62"

_Error = tuple[int, str, int]
"""Code, message, HTTP status."""

_UNAUTHORIZED: _Error = (1000401, "Unauthorized", HTTPStatus.UNAUTHORIZED)
_USED: _Error = (1007001, "Transaction external ID has already been used", HTTPStatus.BAD_REQUEST)
_UNSUPPORTED: _Error = (1007500, "Method not supported by operator", HTTPStatus.BAD_REQUEST)
_ERRORS: Mapping[Reason, _Error] = MappingProxyType(
    {
        Reason.BAD_REQUEST: (1000400, "Bad Request", HTTPStatus.BAD_REQUEST),
        Reason.WRONG_SIGNATURE: _UNAUTHORIZED,
        Reason.UNKNOWN_PRODUCT: (
            1003001,
            "Product is not available in your account",
            HTTPStatus.NOT_FOUND,
        ),
        Reason.STOCK: _UNSUPPORTED,
        Reason.PRICE: _UNSUPPORTED,
        Reason.WRONG_NUMBER: (
            1005003,
            "Credit party mobile number is invalid",
            HTTPStatus.BAD_REQUEST,
        ),
        Reason.DISRUPTED: _UNSUPPORTED,
    }
)

_CLASSES: Mapping[State, tuple[int, str]] = MappingProxyType(
    {
        State.PENDING: (5, "SUBMITTED"),
        State.SUCCEEDED: (7, "COMPLETED"),
        State.REFUNDED: (8, "REVERSED"),
        State.FAILED: (9, "DECLINED"),
    }
)
_DECLINED: Mapping[Reason, str] = MappingProxyType(
    {
        Reason.WRONG_NUMBER: "DECLINED-INVALID-CREDIT-PARTY",
        Reason.DISRUPTED: "DECLINED-OPERATOR-CURRENTLY-UNAVAILABLE",
    }
)


_OPERATORS = MappingProxyType({"S": 601, "X": 602, "I": 603, "T": 604, "AX": 605, "SM": 606})


def sku_of(brand: str, thousand: int) -> str:
    """What buyers call a top-up of so many thousand rupiah."""
    return str(_OPERATORS[brand] * 1000 + thousand)


def read(dealer: Dealer, incoming: Incoming, balance_rupiah: int) -> Ask | Reply:
    """Read a purchase, a question by our reference, or a request for balances or products."""
    if not _is_allowed(dealer, incoming.headers.get(b"authorization", b"")):
        return _error(_UNAUTHORIZED)
    match incoming.method, incoming.action:
        case "POST", "async/transactions":
            return _purchase(_object(incoming.body))
        case "GET", "transactions":
            query = parse_qs(incoming.query.decode("latin-1"))
            return Ask(query.get("external_id", [""])[0], "", "", only_status=True)
        case "GET", "balances":
            return _reply([_wallet(balance_rupiah)])
        case "GET", "products":
            on_sale = [sku for sku in dealer.prices if sku.isdecimal() and dealer.is_in_stock(sku)]
            return _reply([_product(sku, dealer.prices[sku]) for sku in on_sale])
        case _:
            return NO_SUCH_PAGE


def refuse(dealer: Dealer, ask: Ask, reason: Reason, balance_rupiah: int) -> Reply:
    """One error; nothing was stored."""
    return _error(_ERRORS[reason])


def confirm(dealer: Dealer, purchase: Purchase, balance_rupiah: int) -> Reply:
    """The created transaction."""
    return _reply(_transaction(purchase, purchase.state), HTTPStatus.CREATED)


def recall(dealer: Dealer, ask: Ask, purchase: Purchase | None, balance_rupiah: int) -> Reply:
    """The list of transactions under a reference; one that is sent again is refused."""
    if not ask.only_status:
        return _error(_USED)
    if purchase is None or purchase.state is State.LOST:
        return _reply([])
    return _reply([_transaction(purchase, purchase.state)])


def callback(dealer: Dealer, purchase: Purchase, claim: State, balance_rupiah: int) -> Outgoing:
    """The transaction, unsigned."""
    body = orjson.dumps(_transaction(purchase, claim))
    return Outgoing("POST", purchase.callback_url, {"Content-Type": "application/json"}, body)


def _is_allowed(dealer: Dealer, authorization: bytes) -> bool:
    account = dealer.credentials
    plain = f"{account['api_key']}:{account['api_secret']}".encode()
    return hmac.compare_digest(authorization, b"Basic " + base64.b64encode(plain))


def _purchase(fields: Mapping[str, Any]) -> Ask | Reply:
    party, amount = _member(fields, "credit_party_identifier"), _member(fields, "destination")
    number = str(party.get("mobile_number", ""))
    product = str(fields.get("product_id", ""))
    ask = Ask(
        dealer_ref=str(fields.get("external_id", "")),
        sku=f"{product}:{amount['amount']}" if "amount" in amount else product,
        customer_number="0" + number.removeprefix(_CALLING_CODE),
        callback_url=str(fields.get("callback_url") or ""),
    )
    # What is created without being confirmed is another way of buying, which nobody here uses.
    complete = ask.dealer_ref and product and fields.get("auto_confirm") is True
    if not complete or not number.startswith(_CALLING_CODE):
        return _error(_ERRORS[Reason.BAD_REQUEST])
    return ask


def _transaction(purchase: Purchase, claim: State) -> dict[str, object]:
    number, name = _CLASSES[claim]
    status = name
    if claim is State.FAILED:
        status = _DECLINED[purchase.reason or Reason.DISRUPTED]
    price = {"unit_type": "CURRENCY", "unit": "IDR", "amount": purchase.price_rupiah, "fee": 0}
    return {
        "id": purchase.number,
        "external_id": purchase.dealer_ref,
        "status": {
            "id": number * 10_000,
            "message": status,
            "class": {"id": number, "message": name},
        },
        "operator_reference": purchase.serial_number or None,
        "prices": {"wholesale": price},
        "credit_party_identifier": {
            "mobile_number": _CALLING_CODE + purchase.customer_number.removeprefix("0")
        },
    }


def _wallet(balance_rupiah: int) -> dict[str, object]:
    return {
        "id": 1,
        "unit_type": "CURRENCY",
        "unit": "IDR",
        "available": balance_rupiah,
        "holding": 0,
        "credit_limit": 0,
    }


def _product(sku: str, price_rupiah: int) -> dict[str, object]:
    price = {"unit_type": "CURRENCY", "unit": "IDR", "amount": price_rupiah, "fee": 0}
    return {
        "id": int(sku),
        "name": f"Product {sku}",
        "type": "FIXED_VALUE_RECHARGE",
        "prices": {"wholesale": price, "retail": None},
    }


def _member(fields: Mapping[str, Any], name: str) -> dict[str, Any]:
    value: object = fields.get(name)
    return cast(dict[str, Any], value) if isinstance(value, dict) else {}


def _object(body: bytes) -> dict[str, Any]:
    try:
        value: object = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    return cast(dict[str, Any], value) if isinstance(value, dict) else {}


def _error(error: _Error) -> Reply:
    code, message, status = error
    return _reply({"errors": [{"code": code, "message": message}]}, status)


def _reply(content: object, status: int = HTTPStatus.OK) -> Reply:
    return Reply(orjson.dumps(content), _JSON, status)
