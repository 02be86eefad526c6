"""Accept: one commit holds the order, its reference, its fingerprint and the reserved money.

Only after that commit is a caller told that its order is accepted. Orders are accepted in batches,
a batch in one statement.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from app.errors import JalurError, Overloaded
from app.metrics import Metrics
from app.storage import acceptance
from app.storage.acceptance import ReferenceRaced, Verdict
from app.storage.batches import BatchLimits, LanedBatcher
from app.storage.hints import Hints, Topic
from app.storage.orders import NewOrder
from app.storage.pool import Connection, Pool

_RACES = 5


@dataclass(frozen=True, slots=True)
class Submission:
    """An order to accept and the dealer that was chosen for it."""

    order: NewOrder
    dealer_id: str


@dataclass(frozen=True, slots=True)
class Accepted:
    """The order stands and its money is reserved."""

    order_id: UUID


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


Outcome = Accepted | Replayed | ReferenceTaken | OutOfFunds


class Acceptor:
    """Accepts orders in batches, one flusher a lane group."""

    def __init__(
        self,
        pool: Pool,
        lane_groups: Sequence[Sequence[int]],
        hints: Hints,
        metrics: Metrics,
        limits: BatchLimits | None = None,
    ) -> None:
        self._pool = pool
        self._hints = hints
        self._metrics = metrics
        self.batches: LanedBatcher[Submission, Outcome] = LanedBatcher(
            self._apply, lambda submission: submission.order.lane, lane_groups, limits
        )

    async def accept(self, submission: Submission) -> Accepted | Replayed:
        """Accept an order, or find the one that its reference stands for.

        Raises ReferenceTaken, OutOfFunds, Overloaded, DatabaseUnavailable. After the last two the
        caller cannot know whether the order stands; the same reference again tells.
        """
        outcome = await self.batches.submit(submission)
        if isinstance(outcome, Accepted | Replayed):
            return outcome
        raise outcome

    async def _apply(self, batch: list[Submission]) -> list[Outcome]:
        """Decide every order of a batch; each round is one statement and one commit.

        A second round is for those that a first one could not decide: an order refused behind a
        larger refused one, and a repetition of a reference that turned out to hold nothing.
        """
        outcomes: dict[int, Outcome] = {}
        waiting = list(enumerate(batch))
        async with self._pool.acquire() as connection:
            while waiting:
                leaders, followers = _split_by_reference(waiting)
                verdicts = await _accept(connection, [placed[1] for placed in leaders])
                again = _decide(leaders, verdicts, outcomes)
                waiting = sorted(again + _follow(followers, leaders, outcomes))
        if any(isinstance(outcome, Accepted) for outcome in outcomes.values()):
            self._hints.tell([Topic.READY])
        self._metrics.batch("accept", len(batch))
        return [outcomes[position] for position in range(len(batch))]


async def _accept(connection: Connection, submissions: Sequence[Submission]) -> list[Verdict]:
    """Accept in one statement, again where another process was quicker with a reference."""
    chosen = [submission.dealer_id for submission in submissions]
    for _ in range(_RACES):
        try:
            return await acceptance.accept(
                connection, [submission.order for submission in submissions], chosen
            )
        except ReferenceRaced:
            continue
    raise Overloaded("references are taken by other processes all the time")


Placed = tuple[int, Submission]
"""A submission with its place in the batch."""


def _reference(submission: Submission) -> tuple[UUID, str]:
    return submission.order.reseller_id, submission.order.ref_id


def _split_by_reference(waiting: Sequence[Placed]) -> tuple[list[Placed], list[Placed]]:
    """The first submission of each reference, and those that repeat it."""
    leaders: dict[tuple[UUID, str], Placed] = {}
    followers = [
        placed
        for placed in waiting
        if leaders.setdefault(_reference(placed[1]), placed) is not placed
    ]
    return list(leaders.values()), followers


def _decide(
    leaders: Sequence[Placed], verdicts: Sequence[Verdict], outcomes: dict[int, Outcome]
) -> list[Placed]:
    """Note what is decided; return what was refused behind another although it could be paid.

    The first refused one of a wallet is refused for good, so every round decides something.
    """
    again: list[Placed] = []
    refused: set[UUID] = set()
    for placed, verdict in zip(leaders, verdicts, strict=True):
        position, submission = placed
        order = submission.order
        if verdict.held_by is not None and verdict.fingerprint is not None:
            outcomes[position] = _held(order, verdict.held_by, verdict.fingerprint)
        elif verdict.admitted:
            outcomes[position] = Accepted(order.order_id)
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
    led = {_reference(submission): (position, submission) for position, submission in leaders}
    again: list[Placed] = []
    for placed in followers:
        position, submission = placed
        leader_position, leader = led[_reference(submission)]
        if isinstance(outcomes.get(leader_position), Accepted):
            outcomes[position] = _held(
                submission.order, leader.order.order_id, leader.order.fingerprint
            )
        else:
            again.append(placed)
    return again


def _held(order: NewOrder, holder_id: UUID, fingerprint: bytes) -> Outcome:
    """The reference is held: by this very order (a commit in doubt), by its twin, by another."""
    if holder_id == order.order_id:
        return Accepted(order.order_id)
    if fingerprint == order.fingerprint:
        return Replayed(holder_id)
    return ReferenceTaken(f"the reference {order.ref_id} was used for another order")
