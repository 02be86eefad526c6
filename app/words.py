"""What a dealer's word does to an attempt, its order and the reseller's money: the words table.

Pure: `rule` takes what stands (the order, its attempts) and one word, whoever brought it, and
returns a ruling. Only settling acts on rulings, so this file is the whole of an order's fate.

    attempt open       succeeded            capture, the order succeeded
                       rejected, failed     another dealer while one may serve, else release, failed
                       number fault         release, failed
                       pending, unknown     stays open, asked about again; never another dealer
    attempt succeeded  succeeded            nothing; a serial number that came late is an update
                       reversal             refund, the order is reversed
                       failed               contradiction: asked about, or reviewed where one cannot
    attempt closed     succeeded            by a callback that may be old: asked about
                                            the order failed: charged after all, corrected
                                            another attempt serves it: a dispute with this dealer
                                            nothing else was sent yet: this purchase serves it
    order reversed     succeeded            review

An operator's word does the same as a dealer's, but never while an act is in flight, and only where
`objection` has none.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from dealers.contract import Capabilities, Fault, Outcome, Recovery, Report


class OrderStatus(StrEnum):
    """An order's status; `accepted` and `processing` are open."""

    ACCEPTED = "accepted"
    PROCESSING = "processing"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    REVERSED = "reversed"


OPEN_ORDER = frozenset({OrderStatus.ACCEPTED, OrderStatus.PROCESSING})


class AttemptState(StrEnum):
    """An attempt's state; `sent`, `pending` and `unknown` are open."""

    SENT = "sent"
    PENDING = "pending"
    UNKNOWN = "unknown"
    SUCCEEDED = "succeeded"
    REJECTED = "rejected"
    FAILED = "failed"


OPEN_ATTEMPT = frozenset({AttemptState.SENT, AttemptState.PENDING, AttemptState.UNKNOWN})


NOT_REACHED = frozenset({"not-connected", "not-built", "no-session", "unsendable"})
"""Our own codes of a rejected purchase: the dealer, or what we know of it, kept us from sending."""

UNSENT = NOT_REACHED | {"lease-ran-out", "busy"}
"""Our own codes of a rejected purchase of which nothing was sent: the dealer was not tried."""


class Source(StrEnum):
    """Who brought a word."""

    PURCHASE = "purchase"
    CHECK = "check"
    CALLBACK = "callback"
    OPERATOR = "operator"


@dataclass(frozen=True, slots=True)
class Attempt:
    """What stands about one purchase at one dealer."""

    attempt_no: int
    dealer_id: str
    state: AttemptState
    fence: int
    in_flight: bool
    """A purchase or a check of it is on its way, under a claim."""
    sent_at: datetime
    asked_at: datetime
    """When it was sent or last asked about."""
    absent_since: datetime | None = None
    serial_number: str | None = None


@dataclass(frozen=True, slots=True)
class Order:
    """What stands about an order, read under its lock."""

    status: OrderStatus
    needs_review: bool
    serial_number: str | None
    corrections: int
    retry_until: datetime
    attempts: Sequence[Attempt]
    ready: bool
    """A next attempt waits unclaimed."""
    serving: int | None = None
    """The number of the attempt that serves the order; every other delivered one is disputed."""


@dataclass(frozen=True, slots=True)
class Word:
    """One report about one attempt. `fence` is that of the act that asked; None if it came in."""

    attempt_no: int
    source: Source
    report: Report
    fence: int | None = None
    transport: bool = False
    """The word is our own transport's (time-out, cut connection), not the dealer's."""


class Money(StrEnum):
    """What a ruling does to the reseller's money."""

    CAPTURE = "capture"
    RELEASE = "release"
    REFUND = "refund"
    CORRECTION = "correction"


class EventType(StrEnum):
    """What resellers are told: of their orders, their money and their endpoints."""

    SUCCEEDED = "order.succeeded"
    FAILED = "order.failed"
    REVERSED = "order.reversed"
    CORRECTED = "order.corrected"
    UPDATED = "order.updated"
    BALANCE_LOW = "balance.low"
    ENDPOINT_DISABLED = "endpoint.disabled"
    PING = "test.ping"


