"""Digiflazz, the buyer's API: JSON over POST, result codes (`rc`), callbacks signed with HMAC-SHA1.

There is no status call. A purchase sent again with the same `ref_id` returns the first one's state,
for 90 days; after that it buys again. A check is therefore a purchase, and a refusal may come from
a test that Digiflazz makes before it looks the reference up. Hence one map of codes per kind.

Source: https://developer.digiflazz.com/api/buyer/ (topup, response-code, webhook).
"""

import hmac
from collections.abc import Mapping
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Final, cast

import orjson

from dealers import signs
from dealers.answers import Fields, fields_of, read_json, text_in
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
    recovery=Recovery.SAME_REF_IS_STATUS,
    max_age_seconds=90 * 24 * 3600.0,
    min_check_interval_seconds=60.0,
    price_list_interval_seconds=300.0,
    low_balance_codes=frozenset({"44"}),
    callback_is_word=True,
)
CREDENTIALS: Final = (
    Setting("username", "the name that Digiflazz gave the account"),
    Setting("api_key", "the production or the development key"),
    Setting("webhook_secret", "what callbacks are signed with; else they are hints", False),
)
OPTIONS: Final = ()


@dataclass(frozen=True, slots=True)
class _Meaning:
    outcome: Outcome
    fault: Fault = Fault.PRODUCT
    reversal: bool = False
    not_found: bool = False


_Meanings = Mapping[str, _Meaning]

_UNKNOWN = _Meaning(Outcome.UNKNOWN)


def _each(codes: str, outcome: Outcome, fault: Fault) -> dict[str, _Meaning]:
    return dict.fromkeys(codes.split(), _Meaning(outcome, fault))


_STATES: _Meanings = {
    "00": _Meaning(Outcome.SUCCEEDED),
    "03": _Meaning(Outcome.PENDING),
    "99": _Meaning(Outcome.PENDING),
    "74": _Meaning(Outcome.FAILED, reversal=True),
}

# The seller's word on a transaction that Digiflazz has created and passed on: blocked number,
# prefix, wrong number, digits, no bill, package to be left first, energy limit; then product not
# served, disrupted, outside the area, unstable.
_SELLERS_WORD: _Meanings = {
    **_each("51 52 54 57 60 72 73", Outcome.FAILED, Fault.NUMBER),
    **_each("53 55 71", Outcome.FAILED, Fault.PRODUCT),
    **_each("59", Outcome.FAILED, Fault.CLUSTER),
}

# Failures that the moment or the request brings about (cut-off, denomination, limits): on a check
# they may be about the check itself.
_OF_THE_MOMENT: _Meanings = {
    **_each("84", Outcome.FAILED, Fault.NUMBER),
    **_each("58 85 86", Outcome.FAILED, Fault.PRODUCT),
}

# Payload, signature, buyer, IP address: refused before Digiflazz reads which reference it is, so
# the answer may carry nothing but the code.
_AT_THE_DOOR: _Meanings = _each("40 41 42 45", Outcome.REJECTED, Fault.ACCOUNT)

_REFUSED: _Meanings = {
    **_AT_THE_DOOR,
    **_each("43 44 61 64 67 80 81 82 83 87 88", Outcome.REJECTED, Fault.ACCOUNT),
    **_each("62 63 66 68 69", Outcome.REJECTED, Fault.PRODUCT),
}

# Not in any map, so UNKNOWN, although Digiflazz labels them "Gagal" (failed): 01 and 70 time-outs,
# 02 failed without a reason, 47 done at another buyer, 49 reference in use.
_PURCHASE: _Meanings = {**_STATES, **_SELLERS_WORD, **_OF_THE_MOMENT, **_REFUSED}

_STATUS: _Meanings = {
    **_STATES,
    **_SELLERS_WORD,
    "50": _Meaning(Outcome.UNKNOWN, not_found=True),
}

# A callback speaks of a stored transaction: what reads as a refusal failed after it was created.
_CALLBACK: _Meanings = {
    code: replace(meaning, outcome=Outcome.FAILED)
    if meaning.outcome is Outcome.REJECTED
    else meaning
    for code, meaning in _PURCHASE.items()
}

_STATUS_TEXT: Mapping[Outcome, str] = {
    Outcome.SUCCEEDED: "sukses",
    Outcome.PENDING: "pending",
    Outcome.REJECTED: "gagal",
    Outcome.FAILED: "gagal",
}


def validate(account: Account) -> list[str]:
    """Any values will do."""
    return []


def top_up(account: Account, order: TopUp) -> Request:
    """`POST /transaction`. `max_price` makes Digiflazz refuse (69) what has become dearer."""
    fields: dict[str, object] = {
        "username": account.credentials["username"],
        "buyer_sku_code": order.dealer_sku,
        "customer_no": order.customer_number,
        "ref_id": order.dealer_ref,
        "sign": _sign(account, order.dealer_ref),
        "max_price": order.max_price_rupiah,
    }
    if order.callback_url:
        fields["cb_url"] = order.callback_url
    return _post(account, "/transaction", fields)


def read_top_up(account: Account, order: TopUp, answer: Answer) -> Report:
    """Read the answer to a first send."""
    return _read(answer, order, _PURCHASE)


def status(account: Account, order: TopUp) -> Request:
    """The purchase again: the same reference returns the first one's state."""
    return top_up(account, order)


def read_status(account: Account, order: TopUp, answer: Answer) -> Report:
    """Read the answer to a repeated send: final only where it can be the stored state alone."""
    return _read(answer, order, _STATUS)


