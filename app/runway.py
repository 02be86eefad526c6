"""How long our money at a dealer lasts: a pure function of what past hours took.

Each coming hour is taken to spend what the same hour of the day before did, so that a night is not
judged by the evening before it. What is left of the present hour spends its part.
"""

from collections.abc import Sequence

HOURS_OF_HISTORY = 24
LONGEST_HOURS = 168.0
"""A week: what lasts longer is not told."""
_MINUTES = 60


def runway_hours(rupiah: int, hourly: Sequence[int], minute: int) -> float | None:
    """Hours until `rupiah` are spent; None where they last longer than a week.

    `hourly` is what each of the last 24 whole hours took, the newest last; `minute` is that of the
    present hour. Without a whole day of it nothing can be told, and the answer is None.
    """
    if len(hourly) != HOURS_OF_HISTORY:
        return None
    left, hours, part = rupiah, 0.0, (_MINUTES - minute) / _MINUTES
    if left <= 0:
        return 0.0
    place = 0
    while hours < LONGEST_HOURS:
        spends = hourly[place % HOURS_OF_HISTORY] * part
        if spends >= left:
            return round(hours + part * left / spends, 1)
        left, hours = left - spends, hours + part
        place, part = place + 1, 1.0
    return None


def hourly_rate(hourly: Sequence[int]) -> int:
    """What an hour took in the mean of the last whole hours, in whole rupiah."""
    return sum(hourly) // len(hourly) if hourly else 0
