"""A description, compiled: whatever can be wrong in it is found here and told all at once.

Compiling takes milliseconds and is done once for each text; what is compiled holds no account.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from http import HTTPStatus

from dealers.contract import (
    COMMON_OPTIONS,
    Account,
    Answer,
    Balance,
    Callback,
    CallbackRefused,
    CallbackReport,
    Capabilities,
    Outcome,
    Recovery,
    ReferenceRules,
    Report,
    Request,
    Setting,
    TopUp,
    UnreadableAnswer,
)
from dealers.declarative.amounts import rupiah
from dealers.declarative.callbacks import CallbackReader, compile_callback
from dealers.declarative.description import BalancePart, Description, ReadPart, Settings, parse
from dealers.declarative.faults import CannotRender, Faults, listed
from dealers.declarative.meanings import (
    PURCHASE,
    STATUS,
    Condition,
    Rules,
    compile_conditions,
    compile_rules,
    names_another,
)
from dealers.declarative.prices import PriceReader, compile_prices
from dealers.declarative.requests import ORDER_VARIABLES, Composer, Composers, order_context
from dealers.declarative.sample import SAMPLE_ORDER
from dealers.declarative.shapes import Fields, OtherShape, Reader, Unreadable, compile_shape
from dealers.declarative.templates import Sandbox

_KEPT = 256
"""Compiled descriptions; a service has at most some dozens of dealers."""
_RESERVED_OPTIONS = frozenset({"description", *(setting.name for setting in COMMON_OPTIONS)})
_NO_ORDER: frozenset[str] = frozenset()
_OF_ORDERS = frozenset({PURCHASE, STATUS})
HIDDEN = "SECRET"
"""In place of a credential where a request is shown."""


@dataclass(frozen=True, slots=True)
class AnswerReader:
    """Answers of one kind, in the shapes that they may have."""

    ways: tuple[tuple[Reader, Rules], ...]

    def read(self, order: TopUp, answer: Answer) -> Report:
        """What an answer says about `order`."""
        code = f"http-{answer.status}"
        for reader, rules in self.ways:
            if answer.status not in reader.shape.http_status:
                continue
            try:
                fields, text = reader.read("", answer.body, order.dealer_ref)
            except Unreadable as error:
                code = str(error)
                if isinstance(error, OtherShape):
                    continue
                break
            report = _report(rules, order, fields, text)
            if report.outcome is Outcome.SUCCEEDED and answer.status >= HTTPStatus.MULTIPLE_CHOICES:
                return Report(Outcome.UNKNOWN, code, report.message)
            return report
        excerpt = answer.body[:400].decode("utf-8", "replace")
        return Report(Outcome.UNKNOWN, code, excerpt)


def _report(rules: Rules, order: TopUp, fields: Fields, text: str) -> Report:
    another = names_another(fields, order.dealer_ref, order.customer_number)
    if another is not None:
        return Report(Outcome.UNKNOWN, another, fields.get("message") or text)
    return rules.report(fields, text)


@dataclass(frozen=True, slots=True)
class BalanceReader:
    """Answers to the balance request."""

    reader: Reader
    conditions: tuple[Condition, ...]
    amounts: str

    def read(self, answer: Answer) -> Balance:
        """Read the balance. Raises UnreadableAnswer."""
        if answer.status not in self.reader.shape.http_status:
            raise UnreadableAnswer(f"http-{answer.status}")
        try:
            fields, text = self.reader.read("", answer.body)
        except Unreadable as error:
            raise UnreadableAnswer(str(error)) from None
        amount = rupiah(fields["balance"], self.amounts)
        if amount is None or not all(condition.holds(fields) for condition in self.conditions):
            message = fields.get("message") or text
            raise UnreadableAnswer(f"it states no balance: {message[:100]}")
        return Balance(amount)


@dataclass(frozen=True, slots=True)
class Compiled:
    """All that a described dealer needs, for whichever account."""

    description: Description
    capabilities: Capabilities
    credentials: tuple[Setting, ...]
    options: tuple[Setting, ...]
    requests: Mapping[str, Composer]
    purchase: AnswerReader
    status: AnswerReader | None
    balance: BalanceReader | None
    prices: PriceReader | None
    callbacks: CallbackReader | None

    def request(self, kind: str, account: Account, order: TopUp | None = None) -> Request:
        """A request of this kind. Raises CannotRender."""
        context = self._context(account)
        if order is not None:
            context |= order_context(order)
        return self.requests[kind].compose(account.base_url, context)

    def masked(self, kind: str, account: Account, order: TopUp) -> Request:
        """As `request`, to be looked at: signed with the credentials, which are not shown."""
        context = self._context(account) | (order_context(order) if kind in _OF_ORDERS else {})
        hidden = dict.fromkeys(self.description.credentials, HIDDEN)
        return self.requests[kind].compose(account.base_url, context, {"credentials": hidden})

    def read_callback(self, account: Account, callback: Callback) -> CallbackReport:
        """Read a callback. Raises CallbackRefused."""
        if self.callbacks is None:
            raise CallbackRefused("the description has no callbacks")
        return self.callbacks.read(callback, self._context(account), account.credentials)

    def acknowledge(self, account: Account, callback: Callback) -> tuple[str, bytes]:
        """The answer to a callback."""
        if self.callbacks is None:
            return "text/plain", b"OK"
        return self.callbacks.acknowledge(callback, self._context(account))

    def try_out(self, account: Account) -> list[str]:
        """What keeps the account's requests from being made, a sentence each."""
        told: list[str] = []
        for kind in self.requests:
            order = SAMPLE_ORDER if kind in _OF_ORDERS else None
            try:
                self.request(kind, account, order)
            except CannotRender as error:
                told.append(str(error))
        return told

    def _context(self, account: Account) -> dict[str, object]:
        # What is optional and not given is the empty text in every template.
        described = self.description
        return {
            "credentials": {**dict.fromkeys(described.credentials, ""), **account.credentials},
            "options": {**dict.fromkeys(described.options, ""), **account.options},
        }


