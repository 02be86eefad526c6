"""PortalPulsa and JavaH2H as their buyers see them: forms to one address, told apart by `inquiry`.

A purchase is only ever taken or refused; what became of it is told by `STATUS`. Headers of either
name are taken. *Saldo* is the deposit, *harga* the price, *gagal* failed.
"""

import hmac
from collections.abc import Callable, Mapping
from types import MappingProxyType
from urllib.parse import parse_qsl, urlencode

import orjson

from dealers.simulator.behaviour import Reason, State
from dealers.simulator.book import Purchase
from dealers.simulator.config import Dealer
from dealers.simulator.dialect import NO_SUCH_PAGE, Ask, Incoming, Outgoing, Reply

CREDENTIALS = ("userid", "key", "secret")
OPTIONAL_CREDENTIALS = ()

_JSON = b"application/json"
_REASONS: Mapping[Reason, str] = MappingProxyType(
    {
        Reason.BAD_REQUEST: "Parameter tidak lengkap",
        Reason.WRONG_SIGNATURE: "Autentikasi gagal",
        Reason.UNKNOWN_PRODUCT: "Kode produk tidak ditemukan",
        Reason.STOCK: "Stok kosong",
        Reason.PRICE: "Produk gangguan",
        Reason.WRONG_NUMBER: "Nomor tujuan salah",
        Reason.DISRUPTED: "Produk gangguan",
    }
)
_STATUS: Mapping[State, int] = MappingProxyType(
    {State.PENDING: 1, State.FAILED: 2, State.REFUNDED: 3, State.SUCCEEDED: 4}
)


def read(dealer: Dealer, incoming: Incoming, balance_rupiah: int) -> Ask | Reply:
    """Read a form; its headers are the buyer's credentials."""
    if incoming.method != "POST" or incoming.action not in ("", "api/connect/"):
        return NO_SUCH_PAGE
    form = dict(parse_qsl(incoming.body.decode("latin-1"), keep_blank_values=True))
    page = _PAGES.get(form.get("inquiry", ""))
    if page is None:
        return _failed(_REASONS[Reason.BAD_REQUEST])
    if not _is_ours(dealer, incoming.headers):
        return _failed(_REASONS[Reason.WRONG_SIGNATURE])
    return page(dealer, form, balance_rupiah)


def refuse(dealer: Dealer, ask: Ask, reason: Reason, balance_rupiah: int) -> Reply:
    """A sentence, and nothing was stored."""
    return _failed(_REASONS[reason])


def confirm(dealer: Dealer, purchase: Purchase, balance_rupiah: int) -> Reply:
    """It was taken, whatever becomes of it."""
    return _taken(f"{purchase.sku} ke {purchase.customer_number} akan segera diproses")


def recall(dealer: Dealer, ask: Ask, purchase: Purchase | None, balance_rupiah: int) -> Reply:
    """The list of one transaction; a purchase under a used reference is refused."""
    if not ask.only_status:
        return _failed("trxid_api sudah pernah digunakan")
    if purchase is None or purchase.state is State.LOST:
        return _failed("Transaksi tidak ditemukan", trxid_api=ask.dealer_ref)
    return _reply({"result": "success", "message": [_row(purchase, purchase.state)]})


def callback(dealer: Dealer, purchase: Purchase, claim: State, balance_rupiah: int) -> Outgoing:
    """The row as JSON in one form field, unsigned."""
    row = _row(purchase, claim) | {"last_balance": str(balance_rupiah)}
    body = urlencode({"content": orjson.dumps(row).decode()}).encode()
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    return Outgoing("POST", purchase.callback_url, headers, body)


def _purchase(dealer: Dealer, form: Mapping[str, str], balance_rupiah: int) -> Ask | Reply:
    ask = Ask(
        dealer_ref=form.get("trxid_api", ""),
        sku=form.get("code", ""),
        customer_number=form.get("phone", ""),
    )
    if not (ask.dealer_ref and ask.sku and ask.customer_number and form.get("no", "").isdigit()):
        return _failed(_REASONS[Reason.BAD_REQUEST])
    return ask


def _status(dealer: Dealer, form: Mapping[str, str], balance_rupiah: int) -> Ask | Reply:
    reference = form.get("trxid_api", "")
    if not reference:
        return _failed(_REASONS[Reason.BAD_REQUEST])
    return Ask(reference, sku="", customer_number="", only_status=True)


def _balance(dealer: Dealer, form: Mapping[str, str], balance_rupiah: int) -> Reply:
    message = f"Saldo anda Rp {balance_rupiah}"
    return _reply({"result": "success", "balance": balance_rupiah, "message": message})


def _prices(dealer: Dealer, form: Mapping[str, str], balance_rupiah: int) -> Reply:
    rows = [_offer(dealer, sku, price) for sku, price in dealer.prices.items()]
    return _reply({"result": "success", "message": rows})


_PAGES: Mapping[str, Callable[[Dealer, Mapping[str, str], int], Ask | Reply]] = MappingProxyType(
    {"I": _purchase, "STATUS": _status, "S": _balance, "HARGA": _prices}
)


def _is_ours(dealer: Dealer, headers: Mapping[bytes, bytes]) -> bool:
    prefix = b"h2h" if b"h2h-userid" in headers else b"portal"
    return all(
        hmac.compare_digest(
            headers.get(b"%s-%s" % (prefix, name.encode()), b""), dealer.credentials[name].encode()
        )
        for name in CREDENTIALS
    )


def _row(purchase: Purchase, state: State) -> dict[str, str]:
    succeeded = state is State.SUCCEEDED
    return {
        "trxid": str(purchase.number),
        "trxid_api": purchase.dealer_ref,
        "code": purchase.sku,
        "phone": purchase.customer_number,
        "idcust": "",
        "sequence": "1",
        "status": str(_STATUS.get(state, 1)),
        "sn": purchase.serial_number if succeeded else "",
        "note": _note(purchase, state),
        "price": str(purchase.price_rupiah),
    }


def _note(purchase: Purchase, state: State) -> str:
    subject = f"Trx {purchase.sku} {purchase.customer_number}"
    match state:
        case State.SUCCEEDED:
            return f"{subject} SUKSES. SN: {purchase.serial_number}"
        case State.FAILED:
            return f"{subject} GAGAL. {_REASONS[purchase.reason or Reason.DISRUPTED]}"
        case State.REFUNDED:
            return f"{subject} REFUND"
        case State.PENDING | State.LOST:
            return f"{subject} sedang diproses"


def _taken(message: str) -> Reply:
    return _reply({"result": "success", "message": message})


def _failed(message: str, **more: str) -> Reply:
    return _reply({"result": "failed", "message": message, **more})


def _reply(content: object) -> Reply:
    return Reply(orjson.dumps(content), _JSON)


def _offer(dealer: Dealer, sku: str, price_rupiah: int) -> dict[str, object]:
    return {
        "code": sku,
        "description": sku,
        "operator": "",
        "price": str(price_rupiah),
        "status": "normal" if dealer.is_in_stock(sku) else "gangguan",
        "provider_sub": "REGULER",
    }