@dataclass(frozen=True, slots=True)
class Ruling:
    """What a word does. Everything left at its default does not happen."""

    attempt: AttemptState
    order: OrderStatus
    ends_flight: bool = False
    """The claim of the act that brought this word ends."""
    check: bool = False
    """The dealer is to be asked again; where nobody can be, it is looked at when it is overdue."""
    check_at_once: bool = False
    absent_since: datetime | None = None
    another_dealer: bool = False
    """The next dealer is to be chosen; where none stands, the order fails."""
    money: Money | None = None
    event: EventType | None = None
    serial_number: str | None = None
    serves: int | None = None
    """The number of the attempt that serves the order from now on."""
    drop_ready: bool = False
    """The waiting next attempt is withdrawn: another purchase serves the order."""
    review: str | None = None
    ends_doubt: bool = False
    """The dealer's word resolves what stands in the review queue about the order."""
    dispute: bool = False
    close_dispute_of: int | None = None
    """The attempt whose dispute ends: it serves the order after all, or its dealer paid back."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What the attempt's dealer declares, and how patient we are."""

    capabilities: Capabilities
    review_after: timedelta


def rule(order: Order, word: Word, terms: Terms, now: datetime) -> Ruling:
    """The ruling for one word. Raises KeyError when the order has no such attempt."""
    attempt = _attempt(order, word.attempt_no)
    if word.source == Source.OPERATOR and attempt.in_flight:
        # What is on its way may answer the very next moment: nobody decides over it.
        return Ruling(attempt.state, order.status)
    if attempt.state in OPEN_ATTEMPT:
        return _rule_open(order, attempt, word, terms, now)
    if attempt.state == AttemptState.SUCCEEDED:
        return _rule_succeeded(order, attempt, word, terms, now)
    return _rule_closed(order, attempt, word, terms, now)


def _attempt(order: Order, attempt_no: int) -> Attempt:
    for attempt in order.attempts:
        if attempt.attempt_no == attempt_no:
            return attempt
    raise KeyError(f"the order has no attempt {attempt_no}")


# ------------------------------------------------------------------ an open attempt


def _rule_open(order: Order, attempt: Attempt, word: Word, terms: Terms, now: datetime) -> Ruling:
    report = word.report
    if report.outcome == Outcome.SUCCEEDED:
        return _serves(order, attempt, report)
    if _is_stale(attempt, word):
        return Ruling(attempt.state, order.status)
    if report.outcome in (Outcome.REJECTED, Outcome.FAILED):
        if _resend_may_buy(attempt, word, terms):
            again = not attempt.in_flight
            return Ruling(attempt.state, order.status, check=again, check_at_once=again)
        return _does_not_serve(order, attempt, report, now)
    if report.not_found:
        return _rule_absent(order, attempt, word, terms, now)
    return _stays_open(order, attempt, word, terms, now)


def _is_stale(attempt: Attempt, word: Word) -> bool:
    """A transport's word under an old fence: somebody else has taken the attempt over since."""
    return word.transport and word.fence is not None and word.fence < attempt.fence


def _resend_may_buy(attempt: Attempt, word: Word, terms: Terms) -> bool:
    """Whether the purchase was sent again after the act that this word answers.

    What was refused the first time may be bought the second: only the newest act's own word, or a
    callback when nothing is on its way, may then say that nothing was delivered.
    """
    if terms.capabilities.recovery != Recovery.SAME_REF_IS_STATUS or attempt.fence == 1:
        return False
    return attempt.in_flight if word.fence is None else word.fence < attempt.fence


def _answers_flight(attempt: Attempt, word: Word) -> bool:
    """Whether this word answers the act that holds the attempt's claim."""
    return word.fence is not None and word.fence == attempt.fence


def _serves(order: Order, attempt: Attempt, report: Report) -> Ruling:
    """This purchase was delivered while its attempt was open."""
    if order.status in OPEN_ORDER:
        return Ruling(
            AttemptState.SUCCEEDED,
            OrderStatus.SUCCEEDED,
            ends_flight=True,
            money=Money.CAPTURE,
            event=EventType.SUCCEEDED,
            serial_number=report.serial_number,
            serves=attempt.attempt_no,
            drop_ready=order.ready,
        )
    return _late_success(order, attempt, report)


