"""An older center: a purchase by XML-RPC is acknowledged, its result comes in a call to the buyer.

There is no call for the status and none for the balance. A reference that was seen before is
acknowledged again and bought no second time. Results carry 00 success, 01 failed, 16 wrong number,
25 refunded; refusals 400 and above.
"""

import hmac
from types import MappingProxyType
from typing import Any, cast
from xml.parsers.expat import ExpatError
from xmlrpc.client import Fault, ResponseError, dumps, loads

from dealers.simulator.behaviour import Reason, State
from dealers.simulator.book import Purchase
from dealers.simulator.config import Dealer
from dealers.simulator.dialect import NO_SUCH_PAGE, Ask, Incoming, Outgoing, Reply

CREDENTIALS = ("DealerID", "PIN")
OPTIONAL_CREDENTIALS = ()
RESULT_BY_CALLBACK = True

_XML = b"text/xml"
_REFUSALS = MappingProxyType(
    {
        Reason.BAD_REQUEST: (400, "Format salah"),
        Reason.WRONG_SIGNATURE: (401, "DealerID atau PIN salah"),
        Reason.UNKNOWN_PRODUCT: (404, "Produk tidak dikenal"),
        Reason.STOCK: (410, "Stok kosong"),
        Reason.PRICE: (411, "Harga tidak sesuai"),
        Reason.WRONG_NUMBER: (416, "Nomor tujuan salah"),
        Reason.DISRUPTED: (503, "Produk gangguan"),
    }
)


def read(dealer: Dealer, incoming: Incoming, balance_rupiah: int) -> Ask | Reply:
    """Read a call of `pulsaservertopupreq`, the only method that there is."""
    if incoming.method != "POST" or incoming.action:
        return NO_SUCH_PAGE
    try:
        params, method = cast(tuple[tuple[Any, ...], str], loads(incoming.body))
    except (ExpatError, ResponseError, Fault, ValueError, LookupError):
        return _acknowledgement(*_REFUSALS[Reason.BAD_REQUEST])
    if method != "pulsaservertopupreq" or len(params) != 1 or not isinstance(params[0], dict):
        return _acknowledgement(*_REFUSALS[Reason.BAD_REQUEST])
    fields = cast(dict[str, Any], params[0])
    return _purchase(dealer, {name: str(value) for name, value in fields.items()})


def refuse(dealer: Dealer, ask: Ask, reason: Reason, balance_rupiah: int) -> Reply:
    """A refusal takes the place of the acknowledgement."""
    return _acknowledgement(*_REFUSALS[reason])


def confirm(dealer: Dealer, purchase: Purchase, balance_rupiah: int) -> Reply:
    """Taken, whatever becomes of it."""
    return _acknowledgement(200, "OK")


def recall(dealer: Dealer, ask: Ask, purchase: Purchase | None, balance_rupiah: int) -> Reply:
    """Taken already."""
    return _acknowledgement(200, "OK")


def callback(dealer: Dealer, purchase: Purchase, claim: State, balance_rupiah: int) -> Outgoing:
    """An unsigned call with the result."""
    code, words = _result(purchase, claim)
    subject = f"{purchase.sku}.{purchase.customer_number}"
    told = {
        "TransactionID": str(purchase.number),
        "ResponseCode": code,
        "ReffTransactionID": purchase.dealer_ref,
        "Message": f"{subject} {words} Saldo {balance_rupiah}",
    }
    body = dumps((told,), "pulsaservertopupinfo").encode()
    return Outgoing("POST", purchase.callback_url, {"Content-Type": "text/xml"}, body)


def _purchase(dealer: Dealer, fields: dict[str, str]) -> Ask | Reply:
    ask = Ask(
        dealer_ref=fields.get("RefTrxID", ""),
        sku=fields.get("ProductCode", ""),
        customer_number=fields.get("MSISDN", ""),
    )
    if not (ask.dealer_ref and ask.sku and ask.customer_number):
        return _acknowledgement(*_REFUSALS[Reason.BAD_REQUEST])
    known = all(
        hmac.compare_digest(fields.get(name, "").encode(), dealer.credentials[name].encode())
        for name in CREDENTIALS
    )
    return ask if known else _acknowledgement(*_REFUSALS[Reason.WRONG_SIGNATURE])


def _result(purchase: Purchase, claim: State) -> tuple[str, str]:
    match claim:
        case State.SUCCEEDED:
            return "00", f"SUKSES. SN: {purchase.serial_number}."
        case State.REFUNDED:
            return "25", "Dana dikembalikan."
        case _ if purchase.reason is Reason.WRONG_NUMBER:
            return "16", "GAGAL. Nomor tujuan salah."
        case _:
            return "01", "GAGAL. Produk gangguan."


def _acknowledgement(code: int, message: str) -> Reply:
    told = {"ResponseCode": code, "Message": message}
    return Reply(dumps((told,), methodresponse=True).encode(), _XML)
