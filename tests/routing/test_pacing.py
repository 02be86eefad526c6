"""A limit that adapts between its bounds, and tokens that keep to a rate."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routing.pacing import AdaptiveLimit, LimitRules, TokenBucket

RULES = LimitRules(decrease=0.5, forget_seconds=60.0, forgotten_a_second=1.0)

steps = st.lists(
    st.tuples(
        st.sampled_from(["answered", "failed", "refused", "bound", "wait"]),
        st.integers(0, 40),
        st.floats(0, 30),
    ),
    max_size=60,
)


def lowered(places: int, failures: int = 1) -> AdaptiveLimit:
    limit = AdaptiveLimit(places, RULES)
    for number in range(failures):
        assert limit.failed(number + 0.5, number + 1.0)
    return limit


@given(steps)
def test_the_limit_stays_between_one_and_its_ceiling(acts: list[tuple[str, int, float]]):
    limit, ceiling, now = AdaptiveLimit(8, RULES), 8, 0.0
    for act, number, seconds in acts:
        now += seconds
        match act:
            case "answered":
                limit.answered(now, number)
            case "failed":
                limit.failed(now - number, now)
            case "refused":
                limit.refused(now - number, now)
            case "bound":
                ceiling = number
                limit.bound(number)
            case _:
                pass
        assert min(1, ceiling) <= limit.places(now) <= ceiling


def test_it_begins_at_its_ceiling_and_goes_along_with_it():
    limit = AdaptiveLimit(8, RULES)
    limit.bound(5)
    assert limit.places(0) == 5
    limit.bound(32)
    assert limit.places(0) == 32


def test_a_failure_leaves_a_part_of_it():
    assert lowered(32).places(1.0) == 16
    assert lowered(32, failures=3).places(3.0) == 4


def test_failures_that_come_at_any_dealer_do_not_lower_it():
    limit = AdaptiveLimit(256, RULES)
    for number in range(2000):
        if number % 20 == 19:
            assert not limit.failed(number - 0.5, number)
        else:
            limit.answered(number, in_use=256)
    assert limit.places(2000) == 256


def test_failures_that_are_too_many_lower_it_once_a_round_trip():
    limit = AdaptiveLimit(256, RULES)
    for _ in range(1000):
        limit.answered(1.0, in_use=256)
    lowering = [limit.failed(1.5, 2.0) for _ in range(256)]
    assert lowering.index(True) == 25
    assert lowering.count(True) == 1
    assert limit.failed(2.5, 3.0)


def test_a_dealer_that_complains_lowers_it_however_seldom():
    limit = AdaptiveLimit(256, RULES)
    for _ in range(1000):
        limit.answered(1.0, in_use=256)
    assert limit.refused(1.5, 2.0)
    assert limit.places(2.0) == 128


def test_a_dealer_of_few_places_is_asked_less_after_each_failure():
    limit = AdaptiveLimit(8, RULES)
    for _ in range(1000):
        limit.answered(1.0, in_use=8)
    assert limit.failed(1.5, 2.0)


@given(st.lists(st.floats(0, 10), min_size=1, max_size=40))
def test_calls_of_one_round_trip_lower_it_once(starts: list[float]):
    """All of them began before the first of them failed."""
    limit = AdaptiveLimit(32, RULES)
    assert [limit.failed(start, 10.0 + number) for number, start in enumerate(starts)] == [
        True,
        *[False] * (len(starts) - 1),
    ]
    assert limit.places(10.0) == 16
    assert limit.failed(10.5, 11.0)


def test_a_round_trip_of_answers_raises_it_by_about_one_place():
    limit = lowered(32)
    for _ in range(16):
        limit.answered(2.0, in_use=16)
    assert limit.places(2.0) == 16
    limit.answered(2.0, in_use=16)
    assert limit.places(2.0) == 17


def test_answers_raise_it_only_while_it_is_used():
    limit = lowered(32)
    for _ in range(1000):
        limit.answered(2.0, in_use=7)
    assert limit.places(2.0) == 16
    for _ in range(1000):
        limit.answered(2.0, in_use=8)
    assert limit.places(2.0) > 16


def test_what_is_long_ago_is_forgotten_little_by_little():
    limit = lowered(32)
    assert limit.places(61.0) == 16
    assert limit.places(65.0) == 20
    assert limit.places(1000.0) == 32


def test_a_part_that_was_taken_away_and_given_back_brings_no_amnesty():
    limit = lowered(32)
    limit.bound(0)
    limit.answered(2.0, in_use=1)
    assert limit.places(2.0) == 0
    limit.bound(32)
    assert limit.places(2.0) == 16


# ------------------------------------------------------------------ tokens

moves = st.lists(
    st.tuples(st.floats(0, 3), st.integers(0, 9), st.floats(0.1, 50), st.integers(0, 12)),
    min_size=1,
    max_size=80,
)


@given(moves, st.floats(0.1, 50), st.integers(1, 12))
def test_no_stretch_of_time_sees_more_than_its_burst_and_rate(
    acts: list[tuple[float, int, float, int]], rate: float, burst: int
):
    bucket, now = TokenBucket(0.0), 0.0
    bucket.allow(rate, burst, 0.0)
    sent: list[tuple[float, int]] = []
    for seconds, wanted, _, unused in acts:
        now += seconds
        count = min(wanted, bucket.tokens(now))
        bucket.take(count)
        back = min(unused, count)
        bucket.give_back(back)
        sent.append((now, count - back))
    for first in range(len(sent)):
        total = 0
        for at, count in sent[first:]:
            total += count
            assert total <= burst + rate * (at - sent[first][0]) + 1e-6


@given(moves, st.floats(0.1, 50))
def test_buckets_that_share_a_rate_keep_to_it_together_while_it_moves_among_them(
    acts: list[tuple[float, int, float, int]], rate: float
):
    """Units move from one to the other, never before they were given up."""
    units, now = 8, 0.0
    buckets, parts = [TokenBucket(0.0), TokenBucket(0.0)], [4, 4]
    sent = 0
    for seconds, wanted, _, wish in acts:
        now += seconds
        first = wanted % 2
        parts[first] = min(wish, units - parts[1 - first])
        for bucket, part in zip(buckets, parts, strict=True):
            bucket.allow(rate * part / units, part, now)
            count = min(wanted, bucket.tokens(now))
            bucket.take(count)
            sent += count
        assert sent <= units + rate * now + 1e-6


def test_it_begins_empty_and_tells_when_the_next_token_comes():
    bucket = TokenBucket(0.0)
    assert bucket.seconds_to_next(0.0) == math.inf
    bucket.allow(4.0, 2, 0.0)
    assert bucket.tokens(0.0) == 0
    assert bucket.seconds_to_next(0.0) == 0.25
    assert bucket.tokens(0.25) == 1
    assert bucket.seconds_to_next(0.25) == 0


def test_it_holds_no_more_than_its_burst():
    bucket = TokenBucket(0.0)
    bucket.allow(4.0, 2, 0.0)
    assert bucket.tokens(60.0) == 2
    bucket.take(1)
    bucket.give_back(5)
    assert bucket.tokens(60.0) == 2
    bucket.allow(4.0, 1, 60.0)
    assert bucket.tokens(60.0) == 1


@pytest.mark.parametrize("rate", [0.1, 0.3, 1.0, 7.0, 33.3])
def test_waiting_for_the_next_token_brings_it(rate: float):
    bucket, now = TokenBucket(0.0), 0.0
    bucket.allow(rate, 1, 0.0)
    for _ in range(50):
        now += bucket.seconds_to_next(now)
        assert bucket.tokens(now) == 1
        bucket.take(1)
