"""OkeConnect: GET requests with PIN and password, answered in a sentence of Indonesian text.

`check=1` asks for the status; without it the request buys. A purchase is looked up by its number
and day, so "there is none" names no reference. The price file lies under `/harga/json`.
"""

import hmac
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from types import MappingProxyType
from urllib.parse import parse_qsl, urlencode

import orjson

from dealers.simulator.behaviour import Reason, State
from dealers.simulator.book import Purchase
from dealers.simulator.config import Dealer
from dealers.simulator.dialect import NO_SUCH_PAGE, Ask, Incoming, Outgoing, Reply

CREDENTIALS = ("memberID", "pin", "password")
OPTIONAL_CREDENTIALS = ()

_NAME = "Pulsa H2H 5.000"
_WIB = timezone(timedelta(hours=7))
_DAY = "22/04/2025"
_BILL = {
    "kode": "BPLA",
    "keterangan": "Bayar Tagihan Listrik",
    "produk": "Tagihan",
    "kategori": "TAGIHAN",
    "harga": "-1150",
    "status": "1",
}
_REASONS = MappingProxyType(
    {
        Reason.BAD_REQUEST: "Format Salah",
        Reason.WRONG_SIGNATURE: "Pin Salah",
        Reason.UNKNOWN_PRODUCT: "Produk Salah",
        Reason.STOCK: "Stok Kosong",
        Reason.PRICE: "Harga Tidak Sesuai",
        Reason.WRONG_NUMBER: "Nomor tujuan salah",
        Reason.DISRUPTED: "Produk Gangguan",
    }
)


def read(dealer: Dealer, incoming: Incoming, balance_rupiah: int) -> Ask | Reply:
    """Read a request to `/trx` (purchase or status), `/trx/balance` or the price file."""
    if incoming.method != "GET":
        return NO_SUCH_PAGE
    query = dict(parse_qsl(incoming.query.decode("latin-1"), keep_blank_values=True))
    match incoming.action:
        case "trx":
            return _transaction(dealer, query)
        case "trx/balance":
            known = _is_member(dealer, query)
            return _line(f"Saldo {_dotted(balance_rupiah)}" if known else "Pin Salah")
        case "harga/json":
            return _price_file(dealer)
        case _:
            return NO_SUCH_PAGE


def refuse(dealer: Dealer, ask: Ask, reason: Reason, balance_rupiah: int) -> Reply:
    """A refusal before anything was stored carries no transaction number."""
    return _line(f"R#{ask.dealer_ref} {ask.sku}.{ask.customer_number} GAGAL. {_REASONS[reason]}")


def confirm(dealer: Dealer, purchase: Purchase, balance_rupiah: int) -> Reply:
    """The first answer; a pending purchase is announced in words of its own."""
    return _line(_sentence(purchase, purchase.state, balance_rupiah))


def recall(dealer: Dealer, ask: Ask, purchase: Purchase | None, balance_rupiah: int) -> Reply:
    """What the day's book says; a purchase sent twice is told of the first."""
    if purchase is None or purchase.state is State.LOST:
        return _line(
            f"TIDAK ADA transaksi Tujuan {ask.customer_number} pada tgl {_DAY}. Tidak ada data. "
            f"Saldo {_dotted(balance_rupiah)}"
        )
    subject = f"R#{purchase.dealer_ref} {_NAME} {purchase.sku}.{purchase.customer_number}"
    if purchase.state is State.PENDING:
        return _line(
            f"Mhn tunggu trx sblmnya selesai: T#{purchase.number} {subject} @{_clock(purchase)}, "
            f"status Menunggu Jawaban. Saldo {_dotted(balance_rupiah)}"
        )
    words = {
        State.SUCCEEDED: f"Sukses. SN: {purchase.serial_number}.",
        State.FAILED: f"Gagal. {_REASONS[purchase.reason or Reason.DISRUPTED]}.",
        State.REFUNDED: "Refund.",
    }[purchase.state]
    return _line(
        f"{subject} sudah pernah jam {_clock(purchase)}, status {words} "
        f"Hrg {_dotted(purchase.price_rupiah)} Trx ke-2 gunakan format yang benar."
    )


def callback(dealer: Dealer, purchase: Purchase, claim: State, balance_rupiah: int) -> Outgoing:
    """An unsigned GET with the reference and a sentence, and nothing else."""
    message = _sentence(purchase, claim, balance_rupiah)
    query = urlencode({"refid": purchase.dealer_ref, "message": message})
    separator = "&" if "?" in purchase.callback_url else "?"
    return Outgoing("GET", f"{purchase.callback_url}{separator}{query}")


def _transaction(dealer: Dealer, query: Mapping[str, str]) -> Ask | Reply:
    ask = Ask(
        dealer_ref=query.get("refID", ""),
        sku=query.get("product", ""),
        customer_number=query.get("dest", ""),
        only_status=query.get("check") == "1",
    )
    if not (ask.dealer_ref and ask.sku and ask.customer_number):
        return _line("Format Salah")
    if not _is_member(dealer, query):
        return _line(f"R#0 {ask.sku}.{ask.customer_number} GAGAL. Pin Salah")
    return ask


def _is_member(dealer: Dealer, query: Mapping[str, str]) -> bool:
    return all(
        hmac.compare_digest(query.get(name, "").encode(), dealer.credentials[name].encode())
        for name in CREDENTIALS
    )


def _price_file(dealer: Dealer) -> Reply:
    rows = [
        {
            "kode": sku,
            "keterangan": _NAME,
            "produk": "Pulsa",
            "kategori": "PULSA",
            "harga": str(price_rupiah),
            "status": "1",
        }
        for sku, price_rupiah in dealer.prices.items()
    ]
    return Reply(orjson.dumps([*rows, _BILL]), b"application/json")


def _sentence(purchase: Purchase, state: State, balance_rupiah: int) -> str:
    before, after = balance_rupiah + purchase.price_rupiah, balance_rupiah
    moved = f"{_dotted(before)} - {_dotted(purchase.price_rupiah)} = {_dotted(after)}"
    match state:
        case State.SUCCEEDED:
            words = f"SUKSES. SN: {purchase.serial_number}. Saldo {moved} @{_clock(purchase)}"
        case State.FAILED:
            reason = _REASONS[purchase.reason or Reason.DISRUPTED]
            words = f"GAGAL. {reason}. Saldo {_dotted(after)} @{_clock(purchase)}"
        case State.REFUNDED:
            words = f"REFUND. Saldo {_dotted(after)} @{_clock(purchase)}"
        case State.PENDING | State.LOST:
            words = f"akan diproses. Saldo {moved} @{_clock(purchase)}"
    subject = f"{_NAME} {purchase.sku}.{purchase.customer_number}"
    return f"T#{purchase.number} R#{purchase.dealer_ref} {subject} {words}"


def _dotted(rupiah: int) -> str:
    return f"{rupiah:,}".replace(",", ".")


def _line(text: str) -> Reply:
    return Reply(text.encode(), b"text/html; charset=UTF-8")


def _clock(purchase: Purchase) -> str:
    """The hour of the purchase, in WIB."""
    return datetime.fromtimestamp(purchase.created_at, _WIB).strftime("%H:%M")
