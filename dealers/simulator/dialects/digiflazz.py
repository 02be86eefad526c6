"""Digiflazz's buyer API as its buyers see it: JSON over POST, a code `rc` beside every status.

The same `ref_id` sent again tells the first purchase's state. A real Digiflazz answers some
failures with HTTP 400; here every readable request gets 200.
"""

import hmac
from collections.abc import Callable, Mapping
from hashlib import md5
from types import MappingProxyType
from typing import Any, cast

import orjson

from dealers.simulator.behaviour import Reason, State
from dealers.simulator.book import Purchase
from dealers.simulator.config import Dealer
from dealers.simulator.dialect import NO_SUCH_PAGE, Ask, Incoming, Outgoing, Reply

CREDENTIALS = ("username", "api_key")
OPTIONAL_CREDENTIALS = ("webhook_secret",)

_JSON = b"application/json"
_REF_NOT_UNIQUE = "49"

_CODES: Mapping[State | Reason, str] = MappingProxyType(
    {
        State.SUCCEEDED: "00",
        State.PENDING: "03",
        State.REFUNDED: "74",
        Reason.BAD_REQUEST: "40",
        Reason.WRONG_SIGNATURE: "41",
        Reason.UNKNOWN_PRODUCT: "43",
        Reason.DISRUPTED: "53",
        Reason.WRONG_NUMBER: "54",
        Reason.STOCK: "68",
        Reason.PRICE: "69",
    }
)

_MESSAGES = MappingProxyType(
    {
        "00": "Transaksi Sukses",
        "03": "Transaksi Pending",
        "40": "Payload Error",
        "41": "Signature tidak valid",
        "43": "SKU tidak ditemukan atau non-aktif",
        "49": "Ref ID tidak unik",
        "53": "Produk seller sedang tidak tersedia",
        "54": "Nomor tujuan salah",
        "68": "Stok habis",
        "69": "Harga seller lebih besar dari max price",
        "74": "Transaksi Refund",
    }
)


def read(dealer: Dealer, incoming: Incoming, balance_rupiah: int) -> Ask | Reply:
    """Read a request to `/transaction`, `/cek-saldo` (balance) or `/price-list`."""
    page = _PAGES.get(incoming.action)
    if page is None or incoming.method != "POST":
        return NO_SUCH_PAGE
    try:
        fields: object = orjson.loads(incoming.body)
    except orjson.JSONDecodeError:
        return _error(Reason.BAD_REQUEST)
    if not isinstance(fields, dict):
        return _error(Reason.BAD_REQUEST)
    return page(dealer, cast(dict[str, Any], fields), balance_rupiah)


def refuse(dealer: Dealer, ask: Ask, reason: Reason, balance_rupiah: int) -> Reply:
    """A final failure for a purchase that was never stored."""
    return _about(ask, _CODES[reason], balance_rupiah, dealer.prices.get(ask.sku, 0))


def confirm(dealer: Dealer, purchase: Purchase, balance_rupiah: int) -> Reply:
    """The first answer, which is worded like every later one."""
    return _reply(_data(purchase, _code(purchase, purchase.state), balance_rupiah))


def recall(dealer: Dealer, ask: Ask, purchase: Purchase | None, balance_rupiah: int) -> Reply:
    """The stored state; refused where the reference belongs to another number or product."""
    if purchase is None or (ask.customer_number, ask.sku) != (
        purchase.customer_number,
        purchase.sku,
    ):
        return _about(ask, _REF_NOT_UNIQUE, balance_rupiah, dealer.prices.get(ask.sku, 0))
    return confirm(dealer, purchase, balance_rupiah)


def callback(dealer: Dealer, purchase: Purchase, claim: State, balance_rupiah: int) -> Outgoing:
    """A webhook, signed where the account has a secret for it."""
    body = orjson.dumps({"data": _data(purchase, _code(purchase, claim), balance_rupiah)})
    headers = {
        "Content-Type": "application/json",
        "User-Agent": "Digiflazz-Hookshot",
        "X-Digiflazz-Event": "update",
    }
    secret = dealer.credentials.get("webhook_secret")
    if secret:
        headers["X-Hub-Signature"] = "sha1=" + hmac.digest(secret.encode(), body, "sha1").hex()
    return Outgoing("POST", purchase.callback_url, headers, body)


