"""OkeConnect, the wholesale door of OrderKuota: OtomaX's names over GET, answers in plain text.

The sentences below are those of its published collection "API H2H Okeconnect". A purchase:

    T#210286229 R#113 Three 1.000 T1.089660522887 akan diproses. Saldo 279.655 - 1.321 = 278.334
    T#210288912 R#114 Three 1.000 T1.089660522887 SUKSES. SN: R230512.1911.2100F1. Saldo ...
    T#41169572 R#1235 Telkomsel 5.000 S5.082280004280 GAGAL. Nomor tujuan salah. Saldo ...
    R#0 T1.089660522887 GAGAL. Pin Salah

and the same request with `check=1`, which never buys ("already made at", "please wait for the one
before", "there is no"):

    R#999 Three 5.000 T5.08980204060 sudah pernah jam 18:46, status Sukses. SN: R2504. Hrg 6.487
    R#999 Three 5.000 T5.08980204060 sudah pernah jam 18:46, status Gagal. Mohon diperiksa ...
    Mhn tunggu trx sblmnya selesai: T#762221212 R#999 T5.08980204060 @18:46, status Menunggu ...
    TIDAK ADA transaksi Tujuan 08980204060 pada tgl 22/04/2025. Tidak ada data. Saldo ...

So the center looks a purchase up by number and day. From that follows:

- Absence proves nothing: the sentence names no reference, and shortly after midnight it speaks of
  another day than that of the purchase.
- "Already made" is no answer to a purchase, since it speaks of an earlier one; nor is it one to a
  check of the day's second purchase of a product for a number. Routes here want `repeat_limit` 1.
- `R#0` is nobody's reference: a refused PIN is told by no purchase, only by the balance.

A callback is `GET ?refid&message` with such a sentence, not signed, to the one address that is set
up with the dealer: it only triggers a check. There is no price limit in the request.

The price file names some 8,000 products, among them about 1,200 with price 0 and 1,100 with a
negative one: bills, whose "price" is our commission. They are told as not available.
"""

import re
from dataclasses import dataclass
from datetime import timedelta, timezone
from http import HTTPStatus
from typing import Any, Final, cast
from urllib.parse import parse_qs, urlsplit

import orjson

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

CAPABILITIES: Final = Capabilities(
    recovery=Recovery.STATUS_CALL,
    counts_repeats=True,
    low_balance_codes=frozenset({"saldo-tidak-cukup"}),
)
CREDENTIALS: Final = (
    Setting("memberID", "our user id there, such as OK00123"),
    Setting("pin", "the PIN for transactions"),
    Setting("password", "the password for transactions, not that of the website"),
)
OPTIONS: Final = (
    Setting(
        "price_list_url",
        "the price file, such as https://okeconnect.com/harga/json?id=…",
        required=False,
    ),
)

_HEAD = re.compile(
    r"(?P<waits>Mhn tunggu trx sblmnya selesai: )?"
    r"(?:T#(?P<transaction>\d+) )?"
    r"R#(?P<reference>[0-9A-Za-z]+)"
    r"(?: (?P<name>.+))?"
)
_SUBJECT = re.compile(r" [^ ]+\.([0-9]{6,}) ")
"""Product and number. A product's name may hold a dot and digits too, but few: "Three 1.000"."""
_TAIL = re.compile(
    r"(?:(?P<looked_up>sudah pernah jam|@) ?(?P<hour>\d{1,2})[.:](?P<minute>\d{2}), status )?"
    r"(?P<failed>gagal\b[ .:,;!-]*)?"
    r"(?P<phrase>[^.,:;!]*)"
    r"(?P<rest>.*)",
    re.IGNORECASE,
)
_STATE = re.compile(r"\b(SUKSES|GAGAL)\b(.*)", re.IGNORECASE)
_BALANCE_SENTENCE = re.compile(r"saldo (?:rp ?)?-?\d+")
_NOT_FOUND = re.compile(r"TIDAK ADA transaksi Tujuan (\d+) pada tgl [\d/]+\. .*")
_WHOLE = re.compile(r"-?[0-9]{1,12}")
_WIB = timezone(timedelta(hours=7))
_CLOCKS_DIFFER = 5
"""Minutes between our clock with the time on the way, and the center's."""
_WRONG_NUMBER = "nomor tujuan salah"
_ALREADY_MADE = "sudah pernah jam"


@dataclass(frozen=True, slots=True)
class _Sentence:
    """An answer about our reference and number. `phrase`, in lower case, is its state."""

    text: str
    has_id: bool
    minute_of_day: int
    """The hour that it gives, in WIB; meaningful where it gives one."""
    looked_up: bool
    """It gives an hour: it speaks of a purchase that the center had before."""
    already_made: bool
    """It speaks of a purchase that the center had found when it was asked."""
    failed: bool
    """It begins with GAGAL; then `phrase` is the reason, empty where none is given."""
    phrase: str
    rest: str


