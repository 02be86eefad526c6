"""Intake: whether an order may come in now, decided before its body is read.

What is accepted must be finished, so no more is accepted than this process finishes. It looks at
its own queues twenty times a second. While orders wait in them too long, only so many are let in as
the slowest queue passes on, a little fewer the longer they wait. It is the age of the queues that
counts: a burst that is worked off at once may be as deep as it likes. Whoever asks for more than an
equal part is refused first.
"""

import asyncio
import math
import random
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from statistics import median
from typing import Literal
from uuid import UUID

from app.metrics import Metrics
from app.storage.batches import Queue

Reason = Literal["queues", "backlog"]

LOOK_SECONDS = 0.05
_STANDING_SECONDS = 0.2
"""A wait stands when all looks of so long find it."""
_INTERVAL_SECONDS = 0.25
"""Over so long it is counted who asks for how much."""
_LEAST_LOOKS = 2
_ROUNDING = 1e-6
_MOST_SAMPLES = 256
"""Orders of one look whose time to acceptance is kept."""
_PACE_LOOKS = 20
"""Over how many looks, at most, a queue's pace is taken."""
_LEAST_PART = 0.3
"""What is let in, at the least, of what the slowest queue passes on."""
_AIM, _STEEPNESS = 0.25, 0.5
"""While orders are shed, waits are brought to this part of the target: as many are let in there as
the slowest queue passes on, and so much more or less of them for each target's difference."""
_NO_WAIT = 0.05
"""Of the target: whoever waits less waits for nothing."""
_HOLD_SECONDS, _LONGEST_HOLD_SECONDS = 4.0, 16.0
"""For so long orders are shed while any are refused; twice as long where that was too short."""
_AGAIN_SECONDS = 2.0
"""Who has to shed again so soon gave up too early."""
_TOO_MANY = 1.25
"""Of what is passed on: where more comes as soon as all are let in, not all would fit."""
_BACKLOG_SECONDS = 5
_LONGEST_RETRY_SECONDS = 5
_LOOP = "loop"
"""How late the event loop is: what it has not looked at yet waits as well."""


@dataclass(frozen=True, slots=True)
class IntakeLimits:
    """How long orders may wait here, and how many for dealers."""

    backlog_orders: int = 100_000
    """Orders waiting for a dealer beyond which new ones are refused."""
    target_seconds: float = 0.5
    """Waits up to here, in all queues together, refuse nobody."""


class Demand:
    """Who asked for how much in the last interval and in this one, which bounds its size."""

    def __init__(self) -> None:
        # By the ids' numbers: to hash an id takes as long as all the rest of a count.
        self._now: dict[int, int] = {}
        self._before: dict[int, int] = {}
        self._sizes: list[int] = []
        self._let_in: list[int] = []
        """What is let in of all together when nobody gets more than the size of the same place."""
        self._asked = 0
        self.begun = 0.0
        """When the interval began."""
        self.a_second = 0.0
        """Orders of all together, in the last interval."""

    def count(self, reseller_id: UUID) -> int:
        """A reseller asked for one order more: the larger of what it asked for in the last interval
        and in this one."""
        number = reseller_id.int
        asked = self._now[number] = self._now.get(number, 0) + 1
        self._asked += 1
        return max(asked, self._before.get(number, 0))

    def turn(self, now: float) -> None:
        """Begin a new interval at this moment, in seconds of any clock that only goes on."""
        self._before, self._now = self._now, {}
        self.a_second = self.lately(now)
        self.begun, self._asked = now, 0
        self._sizes = sorted(self._before.values())
        count = len(self._sizes)
        below = accumulate(self._sizes, initial=0)
        self._let_in = [
            smaller + (count - place) * size
            for place, (size, smaller) in enumerate(zip(self._sizes, below, strict=False))
        ]

    def lately(self, now: float) -> float:
        """Orders a second of all together, in this interval until now."""
        return self._asked / max(now - self.begun, LOOK_SECONDS)

    def level(self, ratio: float) -> float:
        """The equal part: how much each may have for this ratio of all to be let in, when what
        some do not need goes to the others."""
        if ratio >= 1 or not self._sizes:
            return math.inf
        wanted = ratio * self._let_in[-1]
        place = bisect_left(self._let_in, wanted)
        size = self._sizes[place]
        return size - (self._let_in[place] - wanted) / (len(self._sizes) - place)


