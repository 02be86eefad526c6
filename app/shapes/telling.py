"""What any shape needs to know of an order to speak of it, and the request that a callback is.

Three states end an order for a client of these protocols: it succeeded, it failed, it was paid back
after it had succeeded. Everything else is pending, above all what is not known. A client pays its
own customer back as soon as it reads "failed", so nothing is called failed that may yet succeed.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Any
from uuid import UUID

import orjson

ORDER_EVENTS = (
    "order.succeeded", "order.failed", "order.reversed", "order.corrected", "order.updated",
)  # fmt: skip
"""What an endpoint in one of these shapes is told of: there are no words for anything else."""


class NoWords(Exception):
    """A shape cannot tell of this event. The message says which."""


class State(StrEnum):
    """How an order stands, in the words that all these protocols have."""

    PENDING = "pending"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    REFUNDED = "refunded"


_NEIGHBOURS = 20

_STATES: Mapping[str, State] = MappingProxyType(
    {
        "succeeded": State.SUCCEEDED,
        "failed": State.FAILED,
        "reversed": State.REFUNDED,
    }
)


@dataclass(frozen=True, slots=True)
class Told:
    """An order, or a request for one, as a client is told of it. Amounts in whole rupiah."""

    ref_id: str
    sku: str
    customer_number: str
    """As the client wrote it, where it has just asked."""
    state: State
    reason: str | None = None
    """The code of a failure, or of the problem that kept the order from being accepted."""
    order_id: UUID | None = None
    """None where no order stands, or none is known."""
    serial_number: str | None = None
    price: int = 0
    balance: int | None = None
    """What can be spent now, credit included; None where it could not be read."""

    @property
    def transaction(self) -> str:
        """The order's number in digits, since some clients take nothing else: below 2^63.

        The first 48 bits of a UUIDv7 are its time in milliseconds; of what tells its neighbours
        apart, the 20 bits are taken that a generator counts up.
        """
        if self.order_id is None:
            return ""
        number = self.order_id.int
        return str((number >> 80 << _NEIGHBOURS) | (number >> 32 & (1 << _NEIGHBOURS) - 1))


@dataclass(frozen=True, slots=True)
class Sending:
    """One callback as a request. `query` is appended to the endpoint's address."""

    method: str
    query: str = field(default="", repr=False)
    headers: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    body: bytes = field(default=b"", repr=False)


def state_of(status: str) -> State:
    """The state of an order by its status."""
    return _STATES.get(status, State.PENDING)


def told_of_event(payload: str, balance: int | None) -> Told:
    """What an event tells. Raises NoWords where it is not about an order."""
    event: dict[str, Any] = orjson.loads(payload)
    if event["type"] not in ORDER_EVENTS:
        raise NoWords(f"there are no words for {event['type']} in this shape")
    order: dict[str, Any] = event["data"]
    failure: dict[str, Any] = order["failure"] or {}
    return Told(
        order["ref_id"],
        order["sku"],
        order["customer_number"],
        state_of(order["status"]),
        failure.get("code"),
        UUID(order["id"]),
        order["serial_number"],
        order["price"],
        balance,
    )
