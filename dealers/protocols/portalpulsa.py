"""PortalPulsa and JavaH2H, one program under two names: a form is posted to one address, which
`inquiry` tells apart: `I` buys, `STATUS` asks, `S` is the balance (*saldo*), `HARGA` the prices.
The names of the three headers begin with `portal` or with `h2h`.

The answer to a purchase is a free sentence with `result` "success" or "failed"; it does not name
our reference. "success" only means that it was taken. What "failed" means is said in words that are
published nowhere, so few of them are taken for a refusal; the rest is asked about.

`STATUS` lists the transactions under our reference with a state 1 to 4: *pending*, *gagal*
(failed), *refund*, *sukses*. Callbacks carry the same fields in a form field `content` and no
signature, so they only trigger a check. There is no price limit. `no` counts the purchases of one
product for one number on one day.

"Not found" is not declared to prove absence, since its wording is not published either: ops who
have seen it set the option `absent_after_seconds`.

Source: the vendor's sample scripts in public clients (`'no' => '1', // untuk isi lebih dari 1x dlm
sehari, isi urutan 1,2,3,4,dst`; `//1:pending, 2:gagal, 3:refund, 4:sukses`).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Final, cast
from urllib.parse import parse_qsl, urlencode

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
    counts_repeats=True,
    low_balance_codes=frozenset(
        {"saldo-tidak-cukup", "saldo-anda-tidak-cukup", "saldo-tidak-mencukupi"}
    ),
)
CREDENTIALS: Final = (
    Setting("userid", "the account's number at the vendor"),
    Setting("key", "the key made in the member area"),
    Setting("secret", "the secret made in the member area"),
)
OPTIONS: Final = (
    Setting("header_prefix", "portal for PortalPulsa, h2h for JavaH2H", required=False),
)


@dataclass(frozen=True, slots=True)
class _Meaning:
    outcome: Outcome
    reversal: bool = False


_STATES: Mapping[int, _Meaning] = {
    1: _Meaning(Outcome.PENDING),
    2: _Meaning(Outcome.FAILED),
    3: _Meaning(Outcome.FAILED, reversal=True),
    4: _Meaning(Outcome.SUCCEEDED),
}

# Refusals of a purchase, whole sentences: balance short, product not found, disrupted, closed, out
# of stock, wrong number. A refusal that mentions an earlier transaction or reference is none.
_REFUSALS: Mapping[str, Fault] = {
    "saldo tidak cukup": Fault.ACCOUNT,
    "saldo anda tidak cukup": Fault.ACCOUNT,
    "saldo tidak mencukupi": Fault.ACCOUNT,
    "kode produk tidak ditemukan": Fault.ACCOUNT,
    "produk tidak ditemukan": Fault.ACCOUNT,
    "produk gangguan": Fault.PRODUCT,
    "produk sedang gangguan": Fault.PRODUCT,
    "produk ditutup": Fault.PRODUCT,
    "stok kosong": Fault.PRODUCT,
    "stok habis": Fault.PRODUCT,
    "nomor salah": Fault.NUMBER,
    "nomor tujuan salah": Fault.NUMBER,
}

_ABSENT = frozenset(
    {"transaksi tidak ditemukan", "data transaksi tidak ditemukan", "trxid_api tidak ditemukan"}
)

# Why a stored transaction failed, anywhere in its note; without such a word it was the product.
_NUMBER_NOTE = re.compile(r"\b(?:nomor|nomer|no|tujuan)(?: hp| tujuan)? (?:salah|diblokir)\b", re.I)
_CLUSTER_NOTE = re.compile(r"\b(?:luar (?:wilayah|area|cluster)|beda (?:wilayah|cluster))\b", re.I)

_DENIES_SUCCESS = re.compile(r"\b(?:gagal|\w*refund|(?:di)?batal\w*|belum)\b", re.IGNORECASE)
_DENIES_FAILURE = re.compile(r"\b(?<!tidak )(?<!belum )(?:sukses|berhasil)\b", re.IGNORECASE)


def validate(account: Account) -> list[str]:
    """The headers' prefix must be one of the two."""
    if _prefix(account) in ("portal", "h2h"):
        return []
    return ["option header_prefix must be portal or h2h"]


