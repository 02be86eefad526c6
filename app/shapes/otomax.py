"""OtomaX's answers and reports: one line of Indonesian text, as most top-up centers word it.

*Sukses* is success, *gagal* failed, *akan diproses* will be processed, *harga* the price, *saldo*
the balance. `T#` is our number of the order and stands only where there is one: a refusal without
it created nothing.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final
from urllib.parse import urlencode

from app.shapes.telling import Sending, State, Told

NOT_FOUND: Final = "Tidak Ada Data"
"""There is none: the answer to a check of a reference that no order stands for."""
WRONG_SIGNATURE: Final = "Wrong Signature"
WRONG_ADDRESS: Final = "IP Tidak Dikenal"
WRONG_FORMAT: Final = "Format Salah"

FAILURES: Mapping[str, str] = MappingProxyType(
    {
        # The order was never accepted.
        "invalid-request": WRONG_FORMAT,
        "unknown-sku": "Produk Salah",
        "insufficient-balance": "Saldo Tidak Cukup",
        "brand-mismatch": "Tujuan Salah",
        "invalid-number": "Tujuan Salah",
        "unknown-region": "Tujuan Di Luar Wilayah",
        "no-route": "Produk Gangguan",
        "order-loop": "Produk Gangguan",
        "outlet-blocked": "Produk Gangguan",
        "number-busy": "Limit Harian",
        "price-above-limit": "Harga Tidak Sesuai",
        # The order was accepted and failed.
        "number-refused": "Tujuan Salah",
        "not-delivered": "Produk Gangguan",
        "expired": "Produk Gangguan",
        "cancelled": "Dibatalkan",
    }
)
"""Our codes of refusals and failures as a center's reasons; one not here has no reason told."""

_TWICE = "Transaksi Dobel"
_REPORTED: Mapping[State, str] = MappingProxyType(
    {State.SUCCEEDED: "20", State.FAILED: "40", State.REFUNDED: "40"}
)


def sentence(told: Told) -> str:
    """The order in one line."""
    if told.reason == "idempotency-mismatch":
        return f"R#{told.ref_id} {_TWICE}"
    number = f"T#{told.transaction} " if told.order_id else ""
    subject = f"{number}R#{told.ref_id} {told.sku}.{told.customer_number}"
    return f"{subject} {_words(told)}{_balance(told)}"


def callback(told: Told, delivery: str, secret: str) -> Sending:
    """A report: an unsigned GET. A refund and a failure have the same status, as in the field."""
    query = {
        "t": told.transaction,
        "refid": told.ref_id,
        "status": _REPORTED.get(told.state, ""),
        "price": told.price,
        "message": sentence(told),
    }
    return Sending("GET", urlencode(query))


def _words(told: Told) -> str:
    match told.state:
        case State.PENDING:
            return "akan diproses."
        case State.SUCCEEDED:
            return f"SUKSES. SN: {told.serial_number or ''}. Harga {told.price}."
        case State.FAILED:
            reason = FAILURES.get(told.reason or "")
            return f"GAGAL. {reason}." if reason else "GAGAL."
        case State.REFUNDED:
            return "REFUND."


def _balance(told: Told) -> str:
    return "" if told.balance is None else f" Saldo {told.balance}"
