"""An IRS or ST24 center behind Digiflazz's gate: one GET that buys, answered in a sentence.

The same `idtrx` sent again tells the first purchase's state. *Berhasil* is success, *gagal* failed,
*saldo* the deposit, *hrg* the price, *ke* to.
"""

import hmac
from collections.abc import Mapping
from types import MappingProxyType
from urllib.parse import parse_qsl, urlencode

from dealers.simulator.behaviour import Reason, State
from dealers.simulator.book import Purchase
from dealers.simulator.config import Dealer
from dealers.simulator.dialect import NO_SUCH_PAGE, Ask, Incoming, Outgoing, Reply

CREDENTIALS = ("id", "pin", "user", "pass")
OPTIONAL_CREDENTIALS = ()

_PAGES = frozenset({"", "trx", "api/h2h"})
_REASONS: Mapping[Reason, str] = MappingProxyType(
    {
        Reason.BAD_REQUEST: "Invalid Payload",
        Reason.WRONG_SIGNATURE: "Gagal memproses API Buyer",
        Reason.UNKNOWN_PRODUCT: "SKU tidak di temukan atau Non-Aktif",
        Reason.STOCK: "Stok habis",
        Reason.PRICE: "Harga seller lebih besar dari ketentuan harga Buyer",
        Reason.WRONG_NUMBER: "Nomor Tujuan Salah",
        Reason.DISRUPTED: "Produk Sedang Gangguan",
    }
)
_REFUNDED = "Transaksi Refund"
_NOT_UNIQUE = "Ref ID tidak unik"


def read(dealer: Dealer, incoming: Incoming, balance_rupiah: int) -> Ask | Reply:
    """Read a purchase; there is nothing else to ask for."""
    if incoming.method != "GET" or incoming.action not in _PAGES:
        return NO_SUCH_PAGE
    query = dict(parse_qsl(incoming.query.decode("latin-1"), keep_blank_values=True))
    limit = query.get("hargamax", "")
    ask = Ask(
        dealer_ref=query.get("idtrx", ""),
        sku=query.get("kodeproduk", ""),
        # ST24 puts the counter before the number.
        customer_number=query.get("tujuan", "").rpartition(".")[2],
        max_price_rupiah=int(limit) if limit.isdecimal() else None,
    )
    if not (ask.dealer_ref and ask.sku and ask.customer_number):
        return refuse(dealer, ask, Reason.BAD_REQUEST, balance_rupiah)
    if not _is_ours(dealer, query):
        return refuse(dealer, ask, Reason.WRONG_SIGNATURE, balance_rupiah)
    return ask


def refuse(dealer: Dealer, ask: Ask, reason: Reason, balance_rupiah: int) -> Reply:
    """A failure, worded like one that was stored."""
    return _refused(ask, _REASONS[reason], balance_rupiah)


def confirm(dealer: Dealer, purchase: Purchase, balance_rupiah: int) -> Reply:
    """The first answer, which is worded like every later one."""
    return _line(_sentence(purchase, purchase.state, balance_rupiah))


def recall(dealer: Dealer, ask: Ask, purchase: Purchase | None, balance_rupiah: int) -> Reply:
    """The stored state; refused where the reference belongs to another number or product."""
    if purchase is None or (ask.customer_number, ask.sku) != (
        purchase.customer_number,
        purchase.sku,
    ):
        return _refused(ask, _NOT_UNIQUE, balance_rupiah)
    return confirm(dealer, purchase, balance_rupiah)


def callback(dealer: Dealer, purchase: Purchase, claim: State, balance_rupiah: int) -> Outgoing:
    """An unsigned GET. A refund and a failure carry the same status code."""
    query = {
        "serverid": purchase.number,
        "clientid": purchase.dealer_ref,
        "statuscode": 1 if claim is State.SUCCEEDED else 2,
        "kp": purchase.sku,
        "msisdn": purchase.customer_number,
        "sn": purchase.serial_number if claim is State.SUCCEEDED else "",
        "msg": _sentence(purchase, claim, balance_rupiah),
    }
    separator = "&" if "?" in purchase.callback_url else "?"
    return Outgoing("GET", f"{purchase.callback_url}{separator}{urlencode(query)}")


def _is_ours(dealer: Dealer, query: Mapping[str, str]) -> bool:
    return all(
        hmac.compare_digest(query.get(name, "").encode(), dealer.credentials[name].encode())
        for name in CREDENTIALS
    )


def _refused(ask: Ask, reason: str, balance_rupiah: int) -> Reply:
    return _line(
        f"TRX {ask.sku}.{ask.customer_number} GAGAL, {reason}. "
        f"SISA SALDO {balance_rupiah} CLIENTID={ask.dealer_ref}."
    )


def _sentence(purchase: Purchase, state: State, balance_rupiah: int) -> str:
    subject = f"TRX {purchase.sku}.{purchase.customer_number}"
    end = f"SISA SALDO:{balance_rupiah} CLIENTID={purchase.dealer_ref}."
    match state:
        case State.SUCCEEDED:
            price, serial_number = purchase.price_rupiah, purchase.serial_number
            return f"{subject} BERHASIL, HRG:{price} SN: {serial_number}. {end}"
        case State.FAILED:
            return f"{subject} GAGAL, {_REASONS[purchase.reason or Reason.DISRUPTED]}. {end}"
        case State.REFUNDED:
            return f"{subject} GAGAL, {_REFUNDED}. {end}"
        case State.PENDING | State.LOST:
            return (
                f"Request {purchase.sku} ke {purchase.customer_number} segera diproses "
                f"Saldo={balance_rupiah} CLIENTID={purchase.dealer_ref}."
            )


def _line(text: str) -> Reply:
    return Reply(text.encode())
