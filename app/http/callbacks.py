"""Callbacks: where dealers tell us what became of a purchase. No key: the dealer's own proof."""

from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter, Request, Response

from app.http.api import Api, Parts, address_of
from app.http.bodies import read_body
from dealers.contract import Callback

routes = APIRouter(prefix="/v1/callbacks", tags=["dealers"])

MAX_BODY_BYTES = 65_536
_NOWHERE = "unknown"
_ROUTE: Any = {
    "response_model": None,
    "response_class": Response,
    "responses": {200: {"description": "Heard, in the words that the dealer's protocol has."}},
}


@routes.get("/{dealer_id}", **_ROUTE, name="receive_callback_by_get")
@routes.post("/{dealer_id}", **_ROUTE)
async def receive_callback(dealer_id: str, request: Request, api: Parts) -> Response:
    """Store what a dealer says, apply it, and acknowledge as the dealer expects."""
    return await _receive(dealer_id, None, request, api)


@routes.get("/{dealer_id}/{token}", **_ROUTE, name="receive_callback_with_token_by_get")
@routes.post("/{dealer_id}/{token}", **_ROUTE)
async def receive_callback_with_token(
    dealer_id: str, token: str, request: Request, api: Parts
) -> Response:
    """As without a token, at the secret address of a dealer that signs nothing."""
    return await _receive(dealer_id, token, request, api)


async def _receive(dealer_id: str, token: str | None, request: Request, api: Api) -> Response:
    callback = Callback(
        request.method,
        request.scope["query_string"].decode("latin-1"),
        _headers(request),
        await read_body(request, MAX_BODY_BYTES),
    )
    source = address_of(request.scope) or _NOWHERE
    content_type, body = await api.receiver.receive(dealer_id, token, callback, source)
    return Response(body, headers={"content-type": content_type})


def _headers(request: Request) -> Mapping[str, str]:
    """Names in lower case; a repeated header's values are joined as HTTP has it."""
    headers: dict[str, str] = {}
    for name, value in request.headers.items():
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers
