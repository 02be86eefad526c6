"""Reloadly airtime: JSON over HTTPS with OAuth tokens, top-ups accepted first and settled later.

A purchase is answered with Reloadly's own number only. Its status call wants that number, so a
purchase is looked up in the transactions report by `customIdentifier`, our reference. Nothing says
that the report shows a top-up at once: that it is not in there proves nothing.

`customIdentifier` can never be used again: "already used" (CUSTOM_IDENTIFIER_ALREADY_USED) means
that an earlier purchase holds it, so it is UNKNOWN. It is no lock either: two requests under way
together are reported to be both executed.

Our product is `<operatorId>:<amount>` with the amount in rupiah, or `<operatorId>:<amount>:sender`
with the amount in the account's own currency, for operators without local amounts.

The account may be in any currency and our book is in rupiah: a price, a balance in another one is
not read. There is no price limit in the request, and no price list: what a top-up costs follows
from exchange rates and commissions.

Sources: github.com/Reloadly/reloadly-api-documentation, openapi/components/schemas/airtime
(top_ups_async, get_all_transactions, accounts_balance) and authentication/access_token;
github.com/Reloadly/reloadly-sdk-java, java-sdk-airtime (`TransactionHistoryFilter` for the report's
filter, its page with `content`, `AirtimeTransactionStatus` for the states); the table of error
codes in https://developers.reloadly.com.
"""

import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Final, cast
from urllib.parse import quote, urlsplit

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
    Session,
    Setting,
    TopUp,
    UnreadableAnswer,
)

CAPABILITIES: Final = Capabilities(
    recovery=Recovery.STATUS_CALL,
    callback_is_word=True,
    # Its timestamp is signed but judged by nobody: a protocol has no clock.
    callback_may_be_old=True,
    low_balance_codes=frozenset({"INSUFFICIENT_BALANCE"}),
)
CREDENTIALS: Final = (
    Setting("client_id", "the API client's id, of the live or the sandbox environment"),
    Setting("client_secret", "its secret"),
    Setting("webhook_secret", "what webhooks are signed with; else they are hints", False),
)
OPTIONS: Final = (
    Setting("auth_url", "where tokens are given; else https://auth.reloadly.com", False),
    Setting("audience", "what a token is asked for; else the base_url", required=False),
)

_AUTH_URL = "https://auth.reloadly.com"
_VERSION = "application/com.reloadly.topups-v1+json"
_COUNTRY, _CALLING_CODE = "ID", "62"
_RUPIAH = "IDR"
_AIRTIME_EVENT = "airtime_transaction.status"

_SKU = re.compile(r"(?P<operator>\d{1,9}):(?P<amount>\d{1,9}(?:\.\d{1,5})?)(?P<sender>:sender)?")
_TOKEN = re.compile(r"[!-~]{1,8192}")
"""Visible ASCII: what goes into a header must not end it."""


@dataclass(frozen=True, slots=True)
class _Meaning:
    outcome: Outcome
    fault: Fault = Fault.PRODUCT
    reversal: bool = False


_Meanings = Mapping[str, _Meaning]

_UNKNOWN = _Meaning(Outcome.UNKNOWN)


def _each(codes: str, outcome: Outcome, fault: Fault) -> dict[str, _Meaning]:
    return dict.fromkeys(codes.split(), _Meaning(outcome, fault))


_STATES: _Meanings = {
    "PROCESSING": _Meaning(Outcome.PENDING),
    "SUCCESSFUL": _Meaning(Outcome.SUCCEEDED),
    "FAILED": _Meaning(Outcome.FAILED),
    "REFUNDED": _Meaning(Outcome.FAILED, reversal=True),
}

# Refused before a transaction was created. Not in the map, so UNKNOWN: the identifier that is in
# use, and what is said after the operator was tried (TOPUP_TRANSACTION_FAILED,
# TRANSACTION_CANNOT_BE_PROCESSED_AT_THE_MOMENT).
_REFUSED: _Meanings = {
    **_each(
        "INVALID_TOKEN TOKEN_EXPIRED MISSING_TOKEN INVALID_CREDENTIALS INVALID_AUDIENCE "
        "INACTIVE_ACCOUNT ACCOUNT_NOT_FOUND INSUFFICIENT_BALANCE "
        "MAX_DAILY_TRANSACTION_COUNT_REACHED MAX_DAILY_TRANSACTION_AMOUNT_REACHED "
        "INVALID_INPUT_PROVIDED INVALID_AMOUNT INVALID_AMOUNT_FOR_OPERATOR "
        "INVALID_LOCAL_AMOUNT_FOR_OPERATOR LOCAL_AMOUNTS_NOT_SUPPORTED_BY_OPERATOR "
        "INVALID_SENDER_PHONE COUNTRY_NOT_SUPPORTED",
        Outcome.REJECTED,
        Fault.ACCOUNT,
    ),
    # A number topped up less than two minutes ago, an operator that another of our routes may
    # name rightly: another dealer may serve these.
    **_each(
        "OPERATOR_UNAVAILABLE_OR_CURRENTLY_INACTIVE OPERATOR_NOT_IN_SERVICE "
        "PHONE_RECENTLY_RECHARGED OPERATOR_AND_RECIPIENT_PHONE_MISMATCH",
        Outcome.REJECTED,
        Fault.PRODUCT,
    ),
    **_each("INVALID_RECIPIENT_PHONE INVALID_PHONE_NUMBER", Outcome.FAILED, Fault.NUMBER),
}


