"""What top-up centers' answers in plain text have in common, whichever program a center runs.

Indonesian centers answer a purchase in a sentence for people. *Sukses* is success, *gagal* failed,
*akan diproses* will be processed, *harga* price, *saldo* balance. The sentences differ from program
to program and are read there; the words, the amounts and what contradicts a state are the same.

A state word counts only where a sentence begins with it, and only while nothing denies it: "belum
sukses" is not yet a success, and "sukses ... refund" is none any more.
"""

import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Final
from urllib.parse import quote

from dealers.contract import Account, Answer, Balance, Fault, Outcome, Report, Request

LONGEST_ANSWER: Final = 2_000
"""Characters. A template fills a line or two; whatever is longer is some other page."""

IN_PROCESS: Final = frozenset({"akan diproses", "sedang diproses", "menunggu jawaban", "terjadwal"})
REFUNDED: Final = frozenset({"refund", "direfund"})

# The center's reasons for a failure: wrong number; outside the area, area code does not match;
# balance short, wrong product, wrong signature; the rest is stock, disruption, price, hours, limit.
FAULTS: Final[Mapping[str, Fault]] = {
    "tujuan salah": Fault.NUMBER,
    "tujuan di luar wilayah": Fault.CLUSTER,
    "kode area tidak cocok": Fault.CLUSTER,
    "saldo tidak cukup": Fault.ACCOUNT,
    "produk salah": Fault.ACCOUNT,
    "wrong signature": Fault.ACCOUNT,
    "stok kosong": Fault.PRODUCT,
    "produk gangguan": Fault.PRODUCT,
    "harga tidak sesuai": Fault.PRODUCT,
    "cutoff": Fault.PRODUCT,
    "limit harian": Fault.PRODUCT,
    "dibatalkan": Fault.PRODUCT,
}

_UNDECIDED = (
    r"belum|blm|bukan|menunggu|antri\w*|(?:di|mem|pem)?pro[cgs]\w*|pending|suspe[ck]\w*|dobel|double|"
    r"duplikat|ganda|time[ -]?out|timed[ -]out|rto|ti?da?k ada (?:data|jawaban|balasan|respon\w*)|"
    r"no response|dicek|pengecekan|dicoba|R#\w+|T#\d+"
)
# An underscore ends a word here: "SUKSES_SN" holds one.
_DENIES_SUCCESS = re.compile(
    rf"(?<![^\W_])(?:{_UNDECIDED}|gagal|failed|(?:di)?batal\w*|\w*refund|\w*kembali\w*|ti?da?k)"
    r"(?![^\W_])|\?",
    re.I,
)
_DENIES_FAILURE = re.compile(
    rf"(?<![^\W_])(?:{_UNDECIDED}|suc+es\w*|suk+ses\w*|berhasil|terkirim|delivered|sn(?=[: ]))"
    r"(?![^\W_])|\?",
    re.I,
)

_AMOUNT = r"\d{1,3}(?:\.\d{3})+|\d+"
_SERIAL_NUMBER = re.compile(
    r"\bSN(?:/Ref)?: ?(.*?)(?:[. ]{1,3}(?:Harga|Hrg|Saldo) [\d.]+|$)", re.IGNORECASE
)
_PRICE = re.compile(rf"\b(?:Harga|Hrg) (?:Rp ?)?({_AMOUNT})(?!\d|\.\d)", re.IGNORECASE)
_DEDUCTED = re.compile(rf"\bSaldo -?[\d.]+ - ({_AMOUNT}) = -?[\d.]+", re.IGNORECASE)
_DEPOSIT = re.compile(rf"\bSaldo:? (?:Rp\.? ?)?(-?(?:{_AMOUNT}))(?!\d|\.\d)", re.IGNORECASE)


def text_of(answer: Answer) -> str:
    """The answer in one line, its spaces made single."""
    return " ".join(answer.body.decode("utf-8", "replace").split())


def sentence_of(answer: Answer) -> str | Report:
    """The answer in one line, or why it can be no sentence of a center."""
    if answer.status != HTTPStatus.OK:
        return Report(Outcome.UNKNOWN, f"http-{answer.status}")
    text = text_of(answer)
    if len(text) > LONGEST_ANSWER:
        return Report(Outcome.UNKNOWN, "no-template", text)
    return text


def contradicts_success(rest: str) -> bool:
    """Whether what follows a word of success takes it back."""
    return _DENIES_SUCCESS.search(rest) is not None


def contradicts_failure(rest: str) -> bool:
    """Whether what follows a word of failure takes it back."""
    return _DENIES_FAILURE.search(rest) is not None


def success(text: str, rest: str) -> Report:
    """A success that `rest` explains, with its serial number and price, unless `rest` denies it."""
    if contradicts_success(rest):
        return Report(Outcome.UNKNOWN, "contradiction", text)
    serial_number, price = (
        _SERIAL_NUMBER.search(rest),
        _PRICE.search(rest) or _DEDUCTED.search(rest),
    )
    return Report(
        Outcome.SUCCEEDED,
        "sukses",
        text,
        serial_number=(serial_number[1].strip(" .") or None) if serial_number else None,
        price_rupiah=rupiah(price[1]) if price else None,
    )


def refusal(text: str, phrase: str, fault: Fault) -> Report:
    """A refusal before anything was stored."""
    # A wrong number is wrong at every dealer; REJECTED would send it to the next one.
    outcome = Outcome.FAILED if fault is Fault.NUMBER else Outcome.REJECTED
    return Report(outcome, code_of(phrase), text, fault)


def balance_in(answer: Answer) -> Balance | None:
    """The one balance that the answer names, or None where there is none, or several."""
    amounts = _DEPOSIT.findall(text_of(answer)) if answer.status == HTTPStatus.OK else []
    return Balance(rupiah(amounts[0])) if len(amounts) == 1 else None


def code_of(phrase: str) -> str:
    """A phrase as a report's code."""
    return phrase.replace(" ", "-")


def rupiah(amount: str) -> int:
    """`1.250.000` as a number."""
    return int(amount.replace(".", ""))


def get(account: Account, path: str, query: Mapping[str, str]) -> Request:
    """`GET` at the account's address."""
    address = account.base_url.rstrip("/") + path
    # Most values are letters and digits, which quoting leaves as they are.
    pairs = "&".join(
        f"{name}={value if value.isascii() and value.isalnum() else quote(value, safe='')}"
        for name, value in query.items()
    )
    return Request("GET", f"{address}?{pairs}")
