"""The repeat rule in memory: who gets which number, and what is remembered for how long."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from routing.repeats import Holder, Judged, Mark, RepeatBook, RepeatRule, judge

HOLD = 90.0
ONE = RepeatRule(1, failures_count=False, hold_seconds=HOLD)
ANY = RepeatRule(None, failures_count=False, hold_seconds=HOLD)
NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
STATES = ["sent", "pending", "unknown", "succeeded", "rejected", "failed", None]


def holder(number: int) -> Holder:
    return Holder(number % 64, UUID(int=number), 1)


@st.composite
def days(draw: st.DrawFn) -> list[Mark]:
    """A day's marks, their counters rising, purchases of up to six orders."""
    return [
        Mark(
            counter,
            holder(draw(st.integers(0, 5))),
            draw(st.floats(0, 200)),
            draw(st.sampled_from(STATES)),
            draw(st.booleans()),
        )
        for counter in range(1, draw(st.integers(0, 6)) + 1)
    ]


def test_first_purchase_is_number_one():
    assert judge([], holder(1), ONE) == Judged(1, True, 0, 1)


def test_purchase_that_is_not_made_yet_keeps_others_out_while_it_may_be_sent():
    assert judge([Mark(1, holder(1), HOLD)], holder(2), ONE).counter is None
    assert judge([Mark(1, holder(1), HOLD + 1)], holder(2), ONE).counter == 2


def test_purchase_of_another_dealer_counts_nothing():
    went = Mark(1, holder(1), 0, "succeeded", went_elsewhere=True)
    assert judge([went], holder(2), ONE).counter == 2


@given(days(), st.integers(0, 9), st.integers(1, 4) | st.none(), st.booleans())
def test_number_given_out_is_never_one_that_another_holds(
    marks: list[Mark], buyer: int, limit: int | None, failures_count: bool
):
    verdict = judge(marks, holder(buyer), RepeatRule(limit, failures_count, HOLD))
    others = {mark.counter for mark in marks if mark.holder != holder(buyer)}
    assert verdict.counter not in others
    assert verdict.is_new == (verdict.counter not in {mark.counter for mark in marks}) or (
        verdict.counter is None
    )


@given(days(), st.integers(0, 9))
def test_dealer_without_a_limit_refuses_nobody(marks: list[Mark], buyer: int):
    assert judge(marks, holder(buyer), ANY).counter is not None


@given(days(), st.integers(0, 9), st.integers(1, 4))
def test_limit_holds_over_purchases_that_may_count(marks: list[Mark], buyer: int, limit: int):
    open_or_bought = {
        mark.holder
        for mark in marks
        if mark.holder != holder(buyer)
        and not mark.went_elsewhere
        and mark.state in ("sent", "pending", "unknown", "succeeded")
    }
    verdict = judge(marks, holder(buyer), RepeatRule(limit, False, HOLD))
    if len(open_or_bought) >= limit:
        assert verdict.counter is None or not verdict.is_new


@given(st.integers(1, 5), st.integers(1, 9))
def test_orders_one_after_another_get_rising_numbers_up_to_the_limit(limit: int, orders: int):
    marks: list[Mark] = []
    given_out: list[int | None] = []
    for number in range(orders):
        verdict = judge(marks, holder(number), RepeatRule(limit, False, HOLD))
        given_out.append(verdict.counter)
        if verdict.counter is not None:
            marks.append(Mark(verdict.counter, holder(number), 0, "sent"))
    bought = min(limit, orders)
    assert given_out == [*range(1, bought + 1), *[None] * (orders - bought)]


# ------------------------------------------------------------------ what is remembered


def test_what_is_noted_serves_for_a_minute_and_never_past_midnight_in_wib():
    book = RepeatBook()
    before_midnight = datetime(2026, 11, 21, 16, 59, 30, tzinfo=UTC)
    book.note("0895", "T5", "alfa", 1, NOON)
    book.note("0896", "T5", "alfa", 1, before_midnight)
    assert book.of("0895", "T5", NOON + timedelta(seconds=59)) == {"alfa": 1}
    assert book.of("0895", "T5", NOON + timedelta(seconds=60)) == {}
    assert book.of("0896", "T5", before_midnight + timedelta(seconds=30)) == {}


def test_what_came_to_nothing_is_forgotten():
    book = RepeatBook()
    book.note("0895", "T5", "alfa", 1, NOON)
    book.note("0895", "T5", "bravo", 1, NOON)
    book.forget("0895", "T5", "alfa")
    assert book.of("0895", "T5", NOON) == {"bravo": 1}
    book.forget("0895", "T5", "bravo")
    assert len(book) == 0


@given(st.lists(st.integers(0, 30), max_size=60))
def test_book_stays_small_and_keeps_what_is_newest(numbers: list[int]):
    book = RepeatBook(most=10)
    for number in numbers:
        book.note(str(number), "T5", "alfa", 1, NOON)
        assert book.of(str(number), "T5", NOON) == {"alfa": 1}
    assert len(book) <= 10