def _does_not_serve(order: Order, attempt: Attempt, report: Report, now: datetime) -> Ruling:
    """The dealer's explicit word that this purchase was not delivered."""
    state = AttemptState.REJECTED if report.outcome == Outcome.REJECTED else AttemptState.FAILED
    if order.status not in OPEN_ORDER:
        return Ruling(state, order.status, ends_flight=True)
    disputed = _delivered_elsewhere(order, attempt)
    if disputed is not None:
        return Ruling(
            state,
            OrderStatus.SUCCEEDED,
            ends_flight=True,
            money=Money.CAPTURE,
            event=EventType.SUCCEEDED,
            serial_number=disputed.serial_number,
            serves=disputed.attempt_no,
            close_dispute_of=disputed.attempt_no,
        )
    if report.fault == Fault.NUMBER or now >= order.retry_until:
        return Ruling(
            state,
            OrderStatus.FAILED,
            ends_flight=True,
            money=Money.RELEASE,
            event=EventType.FAILED,
        )
    return Ruling(state, OrderStatus.PROCESSING, ends_flight=True, another_dealer=True)


def _delivered_elsewhere(order: Order, attempt: Attempt) -> Attempt | None:
    """A disputed purchase of this order: delivered, while this attempt was still expected to."""
    for other in order.attempts:
        if other.attempt_no != attempt.attempt_no and other.state == AttemptState.SUCCEEDED:
            return other
    return None


def _rule_absent(order: Order, attempt: Attempt, word: Word, terms: Terms, now: datetime) -> Ruling:
    """The dealer does not know the reference.

    That proves something only where the protocol declares it, after the send is over, and said
    twice so far apart; never for a purchase that the dealer once acknowledged.
    """
    absent_after = terms.capabilities.absent_after_seconds
    if absent_after is None or attempt.state == AttemptState.PENDING:
        return _stays_open(order, attempt, word, terms, now)
    since = attempt.absent_since
    if since is not None and attempt.asked_at - since >= timedelta(seconds=absent_after):
        absent = Report(Outcome.REJECTED, "absent", "the dealer does not know the reference")
        return _does_not_serve(order, attempt, absent, now)
    return _stays_open(order, attempt, word, terms, now, absent_since=since or now)


def _stays_open(
    order: Order,
    attempt: Attempt,
    word: Word,
    terms: Terms,
    now: datetime,
    *,
    absent_since: datetime | None = None,
) -> Ruling:
    """No final word: the attempt is asked about again, by no means bought elsewhere.

    Where nobody can be asked, a lost answer is reviewed at once, as is a callback that nobody
    understands; what the dealer acknowledged has its callback to wait for.
    """
    acknowledged = word.report.outcome == Outcome.PENDING or attempt.state == AttemptState.PENDING
    cannot_ask = terms.capabilities.recovery == Recovery.NONE
    overdue = now - attempt.sent_at >= terms.review_after
    unread = _is_unread_callback(word)
    waits_for_callback = cannot_ask and acknowledged and not overdue and not unread
    status = OrderStatus.PROCESSING if order.status in OPEN_ORDER else order.status
    return Ruling(
        AttemptState.PENDING if acknowledged else AttemptState.UNKNOWN,
        status,
        ends_flight=_answers_flight(attempt, word),
        check=not cannot_ask or waits_for_callback,
        check_at_once=unread and not cannot_ask,
        absent_since=absent_since,
        review="unresolved" if overdue or (cannot_ask and not waits_for_callback) else None,
    )


def _is_unread_callback(word: Word) -> bool:
    """A callback whose code we do not know: something changed at the dealer, so ask."""
    return word.source == Source.CALLBACK and word.report.outcome == Outcome.UNKNOWN


# ------------------------------------------------------------------ a succeeded attempt


