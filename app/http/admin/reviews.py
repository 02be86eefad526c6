"""The review queue and the disputes for operators."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Path, Query, Request, Response

from app.administration.reviews import (
    close_dispute,
    list_disputes,
    list_reviews,
    resolve_review,
)
from app.http.admin.identity import AnyOperator, ReviewsOperator
from app.http.answers import json_answer, list_answer
from app.http.api import Parts
from app.http.bodies import read_json, takes
from app.http.pages import Cursor, cut, place_cursor, read_place
from app.storage.reviews import Dispute, OpenReview, Place
from app.words import Said
from schemas.reviews import (
    DisputeEnd,
    DisputeList,
    ReviewDecision,
    ReviewList,
    ReviewOutcome,
)

routes = APIRouter(prefix="/admin/v1", tags=["admin"])

Limit = Annotated[int, Query(ge=1, le=1000)]
AttemptNo = Annotated[int, Path(ge=1, le=32767)]

_REVIEWS = "reviews"
_DISPUTES = "disputes"


@routes.get("/reviews", response_model=None, responses={200: {"model": ReviewList}})
async def read_reviews(
    api: Parts, by: AnyOperator, cursor: Cursor = None, limit: Limit = 100
) -> Response:
    """What people must look at, the oldest first."""
    rows = await list_reviews(api.pool, by, limit + 1, _after(_REVIEWS, cursor))
    page, has_more = cut(rows, limit)
    next_cursor = _behind(_REVIEWS, page[-1], page[-1].reason) if has_more else None
    return list_answer([_review(each) for each in page], next_cursor, has_more=has_more)


@routes.post(
    "/reviews/{order_id}/{attempt_no}/resolve",
    response_model=None,
    responses={200: {"model": ReviewOutcome}},
    openapi_extra=takes(ReviewDecision),
)
async def resolve(
    order_id: UUID, attempt_no: AttemptNo, request: Request, api: Parts, by: ReviewsOperator
) -> Response:
    """Decide about a purchase in review, as if its dealer had said it. The same again is safe."""
    decision = await read_json(request, ReviewDecision, api.limits.body_bytes)
    outcome = await resolve_review(
        api.pool,
        api.settler,
        by,
        order_id,
        attempt_no,
        Said(decision.word),
        decision.reason,
        decision.serial_number,
    )
    return json_answer(outcome.document())


@routes.get("/disputes", response_model=None, responses={200: {"model": DisputeList}})
async def read_disputes(
    api: Parts, by: AnyOperator, cursor: Cursor = None, limit: Limit = 100
) -> Response:
    """Purchases to be settled with their dealers, the oldest first."""
    rows = await list_disputes(api.pool, by, limit + 1, _after(_DISPUTES, cursor))
    page, has_more = cut(rows, limit)
    next_cursor = _behind(_DISPUTES, page[-1]) if has_more else None
    return list_answer([_dispute(each) for each in page], next_cursor, has_more=has_more)


@routes.post(
    "/disputes/{order_id}/{attempt_no}/close",
    response_model=None,
    responses={200: {"model": dict[str, bool]}},
    openapi_extra=takes(DisputeEnd),
)
async def close(
    order_id: UUID, attempt_no: AttemptNo, request: Request, api: Parts, by: ReviewsOperator
) -> Response:
    """Close a dispute; no money moves. `closed` is false where it was closed just so before."""
    end = await read_json(request, DisputeEnd, api.limits.body_bytes)
    closed = await close_dispute(api.pool, by, order_id, attempt_no, end.resolution, end.reason)
    return json_answer({"closed": closed})


def _after(kind: str, cursor: str | None) -> Place | None:
    place = read_place(kind, cursor)
    return place and Place(*place)


def _behind(kind: str, row: OpenReview | Dispute, reason: str = "") -> str:
    return place_cursor(kind, row.opened_at, row.order_id, row.attempt_no, reason)


def _review(review: OpenReview) -> dict[str, object]:
    return {
        "order_id": str(review.order_id),
        "attempt_no": review.attempt_no,
        "reason": review.reason,
        "opened_at": review.opened_at.isoformat(),
        "reseller_id": str(review.reseller_id),
        "ref_id": review.ref_id,
        "status": review.status,
        "dealer_id": review.dealer_id,
        "dealer_ref": review.dealer_ref,
        "customer_number": review.customer_number,
        "price": review.price,
    }


def _dispute(dispute: Dispute) -> dict[str, object]:
    return {
        "order_id": str(dispute.order_id),
        "attempt_no": dispute.attempt_no,
        "dealer_id": dispute.dealer_id,
        "dealer_ref": dispute.dealer_ref,
        "cost": dispute.cost,
        "opened_at": dispute.opened_at.isoformat(),
    }
