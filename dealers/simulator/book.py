"""What the simulated dealers sold, delivered and took back: the truth that others are held to.

Every change is one line in `book.jsonl`, written before anybody hears of it, so that a killed
simulator comes back knowing what it did. A line is the whole purchase as it then stood, its
place on the agenda included: state and intent can never disagree.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from zlib import crc32

import orjson

from dealers.simulator.behaviour import Change, Reason, State, plan_of
from dealers.simulator.config import Dealer

Key = tuple[str, str]
"""A dealer and the buyer's reference there."""

_FILE_NAME = "book.jsonl"


@dataclass(frozen=True, slots=True)
class Purchase:
    """One purchase at one dealer. Times are Unix seconds."""

    dealer_id: str
    dealer_ref: str
    customer_number: str
    sku: str
    number: int
    """The dealer's own transaction number, unique in the book."""
    price_rupiah: int
    digits: str
    """Whose plan it follows; kept because the configuration may change between two runs."""
    state: State
    callback_url: str
    created_at: float
    reason: Reason | None = None
    serial_number: str = ""
    delivered_at: float | None = None
    reversed_at: float | None = None
    step: int = 0
    """Which step of the plan comes next; meaningful while `due_at` is set."""
    due_at: float | None = None
    """When the next step is due; None: nothing happens by itself any more."""

    @property
    def key(self) -> Key:
        return self.dealer_id, self.dealer_ref

    @property
    def own_serial_number(self) -> str:
        """The serial number that it gets once it is delivered."""
        return serial_number_of(self.dealer_id, self.dealer_ref, self.number)

    @property
    def charged_rupiah(self) -> int:
        """What the purchase has taken from the buyer's deposit."""
        return self.price_rupiah if self.state is State.SUCCEEDED else 0


class Book:
    """All purchases of all simulated dealers; on disk where a folder is given."""

    def __init__(self, state_dir: Path | None) -> None:
        self._purchases: dict[Key, Purchase] = {}
        self._unfinished: dict[Key, Purchase] = {}
        self._charged_rupiah: dict[str, int] = {}
        self._last_number = 0
        self._file = None
        if state_dir is not None:
            state_dir.mkdir(parents=True, exist_ok=True)
            self._replay(state_dir / _FILE_NAME)
            # Unbuffered: a line is with the operating system once `write` returns.
            self._file = (state_dir / _FILE_NAME).open("ab", buffering=0)

    def close(self) -> None:
        """Close the file; nothing may be recorded afterwards."""
        if self._file is not None:
            self._file.close()

    def find(self, key: Key) -> Purchase | None:
        """The purchase as it now stands."""
        return self._purchases.get(key)

    def next_number(self) -> int:
        """A transaction number that no purchase has."""
        return self._last_number + 1

    def balance_rupiah(self, dealer: Dealer) -> int:
        """What is left of the deposit at a dealer, refunds taken back."""
        return dealer.balance_rupiah - self._charged_rupiah.get(dealer.dealer_id, 0)

    def unfinished(self) -> list[Purchase]:
        """Purchases with a step still to come."""
        return list(self._unfinished.values())

    def __iter__(self) -> Iterator[Purchase]:
        return iter(self._purchases.values())

    def record(self, purchase: Purchase) -> None:
        """Write a purchase as it now stands. Raises OSError, and then nothing has changed."""
        if self._file is not None:
            line = orjson.dumps(purchase, option=orjson.OPT_APPEND_NEWLINE)
            if self._file.write(line) != len(line):
                raise OSError("the book's file took only a part of a line")
        self._take(purchase)

    def _take(self, purchase: Purchase) -> None:
        key, dealer_id = purchase.key, purchase.dealer_id
        before = self._purchases.get(key)
        charged = purchase.charged_rupiah - (before.charged_rupiah if before is not None else 0)
        self._charged_rupiah[dealer_id] = self._charged_rupiah.get(dealer_id, 0) + charged
        self._purchases[key] = purchase
        self._last_number = max(self._last_number, purchase.number)
        if purchase.due_at is None:
            self._unfinished.pop(key, None)
        else:
            self._unfinished[key] = purchase

    def _replay(self, path: Path) -> None:
        if not path.exists():
            return
        with path.open("r+b") as file:
            whole = 0
            for line in file:
                if not line.endswith(b"\n"):
                    # Cut short by a kill: its answer never left. The next line must not join it.
                    file.truncate(whole)
                    break
                whole += len(line)
                self._take(_purchase_of(orjson.loads(line)))


def changed(purchase: Purchase, change: Change | None, now: float) -> Purchase:
    """A purchase after a step's change. Twice the same change is the change once.

    That lets the agenda repeat a step that a kill interrupted without a second delivery.
    """
    match change:
        case Change.DELIVER if purchase.delivered_at is None:
            return replace(
                purchase,
                state=State.SUCCEEDED,
                reason=None,
                serial_number=purchase.own_serial_number,
                delivered_at=now,
            )
        case Change.FAIL:
            return replace(purchase, state=State.FAILED, reason=plan_of(purchase.digits).failure)
        case Change.REFUND if purchase.reversed_at is None:
            return replace(purchase, state=State.REFUNDED, reversed_at=now)
        case Change.ADD_SERIAL:
            return replace(purchase, serial_number=purchase.own_serial_number)
        case _:
            return purchase


def serial_number_of(dealer_id: str, dealer_ref: str, number: int) -> str:
    """Eighteen digits; no two purchases of one book share them."""
    mark = crc32(f"{dealer_id} {dealer_ref}".encode())
    return f"{mark:010d}{number:08d}"


def _purchase_of(raw: dict[str, Any]) -> Purchase:
    raw["state"] = State(raw["state"])
    raw["reason"] = Reason(raw["reason"]) if raw["reason"] else None
    return Purchase(**raw)
