"""The routing table for operators: sheets out and in, and its choices explained."""

import asyncio
import re
from collections.abc import AsyncGenerator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.responses import StreamingResponse

from app.administration import policy, schedules
from app.administration import routes as table
from app.administration.desk import SIMULATE, Errand
from app.administration.explain import Question, explain_choice, explain_order, find_order
from app.administration.in_force import table_in_force
from app.administration.plans import Wanted
from app.administration.simulate import DEFAULT_SINCE, window_of
from app.errors import BadRequest, FieldError, Unprocessable, UnsupportedMedia
from app.http.admin.identity import AnyOperator, RoutesOperator
from app.http.answers import json_answer
from app.http.api import Api, Parts
from app.http.bodies import read_json, receive_pieces, takes
from routing.sheet import MOST_BYTES, Form
from routing.table import WIB
from schemas.admin import routes as shapes
from schemas.admin.routes import (
    AppliedTable,
    CancelledTable,
    Rollback,
    RolledBack,
    ScheduledTables,
    Simulation,
    TableInForce,
    TablePlan,
    TablePutOff,
    TableVersions,
)
from schemas.admin.shapes import Because

routes = APIRouter(prefix="/admin/v1/routes", tags=["admin"])

_ETAG = re.compile(r'(?:W/)?"([0-9]{1,18})"')
_PIECE_BYTES = 65_536
_PRINTABLE = r"^[^\x00-\x1f\x7f]*$"
_FORMS = {"": Form.CSV, "text/csv": Form.CSV, "application/json": Form.JSON}
Name = Annotated[str | None, Query(max_length=64, pattern=_PRINTABLE)]
Why = Annotated[str, Query(max_length=500, pattern=_PRINTABLE)]
Moment = Annotated[str, Query(max_length=40, pattern=_PRINTABLE)]
Version = Annotated[int, Path(ge=1, le=2**63 - 1)]
_CSV: Any = {"text/csv": {"schema": {"type": "string"}}}
_ITEMS: Any = {"application/json": {"schema": {"type": "array", "items": {"type": "object"}}}}
_SHEET_BODY: Any = {"requestBody": {"required": True, "content": {**_CSV, **_ITEMS}}}


@routes.get("", response_model=None, responses={200: {"content": _CSV}})
async def read_routes(api: Parts, by: AnyOperator, dealer: Name = None) -> Response:
    """The table, or one dealer's part of it, as CSV. `ETag` is the revision, for `If-Match`."""
    exported = await table.export_routes(api.pool, by, dealer)
    headers = {
        "etag": f'"{exported.revision}"',
        "content-disposition": 'attachment; filename="routes.csv"',
    }
    return StreamingResponse(_each(exported.pieces), 200, headers, "text/csv; charset=utf-8")


@routes.post(
    "/diff",
    response_model=None,
    responses={200: {"model": TablePlan}},
    openapi_extra=_SHEET_BODY,
)
async def compare_routes(
    request: Request, api: Parts, by: RoutesOperator, dealer: Name = None
) -> Response:
    """What the sheet would change, and what that does to margins; changes nothing.

    422 `invalid-table` names each fault by its line. With `If-Match` only while that revision is in
    force.
    """
    wanted = Wanted(dealer, allow_empty=True, expected_revision=_expected(request))
    planned = await _with_sheet(request, api, Errand("diff", _now(), by, wanted))
    return _told(planned)


@routes.post(
    "/simulate",
    response_model=None,
    responses={200: {"model": Simulation}},
    openapi_extra=_SHEET_BODY,
)
async def simulate_routes(
    request: Request,
    api: Parts,
    by: RoutesOperator,
    since: Moment = DEFAULT_SINCE,
    until: Moment | None = None,
    dealer: Name = None,
    in_force: bool = False,
) -> Response:
    """What the sheet would have made of past orders, beside the table in force and what happened.

    `since` and `until` are so long ago, such as `90m`, `24h` or `7d`, or a moment. With `in_force`
    without a sheet, on the table in force alone. 422 and `If-Match` as in a diff; 409 `table-busy`
    while another simulation is running.
    """
    now = _now()
    window = window_of(since, until, now)
    wanted = Wanted(dealer, allow_empty=True, expected_revision=_expected(request))
    errand = Errand(SIMULATE, now, by, wanted, since=window.since, until=window.until)
    if in_force:
        return _told(await api.desk.run(replace(errand, in_force=True)))
    return _told(await _with_sheet(request, api, errand))


