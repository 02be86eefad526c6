"""Cluster refusals: several different numbers, no success in between, and it ends by itself."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routing.refusals import Area, Refusal, RefusalBook, RefusalRules, refused_until

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
RULES = RefusalRules(3, 24 * HOUR)
AREA = Area("alfa", "tri", "bandung")
MOMENTS = st.integers(0, 60).map(lambda hours: NOON + hours * HOUR)


def refusal(number: int, hours: float = 0, area: Area = AREA) -> Refusal:
    return Refusal(area, f"08951234560{number}", NOON + hours * HOUR)


def book(*refusals: Refusal, known: bool = False) -> RefusalBook:
    made = RefusalBook()
    made.take_up(refusals if known else (), RULES)
    if not known:
        for each in refusals:
            made.refuse(each)
    return made


@pytest.mark.parametrize("known", [True, False])
def test_dealer_is_left_out_once_three_numbers_were_refused(known: bool):
    two = book(refusal(1), refusal(2, 1), known=known)
    three = book(refusal(1), refusal(2, 1), refusal(3, 2), known=known)
    assert two.dealers_out("tri", "bandung", NOON + 3 * HOUR) == frozenset()
    assert three.dealers_out("tri", "bandung", NOON + 3 * HOUR) == {"alfa"}
    assert three.areas_out(NOON + 3 * HOUR) == {AREA: NOON + 24 * HOUR}


def test_one_number_refused_again_and_again_says_nothing_about_its_cluster():
    assert book(*(refusal(1, hours) for hours in range(9))).areas_out(NOON + 9 * HOUR) == {}


def test_other_brands_clusters_and_dealers_stay_in():
    out = book(refusal(1), refusal(2), refusal(3))
    assert out.dealers_out("tri", "jakarta", NOON) == frozenset()
    assert out.dealers_out("xl", "bandung", NOON) == frozenset()
    assert out.dealers_out("tri", None, NOON) == frozenset()


def test_success_clears_what_was_refused_before_it_wherever_that_was_learned():
    here = book(refusal(1), refusal(2), refusal(3))
    here.serve(AREA, NOON + HOUR)
    assert here.areas_out(NOON + HOUR) == {}
    assert here.untold() == []
    elsewhere = [refusal(1), refusal(2), refusal(3, 0.5)]
    assert here.void(elsewhere) == {AREA: NOON + HOUR}
    here.take_up(elsewhere, RULES)
    assert here.areas_out(NOON + HOUR) == {}


def test_success_older_than_a_refusal_does_not_clear_it():
    here = book(refusal(1, 1), refusal(2, 2), refusal(3, 3))
    here.serve(AREA, NOON)
    assert here.areas_out(NOON + 3 * HOUR) == {AREA: NOON + 25 * HOUR}


def test_dealer_comes_back_when_the_window_ends():
    out = book(refusal(1), refusal(2, 1), refusal(3, 2))
    assert out.dealers_out("tri", "bandung", NOON + 24 * HOUR) == frozenset()


def test_what_is_not_told_yet_survives_taking_up_what_others_told():
    here = book(refusal(1), refusal(2))
    here.take_up([refusal(3)], RULES)
    assert here.areas_out(NOON) == {AREA: NOON + 24 * HOUR}
    here.told(here.untold())
    here.take_up([], RULES)
    assert here.areas_out(NOON) == {}


def test_refusal_that_came_again_meanwhile_is_still_to_be_told():
    here = book(refusal(1))
    telling = here.untold()
    here.refuse(refusal(1, 1))
    here.told(telling)
    assert here.untold() == [refusal(1, 1)]


@given(st.lists(MOMENTS, max_size=12), st.integers(1, 5), st.integers(1, 48))
def test_dealer_is_out_exactly_while_enough_refusals_are_younger_than_the_window(
    refused_at: list[datetime], numbers: int, hours: int
):
    rules = RefusalRules(numbers, hours * HOUR)
    until = refused_until(refused_at, rules)
    latest = max(refused_at, default=NOON)
    for now in (latest, latest + hours * HOUR / 2, latest + hours * HOUR):
        young = sum(at > now - rules.window for at in refused_at)
        assert (until is not None and now < until) == (young >= numbers)


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("refused"), st.integers(0, 5), MOMENTS),
            st.tuples(st.just("served"), st.just(0), MOMENTS),
        ),
        max_size=20,
    )
)
def test_what_is_learned_does_not_depend_on_who_learned_it(steps: list[tuple[str, int, datetime]]):
    """One process that sees everything, and one that reads the refusals and sees the successes."""
    seeing, reading = book(), book()
    for what, number, at in steps:
        if what == "refused":
            seeing.refuse(Refusal(AREA, str(number), at))
        else:
            seeing.serve(AREA, at)
            reading.serve(AREA, at)
    newest: dict[int, datetime] = {}
    for what, number, at in steps:
        if what == "refused":
            newest[number] = max(at, newest.get(number, at))
    reading.take_up([Refusal(AREA, str(number), at) for number, at in newest.items()], RULES)
    assert seeing.areas_out(NOON + 60 * HOUR) == reading.areas_out(NOON + 60 * HOUR)
