"""Finds the dealer protocols by file name and guards what their readers say.

A protocol is added by adding a file: nothing here lists them. Everything outside this module deals
with a `Dialect`, so three rules hold for every protocol, whatever its author forgot:

- a reader that raises costs a check, never money (`UNKNOWN`, or `CallbackRefused`);
- an answer cut at the router's cap is never a final word, since its end may deny its beginning;
- a report can be stored: its texts are one printable line of bounded length, its price is sane.
"""

import difflib
import importlib
import inspect
import json
import pkgutil
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from types import MappingProxyType, ModuleType
from typing import TypeVar, cast
from urllib.parse import quote, quote_plus, urlsplit

import dealers.protocols
from dealers.contract import (
    COMMON_OPTIONS,
    Account,
    Answer,
    Balance,
    Callback,
    CallbackRefused,
    CallbackReport,
    Capabilities,
    DealerPrice,
    DescribedByAccount,
    ListsInPages,
    LogsIn,
    Outcome,
    Protocol,
    Report,
    Request,
    Session,
    Setting,
    SettingsByAccount,
    TopUp,
    UnreadableAnswer,
)

_LONGEST_TEXT = 200
_LONGEST_CODE = 40
_SHORTEST_SECRET = 4
_FINAL = frozenset({Outcome.SUCCEEDED, Outcome.REJECTED, Outcome.FAILED})
_LARGEST_AMOUNT_RUPIAH = 10**12


def _functions_of(shape: type) -> tuple[str, ...]:
    return tuple(
        name
        for name, member in vars(shape).items()
        if inspect.isfunction(member) and not name.startswith("_")
    )


_FUNCTIONS = _functions_of(Protocol)
_SESSION_FUNCTIONS = _functions_of(LogsIn)

_Reader = Callable[[Account, TopUp, Answer], Report]
_Read = TypeVar("_Read", Balance, list[DealerPrice], Session, Request | None)


class _NamedTwice(Exception):
    """A JSON object gives a member twice."""


class IncompleteProtocol(Exception):
    """A file in the protocols' folder lacks part of the contract. The message names both."""


@dataclass(frozen=True, slots=True)
class Dialect:
    """One protocol behind its guard. `name` is the file's name and what a dealer's row carries."""

    name: str
    protocol: Protocol

    @property
    def capabilities(self) -> Capabilities:
        """What the protocol declares about itself, whichever the account."""
        return self.protocol.CAPABILITIES

    def capabilities_of(self, account: Account) -> Capabilities:
        """What the protocol declares at this account, which must be valid."""
        if not self.varies_by_account:
            return self.protocol.CAPABILITIES
        return cast(DescribedByAccount, self.protocol).capabilities_of(account)

    @property
    def varies_by_account(self) -> bool:
        """Whether the account's options decide what the protocol can do."""
        return hasattr(self.protocol, "capabilities_of")

    @property
    def credentials(self) -> tuple[Setting, ...]:
        """What our account consists of."""
        return self.protocol.CREDENTIALS

    @property
    def options(self) -> tuple[Setting, ...]:
        """Everything that may stand in an account's options."""
        return (*self.protocol.OPTIONS, *COMMON_OPTIONS)

    def validate(self, account: Account) -> list[str]:
        """Return what is missing, unknown or wrong in the account's settings, a sentence each."""
        faults = _address_faults(account.base_url)
        known = self._settings_of(account)
        if known is not None:
            credentials, options = known
            faults += _setting_faults("credential", credentials, account.credentials)
            faults += _setting_faults("option", options, account.options)
        return faults or self.protocol.validate(account)

    def _settings_of(
        self, account: Account
    ) -> tuple[tuple[Setting, ...], tuple[Setting, ...]] | None:
        """Credentials and options; None where the account's options do not let them be known."""
        by_account = getattr(self.protocol, "settings_of", None)
        required = [option.name for option in self.options if option.required]
        if by_account is None or not all(account.options.get(name) for name in required):
            return self.credentials, self.options
        known = cast(SettingsByAccount, self.protocol).settings_of(account)
        return None if known is None else (known[0], (*known[1], *COMMON_OPTIONS))

    @property
    def logs_in(self) -> bool:
        """Whether requests need a session."""
        return hasattr(self.protocol, "log_in")

    def log_in(self, account: Account) -> Request:
        """The request for a session."""
        return cast(LogsIn, self.protocol).log_in(account)

    def read_log_in(self, account: Account, answer: Answer) -> Session:
        """Read the session. Raises `UnreadableAnswer` and nothing else."""
        return _readable(cast(LogsIn, self.protocol).read_log_in, account, answer)

    def session_ended(self, answer: Answer) -> bool:
        """Whether the dealer no longer takes the session. Never raises."""
        try:
            return self.logs_in and cast(LogsIn, self.protocol).session_ended(answer)
        except Exception:  # noqa: BLE001 - a new session costs a call, a bug here an order
            return True

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

    def acknowledge(self, account: Account, callback: Callback) -> tuple[str, bytes]:
        """Content type and body that the dealer expects as the answer to this callback."""
        return self.protocol.acknowledge(account, callback)

    def balance(self, account: Account) -> Request | None:
        """The balance request, or None where the protocol has none."""
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

    def next_price_list(self, account: Account, answer: Answer) -> Request | None:
        """The request for the list's next page, or None after the last.

        Raises `UnreadableAnswer` and nothing else.
        """
        if not hasattr(self.protocol, "next_price_list"):
            return None
        return _readable(cast(ListsInPages, self.protocol).next_price_list, account, answer)

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
    missing[:0] = [name for name in ("CREDENTIALS", "OPTIONS") if not _are_settings(module, name)]
    if not isinstance(getattr(module, "CAPABILITIES", None), Capabilities):
        missing.insert(0, "CAPABILITIES")
    if hasattr(module, "log_in"):
        missing += [name for name in _SESSION_FUNCTIONS if not hasattr(module, name)]
    if missing:
        raise IncompleteProtocol(f"{module.__file__} lacks {', '.join(missing)}")
    return cast(Protocol, module)


