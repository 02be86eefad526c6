"""Reloadly's airtime API: OAuth tokens, purchases accepted by number, a report by our reference.

The authorization server is served at the same address as the dealer: `auth_url` is the dealer's
`base_url`. A token carries its own end and is sealed with the account's secret, so nothing about it
is kept. The account is in rupiah, and a product is `<operatorId>:<amount>`.
"""

import hashlib
import hmac
import time
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

CREDENTIALS = ("client_id", "client_secret")
OPTIONAL_CREDENTIALS = ("webhook_secret",)

_JSON = b"application/json"
_LIFETIME_SECONDS = 86_400.0
_CALLING_CODE = "62"
_USED = "CUSTOM_IDENTIFIER_ALREADY_USED"

_STATES: Mapping[State, str] = MappingProxyType(
    {
        State.PENDING: "PROCESSING",
        State.SUCCEEDED: "SUCCESSFUL",
        State.FAILED: "FAILED",
        State.REFUNDED: "REFUNDED",
    }
)
_CODES: Mapping[Reason, str] = MappingProxyType(
    {
        Reason.BAD_REQUEST: "INVALID_INPUT_PROVIDED",
        Reason.WRONG_SIGNATURE: "INVALID_TOKEN",
        Reason.UNKNOWN_PRODUCT: "INVALID_AMOUNT_FOR_OPERATOR",
        Reason.STOCK: "OPERATOR_NOT_IN_SERVICE",
        Reason.PRICE: "OPERATOR_NOT_IN_SERVICE",
        Reason.WRONG_NUMBER: "INVALID_RECIPIENT_PHONE",
        Reason.DISRUPTED: "OPERATOR_NOT_IN_SERVICE",
    }
)
_MESSAGES: Mapping[str, str] = MappingProxyType(
    {
        _USED: "The custom identifier provided has already been used",
        "INVALID_AMOUNT_FOR_OPERATOR": "The amount is not valid for the operator",
        "INVALID_CREDENTIALS": "Access Denied",
        "INVALID_INPUT_PROVIDED": "A required field is missing",
        "INVALID_RECIPIENT_PHONE": "Recipient phone number is not valid",
        "INVALID_TOKEN": "Full authentication is required to access this resource",
        "OPERATOR_NOT_IN_SERVICE": "The operator is currently not in service",
        "TOKEN_EXPIRED": "The token is expired",
    }
)


_OPERATORS = MappingProxyType({"S": 601, "X": 602, "I": 603, "T": 604, "AX": 605, "SM": 606})


def sku_of(brand: str, thousand: int) -> str:
    """What buyers call a top-up of so many thousand rupiah."""
    return f"{_OPERATORS[brand]}:{thousand * 1000}"


def read(dealer: Dealer, incoming: Incoming, balance_rupiah: int) -> Ask | Reply:
    """Read a request for a token, a purchase, the report or the balance."""
    if (incoming.method, incoming.action) == ("POST", "oauth/token"):
        return _give_token(dealer, incoming)
    refusal = _refused_token(dealer, incoming.headers.get(b"authorization", b"").decode("latin-1"))
    if refusal is not None:
        return _error(refusal, HTTPStatus.UNAUTHORIZED)
    match incoming.method, incoming.action:
        case "POST", "topups-async":
            return _purchase(_object(incoming.body))
        case "GET", "topups/reports/transactions":
            query = parse_qs(incoming.query.decode("latin-1"))
            return Ask(query.get("customIdentifier", [""])[0], "", "", only_status=True)
        case "GET", "accounts/balance":
            return _reply({"balance": balance_rupiah, "currencyCode": "IDR"})
        case _:
            return NO_SUCH_PAGE


def refuse(dealer: Dealer, ask: Ask, reason: Reason, balance_rupiah: int) -> Reply:
    """HTTP 400 with the reason; nothing was stored."""
    return _error(_CODES[reason])


def confirm(dealer: Dealer, purchase: Purchase, balance_rupiah: int) -> Reply:
    """The transaction's number; a wrong number is noticed at once.

    A real Reloadly says no more here. What is final at once is told at once all the same, as its
    synchronous call does: which word comes first must not hang on when the buyer asks.
    """
    if purchase.reason is Reason.WRONG_NUMBER:
        return _error(_CODES[Reason.WRONG_NUMBER])
    if purchase.state in (State.SUCCEEDED, State.FAILED):
        return _reply(_transaction(purchase, purchase.state))
    return _reply({"transactionId": purchase.number})