def validate(account: Account) -> list[str]:
    """The address of the price file must be one."""
    address = account.options.get("price_list_url")
    if address is None:
        return []
    try:
        parts = urlsplit(address)
    except ValueError:
        return ["price_list_url cannot be parsed"]
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        return ["price_list_url must begin with http:// or https:// and name a host"]
    return []


def top_up(account: Account, order: TopUp) -> Request:
    """`GET /trx`. The center calls back to the one address that is set up with it."""
    return centers.get(account, "/trx", _purchase(account, order))


def read_top_up(account: Account, order: TopUp, answer: Answer) -> Report:
    """Read the answer to a purchase: without the center's id nothing was created."""
    sentence = _sentence(answer, order)
    if isinstance(sentence, Report):
        return sentence
    if sentence.already_made or (sentence.looked_up and not sentence.has_id):
        return Report(Outcome.UNKNOWN, "already-made", sentence.text)
    fault = _fault(sentence.phrase)
    explicit = fault is not None and not centers.contradicts_failure(sentence.rest)
    if fault is not None and explicit and not sentence.has_id:
        return centers.refusal(sentence.text, sentence.phrase, fault)
    return _state(sentence, stored=sentence.has_id)


def status(account: Account, order: TopUp) -> Request:
    """The purchase with `check=1`. Without that flag it would buy."""
    return centers.get(account, "/trx", {**_purchase(account, order), "check": "1"})


def read_status(account: Account, order: TopUp, answer: Answer) -> Report:
    """Read the answer to a check: only what the center had found is a purchase's own state."""
    sentence = _sentence(answer, order)
    if isinstance(sentence, Report):
        return sentence
    if sentence.already_made and not _is_of_its_hour(sentence, order):
        # Found by number and day: after midnight that of another order.
        return Report(Outcome.UNKNOWN, "other-hour", sentence.text)
    if sentence.already_made and order.counter > 1:
        # Found by product, number and day: it may be the first purchase of that day.
        return Report(Outcome.UNKNOWN, "one-of-several", sentence.text)
    return _state(sentence, stored=sentence.has_id or sentence.already_made)


def read_callback(account: Account, callback: Callback) -> CallbackReport:
    """Read `refid` and `message` from the query. Never verified: it is a hint."""
    try:
        fields = parse_qs(callback.query, keep_blank_values=True, max_num_fields=30)
    except ValueError as error:
        raise CallbackRefused("the query cannot be read") from error
    if len(fields.get("refid", [])) != 1 or len(fields.get("message", [])) != 1:
        raise CallbackRefused("refid or message is missing, or there are several")
    reference, message = fields["refid"][0], " ".join(fields["message"][0].split())
    return CallbackReport(reference, _told(reference, message), verified=False)


def acknowledge(account: Account, callback: Callback) -> tuple[str, bytes]:
    """No answer is asked for."""
    return "text/plain", b"OK"


def balance(account: Account) -> Request:
    """`GET /trx/balance`."""
    return centers.get(account, "/trx/balance", _login(account))


def read_balance(account: Account, answer: Answer) -> Balance:
    """Read `Saldo 284.939`. Raises `UnreadableAnswer`."""
    found = centers.balance_in(answer)
    if found is None:
        text = centers.text_of(answer)[:100]
        raise UnreadableAnswer(f"http-{answer.status}, not one balance: {text}")
    return found


def price_list(account: Account) -> Request | None:
    """The price file, which is the same for all members and lies at another host."""
    address = account.options.get("price_list_url")
    return Request("GET", address) if address else None


def read_price_list(account: Account, answer: Answer) -> list[DealerPrice]:
    """Read the file; rows without a code or a price are left out. Raises `UnreadableAnswer`."""
    if answer.status != HTTPStatus.OK:
        raise UnreadableAnswer(f"http-{answer.status}")
    try:
        rows: object = orjson.loads(answer.body)
    except orjson.JSONDecodeError:
        raise UnreadableAnswer("the answer is not JSON") from None
    if not isinstance(rows, list):
        raise UnreadableAnswer("the answer is not a price list")
    lines = (_price_line(row) for row in cast(list[object], rows))
    return [line for line in lines if line is not None]


def _login(account: Account) -> dict[str, str]:
    return {name: account.credentials[name] for name in ("memberID", "pin", "password")}


def _purchase(account: Account, order: TopUp) -> dict[str, str]:
    return {
        "product": order.dealer_sku,
        "dest": order.customer_number,
        "refID": order.dealer_ref,
        **_login(account),
    }


