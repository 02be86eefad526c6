"""Quotes: what an order would cost and whether it could be served, without ordering."""

from datetime import UTC, datetime

from fastapi import APIRouter, Request, Response

from app.errors import Conflict
from app.http import bodies
from app.http.answers import json_answer
from app.http.api import Api, Parts, ProductsReader
from app.http.pick import choose_dealer, inquire, number_of
from routing.choose import Inquiry
from schemas.quotes import NewQuote, Quote, quote_document

routes = APIRouter(prefix="/v1/quotes", tags=["quotes"])


@routes.post(
    "",
    response_model=None,
    responses={200: {"model": Quote}},
    openapi_extra=bodies.takes(NewQuote),
)
async def quote(request: Request, api: Parts, caller: ProductsReader) -> Response:
    """What an order would cost you now, and whether a dealer could serve it.

    Decided as an order is, from memory; nothing is reserved. Your balance, and orders of yours that
    are open for the number, are not looked at.
    """
    wish = await bodies.read_json(request, NewQuote, api.limits.body_bytes)
    number, now = number_of(wish), datetime.now(UTC)
    inquiry = inquire(api.router.trade, caller, wish, number)
    document = quote_document(
        sku=wish.sku,
        customer_number=number,
        brand=inquiry.brand,
        cluster=inquiry.cluster,
        price=inquiry.price_rupiah,
        reason=_obstacle(api, inquiry, number, now),
        as_of=now,
    )
    return json_answer(document, headers={"cache-control": "no-store"})


def _obstacle(api: Api, inquiry: Inquiry, number: str, now: datetime) -> str | None:
    """The code of what an order would be refused with, or None where a dealer could serve it."""
    try:
        choose_dealer(api, inquiry, number, now)
    except Conflict as refusal:
        return refusal.code
    return None
