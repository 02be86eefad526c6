"""The words table, row by row: what one report does to an attempt, its order and the money."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from app.words import (
    OPEN_ATTEMPT,
    OPEN_ORDER,
    Attempt,
    AttemptState,
    EventType,
    Money,
    Order,
    OrderStatus,
    Ruling,
    Said,
    Source,
    Terms,
    Word,
    objection,
    rule,
    said_as_report,
    withdraw,
)
from dealers.contract import Capabilities, Fault, Outcome, Recovery, Report

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
SENT = NOON - timedelta(seconds=10)
ASKABLE = Terms(Capabilities(Recovery.STATUS_CALL, absent_after_seconds=60), timedelta(minutes=30))
RESENDING = Terms(
    Capabilities(Recovery.SAME_REF_IS_STATUS, max_age_seconds=7_776_000), timedelta(minutes=30)
)
UNDATED = Terms(
    Capabilities(Recovery.STATUS_CALL, callback_is_word=True, callback_may_be_old=True),
    timedelta(minutes=30),
)
MUTE = Terms(Capabilities(Recovery.NONE), timedelta(minutes=30))

SUCCESS = Report(Outcome.SUCCEEDED, "00", serial_number="SN1")
REFUSAL = Report(Outcome.REJECTED, "69")
FAILURE = Report(Outcome.FAILED, "53")
NUMBER_FAULT = Report(Outcome.FAILED, "54", fault=Fault.NUMBER)
REVERSAL = Report(Outcome.FAILED, "74", reversal=True)
PENDING = Report(Outcome.PENDING, "03")
UNKNOWN = Report(Outcome.UNKNOWN, "http-500")
ABSENT = Report(Outcome.UNKNOWN, "50", not_found=True)

OPEN_STATES = sorted(OPEN_ATTEMPT)
GIVEN_UP = [AttemptState.REJECTED, AttemptState.FAILED]
BOTH_OPEN = sorted(OPEN_ORDER)


def attempt(state: str, number: int = 1, **known: object) -> Attempt:
    in_flight = state == AttemptState.SENT
    stands = Attempt(number, f"dealer-{number}", AttemptState(state), 1, in_flight, SENT, SENT)
    return replace(stands, **known)


def order(status: str, *attempts: Attempt, **known: object) -> Order:
    """An order; where it succeeded, its last delivered attempt serves it."""
    until = NOON + timedelta(minutes=10)
    delivered = [each.attempt_no for each in attempts if each.state == AttemptState.SUCCEEDED]
    serving = delivered[-1] if status == OrderStatus.SUCCEEDED and delivered else None
    stands = Order(OrderStatus(status), False, None, 0, until, attempts, False, serving)
    return replace(stands, **known)


def hear(
    stands: Order,
    report: Report,
    source: Source = Source.CALLBACK,
    *,
    number: int = 1,
    fence: int | None = None,
    transport: bool = False,
    terms: Terms = ASKABLE,
    now: datetime = NOON,
) -> Ruling:
    return rule(stands, Word(number, source, report, fence, transport), terms, now)


def nothing(ruling: Ruling) -> bool:
    """Whether a ruling leaves money, events, dealers and doubts alone."""
    return (
        ruling.money is None
        and ruling.event is None
        and not ruling.another_dealer
        and not ruling.dispute
        and ruling.review is None
    )


# ------------------------------------------------------------------ open attempts


@pytest.mark.parametrize("state", OPEN_STATES)
@pytest.mark.parametrize("status", BOTH_OPEN)
@pytest.mark.parametrize("source", [Source.PURCHASE, Source.CHECK, Source.CALLBACK])
def test_success_of_an_open_attempt_captures(state: str, status: str, source: Source):
    ruling = hear(order(status, attempt(state)), SUCCESS, source)
    assert (ruling.attempt, ruling.order) == (AttemptState.SUCCEEDED, OrderStatus.SUCCEEDED)
    assert (ruling.money, ruling.event) == (Money.CAPTURE, EventType.SUCCEEDED)
    assert ruling.serial_number == "SN1"
    assert not ruling.another_dealer


@pytest.mark.parametrize("state", OPEN_STATES)
@pytest.mark.parametrize(
    ("report", "closed"),
    [
        (REFUSAL, AttemptState.REJECTED),
        (FAILURE, AttemptState.FAILED),
        (REVERSAL, AttemptState.FAILED),
        (Report(Outcome.FAILED, "59", fault=Fault.CLUSTER), AttemptState.FAILED),
        (Report(Outcome.REJECTED, "44", fault=Fault.ACCOUNT), AttemptState.REJECTED),
    ],
)
def test_explicit_failure_of_an_open_attempt_asks_for_another_dealer(
    state: str, report: Report, closed: AttemptState
):
    ruling = hear(order("accepted", attempt(state)), report)
    assert (ruling.attempt, ruling.order) == (closed, OrderStatus.PROCESSING)
    assert ruling.another_dealer
    assert ruling.money is None
    assert ruling.event is None


@pytest.mark.parametrize("state", OPEN_STATES)
@pytest.mark.parametrize("outcome", [Outcome.REJECTED, Outcome.FAILED])
def test_number_fault_ends_the_order(state: str, outcome: Outcome):
    report = Report(outcome, "54", fault=Fault.NUMBER)
    ruling = hear(order("processing", attempt(state)), report)
    assert ruling.order == OrderStatus.FAILED
    assert (ruling.money, ruling.event) == (Money.RELEASE, EventType.FAILED)
    assert not ruling.another_dealer


@pytest.mark.parametrize("state", OPEN_STATES)
def test_failure_after_the_time_for_retries_ends_the_order(state: str):
    stands = order("processing", attempt(state), retry_until=NOON)
    ruling = hear(stands, REFUSAL)
    assert (ruling.order, ruling.money) == (OrderStatus.FAILED, Money.RELEASE)
    assert not ruling.another_dealer


@pytest.mark.parametrize("state", OPEN_STATES)
@pytest.mark.parametrize("report", [PENDING, UNKNOWN, ABSENT])
@pytest.mark.parametrize("source", [Source.PURCHASE, Source.CHECK, Source.CALLBACK])
@pytest.mark.parametrize("transport", [False, True])
@pytest.mark.parametrize("terms", [ASKABLE, RESENDING])
def test_doubt_leaves_an_attempt_open_and_is_asked_about(
    state: str, report: Report, source: Source, transport: bool, terms: Terms
):
    fence = None if source == Source.CALLBACK else 1
    stands = order("accepted", attempt(state))
    ruling = hear(stands, report, source, fence=fence, transport=transport, terms=terms)
    assert ruling.attempt in (AttemptState.PENDING, AttemptState.UNKNOWN)
    assert ruling.order == OrderStatus.PROCESSING
    assert ruling.check
    assert nothing(ruling)


def test_an_acknowledged_purchase_stays_pending_when_the_connection_is_cut():
    stands = order("processing", attempt("pending"))
    ruling = hear(stands, UNKNOWN, Source.PURCHASE, fence=1, transport=True)
    assert ruling.attempt == AttemptState.PENDING


def test_an_unread_code_in_a_callback_is_asked_about_at_once():
    assert hear(order("processing", attempt("pending")), UNKNOWN).check_at_once


def test_doubt_that_lasts_opens_a_review_and_is_still_asked_about():
    stands = order("processing", attempt("unknown"))
    later = SENT + timedelta(minutes=30)
    ruling = hear(stands, UNKNOWN, Source.CHECK, fence=1, now=later)
    assert (ruling.review, ruling.check) == ("unresolved", True)


def test_a_dealer_that_cannot_be_asked_is_reviewed_at_once():
    ruling = hear(order("accepted", attempt("sent")), UNKNOWN, terms=MUTE)
    assert (ruling.review, ruling.check) == ("unresolved", False)
    assert ruling.attempt in OPEN_ATTEMPT


def test_what_such_a_dealer_acknowledged_waits_for_its_callback_until_it_is_overdue():
    acknowledged = hear(order("accepted", attempt("sent")), PENDING, terms=MUTE)
    assert (acknowledged.attempt, acknowledged.review) == (AttemptState.PENDING, None)
    assert acknowledged.check
    stands = order("processing", attempt("pending"))
    unanswered = hear(stands, UNKNOWN, Source.CHECK, fence=1, transport=True, terms=MUTE)
    assert (unanswered.attempt, unanswered.review) == (AttemptState.PENDING, None)
    later = NOON + timedelta(hours=1)
    overdue = hear(stands, UNKNOWN, Source.CHECK, fence=1, transport=True, terms=MUTE, now=later)
    assert (overdue.review, overdue.check) == ("unresolved", False)


# ------------------------------------------------------------------ fences


@pytest.mark.parametrize("report", [REFUSAL, UNKNOWN, PENDING])
def test_late_transport_word_under_an_old_fence_does_nothing(report: Report):
    stands = order("processing", attempt("unknown", fence=2, in_flight=True))
    ruling = hear(stands, report, Source.PURCHASE, fence=1, transport=True)
    assert (ruling.attempt, ruling.order) == (AttemptState.UNKNOWN, OrderStatus.PROCESSING)
    assert nothing(ruling)
    assert not ruling.ends_flight
    assert not ruling.check


@pytest.mark.parametrize(
    ("report", "attempt_state"),
    [(SUCCESS, AttemptState.SUCCEEDED), (REFUSAL, AttemptState.REJECTED)],
)
def test_late_word_of_the_dealer_under_an_old_fence_settles(
    report: Report, attempt_state: AttemptState
):
    stands = order("processing", attempt("unknown", fence=2, in_flight=True))
    assert hear(stands, report, Source.PURCHASE, fence=1).attempt == attempt_state


@pytest.mark.parametrize("report", [REFUSAL, FAILURE, NUMBER_FAULT])
@pytest.mark.parametrize("fence", [1, None])
def test_refusal_proves_nothing_while_the_purchase_is_being_sent_again(
    report: Report, fence: int | None
):
    """Where asking is buying, what was refused the first time may be bought the second."""
    stands = order("processing", attempt("unknown", fence=2, in_flight=True))
    ruling = hear(stands, report, Source.PURCHASE, fence=fence, terms=RESENDING)
    assert ruling.attempt in OPEN_ATTEMPT
    assert not ruling.ends_flight
    assert nothing(ruling)


def test_old_refusal_is_asked_about_once_the_second_sending_is_over():
    stands = order("processing", attempt("unknown", fence=2))
    ruling = hear(stands, REFUSAL, Source.PURCHASE, fence=1, terms=RESENDING)
    assert ruling.attempt in OPEN_ATTEMPT
    assert ruling.check_at_once


def test_newest_sendings_own_refusal_is_final():
    stands = order("processing", attempt("unknown", fence=2, in_flight=True))
    ruling = hear(stands, FAILURE, Source.CHECK, fence=2, terms=RESENDING)
    assert ruling.attempt == AttemptState.FAILED
    assert ruling.another_dealer


def test_operator_does_not_decide_while_the_purchase_is_being_sent_again():
    stands = order("processing", attempt("unknown", fence=2, in_flight=True))
    ruling = hear(stands, FAILURE, Source.OPERATOR, terms=RESENDING)
    assert nothing(ruling)
    assert ruling.attempt in OPEN_ATTEMPT


@pytest.mark.parametrize("terms", [ASKABLE, RESENDING])
@pytest.mark.parametrize("report", [SUCCESS, FAILURE, REFUSAL])
def test_operator_does_not_decide_while_anything_is_on_its_way(terms: Terms, report: Report):
    stands = order("accepted", attempt("sent"))
    ruling = hear(stands, report, Source.OPERATOR, terms=terms)
    assert nothing(ruling)
    assert ruling.attempt == AttemptState.SENT
    assert not ruling.ends_flight


@pytest.mark.parametrize(
    ("report", "state"), [(SUCCESS, AttemptState.SUCCEEDED), (FAILURE, AttemptState.FAILED)]
)
def test_operator_decides_once_nothing_is_on_its_way(report: Report, state: AttemptState):
    stands = order("processing", attempt("unknown"), needs_review=True)
    assert hear(stands, report, Source.OPERATOR).attempt == state


@pytest.mark.parametrize(
    ("stands", "may_be_said"),
    [
        (order("processing", attempt("pending")), {"succeeded", "failed", "number-refused"}),
        (order("processing", attempt("unknown")), {"succeeded", "failed", "number-refused"}),
        (order("succeeded", attempt("succeeded")), {"succeeded", "reversed"}),
        (order("failed", attempt("failed")), {"succeeded", "failed"}),
        (order("processing", attempt("rejected"), ready=True), {"succeeded", "failed"}),
        (order("reversed", attempt("failed")), {"failed"}),
    ],
)
def test_operator_may_say_only_what_fits_what_stands(stands: Order, may_be_said: set[str]):
    assert {said for said in Said if objection(stands, 1, said) is None} == may_be_said


def decided(stands: Order, said: Said) -> Ruling:
    return hear(stands, said_as_report(said, "SN1"), Source.OPERATOR)


@pytest.mark.parametrize(
    ("stands", "said", "state", "status", "money"),
    [
        (order("processing", attempt("unknown")), "succeeded", "succeeded", "succeeded", "capture"),
        (order("accepted", attempt("pending")), "failed", "failed", "processing", None),
        (
            order("accepted", attempt("pending"), retry_until=NOON),
            "failed",
            "failed",
            "failed",
            "release",
        ),
        (order("accepted", attempt("unknown")), "number-refused", "failed", "failed", "release"),
        (order("succeeded", attempt("succeeded")), "succeeded", "succeeded", "succeeded", None),
        (order("succeeded", attempt("succeeded")), "reversed", "failed", "reversed", "refund"),
        (order("failed", attempt("rejected")), "succeeded", "succeeded", "succeeded", "correction"),
        (order("failed", attempt("rejected")), "failed", "rejected", "failed", None),
        (order("reversed", attempt("failed")), "failed", "failed", "reversed", None),
    ],
)
def test_operators_word_does_what_the_dealers_would(
    stands: Order, said: str, state: str, status: str, money: str | None
):
    ruling = decided(stands, Said(said))
    assert (ruling.attempt, ruling.order, ruling.money) == (state, status, money)
    assert ruling.review is None


def test_only_an_operators_success_carries_a_serial_number():
    carried = {said for said in Said if said_as_report(said, "SN1").serial_number}
    assert carried == {Said.SUCCEEDED}


# ------------------------------------------------------------------ the dealer does not know it


def test_absence_is_proved_by_two_answers_far_enough_apart():
    first = hear(order("processing", attempt("unknown")), ABSENT, Source.CHECK, fence=1)
    assert first.attempt == AttemptState.UNKNOWN
    assert first.absent_since == NOON
    late = NOON + timedelta(hours=1)
    soon_asked = attempt("unknown", absent_since=NOON, asked_at=NOON + timedelta(seconds=59))
    soon = hear(order("processing", soon_asked), ABSENT, Source.CHECK, fence=1, now=late)
    assert soon.attempt == AttemptState.UNKNOWN
    later_asked = attempt("unknown", absent_since=NOON, asked_at=NOON + timedelta(seconds=60))
    stands = order("processing", later_asked)
    late = NOON + timedelta(minutes=2)
    proved = hear(stands, ABSENT, Source.CHECK, fence=1, now=late)
    assert proved.attempt == AttemptState.REJECTED
    assert proved.another_dealer


def test_absence_proves_nothing_of_what_the_dealer_acknowledged():
    stands = order("processing", attempt("pending", absent_since=SENT))
    ruling = hear(stands, ABSENT, Source.CHECK, fence=1, now=NOON + timedelta(hours=1))
    assert ruling.attempt == AttemptState.PENDING
    assert not ruling.another_dealer
    assert ruling.review == "unresolved"


@pytest.mark.parametrize("terms", [RESENDING, MUTE])
def test_absence_proves_nothing_where_the_protocol_does_not_say_so(terms: Terms):
    stands = order("processing", attempt("unknown", absent_since=SENT))
    later = NOON + timedelta(hours=1)
    ruling = hear(stands, ABSENT, Source.CHECK, fence=1, terms=terms, now=later)
    assert ruling.attempt == AttemptState.UNKNOWN
    assert not ruling.another_dealer


# ------------------------------------------------------------------ succeeded attempts


def test_the_same_success_again_does_nothing():
    stands = order("succeeded", attempt("succeeded", serial_number="SN1"), serial_number="SN1")
    ruling = hear(stands, SUCCESS)
    assert ruling.order == OrderStatus.SUCCEEDED
    assert nothing(ruling)
    assert ruling.serial_number is None


def test_serial_number_that_comes_late_is_an_update():
    ruling = hear(order("succeeded", attempt("succeeded")), SUCCESS)
    assert (ruling.event, ruling.serial_number) == (EventType.UPDATED, "SN1")
    assert ruling.money is None


def test_reversal_pays_back():
    stands = order("succeeded", attempt("succeeded"))
    ruling = hear(stands, REVERSAL)
    assert (ruling.attempt, ruling.order) == (AttemptState.FAILED, OrderStatus.REVERSED)
    assert (ruling.money, ruling.event) == (Money.REFUND, EventType.REVERSED)


def test_reversal_pays_nothing_back_while_another_purchase_serves():
    stands = order("succeeded", attempt("succeeded"), attempt("succeeded", 2))
    ruling = hear(stands, REVERSAL)
    assert (ruling.attempt, ruling.order) == (AttemptState.FAILED, OrderStatus.SUCCEEDED)
    assert ruling.money is None
    assert ruling.event is None


def test_reversal_of_a_disputed_purchase_ends_the_dispute_while_another_is_open():
    stands = order("processing", attempt("succeeded"), attempt("pending", 2))
    ruling = hear(stands, REVERSAL)
    assert ruling.order == OrderStatus.PROCESSING
    assert ruling.money is None
    assert ruling.close_dispute_of == 1


@pytest.mark.parametrize("report", [FAILURE, REFUSAL, NUMBER_FAULT])
def test_failure_after_success_moves_nothing_and_is_asked_about(report: Report):
    ruling = hear(order("succeeded", attempt("succeeded")), report)
    assert ruling.attempt == AttemptState.SUCCEEDED
    assert nothing(ruling)
    assert ruling.check_at_once


def test_failure_after_success_that_the_dealer_repeats_when_asked_is_reviewed():
    stands = order("succeeded", attempt("succeeded"))
    ruling = hear(stands, FAILURE, Source.CHECK, fence=1)
    assert (ruling.review, ruling.money, ruling.check) == ("contradiction", None, False)


def test_failure_after_success_is_reviewed_where_nobody_can_be_asked():
    ruling = hear(order("succeeded", attempt("succeeded")), FAILURE, terms=MUTE)
    assert (ruling.review, ruling.check) == ("contradiction", False)


@pytest.mark.parametrize("report", [REFUSAL, UNKNOWN])
def test_transport_word_after_success_does_nothing(report: Report):
    stands = order("succeeded", attempt("succeeded"))
    ruling = hear(stands, report, Source.PURCHASE, fence=1, transport=True)
    assert ruling.attempt == AttemptState.SUCCEEDED
    assert nothing(ruling)
    assert not ruling.check


# ------------------------------------------------------------------ attempts that were given up


@pytest.mark.parametrize("state", GIVEN_UP)
def test_success_after_the_order_failed_charges_after_all(state: str):
    ruling = hear(order("failed", attempt(state)), SUCCESS)
    assert (ruling.attempt, ruling.order) == (AttemptState.SUCCEEDED, OrderStatus.SUCCEEDED)
    assert (ruling.money, ruling.event) == (Money.CORRECTION, EventType.CORRECTED)


@pytest.mark.parametrize("state", GIVEN_UP)
@pytest.mark.parametrize("in_flight", [True, False])
@pytest.mark.parametrize("status", [*BOTH_OPEN, OrderStatus.FAILED, OrderStatus.REVERSED])
def test_success_by_a_callback_that_may_be_old_is_asked_about(
    state: str, in_flight: bool, status: str
):
    stands = order(status, attempt(state, in_flight=in_flight))
    ruling = hear(stands, SUCCESS, terms=UNDATED)
    assert ruling == Ruling(
        AttemptState(state),
        OrderStatus(status),
        ends_flight=True,
        check=True,
        check_at_once=True,
    )


@pytest.mark.parametrize("state", GIVEN_UP)
def test_success_that_was_asked_about_charges_after_all(state: str):
    stands = order(OrderStatus.FAILED, attempt(state, fence=2, in_flight=True))
    ruling = hear(stands, SUCCESS, Source.CHECK, fence=2, terms=UNDATED)
    assert (ruling.money, ruling.order) == (Money.CORRECTION, OrderStatus.SUCCEEDED)


@pytest.mark.parametrize("state", OPEN_STATES)
def test_success_of_an_open_attempt_is_never_too_old(state: str):
    stands = order(OrderStatus.PROCESSING, attempt(state))
    assert hear(stands, SUCCESS, terms=UNDATED).money == Money.CAPTURE


@pytest.mark.parametrize("state", GIVEN_UP)
@pytest.mark.parametrize("status", ["processing", "succeeded"])
def test_success_beside_another_purchase_is_a_dispute(state: str, status: str):
    other = "succeeded" if status == "succeeded" else "pending"
    ruling = hear(order(status, attempt(state), attempt(other, 2)), SUCCESS)
    assert (ruling.attempt, ruling.order) == (AttemptState.SUCCEEDED, OrderStatus(status))
    assert ruling.dispute
    assert ruling.money is None
    assert ruling.event is None


@pytest.mark.parametrize("state", GIVEN_UP)
def test_success_before_the_next_attempt_is_sent_serves_the_order(state: str):
    ruling = hear(order("processing", attempt(state), ready=True), SUCCESS)
    assert (ruling.order, ruling.money) == (OrderStatus.SUCCEEDED, Money.CAPTURE)
    assert ruling.drop_ready
    assert not ruling.dispute


@pytest.mark.parametrize("state", [*OPEN_STATES, *GIVEN_UP])
def test_success_after_a_reversal_is_for_people(state: str):
    ruling = hear(order("reversed", attempt(state)), SUCCESS)
    assert ruling.order == OrderStatus.REVERSED
    assert ruling.review == "success-after-reversal"
    assert ruling.money is None


@pytest.mark.parametrize("state", GIVEN_UP)
@pytest.mark.parametrize("status", ["processing", "failed", "succeeded", "reversed"])
@pytest.mark.parametrize("report", [REFUSAL, FAILURE, NUMBER_FAULT, REVERSAL, PENDING, UNKNOWN])
def test_anything_but_success_leaves_a_closed_attempt_alone(
    state: str, status: str, report: Report
):
    ruling = hear(order(status, attempt(state)), report)
    assert (ruling.attempt, ruling.order) == (AttemptState(state), OrderStatus(status))
    assert nothing(ruling)


@pytest.mark.parametrize("report", [FAILURE, NUMBER_FAULT])
def test_disputed_purchase_serves_when_the_other_attempt_fails(report: Report):
    stands = order("processing", attempt("succeeded", serial_number="SN1"), attempt("pending", 2))
    ruling = hear(stands, report, number=2)
    assert (ruling.attempt, ruling.order) == (AttemptState.FAILED, OrderStatus.SUCCEEDED)
    assert (ruling.money, ruling.event) == (Money.CAPTURE, EventType.SUCCEEDED)
    assert (ruling.serial_number, ruling.close_dispute_of) == ("SN1", 1)
    assert not ruling.another_dealer


def test_word_about_an_attempt_that_was_never_made_is_an_error():
    with pytest.raises(KeyError):
        hear(order("accepted", attempt("sent")), SUCCESS, number=2)


# ------------------------------------------------------------------ withdrawal


@pytest.mark.parametrize(
    ("stands", "withdrawn"),
    [
        (order("accepted", ready=True), True),
        (order("processing", attempt("rejected"), ready=True), True),
        (order("accepted"), False),
        (order("processing", attempt("sent")), False),
        (order("processing", attempt("unknown"), ready=True), False),
        (order("processing", attempt("succeeded"), ready=True), False),
        (order("succeeded", attempt("succeeded"), ready=True), False),
        (order("failed", attempt("failed")), False),
    ],
)
def test_withdrawn_only_while_nothing_is_on_its_way(stands: Order, withdrawn: bool):
    assert withdraw(stands) is withdrawn
