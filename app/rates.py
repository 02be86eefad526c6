"""Rates: how many requests a caller may make, as `100/10s` says it.

A rate is a bucket: `quota` at once, refilled evenly within `window_seconds`. So 20000/2s is 10,000
a second for as long as one likes, and 20,000 at once after a pause.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

MOST = 3
"""Rates of one kind of request that hold together, such as so many a second and so many a day."""

_LARGEST_QUOTA = 10_000_000
_LONGEST_WINDOW_SECONDS = 86_400
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_SHAPE = re.compile(r"([0-9]{1,8})/([0-9]{0,5})([smhd])")
_REMEMBERED = 4096


class InvalidRate(ValueError):
    """A text that is no rate; the message says what one looks like."""


@dataclass(frozen=True, slots=True)
class Rate:
    """So many requests at once, refilled evenly within a window."""

    quota: int
    window_seconds: int

    @property
    def per_second(self) -> float:
        """Requests a second for as long as one likes."""
        return self.quota / self.window_seconds

    @property
    def window(self) -> str:
        """The window as people write it: `10s`, `1m`, `1d`."""
        unit = max(
            (unit for unit, seconds in _UNITS.items() if self.window_seconds % seconds == 0),
            key=lambda unit: _UNITS[unit],
        )
        return f"{self.window_seconds // _UNITS[unit]}{unit}"

    def __str__(self) -> str:
        return f"{self.quota}/{self.window}"


@lru_cache(_REMEMBERED)
def read_rates(text: str) -> tuple[Rate, ...]:
    """The rates in `100/1s` or `100/1s,50000/1d`. Raises InvalidRate."""
    rates = tuple(_read(part.strip()) for part in text.split(","))
    if len(rates) > MOST or len({rate.window_seconds for rate in rates}) != len(rates):
        raise InvalidRate(f"at most {MOST} rates, each over another window")
    return rates


def written(rates: Sequence[Rate]) -> str:
    """What `read_rates` reads as these."""
    return ",".join(map(str, rates))


def _read(text: str) -> Rate:
    shape = _SHAPE.fullmatch(text)
    quota = int(shape[1]) if shape else 0
    window = int(shape[2] or 1) * _UNITS[shape[3]] if shape else 0
    if not (1 <= quota <= _LARGEST_QUOTA and 1 <= window <= _LONGEST_WINDOW_SECONDS):
        raise InvalidRate(
            f"requests and a window of up to a day, such as 100/1s or 50000/1d, not {text[:40]!r}"
        )
    return Rate(quota, window)
