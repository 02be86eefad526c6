"""The review queue and the disputes: what only people can decide, and their decisions."""

from dataclasses import dataclass
from uuid import UUID

from uuid_utils.compat import uuid7

from app.administration.operator import Operator, Scope
from app.errors import Conflict, FieldError, NotFound, Problem, Unprocessable
from app.lifecycle.resolve import Answer, Resolution, Resolved
from app.lifecycle.settle import Settler
from app.storage import orders, reviews
from app.storage.pool import Pool
from app.storage.reviews import Dispute, OpenReview, Standing
from app.words import Said

LONGEST_SERIAL_NUMBER = 128
LONGEST_REASON = 500


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a decision came to: the order and the attempt as they stand now."""

    order_id: UUID
    attempt_no: int
    said: Said
    decided_before: bool
    stands: Standing

    def document(self) -> dict[str, object]:
        """The outcome for JSON."""
        return {
            "order_id": str(self.order_id),
            "attempt_no": self.attempt_no,
            "word": self.said,
            "decided_before": self.decided_before,
            "order": self.stands.order_status,
            "attempt": self.stands.attempt_state,
            "delayed": self.stands.needs_review,
        }


async def list_reviews(pool: Pool, by: Operator, limit: int) -> list[OpenReview]:
    """The review queue, the oldest first."""
    by.require(Scope.READ)
    async with pool.acquire() as connection:
        return await reviews.list_open(connection, limit)


async def resolve_review(
    pool: Pool,
    settler: Settler,
    by: Operator,
    order_id: UUID,
    attempt_no: int,
    said: Said,
    reason: str,
    serial_number: str | None = None,
) -> Outcome:
    """Decide about a purchase in review; the same decision again changes nothing.

    Raises NotFound, Conflict (`not-in-review`, `review-closed`, `check-in-flight`,
    `word-does-not-fit`), Unprocessable; DatabaseUnavailable and Overloaded, after which the same
    decision again is safe.
    """
    by.require(Scope.REVIEWS)
    _check_reason(reason)
    _check_serial_number(said, serial_number)
    async with pool.acquire() as connection:
        lane = await orders.find_lane(connection, order_id)
    if lane is None:
        raise _no_attempt(order_id, attempt_no)
    resolution = Resolution(
        attempt_no, said, serial_number, by.name, by.origin, reason, audit_id=uuid7()
    )
    resolved = await settler.resolve(lane, order_id, resolution)
    if resolved.answer not in (Answer.DECIDED, Answer.DECIDED_BEFORE):
        raise _refusal(resolved, order_id, attempt_no)
    async with pool.acquire() as connection:
        stands = await reviews.standing(connection, lane, order_id, attempt_no)
    if stands is None:
        raise _no_attempt(order_id, attempt_no)
    return Outcome(order_id, attempt_no, said, resolved.answer == Answer.DECIDED_BEFORE, stands)


def _check_reason(reason: str) -> None:
    if not reason.strip() or len(reason) > LONGEST_REASON or "\0" in reason:
        raise _wrong("reason", f"Say why, in 1 to {LONGEST_REASON} characters.")


def _check_serial_number(said: Said, serial_number: str | None) -> None:
    if serial_number is None:
        return
    if said != Said.SUCCEEDED:
        raise _wrong("serial_number", "Only what succeeded has a serial number.")
    fits = 0 < len(serial_number) <= LONGEST_SERIAL_NUMBER and serial_number.isprintable()
    if not fits:
        raise _wrong("serial_number", f"Must be 1 to {LONGEST_SERIAL_NUMBER} printable characters.")


def _wrong(field: str, sentence: str) -> Unprocessable:
    return Unprocessable("invalid-request", sentence, errors=[FieldError(field, sentence)])


def _no_attempt(order_id: UUID, attempt_no: int) -> NotFound:
    return NotFound("not-found", f"There is no order {order_id} with an attempt {attempt_no}.")


def _refusal(resolved: Resolved, order_id: UUID, attempt_no: int) -> Problem:
    if resolved.answer == Answer.NOT_FOUND:
        return _no_attempt(order_id, attempt_no)
    sentences = {
        Answer.NOT_IN_REVIEW: "Nothing about this attempt was ever in review.",
        Answer.REVIEW_CLOSED: f"The review is closed already: {resolved.sentence}.",
        Answer.CHECK_IN_FLIGHT: "A purchase or a question is on its way to the dealer and may be "
        "answered any moment. Try again in some seconds.",
        Answer.WORD_DOES_NOT_FIT: f"That does not fit: {resolved.sentence}.",
    }
    return Conflict(resolved.answer, sentences[resolved.answer])


# ------------------------------------------------------------------ disputes


async def list_disputes(pool: Pool, by: Operator, limit: int) -> list[Dispute]:
    """The open disputes with dealers, the oldest first."""
    by.require(Scope.READ)
    async with pool.acquire() as connection:
        return await reviews.list_disputes(connection, limit)


async def close_dispute(
    pool: Pool, by: Operator, order_id: UUID, attempt_no: int, resolution: str, reason: str
) -> bool:
    """Close a dispute; no money moves. Returns False where it was closed just so before.

    Raises NotFound, Conflict (`dispute-closed`) where it was closed otherwise, Unprocessable.
    """
    by.require(Scope.REVIEWS)
    _check_reason(reason)
    if not resolution.strip() or len(resolution) > LONGEST_REASON or "\0" in resolution:
        raise _wrong("resolution", f"Say how it ended, in 1 to {LONGEST_REASON} characters.")
    async with pool.acquire() as connection, connection.transaction():
        lane = await orders.find_lane(connection, order_id)
        dispute = lane is not None and await reviews.lock_dispute(
            connection, lane, order_id, attempt_no
        )
        if not dispute:
            raise NotFound(
                "not-found", f"There is no dispute about order {order_id}, attempt {attempt_no}."
            )
        if dispute.closed_at is not None:
            return _closed_before(dispute, resolution)
        key = (dispute.lane, dispute.order_id, dispute.attempt_no)
        await reviews.close_disputes(connection, [key], resolution)
        await by.record(
            connection,
            "dispute.closed",
            f"order:{order_id}",
            before={"attempt_no": attempt_no, "dealer": dispute.dealer_id, "cost": dispute.cost},
            after={"attempt_no": attempt_no, "resolution": resolution},
            reason=reason,
        )
    return True


def _closed_before(dispute: Dispute, resolution: str) -> bool:
    if dispute.resolution != resolution:
        raise Conflict("dispute-closed", f"The dispute was closed already: {dispute.resolution}.")
    return False
