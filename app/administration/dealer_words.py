"""A dealer's words held against the code that reads them in earnest: what they say, what follows.

For people who hold a puzzling answer in hand. Nothing is called, stored or changed. An answer is
read for the purchase that it names: which reference and number those are is found by trying the
words of the answer itself, since a protocol only ever settles the purchase it is asked about.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from itertools import product
from typing import cast
from urllib.parse import urlsplit

from app.lifecycle.call import MAX_ANSWER_BYTES
from app.lifecycle.settle import Patience
from app.words import (
    Attempt,
    AttemptState,
    Money,
    Order,
    OrderStatus,
    Ruling,
    Source,
    Terms,
    Word,
    rule,
)
from dealers.contract import (
    Account,
    Answer,
    Callback,
    CallbackRefused,
    Capabilities,
    Fault,
    Outcome,
    Recovery,
    Report,
    TopUp,
)
from dealers.registry import Dialect

_MOST_CANDIDATES = 400
_MOST_NUMBERS = 10
_TOKEN = re.compile(r"[0-9A-Za-z][0-9A-Za-z_-]{0,63}")
_NUMBER = re.compile(r"(?<![0-9A-Za-z])(?:\+?62|0)(8\d{7,11})(?!\d)")
_NOBODY = "?"
"""In place of a reference or a number: no answer names it."""
_START_LINE = re.compile(rb"HTTP/\d(?:\.\d)? (\d{3})[^\r\n]*\r?\n")
_REQUEST_LINE = re.compile(rb"(GET|POST|PUT) (\S+)(?: HTTP/\d(?:\.\d)?)?\r?\n")
_MONEY = {
    Money.CAPTURE: "charge the order: succeeded",
    Money.RELEASE: "fail the order and release its money: no dealer can serve this number",
    Money.REFUND: "refund the order: reversed",
    Money.CORRECTION: "charge the order after all: succeeded by correction",
}
_PATIENCE = Patience()
_NOW = datetime(2000, 1, 1, tzinfo=UTC)
"""Any moment: what follows depends on spans of time only."""


class WordsKind(StrEnum):
    """On which way the words came."""

    ANSWER = "answer"
    """As the answer to a purchase."""
    STATUS = "status"
    """As the answer to a status check."""
    CALLBACK = "callback"


@dataclass(frozen=True, slots=True)
class Subject:
    """The purchase that an answer is about, as far as it is known; None: what it names itself."""

    dealer_ref: str | None = None
    customer_number: str | None = None
    dealer_sku: str = "X"


@dataclass(frozen=True, slots=True)
class Reading:
    """What the words say, and what Jalur does upon them."""

    report: Report
    dealer_ref: str | None
    """Our reference, where the words name one."""
    customer_number: str | None
    verified: bool | None
    """Whether a signature over the status held; None for answers."""
    refused: str | None
    """Why a callback is not taken at all."""
    while_open: tuple[str, ...]
    after_success: tuple[str, ...]
    after_failure: tuple[str, ...]


def read_answer(
    dialect: Dialect, account: Account, kind: WordsKind, subject: Subject, answer: Answer
) -> Reading:
    """Read an answer as the executor and the reconciler do."""
    capabilities = dialect.capabilities_of(account)
    reader = dialect.read_status if kind is WordsKind.STATUS else dialect.read_top_up

    def read(dealer_ref: str, number: str) -> Report:
        order = TopUp(dealer_ref, subject.dealer_sku, number, max_price_rupiah=10**9)
        return reader(account, order, answer)

    text = answer.body.decode("utf-8", "replace")
    references = [subject.dealer_ref] if subject.dealer_ref else list(_references(text))
    numbers = [subject.customer_number] if subject.customer_number else list(_numbers(text))
    named, number, report = _most_telling(read, references, numbers)
    source = Source.CHECK if kind is WordsKind.STATUS else Source.PURCHASE
    return _reading(
        report, source, capabilities, subject.dealer_ref or named, subject.customer_number or number
    )


def read_callback(dialect: Dialect, account: Account, callback: Callback) -> Reading:
    """Read a callback as the inbox does."""
    capabilities = dialect.capabilities_of(account)
    try:
        read = dialect.read_callback(account, callback)
    except CallbackRefused as refusal:
        nothing = ("answer it with 403; nothing changes",)
        report = Report(Outcome.UNKNOWN, "refused")
        return Reading(report, None, None, False, str(refusal), nothing, nothing, nothing)
    if read.verified and capabilities.callback_is_word:
        reading = _reading(read.report, Source.CALLBACK, capabilities, read.dealer_ref, None)
        return replace(reading, verified=True)
    hint = (_as_hint(capabilities, is_open=True),)
    late = (_as_hint(capabilities, is_open=False),)
    return Reading(read.report, read.dealer_ref, None, read.verified, None, hint, late, late)


def answer_from(content: bytes, status: int) -> Answer:
    """An answer as it was saved: the body alone, or with its status line and headers."""
    head = _START_LINE.match(content)
    headers: Mapping[str, str] = {}
    if head is not None:
        status = int(head[1])
        headers, content = _headers(content[head.end() :])
    cut = len(content) > MAX_ANSWER_BYTES
    return Answer(status, headers, content[:MAX_ANSWER_BYTES], truncated=cut)


def callbacks_from(content: bytes, headers: Mapping[str, str]) -> Iterator[Callback]:
    """A callback as it was saved, in the order in which it is to be tried.

    A whole request says by itself what it is; else it is a body that was posted, or, where that
    is refused, an address or a query that was called.
    """
    head = _REQUEST_LINE.match(content)
    if head is not None:
        found, body = _headers(content[head.end() :])
        query = urlsplit(head[2].decode("utf-8", "replace")).query
        yield Callback(head[1].decode(), query, {**found, **headers}, body)
        return
    yield Callback("POST", "", headers, content)
    text = content.decode("utf-8", "replace").strip()
    if "=" in text and "\n" not in text:
        yield Callback("GET", text.partition("?")[2] or text, headers, b"")


# ------------------------------------------------------------------ which purchase


def _most_telling(
    read: Callable[[str, str], Report], references: Sequence[str], numbers: Sequence[str]
) -> tuple[str | None, str | None, Report]:
    """The purchase for which the words say something else than for any other, and what they say."""
    stranger = read(_NOBODY, _NOBODY)
    for reference, number in product(references, (_NOBODY, *numbers)):
        known = read(reference, number)
        if known != stranger:
            break
    else:
        return None, None, stranger
    for number in numbers:
        found = read(reference, number)
        if found != known or found.outcome is not Outcome.UNKNOWN:
            return reference, number, found
    return reference, None, known


def _references(text: str) -> Iterator[str]:
    tokens = dict.fromkeys(_TOKEN.findall(text[:MAX_ANSWER_BYTES]))
    # What could be a reference of ours comes first: a word more or less then does not matter.
    likely = sorted(tokens, key=lambda token: not (token.isupper() or token.isdigit()))
    strings = dict.fromkeys(each for each in _strings(text) if each not in tokens)
    yield from (*likely[:_MOST_CANDIDATES], *list(strings)[:_MOST_CANDIDATES])


def _numbers(text: str) -> Iterator[str]:
    found = dict.fromkeys("0" + digits for digits in _NUMBER.findall(text[:MAX_ANSWER_BYTES]))
    yield from list(found)[:_MOST_NUMBERS]


def _strings(text: str) -> Iterator[str]:
    """Every string in a JSON document."""
    try:
        waiting: list[object] = [json.loads(text)]
    except (ValueError, RecursionError):
        return
    while waiting:
        value = waiting.pop()
        if isinstance(value, str):
            yield value
        elif isinstance(value, dict):
            waiting.extend(cast(dict[str, object], value).values())
        elif isinstance(value, list):
            waiting.extend(cast(list[object], value))


def _headers(content: bytes) -> tuple[dict[str, str], bytes]:
    head, _, body = content.replace(b"\r\n", b"\n").partition(b"\n\n")
    lines = (line.partition(":") for line in head.decode("latin-1").splitlines())
    return {name.strip().lower(): value.strip() for name, _, value in lines}, body


# ------------------------------------------------------------------ what follows


def _reading(
    report: Report,
    source: Source,
    capabilities: Capabilities,
    dealer_ref: str | None,
    customer_number: str | None,
) -> Reading:
    situations = (
        (AttemptState.UNKNOWN, OrderStatus.PROCESSING),
        (AttemptState.SUCCEEDED, OrderStatus.SUCCEEDED),
        (AttemptState.FAILED, OrderStatus.FAILED),
    )
    follows = [
        tuple(_acts(_ruling(report, source, capabilities, *each), report, capabilities))
        for each in situations
    ]
    return Reading(report, dealer_ref, customer_number, None, None, *follows)


def _ruling(
    report: Report,
    source: Source,
    capabilities: Capabilities,
    state: AttemptState,
    status: OrderStatus,
) -> Ruling:
    asked = source is not Source.CALLBACK
    attempt = Attempt(1, "dealer", state, 1, asked, _NOW, _NOW, serial_number=report.serial_number)
    serving = 1 if status == OrderStatus.SUCCEEDED else None
    order = Order(status, False, None, 0, _NOW + timedelta(minutes=10), [attempt], False, serving)
    word = Word(1, source, report, fence=1 if asked else None)
    return rule(order, word, Terms(capabilities, _PATIENCE.review_after), _NOW)


def _acts(ruling: Ruling, report: Report, capabilities: Capabilities) -> Iterator[str]:
    if ruling.money is not None:
        serial = f", serial number {ruling.serial_number}" if ruling.serial_number else ""
        yield _MONEY[ruling.money] + serial
    if ruling.another_dealer:
        yield "close this purchase and buy at the next dealer, or fail the order where none stands"
    if ruling.check:
        yield _when_asked(ruling, capabilities)
    if report.not_found and capabilities.absent_after_seconds is not None:
        seconds = f"{capabilities.absent_after_seconds:g}"
        yield f"take it as never created once a second check says so, {seconds} s or more later"
    if ruling.review is not None:
        yield f"put the order up for review ({ruling.review})"
    if ruling.event is not None:
        yield f"tell the reseller {ruling.event}"
    if report.outcome == Outcome.REJECTED and report.fault == Fault.ACCOUNT:
        yield "alert operators: the fault is in our account at the dealer"


def _when_asked(ruling: Ruling, capabilities: Capabilities) -> str:
    if capabilities.recovery == Recovery.NONE:
        minutes = _PATIENCE.review_after.total_seconds() / 60
        return f"wait {minutes:g} minutes for the callback, then review; buy nowhere else"
    patience = _PATIENCE.delay(0, capabilities.check_schedule).total_seconds()
    seconds = max(
        0.0 if ruling.check_at_once else patience, capabilities.min_check_interval_seconds
    )
    if ruling.attempt == AttemptState.PENDING:
        return f"wait for the callback; ask the dealer in {seconds:g} s; buy nowhere else"
    return f"ask the dealer in {seconds:g} s; buy nowhere else"


def _as_hint(capabilities: Capabilities, *, is_open: bool) -> str:
    hint = "take it as a hint, being unsigned"
    if capabilities.recovery == Recovery.STATUS_CALL:
        return f"{hint}: ask the dealer for the status"
    if capabilities.recovery == Recovery.SAME_REF_IS_STATUS and is_open:
        return f"{hint}: send the same reference again, which asks"
    review = f"{hint}: put the order up for review, since asking is not possible here"
    if capabilities.recovery == Recovery.NONE:
        return f"{review}; by the secret path from a listed network it settles"
    return review
