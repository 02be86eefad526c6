"""How long money lasts, judged by the same hours of the day before."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.runway import hourly_rate, runway_hours

EVEN = [100] * 24
NIGHT_FIRST = [10] * 12 + [1000] * 12


@pytest.mark.parametrize(
    ("rupiah", "hourly", "minute", "hours"),
    [
        (1000, EVEN, 0, 10.0),
        (1000, EVEN, 30, 10.0),
        (100, NIGHT_FIRST, 0, 10.0),
        (1120, NIGHT_FIRST, 0, 13.0),
        (60, NIGHT_FIRST, 30, 6.0),
        (0, EVEN, 0, 0.0),
        (-5, EVEN, 0, 0.0),
        (2400, EVEN, 0, 24.0),
        (16_800, EVEN, 0, 168.0),
        (16_801, EVEN, 0, None),
        (10**12, EVEN, 0, None),
        (1000, [0] * 24, 0, None),
        (1000, EVEN[:23], 0, None),
    ],
)
def test_runway_is_told(rupiah: int, hourly: list[int], minute: int, hours: float | None):
    assert runway_hours(rupiah, hourly, minute) == hours


spends = st.lists(st.integers(0, 10**9), min_size=24, max_size=24)


@given(st.integers(-(10**9), 10**11), spends, st.integers(0, 59))
def test_more_money_never_lasts_shorter(rupiah: int, hourly: list[int], minute: int):
    less, more = (runway_hours(each, hourly, minute) for each in (rupiah, rupiah + 10**6))
    assert more is None or (less is not None and less <= more)


def test_rate_is_the_mean_in_whole_rupiah():
    assert hourly_rate([1, 2, 4]) == 2
    assert hourly_rate([]) == 0
