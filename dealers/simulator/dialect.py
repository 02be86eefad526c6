"""What a dialect is: how one protocol's requests are read and its answers worded.

A dialect decides nothing. It is one module in `dealers/simulator/dialects/`, found by the
protocol's name, with the functions that `Dialect` names.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol, TypeGuard

from dealers.simulator.behaviour import Reason, State
from dealers.simulator.book import Purchase
from dealers.simulator.config import Dealer


@dataclass(frozen=True, slots=True)
class Incoming:
    """A buyer's request to one dealer."""

    method: str
    action: str
    """The path after the dealer's own prefix, without a leading slash."""
    query: bytes
    body: bytes
    headers: Mapping[bytes, bytes] = field(default_factory=dict[bytes, bytes])
    """Header names in lower case."""


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer, ready to be sent."""

    body: bytes
    content_type: bytes = b"text/plain; charset=utf-8"
    status: int = 200


@dataclass(frozen=True, slots=True)
class Ask:
    """A purchase, or a question about one, whose signature was right."""

    dealer_ref: str
    sku: str
    customer_number: str
    callback_url: str = ""
    """Where this purchase's callbacks shall go; empty: to the dealer's usual address."""
    only_status: bool = False
    price_limited: bool = True
    """Whether the dealer may refuse because its price rose above what the buyer agreed to."""
    max_price_rupiah: int | None = None
    """What the buyer agreed to pay at most, where the protocol says so."""


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A callback to send."""

    method: str
    url: str
    headers: dict[str, str] = field(default_factory=dict[str, str])
    body: bytes = b""


NO_SUCH_PAGE = Reply(b"Not Found", status=404)


class Dialect(Protocol):
    """The shape of a dialect module. `balance_rupiah` is the buyer's deposit at that moment.

    A module whose first answer never holds a result says so with `RESULT_BY_CALLBACK = True`.
    """

    CREDENTIALS: tuple[str, ...]
    """The names that an account of this protocol must have."""
    OPTIONAL_CREDENTIALS: tuple[str, ...]
    """Those that it may have, such as a secret for signing callbacks.

    A dialect with credentials of a certain form has `EXAMPLES` of them, too: name to value.
    """

    def read(self, dealer: Dealer, incoming: Incoming, balance_rupiah: int) -> Ask | Reply:
        """Read a request. What needs no purchase (balance, prices, refusals) is answered here."""
        ...

    def refuse(self, dealer: Dealer, ask: Ask, reason: Reason, balance_rupiah: int) -> Reply:
        """The answer where nothing was created."""
        ...

    def confirm(self, dealer: Dealer, purchase: Purchase, balance_rupiah: int) -> Reply:
        """The answer to the request that created a purchase."""
        ...

    def recall(
        self, dealer: Dealer, ask: Ask, purchase: Purchase | None, balance_rupiah: int
    ) -> Reply:
        """The answer to a reference that was seen before, or that is only asked about."""
        ...

    def callback(
        self, dealer: Dealer, purchase: Purchase, claim: State, balance_rupiah: int
    ) -> Outgoing:
        """A callback that claims a state for a purchase, whether or not it is the true one."""
        ...


class NamesProducts(Protocol):
    """What a dialect has besides where its products have no codes such as S10."""

    def sku_of(self, brand: str, thousand: int) -> str:
        """What buyers call a brand's top-up of so many thousand rupiah."""
        ...


def names_products(dialect: object) -> TypeGuard[NamesProducts]:
    """Whether the dialect's products have names of their own shape."""
    return hasattr(dialect, "sku_of")


@dataclass(frozen=True, slots=True)
class Desk:
    """A dealer and the dialect that is spoken there."""

    dealer: Dealer
    dialect: Dialect