@routes.post(
    "/apply",
    response_model=None,
    responses={200: {"model": AppliedTable}, 202: {"model": TablePutOff}},
    openapi_extra=_SHEET_BODY,
)
async def apply_routes(
    request: Request,
    api: Parts,
    by: RoutesOperator,
    dealer: Name = None,
    at: datetime | None = None,
    yes: bool = False,
    allow_empty: bool = False,
    reason: Why = "",
) -> Response:
    """Make the sheet the table, or one dealer's part of it, as a whole or not at all.

    With `at` at that moment: 202 then. `yes` lets costs rise by more than `largest_rise_percent`.
    With `If-Match` only while that revision is in force.
    """
    wanted = Wanted(dealer, allow_empty, yes, _expected(request), reason)
    if at is None:
        applied = await _with_sheet(request, api, Errand("apply", _now(), by, wanted))
        return _told(applied)
    errand = Errand("put_off", _now(), by, wanted, at=_in_wib(at))
    return json_answer(await _with_sheet(request, api, errand), 202)


@routes.get("/scheduled", response_model=None, responses={200: {"model": ScheduledTables}})
async def list_scheduled(api: Parts, by: AnyOperator) -> Response:
    """The sheets that wait for their moment, the next first, then the newest that are over."""
    found = await schedules.list_all(api.pool, by)
    return json_answer({"scheduled": [schedules.document(each) for each in found]})


@routes.post(
    "/scheduled/{schedule_id}/cancel",
    response_model=None,
    responses={200: {"model": CancelledTable}},
    openapi_extra=takes(Because),
)
async def cancel_scheduled(
    schedule_id: UUID, request: Request, api: Parts, by: RoutesOperator
) -> Response:
    """Forget a sheet that waits; 409 `already-over` where it does not any more."""
    because = await read_json(request, Because, api.limits.body_bytes)
    await schedules.cancel(api.pool, by, schedule_id, because.reason)
    return json_answer({"id": str(schedule_id), "state": schedules.CANCELLED})


@routes.get("/versions", response_model=None, responses={200: {"model": TableVersions}})
async def list_versions(api: Parts, by: AnyOperator) -> Response:
    """The tables that were in force and are kept, the newest first."""
    kept = await table.list_versions(api.pool, by)
    return json_answer({"versions": [table.version_document(each) for each in kept]})


@routes.get("/versions/{version}", response_model=None, responses={200: {"content": _CSV}})
async def read_version(api: Parts, by: AnyOperator, version: Version) -> Response:
    """A table that was in force, as CSV."""
    content = await table.read_version(api.pool, by, version)
    unpacked = await asyncio.to_thread(table.unpacked, content)
    headers = {"content-disposition": f'attachment; filename="routes-{version}.csv"'}
    return StreamingResponse(_cut(unpacked), 200, headers, "text/csv; charset=utf-8")


@routes.post(
    "/rollback",
    response_model=None,
    responses={200: {"model": RolledBack}},
    openapi_extra=takes(Rollback),
)
async def roll_back(request: Request, api: Parts, by: RoutesOperator) -> Response:
    """Apply a table that was in force before; refused where it does not fit any more.

    With `If-Match` only while that revision is in force.
    """
    meant = await read_json(request, Rollback, api.limits.body_bytes)
    wanted = Wanted(None, True, meant.yes, _expected(request), meant.reason)
    errand = Errand("roll_back", _now(), by, wanted, version=meant.to)
    return _told(await api.desk.run(errand))


@routes.get("/status", response_model=None, responses={200: {"model": TableInForce}})
async def show_status(api: Parts, by: AnyOperator) -> Response:
    """What this process routes by, and what its products, prices and routes changed."""
    return json_answer(table_in_force(api.router, by))


