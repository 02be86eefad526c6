"""The review queue and the disputes for operators."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Path, Query, Request, Response

from app.administration.operator import Operator, Scope
from app.administration.reviews import (
    close_dispute,
    list_disputes,
    list_reviews,
    resolve_review,
)
from app.http.admin.identity import operator_with
from app.http.answers import json_answer, list_answer
from app.http.api import Parts
from app.http.bodies import read_json
from app.http.pages import cut
from app.storage.reviews import Dispute, OpenReview
from app.words import Said
from schemas.reviews import (
    DisputeEnd,
    DisputeList,
    ReviewDecision,
    ReviewList,
    ReviewOutcome,
)

routes = APIRouter(prefix="/admin/v1", tags=["operators: reviews"])

Reader = Annotated[Operator, operator_with(Scope.READ)]
Decider = Annotated[Operator, operator_with(Scope.REVIEWS)]
Limit = Annotated[int, Query(ge=1, le=1000)]
AttemptNo = Annotated[int, Path(ge=1, le=32767)]


def _body(model: str) -> dict[str, Any]:
    schema = {"$ref": f"#/components/schemas/{model}"}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


@routes.get("/reviews", response_model=None, responses={200: {"model": ReviewList}})
async def read_reviews(api: Parts, by: Reader, limit: Limit = 100) -> Response:
    """What people must look at, the oldest first. Deciding about one lets the next come up."""
    found, has_more = cut(await list_reviews(api.pool, by, limit + 1), limit)
    return list_answer([_review(each) for each in found], None, has_more=has_more)


@routes.post(
    "/reviews/{order_id}/{attempt_no}/resolve",
    response_model=None,
    responses={200: {"model": ReviewOutcome}},
    openapi_extra=_body("ReviewDecision"),
)
async def resolve(
    order_id: UUID, attempt_no: AttemptNo, request: Request, api: Parts, by: Decider
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
async def read_disputes(api: Parts, by: Reader, limit: Limit = 100) -> Response:
    """Purchases to be settled with their dealers, the oldest first."""
    found, has_more = cut(await list_disputes(api.pool, by, limit + 1), limit)
    return list_answer([_dispute(each) for each in found], None, has_more=has_more)


@routes.post(
    "/disputes/{order_id}/{attempt_no}/close",
    response_model=None,
    responses={200: {"model": dict[str, bool]}},
    openapi_extra=_body("DisputeEnd"),
)
async def close(
    order_id: UUID, attempt_no: AttemptNo, request: Request, api: Parts, by: Decider
) -> Response:
    """Close a dispute; no money moves. `closed` is false where it was closed just so before."""
    end = await read_json(request, DisputeEnd, api.limits.body_bytes)
    closed = await close_dispute(api.pool, by, order_id, attempt_no, end.resolution, end.reason)
    return json_answer({"closed": closed})


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
