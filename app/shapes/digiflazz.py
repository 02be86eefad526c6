"""Digiflazz's buyer API as its clients read it: a code `rc` beside every status.

*Sukses* is success, *gagal* failed, *saldo* the balance. Clients ask for an order's state by
sending it again. Codes 40 to 45 come with HTTP 400 where nothing but the request was looked at.

Source of the codes and their words: https://developer.digiflazz.com/api/buyer/ (response-code,
topup, webhook).
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import orjson

from app.shapes.telling import Sending, State, Told
from dealers.signs import hub_signature

SUCCEEDED: Final = "00"
FAILED: Final = "02"
PENDING: Final = "03"
PAYLOAD: Final = "40"
SIGNATURE: Final = "41"
BUYER: Final = "42"
ADDRESS: Final = "45"
NOT_UNIQUE: Final = "49"
REFUNDED: Final = "74"
OFTEN: Final = "83"
ROUTER: Final = "99"

MESSAGES: Mapping[str, str] = MappingProxyType(
    {
        SUCCEEDED: "Transaksi Sukses",
        FAILED: "Transaksi Gagal",
        PENDING: "Transaksi Pending",
        PAYLOAD: "Payload Error",
        SIGNATURE: "Signature tidak valid",
        BUYER: "Gagal memproses API Buyer",
        "43": "SKU tidak di temukan atau Non-Aktif",
        "44": "Saldo tidak cukup",
        ADDRESS: "IP Anda tidak kami kenali",
        NOT_UNIQUE: "Ref ID tidak unik",
        "51": "Nomor Tujuan Diblokir",
        "52": "Prefix Tidak Sesuai Dengan Operator",
        "53": "Produk Seller Sedang Tidak Tersedia",
        "54": "Nomor Tujuan Salah",
        "55": "Produk Sedang Gangguan",
        "59": "Tujuan di Luar Wilayah/Cluster",
        "62": "Seller sedang mengalami gangguan",
        "63": "Tidak support transaksi multi",
        "69": "Harga seller lebih besar dari ketentuan harga Buyer",
        REFUNDED: "Transaksi Refund",
        OFTEN: "Limitasi pengecekan pricelist tercapai, silahkan coba beberapa saat lagi",
        ROUTER: "DF Router Issue",
    }
)

FAILURES: Mapping[str, str] = MappingProxyType(
    {
        # The order was never accepted.
        "invalid-request": PAYLOAD,
        "unknown-sku": "43",
        "insufficient-balance": "44",
        "brand-mismatch": "52",
        "invalid-number": "54",
        "unknown-region": "59",
        "no-route": "62",
        "order-loop": "62",
        "outlet-blocked": "53",
        "number-busy": "63",
        "price-above-limit": "69",
        # The order was accepted and failed.
        "number-refused": "54",
        "not-delivered": "55",
        "expired": "53",
        "cancelled": "53",
    }
)
"""Our codes of refusals and failures as Digiflazz's; a failure that is not here is plainly 02."""

_STATUSES: Mapping[State, str] = MappingProxyType(
    {
        State.PENDING: "Pending",
        State.SUCCEEDED: "Sukses",
        State.FAILED: "Gagal",
        State.REFUNDED: "Gagal",
    }
)
_USER_AGENT = "Digiflazz-Hookshot"


def document(told: Told) -> dict[str, object]:
    """The `data` of an answer or of a webhook."""
    code = _code(told)
    data: dict[str, object] = {
        "trx_id": told.transaction,
        "ref_id": told.ref_id,
        "customer_no": told.customer_number,
        "buyer_sku_code": told.sku,
        "message": MESSAGES[code],
        "status": _STATUSES[told.state],
        "rc": code,
        "sn": told.serial_number or "",
        "price": told.price,
        "tele": "",
        "wa": "",
    }
    if told.balance is not None:
        data["buyer_last_saldo"] = told.balance
    return data


def callback(told: Told, delivery: str, secret: str) -> Sending:
    """A webhook, signed over its raw body."""
    body = orjson.dumps({"data": document(told)})
    headers = {
        "content-type": "application/json",
        "user-agent": _USER_AGENT,
        "x-digiflazz-event": "update",
        "x-digiflazz-delivery": delivery,
        "x-hub-signature": hub_signature(secret, body),
    }
    return Sending("POST", headers=headers, body=body)


def _code(told: Told) -> str:
    match told.state:
        case State.SUCCEEDED:
            return SUCCEEDED
        case State.REFUNDED:
            return REFUNDED
        case State.FAILED:
            return FAILURES.get(told.reason or "", FAILED)
        case State.PENDING:
            return _pending(told.reason)


def _pending(reason: str | None) -> str:
    """Pending is an order that stands, one that may stand, or another one under the reference."""
    if reason is None:
        return PENDING
    return NOT_UNIQUE if reason == "idempotency-mismatch" else ROUTER
