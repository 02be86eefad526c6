"""Admit: how much may be sent to each dealer now, by its limits and by this process's part of them.

A place and, where the dealer has a rate, a token are taken before anything is claimed, so what is
claimed never waits. Purchases and questions draw on the same places and tokens and take turns where
both want the last one: three purchases, then a question.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from enum import StrEnum

from app.lifecycle.trade import DealerAccess
from app.metrics import Metrics
from routing.division import NOTHING, Part, whole
from routing.pacing import AdaptiveLimit, Pace, TokenBucket

_KEPT_FOR_WAITING = 4
"""One in so many places is for orders that wait in the table."""
_MOST_QUESTIONS = 16
"""How many questions may be on their way to one dealer, however many places it has."""
_PURCHASES_A_QUESTION = 3
_TURNED_AWAY_SECONDS = 1.0
"""So long after it found no room a kind may have work that waits."""
_KNOWN_SECONDS = 2.0
"""So long after a look that found all there was, nothing is kept for that kind."""
_LOOK_SECONDS = 0.05
_OVERLOADED = frozenset({429, 503})
"""Answers by which a dealer says that it is asked too much."""
_SERVER_ERROR = 500


class Kind(StrEnum):
    """What a call is for. Each kind has its own connections: neither crowds out the other."""

    PURCHASE = "purchase"
    QUESTION = "question"
    LOG_IN = "log_in"
    """Made in the place of whoever waits for it."""

    @property
    def other(self) -> "Kind":
        """The kind that it takes turns with."""
        return Kind.QUESTION if self is Kind.PURCHASE else Kind.PURCHASE


class Gate:
    """One dealer's places and tokens in this process."""

    def __init__(self, now: float) -> None:
        self.limit = AdaptiveLimit(0)
        self.bucket: TokenBucket | None = None
        self.part = NOTHING
        self.held = dict.fromkeys(Kind, 0)
        self.looking = 0
        """Places that a look for waiting orders holds until it knows what there is."""
        self.hungry = dict.fromkeys(Kind, False)
        """Whether as much was found as there was room for: more may wait."""
        self._found_all_at = dict.fromkeys(Kind, now - _KNOWN_SECONDS)
        self._turned_away_at = dict.fromkeys(Kind, now - _TURNED_AWAY_SECONDS)
        self._purchases_in_a_row = 0

    @property
    def in_use(self) -> int:
        """How many places are taken."""
        return self.held[Kind.PURCHASE] + self.held[Kind.QUESTION]

    def bound(self, part: Part, requests_per_second: float | None, units: int, now: float) -> None:
        """Keep to this part of the dealer's limits; `units` is that of all processes."""
        self.part = part
        self.limit.bound(part.places)
        if requests_per_second is None:
            self.bucket = None
        else:
            self.bucket = self.bucket or TokenBucket(now)
            self.bucket.allow(requests_per_second * part.units / units, part.units, now)

    def room(self, kind: Kind, now: float) -> int:
        """How many acts of a kind may be claimed now."""
        free = self._room(kind, now)
        if free == 0:
            self._turned_away_at[kind] = now
        return free

    def kept(self, now: float) -> int:
        """How much of the room is for orders that wait in the table."""
        return max(1, self.most(now) // _KEPT_FOR_WAITING)

    def most(self, now: float) -> int:
        """How much of it there can be at once."""
        most = self.limit.places(now)
        return most if self.bucket is None else min(most, self.part.units)

    def has_room_at_once(self, now: float) -> bool:
        """Whether there is room beside what is kept, or held already, for orders that wait."""
        return self.room(Kind.PURCHASE, now) > max(0, self.kept(now) - self.looking)

    def take(self, kind: Kind, count: int) -> None:
        """Take places and tokens."""
        self.held[kind] += count
        if self.bucket is not None:
            self.bucket.take(count)
        if kind is Kind.PURCHASE:
            self._purchases_in_a_row += count
        else:
            self._purchases_in_a_row = 0

    def give_back(self, kind: Kind, count: int) -> None:
        """Give back what was taken for acts that are not made."""
        self.held[kind] -= count
        if self.bucket is not None:
            self.bucket.give_back(count)
        if kind is Kind.PURCHASE:
            self._purchases_in_a_row = max(0, self._purchases_in_a_row - count)

    def found(self, kind: Kind, offered: int, taken: int, now: float) -> None:
        """A look for work found so much of what it had room for."""
        self.hungry[kind] = taken >= offered
        if not self.hungry[kind]:
            self._found_all_at[kind] = now

    def _room(self, kind: Kind, now: float) -> int:
        places = self.limit.places(now)
        free = places - self.in_use
        if self.bucket is not None:
            free = min(free, self.bucket.tokens(now))
        most = min(_MOST_QUESTIONS, max(1, places // 2))
        # Nothing is left free for questions that could not take it.
        could = kind is Kind.QUESTION or self.held[Kind.QUESTION] < most
        if free > 0 and could and self._waits(kind.other, now):
            free = self._own_turn(kind, free)
        if kind is Kind.QUESTION:
            free = min(free, most - self.held[kind])
        return max(0, free)

    def _own_turn(self, kind: Kind, free: int) -> int:
        """A kind's part of what is free while the other kind waits as well."""
        if free == 1:
            question_next = self._purchases_in_a_row >= _PURCHASES_A_QUESTION
            return int(question_next is (kind is Kind.QUESTION))
        questions = max(1, free // (_PURCHASES_A_QUESTION + 1))
        return questions if kind is Kind.QUESTION else free - questions

    def _waits(self, kind: Kind, now: float) -> bool:
        """Whether work of a kind is known to wait, or may, since it had no room to look for it."""
        turned_away = now - self._turned_away_at[kind] < _TURNED_AWAY_SECONDS
        unknown = now - self._found_all_at[kind] >= _KNOWN_SECONDS
        return self.hungry[kind] or (turned_away and unknown)


class Admission:
    """Every dealer's gate in this process. For the event loop only."""

    def __init__(self, metrics: Metrics, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._metrics = metrics
        self._gates: dict[str, Gate] = {}
        self._parts: Mapping[str, Part] | None = None
        self._parts_until = 0.0
        self.monotonic = monotonic

    # -------------------------------------------------------------- this process's part

    def divide(self, parts: Mapping[str, Part], until_seconds: float) -> None:
        """Have these parts of the dealers' limits until a moment (CLOCK_BOOTTIME), then none.

        Before the first division all of them are this process's.
        """
        self._parts, self._parts_until = parts, until_seconds

    def narrow(self, parts: Mapping[str, Part]) -> None:
        """Have no more than these parts from now on; what was given stays within what was had."""
        had = self._parts or {}
        self._parts = {
            dealer_id: part.least(had.get(dealer_id, NOTHING)) for dealer_id, part in parts.items()
        }

    def part_of(self, access: DealerAccess) -> Part:
        """What this process may do at a dealer now."""
        all_there_is = whole_of(access)
        if self._parts is None:
            return all_there_is
        if boottime_seconds() >= self._parts_until:
            return NOTHING
        return self._parts.get(access.row.dealer_id, NOTHING).least(all_there_is)

    def has_part(self, access: DealerAccess) -> bool:
        """Whether this process may call the dealer at all, once there is room."""
        part = self.part_of(access)
        return part.places > 0 and (part.units > 0 or access.requests_per_second is None)

    # -------------------------------------------------------------- room

    def room(self, access: DealerAccess, kind: Kind) -> int:
        """How many acts of a kind may be claimed for a dealer now."""
        now = self.monotonic()
        return self._gate(access, now).room(kind, now)

    def small_room(self, access: DealerAccess, kind: Kind) -> int:
        """As `room`, but unless work is known to wait only a little of it: looking for some must
        not keep those waiting who have some."""
        now = self.monotonic()
        gate = self._gate(access, now)
        room = gate.room(kind, now)
        if gate.hungry[kind]:
            return room
        return min(room, gate.kept(now) if kind is Kind.PURCHASE else 1)

    def is_mostly_free(self, access: DealerAccess, room: int) -> bool:
        """Whether so much room is at least half of what a dealer takes at once."""
        now = self.monotonic()
        return 2 * room >= self._gate(access, now).most(now)

    def has_room_at_once(self, access: DealerAccess) -> bool:
        """Whether a new order may be bought at once, past none that waits in the table."""
        now = self.monotonic()
        gate = self._gate(access, now)
        at_once = not gate.hungry[Kind.PURCHASE] and gate.has_room_at_once(now)
        if not at_once:
            gate.hungry[Kind.PURCHASE] = True
        return at_once

    def take(self, dealer_id: str, kind: Kind, count: int = 1) -> None:
        """Take what there is room for: a place and a token each."""
        self._known(dealer_id).take(kind, count)

    def look(self, places: Mapping[str, int]) -> None:
        """Take places and tokens for purchases that may wait in the table."""
        for dealer_id, count in places.items():
            gate = self._known(dealer_id)
            gate.take(Kind.PURCHASE, count)
            gate.looking += count

    def looked(self, places: Mapping[str, int], unused: Mapping[str, int]) -> None:
        """The look is over: give back what was not used of what it took."""
        for dealer_id, count in places.items():
            gate = self._known(dealer_id)
            gate.looking -= count
            gate.give_back(Kind.PURCHASE, unused[dealer_id])

    async def turn(self, access: DealerAccess, kind: Kind, patience_seconds: float) -> bool:
        """Wait for a place and a token and take them, for what is not claimed from the table.

        Returns whether there was room in time.
        """
        deadline = self.monotonic() + patience_seconds
        while not self.room(access, kind):
            if self.monotonic() >= deadline:
                return False
            await asyncio.sleep(_LOOK_SECONDS)
        self.take(access.row.dealer_id, kind)
        return True

    def charge(self, dealer_id: str) -> None:
        """Take a token that need not be there, for a request that cannot wait: the others do."""
        bucket = self._known(dealer_id).bucket
        if bucket is not None:
            bucket.take(1)

    def give_back(self, dealer_id: str, kind: Kind, count: int = 1) -> None:
        """Give back what was taken for acts that were not claimed: nothing is sent for it."""
        self._known(dealer_id).give_back(kind, count)

    def leave(self, dealer_id: str, kind: Kind) -> None:
        """An act is over: its place is free."""
        self._known(dealer_id).held[kind] -= 1

    def found(self, dealer_id: str, kind: Kind, offered: int, taken: int) -> None:
        """Note whether a look for work found as much as there was room for."""
        self._known(dealer_id).found(kind, offered, taken, self.monotonic())

    def is_hungry(self, dealer_id: str, kind: Kind) -> bool:
        """Whether more is known to wait for the dealer."""
        gate = self._gates.get(dealer_id)
        return gate is not None and gate.hungry[kind]

    def held(self, dealer_id: str, kind: Kind) -> int:
        """How many places acts of a kind hold at a dealer."""
        gate = self._gates.get(dealer_id)
        return 0 if gate is None else gate.held[kind]

    def in_use(self, dealer_id: str) -> int:
        """How many places are taken at a dealer."""
        gate = self._gates.get(dealer_id)
        return 0 if gate is None else gate.in_use

    def seconds_to_token(self) -> float:
        """How long until a dealer that orders wait for has its next token; infinite without any."""
        now = self.monotonic()
        return min(
            (
                gate.bucket.seconds_to_next(now)
                for gate in self._gates.values()
                if gate.bucket is not None
                and gate.hungry[Kind.PURCHASE]
                and gate.in_use < gate.limit.places(now)
            ),
            default=float("inf"),
        )

    def pace(self, access: DealerAccess) -> Pace:
        """How the dealer's gate stands, for people."""
        now = self.monotonic()
        gate = self._gate(access, now)
        tokens = None if gate.bucket is None else gate.bucket.tokens(now)
        return Pace(gate.limit.places(now), gate.in_use, tokens)

    # -------------------------------------------------------------- what calls tell

    def answered(self, dealer_id: str, status: int, started: float) -> None:
        """A call begun at `started` was answered with this HTTP status."""
        if status in _OVERLOADED:
            limit = self._known(dealer_id).limit
            if limit.refused(started, self.monotonic()):
                self._metrics.dealer_limit_lowered(dealer_id, f"http-{status}")
        elif status < _SERVER_ERROR:
            gate = self._known(dealer_id)
            gate.limit.answered(self.monotonic(), gate.in_use)

    def failed(self, dealer_id: str, reason: str, started: float) -> None:
        """A call begun at `started` brought no answer, for a reason that is not ours."""
        if self._known(dealer_id).limit.failed(started, self.monotonic()):
            self._metrics.dealer_limit_lowered(dealer_id, reason)

    # -------------------------------------------------------------- gates

    def _known(self, dealer_id: str) -> Gate:
        gate = self._gates.get(dealer_id)
        if gate is None:
            gate = self._gates[dealer_id] = Gate(self.monotonic())
        return gate

    def _gate(self, access: DealerAccess, now: float) -> Gate:
        """The dealer's gate, by its limits and this process's part of them as they are now."""
        gate = self._known(access.row.dealer_id)
        units = whole_of(access).units
        gate.bound(self.part_of(access), access.requests_per_second, units, now)
        return gate


def whole_of(access: DealerAccess) -> Part:
    """A dealer's limits over all processes."""
    return whole(access.row.concurrency, access.requests_per_second)


def boottime_seconds() -> float:
    """The clock that leases are held against: monotonic, and it counts while suspended."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)