def _rule_succeeded(
    order: Order, attempt: Attempt, word: Word, terms: Terms, now: datetime
) -> Ruling:
    report = word.report
    own_flight = _answers_flight(attempt, word)
    if report.outcome == Outcome.SUCCEEDED:
        return _same_again(order, attempt, word, own_flight=own_flight)
    if report.reversal:
        return _reversed(order, attempt, own_flight=own_flight)
    if report.outcome in (Outcome.REJECTED, Outcome.FAILED) and not word.transport:
        return _contradicted(order, attempt, word, terms)
    if own_flight and word.source == Source.CHECK:
        overdue = now - attempt.sent_at >= terms.review_after
        return Ruling(
            attempt.state,
            order.status,
            ends_flight=True,
            check=not overdue,
            review="unanswered" if overdue else None,
        )
    return Ruling(attempt.state, order.status)


def _same_again(order: Order, attempt: Attempt, word: Word, *, own_flight: bool) -> Ruling:
    serial_number = word.report.serial_number
    late_serial = bool(serial_number) and not attempt.serial_number
    # A disputed purchase's serial number is not the order's: another dealer serves that.
    shown = late_serial and order.serving == attempt.attempt_no
    return Ruling(
        attempt.state,
        order.status,
        ends_flight=own_flight,
        event=EventType.UPDATED if shown else None,
        serial_number=serial_number if late_serial else None,
        ends_doubt=word.source in (Source.CHECK, Source.OPERATOR),
    )


def _reversed(order: Order, attempt: Attempt, *, own_flight: bool) -> Ruling:
    """The dealer paid back: so do we, unless another purchase serves the order."""
    if order.serving != attempt.attempt_no:
        return Ruling(
            AttemptState.FAILED,
            order.status,
            ends_flight=own_flight,
            close_dispute_of=attempt.attempt_no,
        )
    disputed = _delivered_elsewhere(order, attempt)
    if disputed is not None:
        return Ruling(
            AttemptState.FAILED,
            order.status,
            ends_flight=own_flight,
            event=EventType.UPDATED,
            serial_number=disputed.serial_number,
            serves=disputed.attempt_no,
            ends_doubt=True,
            close_dispute_of=disputed.attempt_no,
        )
    return Ruling(
        AttemptState.FAILED,
        OrderStatus.REVERSED,
        ends_flight=own_flight,
        money=Money.REFUND,
        event=EventType.REVERSED,
        ends_doubt=True,
    )


def _contradicted(order: Order, attempt: Attempt, word: Word, terms: Terms) -> Ruling:
    """Failed after success, and not called a refund: nothing moves until the dealer is asked.

    When the dealer, asked, still says failed without calling it a refund, people must look.
    """
    can_ask = terms.capabilities.recovery != Recovery.NONE
    asked = word.source == Source.CHECK
    return Ruling(
        attempt.state,
        order.status,
        ends_flight=_answers_flight(attempt, word),
        check=can_ask and not asked,
        check_at_once=can_ask and not asked,
        review="contradiction" if asked or not can_ask else None,
    )


# ------------------------------------------------------------------ a rejected or failed attempt


def _rule_closed(order: Order, attempt: Attempt, word: Word, terms: Terms, now: datetime) -> Ruling:
    own_flight = _answers_flight(attempt, word)
    if word.report.outcome == Outcome.SUCCEEDED:
        if _may_be_old(word, terms):
            # An act in flight may have been answered before this was said: it ends, another asks.
            return Ruling(
                attempt.state, order.status, ends_flight=True, check=True, check_at_once=True
            )
        return _late_success(order, attempt, word.report)
    definite = word.report.outcome in (Outcome.REJECTED, Outcome.FAILED)
    unanswered = own_flight and word.source == Source.CHECK and not definite
    overdue = now - attempt.sent_at >= terms.review_after
    return Ruling(
        attempt.state,
        order.status,
        ends_flight=own_flight,
        check=unanswered and not overdue,
        review="unanswered" if unanswered and overdue else None,
    )


def _may_be_old(word: Word, terms: Terms) -> bool:
    """Whether a success may have been said before what closed the attempt: a callback that came
    late, or that somebody sent again, is signed like a new one. Asking settles it."""
    return word.source == Source.CALLBACK and terms.capabilities.callback_may_be_old