def recall(dealer: Dealer, ask: Ask, purchase: Purchase | None, balance_rupiah: int) -> Reply:
    """A page of the report; a reference that is sent again is refused."""
    if not ask.only_status:
        return _error(_USED)
    rows: list[dict[str, object]] = []
    if purchase is not None and purchase.state is not State.LOST:
        rows = [_transaction(purchase, purchase.state)]
    return _reply({"content": rows, "totalElements": len(rows), "last": True})


def callback(dealer: Dealer, purchase: Purchase, claim: State, balance_rupiah: int) -> Outgoing:
    """A webhook, signed where the account has a secret for it."""
    event = {"type": "airtime_transaction.status", "data": _transaction(purchase, claim)}
    body = orjson.dumps(event)
    headers = {"Content-Type": "application/json"}
    secret = dealer.credentials.get("webhook_secret")
    if secret:
        timestamp = str(int(time.time() * 1000))
        signed = b"%b:%b" % (body, timestamp.encode())
        headers["X-Reloadly-Request-Timestamp"] = timestamp
        headers["X-Reloadly-Signature"] = _seal(secret, signed)
    return Outgoing("POST", purchase.callback_url, headers, body)


def _give_token(dealer: Dealer, incoming: Incoming) -> Reply:
    fields, account = _object(incoming.body), dealer.credentials
    given = (fields.get("client_id"), fields.get("client_secret"), fields.get("grant_type"))
    if given != (account["client_id"], account["client_secret"], "client_credentials"):
        return _error("INVALID_CREDENTIALS", HTTPStatus.UNAUTHORIZED)
    lifetime = float(account.get("token_seconds", _LIFETIME_SECONDS))
    end = f"{time.time() + lifetime:.3f}"
    return _reply(
        {
            "access_token": f"{end}-{_seal(account['client_secret'], end.encode())}",
            "scope": "send-topups read-topups-history",
            "expires_in": lifetime,
            "token_type": "Bearer",
        }
    )


def _refused_token(dealer: Dealer, authorization: str) -> str | None:
    """Why the request may not pass, as an error code."""
    end, _, seal = authorization.removeprefix("Bearer ").partition("-")
    due = _seal(dealer.credentials["client_secret"], end.encode())
    if not hmac.compare_digest(seal.encode(), due.encode()):
        return "INVALID_TOKEN"
    return "TOKEN_EXPIRED" if float(end) <= time.time() else None


def _seal(secret: str, text: bytes) -> str:
    return hmac.new(secret.encode(), text, hashlib.sha256).hexdigest()


def _purchase(fields: Mapping[str, Any]) -> Ask | Reply:
    recipient = cast(object, fields.get("recipientPhone"))
    phone = cast(dict[str, Any], recipient) if isinstance(recipient, dict) else {}
    number = str(phone.get("number", "")).removeprefix("+").removeprefix(_CALLING_CODE)
    suffix = "" if fields.get("useLocalAmount") is True else ":sender"
    ask = Ask(
        dealer_ref=str(fields.get("customIdentifier", "")),
        sku=f"{fields.get('operatorId')}:{fields.get('amount')}{suffix}",
        customer_number=f"0{number}",
    )
    complete = ask.dealer_ref and number and phone.get("countryCode") == "ID"
    return ask if complete else _error("INVALID_INPUT_PROVIDED")


def _transaction(purchase: Purchase, claim: State) -> dict[str, object]:
    return {
        "transactionId": purchase.number,
        "status": _STATES[claim],
        "operatorTransactionId": purchase.serial_number or None,
        "customIdentifier": purchase.dealer_ref,
        "recipientPhone": _CALLING_CODE + purchase.customer_number.removeprefix("0"),
        "countryCode": "ID",
        "requestedAmountCurrencyCode": "IDR",
        "balanceInfo": {"cost": float(purchase.price_rupiah), "currencyCode": "IDR"},
    }


def _object(body: bytes) -> dict[str, Any]:
    try:
        value: object = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    return cast(dict[str, Any], value) if isinstance(value, dict) else {}


def _error(code: str, status: int = HTTPStatus.BAD_REQUEST) -> Reply:
    return _reply({"message": _MESSAGES[code], "errorCode": code, "details": []}, status)


def _reply(content: object, status: int = HTTPStatus.OK) -> Reply:
    return Reply(orjson.dumps(content), _JSON, status)
