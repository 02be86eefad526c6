"""OtomaX, the program most Indonesian top-up centers run: HTTP GET, answers in plain text.

An answer is one line after the center's own template. Ours is the usual one:

    T#<its id> R#<our reference> <product>.<number> SUKSES. SN: <sn>. Harga <price>. Saldo <n>

*sukses* is success, *gagal* failed, *akan diproses* will be processed, *harga* price, *saldo*
balance. The `T#` id and the number prove a stored transaction; a refusal drawn before the center
looked the reference up has no `T#`. Words that deny themselves ("belum sukses", not yet) never
settle anything: only a state word that begins the sentence counts, and nothing may contradict it.

Callbacks are not signed, and 40 means failed as well as refunded: they only trigger a check.

There is no price limit in the request.
"""

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qs

from dealers import centers, signs
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
    low_balance_codes=frozenset({"saldo-tidak-cukup"}),
)
CREDENTIALS: Final = (
    Setting("memberID", "the name of our account at the center"),
    Setting("pin", "its PIN"),
    Setting("password", "its password"),
)
OPTIONS: Final = ()

_TEMPLATE = re.compile(
    r"(?:T#(?P<transaction>\d+) )?"
    r"R#(?P<reference>[0-9A-Z]+) "
    r"(?:[^ ]+\.(?P<number>\d+) )?"
    r"(?:(?i:STATUS): ?)?"
    r"(?P<failed>(?i:GAGAL)\b[ .:,;!-]*)?"
    r"(?P<phrase>[^.,:;!]*)"
    r"(?P<rest>.*)"
)
_BALANCE_SENTENCE = re.compile(r"saldo (?:rp ?)?-?\d+")
_NOT_FOUND = "tidak ada data"


@dataclass(frozen=True, slots=True)
class _Line:
    """An answer that names our reference, taken apart. `phrase`, in lower case, is its state."""

    text: str
    has_id: bool
    has_number: bool
    failed: bool
    """It begins with GAGAL; then `phrase` is the reason, empty where none is given."""
    phrase: str
    rest: str
    """What follows the phrase: it may explain, and must not contradict."""

    @property
    def stored(self) -> bool:
        """With the center's own id and our number it speaks of a stored transaction."""
        return self.has_id and self.has_number


def validate(account: Account) -> list[str]:
    """Any values will do."""
    return []


def top_up(account: Account, order: TopUp) -> Request:
    """`GET /trx`. The center calls back to an address set up with it, not to one we send."""
    return centers.get(account, "/trx", _purchase(account, order))


def read_top_up(account: Account, order: TopUp, answer: Answer) -> Report:
    """Read the answer to a purchase: without the center's id nothing was created."""
    line = _line(answer, order)
    if isinstance(line, Report):
        return line
    fault = centers.FAULTS.get(line.phrase)
    if fault and not line.has_id and not centers.contradicts_failure(line.rest):
        return centers.refusal(line.text, line.phrase, fault)
    return _stored_state(line)


def status(account: Account, order: TopUp) -> Request:
    """The purchase with `check=1`. Without that flag it would buy."""
    return centers.get(account, "/trx", {**_purchase(account, order), "check": "1"})


def read_status(account: Account, order: TopUp, answer: Answer) -> Report:
    """Read the answer to a check: without the center's id it says nothing of the purchase."""
    line = _line(answer, order)
    if isinstance(line, Report):
        return line
    absent = line.phrase == _NOT_FOUND and not (line.has_id or line.failed or line.rest)
    if absent:
        return Report(Outcome.UNKNOWN, centers.code_of(_NOT_FOUND), line.text, not_found=True)
    return _stored_state(line)


def read_callback(account: Account, callback: Callback) -> CallbackReport:
    """Read `refid`, `status`, `price`, `message` from the query. Never verified: it is a hint."""
    try:
        fields = parse_qs(callback.query, keep_blank_values=True, max_num_fields=30)
    except ValueError as error:
        raise CallbackRefused("the query cannot be read") from error
    if len(fields.get("refid", [])) != 1 or len(fields.get("status", [])) != 1:
        raise CallbackRefused("refid or status is missing, or there are several")
    state, message = fields["status"][0], fields.get("message", [""])[0]
    outcome = {"20": Outcome.SUCCEEDED, "40": Outcome.FAILED}.get(state, Outcome.UNKNOWN)
    report = Report(outcome, state, message)
    return CallbackReport(fields["refid"][0], report, verified=False)


