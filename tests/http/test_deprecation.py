"""What is deprecated says so in every answer, in the documentation and in the metrics."""

from datetime import UTC, datetime, timedelta, timezone

import httpx
import pytest
from fastapi import APIRouter, Request, Response

from app import metrics
from app.errors import Conflict
from app.http import server
from app.http.api import Caller, Parts
from app.http.deprecation import Deprecation, deprecated, note
from tests.http.shop import Customer, Shop

OLD = Deprecation(
    "GET /v1/old",
    datetime(2026, 11, 1, tzinfo=UTC),
    "https://jalur.example/docs/old",
    datetime(2027, 5, 1, 7, tzinfo=timezone(timedelta(hours=7))),
)
FIELD = Deprecation(
    "colour of /v1/newer", datetime(2026, 10, 1, tzinfo=UTC), "https://jalur.example/docs/colour"
)
LATER = Deprecation(
    "shape of /v1/newer",
    datetime(2026, 10, 1, tzinfo=UTC),
    "https://jalur.example/docs/shape",
    datetime(2028, 1, 1, tzinfo=UTC),
)


def _routes() -> APIRouter:
    routes = APIRouter(prefix="/v1")

    @routes.get("/old", response_model=None, **deprecated(OLD))
    async def old(request: Request) -> Response:
        if "refuse" in request.query_params:
            raise Conflict("no-route", "Refused.")
        return Response(b"{}")

    @routes.get("/newer", response_model=None)
    async def newer(request: Request, api: Parts, caller: Caller) -> Response:
        for field, each in (("colour", FIELD), ("shape", LATER)):
            if field in request.query_params:
                note(each, request.scope["state"], api.metrics, caller)
        return Response(b"{}")

    return routes


class _Part:
    routes = _routes()


@pytest.fixture
async def client(
    shop: Shop, customer: Customer, monkeypatch: pytest.MonkeyPatch
) -> httpx.AsyncClient:
    monkeypatch.setattr(server, "products", _Part)
    return shop.client(customer.http.headers["authorization"].removeprefix("Bearer "))


async def test_a_deprecated_route_says_since_when_until_when_and_what_instead(
    client: httpx.AsyncClient,
) -> None:
    for path, status in (("/v1/old", 200), ("/v1/old?refuse", 409)):
        answer = await client.get(path)
        assert answer.status_code == status
        assert answer.headers["deprecation"] == "@1793491200"
        assert answer.headers["sunset"] == "Sat, 01 May 2027 00:00:00 GMT"
        expected = '<https://jalur.example/docs/old>; rel="deprecation"; type="text/html"'
        assert answer.headers["link"] == expected
    document = (await client.get("/openapi.json")).json()
    assert document["paths"]["/v1/old"]["get"]["deprecated"] is True


async def test_deprecated_fields_are_told_of_only_where_they_are_used(
    client: httpx.AsyncClient,
) -> None:
    assert "deprecation" not in (await client.get("/v1/newer")).headers
    used = await client.get("/v1/newer?colour=red")
    assert used.headers["deprecation"] == "@1790812800"
    assert "sunset" not in used.headers
    both = await client.get("/v1/newer?colour=red&shape=round")
    assert both.headers.get_list("deprecation") == ["@1790812800"]
    assert both.headers["sunset"] == "Sat, 01 Jan 2028 00:00:00 GMT"
    assert len(both.headers.get_list("link")) == 2


async def test_uses_are_counted_by_reseller_up_to_a_bound(
    shop: Shop, customer: Customer, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metrics, "_MOST_USERS", 1)
    await client.get("/v1/old")
    await client.get("/v1/old")
    other = await shop.customer()
    await other.http.get("/v1/old")
    shown = shop.api.metrics.exposition().decode()
    for reseller, count in ((customer.reseller_id, 2), ("others", 1)):
        line = f'jalur_deprecated_uses_total{{reseller="{reseller}",what="GET /v1/old"}} {count}.0'
        assert line in shown
