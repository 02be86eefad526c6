"""IRS and ST24, programs of Indonesian top-up centers: one HTTP GET that buys, answers in words.

Two families of sentences are published; every center may word its own, and then it is UNKNOWN:

    TRX S5.081234567890 BERHASIL, HRG:5150 SN: 0123. SISA SALDO:990000 CLIENTID=<ours>.
    TRX S5.081234567890 GAGAL, Nomor tujuan salah. SISA SALDO 990000 CLIENTID=<ours>.
    Request S5 ke 081234567890 segera diproses Saldo=990000 CLIENTID=<ours>.

    TrxID=<ours> kode S5 ke 081234567890 Sukses. SN:0123. Saldo 66,125
    TrxID=<ours> kode S5 ke 081234567890 GAGAL. Saldo 61,125+5,775 = 76,900 @16:52
    TrxID=<ours> kode S5 ke 081234567890 sedang diproses @11:12. Saldo 71,900 - 5,775 = 66,125

*berhasil* and *sukses* are success, *gagal* failed, *diproses* in process, *saldo* balance, *sn*
the serial number. "sdh pernah jam 15:19, status Sukses" (done already at 15:19) speaks of whichever
purchase of that product and number came first, so it never settles ours. Newer IRS servers answer
in JSON with `success`, `tujuan`, `reffid` and a code `rc` whose list is not published.

There is no status call. Digiflazz's gate for IRS says that a purchase sent again with the same
`idtrx` returns the first one's state: "melakukan topup ulang dengan idtrx yang sama", and never
after 90 days, since that makes "pembuatan transaksi BARU" (a new transaction). Others promise no
such thing and tell repeats apart by product, number and `counter` alone. So an account has no
recovery, and a lost answer goes to review, unless ops state for how long its center keeps `idtrx`.

Reports come back as an unsigned GET. A balance call and a price list are not part of it.

Source: https://developer.digiflazz.com/ irs/buyer (request, callback), st24/buyer (request,
response), irs/seller/response, alasan-gagal (reasons, and whether they created a transaction).
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Final, cast
from urllib.parse import parse_qs, quote

import orjson

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
    recovery=Recovery.NONE,
    counts_repeats=True,
    low_balance_codes=frozenset({"saldo-tidak-cukup"}),
)
CREDENTIALS: Final = (
    Setting("id", "the number of our account at the center"),
    Setting("pin", "its PIN"),
    Setting("user", "its user name"),
    Setting("pass", "its password"),
)
OPTIONS: Final = (
    Setting(
        "same_idtrx_is_status_days",
        "for how many days the center answers the same idtrx with the first state, if it says so; "
        "90 at Digiflazz",
        required=False,
    ),
    Setting("counter_in", "parameter, or number for ST24 (tujuan=2.0812…)", required=False),
    Setting("jenis", "the kind of transaction, where the center wants one", required=False),
    Setting(
        "price_limit_parameter",
        "what the center calls the highest price, if it takes one; hargamax at Digiflazz",
        required=False,
    ),
    Setting(
        "refused_codes",
        "codes of JSON answers that, by the center's list, create nothing; separated by spaces",
        required=False,
    ),
)

_DAY_SECONDS = 24 * 3600.0
_LONGEST_ANSWER = 2_000
"""Characters. A sentence fills a line or two; whatever is longer is some other page."""

_NUMBER = r"(?:\d{1,2}\.)?(?P<number>\d+)"
"""With ST24's counter before it, where there is one."""
_OF_CLIENT = r"CLIENTID=(?P<reference>[0-9A-Z]+)(?:[. ](?P<rest>.*))?"
_AMOUNT = r"\d{1,3}(?:\.\d{3})+|\d+"

_SENTENCES = (
    re.compile(
        rf"TRX [^ .]+\.{_NUMBER} (?P<state>BERHASIL), ?HRG:(?P<price>{_AMOUNT}) "
        rf"SN: ?(?P<serial>.*?)\. SISA SALDO:? ?[-\d.,]+ {_OF_CLIENT}"
    ),
    re.compile(
        rf"TRX [^ .]+\.{_NUMBER} (?P<state>GAGAL), ?(?P<reason>[^=]*?)\. "
        rf"SISA SALDO:? ?[-\d.,]+ {_OF_CLIENT}"
    ),
    re.compile(
        rf"Request [^ ]+ ke {_NUMBER} segera (?P<state>diproses) Saldo=[-\d.,]+ {_OF_CLIENT}"
    ),
    re.compile(
        rf"(?:(?P<greeting>[^=]{{0,80}}) )?TrxID=(?P<reference>[0-9A-Z]+) kode [^ ]+ ke {_NUMBER} "
        r"(?P<state>(?i:Sukses))\. ?SN: ?(?P<serial>.*?)(?P<rest>\. Saldo\b.*)?"
    ),
    re.compile(
        rf"(?:(?P<greeting>[^=]{{0,80}}) )?TrxID=(?P<reference>[0-9A-Z]+) kode [^ ]+ ke {_NUMBER} "
        r"(?P<state>(?i:GAGAL))\.?(?P<rest> Saldo\b.*)?"
    ),
    re.compile(
        rf"(?:(?P<greeting>[^=]{{0,80}}) )?TrxID=(?P<reference>[0-9A-Z]+) kode [^ ]+ ke {_NUMBER} "
        r"sedang (?P<state>diproses)(?P<rest>[ .].*)?"
    ),
)

