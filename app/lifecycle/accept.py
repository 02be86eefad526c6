"""Accept: one commit holds the order, its reference, its fingerprint and the reserved money.

Only after that commit is a caller told that its order is accepted. Orders are accepted in batches,
a batch in one statement. Where this process can buy at once, the same commit claims the purchase.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from operator import itemgetter
from uuid import UUID

from app.errors import JalurError, Overloaded
from app.lifecycle.execute import Executor, Intention
from app.metrics import Metrics
from app.storage import acceptance
from app.storage.acceptance import Candidate, Raced, Verdict
from app.storage.batches import BatchLimits, LanedBatcher
from app.storage.hints import Hints, Topic
from app.storage.orders import NewOrder
from app.storage.pool import Connection, Pool
from routing.table import Route

_RACES = 5


@dataclass(frozen=True, slots=True)
class Submission:
    """An order to accept and the dealer that was chosen for it."""

    order: NewOrder
    dealer_id: str
    route: Route | None = None
    """The dealer's route; without it, the first purchase waits in the table for a claim."""
    tier: str = "standard"
    """The reseller's, whose margin the purchase keeps."""
    test: bool = False
    """Whether it is of the test side."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """The order stands and its money is reserved; `claimed`: its first purchase as well."""

    order_id: UUID
    claimed: bool = False


@dataclass(frozen=True, slots=True)
class Replayed:
    """The reference was used before with the same content: this is that order."""

    order_id: UUID


class ReferenceTaken(JalurError):
    """The reference was used before with another content."""


class OutOfFunds(JalurError):
    """The wallet and its credit do not cover the price. `available` in rupiah, credit included."""

    def __init__(self, available: int) -> None:
        super().__init__(f"{available} rupiah are available")
        self.available = available


class NumberBusy(JalurError):
    """The reseller has an open order for this number and product. `order_id` is that order's."""

    def __init__(self, order_id: UUID) -> None:
        super().__init__(f"the order {order_id} is open")
        self.order_id = order_id


Refused = ReferenceTaken | OutOfFunds | NumberBusy
Outcome = Accepted | Replayed | Refused


@dataclass(eq=False, slots=True)
class _Arrival:
    """A submission in the queue, and the claim of its first purchase once its batch is formed."""

    submission: Submission
    intention: Intention | None = None

    @property
    def lane(self) -> int:
        return self.submission.order.lane

    def candidate(self, executor: Executor | None) -> Candidate:
        """The order as it is accepted now: with its first purchase, where that can be made here.

        Only now is the dealer's place taken, so that none is held by an order that still waits.
        """
        order, route, test = self.submission.order, self.submission.route, self.submission.test
        if self.intention is None and executor is not None and route is not None:
            self.intention = executor.intend(order, route, self.submission.tier, test=test)
        claimed = self.intention.attempt if self.intention else None
        return Candidate(order, self.submission.dealer_id, claimed)

    def conclude(self, executor: Executor, future: "asyncio.Future[Outcome]") -> None:
        """Buy what is claimed for certain; whatever else became of it, give the place back."""
        if self.intention is None:
            return
        failed = future.cancelled() or future.exception() is not None
        outcome = None if failed else future.result()
        if isinstance(outcome, Accepted) and outcome.claimed:
            executor.begin(self.intention)
        else:
            executor.abandon(self.intention)


class Acceptor:
    """Accepts orders in batches, one flusher a lane group."""

    def __init__(
        self,
        pool: Pool,
        lane_groups: Sequence[Sequence[int]],
        hints: Hints,
        metrics: Metrics,
        limits: BatchLimits | None = None,
        executor: Executor | None = None,
    ) -> None:
        self._pool = pool
        self._hints = hints
        self._metrics = metrics
        self._executor = executor
        self.batches: LanedBatcher[_Arrival, Outcome] = LanedBatcher(
            self._apply, lambda arrival: arrival.lane, lane_groups, limits
        )

    async def accept(self, submission: Submission) -> Accepted | Replayed:
        """Accept an order, or find the one that its reference stands for.

        Raises ReferenceTaken, OutOfFunds, NumberBusy, Overloaded, DatabaseUnavailable. After the
        last two the caller cannot know whether the order stands; the same reference again tells.
        """
        outcome = await asyncio.shield(self.submit(submission))
        if isinstance(outcome, Accepted | Replayed):
            return outcome
        raise outcome

    def submit(self, submission: Submission) -> "asyncio.Future[Outcome]":
        """As `accept`, for who goes on when the future is done. Raises Overloaded.

        The future is not to be cancelled; a refusal is its result, not its exception.
        """
        arrival = _Arrival(submission)
        future = self.batches.put(arrival)
        if self._executor is not None and submission.route is not None:
            # Not the caller's task: it may be gone by the time the order is accepted.
            future.add_done_callback(partial(arrival.conclude, self._executor))
        return future

    async def _apply(self, batch: list[_Arrival]) -> list[Outcome]:
        """Decide every order of a batch; each round is one statement and one commit.

        Further rounds are for those that one could not decide: an order refused behind a larger
        refused one, a repetition of a reference that turned out to hold nothing, and the orders
        behind the first one for a number.
        """
        outcomes: dict[int, Outcome] = {}
        async with self._pool.acquire() as connection:
            waiting = list(enumerate([each.candidate(self._executor) for each in batch]))
            while waiting:
                firsts, repeats = _split_by_reference(waiting)
                leaders, twins = _split_by_number(firsts)
                verdicts = await self._accept(connection, [placed[1] for placed in leaders])
                again = _decide(leaders, verdicts, outcomes)
                again += _follow(repeats, firsts, outcomes)
                waiting = sorted(again + _bar(twins, outcomes), key=_position)
        if any(isinstance(each, Accepted) and not each.claimed for each in outcomes.values()):
            self._hints.tell([Topic.READY])
        self._metrics.batch("accept", len(batch))
        return [outcomes[position] for position in range(len(batch))]

    async def _accept(
        self, connection: Connection, candidates: Sequence[Candidate]
    ) -> list[Verdict]:
        """Accept in one statement, again where another process was quicker."""
        lease = self._executor.lease if self._executor else timedelta(0)
        for _ in range(_RACES):
            try:
                return await acceptance.accept(connection, candidates, lease)
            except Raced:
                continue
        raise Overloaded("references and numbers are taken by other processes all the time")


