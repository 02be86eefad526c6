"""Lines: how much each webhook endpoint may be sent now, as this process knows it.

Every endpoint has places of its own, a rate where its reseller set one, and a breaker: after some
failures in a row it is left alone for a while and then tried with one delivery at a time until one
is heard. So what hangs, fails or asks to wait costs nobody else anything. The fuller the process,
the fewer places one endpoint may hold of it: some always stay free for the others.
"""

import math
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from uuid import UUID

from app.storage.deliveries import DueDelivery

FAILURES_IN_A_ROW = 5
"""After so many the breaker opens."""
_FIRST_HOLD_SECONDS = 1.0
_LONGEST_HOLD_SECONDS = 60.0
_PART_OF_WHAT_IS_FREE = 8
_QUEUED_A_PLACE = 15
"""How many may wait in memory for each place."""
_MOST_LINES = 65_536
_TIDY_EVERY = 4096


@dataclass(slots=True)
class Line:
    """One endpoint's state. `held_until` in monotonic seconds."""

    trying: int = 0
    reserved: int = 0
    failures: int = 0
    held_until: float = -math.inf
    rate_per_second: float | None = None
    tokens: float = 0.0
    counted_at: float = -math.inf
    crowded: bool = False
    """Deliveries wait for it in the table: newer ones queue up behind them."""
    queue: deque[tuple[DueDelivery, float]] = field(
        default_factory=deque[tuple[DueDelivery, float]]
    )
    """What was handed over and has no place yet, with the moment that it waits until."""

    @property
    def held(self) -> int:
        """Places in use or promised."""
        return self.trying + self.reserved

    def is_open(self, now: float) -> bool:
        """Whether anything may be sent at all."""
        return now >= self.held_until and self.tokens_at(now) >= 1

    def tokens_at(self, now: float) -> float:
        """How many may be sent by the rate; never more than a second's worth, or one."""
        rate = self.rate_per_second
        if rate is None:
            return math.inf
        return min(self.tokens + rate * (now - self.counted_at), max(rate, 1.0))

    def keep_to(self, rate_per_second: float | None, now: float) -> None:
        """Take up the endpoint's rate as it is now."""
        if rate_per_second == self.rate_per_second:
            return
        started = self.rate_per_second is None
        self.tokens = max(rate_per_second or 0.0, 1.0) if started else self.tokens_at(now)
        self.counted_at = now
        self.rate_per_second = rate_per_second

    def spend(self, now: float) -> None:
        """One is sent, or is going to be."""
        if self.rate_per_second is not None:
            self.tokens = self.tokens_at(now) - 1
            self.counted_at = now

    def is_at_rest(self, now: float) -> bool:
        """Whether forgetting it changes nothing."""
        idle = not (self.held or self.failures or self.crowded or now < self.held_until)
        return idle and (self.rate_per_second is None or self._is_full(now))

    def _is_full(self, now: float) -> bool:
        return self.tokens_at(now) >= max(self.rate_per_second or 0.0, 1.0)


