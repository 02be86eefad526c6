"""Webhook endpoints: a reseller says where it wants to be told of what."""

from datetime import datetime
from uuid import UUID

from fastapi import APIRouter, Request, Response
from uuid_utils.compat import uuid7

from app.errors import Conflict, FieldError, NotFound, Unprocessable
from app.http.answers import list_answer, secret_answer
from app.http.api import Api, Caller, Parts
from app.http.bodies import read_json, takes
from app.lifecycle.deliver import secret_context
from app.outbound.addresses import AddressRefused, parse_endpoint_url
from app.signatures import new_secret
from app.storage import endpoints, resellers
from app.storage.api_keys import KeyHolder
from app.storage.endpoints import NewEndpoint
from schemas.webhook_endpoints import (
    CreatedWebhookEndpoint,
    NewWebhookEndpoint,
    WebhookEndpointList,
)

routes = APIRouter(prefix="/v1/webhook-endpoints", tags=["webhooks"])


@routes.post(
    "",
    response_model=None,
    status_code=201,
    responses={201: {"model": CreatedWebhookEndpoint}},
    openapi_extra=takes(NewWebhookEndpoint),
)
async def create_endpoint(request: Request, api: Parts, caller: Caller) -> Response:
    """Add an endpoint. The secret that signs what is sent there is shown this once."""
    wanted = await read_json(request, NewWebhookEndpoint, api.limits.body_bytes)
    secret = new_secret()
    endpoint_id = uuid7()
    new = NewEndpoint(
        caller.lane,
        endpoint_id,
        caller.reseller_id,
        _checked_url(api, wanted.url),
        None if wanted.event_types is None else list(dict.fromkeys(wanted.event_types)),
        api.sealer.seal(secret, secret_context(endpoint_id)),
    )
    created_at = await _create(api, caller, new)
    document = _document(new.endpoint_id, new.url, new.event_types, "active", created_at)
    return secret_answer({**document, "secret": secret}, f"/v1/webhook-endpoints/{endpoint_id}")


async def _create(api: Api, caller: KeyHolder, new: NewEndpoint) -> datetime:
    async with (
        api.pool.acquire(timeout=api.limits.connection_seconds) as connection,
        connection.transaction(),
    ):
        await resellers.lock(connection, caller.lane, caller.reseller_id)
        if await endpoints.count(connection, caller.lane, caller.reseller_id) >= (
            api.limits.endpoints
        ):
            raise Conflict(
                "too-many-endpoints", f"A reseller has at most {api.limits.endpoints} endpoints."
            )
        return await endpoints.create(connection, new)


@routes.get("", response_model=None, responses={200: {"model": WebhookEndpointList}})
async def list_endpoints(api: Parts, caller: Caller) -> Response:
    """All of the reseller's endpoints, the oldest first, without their secrets."""
    async with api.pool.acquire(timeout=api.limits.connection_seconds) as connection:
        found = await endpoints.of_resellers(connection, [(caller.lane, caller.reseller_id)])
    data = [
        _document(each.endpoint_id, each.url, each.event_types, each.status, each.created_at)
        for each in sorted(found, key=lambda each: each.endpoint_id)
    ]
    return list_answer(data, None, has_more=False)


@routes.delete("/{endpoint_id}", response_model=None, status_code=204)
async def delete_endpoint(endpoint_id: str, api: Parts, caller: Caller) -> Response:
    """Delete an endpoint. What was not delivered there yet is given up; it stays in the events."""
    try:
        wanted = UUID(endpoint_id)
    except ValueError:
        raise _unknown() from None
    async with api.pool.acquire(timeout=api.limits.connection_seconds) as connection:
        deleted = await endpoints.delete(connection, caller.lane, caller.reseller_id, wanted)
    if not deleted:
        raise _unknown()
    return Response(status_code=204)


def _checked_url(api: Api, url: str) -> str:
    try:
        return parse_endpoint_url(url, api.address_policy).url
    except AddressRefused as refused:
        wrong = FieldError("url", refused.reason)
        raise Unprocessable("invalid-url", f"{refused.reason}.", errors=[wrong]) from None


def _document(
    endpoint_id: UUID, url: str, event_types: list[str] | None, status: str, created_at: datetime
) -> dict[str, object]:
    return {
        "id": str(endpoint_id),
        "url": url,
        "event_types": event_types,
        "status": status,
        "created_at": created_at.isoformat(),
    }


def _unknown() -> NotFound:
    return NotFound("not-found", "You have no such endpoint.")