Placed = tuple[int, Candidate]
"""A candidate with its place in the batch."""

_position = itemgetter(0)


def _reference(candidate: Candidate) -> tuple[UUID, str]:
    return candidate.order.reseller_id, candidate.order.ref_id


def _split_by_reference(waiting: Sequence[Placed]) -> tuple[list[Placed], list[Placed]]:
    """The first candidate of each reference, and those that repeat it."""
    leaders: dict[tuple[UUID, str], Placed] = {}
    followers = [
        placed
        for placed in waiting
        if leaders.setdefault(_reference(placed[1]), placed) is not placed
    ]
    return list(leaders.values()), followers


def _split_by_number(
    waiting: Sequence[Placed],
) -> tuple[list[Placed], list[tuple[Placed, Placed]]]:
    """The first candidate for each number and product that only one order may be open for; and
    the others, each with that first one. Those that are barred, or may repeat, stand for
    themselves."""
    first: dict[tuple[UUID, str, str], Placed] = {}
    leaders: list[Placed] = []
    twins: list[tuple[Placed, Placed]] = []
    for placed in waiting:
        candidate, order = placed[1], placed[1].order
        if order.may_repeat or candidate.barred:
            leaders.append(placed)
            continue
        leader = first.setdefault((order.reseller_id, order.customer_number, order.sku), placed)
        if leader is placed:
            leaders.append(placed)
        else:
            twins.append((placed, leader))
    return leaders, twins


def _bar(twins: Sequence[tuple[Placed, Placed]], outcomes: dict[int, Outcome]) -> list[Placed]:
    """The orders behind the first one for a number, of which the next round looks up the references
    only. What that first one's outcome makes of them is noted, and stands unless one is held."""
    for (position, candidate), (leader_position, leader) in twins:
        outcome = outcomes.get(leader_position)
        if isinstance(outcome, Accepted):
            outcomes[position] = NumberBusy(leader.order.order_id)
        elif isinstance(outcome, NumberBusy) or (
            isinstance(outcome, OutOfFunds) and leader.order.price <= candidate.order.price
        ):
            outcomes[position] = outcome
    return [(position, replace(candidate, barred=True)) for (position, candidate), _ in twins]


def _decide(
    leaders: Sequence[Placed], verdicts: Sequence[Verdict], outcomes: dict[int, Outcome]
) -> list[Placed]:
    """Note what is decided; return what was refused behind another although it could be paid.

    The first refused one of a wallet is refused for good, so every round decides something. One
    that was barred without need is free in the next.
    """
    again: list[Placed] = []
    refused: set[UUID] = set()
    for placed, verdict in zip(leaders, verdicts, strict=True):
        position, candidate = placed
        order = candidate.order
        if verdict.held_by is not None and verdict.fingerprint is not None:
            outcomes[position] = _held(
                order, verdict.held_by, verdict.fingerprint, claimed=verdict.claimed
            )
        elif verdict.admitted:
            outcomes[position] = Accepted(order.order_id, verdict.claimed)
        elif candidate.barred:
            if position not in outcomes:
                again.append((position, replace(candidate, barred=False)))
        elif verdict.busy_with is not None:
            outcomes[position] = NumberBusy(verdict.busy_with)
        elif order.reseller_id in refused and order.price <= (verdict.left or 0):
            again.append(placed)
        else:
            refused.add(order.reseller_id)
            outcomes[position] = OutOfFunds(verdict.left or 0)
    return again


def _follow(
    followers: Sequence[Placed], leaders: Sequence[Placed], outcomes: dict[int, Outcome]
) -> list[Placed]:
    """Answer repetitions from their leader's order; return those whose leader holds nothing yet."""
    led = {_reference(candidate): (position, candidate) for position, candidate in leaders}
    again: list[Placed] = []
    for placed in followers:
        position, candidate = placed
        leader_position, leader = led[_reference(candidate)]
        if isinstance(outcomes.get(leader_position), Accepted):
            outcomes[position] = _held(
                candidate.order, leader.order.order_id, leader.order.fingerprint
            )
        else:
            again.append(placed)
    return again


def _held(
    order: NewOrder, holder_id: UUID, fingerprint: bytes, *, claimed: bool = False
) -> Outcome:
    """The reference is held: by this very order (a commit in doubt), by its twin, by another."""
    if holder_id == order.order_id:
        return Accepted(order.order_id, claimed)
    if fingerprint == order.fingerprint:
        return Replayed(holder_id)
    return ReferenceTaken(f"the reference {order.ref_id} was used for another order")