@dataclass(frozen=True, slots=True)
class _Look:
    """What one look found."""

    at: float
    queues: Sequence[Queue]
    waited: float
    """In all queues together, in seconds."""


class Intake:
    """One process's door for new orders. For the event loop only."""

    def __init__(
        self,
        limits: IntakeLimits,
        metrics: Metrics,
        queues: Callable[[], Sequence[Queue]],
        backlog: Callable[[], int],
        fraction: Callable[[], float] = random.random,
    ) -> None:
        """`queues`: the process's own, always the same ones, of which the first is that of
        accepting. `backlog`: how many accepted orders wait for a dealer. `fraction` is random in
        [0, 1)."""
        self._limits = limits
        self._metrics = metrics
        self._queues = queues
        self._backlog = backlog
        self._fraction = fraction
        self._demand = Demand()
        self._took: list[float] = []
        self._looks: deque[_Look] = deque(maxlen=_PACE_LOOKS)
        self._watches = False
        """Whether it is near enough to count who asks."""
        self._watched_since = 0.0
        self._late = False
        self._late_until = -math.inf
        """Until when orders are shed at the least; once that is over, when it ended."""
        self._hold_seconds = 0.0
        self._level = self._fair = math.inf
        self.ratio = 1.0
        """How much of what is asked for is let in."""
        self.sheds = False
        """Whether anybody may be refused now."""

    def refusal(self, reseller_id: UUID) -> Reason | None:
        """Why an order of this reseller is not let in now; None: it is. Call it once an order."""
        if self._backlog() >= self._limits.backlog_orders:
            return self._refused("backlog")
        if not self._watches:
            return None
        asked = self._demand.count(reseller_id)
        if not self._late:
            return None
        if asked > self._fair and self._fraction() * asked >= self._level:
            return self._refused("queues")
        return None

    def took(self, seconds: float) -> None:
        """An order that was let in was dealt with in so long, without the coming of its body."""
        if len(self._took) < _MOST_SAMPLES:
            self._took.append(seconds)

    def retry_after_seconds(self, reason: Reason) -> int:
        """When to come again: the later, the fewer are let in, and not all in the same second."""
        if reason == "backlog":
            return _BACKLOG_SECONDS
        longest = min(_LONGEST_RETRY_SECONDS, 1 / max(self.ratio, 1 / _LONGEST_RETRY_SECONDS))
        return 1 + int(self._fraction() * longest)

    async def run(self) -> None:
        """Look until cancelled."""
        clock = asyncio.get_running_loop().time
        while True:
            wakes_at = clock() + LOOK_SECONDS
            await asyncio.sleep(LOOK_SECONDS)
            now = clock()
            self.look(now, max(now - wakes_at, 0.0))

    def look(self, now: float, lag_seconds: float) -> None:
        """Look at the queues, and how late the event loop came to do so."""
        seen = self._seen(lag_seconds)
        self._looks.append(_Look(now, seen, sum(each.age_seconds for each in seen)))
        waits = self._standing(now)
        self._judge(waits, now)
        self._watch(now)
        passed_on = self._pace() / max(self._demand.a_second, 1.0) if self._late else 1.0
        self.ratio = min(1.0, self._part(min(waits)) * passed_on) if self._late else 1.0
        self._level = self._demand.level(self.ratio)
        # Who asks for no more than an equal part of what is passed on is not why there are waits.
        self._fair = self._demand.level(passed_on)
        is_full = self._backlog() >= self._limits.backlog_orders
        self.sheds = is_full or self._late
        ages = {each.name: each.age_seconds for each in seen}
        self._metrics.intake(ages, 0.0 if is_full else self.ratio)

    def _seen(self, lag_seconds: float) -> Sequence[Queue]:
        """The queues, with what is in none: callers wait for keys, rates and connections too."""
        took = median(self._took) if self._took else 0.0
        self._took.clear()
        accept, *others = self._queues()
        return (
            Queue(_LOOP, lag_seconds, accept.served),
            replace(accept, age_seconds=max(accept.age_seconds, took)),
            *others,
        )

    def _standing(self, now: float) -> Sequence[float]:
        """The waits that the last looks found, of at least two where there were so many."""
        earliest = now - _STANDING_SECONDS
        recent = _waits(look for look in self._looks if look.at >= earliest - _ROUNDING)
        return recent if len(recent) >= _LEAST_LOOKS else _waits(self._looks)[-_LEAST_LOOKS:]

    def _judge(self, waits: Sequence[float], now: float) -> None:
        """Late from when a wait stands above the target until it is surely below half of it.

        Whoever is refused may ask again at once, so what is asked for does not tell when all would
        fit: after a while it is tried. Where that was too early, half of the target is enough to be
        late again, and for longer; so is any wait while more comes than is passed on, since nobody
        is refused now who would ask again.
        """
        target = self._limits.target_seconds
        if self._late:
            holds = now < self._late_until and self.ratio < 1
            self._late = max(waits) > target * (_NO_WAIT if holds else 0.5)
            self._late_until = max(now, self._late_until)
            if not self._late:
                self._demand.turn(now)
            return
        again = self._has_just_shed(now)
        has_looked = now - self._looks[0].at >= _STANDING_SECONDS - _ROUNDING
        self._late = has_looked and min(waits) > (target / 2 if again else target)
        self._late |= again and min(waits) > target * _AIM and self._too_many_come(now)
        if self._late:
            longer = min(2 * self._hold_seconds, _LONGEST_HOLD_SECONDS)
            self._hold_seconds = longer if again else _HOLD_SECONDS
            self._late_until = now + self._hold_seconds

    def _has_just_shed(self, now: float) -> bool:
        return now - self._late_until < _AGAIN_SECONDS

    def _too_many_come(self, now: float) -> bool:
        """Whether in this interval clearly more came than is passed on."""
        has_seen = now - self._demand.begun >= _LEAST_LOOKS * LOOK_SECONDS - _ROUNDING
        return has_seen and self._demand.lately(now) > _TOO_MANY * self._pace()

    def _watch(self, now: float) -> None:
        """Count who asks while it may come to refusing, an interval after the other."""
        waits = self._looks[-1].waited > self._limits.target_seconds / 2
        watches = self._late or waits or self._has_just_shed(now)
        changes = watches != self._watches
        if changes:
            self._watches, self._watched_since = watches, now
        if changes or now - self._demand.begun >= _INTERVAL_SECONDS - _ROUNDING:
            self._demand.turn(now)

    def _part(self, waited: float) -> float:
        """What is to be let in, of what the slowest queue passes on."""
        over = waited / self._limits.target_seconds - _AIM
        return max(_LEAST_PART, 1 - over * _STEEPNESS)

    def _pace(self) -> float:
        """How many a second the queue passes on that is waited in longest.

        Before it was watched fewer came, and what was passed on then says little of what can be;
        but one batch may take longer than it is watched.
        """
        looks = list(self._looks)
        ages = [sum(each) for each in zip(*map(_ages, looks), strict=True)]
        slowest = ages.index(max(ages))
        watched = [look for look in looks if look.at >= self._watched_since]
        return max(_pace(looks, slowest), _pace(watched, slowest))

    def _refused(self, reason: Reason) -> Reason:
        self._metrics.order_shed(reason)
        return reason


def _ages(look: _Look) -> list[float]:
    return [queue.age_seconds for queue in look.queues]


def _waits(looks: Iterable[_Look]) -> list[float]:
    return [look.waited for look in looks]


def _pace(looks: Sequence[_Look], place: int) -> float:
    """How many a second the queue at this place passed on from the first look to the last."""
    first, last = looks[0], looks[-1]
    served = last.queues[place].served - first.queues[place].served
    return served / max(last.at - first.at, LOOK_SECONDS)
