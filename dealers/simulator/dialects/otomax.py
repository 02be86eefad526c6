"""An OtomaX-style centre: signed GET requests, answered in a line of Indonesian text.

`check=1` asks for the status; without it the request buys. *Saldo* is the deposit, *harga* the
price, *sukses* and *gagal* are success and failure, *diproses* is in process.
"""

import hmac
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from hashlib import sha1
from types import MappingProxyType
from urllib.parse import parse_qsl, urlencode

from dealers.simulator.behaviour import Reason, State
from dealers.simulator.book import Purchase
from dealers.simulator.config import Dealer
from dealers.simulator.dialect import NO_SUCH_PAGE, Ask, Incoming, Outgoing, Reply

CREDENTIALS = ("memberID", "pin", "password")
OPTIONAL_CREDENTIALS = ()

_REASONS = MappingProxyType(
    {
        Reason.BAD_REQUEST: "Format Salah",
        Reason.WRONG_SIGNATURE: "Wrong Signature",
        Reason.UNKNOWN_PRODUCT: "Produk Salah",
        Reason.STOCK: "Stok Kosong",
        Reason.PRICE: "Harga Tidak Sesuai",
        Reason.WRONG_NUMBER: "Tujuan Salah",
        Reason.DISRUPTED: "Produk Gangguan",
    }
)
_SUCCEEDED_STATUS = 20
_FAILED_STATUS = 40


def read(dealer: Dealer, incoming: Incoming, balance_rupiah: int) -> Ask | Reply:
    """Read a request to `/trx` (purchase or status) or `/balance`."""
    if incoming.method != "GET":
        return NO_SUCH_PAGE
    query = dict(parse_qsl(incoming.query.decode("latin-1"), keep_blank_values=True))
    match incoming.action:
        case "trx":
            return _transaction(dealer, query, balance_rupiah)
        case "balance":
            return _balance(dealer, query, balance_rupiah)
        case _:
            return NO_SUCH_PAGE


def refuse(dealer: Dealer, ask: Ask, reason: Reason, balance_rupiah: int) -> Reply:
    """A refusal before anything was stored carries no transaction number."""
    return _line(f"R#{ask.dealer_ref} {ask.sku}.{ask.customer_number} GAGAL. {_REASONS[reason]}")


def confirm(dealer: Dealer, purchase: Purchase, balance_rupiah: int) -> Reply:
    """The first answer; a pending purchase is announced in words of its own."""
    if purchase.state is State.PENDING:
        return _line(f"{_subject(purchase)} akan diproses. Saldo {balance_rupiah}")
    return _line(_sentence(purchase, purchase.state, balance_rupiah))


def recall(dealer: Dealer, ask: Ask, purchase: Purchase | None, balance_rupiah: int) -> Reply:
    """The status where it was asked for; a purchase sent twice is only called a double."""
    if not ask.only_status:
        return _line(f"R#{ask.dealer_ref} Transaksi Dobel")
    if purchase is None or purchase.state is State.LOST:
        return _line(f"R#{ask.dealer_ref} Tidak Ada Data")
    return _line(_sentence(purchase, purchase.state, balance_rupiah))


def callback(dealer: Dealer, purchase: Purchase, claim: State, balance_rupiah: int) -> Outgoing:
    """An unsigned GET. A refund and a failure carry the same status number."""
    query = {
        "t": purchase.number,
        "refid": purchase.dealer_ref,
        "status": _SUCCEEDED_STATUS if claim is State.SUCCEEDED else _FAILED_STATUS,
        "price": purchase.price_rupiah,
        "message": _sentence(purchase, claim, balance_rupiah),
    }
    separator = "&" if "?" in purchase.callback_url else "?"
    return Outgoing("GET", f"{purchase.callback_url}{separator}{urlencode(query)}")


def _transaction(dealer: Dealer, query: Mapping[str, str], balance_rupiah: int) -> Ask | Reply:
    ask = Ask(
        dealer_ref=query.get("refID", ""),
        sku=query.get("product", ""),
        customer_number=query.get("dest", ""),
        only_status=query.get("check") == "1",
    )
    if not (ask.dealer_ref and ask.sku and ask.customer_number):
        return refuse(dealer, ask, Reason.BAD_REQUEST, balance_rupiah)
    if not _is_signed(dealer, query, f"{ask.sku}|{ask.customer_number}|{ask.dealer_ref}"):
        return refuse(dealer, ask, Reason.WRONG_SIGNATURE, balance_rupiah)
    return ask


def _balance(dealer: Dealer, query: Mapping[str, str], balance_rupiah: int) -> Reply:
    account = dealer.credentials
    text = f"OtomaX|CheckBalance|{account['memberID']}|{account['pin']}|{account['password']}"
    if not hmac.compare_digest(query.get("sign", "").encode(), _signature(text)):
        return _line(_REASONS[Reason.WRONG_SIGNATURE])
    return _line(f"Saldo {balance_rupiah}")


def _is_signed(dealer: Dealer, query: Mapping[str, str], middle: str) -> bool:
    account = dealer.credentials
    text = f"OtomaX|{account['memberID']}|{middle}|{account['pin']}|{account['password']}"
    return query.get("memberID") == account["memberID"] and hmac.compare_digest(
        query.get("sign", "").encode(), _signature(text)
    )


def _signature(text: str) -> bytes:
    digest = sha1(text.encode(), usedforsecurity=False).digest()
    return urlsafe_b64encode(digest).rstrip(b"=")


def _subject(purchase: Purchase) -> str:
    return f"T#{purchase.number} R#{purchase.dealer_ref} {purchase.sku}.{purchase.customer_number}"


def _sentence(purchase: Purchase, state: State, balance_rupiah: int) -> str:
    match state:
        case State.SUCCEEDED:
            words = f"SUKSES. SN: {purchase.serial_number}. Harga {purchase.price_rupiah}."
        case State.FAILED:
            words = f"GAGAL. {_REASONS[purchase.reason or Reason.DISRUPTED]}."
        case State.REFUNDED:
            words = "REFUND."
        case State.PENDING | State.LOST:
            return f"{_subject(purchase)} Sedang Diproses"
    return f"{_subject(purchase)} {words} Saldo {balance_rupiah}"


def _line(text: str) -> Reply:
    return Reply(text.encode())
