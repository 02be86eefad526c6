"""Webhook endpoints: a reseller says where it wants to be told of what."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from fastapi import APIRouter, Request, Response
from uuid_utils.compat import uuid7

from app.errors import Conflict, FieldError, NotFound, Unprocessable
from app.http.answers import json_answer, list_answer
from app.http.api import Api, Parts, WebhooksReader, WebhooksWriter
from app.http.bodies import parse, read_body, read_json, require_json, takes
from app.http.conditions import etag_of, require_match
from app.http.deliveries import document_of
from app.lifecycle.deliver import secret_context
from app.lifecycle.tell import tell
from app.outbound.addresses import AddressRefused, parse_endpoint_url
from app.signatures import new_secret
from app.storage import delivery_views, endpoints, resellers
from app.storage.api_keys import KeyHolder
from app.storage.endpoints import Endpoint, NewEndpoint
from app.storage.pool import Connection
from app.words import EventType
from schemas.deliveries import Delivery
from schemas.webhook_endpoints import (
    CreatedWebhookEndpoint,
    NewWebhookEndpoint,
    Rotation,
    WebhookEndpoint,
    WebhookEndpointEdit,
    WebhookEndpointList,
)

routes = APIRouter(prefix="/v1/webhook-endpoints", tags=["webhooks"])

_ACTIVE, _DISABLED = "active", "disabled"
_NOT_NULL = ("url", "description", "status")
_IF_MATCH: dict[str, Any] = {
    "parameters": [
        {
            "name": "If-Match",
            "in": "header",
            "required": True,
            "schema": {"type": "string"},
            "description": "The `ETag` of the endpoint as it was last seen.",
        }
    ]
}


@routes.post(
    "",
    response_model=None,
    status_code=201,
    responses={201: {"model": CreatedWebhookEndpoint}},
    openapi_extra=takes(NewWebhookEndpoint),
)
async def create_endpoint(request: Request, api: Parts, caller: WebhooksWriter) -> Response:
    """Add an endpoint. The secret that signs what is sent there is shown this once."""
    wanted = await read_json(request, NewWebhookEndpoint, api.limits.body_bytes)
    secret = new_secret()
    endpoint_id = uuid7()
    new = NewEndpoint(
        caller.lane,
        endpoint_id,
        caller.reseller_id,
        _checked_url(api, wanted.url),
        _once_each(wanted.event_types),
        api.sealer.seal(secret, secret_context(endpoint_id)),
        wanted.description,
        wanted.schedule_seconds,
        wanted.rate_per_second,
    )
    async with _changing(api) as connection:
        await resellers.lock(connection, caller.lane, caller.reseller_id)
        await _require_room(connection, api, caller)
        await endpoints.create(connection, new)
        created = await _find(connection, caller, endpoint_id)
    location = f"/v1/webhook-endpoints/{endpoint_id}"
    return _secret_answer(created, secret, 201, {"location": location})


@routes.get("", response_model=None, responses={200: {"model": WebhookEndpointList}})
async def list_endpoints(api: Parts, caller: WebhooksReader) -> Response:
    """All of the reseller's endpoints, the oldest first, without their secrets."""
    async with api.pool.acquire(timeout=api.limits.connection_seconds) as connection:
        found = await endpoints.of_resellers(connection, [(caller.lane, caller.reseller_id)])
    data = [_document(each) for each in sorted(found, key=lambda each: each.endpoint_id)]
    return list_answer(data, None, has_more=False)


@routes.get("/{endpoint_id}", response_model=None, responses={200: {"model": WebhookEndpoint}})
async def read_endpoint(endpoint_id: str, api: Parts, caller: WebhooksReader) -> Response:
    """One endpoint, without its secret. Its `ETag` is what a change of it must name."""
    async with api.pool.acquire(timeout=api.limits.connection_seconds) as connection:
        return _answer(await _find(connection, caller, _id_in(endpoint_id)))


