"""For those who run it: is the process alive, may it be sent requests, how is it doing."""

import asyncio
from functools import cache
from ipaddress import ip_address

from fastapi import APIRouter, Request, Response

from app.errors import DatabaseUnavailable, Forbidden, Unauthorized
from app.http.admin.identity import identify_operator
from app.http.answers import json_answer
from app.http.api import Api, Parts
from app.metrics import CONTENT_TYPE
from app.storage import migrate, revisions
from app.storage.pool import DISCONNECTED

routes = APIRouter(tags=["operations"])

_PROXIED = ("x-forwarded-for", "forwarded", "x-real-ip")


@routes.get("/livez", response_model=None, responses={200: {"model": dict[str, str]}})
async def live() -> Response:
    """The process answers."""
    return json_answer({"status": "alive"})


@routes.get(
    "/readyz",
    response_model=None,
    responses={200: {"model": dict[str, str]}, 503: {"description": "`reasons` names what lacks."}},
)
async def ready(api: Parts) -> Response:
    """The process may be sent requests."""
    reasons = await _reasons(api)
    if reasons:
        return json_answer({"status": "not ready", "reasons": reasons}, 503)
    return json_answer({"status": "ready"})


async def _reasons(api: Api) -> list[str]:
    reasons: list[str] = []
    if api.draining.is_set():
        reasons.append("the process is stopping")
    if not api.router.loaded:
        reasons.append("the routing table is not loaded")
    try:
        async with api.pool.acquire(timeout=api.limits.connection_seconds) as connection:
            applied = await revisions.applied(connection)
    except (*DISCONNECTED, DatabaseUnavailable):
        return [*reasons, "the database does not answer"]
    newest = await asyncio.to_thread(_newest)
    if applied != newest:
        reasons.append(f"the database is at revision {applied}, not at {newest}")
    return reasons


@cache
def _newest() -> str:
    return migrate.newest()


@routes.get("/metrics", response_model=None, responses={200: {"content": {"text/plain": {}}}})
async def metrics(request: Request, api: Parts) -> Response:
    """The process's metrics, for Prometheus.

    They name dealers, which resellers must not learn: they are for callers on this machine, not
    through a proxy, and for those with an operator's token.
    """
    if not _is_local(request):
        await _require_operator(request)
    return Response(api.metrics.exposition(), headers={"content-type": CONTENT_TYPE})


def _is_local(request: Request) -> bool:
    if request.client is None or any(name in request.headers for name in _PROXIED):
        return False
    try:
        return ip_address(request.client.host).is_loopback
    except ValueError:
        return False


async def _require_operator(request: Request) -> None:
    try:
        await identify_operator(request)
    except Unauthorized:
        raise Forbidden("forbidden", "Metrics need an operator's token.") from None