def validate(account: Account) -> list[str]:
    """`auth_url` must be an address."""
    address = urlsplit(account.options.get("auth_url", _AUTH_URL))
    if address.scheme in {"http", "https"} and address.hostname and not address.query:
        return []
    return ["option auth_url must begin with http:// or https:// and name a host"]


def log_in(account: Account) -> Request:
    """`POST /oauth/token` at the authorization server, with client credentials."""
    base_url = account.base_url.rstrip("/")
    fields = {
        "client_id": account.credentials["client_id"],
        "client_secret": account.credentials["client_secret"],
        "grant_type": "client_credentials",
        "audience": account.options.get("audience", base_url),
    }
    return Request(
        "POST",
        account.options.get("auth_url", _AUTH_URL).rstrip("/") + "/oauth/token",
        {"content-type": "application/json", "accept": "application/json"},
        orjson.dumps(fields),
    )


def read_log_in(account: Account, answer: Answer) -> Session:
    """Read `access_token` and `expires_in` (seconds). Raises `UnreadableAnswer`."""
    fields = _fields_or_raise(answer)
    token, lifetime = fields.get("access_token"), fields.get("expires_in")
    if not isinstance(token, str) or not _TOKEN.fullmatch(token):
        raise UnreadableAnswer("no token in the answer")
    if isinstance(lifetime, bool) or not isinstance(lifetime, int | float) or lifetime <= 0:
        raise UnreadableAnswer("the token's lifetime is missing")
    return Session(token, float(lifetime))


def session_ended(answer: Answer) -> bool:
    """TOKEN_EXPIRED and INVALID_TOKEN come with HTTP 401, which nothing else does."""
    return answer.status == HTTPStatus.UNAUTHORIZED


def top_up(account: Account, order: TopUp) -> Request:
    """`POST /topups-async`. Raises ValueError for a product that is not named as this one's are."""
    sku = _SKU.fullmatch(order.dealer_sku)
    if sku is None:
        raise ValueError("the dealer's sku must be <operatorId>:<amount>[:sender]")
    fields = {
        "operatorId": int(sku["operator"]),
        "amount": sku["amount"],
        "useLocalAmount": sku["sender"] is None,
        "customIdentifier": order.dealer_ref,
        "recipientPhone": {"countryCode": _COUNTRY, "number": f"+{_international(order)}"},
    }
    return _request(account, "POST", "/topups-async", orjson.dumps(fields))


def read_top_up(account: Account, order: TopUp, answer: Answer) -> Report:
    """Read the acceptance, which names Reloadly's own transaction only, or a refusal."""
    if answer.status != HTTPStatus.OK:
        return _read_refusal(answer)
    fields = fields_of(read_json(answer.body))
    if "status" in fields:
        return _read_transaction(order, fields)
    if fields.get("customIdentifier", order.dealer_ref) != order.dealer_ref:
        return _unknown("other-reference")
    if not _is_transaction_id(fields.get("transactionId")) or "errorCode" in fields:
        return _unknown("no-transaction")
    return Report(Outcome.PENDING, "accepted")


def status(account: Account, order: TopUp) -> Request:
    """`GET /topups/reports/transactions`, filtered by our reference."""
    path = f"/topups/reports/transactions?customIdentifier={quote(order.dealer_ref, safe='')}"
    return _request(account, "GET", path)


def read_status(account: Account, order: TopUp, answer: Answer) -> Report:
    """Read the report's page. The filter ignores case, so each row's reference is looked at."""
    if answer.status != HTTPStatus.OK:
        return _unknown(f"http-{answer.status}")
    rows = fields_of(read_json(answer.body)).get("content")
    if not isinstance(rows, list):
        return _unknown("no-report")
    listed = [fields_of(row) for row in cast(list[object], rows)]
    ours = [row for row in listed if row.get("customIdentifier") == order.dealer_ref]
    if len(ours) == 1:
        return _read_transaction(order, ours[0])
    if ours:
        # Which of them was ours is for a person to find out.
        return _unknown("several-transactions")
    if listed or fields_of(read_json(answer.body)).get("totalElements", 0) != 0:
        return _unknown("other-reference")
    return Report(Outcome.UNKNOWN, "not-found", not_found=True)


def read_callback(account: Account, callback: Callback) -> CallbackReport:
    """Check `X-Reloadly-Signature`, then read the transaction in `data` like a report's row."""
    verified = _verified(account, callback)
    event = fields_of(read_json(callback.body))
    data = fields_of(event.get("data"))
    fields = {**data, **fields_of(data.get("transaction"))}
    dealer_ref, state = fields.get("customIdentifier"), fields.get("status")
    if event.get("type") != _AIRTIME_EVENT:
        raise CallbackRefused(f"not of the type {_AIRTIME_EVENT}")
    if not isinstance(dealer_ref, str) or not isinstance(state, str):
        raise CallbackRefused("the body holds no transaction with customIdentifier and status")
    if data.get("status", state) != state:
        return CallbackReport(dealer_ref, _unknown("contradiction"), verified)
    return CallbackReport(dealer_ref, _report(fields, state), verified)


