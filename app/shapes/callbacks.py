"""The shapes in which callbacks are sent, by name."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from app.shapes import digiflazz, irs, otomax
from app.shapes.telling import Sending, Told, told_of_event

STANDARD: Final = "standard"
"""Webhooks as the Standard Webhooks specification has them; no shape of a door."""

CALLBACKS: Mapping[str, Callable[[Told, str, str], Sending]] = MappingProxyType(
    {"digiflazz": digiflazz.callback, "otomax": otomax.callback, "irs": irs.callback}
)
"""From an order, the delivery's id and the endpoint's secret to the request."""


def shaped(shape: str, payload: str, delivery: str, secret: str, balance: int | None) -> Sending:
    """An event as a callback in a shape. Raises NoWords where it cannot."""
    return CALLBACKS[shape](told_of_event(payload, balance), delivery, secret)