@routes.patch(
    "/{endpoint_id}",
    response_model=None,
    responses={200: {"model": WebhookEndpoint}},
    openapi_extra=takes(WebhookEndpointEdit) | _IF_MATCH,
)
async def change_endpoint(
    request: Request, endpoint_id: str, api: Parts, caller: WebhooksWriter
) -> Response:
    """Change an endpoint, also to disable and to enable it.

    Events go on collecting for a disabled one and are sent in order once it is active again.
    """
    edit = await read_json(request, WebhookEndpointEdit, api.limits.body_bytes)
    changes = _changes(api, edit)
    async with _changing(api) as connection:
        before = await _locked(connection, caller, _id_in(endpoint_id))
        require_match(request, etag_of(before.version))
        return _answer(await _write(connection, caller, before, replace(before, **changes)))


@routes.post(
    "/{endpoint_id}/enable", response_model=None, responses={200: {"model": WebhookEndpoint}}
)
async def enable_endpoint(endpoint_id: str, api: Parts, caller: WebhooksWriter) -> Response:
    """Send to a disabled endpoint again, first what collected for it."""
    async with _changing(api) as connection:
        before = await _locked(connection, caller, _id_in(endpoint_id))
        return _answer(await _write(connection, caller, before, replace(before, status=_ACTIVE)))


@routes.delete("/{endpoint_id}", response_model=None, status_code=204, openapi_extra=_IF_MATCH)
async def delete_endpoint(
    request: Request, endpoint_id: str, api: Parts, caller: WebhooksWriter
) -> Response:
    """Delete an endpoint. What was not delivered there yet is given up; it stays in the events."""
    async with _changing(api) as connection:
        found = await _locked(connection, caller, _id_in(endpoint_id))
        require_match(request, etag_of(found.version))
        await endpoints.delete(connection, caller.lane, caller.reseller_id, found.endpoint_id)
    return Response(status_code=204)


@routes.post(
    "/{endpoint_id}/rotate-secret",
    response_model=None,
    responses={200: {"model": CreatedWebhookEndpoint}},
    openapi_extra=takes(Rotation, required=False),
)
async def rotate_secret(
    request: Request, endpoint_id: str, api: Parts, caller: WebhooksWriter
) -> Response:
    """Give the endpoint a new secret, shown this once; both sign while they overlap, for a day
    unless said otherwise."""
    require_json(request.headers.get("content-type", ""))
    wanted = parse(Rotation, await read_body(request, api.limits.body_bytes) or b"{}")
    overlap = timedelta(seconds=wanted.overlap_seconds)
    secret = new_secret()
    async with _changing(api) as connection:
        before = await _locked(connection, caller, _id_in(endpoint_id))
        if overlap and before.old_secret_until is not None:
            raise Conflict(
                "rotation-under-way",
                f"The old secret signs until {before.old_secret_until.isoformat()}; "
                "`overlap_seconds` 0 ends it at once.",
            )
        sealed = api.sealer.seal(secret, secret_context(before.endpoint_id))
        await endpoints.rotate(connection, before.lane, before.endpoint_id, sealed, overlap)
        rotated = await _find(connection, caller, before.endpoint_id)
    return _secret_answer(rotated, secret, 200, {})


@routes.post(
    "/{endpoint_id}/test",
    response_model=None,
    status_code=202,
    responses={202: {"model": Delivery, "description": "It is on its way; see `Location`."}},
)
async def test_endpoint(endpoint_id: str, api: Parts, caller: WebhooksWriter) -> Response:
    """Send `test.ping` to this endpoint alone. What came back stands in its delivery."""
    wanted = _id_in(endpoint_id)
    async with _changing(api) as connection:
        endpoint = await _find(connection, caller, wanted)
        if endpoint.status == _DISABLED:
            raise Conflict("endpoint-disabled", "The endpoint is disabled: enable it first.")
        now = datetime.now(UTC).isoformat()
        key, data = (caller.lane, caller.reseller_id), {"endpoint_id": str(wanted)}
        (delivery_id,) = await tell(connection, key, EventType.PING, data, now, [wanted])
        sent = await delivery_views.find(connection, *key, delivery_id)
        if sent is None:
            raise _unknown()
    return json_answer(document_of(sent[0]), 202, {"location": f"/v1/deliveries/{delivery_id}"})