def _late_success(order: Order, attempt: Attempt, report: Report) -> Ruling:
    """A purchase that was given up turns out to have been delivered."""
    if order.status == OrderStatus.REVERSED:
        return Ruling(
            attempt.state, order.status, ends_flight=True, review="success-after-reversal"
        )
    if order.status == OrderStatus.FAILED:
        return Ruling(
            AttemptState.SUCCEEDED,
            OrderStatus.SUCCEEDED,
            ends_flight=True,
            money=Money.CORRECTION,
            event=EventType.CORRECTED,
            serial_number=report.serial_number,
            serves=attempt.attempt_no,
            ends_doubt=True,
        )
    if order.status == OrderStatus.SUCCEEDED or _another_is_open(order, attempt):
        return Ruling(
            AttemptState.SUCCEEDED,
            order.status,
            ends_flight=True,
            dispute=True,
            serial_number=report.serial_number,
        )
    return Ruling(
        AttemptState.SUCCEEDED,
        OrderStatus.SUCCEEDED,
        ends_flight=True,
        money=Money.CAPTURE,
        event=EventType.SUCCEEDED,
        serial_number=report.serial_number,
        serves=attempt.attempt_no,
        drop_ready=order.ready,
    )


def _another_is_open(order: Order, attempt: Attempt) -> bool:
    return any(
        other.attempt_no != attempt.attempt_no and other.state in OPEN_ATTEMPT
        for other in order.attempts
    )


# ------------------------------------------------------------------ an operator's word


class Said(StrEnum):
    """What an operator may say of a purchase that stands in review."""

    SUCCEEDED = "succeeded"
    """It was delivered."""
    FAILED = "failed"
    """It was not delivered: another dealer may serve while there is time."""
    NUMBER_REFUSED = "number-refused"
    """It was not delivered and no dealer can: the order ends."""
    REVERSED = "reversed"
    """It was delivered, and the dealer took it back and paid us back."""


def said_as_report(said: Said, serial_number: str | None = None) -> Report:
    """An operator's word as the report that it amounts to."""
    code = f"operator-{said}"
    match said:
        case Said.SUCCEEDED:
            return Report(Outcome.SUCCEEDED, code, serial_number=serial_number)
        case Said.FAILED:
            return Report(Outcome.FAILED, code)
        case Said.NUMBER_REFUSED:
            return Report(Outcome.FAILED, code, fault=Fault.NUMBER)
        case Said.REVERSED:
            return Report(Outcome.FAILED, code, reversal=True)


def objection(order: Order, attempt_no: int, said: Said) -> str | None:
    """Why an operator's word cannot be said of the attempt as it stands; None where it can.

    On a closed attempt `failed` confirms what stands, on a succeeded one `succeeded` does. Raises
    KeyError when the order has no such attempt.
    """
    state = _attempt(order, attempt_no).state
    if state in OPEN_ATTEMPT:
        if said == Said.REVERSED:
            return "nothing was delivered that could be taken back; say failed"
    elif state == AttemptState.SUCCEEDED:
        if said in (Said.FAILED, Said.NUMBER_REFUSED):
            return "it counts as delivered; say reversed if the dealer paid back, else succeeded"
    elif said in (Said.NUMBER_REFUSED, Said.REVERSED):
        return "it counts as not delivered; say failed to leave it so"
    elif said == Said.SUCCEEDED and order.status == OrderStatus.REVERSED:
        return "the order was paid back and is not charged again; say failed to leave it so"
    return None


# ------------------------------------------------------------------ without a word


def withdraw(order: Order) -> bool:
    """Whether the order may be given up (cancelled, expired, no route) without a dealer's word.

    Only while nothing is on its way: a next attempt waits unclaimed and no attempt is open or
    delivered.
    """
    return (
        order.status in OPEN_ORDER
        and order.ready
        and all(
            attempt.state in (AttemptState.REJECTED, AttemptState.FAILED)
            for attempt in order.attempts
        )
    )