def top_up(account: Account, order: TopUp) -> Request:
    """`inquiry=I`. The callback address is set in the member area, not sent."""
    fields = {
        "inquiry": "I",
        "code": order.dealer_sku,
        "phone": order.customer_number,
        "trxid_api": order.dealer_ref,
        "no": str(order.counter),
    }
    return _post(account, fields)


def read_top_up(account: Account, order: TopUp, answer: Answer) -> Report:
    """Read whether the purchase was taken; its fate is only told when asked."""
    if answer.status != HTTPStatus.OK:
        return _unknown(f"http-{answer.status}")
    fields = _members(answer.body)
    message = text_in(fields, "message")
    if fields.get("trxid_api", order.dealer_ref) != order.dealer_ref:
        return _unknown("other-reference", message)
    if fields.get("phone", order.customer_number) != order.customer_number:
        return _unknown("other-number", message)
    match fields.get("result"):
        case "success" if message:
            return Report(Outcome.PENDING, "success", message)
        case "failed":
            return _refusal(message)
        case _:
            return _unknown("no-result", message)


def status(account: Account, order: TopUp) -> Request:
    """`inquiry=STATUS`, by our reference."""
    return _post(account, {"inquiry": "STATUS", "trxid_api": order.dealer_ref})


def read_status(account: Account, order: TopUp, answer: Answer) -> Report:
    """Read the one transaction under our reference."""
    if answer.status != HTTPStatus.OK:
        return _unknown(f"http-{answer.status}")
    fields = _members(answer.body)
    if fields.get("result") == "failed":
        return _absence(fields, order)
    listed = fields.get("message")
    if fields.get("result") != "success" or not isinstance(listed, list):
        return _unknown("no-transaction")
    found = [fields_of(row) for row in cast(list[object], listed)]
    ours = [row for row in found if row.get("trxid_api") == order.dealer_ref]
    if len(ours) != 1:
        return _unknown("several-transactions" if ours else "other-reference")
    if ours[0].get("phone") != order.customer_number:
        return _unknown("other-number")
    return _report(ours[0])


def read_callback(account: Account, callback: Callback) -> CallbackReport:
    """Read `content`: JSON, or PHP's `content[trxid_api]=…`. Never verified: it is a hint."""
    fields = _content(callback.body)
    dealer_ref = fields.get("trxid_api")
    if not isinstance(dealer_ref, str) or loose_whole_number(fields.get("status")) is None:
        raise CallbackRefused("content holds no transaction with trxid_api and status")
    return CallbackReport(dealer_ref, _report(fields), verified=False)


def acknowledge(account: Account, callback: Callback) -> tuple[str, bytes]:
    """Any 200 is enough."""
    return "text/plain", b"ok"


def balance(account: Account) -> Request:
    """`inquiry=S`."""
    return _post(account, {"inquiry": "S"})


def read_balance(account: Account, answer: Answer) -> Balance:
    """Read `balance`, a number or its digits. Raises `UnreadableAnswer`."""
    rupiah = loose_whole_number(_success(answer).get("balance"))
    if rupiah is None:
        raise UnreadableAnswer("no whole balance in the answer")
    return Balance(rupiah)


def price_list(account: Account) -> Request:
    """`inquiry=HARGA` for `pulsa`, which is where credit and data packages are listed."""
    return _post(account, {"inquiry": "HARGA", "code": "pulsa"})


def read_price_list(account: Account, answer: Answer) -> list[DealerPrice]:
    """Read the list; rows without a code are left out. Raises `UnreadableAnswer`."""
    rows = _success(answer).get("message")
    if not isinstance(rows, list):
        raise UnreadableAnswer("the answer is not a price list")
    lines = (fields_of(row) for row in cast(list[object], rows))
    return [_price_line(line) for line in lines if text_in(line, "code")]