def acknowledge(account: Account, callback: Callback) -> tuple[str, bytes]:
    """Any 200 is enough for Reloadly."""
    return "text/plain", b"ok"


def balance(account: Account) -> Request:
    """`GET /accounts/balance`."""
    return _request(account, "GET", "/accounts/balance")


def read_balance(account: Account, answer: Answer) -> Balance:
    """Read a balance in rupiah, sen left out. Raises `UnreadableAnswer`."""
    fields = _fields_or_raise(answer)
    currency, amount = fields.get("currencyCode"), decimal_number(fields.get("balance"))
    if currency != _RUPIAH:
        raise UnreadableAnswer(f"the account is in {str(currency)[:10]}, the book in {_RUPIAH}")
    if amount is None:
        raise UnreadableAnswer("no balance in the answer")
    return Balance(int(amount))


def price_list(account: Account) -> None:
    """There is none: the catalogue names amounts and percentages, not what is charged."""


def read_price_list(account: Account, answer: Answer) -> list[DealerPrice]:
    """There is none to read. Raises `UnreadableAnswer`."""
    raise UnreadableAnswer("Reloadly has no price list")


def _request(account: Account, method: str, path: str, body: bytes = b"") -> Request:
    headers = {"accept": _VERSION, "authorization": f"Bearer {account.session or ''}"}
    if body:
        headers["content-type"] = "application/json"
    return Request(method, account.base_url.rstrip("/") + path, headers, body)


def _international(order: TopUp) -> str:
    return _CALLING_CODE + order.customer_number.removeprefix("0")


def _read_refusal(answer: Answer) -> Report:
    """Only a 4xx in Reloadly's own words proves that it refused: a proxy's page does not."""
    by_transport = _unknown(f"http-{answer.status}")
    if not HTTPStatus.BAD_REQUEST <= answer.status < HTTPStatus.INTERNAL_SERVER_ERROR:
        return by_transport
    fields = fields_of(read_json(answer.body))
    code = fields.get("errorCode")
    if not isinstance(code, str):
        return by_transport
    meaning = _REFUSED.get(code, _UNKNOWN)
    return Report(meaning.outcome, code, text_in(fields, "message"), meaning.fault)


def _read_transaction(order: TopUp, fields: Fields) -> Report:
    if fields.get("customIdentifier") != order.dealer_ref:
        return _unknown("other-reference")
    number = fields.get("recipientPhone")
    if number is not None and str(number).removeprefix("+") != _international(order):
        return _unknown("other-number")
    state = fields.get("status")
    return _report(fields, state) if isinstance(state, str) else _unknown("no-status")


def _report(fields: Fields, state: str) -> Report:
    meaning = _STATES.get(state, _UNKNOWN)
    report = Report(meaning.outcome, state, fault=meaning.fault, reversal=meaning.reversal)
    if meaning.outcome is not Outcome.SUCCEEDED:
        return report
    if not _is_transaction_id(fields.get("transactionId")):
        return _unknown("no-transaction")
    return replace(report, serial_number=_serial_number(fields), price_rupiah=_price(fields))


def _serial_number(fields: Fields) -> str | None:
    """The voucher's code where the product is one, else the operator's own reference."""
    code = text_in(fields_of(fields.get("pinDetail")), "code")
    return code or text_in(fields, "operatorTransactionId") or None


def _price(fields: Fields) -> int | None:
    """What the account was debited, if that is whole rupiah."""
    paid = fields_of(fields.get("balanceInfo"))
    cost = decimal_number(paid.get("cost"))
    if paid.get("currencyCode") != _RUPIAH or cost is None or cost != int(cost):
        return None
    return int(cost) if cost > 0 else None


def _is_transaction_id(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _verified(account: Account, callback: Callback) -> bool:
    secret = account.credentials.get("webhook_secret")
    if not secret:
        return False
    # Hexadecimal HMAC-SHA256 of the raw body, a colon and X-Reloadly-Request-Timestamp.
    timestamp = callback.headers.get("x-reloadly-request-timestamp", "")
    signed = callback.body + b":" + timestamp.encode("utf-8", "replace")
    digest = hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()
    given = callback.headers.get("x-reloadly-signature", "")
    if not timestamp or not hmac.compare_digest(given.encode("utf-8", "replace"), digest.encode()):
        raise CallbackRefused("X-Reloadly-Signature is missing or wrong")
    return True


def _unknown(code: str) -> Report:
    return Report(Outcome.UNKNOWN, code)


def _fields_or_raise(answer: Answer) -> Fields:
    fields = fields_of(read_json(answer.body))
    if answer.status != HTTPStatus.OK:
        code = text_in(fields, "errorCode")
        raise UnreadableAnswer(f"http-{answer.status} {code[:40]}".strip())
    return fields
