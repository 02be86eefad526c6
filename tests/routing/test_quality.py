"""What outcomes teach about a dealer, and what they do not."""

from datetime import UTC, datetime, timedelta

import pytest

from routing.quality import NOTHING_KNOWN, Level, Outcome, QualityBook
from routing.table import QualityRules

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
RULES = QualityRules(window_minutes=60, minimum_sample=10, floor_basis_points=7_000)
MINUTE = timedelta(minutes=1)


def book(kind="pulsa", at=NOON, **counts):
    filled = QualityBook()
    for name, count in counts.items():
        filled.count("a", kind, Outcome(name), at, count)
    return filled


def test_rates_are_of_definite_and_of_all_outcomes():
    found = book(succeeded=8, failed=2, unknown=10).of("a", "pulsa", RULES, NOON)
    assert found == (8_000, 5_000, 10, Level.WARNING)


@pytest.mark.parametrize(
    ("succeeded", "failed", "level"),
    [
        (9, 1, Level.OK),
        (899, 101, Level.WARNING),
        (7, 3, Level.WARNING),
        (699, 301, Level.CRITICAL),
    ],
)
def test_a_level_begins_below_its_rate(succeeded, failed, level):
    found = book(succeeded=succeeded, failed=failed).of("a", "pulsa", RULES, NOON)
    assert found.level is level


def test_only_kinds_with_a_sample_of_their_own_are_judged():
    filled = book(kind="data", succeeded=10)
    filled.count("a", "pulsa", Outcome.SUCCEEDED, NOON, 9)
    assert filled.judged(RULES, NOON) == {("a", "data"): (10_000, 0, 10, Level.OK)}
    assert filled.judged(RULES, NOON + 60 * MINUTE) == {}


def test_too_few_definite_outcomes_tell_nothing():
    found = book(failed=9, unknown=500).of("a", "pulsa", RULES, NOON)
    assert found == NOTHING_KNOWN


def test_where_a_kind_has_too_few_all_kinds_together_tell():
    filled = book(kind="data", succeeded=4, failed=5)
    filled.count("a", "pulsa", Outcome.FAILED, NOON)
    assert filled.of("a", "pulsa", RULES, NOON) == (4_000, 0, 10, Level.CRITICAL)


def test_a_dealer_is_not_judged_by_another():
    assert book(failed=50).of("b", "pulsa", RULES, NOON) == NOTHING_KNOWN


def test_outcomes_leave_the_window_by_the_minute():
    filled = book(failed=10)
    assert filled.of("a", "pulsa", RULES, NOON + 59 * MINUTE).sample == 10
    assert filled.of("a", "pulsa", RULES, NOON + 60 * MINUTE) == NOTHING_KNOWN


def test_a_late_outcome_corrects_the_minute_that_it_was_counted_in():
    filled = book(succeeded=9, unknown=1)
    filled.correct("a", "pulsa", Outcome.UNKNOWN, Outcome.SUCCEEDED, NOON)
    assert filled.of("a", "pulsa", RULES, NOON + 59 * MINUTE) == (10_000, 0, 10, Level.OK)
    assert filled.of("a", "pulsa", RULES, NOON + 60 * MINUTE) == NOTHING_KNOWN


def test_a_correction_of_what_was_never_counted_here_takes_nothing_away():
    filled = book(succeeded=10)
    filled.correct("a", "pulsa", Outcome.UNKNOWN, Outcome.FAILED, NOON - MINUTE)
    assert filled.of("a", "pulsa", RULES, NOON) == (9_090, 0, 11, Level.OK)


def test_what_comes_too_late_for_the_window_is_left_out():
    filled = book(succeeded=10)
    filled.of("a", "pulsa", RULES, NOON)
    filled.count("a", "pulsa", Outcome.FAILED, NOON - 60 * MINUTE)
    assert filled.of("a", "pulsa", RULES, NOON).sample == 10