def read_callback(account: Account, callback: Callback) -> CallbackReport:
    """Check `X-Hub-Signature` over the raw body, then read it like an answer."""
    verified = _verified(account, callback)
    fields = fields_of(_data(callback.body))
    dealer_ref, code = fields.get("ref_id"), fields.get("rc")
    if not isinstance(dealer_ref, str) or not isinstance(code, str):
        raise CallbackRefused("the body holds no transaction with ref_id and rc")
    return CallbackReport(dealer_ref, _report(fields, code, _CALLBACK), verified)


def acknowledge(account: Account, callback: Callback) -> tuple[str, bytes]:
    """Any 200 is enough for Digiflazz."""
    return "text/plain", b"ok"


def balance(account: Account) -> Request:
    """`POST /cek-saldo` (*cek saldo*: check balance)."""
    fields: dict[str, object] = {
        "cmd": "deposit",
        "username": account.credentials["username"],
        "sign": _sign(account, "depo"),
    }
    return _post(account, "/cek-saldo", fields)


def read_balance(account: Account, answer: Answer) -> Balance:
    """Read `data.deposit`. Raises `UnreadableAnswer`."""
    deposit = fields_of(_data_or_raise(answer)).get("deposit")
    if not isinstance(deposit, int) or isinstance(deposit, bool):
        raise UnreadableAnswer("no whole deposit in the answer")
    return Balance(deposit)


def price_list(account: Account) -> Request:
    """`POST /price-list`, all prepaid products: at most once in five minutes (then code 83)."""
    fields: dict[str, object] = {
        "cmd": "prepaid",
        "username": account.credentials["username"],
        "sign": _sign(account, "pricelist"),
    }
    return _post(account, "/price-list", fields)


def read_price_list(account: Account, answer: Answer) -> list[DealerPrice]:
    """Read the list; rows without a code are left out. Raises `UnreadableAnswer`."""
    data = _data_or_raise(answer)
    if not isinstance(data, list):
        raise UnreadableAnswer("the answer is not a price list")
    rows = (fields_of(row) for row in cast(list[object], data))
    return [_price_line(row) for row in rows if text_in(row, "buyer_sku_code")]


def _sign(account: Account, subject: str) -> str:
    return signs.digiflazz(account.credentials["username"], account.credentials["api_key"], subject)


def _post(account: Account, path: str, fields: Mapping[str, object]) -> Request:
    return Request(
        method="POST",
        url=account.base_url.rstrip("/") + path,
        headers={"content-type": "application/json"},
        body=orjson.dumps(fields),
    )


def _read(answer: Answer, order: TopUp, meanings: _Meanings) -> Report:
    if answer.status == HTTPStatus.OK:
        return _read_body(answer.body, order, meanings)
    by_transport = _unknown(f"http-{answer.status}")
    if not HTTPStatus.BAD_REQUEST <= answer.status < HTTPStatus.INTERNAL_SERVER_ERROR:
        return by_transport
    report = _read_body(answer.body, order, meanings)
    # Some codes arrive with a 4xx, but only a refusal or a failure is at home there.
    failed = report.outcome in (Outcome.REJECTED, Outcome.FAILED) or report.not_found
    return report if failed else by_transport


def _read_body(body: bytes, order: TopUp, meanings: _Meanings) -> Report:
    fields = fields_of(_data(body))
    code = fields.get("rc")
    if not isinstance(code, str):
        return _unknown("no-code")
    if code in _AT_THE_DOOR:
        given = {name: value for name, value in fields.items() if value != ""}
        fields = {"ref_id": order.dealer_ref, "status": "Gagal", **given}
    if fields.get("ref_id") != order.dealer_ref:
        return _unknown("other-reference")
    if fields.get("customer_no", order.customer_number) != order.customer_number:
        return _unknown("other-number")
    return _report(fields, code, meanings)


def _report(fields: Fields, code: str, meanings: _Meanings) -> Report:
    meaning = meanings.get(code, _UNKNOWN)
    outcome, message = meaning.outcome, text_in(fields, "message")
    due = _STATUS_TEXT.get(outcome)
    if due is not None and text_in(fields, "status").casefold() != due:
        return replace(_unknown("contradiction"), message=message)
    # `sn` of a failure holds free text, and its price was not charged.
    succeeded = outcome is Outcome.SUCCEEDED
    return Report(
        outcome,
        code,
        message,
        meaning.fault,
        text_in(fields, "sn") or None if succeeded else None,
        _price(fields) if succeeded else None,
        meaning.reversal,
        meaning.not_found,
    )


def _unknown(code: str) -> Report:
    return Report(Outcome.UNKNOWN, code)


def _verified(account: Account, callback: Callback) -> bool:
    secret = account.credentials.get("webhook_secret")
    if not secret:
        return False
    due = signs.hub_signature(secret, callback.body)
    given = callback.headers.get("x-hub-signature", "")
    if not hmac.compare_digest(given.encode("utf-8", "replace"), due.encode()):
        raise CallbackRefused("X-Hub-Signature is missing or wrong")
    return True


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


def _price(fields: Fields) -> int | None:
    price = fields.get("price")
    if not isinstance(price, int) or isinstance(price, bool):
        return None
    return price if price > 0 else None


def _price_line(row: Fields) -> DealerPrice:
    price = _price(row)
    # Lists carry rows without a price or with a negative one: such a product must never be routed.
    switches = (row.get("buyer_product_status"), row.get("seller_product_status"))
    on = all(switch is True for switch in switches)
    return DealerPrice(
        dealer_sku=text_in(row, "buyer_sku_code"),
        name=text_in(row, "product_name"),
        price_rupiah=price or 0,
        available=on and price is not None,
    )