# ------------------------------------------------------------------ steps


@asynccontextmanager
async def _changing(api: Api) -> AsyncGenerator[Connection]:
    """A connection in a transaction."""
    async with (
        api.pool.acquire(timeout=api.limits.connection_seconds) as connection,
        connection.transaction(),
    ):
        yield connection


async def _require_room(connection: Connection, api: Api, caller: KeyHolder) -> None:
    most = api.limits.endpoints
    if await endpoints.count(connection, caller.lane, caller.reseller_id) >= most:
        raise Conflict("too-many-endpoints", f"A reseller has at most {most} endpoints.")


async def _find(connection: Connection, caller: KeyHolder, endpoint_id: UUID) -> Endpoint:
    found = await endpoints.find(connection, caller.lane, caller.reseller_id, endpoint_id)
    if found is None:
        raise _unknown()
    return found


async def _locked(connection: Connection, caller: KeyHolder, endpoint_id: UUID) -> Endpoint:
    found = await endpoints.lock(connection, caller.lane, caller.reseller_id, endpoint_id)
    if found is None:
        raise _unknown()
    return found


async def _write(
    connection: Connection, caller: KeyHolder, before: Endpoint, after: Endpoint
) -> Endpoint:
    """The endpoint as it is now; what changes nothing makes no version."""
    if after == before:
        return before
    await endpoints.update(connection, after)
    return await _find(connection, caller, after.endpoint_id)


def _changes(api: Api, edit: WebhookEndpointEdit) -> dict[str, Any]:
    """The fields that were given, checked. Raises Unprocessable."""
    given = edit.model_dump(include=edit.model_fields_set)
    for name in _NOT_NULL:
        if name in given and given[name] is None:
            wrong = FieldError(name, "must not be null")
            raise Unprocessable("invalid-request", f"`{name}` has no default.", errors=[wrong])
    if "url" in given:
        given["url"] = _checked_url(api, given["url"])
    if "event_types" in given:
        given["event_types"] = _once_each(given["event_types"])
    return given


def _once_each(event_types: Sequence[str] | None) -> list[str] | None:
    return None if event_types is None else list(dict.fromkeys(event_types))


def _checked_url(api: Api, url: str) -> str:
    try:
        return parse_endpoint_url(url, api.address_policy).url
    except AddressRefused as refused:
        wrong = FieldError("url", refused.reason)
        raise Unprocessable("invalid-url", f"{refused.reason}.", errors=[wrong]) from None


def _answer(endpoint: Endpoint) -> Response:
    return json_answer(_document(endpoint), 200, {"etag": etag_of(endpoint.version)})


def _secret_answer(
    endpoint: Endpoint, secret: str, status: int, headers: dict[str, str]
) -> Response:
    shown = {"etag": etag_of(endpoint.version), "cache-control": "no-store", **headers}
    return json_answer({**_document(endpoint), "secret": secret}, status, shown)


def _document(endpoint: Endpoint) -> dict[str, object]:
    return {
        "id": str(endpoint.endpoint_id),
        "url": endpoint.url,
        "event_types": endpoint.event_types,
        "description": endpoint.description,
        "schedule_seconds": endpoint.schedule_seconds,
        "rate_per_second": endpoint.rate_per_second,
        "status": endpoint.status,
        "disabled_reason": endpoint.disabled_reason,
        "disabled_at": _written(endpoint.disabled_at),
        "failing_since": _written(endpoint.failing_since),
        "old_secret_until": _written(endpoint.old_secret_until),
        "version": endpoint.version,
        "created_at": endpoint.created_at.isoformat(),
    }


def _written(moment: datetime | None) -> str | None:
    return moment and moment.isoformat()


def _id_in(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise _unknown() from None


def _unknown() -> NotFound:
    return NotFound("not-found", "You have no such endpoint.")
