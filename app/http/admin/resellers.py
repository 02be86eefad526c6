"""Resellers, their keys and their money, for operators."""

from datetime import UTC, datetime, timedelta
from typing import Any

from fastapi import APIRouter, Request, Response

from app.administration import documents, keys, money, outlets, resellers
from app.administration.money import Receipt
from app.administration.resellers import Edit
from app.administration.sheets import Placed
from app.http.admin.identity import AnyOperator, MoneyOperator, ResellersOperator
from app.http.answers import json_answer, list_answer, secret_answer
from app.http.api import Parts
from app.http.bodies import read_json, takes
from app.http.pages import Cursor, Limit, cut, id_cursor, read_id, read_text, text_cursor
from app.storage.resellers import accounts
from schemas.admin.catalogue import PutLines
from schemas.admin.operators import Acted
from schemas.admin.resellers import (
    Booking,
    CreatedKey,
    KeyList,
    KeyRotation,
    NewAdjustment,
    NewDeposit,
    NewKey,
    NewReseller,
    OutletLines,
    OutletList,
    RatesEdit,
    Reseller,
    ResellerEdit,
    ResellerList,
)
from schemas.admin.shapes import Because
from schemas.keys import Key

routes = APIRouter(prefix="/admin/v1", tags=["admin"])

_KIND = "resellers"
_OUTLETS = "outlets"
_BOOKED: dict[int | str, dict[str, Any]] = {
    201: {"model": Booking},
    200: {"model": Booking, "description": "It was booked before; nothing was changed."},
}


@routes.post(
    "/resellers",
    response_model=None,
    status_code=201,
    responses={201: {"model": Reseller}},
    openapi_extra=takes(NewReseller),
)
async def add_reseller(request: Request, api: Parts, by: ResellersOperator) -> Response:
    """Add a reseller. Names are unique, so that the same request again adds no second one."""
    new = await read_json(request, NewReseller, api.limits.body_bytes)
    account = await resellers.add(
        api.pool, by, new.name, new.tier, new.credit_limit, reason=new.reason
    )
    location = {"location": f"/admin/v1/resellers/{account.reseller_id}"}
    return json_answer(Reseller.of(account), 201, location)