class Lines:
    """The lines of all endpoints that something is known of. For the event loop only."""

    def __init__(
        self,
        most_at_once: int,
        most_in_all: int,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._most_at_once = most_at_once
        self._most_in_all = most_in_all
        self._monotonic = monotonic
        self._lines: dict[UUID, Line] = {}
        self.trying = 0
        self._tidy_at = _TIDY_EVERY

    def __len__(self) -> int:
        return len(self._lines)

    @property
    def open_breakers(self) -> int:
        """How many endpoints are left alone, or tried one at a time."""
        return sum(line.failures >= FAILURES_IN_A_ROW for line in self._lines.values())

    def of(self, endpoint_id: UUID) -> Line:
        """The endpoint's line, made where there is none."""
        line = self._lines.get(endpoint_id)
        if line is None:
            if len(self._lines) >= self._tidy_at:
                self._tidy()
            line = self._lines[endpoint_id] = Line()
        return line

    def most(self, line: Line | None = None) -> int:
        """How many tries may be under way to one endpoint now."""
        if line is not None and line.failures >= FAILURES_IN_A_ROW:
            return 1
        free = self._most_in_all - self.trying
        return max(1, min(self._most_at_once, free // _PART_OF_WHAT_IS_FREE))

    def has_place(self, line: Line) -> bool:
        """Whether a try may begin now that was promised before."""
        now = self._monotonic()
        return now >= line.held_until and line.trying < self.most(line)

    def has_room(self, line: Line, rate_per_second: float | None) -> bool:
        """Whether one more may be promised, to be sent at once or from the queue in memory."""
        now = self._monotonic()
        line.keep_to(rate_per_second, now)
        if line.crowded or line.failures >= FAILURES_IN_A_ROW or not line.is_open(now):
            return False
        return line.held < self.most(line) * (1 + _QUEUED_A_PLACE)

    def promise(self, line: Line) -> None:
        """Keep a place, or a place in the queue."""
        line.reserved += 1
        line.spend(self._monotonic())

    def begin_promised(self, line: Line) -> None:
        """What was promised is tried now."""
        line.reserved -= 1
        self._begin(line)

    def begin(self, line: Line, rate_per_second: float | None) -> None:
        """A delivery claimed from the table is tried now."""
        now = self._monotonic()
        line.keep_to(rate_per_second, now)
        line.spend(now)
        self._begin(line)

    def end(self, line: Line) -> None:
        """A try is over."""
        line.trying -= 1
        self.trying -= 1

    def forget(self, endpoint_id: UUID) -> None:
        """Drop a line that is at rest."""
        line = self._lines.get(endpoint_id)
        if line is not None and line.is_at_rest(self._monotonic()):
            del self._lines[endpoint_id]

    def places(self) -> dict[UUID, int]:
        """How many may be claimed of each endpoint that is not as any other."""
        now = self._monotonic()
        return {endpoint_id: self._room(line, now) for endpoint_id, line in self._lines.items()}

    def crowded(self) -> dict[UUID, Line]:
        """Endpoints that deliveries wait for in the table."""
        return {endpoint_id: line for endpoint_id, line in self._lines.items() if line.crowded}

    def heard(self, endpoint_id: UUID) -> None:
        """A delivery was heard: the breaker closes."""
        line = self._lines.get(endpoint_id)
        if line is not None:
            line.failures = 0
            line.held_until = -math.inf

    def failed(self, endpoint_id: UUID) -> None:
        """A try failed. The more failed in a row the longer the endpoint is left alone."""
        line = self.of(endpoint_id)
        if self._monotonic() < line.held_until:
            # It was under way already: of an outage that is known, this tells nothing new.
            return
        line.failures += 1
        beyond = line.failures - FAILURES_IN_A_ROW
        if beyond >= 0:
            # Bounded, for a float knows no power this large.
            seconds = _FIRST_HOLD_SECONDS * 2 ** min(beyond, 10)
            self.hold(endpoint_id, min(seconds, _LONGEST_HOLD_SECONDS))

    def hold(self, endpoint_id: UUID, seconds: float) -> None:
        """Send nothing there for so long."""
        line = self.of(endpoint_id)
        line.held_until = max(line.held_until, self._monotonic() + seconds)

    def _begin(self, line: Line) -> None:
        line.trying += 1
        self.trying += 1

    def _room(self, line: Line, now: float) -> int:
        if not line.is_open(now):
            return 0
        return int(min(self.most(line) - line.held, line.tokens_at(now)))

    def _tidy(self) -> None:
        """Forget what is at rest; beyond all bounds, what holds no place, the oldest first."""
        now = self._monotonic()
        self._lines = {key: line for key, line in self._lines.items() if not line.is_at_rest(now)}
        beyond = len(self._lines) - _MOST_LINES // 2
        if beyond > 0:
            idle = [key for key, line in self._lines.items() if not line.held]
            for key in idle[:beyond]:
                del self._lines[key]
        self._tidy_at = len(self._lines) + _TIDY_EVERY