def _sentence(answer: Answer, order: TopUp) -> _Sentence | Report:
    """Take the answer apart, or say in a report why it proves nothing about `order`."""
    text = centers.sentence_of(answer)
    if isinstance(text, Report):
        return text
    absent = _NOT_FOUND.fullmatch(text)
    if absent is not None and absent[1] == order.customer_number:
        return Report(Outcome.UNKNOWN, "tidak-ada-data", text)
    subject = _SUBJECT.search(text)
    head = _HEAD.fullmatch(text[: subject.start()]) if subject else None
    tail = _TAIL.fullmatch(text[subject.end() :]) if subject else None
    if subject is None or head is None or tail is None or _says_a_state(head["name"] or ""):
        return Report(Outcome.UNKNOWN, "no-template", text)
    if head["reference"] != order.dealer_ref or subject[1] != order.customer_number:
        ours = head["reference"] == order.dealer_ref
        return Report(Outcome.UNKNOWN, "other-number" if ours else "other-reference", text)
    phrase = tail["phrase"].strip().casefold()
    if head["waits"] and (tail["failed"] or phrase not in centers.IN_PROCESS):
        return Report(Outcome.UNKNOWN, "contradiction", text)
    return _Sentence(
        text,
        has_id=head["transaction"] is not None,
        minute_of_day=int(tail["hour"] or 0) * 60 + int(tail["minute"] or 0),
        looked_up=tail["looked_up"] is not None,
        already_made=(tail["looked_up"] or "").casefold() == _ALREADY_MADE,
        failed=tail["failed"] is not None,
        phrase="" if _BALANCE_SENTENCE.fullmatch(phrase) else phrase,
        rest=tail["rest"].strip(" ."),
    )


def _is_of_its_hour(sentence: _Sentence, order: TopUp) -> bool:
    """Whether the hour that is told is about that of the purchase, where that is known."""
    if order.sent_at is None:
        return True
    sent = order.sent_at.astimezone(_WIB)
    # Not around midnight: what is told is of the day of the question.
    return abs(sentence.minute_of_day - sent.hour * 60 - sent.minute) <= _CLOCKS_DIFFER


def _says_a_state(name: str) -> bool:
    return centers.contradicts_success(name) or centers.contradicts_failure(name)


def _state(sentence: _Sentence, *, stored: bool) -> Report:
    """The state of a stored purchase; of anything else at most that it is in process."""
    if sentence.phrase in centers.IN_PROCESS and not sentence.failed:
        return Report(Outcome.PENDING, centers.code_of(sentence.phrase), sentence.text)
    if stored and sentence.phrase == "sukses" and not sentence.failed:
        return centers.success(sentence.text, sentence.rest)
    if stored and (sentence.failed or sentence.phrase in centers.REFUNDED):
        return _failure(sentence)
    return Report(Outcome.UNKNOWN, "undecided", sentence.text)


def _failure(sentence: _Sentence) -> Report:
    """GAGAL is the state; the reason behind it is free text and only says whose fault it was."""
    if centers.contradicts_failure(f"{sentence.phrase} {sentence.rest}"):
        return Report(Outcome.UNKNOWN, "contradiction", sentence.text)
    return Report(
        Outcome.FAILED,
        centers.code_of(sentence.phrase or "gagal"),
        sentence.text,
        _fault(sentence.phrase) or Fault.PRODUCT,
        reversal=sentence.phrase in centers.REFUNDED,
    )


def _fault(reason: str) -> Fault | None:
    return Fault.NUMBER if reason == _WRONG_NUMBER else centers.FAULTS.get(reason)


def _told(reference: str, message: str) -> Report:
    """What a callback says, for people: nothing is settled by it."""
    state = _STATE.search(message)
    if f"R#{reference} " not in message or state is None:
        return Report(Outcome.UNKNOWN, "undecided", message)
    word, rest = state[1].casefold(), state[2]
    if word == "sukses":
        return centers.success(message, rest)
    if centers.contradicts_failure(rest):
        return Report(Outcome.UNKNOWN, "contradiction", message)
    return Report(Outcome.FAILED, word, message)


def _price_line(row: object) -> DealerPrice | None:
    """`{"kode", "keterangan", "harga": "134600", "status": "1"}`: code, description, price."""
    if not isinstance(row, dict):
        return None
    fields = cast(dict[str, Any], row)
    code, price = str(fields.get("kode") or ""), _whole(fields.get("harga"))
    if not code or price is None:
        return None
    for_sale = price > 0 and str(fields.get("status")) == "1"
    return DealerPrice(code, str(fields.get("keterangan") or ""), price, for_sale)


def _whole(value: object) -> int | None:
    return int(value) if isinstance(value, str) and _WHOLE.fullmatch(value) else None
