"""Finds the dealer protocols by file name and guards what their readers say.

A protocol is added by adding a file: nothing here lists them. Everything outside this module deals
with a `Dialect`, so three rules hold for every protocol, whatever its author forgot:

- a reader that raises costs a check, never money (`UNKNOWN`, or `CallbackRefused`);
- an answer cut at the router's cap is never a final word, since its end may deny its beginning;
- a report can be stored: its texts are one printable line of bounded length, its price is sane.
"""

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from types import MappingProxyType, ModuleType
from typing import TypeVar, cast
from urllib.parse import urlsplit

import dealers.protocols
from dealers.contract import (
    Account,
    Answer,
    Balance,
    Callback,
    CallbackRefused,
    CallbackReport,
    Capabilities,
    DealerPrice,
    Outcome,
    Protocol,
    Report,
    Request,
    TopUp,
    UnreadableAnswer,
)

_LONGEST_TEXT = 200
_LONGEST_CODE = 40
_LARGEST_AMOUNT_RUPIAH = 10**12

_FUNCTIONS = tuple(
    name
    for name, member in vars(Protocol).items()
    if inspect.isfunction(member) and not name.startswith("_")
)

_Reader = Callable[[Account, TopUp, Answer], Report]
_Read = TypeVar("_Read", Balance, list[DealerPrice])


class IncompleteProtocol(Exception):
    """A file in the protocols' folder lacks part of the contract. The message names both."""


@dataclass(frozen=True, slots=True)
class Dialect:
    """One protocol behind its guard. `name` is the file's name and what a dealer's row carries."""

    name: str
    protocol: Protocol

    @property
    def capabilities(self) -> Capabilities:
        """What the protocol declares about itself."""
        return self.protocol.CAPABILITIES

    def validate(self, account: Account) -> list[str]:
        """Return what is missing or wrong in the account's settings, a sentence each."""
        return _address_faults(account.base_url) + self.protocol.validate(account)

    def top_up(self, account: Account, order: TopUp) -> Request:
        """The purchase request."""
        return self.protocol.top_up(account, order)

    def read_top_up(self, account: Account, order: TopUp, answer: Answer) -> Report:
        """What the answer to a purchase says. Never raises."""
        return _guarded(self.protocol.read_top_up, account, order, answer)

    def status(self, account: Account, order: TopUp) -> Request:
        """The status request; with `SAME_REF_IS_STATUS` the purchase itself, byte for byte."""
        return self.protocol.status(account, order)

    def read_status(self, account: Account, order: TopUp, answer: Answer) -> Report:
        """What a status answer says. Never raises."""
        return _guarded(self.protocol.read_status, account, order, answer)

    def read_callback(self, account: Account, callback: Callback) -> CallbackReport:
        """Read a dealer's callback. Raises `CallbackRefused` and nothing else."""
        try:
            read = self.protocol.read_callback(account, callback)
            read = replace(read, report=_storable(read.report))
            could_be_ours = self._could_be_ours(read.dealer_ref)
        except CallbackRefused:
            raise
        except Exception as error:
            raise CallbackRefused(f"unreadable: {type(error).__name__}") from error
        if not could_be_ours:
            raise CallbackRefused("its reference has a shape that we never send")
        return read

    def acknowledge(self) -> tuple[str, bytes]:
        """Content type and body that the dealer expects as the answer to its callback."""
        return self.protocol.acknowledge()

    def balance(self, account: Account) -> Request:
        """The balance request."""
        return self.protocol.balance(account)

    def read_balance(self, account: Account, answer: Answer) -> Balance:
        """Read the balance. Raises `UnreadableAnswer` and nothing else."""
        return _readable(self.protocol.read_balance, account, answer)

    def price_list(self, account: Account) -> Request | None:
        """The price list request, or None where the protocol has none."""
        return self.protocol.price_list(account)

    def read_price_list(self, account: Account, answer: Answer) -> list[DealerPrice]:
        """Read the price list. Raises `UnreadableAnswer` and nothing else."""
        return _readable(self.protocol.read_price_list, account, answer)

    def _could_be_ours(self, dealer_ref: str) -> bool:
        short_enough = len(dealer_ref) <= self.capabilities.reference.max_length
        plain = dealer_ref.isascii() and dealer_ref.isalnum()
        return short_enough and plain and dealer_ref == dealer_ref.upper()


@cache
def load() -> Mapping[str, Dialect]:
    """Every protocol by name. Raises `IncompleteProtocol`; call it once when a process starts."""
    return discover(dealers.protocols)


def discover(package: ModuleType) -> Mapping[str, Dialect]:
    """Import every module of `package` and check it against the contract.

    Raises `IncompleteProtocol` for the first file that lacks something.
    """
    found: dict[str, Dialect] = {}
    for module in pkgutil.iter_modules(package.__path__):
        if not module.name.startswith("_"):
            protocol = importlib.import_module(f"{package.__name__}.{module.name}")
            found[module.name] = Dialect(module.name, _complete(protocol))
    return MappingProxyType(found)


def _complete(module: ModuleType) -> Protocol:
    missing = [name for name in _FUNCTIONS if not callable(getattr(module, name, None))]
    if not isinstance(getattr(module, "CAPABILITIES", None), Capabilities):
        missing.insert(0, "CAPABILITIES")
    if missing:
        raise IncompleteProtocol(f"{module.__file__} lacks {', '.join(missing)}")
    return cast(Protocol, module)


def _address_faults(base_url: str) -> list[str]:
    try:
        address = urlsplit(base_url)
    except ValueError:
        return ["base_url cannot be parsed"]
    if address.scheme not in {"http", "https"} or not address.hostname:
        return ["base_url must begin with http:// or https:// and name a host"]
    if address.query or address.fragment:
        return ["base_url must end with its path: no query, no fragment"]
    return []


def _guarded(read: _Reader, account: Account, order: TopUp, answer: Answer) -> Report:
    if answer.truncated:
        return Report(Outcome.UNKNOWN, "answer-too-large")
    try:
        return _storable(read(account, order, answer))
    except Exception as error:  # noqa: BLE001 - a reader's bug must not pass for a dealer's word
        return Report(Outcome.UNKNOWN, "unreadable", message=type(error).__name__)


def _readable(read: Callable[[Account, Answer], _Read], account: Account, answer: Answer) -> _Read:
    if answer.truncated:
        raise UnreadableAnswer("the answer is larger than the router reads")
    try:
        return read(account, answer)
    except UnreadableAnswer:
        raise
    except Exception as error:
        raise UnreadableAnswer(type(error).__name__) from error


def _storable(report: Report) -> Report:
    code = _one_line(report.code, _LONGEST_CODE)
    message = _one_line(report.message, _LONGEST_TEXT)
    serial_number = _one_line(report.serial_number or "", _LONGEST_TEXT) or None
    price = report.price_rupiah
    if not price or not 0 < price <= _LARGEST_AMOUNT_RUPIAH:
        price = None
    kept = (code, message, serial_number, price)
    if kept == (report.code, report.message, report.serial_number, report.price_rupiah):
        return report
    return replace(
        report, code=code, message=message, serial_number=serial_number, price_rupiah=price
    )


def _one_line(text: str, limit: int) -> str:
    # PostgreSQL refuses NUL and lone surrogates: one such row would fail its whole batch.
    text = text[: limit * 4]
    if not text.isprintable():
        text = "".join(letter if letter.isprintable() else " " for letter in text)
    return " ".join(text.split())[:limit]
