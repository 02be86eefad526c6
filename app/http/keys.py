"""A reseller's own keys: made, replaced while the old one lives on, and revoked."""

from datetime import UTC, datetime, timedelta

from fastapi import APIRouter, Request, Response

from app.administration import documents, own_keys
from app.administration.keys import NewKey
from app.http.answers import list_answer, secret_answer
from app.http.api import KeysReader, KeysWriter, Parts, address_of
from app.http.bodies import read_json, takes
from schemas.keys import CreatedOwnKey, KeyReplacement, NewOwnKey, OwnKeyList

routes = APIRouter(prefix="/v1/keys", tags=["keys"])


@routes.get("", response_model=None, responses={200: {"model": OwnKeyList}})
async def list_own_keys(api: Parts, caller: KeysReader) -> Response:
    """All keys that you ever had, the oldest first, without their secrets.

    A live key sees those of the test side too.
    """
    async with api.pool.acquire(timeout=api.limits.connection_seconds) as connection:
        found = await own_keys.listed(connection, caller)
    return list_answer([documents.key(each) for each in found], None, has_more=False)


@routes.post(
    "",
    response_model=None,
    status_code=201,
    responses={201: {"model": CreatedOwnKey}},
    openapi_extra=takes(NewOwnKey),
)
async def create_own_key(request: Request, api: Parts, caller: KeysWriter) -> Response:
    """Make a key that goes no further than the calling one. It is shown this once.

    The first test key makes the test side: an account of its own with play money.
    """
    wanted = await read_json(request, NewOwnKey, api.limits.body_bytes)
    new = NewKey(
        wanted.mode or caller.mode,
        wanted.name,
        wanted.scopes,
        wanted.addresses,
        wanted.expires_at,
    )
    address, now = address_of(request.scope), datetime.now(UTC)
    record, made = await own_keys.add(api.pool, caller, new, address, now)
    return secret_answer(documents.created_own_key(record, made), "/v1/keys")


@routes.post(
    "/{key_id}/rotate",
    response_model=None,
    status_code=201,
    responses={201: {"model": CreatedOwnKey}},
    openapi_extra=takes(KeyReplacement),
)
async def rotate_own_key(key_id: str, request: Request, api: Parts, caller: KeysWriter) -> Response:
    """Make a key in place of this one, which lives on for the overlap. It is shown this once."""
    wanted = await read_json(request, KeyReplacement, api.limits.body_bytes)
    overlap = timedelta(seconds=wanted.overlap_seconds)
    address, now = address_of(request.scope), datetime.now(UTC)
    record, made = await own_keys.rotate(api.pool, caller, key_id, overlap, address, now)
    return secret_answer(documents.created_own_key(record, made), "/v1/keys")


@routes.delete("/{key_id}", response_model=None, status_code=204)
async def delete_own_key(key_id: str, request: Request, api: Parts, caller: KeysWriter) -> Response:
    """Revoke a key for good, within a second; again changes nothing. It stays in the list."""
    now = datetime.now(UTC)
    await own_keys.revoke(api.pool, caller, key_id, address_of(request.scope), now)
    return Response(status_code=204)
