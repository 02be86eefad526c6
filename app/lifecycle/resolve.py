"""Resolve: an operator's word about a purchase in review, and the line that it leaves for good.

The word is settled like a dealer's, in the transaction that writes its line in the audit log and
closes the review: none of the three exists without the others. The closed review names the line,
so that a decision whose commit was in doubt is known again when it is applied a second time.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID

from app.storage.audit import Act
from app.storage.orders import LockedOrder
from app.storage.reviews import StoredReview
from app.words import Order, Ruling, Said, Source, Word, objection, said_as_report


@dataclass(frozen=True, slots=True)
class Resolution:
    """What an operator says of an attempt, and who, from where and why."""

    attempt_no: int
    said: Said
    serial_number: str | None
    operator: str
    origin: str
    reason: str
    audit_id: UUID

    @property
    def word(self) -> Word:
        """What is settled."""
        report = said_as_report(self.said, self.serial_number)
        return Word(self.attempt_no, Source.OPERATOR, report)

    @property
    def text(self) -> str:
        """How the review reads once it is closed."""
        return f"{_said_by_an_operator(self.said)}, audit {self.audit_id}"


class Answer(StrEnum):
    """What becomes of a resolution. All but the first change nothing."""

    DECIDED = "decided"
    DECIDED_BEFORE = "decided-before"
    """The same word was said before."""
    NOT_FOUND = "not-found"
    """There is no such order or attempt."""
    NOT_IN_REVIEW = "not-in-review"
    """Nothing about the attempt was ever in review."""
    REVIEW_CLOSED = "review-closed"
    """The review was closed otherwise."""
    CHECK_IN_FLIGHT = "check-in-flight"
    """What is on its way may answer the very next moment."""
    WORD_DOES_NOT_FIT = "word-does-not-fit"


@dataclass(frozen=True, slots=True)
class Resolved:
    """The answer, and a sentence where there is more to say."""

    answer: Answer
    sentence: str = ""


def judge(resolution: Resolution, order: Order, reviews: Sequence[StoredReview]) -> Resolved | None:
    """The answer to a resolution that changes nothing; None where it is to be settled.

    `reviews` are the order's, those closed last before those closed earlier.
    """
    attempt = next((a for a in order.attempts if a.attempt_no == resolution.attempt_no), None)
    if attempt is None:
        return Resolved(Answer.NOT_FOUND)
    mine = [review for review in reviews if review.attempt_no == resolution.attempt_no]
    if all(review.resolution is not None for review in mine):
        return _judge_closed(resolution, mine)
    if attempt.in_flight:
        return Resolved(Answer.CHECK_IN_FLIGHT)
    against = objection(order, resolution.attempt_no, resolution.said)
    return None if against is None else Resolved(Answer.WORD_DOES_NOT_FIT, against)


def _judge_closed(resolution: Resolution, closed: Sequence[StoredReview]) -> Resolved:
    if not closed:
        return Resolved(Answer.NOT_IN_REVIEW)
    last = closed[0].resolution or ""
    if last == resolution.text:
        return Resolved(Answer.DECIDED)
    if last.startswith(_said_by_an_operator(resolution.said)):
        return Resolved(Answer.DECIDED_BEFORE, last)
    return Resolved(Answer.REVIEW_CLOSED, last)


def _said_by_an_operator(said: Said) -> str:
    return f"{said}, said by an operator"


def act_of(resolution: Resolution, order: LockedOrder, stood: Order, ruling: Ruling) -> Act:
    """The line in the audit log: the order and the attempt before the word and after it."""
    number = resolution.attempt_no
    state = next(each.state for each in stood.attempts if each.attempt_no == number)
    return Act(
        resolution.operator,
        resolution.origin,
        "review.resolved",
        f"order:{order.order_id}",
        {"order": order.status, "attempt_no": number, "attempt": state},
        {
            "said": resolution.said,
            "serial_number": resolution.serial_number,
            "order": ruling.order,
            "attempt": ruling.attempt,
            "money": ruling.money,
        },
        resolution.reason,
    )
