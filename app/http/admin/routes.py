"""The routing table for operators: exported and imported as CSV, and its choices explained."""

import re
from datetime import UTC, datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response

from app.administration.explain import STANDARD_TIER, Question, explain_choice, explain_order
from app.administration.operator import Operator, Scope
from app.administration.routes import Wanted, export_routes, import_routes
from app.errors import BadRequest, FieldError, Unprocessable, UnsupportedMedia
from app.http.admin.identity import operator_with
from app.http.answers import json_answer
from app.http.api import Parts
from app.http.bodies import read_body
from routing.sheet import MOST_BYTES

routes = APIRouter(prefix="/admin/v1/routes", tags=["operators: routes"])

_ETAG = re.compile(r'(?:W/)?"([0-9]{1,18})"')
_PRINTABLE = r"^[^\x00-\x1f\x7f]*$"
Name = Annotated[str | None, Query(max_length=64, pattern=_PRINTABLE)]
Reader = Annotated[Operator, operator_with(Scope.READ)]
Planner = Annotated[Operator, operator_with(Scope.ROUTES)]
_CSV: Any = {"text/csv": {"schema": {"type": "string"}}}


@routes.get("", response_model=None, responses={200: {"content": _CSV}})
async def read_routes(api: Parts, by: Reader, dealer: Name = None) -> Response:
    """The table, or one dealer's part of it, as CSV. `ETag` is the revision, for `If-Match`."""
    exported = await export_routes(api.pool, by, dealer)
    headers = {
        "etag": f'"{exported.revision}"',
        "content-disposition": 'attachment; filename="routes.csv"',
    }
    return Response(exported.content, 200, headers, "text/csv; charset=utf-8")


@routes.put(
    "",
    response_model=None,
    responses={200: {"model": dict[str, Any]}},
    openapi_extra={"requestBody": {"required": True, "content": _CSV}},
)
async def replace_routes(
    request: Request,
    api: Parts,
    by: Planner,
    dealer: Name = None,
    dry_run: bool = False,
    allow_empty: bool = False,
    reason: Annotated[str, Query(max_length=500, pattern=_PRINTABLE)] = "",
) -> Response:
    """Make the CSV the table, or one dealer's part of it, as a whole or not at all.

    With `If-Match` only while that revision is in force; `dry_run` tells what would change.
    """
    wanted = Wanted(dealer, allow_empty, _expected(request), dry_run, reason)
    imported = await import_routes(api.pool, by, await _csv(request), wanted)
    headers = {"etag": f'"{imported.revision}"'}
    return json_answer(imported.document(), 200, headers)


@routes.get("/explain", response_model=None, responses={200: {"model": dict[str, Any]}})
async def explain(
    api: Parts,
    by: Reader,
    sku: Name = None,
    number: Name = None,
    region: Name = None,
    tier: Annotated[str, Query(max_length=64)] = STANDARD_TIER,
    max_price: Annotated[int | None, Query(ge=1, le=2**63 - 1)] = None,
    order_id: UUID | None = None,
) -> Response:
    """What would be chosen now, by this process's own shares and breakers; or, with `order_id`,
    what an order keeps of how its dealers were chosen."""
    if order_id is not None:
        return json_answer(await explain_order(api.pool, by, order_id))
    if sku is None:
        wrong = FieldError("sku", "Name a product, or an order by order_id.")
        raise Unprocessable("invalid-request", wrong.message, errors=[wrong])
    asked = Question(sku, number, region, tier, max_price)
    return json_answer(explain_choice(api.router, by, asked, datetime.now(UTC)))


async def _csv(request: Request) -> bytes:
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type not in ("", "text/csv"):
        raise UnsupportedMedia("unsupported-media-type", "The body must be text/csv.")
    return await read_body(request, MOST_BYTES)


def _expected(request: Request) -> int | None:
    """The revision in `If-Match`. Raises BadRequest for one that we did not give out."""
    stated = request.headers.get("if-match")
    if stated is None or stated == "*":
        return None
    etag = _ETAG.fullmatch(stated)
    if etag is None:
        raise BadRequest("invalid-request", "If-Match must be an ETag of this address, or *.")
    return int(etag[1])
