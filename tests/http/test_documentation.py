"""The API's description is complete and true, and its pages need nobody but us."""

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import httpx
import jsonschema
import pytest

from app.http.server import build_app
from schemas.events import EventType
from schemas.problem_advice import ADVICE
from tests.browser import visit
from tests.http.shop import Shop
from tests.http.test_edges import served

DOCUMENTS = ("/openapi.json", "/admin/openapi.json")


async def document(shop: Shop, path: str) -> dict[str, Any]:
    answer = await shop.client().get(path)
    assert answer.status_code == 200
    return answer.json()


def operations(found: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in found["paths"].items():
        for method, operation in methods.items():
            yield path, method, operation


@pytest.mark.parametrize("path", DOCUMENTS)
async def test_every_operation_is_described_with_examples_and_refusals(
    shop: Shop, path: str
) -> None:
    found = await document(shop, path)
    told = {tag["name"] for tag in found["tags"] if tag["description"]}
    for where, method, operation in operations(found):
        name = f"{method} {where}"
        assert operation["summary"], name
        assert operation["description"], name
        assert operation["tags"], name
        assert set(operation["tags"]) <= told, name
        assert "default" not in operation["responses"], name
        refusals = [
            code
            for answer in operation["responses"].values()
            for code in answer.get("content", {}).get("application/problem+json", {"examples": ()})[
                "examples"
            ]
        ]
        assert {"unavailable", "internal-error"} <= set(refusals), name
        assert set(refusals) <= set(ADVICE), name
        secured = where.startswith(("/v1/", "/admin/v1/")) and "callbacks/{" not in where
        assert ("invalid-key" in refusals) == secured, name
        assert (operation.get("security") != []) == secured, name


@pytest.mark.parametrize("path", DOCUMENTS)
async def test_every_example_fits_its_schema(shop: Shop, path: str) -> None:
    found = await document(shop, path)
    for name, content in contents(found):
        if "schema" not in content or not content["schema"]:
            continue
        shown = [each["value"] for each in content.get("examples", {}).values()]
        for example in [*shown, *([content["example"]] if "example" in content else [])]:
            schema = {**content["schema"], "components": found["components"]}
            try:
                jsonschema.Draft202012Validator(
                    schema, format_checker=jsonschema.FormatChecker()
                ).validate(example)
            except jsonschema.ValidationError as fault:
                pytest.fail(f"{name}: {fault.json_path}: {fault.message}")


def contents(found: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every body that is described, with a name."""
    for where, method, operation in operations(found):
        bodies = [operation.get("requestBody", {}), *operation["responses"].values()]
        for body in bodies:
            for kind, content in body.get("content", {}).items():
                if kind in ("application/json", "application/problem+json"):
                    assert "example" in content or "examples" in content, (method, where)
                yield f"{method} {where} {kind}", content


@pytest.mark.parametrize("path", DOCUMENTS)
async def test_names_are_unique_and_every_reference_and_link_leads_somewhere(
    shop: Shop, path: str
) -> None:
    found = await document(shop, path)
    names = [operation["operationId"] for _, _, operation in operations(found)]
    assert len(names) == len(set(names))
    references = set(re.findall(r"'#/components/schemas/(\w+)'", str(found)))
    assert references == set(found["components"]["schemas"])
    linked = {
        link["operationId"]
        for _, _, operation in operations(found)
        for answer in operation["responses"].values()
        for link in answer.get("links", {}).values()
    }
    assert linked
    assert linked <= set(names)


async def test_placing_an_order_links_to_what_can_be_done_with_it(shop: Shop) -> None:
    found = await document(shop, "/openapi.json")
    links = found["paths"]["/v1/orders"]["post"]["responses"]["202"]["links"]
    assert {"read_order", "cancel_order", "list_order_events"} <= set(links)
    links = found["paths"]["/v1/webhook-endpoints"]["post"]["responses"]["201"]["links"]
    assert "delete_endpoint" in links


async def test_each_kind_of_event_has_its_own_webhook(shop: Shop) -> None:
    found = await document(shop, "/openapi.json")
    assert set(found["webhooks"]) == set(get_args(EventType))
    for each in found["webhooks"].values():
        assert each["post"]["description"]


async def test_resellers_and_operators_are_shown_their_own_side_only(shop: Shop) -> None:
    theirs = (await document(shop, "/openapi.json"))["paths"]
    ours = (await document(shop, "/admin/openapi.json"))["paths"]
    assert not set(theirs) & set(ours)
    assert all(path.startswith(("/v1/", "/problems", "/doors/")) for path in theirs)
    assert not any("callbacks/{" in path for path in theirs)
    assert "/admin/v1/resellers" in ours


async def test_an_unchanged_description_is_not_sent_again(shop: Shop) -> None:
    client = shop.client()
    first = await client.get("/openapi.json")
    again = await client.get("/openapi.json", headers={"if-none-match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize("page", ["/docs", "/redoc", "/admin/docs", "/admin/redoc"])
async def test_a_browser_shows_the_operations_and_asks_nobody_else(
    shop: Shop, tmp_path: Path, page: str
) -> None:
    shown = "/admin/v1/resellers" if "admin" in page else "/v1/orders"
    async with served(shop) as base_url:
        seen = await asyncio.to_thread(visit, base_url + page, tmp_path)
    assert shown in seen.document
    assert any(url.endswith("openapi.json") or "assets" in url for url in seen.asked)
    assert all(url.startswith((base_url, "data:", "blob:")) for url in seen.asked)
    # Redoc shows its maker's picture; the page's policy keeps the browser from asking for it.
    assert all("redoc/logo-mini.svg" in complaint for complaint in seen.complaints)


async def test_pages_are_for_scripts_of_ours_only(shop: Shop) -> None:
    client = shop.client()
    for page in ("/docs", "/redoc"):
        policy = (await client.get(page)).headers["content-security-policy"]
        scripts = re.search(r"script-src ([^;]*);", policy)
        assert policy.startswith("default-src 'none';")
        assert scripts is not None
        assert "unsafe" not in scripts[1]
        assert "http" not in policy
    for asset in ("../__init__.py", "..%2fcore.py", "swagger-ui-bundle.js.map"):
        assert (await client.get(f"/docs/assets/{asset}")).status_code == 404


async def test_the_description_and_the_pages_can_be_turned_off(shop: Shop) -> None:
    transport = httpx.ASGITransport(build_app(shop.api, documented=False))
    async with httpx.AsyncClient(transport=transport, base_url="http://jalur") as client:
        for path in (*DOCUMENTS, "/docs", "/redoc", "/docs/assets/redoc.standalone.js"):
            assert (await client.get(path)).status_code == 404
        assert (await client.get("/problems/no-route")).status_code == 200