def _are_settings(module: ModuleType, name: str) -> bool:
    declared = getattr(module, name, None)
    return isinstance(declared, tuple) and all(
        isinstance(each, Setting) for each in cast(tuple[object, ...], declared)
    )


def _setting_faults(
    kind: str, known: tuple[Setting, ...], given: Mapping[str, str]
) -> Iterator[str]:
    for setting in known:
        if setting.required and not given.get(setting.name):
            yield f"{kind} {setting.name} is missing: {setting.meaning}"
    names = [setting.name for setting in known]
    for name in sorted(given.keys() - names):
        close = difflib.get_close_matches(name, names, n=1)
        hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(names)}"
        yield f"{kind} {name} is unknown: {hint}"


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
        report = _storable(_without_secrets(read(account, order, answer), account))
        twice = report.outcome in _FINAL and _names_twice(answer.body)
    except Exception as error:  # noqa: BLE001 - a reader's bug must not pass for a dealer's word
        return Report(Outcome.UNKNOWN, "unreadable", message=type(error).__name__)
    return Report(Outcome.UNKNOWN, "named-twice", report.message) if twice else report


def _readable(read: Callable[[Account, Answer], _Read], account: Account, answer: Answer) -> _Read:
    if answer.truncated:
        raise UnreadableAnswer("the answer is larger than the router reads")
    try:
        return read(account, answer)
    except UnreadableAnswer:
        raise
    except Exception as error:
        raise UnreadableAnswer(type(error).__name__) from error


def _once(pairs: list[tuple[str, object]]) -> None:
    if len({name for name, _ in pairs}) != len(pairs):
        raise _NamedTwice


_ONCE = json.JSONDecoder(object_pairs_hook=_once)


def _names_twice(body: bytes) -> bool:
    """Whether a JSON answer gives a member twice: readers differ in which of them counts."""
    if body.lstrip()[:1] not in (b"{", b"["):
        return False
    try:
        _ONCE.decode(body.decode("utf-8", "surrogatepass"))
    except _NamedTwice:
        return True
    return False


def _without_secrets(report: Report, account: Account) -> Report:
    """Dealers quote the request that they did not like, with what it was signed in by."""
    hidden = report.message
    for written in _written((*account.credentials.values(), account.session or "")):
        if written in hidden:
            alone = rf"(?<![0-9A-Za-z]){re.escape(written)}(?![0-9A-Za-z])"
            hidden = re.sub(alone, "***", hidden)
    return report if hidden == report.message else replace(report, message=hidden)


@lru_cache(1024)
def _written(secrets: tuple[str, ...]) -> Sequence[str]:
    """Secrets in every way that a request has them, but for those too short to be told apart."""
    ways = [way for each in secrets for way in (each, quote(each, safe=""), quote_plus(each))]
    return [way for way in dict.fromkeys(ways) if len(way) >= _SHORTEST_SECRET]


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