@routes.get("/policy", response_model=None, responses={200: {"model": shapes.ShownPolicy}})
async def read_policy(api: Parts, by: AnyOperator) -> Response:
    """The rules that dealers are chosen by. `ETag` is the revision, for `If-Match`."""
    return _told((await policy.show(api.pool, by)).document())


@routes.put(
    "/policy",
    response_model=None,
    responses={200: {"model": shapes.ChangedPolicy}},
    openapi_extra=takes(shapes.NewPolicy),
)
async def replace_policy(request: Request, api: Parts, by: RoutesOperator) -> Response:
    """Make this the policy, or change nothing; 422 names each wrong setting.

    With `If-Match` only while that revision is in force.
    """
    wanted = await read_json(request, shapes.NewPolicy, api.limits.body_bytes)
    expected = _expected(request)
    done = await policy.replace(api.pool, by, wanted.policy, wanted.reason, expected)
    return _told(done.document())


@routes.post(
    "/explain",
    response_model=None,
    responses={200: {"model": shapes.Explained}},
    openapi_extra=takes(shapes.Question),
)
async def explain(request: Request, api: Parts, by: AnyOperator) -> Response:
    """What would be chosen for such an order, by this process's own shares, quality and breakers;
    changes nothing."""
    asked = await read_json(request, shapes.Question, api.limits.body_bytes)
    question = Question(
        asked.sku,
        asked.number,
        asked.region,
        asked.tier,
        asked.max_price,
        None if asked.at is None else _in_wib(asked.at),
    )
    return json_answer(explain_choice(api.router, by, question, _now()))


@routes.get("/explain", response_model=None, responses={200: {"model": shapes.ExplainedOrder}})
async def explain_stored(
    api: Parts,
    by: AnyOperator,
    order_id: UUID | None = None,
    reseller: Name = None,
    ref_id: Name = None,
) -> Response:
    """What an order keeps of how its dealers were chosen. The order is named by its id, or by its
    reseller (id or name) and that one's own reference."""
    if order_id is None:
        if reseller is None or ref_id is None:
            missing = FieldError("order_id", "Name an order by its id, or by reseller and ref_id.")
            raise Unprocessable("invalid-request", missing.message, errors=[missing])
        order_id = await find_order(api.pool, by, reseller, ref_id)
    return json_answer(await explain_order(api.pool, by, order_id))


async def _each(pieces: list[bytes]) -> AsyncGenerator[bytes]:
    for piece in pieces:
        yield piece


async def _cut(content: bytes) -> AsyncGenerator[bytes]:
    for start in range(0, len(content), _PIECE_BYTES):
        yield content[start : start + _PIECE_BYTES]


async def _with_sheet(request: Request, api: Api, errand: Errand) -> dict[str, Any]:
    """Have the errand done with the sheet in the body.

    Raises UnsupportedMedia, TooLarge, and Conflict (`table-busy`) before it takes any of the body.
    """
    form = _form(request)
    api.desk.require_free(errand.verb)
    declared = request.headers.get("content-length", "0")
    pieces = await receive_pieces(request.receive, declared, MOST_BYTES)
    return await api.desk.run(replace(errand, form=form), pieces)


def _form(request: Request) -> Form:
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    form = _FORMS.get(media_type)
    if form is None:
        raise UnsupportedMedia(
            "unsupported-media-type", "The body must be text/csv or application/json."
        )
    return form


def _told(document: dict[str, Any]) -> Response:
    return json_answer(document, 200, {"etag": f'"{document["revision"]}"'})


def _now() -> datetime:
    return datetime.now(UTC)


def _in_wib(moment: datetime) -> datetime:
    """A moment that states no offset is in WIB."""
    return moment if moment.tzinfo else moment.replace(tzinfo=WIB)


def _expected(request: Request) -> int | None:
    """The revision in `If-Match`. Raises BadRequest for one that we did not give out."""
    stated = request.headers.get("if-match")
    if stated is None or stated == "*":
        return None
    etag = _ETAG.fullmatch(stated)
    if etag is None:
        raise BadRequest("invalid-request", "If-Match must be an ETag of this address, or *.")
    return int(etag[1])
