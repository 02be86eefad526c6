"""A reseller's outlets: where each stands, and which of them it lets order no more."""

from typing import Annotated

import structlog
from fastapi import APIRouter, Path, Request, Response

from app.errors import Conflict, FieldError, NotFound, Unprocessable
from app.http.answers import json_answer, list_answer
from app.http.api import Api, OutletsReader, OutletsWriter, Parts
from app.http.bodies import read_json, takes
from app.http.conditions import is_known, not_modified, require_match
from app.http.pages import Cursor, Limit, cut, read_text, text_cursor
from app.storage import catalogue, outlets, reference
from app.storage.api_keys import KeyHolder
from app.storage.outlets import Outlet
from app.storage.pool import Connection
from schemas.orders import Reference
from schemas.outlets import Outlet as OutletDocument
from schemas.outlets import OutletPage, OutletState

log = structlog.get_logger()

routes = APIRouter(prefix="/v1/outlets", tags=["outlets"])

_KIND = "own-outlets"
OutletId = Annotated[Reference, Path()]


@routes.get("", response_model=None, responses={200: {"model": OutletPage}})
async def list_outlets(
    api: Parts,
    caller: OutletsReader,
    blocked: bool | None = None,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> Response:
    """The reseller's outlets, by id; with `blocked`, only those that are, or are not."""
    after = (read_text(_KIND, cursor) or b"").decode(errors="replace").replace("\0", "")
    async with api.pool.acquire(timeout=api.limits.connection_seconds) as connection:
        rows = await outlets.page(
            connection, caller.lane, caller.reseller_id, after, limit + 1, blocked=blocked
        )
    page, has_more = cut(rows, limit)
    next_cursor = text_cursor(_KIND, page[-1].outlet_id.encode()) if has_more else None
    return list_answer([_document(each) for each in page], next_cursor, has_more=has_more)


@routes.get("/{outlet_id}", response_model=None, responses={200: {"model": OutletDocument}})
async def read_outlet(
    outlet_id: OutletId, request: Request, api: Parts, caller: OutletsReader
) -> Response:
    """One outlet. Its `ETag` is what a change of it needs as `If-Match`."""
    async with api.pool.acquire(timeout=api.limits.connection_seconds) as connection:
        outlet = await outlets.find(connection, caller.lane, caller.reseller_id, outlet_id)
    if outlet is None:
        raise _unknown()
    return not_modified(_tag(outlet)) if is_known(request, _tag(outlet)) else _answer(outlet)


@routes.put(
    "/{outlet_id}",
    response_model=None,
    responses={200: {"model": OutletDocument}, 201: {"model": OutletDocument}},
    openapi_extra=takes(OutletState),
)
async def put_outlet(
    outlet_id: OutletId, request: Request, api: Parts, caller: OutletsWriter
) -> Response:
    """Add an outlet, or change one, which needs `If-Match`. In force within a second or two."""
    wanted = await read_json(request, OutletState, api.limits.body_bytes)
    async with (
        api.pool.acquire(timeout=api.limits.connection_seconds) as connection,
        connection.transaction(),
    ):
        await catalogue.lock(connection)
        stood = await outlets.find(connection, caller.lane, caller.reseller_id, outlet_id)
        if stood is not None and _is(stood, wanted):
            return _answer(stood)
        require_match(request, None if stood is None else _tag(stood))
        await _check(api, connection, caller, wanted, is_new=stood is None)
        revision = await outlets.put(
            connection,
            caller.lane,
            caller.reseller_id,
            outlet_id,
            wanted.region,
            blocked=wanted.blocked,
            reason=wanted.reason,
        )
    log.info(
        "outlet.put",
        reseller_id=caller.reseller_id,
        outlet_id=outlet_id,
        region=wanted.region,
        blocked=wanted.blocked,
    )
    stands = Outlet(outlet_id, wanted.region, wanted.blocked, wanted.reason, revision)
    return _answer(stands, 201 if stood is None else 200)


@routes.delete("/{outlet_id}", response_model=None, status_code=204)
async def delete_outlet(
    outlet_id: OutletId, request: Request, api: Parts, caller: OutletsWriter
) -> Response:
    """Forget an outlet, its block included; needs `If-Match`. Orders may go on naming it."""
    async with (
        api.pool.acquire(timeout=api.limits.connection_seconds) as connection,
        connection.transaction(),
    ):
        await catalogue.lock(connection)
        stood = await outlets.find(connection, caller.lane, caller.reseller_id, outlet_id)
        if stood is None:
            raise _unknown()
        require_match(request, _tag(stood))
        await outlets.remove(connection, caller.lane, caller.reseller_id, outlet_id)
    log.info("outlet.removed", reseller_id=caller.reseller_id, outlet_id=outlet_id)
    return Response(status_code=204)


async def _check(
    api: Api, connection: Connection, caller: KeyHolder, wanted: OutletState, *, is_new: bool
) -> None:
    """Raises Unprocessable for a region that there is not, Conflict for one outlet too many."""
    if wanted.region is not None:
        known = {region for region, _ in await reference.regions(connection)}
        if wanted.region not in known:
            wrong = FieldError("region", "There is no such region.")
            raise Unprocessable("unknown-region", wrong.message, errors=[wrong])
    most = api.limits.outlets
    if is_new and await outlets.count(connection, caller.lane, caller.reseller_id) >= most:
        raise Conflict(
            "too-many-outlets",
            f"A reseller has at most {most} outlets, those deleted within a day included.",
        )


def _is(outlet: Outlet, wanted: OutletState) -> bool:
    """Whether the outlet is as it is wanted already."""
    state = (outlet.region, outlet.blocked, outlet.blocked_reason)
    return state == (wanted.region, wanted.blocked, wanted.reason)


def _answer(outlet: Outlet, status: int = 200) -> Response:
    return json_answer(_document(outlet), status, {"etag": _tag(outlet)})


def _tag(outlet: Outlet) -> str:
    return f'"{outlet.revision}"'


def _document(outlet: Outlet) -> dict[str, object]:
    return {
        "outlet_id": outlet.outlet_id,
        "region": outlet.region,
        "blocked": outlet.blocked,
        "reason": outlet.blocked_reason,
    }


def _unknown() -> NotFound:
    return NotFound("not-found", "You have no such outlet.")
