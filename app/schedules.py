"""Schedules as people write them: `36x5,120` is 36 times after 5 seconds, then after 120."""

import re

_STEP = re.compile(r"(?:([1-9][0-9]*)x)?([0-9]+(?:\.[0-9]+)?)")


def read_schedule(text: str) -> tuple[tuple[int, float], ...]:
    """(how many times, seconds before each); the last repeats for ever. Raises ValueError."""
    steps: list[tuple[int, float]] = []
    for part in text.split(","):
        step = _STEP.fullmatch(part.strip())
        if step is None or float(step[2]) == 0:
            raise ValueError("steps such as 36x5,42x10,120: how often, x, after how many seconds")
        steps.append((int(step[1] or 1), float(step[2])))
    return tuple(steps)
