"""IRS's answers and reports: one sentence of Indonesian text, as Digiflazz words them for IRS.

*Berhasil* is success, *gagal* failed, *segera diproses* will be processed soon, *saldo* the
balance, *hrg* the price, *ke* to. A balance that could not be read is told as a dash.

Source of the sentences and reasons: https://developer.digiflazz.com/ irs/buyer (request, callback),
alasan-gagal (reasons of failures).
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final
from urllib.parse import urlencode

from app.shapes.telling import Sending, State, Told

WRONG_ACCOUNT: Final = "Gagal memproses API Buyer"
WRONG_ADDRESS: Final = "IP Anda tidak kami kenali"
WRONG_PAYLOAD: Final = "Invalid Payload"

FAILURES: Mapping[str, str] = MappingProxyType(
    {
        # The order was never accepted.
        "invalid-request": WRONG_PAYLOAD,
        "unknown-sku": "SKU tidak di temukan atau Non-Aktif",
        "insufficient-balance": "Saldo tidak cukup",
        "brand-mismatch": "Prefix Tidak Sesuai Dengan Operator",
        "invalid-number": "Nomor Tujuan Salah",
        "unknown-region": "Tujuan di Luar Wilayah/Cluster",
        "no-route": "Seller sedang mengalami gangguan",
        "order-loop": "Seller sedang mengalami gangguan",
        "outlet-blocked": "Produk Seller Sedang Tidak Tersedia",
        "number-busy": "Tidak support transaksi multi",
        "price-above-limit": "Harga seller lebih besar dari ketentuan harga Buyer",
        # The order was accepted and failed.
        "number-refused": "Nomor Tujuan Salah",
        "not-delivered": "Produk Sedang Gangguan",
        "expired": "Produk Seller Sedang Tidak Tersedia",
        "cancelled": "Produk Seller Sedang Tidak Tersedia",
    }
)
"""Our codes of refusals and failures as reasons; one not here is plainly "Transaksi Gagal"."""

_FAILED = "Transaksi Gagal"
_REFUNDED = "Transaksi Refund"
_NOT_UNIQUE = "Ref ID tidak unik"
_REPORTED: Mapping[State, str] = MappingProxyType(
    {State.SUCCEEDED: "1", State.FAILED: "2", State.REFUNDED: "2"}
)


def sentence(told: Told) -> str:
    """The order in one line."""
    subject = f"TRX {told.sku}.{told.customer_number}"
    balance = "-" if told.balance is None else told.balance
    end = f"SISA SALDO:{balance} CLIENTID={told.ref_id}."
    match told.state:
        case State.SUCCEEDED:
            return f"{subject} BERHASIL, HRG:{told.price} SN: {told.serial_number or ''}. {end}"
        case State.FAILED:
            return f"{subject} GAGAL, {FAILURES.get(told.reason or '', _FAILED)}. {end}"
        case State.REFUNDED:
            return f"{subject} GAGAL, {_REFUNDED}. {end}"
        case State.PENDING:
            return (
                f"Request {told.sku} ke {told.customer_number} segera diproses "
                f"Saldo={balance} CLIENTID={told.ref_id}.{_why_pending(told.reason)}"
            )


def callback(told: Told, delivery: str, secret: str) -> Sending:
    """A report: an unsigned GET. A refund and a failure have the same code, as in the field."""
    query = {
        "serverid": told.transaction,
        "clientid": told.ref_id,
        "statuscode": _REPORTED.get(told.state, ""),
        "kp": told.sku,
        "msisdn": told.customer_number,
        "sn": told.serial_number or "",
        "msg": sentence(told),
    }
    return Sending("GET", urlencode(query))


def _why_pending(reason: str | None) -> str:
    return f" {_NOT_UNIQUE}." if reason == "idempotency-mismatch" else ""