def acknowledge(account: Account, callback: Callback) -> tuple[str, bytes]:
    """Any text is enough for OtomaX."""
    return "text/plain", b"OK"


def balance(account: Account) -> Request:
    """`GET /balance`, with a signature of its own."""
    sign = _sign(account, "CheckBalance", account.credentials["memberID"])
    return centers.get(
        account, "/balance", {"memberID": account.credentials["memberID"], "sign": sign}
    )


def read_balance(account: Account, answer: Answer) -> Balance:
    """Read `Saldo 1.250.000`. Raises `UnreadableAnswer`."""
    found = centers.balance_in(answer)
    if found is None:
        text = centers.text_of(answer)[:100]
        raise UnreadableAnswer(f"http-{answer.status}, not one balance: {text}")
    return found


def price_list(account: Account) -> None:
    """Centers publish prices outside the protocol."""


def read_price_list(account: Account, answer: Answer) -> list[DealerPrice]:
    """Raise `UnreadableAnswer`: there is no price list to read."""
    raise UnreadableAnswer("OtomaX has no price list")


def _purchase(account: Account, order: TopUp) -> dict[str, str]:
    member = account.credentials["memberID"]
    return {
        "memberID": member,
        "product": order.dealer_sku,
        "qty": "1",
        "dest": order.customer_number,
        "refID": order.dealer_ref,
        "sign": _sign(account, member, order.dealer_sku, order.customer_number, order.dealer_ref),
    }


def _sign(account: Account, *subject: str) -> str:
    return signs.otomax(account.credentials["pin"], account.credentials["password"], *subject)


def _line(answer: Answer, order: TopUp) -> _Line | Report:
    """Take the answer apart, or say in a report why it proves nothing about `order`."""
    text = centers.sentence_of(answer)
    if isinstance(text, Report):
        return text
    parts = _TEMPLATE.fullmatch(text)
    if parts is None:
        return Report(Outcome.UNKNOWN, "no-template", text)
    if parts["reference"] != order.dealer_ref:
        return Report(Outcome.UNKNOWN, "other-reference", text)
    if parts["number"] not in (None, order.customer_number):
        return Report(Outcome.UNKNOWN, "other-number", text)
    phrase = parts["phrase"].strip().casefold()
    return _Line(
        text,
        has_id=parts["transaction"] is not None,
        has_number=parts["number"] is not None,
        failed=parts["failed"] is not None,
        phrase="" if _BALANCE_SENTENCE.fullmatch(phrase) else phrase,
        rest=parts["rest"].strip(" ."),
    )


def _stored_state(line: _Line) -> Report:
    """The state of a stored transaction; of anything else at most that it is in process."""
    if line.phrase in centers.IN_PROCESS and not line.failed:
        return Report(Outcome.PENDING, centers.code_of(line.phrase), line.text)
    if line.stored and line.phrase == "sukses" and not line.failed:
        return centers.success(line.text, line.rest)
    if line.stored and _is_failure(line):
        return _failure(line)
    return Report(Outcome.UNKNOWN, "undecided", line.text)


def _is_failure(line: _Line) -> bool:
    without_reason = line.failed and not line.phrase
    return without_reason or line.phrase in centers.FAULTS or line.phrase in centers.REFUNDED


def _failure(line: _Line) -> Report:
    if centers.contradicts_failure(line.rest):
        return Report(Outcome.UNKNOWN, "contradiction", line.text)
    return Report(
        Outcome.FAILED,
        centers.code_of(line.phrase or "gagal"),
        line.text,
        centers.FAULTS.get(line.phrase, Fault.PRODUCT),
        reversal=line.phrase in centers.REFUNDED,
    )
