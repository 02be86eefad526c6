"""Operators' tokens, the audit log and the hold, for operators."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from app.administration import documents, installation, tokens
from app.administration.checks import Checks
from app.http.admin.identity import AnyOperator, OperatorsOperator
from app.http.answers import json_answer, list_answer, secret_answer
from app.http.api import Parts
from app.http.bodies import read_json, takes
from app.http.pages import Cursor, Limit, cut, id_cursor, read_id
from app.storage import audit, operator_tokens
from app.storage import installation as stored
from schemas.admin.operators import (
    Acted,
    AuditLineList,
    CreatedOperatorToken,
    Hold,
    NewOperator,
    OperatorToken,
    OperatorTokenList,
    Resume,
)
from schemas.admin.shapes import Because

routes = APIRouter(prefix="/admin/v1", tags=["admin"])

_KIND = "audit"


@routes.post(
    "/operators",
    response_model=None,
    status_code=201,
    responses={201: {"model": CreatedOperatorToken}},
    openapi_extra=takes(NewOperator),
)
async def add_operator(request: Request, api: Parts, by: OperatorsOperator) -> Response:
    """Give an operator a token, with no scope that the giver lacks. It is shown this once."""
    new = await read_json(request, NewOperator, api.limits.body_bytes)
    scopes = tokens.read_scopes(new.scopes)
    token = await tokens.add(api.pool, by, new.name, scopes, new.reason)
    document = documents.created_token(new.name, sorted(scopes), token)
    return secret_answer(document, "/admin/v1/operators")


@routes.get("/operators", response_model=None, responses={200: {"model": OperatorTokenList}})
async def list_operators(api: Parts, by: AnyOperator) -> Response:
    """All tokens ever given out, the oldest first, without their secrets."""
    async with api.pool.acquire(timeout=api.limits.connection_seconds) as connection:
        found = await operator_tokens.list_all(connection)
    return list_answer([OperatorToken.of(each) for each in found], None, has_more=False)


@routes.post(
    "/operators/{token_id}/revoke",
    response_model=None,
    responses={200: {"model": Acted}},
    openapi_extra=takes(Because),
)
async def revoke_operator(
    token_id: str, request: Request, api: Parts, by: OperatorsOperator
) -> Response:
    """Revoke a token for good, within a second."""
    because = await read_json(request, Because, api.limits.body_bytes)
    return json_answer({"changed": await tokens.revoke(api.pool, by, token_id, because.reason)})


@routes.get("/audit", response_model=None, responses={200: {"model": AuditLineList}})
async def list_audit(
    api: Parts,
    by: AnyOperator,
    subject: Annotated[str | None, Query(max_length=200)] = None,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> Response:
    """What operators did, the newest first; of one subject such as `dealer:nusantara`, or all."""
    checks = Checks()
    checks.text("subject", subject or "", least=0)
    checks.done()
    before = read_id(_KIND, cursor)
    async with api.pool.acquire(timeout=api.limits.connection_seconds) as connection:
        rows = await audit.list_lines(connection, subject, before, limit + 1)
    page, has_more = cut(rows, limit)
    next_cursor = id_cursor(_KIND, page[-1].audit_id) if has_more else None
    return list_answer(
        [documents.audit_line(line) for line in page], next_cursor, has_more=has_more
    )


@routes.get("/hold", response_model=None, responses={200: {"model": Hold}})
async def read_hold(api: Parts, by: AnyOperator) -> Response:
    """Whether purchases and checks hold."""
    async with api.pool.acquire(timeout=api.limits.connection_seconds) as connection:
        return json_answer(Hold.of(await stored.read(connection)))


@routes.post(
    "/hold",
    response_model=None,
    responses={200: {"model": Acted}},
    openapi_extra=takes(Because),
)
async def hold(request: Request, api: Parts, by: OperatorsOperator) -> Response:
    """Hold purchases and checks; orders are still accepted."""
    because = await read_json(request, Because, api.limits.body_bytes)
    return json_answer({"changed": await installation.hold(api.pool, by, because.reason)})


@routes.post(
    "/hold/resume",
    response_model=None,
    responses={200: {"model": Acted}},
    openapi_extra=takes(Resume),
)
async def resume(request: Request, api: Parts, by: OperatorsOperator) -> Response:
    """End a hold, once every dealer's book was held against this database."""
    wanted = await read_json(request, Resume, api.limits.body_bytes)
    changed = await installation.resume(api.pool, by, wanted.reason, reconciled=wanted.reconciled)
    return json_answer({"changed": changed})