@lru_cache(maxsize=_KEPT)
def compile_description(text: str) -> Compiled:
    """Compile a description's JSON text. Raises DescriptionRefused with every fault."""
    description = parse(text)
    faults = Faults()
    compiled = _Workshop(description, faults).compile()
    faults.done()
    return compiled


class _Workshop:
    """Compiles one description, part by part."""

    def __init__(self, description: Description, faults: Faults) -> None:
        self.described = description
        self.faults = faults
        self.sandbox = Sandbox(faults)
        self.composers = Composers(description, self.sandbox, faults)
        self.readers = {
            name: compile_shape(f"shapes.{name}", shape, faults)
            for name, shape in description.shapes.items()
        }

    def compile(self) -> Compiled:
        """The whole; what could not be compiled is left out, with a fault noted."""
        described = self.described
        self._check_names()
        requests = self._requests()
        callbacks = compile_callback(described, self.readers, self.sandbox, self.faults)
        purchase = self._answers(PURCHASE, described.purchase.read)
        status = self._answers(STATUS, described.status.read) if described.status else None
        balance = self._balance(described.balance) if described.balance else None
        prices = None
        if described.prices is not None:
            prices = compile_prices(described.prices, described.amounts, self.faults)
        self._check_recovery(requests)
        return Compiled(
            described,
            self._capabilities(callbacks, requests[PURCHASE]),
            _settings(described.credentials),
            _settings(described.options),
            requests,
            purchase,
            status,
            balance,
            prices,
            callbacks,
        )

    def _requests(self) -> dict[str, Composer]:
        described, compose = self.described, self.composers.compose
        requests = {
            PURCHASE: compose("purchase.request", described.purchase.request, ORDER_VARIABLES),
        }
        if described.balance is not None:
            requests["balance"] = compose("balance.request", described.balance.request, _NO_ORDER)
        if described.status is not None and described.status.request is not None:
            part = described.status.request
            requests[STATUS] = compose("status.request", part, ORDER_VARIABLES)
        if described.prices is not None:
            requests["prices"] = compose("prices.request", described.prices.request, _NO_ORDER)
        return requests

    def _answers(self, kind: str, parts: list[ReadPart]) -> AnswerReader:
        ways: list[tuple[Reader, Rules]] = []
        for index, part in enumerate(parts):
            place = f"{kind}.read[{index}]"
            reader = self._reader(place, part.shape)
            if reader is not None:
                ways.append(
                    (
                        reader,
                        compile_rules(kind, place, self.described, part, reader, self.faults),
                    )
                )
        return AnswerReader(tuple(ways))

    def _balance(self, part: BalancePart) -> BalanceReader | None:
        reader = self._reader("balance", part.shape)
        if reader is None:
            return None
        if "balance" not in reader.names:
            self.faults.wrong("balance.shape", f"{part.shape} has no field balance")
        when = compile_conditions("balance.when", part.when, reader.names, self.faults)
        return BalanceReader(reader, when, self.described.amounts)

    def _reader(self, place: str, shape: str) -> Reader | None:
        reader = self.readers.get(shape)
        if reader is None:
            told = f"there is no shape {shape}; there is {listed([*self.readers])}"
            self.faults.wrong(f"{place}.shape", told)
        elif reader.shape.format == "query":
            self.faults.wrong(f"{place}.shape", "an answer has no query: use text, json or form")
        return reader

    def _capabilities(self, callbacks: CallbackReader | None, purchase: Composer) -> Capabilities:
        part = self.described.capabilities
        schedule = part.check_schedule
        is_word = callbacks is not None and callbacks.is_word
        return Capabilities(
            part.recovery,
            ReferenceRules(part.reference_max_length),
            part.max_age_seconds,
            part.absent_after_seconds,
            part.min_check_interval_seconds,
            None if schedule is None else tuple(schedule),
            part.requests_per_second,
            part.price_list_interval_seconds,
            callback_is_word=is_word,
            # A signature says who said it, not when.
            balance_interval_seconds=part.balance_interval_seconds,
            low_balance_codes=frozenset(part.low_balance_codes),
            counts_repeats="counter" in purchase.goes_by,
            failures_count=part.failures_count,
            callback_may_be_old=is_word and part.recovery is Recovery.STATUS_CALL,
        )

    def _check_names(self) -> None:
        clash = self.described.options.keys() & _RESERVED_OPTIONS
        for name in sorted(clash):
            self.faults.wrong(f"options.{name}", "is a name that every dealer's options have")

    def _check_recovery(self, requests: Mapping[str, Composer]) -> None:
        capabilities, status = self.described.capabilities, self.described.status
        self._require_said("purchase.request", requests[PURCHASE], "reference", "sku", "number")
        match capabilities.recovery:
            case Recovery.STATUS_CALL:
                if STATUS not in requests:
                    told = "is missing: recovery status_call asks by it, and it must never buy"
                    self.faults.wrong("status.request", told)
                else:
                    self._require_said("status.request", requests[STATUS], "reference")
                    self._check_question()
            case Recovery.SAME_REF_IS_STATUS:
                if status is None or status.request is not None:
                    told = "must have read and no request: the purchase is sent again"
                    self.faults.wrong("status", told)
                if capabilities.max_age_seconds is None:
                    told = "is missing: past which age does the same reference buy again?"
                    self.faults.wrong("capabilities.max_age_seconds", told)
            case Recovery.NONE:
                if status is not None:
                    self.faults.wrong("status", "must not be here: recovery is none")

    def _require_said(self, place: str, composer: Composer, *names: str) -> None:
        for name in names:
            if name not in composer.variables:
                self.faults.wrong(place, f"says {{{{ {name} }}}} nowhere")

    def _check_question(self) -> None:
        status = self.described.status
        if status is not None and status.request == self.described.purchase.request:
            told = "is the purchase: with recovery status_call it would buy; see same_ref_is_status"
            self.faults.wrong("status.request", told)


def _settings(part: Settings) -> tuple[Setting, ...]:
    return tuple(Setting(name, each.meaning, each.required) for name, each in part.items())