def _transaction(dealer: Dealer, fields: dict[str, Any], balance_rupiah: int) -> Ask | Reply:
    limit = fields.get("max_price")
    ask = Ask(
        dealer_ref=str(fields.get("ref_id", "")),
        sku=str(fields.get("buyer_sku_code", "")),
        customer_number=str(fields.get("customer_no", "")),
        callback_url=str(fields.get("cb_url") or ""),
        price_limited="max_price" in fields,
        max_price_rupiah=limit if isinstance(limit, int) else None,
    )
    if not (ask.dealer_ref and ask.sku and ask.customer_number):
        return refuse(dealer, ask, Reason.BAD_REQUEST, balance_rupiah)
    if not _is_signed(dealer, fields, ask.dealer_ref):
        return refuse(dealer, ask, Reason.WRONG_SIGNATURE, balance_rupiah)
    return ask


def _balance(dealer: Dealer, fields: dict[str, Any], balance_rupiah: int) -> Reply:
    if not _is_signed(dealer, fields, "depo"):
        return _error(Reason.WRONG_SIGNATURE)
    return _reply({"deposit": balance_rupiah})


def _price_list(dealer: Dealer, fields: dict[str, Any], balance_rupiah: int) -> Reply:
    if not _is_signed(dealer, fields, "pricelist"):
        return _error(Reason.WRONG_SIGNATURE)
    code = fields.get("code")
    return _reply(
        [
            _offer(dealer, sku, price)
            for sku, price in dealer.prices.items()
            if code in (None, "", sku)
        ]
    )


_PAGES: Mapping[str, Callable[[Dealer, dict[str, Any], int], Ask | Reply]] = MappingProxyType(
    {"transaction": _transaction, "cek-saldo": _balance, "price-list": _price_list}
)


def _is_signed(dealer: Dealer, fields: dict[str, Any], last: str) -> bool:
    username, api_key = dealer.credentials["username"], dealer.credentials["api_key"]
    signature = md5(f"{username}{api_key}{last}".encode(), usedforsecurity=False).hexdigest()
    given = str(fields.get("sign", ""))
    return fields.get("username") == username and hmac.compare_digest(
        given.encode(), signature.encode()
    )


def _code(purchase: Purchase, claim: State) -> str:
    if claim is State.FAILED:
        return _CODES[purchase.reason or Reason.DISRUPTED]
    return _CODES[claim]


def _status(code: str) -> str:
    return {"00": "Sukses", "03": "Pending"}.get(code, "Gagal")


def _data(purchase: Purchase, code: str, balance_rupiah: int) -> dict[str, object]:
    return {
        "ref_id": purchase.dealer_ref,
        "customer_no": purchase.customer_number,
        "buyer_sku_code": purchase.sku,
        "message": _MESSAGES[code],
        "status": _status(code),
        "rc": code,
        "sn": purchase.serial_number,
        "buyer_last_saldo": balance_rupiah,
        "price": purchase.price_rupiah,
    }


def _about(ask: Ask, code: str, balance_rupiah: int, price_rupiah: int) -> Reply:
    return _reply(
        {
            "ref_id": ask.dealer_ref,
            "customer_no": ask.customer_number,
            "buyer_sku_code": ask.sku,
            "message": _MESSAGES[code],
            "status": _status(code),
            "rc": code,
            "sn": "",
            "buyer_last_saldo": balance_rupiah,
            "price": price_rupiah,
        }
    )


def _error(reason: Reason) -> Reply:
    code = _CODES[reason]
    return _reply({"rc": code, "status": _status(code), "message": _MESSAGES[code]})


def _reply(data: object) -> Reply:
    return Reply(orjson.dumps({"data": data}), _JSON)


def _offer(dealer: Dealer, sku: str, price_rupiah: int) -> dict[str, object]:
    return {
        "product_name": sku,
        "category": "Pulsa",
        "brand": "",
        "type": "Umum",
        "seller_name": "simulator",
        "price": price_rupiah,
        "buyer_sku_code": sku,
        "buyer_product_status": True,
        "seller_product_status": dealer.is_in_stock(sku),
        "unlimited_stock": sku not in dealer.stock,
        "stock": dealer.stock.get(sku, 0),
        "multi": True,
        "start_cut_off": "00:00",
        "end_cut_off": "00:00",
        "desc": "-",
    }
