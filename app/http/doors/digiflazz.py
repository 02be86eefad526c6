"""The Digiflazz-shaped door: JSON over POST, signed with MD5.

Served like `https://api.digiflazz.com/v1`: `/transaction`, `/cek-saldo` (*cek saldo*: check the
balance) and `/price-list`. Refusals before anything was looked at but the request have HTTP 400,
everything else 200, as public clients of Digiflazz expect it.
"""

import asyncio
from datetime import UTC, datetime
from itertools import islice
from typing import Any, cast

import orjson
from fastapi import APIRouter, Request, Response

from app.errors import BadRequest, Problem
from app.http.answers import json_answer
from app.http.api import Api, Parts
from app.http.bodies import read_body
from app.http.doors.buying import Asked, buy, spendable
from app.http.doors.callers import caller_at, same
from app.http.limits import Policy
from app.http.problems import EXPECTED, problem_of
from app.shapes import digiflazz
from app.storage.api_keys import KeyHolder
from dealers.signs import digiflazz as sign_of
from routing.choose import Inquiry
from routing.table import Product

routes = APIRouter(prefix="/doors/digiflazz/v1", include_in_schema=False)

SHAPE = "digiflazz"
MOST_PRODUCTS = 20_000
"""Rows of a price list: more than any market has."""

_AT_A_TIME = 100
_MOST_DIGITS = 13

_Fields = dict[str, Any]

_CODES = {
    "invalid-key": digiflazz.SIGNATURE,
    "forbidden": digiflazz.ADDRESS,
    "invalid-json": digiflazz.PAYLOAD,
    "invalid-request": digiflazz.PAYLOAD,
    "body-too-large": digiflazz.PAYLOAD,
}
"""Problems at the door; every other one is told as pending, or as not to be answered now."""


@routes.post("/transaction", response_model=None)
async def transaction(request: Request, api: Parts) -> Response:
    """Buy; with a reference that was sent before, tell how its order stands."""
    fields: _Fields = {}
    try:
        fields = await _fields(request, api)
        ref_id = _text(fields, "ref_id")
        caller = await _caller(api, request, fields, ref_id, "orders")
    except EXPECTED as error:
        return _refusal(fields, problem_of(error))
    told = await buy(api, caller, _asked(fields), request.state.trace)
    return json_answer({"data": digiflazz.document(told)})


@routes.post("/cek-saldo", response_model=None)
async def balance(request: Request, api: Parts) -> Response:
    """What can be ordered for now, credit included."""
    fields: _Fields = {}
    try:
        fields = await _fields(request, api)
        caller = await _caller(api, request, fields, "depo", "reads")
        return json_answer({"data": {"deposit": await spendable(api, caller)}})
    except EXPECTED as error:
        return _refusal(fields, problem_of(error))


@routes.post("/price-list", response_model=None)
async def price_list(request: Request, api: Parts) -> Response:
    """The caller's products and prices, out of memory; of bills to pay (`pasca`) there are none."""
    fields: _Fields = {}
    try:
        fields = await _fields(request, api)
        caller = await _caller(api, request, fields, "pricelist", "reads")
    except EXPECTED as error:
        return _refusal(fields, problem_of(error))
    rows = [] if fields.get("cmd") == "pasca" else await _offers(api, caller, fields)
    return json_answer({"data": rows})


# ------------------------------------------------------------------ requests


async def _fields(request: Request, api: Api) -> _Fields:
    """The members of the body. Raises Problem."""
    body = await read_body(request, api.limits.body_bytes)
    try:
        fields: object = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise BadRequest("invalid-json", "The body is not valid JSON.") from None
    if not isinstance(fields, dict):
        raise BadRequest("invalid-request", "The body is not a JSON object.")
    return cast(_Fields, fields)


async def _caller(
    api: Api, request: Request, fields: _Fields, subject: str, policy: Policy
) -> KeyHolder:
    username, sign = _text(fields, "username"), _text(fields, "sign").lower()
    return await caller_at(
        api,
        request,
        SHAPE,
        username,
        lambda secrets: same(sign, sign_of(username, secrets["api_key"], subject)),
        policy,
    )


def _asked(fields: _Fields) -> Asked:
    """What is ordered, with the fault of what this door does not do."""
    limit, fault = fields.get("max_price"), None
    if fields.get("testing") not in (None, False, "", "false", 0):
        fault = "This account buys; it does not test."
    elif fields.get("commands"):
        fault = "There are no bills to ask for here."
    elif not _is_limit(limit):
        # An unreadable limit must not become none.
        fault = "max_price must be whole rupiah."
    return Asked(
        _text(fields, "ref_id"),
        _text(fields, "buyer_sku_code"),
        _text(fields, "customer_no"),
        None if fault else int(limit or 0) or None,
        fault=fault,
    )


def _text(fields: _Fields, name: str) -> str:
    """A field as text: some clients send numbers as numbers."""
    value = fields.get(name)
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return value if isinstance(value, str) else ""


def _is_limit(value: Any) -> bool:  # noqa: ANN401 - JSON
    if isinstance(value, str):
        return value == "" or (value.isascii() and value.isdigit() and len(value) <= _MOST_DIGITS)
    return value is None or (isinstance(value, int) and value is not True and value >= 0)


# ------------------------------------------------------------------ answers


def _refusal(fields: _Fields, problem: Problem) -> Response:
    """A refusal at the door, with HTTP 400 where it is the request's fault."""
    code = _CODES.get(problem.code, digiflazz.ROUTER)
    at_fault = code != digiflazz.ROUTER
    data = {
        "ref_id": _text(fields, "ref_id"),
        "customer_no": _text(fields, "customer_no"),
        "buyer_sku_code": _text(fields, "buyer_sku_code"),
        "message": digiflazz.MESSAGES[code],
        "status": "Gagal" if at_fault else "Pending",
        "rc": code,
        "sn": "",
        "price": 0,
    }
    return json_answer({"data": data}, 400 if at_fault else 200)


async def _offers(api: Api, caller: KeyHolder, fields: _Fields) -> list[dict[str, object]]:
    book, now = api.router.trade.price_book, datetime.now(UTC)
    offers: list[dict[str, object]] = []
    for looked_at, (product, price) in enumerate(
        islice(book.on_sale(caller.tier, ""), MOST_PRODUCTS)
    ):
        if looked_at % _AT_A_TIME == 0:
            await asyncio.sleep(0)  # orders come first
        if _is_asked_for(product, fields):
            offers.append(_offer(api, caller, product, price, now))
    return offers


def _is_asked_for(product: Product, fields: _Fields) -> bool:
    code, brand, category = (_text(fields, name) for name in ("code", "brand", "category"))
    return (
        code in ("", product.sku)
        and brand.casefold() in ("", product.brand.casefold())
        and category.casefold() in ("", product.kind.casefold())
    )


def _offer(
    api: Api, caller: KeyHolder, product: Product, price: int, now: datetime
) -> dict[str, object]:
    inquiry = Inquiry(
        product.sku,
        product.brand,
        None,
        price,
        tier=caller.tier,
        kind=product.kind,
        test=caller.test,
    )
    return {
        "product_name": product.name,
        "category": product.kind,
        "brand": product.brand.upper(),
        "type": "Umum",
        "seller_name": "",
        "price": price,
        "buyer_sku_code": product.sku,
        "buyer_product_status": True,
        "seller_product_status": api.router.choose(inquiry, now).chosen is not None,
        "unlimited_stock": True,
        "stock": 0,
        "multi": True,
        "start_cut_off": "0:0",
        "end_cut_off": "0:0",
        "desc": "-",
    }