@routes.get("/resellers", response_model=None, responses={200: {"model": ResellerList}})
async def list_resellers(
    api: Parts,
    by: AnyOperator,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> Response:
    """All resellers, the oldest first."""
    after = read_id(_KIND, cursor)
    async with api.pool.acquire(timeout=api.limits.connection_seconds) as connection:
        rows = await accounts(connection, after=after, limit=limit + 1)
    page, has_more = cut(rows, limit)
    next_cursor = id_cursor(_KIND, page[-1].reseller_id) if has_more else None
    return list_answer([Reseller.of(row) for row in page], next_cursor, has_more=has_more)


@routes.get("/resellers/{reseller}", response_model=None, responses={200: {"model": Reseller}})
async def read_reseller(reseller: str, api: Parts, by: AnyOperator) -> Response:
    """One reseller, by its id or its name."""
    async with api.pool.acquire(timeout=api.limits.connection_seconds) as connection:
        return json_answer(Reseller.of(await resellers.find(connection, reseller)))


@routes.patch(
    "/resellers/{reseller}",
    response_model=None,
    responses={200: {"model": Reseller}},
    openapi_extra=takes(ResellerEdit),
)
async def change_reseller(
    reseller: str, request: Request, api: Parts, by: ResellersOperator
) -> Response:
    """Change a reseller's name, tier or credit limit; the limit needs the scope `money` too."""
    wanted = await read_json(request, ResellerEdit, api.limits.body_bytes)
    edit = Edit(wanted.name, wanted.tier, wanted.credit_limit)
    done = await resellers.change(api.pool, by, reseller, edit, wanted.reason)
    return json_answer(Reseller.of(done.account))


@routes.post(
    "/resellers/{reseller}/suspend",
    response_model=None,
    responses={200: {"model": Reseller}},
    openapi_extra=takes(Because),
)
async def suspend_reseller(
    reseller: str, request: Request, api: Parts, by: ResellersOperator
) -> Response:
    """Refuse the reseller's keys within a second; its accepted orders are seen through."""
    because = await read_json(request, Because, api.limits.body_bytes)
    done = await resellers.suspend(api.pool, by, reseller, because.reason)
    return json_answer(Reseller.of(done.account))


@routes.post(
    "/resellers/{reseller}/activate",
    response_model=None,
    responses={200: {"model": Reseller}},
    openapi_extra=takes(Because),
)
async def activate_reseller(
    reseller: str, request: Request, api: Parts, by: ResellersOperator
) -> Response:
    """Take the reseller's keys again."""
    because = await read_json(request, Because, api.limits.body_bytes)
    done = await resellers.activate(api.pool, by, reseller, because.reason)
    return json_answer(Reseller.of(done.account))


@routes.patch(
    "/resellers/{reseller}/rates",
    response_model=None,
    responses={200: {"model": Reseller}},
    openapi_extra=takes(RatesEdit),
)
async def limit_reseller(
    reseller: str, request: Request, api: Parts, by: ResellersOperator
) -> Response:
    """Set the reseller's own rates, over all its keys, in force within about a second."""
    edit = await read_json(request, RatesEdit, api.limits.body_bytes)
    done = await resellers.limit(api.pool, by, reseller, edit.orders, edit.reads, edit.reason)
    return json_answer(Reseller.of(done.account))


# ------------------------------------------------------------------ keys


@routes.post(
    "/resellers/{reseller}/keys",
    response_model=None,
    status_code=201,
    responses={201: {"model": CreatedKey}},
    openapi_extra=takes(NewKey),
)
async def add_key(reseller: str, request: Request, api: Parts, by: ResellersOperator) -> Response:
    """Give the reseller another key. It is shown this once."""
    wanted = await read_json(request, NewKey, api.limits.body_bytes)
    new = keys.NewKey(wanted.mode, wanted.name, wanted.scopes, wanted.addresses, wanted.expires_at)
    now = datetime.now(UTC)
    account, key = await keys.add(api.pool, by, reseller, new, now, wanted.reason)
    location = f"/admin/v1/resellers/{account.reseller_id}/keys"
    return secret_answer(documents.created_key(account, key), location)


@routes.get("/resellers/{reseller}/keys", response_model=None, responses={200: {"model": KeyList}})
async def list_keys(reseller: str, api: Parts, by: AnyOperator) -> Response:
    """All keys that the reseller ever had, on both sides, the oldest first, without secrets."""
    async with api.pool.acquire(timeout=api.limits.connection_seconds) as connection:
        found = await keys.keys_of(connection, reseller)
    return list_answer([documents.key(each) for each in found], None, has_more=False)


@routes.post(
    "/keys/{key_id}/rotate",
    response_model=None,
    status_code=201,
    responses={201: {"model": CreatedKey}},
    openapi_extra=takes(KeyRotation),
)
async def rotate_key(key_id: str, request: Request, api: Parts, by: ResellersOperator) -> Response:
    """Give out a key in place of another one, which lives on for the overlap."""
    wanted = await read_json(request, KeyRotation, api.limits.body_bytes)
    overlap, now = timedelta(seconds=wanted.overlap_seconds), datetime.now(UTC)
    account, key = await keys.rotate(api.pool, by, key_id, overlap, now, wanted.reason)
    location = f"/admin/v1/resellers/{account.reseller_id}/keys"
    return secret_answer(documents.created_key(account, key), location)


@routes.patch(
    "/keys/{key_id}/rates",
    response_model=None,
    responses={200: {"model": Key}},
    openapi_extra=takes(RatesEdit),
)
async def limit_key(key_id: str, request: Request, api: Parts, by: ResellersOperator) -> Response:
    """Set the key's own rates beside its reseller's, in force within about a second."""
    edit = await read_json(request, RatesEdit, api.limits.body_bytes)
    done = await keys.limit(api.pool, by, key_id, edit.orders, edit.reads, edit.reason)
    return json_answer(documents.key(done.key))


@routes.post(
    "/keys/{key_id}/revoke",
    response_model=None,
    responses={200: {"model": Acted}},
    openapi_extra=takes(Because),
)
async def revoke_key(key_id: str, request: Request, api: Parts, by: ResellersOperator) -> Response:
    """Revoke a key for good, within a second."""
    because = await read_json(request, Because, api.limits.body_bytes)
    return json_answer({"changed": await keys.revoke(api.pool, by, key_id, because.reason)})


# ------------------------------------------------------------------ money


@routes.post(
    "/resellers/{reseller}/deposits",
    response_model=None,
    status_code=201,
    responses=_BOOKED,
    openapi_extra=takes(NewDeposit),
)
async def book_deposit(reseller: str, request: Request, api: Parts, by: MoneyOperator) -> Response:
    """Book money paid in, once: the same reference again with its amount is 200, else 409."""
    new = await read_json(request, NewDeposit, api.limits.body_bytes)
    return _booked(
        await money.deposit(api.pool, by, reseller, new.amount, new.reference, new.reason)
    )


@routes.post(
    "/resellers/{reseller}/adjustments",
    response_model=None,
    status_code=201,
    responses=_BOOKED,
    openapi_extra=takes(NewAdjustment),
)
async def book_adjustment(
    reseller: str, request: Request, api: Parts, by: MoneyOperator
) -> Response:
    """Put right what was booked wrongly: add, or take where the amount is negative."""
    new = await read_json(request, NewAdjustment, api.limits.body_bytes)
    return _booked(
        await money.adjust(api.pool, by, reseller, new.amount, new.reference, new.reason)
    )


def _booked(receipt: Receipt) -> Response:
    return json_answer(documents.booking(receipt), 200 if receipt.repeated else 201)


@routes.put(
    "/resellers/{reseller}/outlets",
    response_model=None,
    responses={200: {"model": PutLines}},
    openapi_extra=takes(OutletLines),
)
async def put_outlets(
    reseller: str, request: Request, api: Parts, by: ResellersOperator
) -> Response:
    """Add or replace outlets and the regions they stand in, all of them or none; others stay."""
    wanted = await read_json(request, OutletLines, api.limits.body_bytes)
    rows = [
        Placed(f"outlets.{number}", (each.outlet_id, each.region))
        for number, each in enumerate(wanted.outlets)
    ]
    return json_answer(PutLines.of(await outlets.put(api.pool, by, reseller, rows, wanted.reason)))


@routes.get(
    "/resellers/{reseller}/outlets", response_model=None, responses={200: {"model": OutletList}}
)
async def list_outlets(
    reseller: str, api: Parts, by: AnyOperator, cursor: Cursor = None, limit: Limit = 50
) -> Response:
    """A reseller's outlets, by id."""
    after = (read_text(_OUTLETS, cursor) or b"").decode(errors="replace").replace("\0", "")
    async with api.pool.acquire(timeout=api.limits.connection_seconds) as connection:
        rows = await outlets.listed(connection, reseller, after, limit + 1)
    page, has_more = cut(rows, limit)
    next_cursor = text_cursor(_OUTLETS, page[-1][0].encode()) if has_more else None
    data = [{"outlet_id": outlet_id, "region": region} for outlet_id, region in page]
    return list_answer(data, next_cursor, has_more=has_more)


@routes.post(
    "/resellers/{reseller}/outlets/{outlet_id}/remove",
    response_model=None,
    responses={200: {"model": Acted}},
    openapi_extra=takes(Because),
)
async def remove_outlet(
    reseller: str, outlet_id: str, request: Request, api: Parts, by: ResellersOperator
) -> Response:
    """Forget where an outlet stands; orders may go on naming it."""
    because = await read_json(request, Because, api.limits.body_bytes)
    await outlets.remove(api.pool, by, reseller, outlet_id, because.reason)
    return json_answer({"changed": True})