def _prefix(account: Account) -> str:
    return account.options.get("header_prefix") or "portal"


def _post(account: Account, fields: Mapping[str, str]) -> Request:
    prefix = _prefix(account)
    secrets = {
        f"{prefix}-{name}": account.credentials[name] for name in ("userid", "key", "secret")
    }
    return Request(
        method="POST",
        # The vendor redirects an address without its last slash, and redirects are not followed.
        url=account.base_url.rstrip("/") + "/",
        headers={"content-type": "application/x-www-form-urlencoded", **secrets},
        body=urlencode(fields).encode(),
    )


def _refusal(message: str) -> Report:
    phrase = message.strip(" .!").casefold()
    fault = _REFUSALS.get(phrase)
    if fault is None:
        return _unknown("failed", message)
    # A wrong number is wrong at every dealer; REJECTED would send it to the next one.
    outcome = Outcome.FAILED if fault is Fault.NUMBER else Outcome.REJECTED
    return Report(outcome, phrase.replace(" ", "-"), message, fault)


def _absence(fields: Fields, order: TopUp) -> Report:
    message = text_in(fields, "message")
    absent = message.strip(" .!").casefold() in _ABSENT
    ours = fields.get("trxid_api", order.dealer_ref) == order.dealer_ref
    return replace(_unknown("failed", message), not_found=absent and ours)


def _report(fields: Fields) -> Report:
    state, note = loose_whole_number(fields.get("status")), text_in(fields, "note")
    meaning = _STATES.get(state or 0)
    if meaning is None:
        return _unknown(f"status-{state}", note)
    if meaning.outcome is Outcome.SUCCEEDED:
        return _success_of(fields, note)
    if meaning.outcome is Outcome.FAILED and not meaning.reversal and _DENIES_FAILURE.search(note):
        return _unknown("contradiction", note)
    return Report(meaning.outcome, str(state), note, _fault(note), reversal=meaning.reversal)


def _success_of(fields: Fields, note: str) -> Report:
    if _DENIES_SUCCESS.search(note):
        return _unknown("contradiction", note)
    return Report(
        Outcome.SUCCEEDED,
        "4",
        note,
        serial_number=text_in(fields, "sn") or None,
        price_rupiah=loose_whole_number(fields.get("price")),
    )


def _fault(note: str) -> Fault:
    if _NUMBER_NOTE.search(note):
        return Fault.NUMBER
    return Fault.CLUSTER if _CLUSTER_NOTE.search(note) else Fault.PRODUCT


def _unknown(code: str, message: str = "") -> Report:
    return Report(Outcome.UNKNOWN, code, message)


def _content(body: bytes) -> Fields:
    try:
        pairs = parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=60)
    except ValueError as error:
        raise CallbackRefused("the form cannot be read") from error
    form = dict(pairs)
    if len(form) != len(pairs):
        raise CallbackRefused("a field occurs twice")
    if "content" in form:
        return _members(form["content"].encode())
    return {
        name.removeprefix("content[").removesuffix("]"): value
        for name, value in form.items()
        if name.startswith("content[") and name.endswith("]")
    }


def _success(answer: Answer) -> Fields:
    if answer.status != HTTPStatus.OK:
        raise UnreadableAnswer(f"http-{answer.status}")
    fields = _members(answer.body)
    if fields.get("result") != "success":
        raise UnreadableAnswer(f"refused: {text_in(fields, 'message')[:100]}")
    return fields


def _members(body: bytes) -> Fields:
    return fields_of(read_json(body))


def _price_line(line: Fields) -> DealerPrice:
    price = loose_whole_number(line.get("price")) or 0
    return DealerPrice(
        dealer_sku=text_in(line, "code"),
        name=text_in(line, "description"),
        # What has no price must never be routed.
        price_rupiah=max(price, 0),
        available=text_in(line, "status") == "normal" and price > 0,
    )