_UNDECIDED = (
    r"belum|blm|bukan|pernah|(?:di|mem|pem)?pro[cgs]\w*|pending|suspe[ck]\w*|menunggu|"
    r"time[ -]?out|timed[ -]out|ti?da?k ada (?:data|jawaban|respon\w*)|TrxID|CLIENTID"
)
_DENIES_SUCCESS = re.compile(
    rf"\b(?:{_UNDECIDED}|gagal|(?:di)?batal\w*|\w*refund|tidak)\b|\?", re.IGNORECASE
)
_DENIES_FAILURE = re.compile(rf"\b(?:{_UNDECIDED}|sukses|berhasil)\b|\?", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class _Meaning:
    outcome: Outcome
    fault: Fault = Fault.PRODUCT
    reversal: bool = False


_Meanings = Mapping[str, _Meaning]

_UNKNOWN = _Meaning(Outcome.UNKNOWN)
_FAILED = _Meaning(Outcome.FAILED)


def _each(reasons: str, outcome: Outcome, fault: Fault) -> dict[str, _Meaning]:
    return dict.fromkeys(reasons.split("; "), _Meaning(outcome, fault))


# With a transaction: wrong number, blocked, prefix of another operator, digits, no bill yet, leave
# the package first, energy limit; product disrupted, not available, unstable, the seller's deposit
# used up; outside the area.
_CREATED: _Meanings = {
    **_each(
        "nomor tujuan salah; nomor tujuan diblokir; prefix tidak sesuai dengan operator; "
        "jumlah digit kurang atau lebih; tagihan belum tersedia; lakukan unreg paket dahulu; "
        "kwh melebihi batas",
        Outcome.FAILED,
        Fault.NUMBER,
    ),
    **_each(
        "produk sedang gangguan; produk seller sedang tidak tersedia; "
        "produk sedang tidak stabil; saldo seller digiflazz habis",
        Outcome.FAILED,
        Fault.PRODUCT,
    ),
    **_each("tujuan di luar wilayah/cluster", Outcome.FAILED, Fault.CLUSTER),
    "transaksi refund": _Meaning(Outcome.FAILED, reversal=True),
}

# With a transaction as well, but the hour may be the question's.
_OF_THE_MOMENT: _Meanings = _each("sedang cut off", Outcome.FAILED, Fault.PRODUCT)

# Without one: payload, account, product code, balance, address, connection, blocked, not verified;
# stock, maintenance, limits, repeats, price above ours.
_NOT_CREATED: _Meanings = {
    **_each(
        "invalid payload; gagal memproses api buyer; sku tidak di temukan atau non-aktif; "
        "saldo tidak cukup; ip anda tidak kami kenali; koneksi belum didukung; "
        "belum pernah melakukan deposit; akun anda telah diblokir oleh seller; "
        "seller ini telah diblokir oleh anda; akun anda belum ter-verfikasi",
        Outcome.REJECTED,
        Fault.ACCOUNT,
    ),
    **_each(
        "stok habis; cut off (perbaikan sistem seller); limit saldo seller; "
        "limit transaksi multi; produk sedang gangguan (non aktif); "
        "seller sedang mengalami gangguan; tidak support transaksi multi; "
        "harga seller lebih besar dari ketentuan harga buyer",
        Outcome.REJECTED,
        Fault.PRODUCT,
    ),
}

# In neither, so UNKNOWN: time-outs, "transaksi gagal" (failed, no reason), "transaksi tidak
# ditemukan" (not found), "ref id tidak unik" (an earlier order holds it), "transaksi sudah terjadi
# di buyer lain" (done already at another buyer).
_PURCHASE: _Meanings = {**_CREATED, **_OF_THE_MOMENT, **_NOT_CREATED}
_REPORT: _Meanings = {
    reason: replace(each, outcome=Outcome.FAILED) for reason, each in _PURCHASE.items()
}

_REASON = re.compile(r"\bGAGAL, ?([^=]*?)\. SISA SALDO\b", re.IGNORECASE)
_WITHOUT_REASON = re.compile(
    r"(?:(?:TRX|TrxID=[0-9A-Z]+ kode) [^=]{1,60} )?GAGAL\.?(?: Saldo [-+=@:\d., ]*)?", re.IGNORECASE
)
_PRICE = re.compile(rf"\bHRG:({_AMOUNT})(?!\d|\.\d)")

# 68 is in process, 27 is queued, as public clients read them.
_JSON_PENDING = frozenset({"68", "27"})


def validate(account: Account) -> list[str]:
    """Days must be a number, `counter_in` one of its two words."""
    faults: list[str] = []
    if account.options.get("counter_in", "parameter") not in ("parameter", "number"):
        faults.append("option counter_in must be parameter or number")
    if account.options.get("same_idtrx_is_status_days") and not _days(account):
        faults.append("option same_idtrx_is_status_days must be a number of days above 0")
    return faults


def capabilities_of(account: Account) -> Capabilities:
    """With a stated age limit the purchase can be sent again, else nothing can be asked."""
    days = _days(account)
    if not days:
        return CAPABILITIES
    return replace(
        CAPABILITIES,
        recovery=Recovery.SAME_REF_IS_STATUS,
        max_age_seconds=days * _DAY_SECONDS,
    )


def top_up(account: Account, order: TopUp) -> Request:
    """GET the account's address, which differs by center: all of it is `base_url`."""
    number, in_number = order.customer_number, account.options.get("counter_in") == "number"
    if in_number and order.counter > 1:
        number = f"{order.counter}.{number}"
    query = {
        **{name: account.credentials[name] for name in ("id", "pin", "user", "pass")},
        "kodeproduk": order.dealer_sku,
        "tujuan": number,
        **({} if in_number else {"counter": str(order.counter)}),
        "idtrx": order.dealer_ref,
    }
    if jenis := account.options.get("jenis"):
        query["jenis"] = jenis
    if limit := account.options.get("price_limit_parameter"):
        query[limit] = str(order.max_price_rupiah)
    # Most values are letters and digits, which quoting leaves as they are.
    pairs = (f"{quote(name, safe='')}={quote(value, safe='')}" for name, value in query.items())
    return Request("GET", f"{account.base_url}?{'&'.join(pairs)}")


def read_top_up(account: Account, order: TopUp, answer: Answer) -> Report:
    """Read the answer to a first send."""
    if answer.status == HTTPStatus.OK and answer.body.lstrip().startswith(b"{"):
        return _read_json(account, order, answer.body)
    return _read(order, answer, _PURCHASE)


def status(account: Account, order: TopUp) -> Request:
    """The purchase again, where the account says that it is a status call; ValueError elsewhere."""
    if not _days(account):
        raise ValueError("at this center the same purchase sent again may buy again")
    return top_up(account, order)


def read_status(account: Account, order: TopUp, answer: Answer) -> Report:
    """Read the answer to a repeated send: a refusal may be about the repetition."""
    if answer.status == HTTPStatus.OK and answer.body.lstrip().startswith(b"{"):
        read = _read_json(account, order, answer.body)
        return read if read.outcome is Outcome.PENDING else _unknown("undecided", read.message)
    return _read(order, answer, _CREATED)


def read_callback(account: Account, callback: Callback) -> CallbackReport:
    """Read the report back. Never verified: it is not signed."""
    try:
        fields = parse_qs(callback.query, keep_blank_values=True, max_num_fields=30)
    except ValueError as error:
        raise CallbackRefused("the query cannot be read") from error
    if len(fields.get("clientid", [])) != 1 or len(fields.get("statuscode", [])) != 1:
        raise CallbackRefused("clientid or statuscode is missing, or there are several")
    code, message = fields["statuscode"][0], " ".join(fields.get("msg", [""])[0].split())
    serial_number = fields.get("sn", [""])[0].strip() or None
    report = _reported(code, message, serial_number)
    return CallbackReport(fields["clientid"][0], report, verified=False)


def acknowledge(account: Account, callback: Callback) -> tuple[str, bytes]:
    """Any text is enough for IRS."""
    return "text/plain", b"OK"


def balance(account: Account) -> None:
    """There is no such call; the balance stands in the answers to purchases."""


def read_balance(account: Account, answer: Answer) -> Balance:
    """Raise `UnreadableAnswer`: there is no balance to read."""
    raise UnreadableAnswer("IRS has no balance call")


def price_list(account: Account) -> None:
    """Centers publish prices outside the protocol."""


def read_price_list(account: Account, answer: Answer) -> list[DealerPrice]:
    """Raise `UnreadableAnswer`: there is no price list to read."""
    raise UnreadableAnswer("IRS has no price list")


def _days(account: Account) -> float | None:
    try:
        days = float(account.options.get("same_idtrx_is_status_days") or 0)
    except ValueError:
        return None
    return days if 0 < days < math.inf else None


def _read(order: TopUp, answer: Answer, meanings: _Meanings) -> Report:
    if answer.status != HTTPStatus.OK:
        return _unknown(f"http-{answer.status}")
    text = " ".join(answer.body.decode("utf-8", "replace").split())
    said = _sentence(text)
    if said is None:
        return _unknown("no-template", text)
    if said["reference"] != order.dealer_ref:
        return _unknown("other-reference", text)
    if said["number"] != order.customer_number:
        return _unknown("other-number", text)
    return _state(text, said, meanings)


def _sentence(text: str) -> dict[str, str] | None:
    if len(text) > _LONGEST_ANSWER:
        return None
    for sentence in _SENTENCES:
        if parts := sentence.fullmatch(text):
            return {name: part for name, part in parts.groupdict().items() if part is not None}
    return None


def _state(text: str, said: Mapping[str, str], meanings: _Meanings) -> Report:
    # Centers put words of their own before the sentence; they may deny it as well as the rest may.
    rest = f"{said.get('greeting', '')} {said.get('rest', '')}"
    state = said["state"].casefold()
    if state == "diproses":
        return Report(Outcome.PENDING, state, text)
    if state == "gagal":
        return _failure(text, said.get("reason"), rest, meanings)
    serial = said["serial"].strip(" .")
    if _DENIES_SUCCESS.search(f"{serial} {rest}"):
        return _unknown("contradiction", text)
    price = _rupiah(said["price"]) if "price" in said else None
    return Report(Outcome.SUCCEEDED, state, text, serial_number=serial or None, price_rupiah=price)


def _failure(text: str, reason: str | None, rest: str, meanings: _Meanings) -> Report:
    if _DENIES_FAILURE.search(rest):
        return _unknown("contradiction", text)
    phrase = "gagal" if reason is None else reason.strip(" .").casefold()
    # Without a reason it is the center's plain word, and the balance shows the money back.
    meaning = _FAILED if reason is None else meanings.get(phrase, _UNKNOWN)
    return Report(
        meaning.outcome,
        phrase.replace(" ", "-") or "no-reason",
        text,
        meaning.fault,
        reversal=meaning.reversal,
    )


def _read_json(account: Account, order: TopUp, body: bytes) -> Report:
    """Of JSON only that the purchase is in process is certain, and what ops listed as refused."""
    fields = _members(body)
    code, said = fields.get("rc"), fields.get("msg")
    message = said if isinstance(said, str) else ""
    if not isinstance(code, str) or not code:
        return _unknown("no-code", message)
    if fields.get("reffid") != order.dealer_ref:
        return _unknown("other-reference", message)
    if fields.get("tujuan", order.customer_number) != order.customer_number:
        return _unknown("other-number", message)
    refused = {each.lstrip("0") for each in account.options.get("refused_codes", "").split()}
    match fields.get("success"):
        case True if code.lstrip("0") in _JSON_PENDING:
            outcome = Outcome.PENDING
        case False if code.lstrip("0") in refused and not _DENIES_FAILURE.search(message):
            outcome = Outcome.REJECTED
        case _:
            outcome = Outcome.UNKNOWN
    return Report(outcome, code, message)


def _members(body: bytes) -> Mapping[str, object]:
    try:
        answer: object = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    return cast(Mapping[str, object], answer) if isinstance(answer, dict) else {}


def _reported(code: str, message: str, serial_number: str | None) -> Report:
    """What a report says: 1 is success, 2 failed for a reason that its sentence names."""
    if code == "1" and not _DENIES_SUCCESS.search(message.replace("CLIENTID=", "")):
        price = _PRICE.search(message)
        return Report(
            Outcome.SUCCEEDED,
            code,
            message,
            serial_number=serial_number,
            price_rupiah=_rupiah(price[1]) if price else None,
        )
    if code == "2":
        reason = _REASON.search(message)
        if reason is not None:
            around = message[: reason.start()] + message[reason.end() :].replace("CLIENTID=", "")
            return _failure(message, reason[1], around, _REPORT)
        if not message or _WITHOUT_REASON.fullmatch(message):
            return _failure(message, None, "", _REPORT)
        # A reason that cannot be found may be a time-out.
        return _unknown("no-reason", message)
    return _unknown(code, message)


def _unknown(code: str, message: str = "") -> Report:
    return Report(Outcome.UNKNOWN, code, message)


def _rupiah(amount: str) -> int:
    return int(amount.replace(".", ""))
