"""The API's description and the pages that show it, all served from here.

The pages' scripts are those of Swagger UI and Redoc as an installed package brings them: a browser
that opens a page asks nobody else for anything, and its policy would not let it.
"""

import asyncio
import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from html import escape
from importlib.resources import files

import orjson
from fastapi import APIRouter, FastAPI, Request, Response

from app.errors import NotFound
from app.http import description
from app.http.html import digest, page_headers

_ASSETS = "/docs/assets"
_MEDIA_TYPES = {
    "swagger-ui-bundle.js": "text/javascript; charset=utf-8",
    "swagger-ui.css": "text/css; charset=utf-8",
    "redoc.standalone.js": "text/javascript; charset=utf-8",
    "favicon.png": "image/png",
}
_KEPT_SECONDS = 86_400
_SWAGGER = """
SwaggerUIBundle({{
  url: "{address}", dom_id: "#page", deepLinking: true, validatorUrl: null,
  persistAuthorization: false, tryItOutEnabled: false, displayOperationId: false
}});"""
_REDOC = """
Redoc.init("{address}", {{ disableSearch: false, hideHostname: true }},
  document.getElementById("page"));"""
_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<link rel="icon" href="{assets}/favicon.png">
{style}
</head>
<body>
<div id="page"></div>
<script src="{assets}/{library}"></script>
<script>{script}</script>
</body>
</html>
"""


@dataclass(slots=True)
class _Written:
    """A document as bytes, made when it is first asked for, beside the event loop."""

    make: Callable[[], description.Document]
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    body: bytes = b""
    etag: str = ""

    async def answer(self, request: Request) -> Response:
        """The document, or 304 where the caller has it."""
        async with self.lock:
            if not self.body:
                self.body = await asyncio.to_thread(lambda: orjson.dumps(self.make()))
                self.etag = f'"{hashlib.sha256(self.body).hexdigest()[:32]}"'
        headers = {"etag": self.etag, "cache-control": "no-cache"}
        if request.headers.get("if-none-match") == self.etag:
            return Response(status_code=304, headers=headers)
        return Response(self.body, headers=headers, media_type="application/json")


def add_to(app: FastAPI) -> None:
    """Serve the descriptions of the app's routes, and the pages."""
    routes = APIRouter(include_in_schema=False)
    for folder, title, make in (
        ("", "Jalur", description.for_resellers),
        ("/admin", "Jalur for operators", description.for_operators),
    ):
        _add_document(routes, f"{folder}/openapi.json", _Written(lambda make=make: make(app)))
        _add_page(routes, f"{folder}/docs", _swagger(title, f"{folder}/openapi.json"))
        _add_page(routes, f"{folder}/redoc", _redoc(title, f"{folder}/openapi.json"))
    routes.add_api_route(f"{_ASSETS}/{{name}}", _read_asset, methods=["GET"])
    app.include_router(routes)


def _add_document(routes: APIRouter, path: str, document: _Written) -> None:
    async def read_document(request: Request) -> Response:
        return await document.answer(request)

    routes.add_api_route(path, read_document, methods=["GET"])


def _add_page(routes: APIRouter, path: str, page: Callable[[], Response]) -> None:
    async def read_page() -> Response:
        return page()

    routes.add_api_route(path, read_page, methods=["GET"])


async def _read_asset(name: str) -> Response:
    media_type = _MEDIA_TYPES.get(name)
    if media_type is None:
        raise NotFound("not-found", "There is no such file.")
    content = await asyncio.to_thread((files("fastapi_offline") / "static" / name).read_bytes)
    headers = {
        "cache-control": f"public, max-age={_KEPT_SECONDS}",
        "x-content-type-options": "nosniff",
    }
    return Response(content, headers=headers, media_type=media_type)


# ------------------------------------------------------------------ pages


def _swagger(title: str, address: str) -> Callable[[], Response]:
    style = f'<link rel="stylesheet" href="{_ASSETS}/swagger-ui.css">'
    script = _SWAGGER.format(address=address)
    return _page(title, "swagger-ui-bundle.js", script, style, "style-src 'self'; ")


def _redoc(title: str, address: str) -> Callable[[], Response]:
    """Redoc writes its styles into the page, and searches in a worker made out of a blob."""
    script = _REDOC.format(address=address)
    policy = "style-src 'self' 'unsafe-inline'; worker-src blob:; "
    return _page(title, "redoc.standalone.js", script, "", policy)


def _page(title: str, library: str, script: str, style: str, policy: str) -> Callable[[], Response]:
    body = _PAGE.format(
        title=escape(title), assets=_ASSETS, library=library, script=script, style=style
    )
    headers = page_headers(
        f"script-src 'self' '{digest(script)}'; img-src 'self' data:; connect-src 'self'; {policy}"
    )
    return lambda: Response(body, headers=headers, media_type="text/html")
