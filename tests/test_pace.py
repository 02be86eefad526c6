"""Long work rests in proportion to what it did, never long at once, and not for ever."""

import pytest

from app.pace import Pace


class Day:
    """A clock that only work and rest move on."""

    def __init__(self) -> None:
        self.now = 0.0
        self.rests: list[float] = []

    def clock(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.rests.append(seconds)
        self.now += seconds


async def rests(pace: Pace, day: Day, works: list[float]) -> list[float]:
    for seconds in works:
        day.now += seconds
        await pace.rest()
    return day.rests


async def test_rest_is_a_share_of_the_work_since_the_last_rest():
    day = Day()
    taken = await rests(Pace(2.0, clock=day.clock, sleep=day.sleep), day, [0.01, 0.05, 0.02])
    assert taken == pytest.approx([0.02, 0.1, 0.04])


async def test_one_rest_is_never_long():
    day = Day()
    taken = await rests(Pace(3.0, clock=day.clock, sleep=day.sleep), day, [60.0])
    assert taken == [0.25]


async def test_slow_work_is_put_off_by_little_more_once_it_rested_enough():
    day = Day()
    pace = Pace(2.0, enough_seconds=0.9, clock=day.clock, sleep=day.sleep)
    taken = await rests(pace, day, [0.1] * 10)
    assert taken == pytest.approx([0.2] * 5 + [0.05] * 5)
