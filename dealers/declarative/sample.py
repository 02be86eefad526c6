"""The order that descriptions are tried with."""

from typing import Final

from dealers.contract import TopUp

SAMPLE_ORDER: Final = TopUp(
    dealer_ref="07K3M9Q2Z8X5C1V4B6N0RT",
    dealer_sku="X10",
    customer_number="081234567890",
    max_price_rupiah=10_500,
    callback_url="https://jalur.example/v1/callbacks/sample",
)
