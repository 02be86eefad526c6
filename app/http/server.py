"""The HTTP application: routes, problems and documentation put together around the API's parts."""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic.json_schema import models_json_schema
from starlette.routing import Match, Route
from starlette.types import Scope

from app.http import (
    balances,
    callbacks,
    events,
    health,
    orders,
    place,
    problems,
    products,
    webhook_endpoints,
)
from app.http.api import Api, ApiLimits
from app.http.edge import Edge
from schemas.events import Webhook
from schemas.orders import NewOrder, Order
from schemas.problems import MEDIA_TYPE, ProblemDocument
from schemas.webhook_endpoints import NewWebhookEndpoint

__all__ = ["Api", "ApiLimits", "build_app"]

_DESCRIPTION = (
    "Orders for prepaid top-ups. Money is whole rupiah, times are RFC 3339 with an offset, every "
    "refusal is a problem document with a stable `code`. Sending an order again under the same "
    "`ref_id` never orders twice."
)
_TELEMETRY: Any = {"tracing": False, "metrics": False, "logs": False, "operation_spans": False}
_OPEN_PATHS = ("/livez", "/readyz", "/metrics", "/problems/", "/v1/callbacks/")


def build_app(api: Api, *, for_resellers: bool = True) -> FastAPI:
    """The application. It starts and stops nothing: the parts are running already.

    Without what is for resellers and dealers it only tells how the process is doing.
    """
    app = FastAPI(
        title="Jalur",
        version="1",
        description=_DESCRIPTION,
        docs_url=None,
        redoc_url=None,
        openapi_url="/openapi.json" if for_resellers else None,
        redirect_slashes=False,
        telemetry=_TELEMETRY,
    )
    app.state.api = api
    if for_resellers:
        # Before all others and without FastAPI around it: most requests are orders.
        app.router.routes.insert(0, _PlainRoute("/v1/orders", place.place_order, methods=["POST"]))
        for part in (orders, events, products, balances, webhook_endpoints, callbacks):
            app.include_router(part.routes)
    for part in (health, problems):
        app.include_router(part.routes)
    problems.register(app)
    app.add_middleware(Edge, metrics=api.metrics)
    app.openapi = lambda: _documentation(app)
    return app


class _PlainRoute(Route):
    """A route that FastAPI does not wrap; it names itself to the metrics as FastAPI's do."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        match, child_scope = super().matches(scope)
        if match is not Match.NONE:
            child_scope["route"] = self
        return match, child_scope


# ------------------------------------------------------------------ documentation


def _documentation(app: FastAPI) -> dict[str, Any]:
    if app.openapi_schema is None:
        document = get_openapi(
            title=app.title,
            version=app.version,
            description=app.description,
            routes=app.routes,
        )
        _add_models(document)
        _add_order(document)
        _add_security(document)
        _add_problems(document)
        app.openapi_schema = document
    return app.openapi_schema


def _add_models(document: dict[str, Any]) -> None:
    models = (NewOrder, NewWebhookEndpoint, ProblemDocument, Order, Webhook)
    _, schemas = models_json_schema(
        [(model, "validation") for model in models],
        ref_template="#/components/schemas/{model}",
    )
    for name, schema in schemas["$defs"].items():
        document["components"]["schemas"].setdefault(name, schema)


def _add_order(document: dict[str, Any]) -> None:
    """Describe the one route that FastAPI does not know, and what webhooks send."""
    accepted = _body_of("Order")
    document["paths"]["/v1/orders"]["post"] = {
        "tags": ["orders"],
        "summary": "Place Order",
        "description": place.place_order.__doc__,
        "operationId": "place_order_v1_orders_post",
        "requestBody": {"required": True, **_body_of("NewOrder")},
        "responses": {
            "202": {"description": "Accepted; `Location` names the order.", **accepted},
            "200": {"description": "The reference came again; this is its order.", **accepted},
        },
    }
    document["webhooks"] = {
        "event": {
            "post": {
                "tags": ["webhooks"],
                "summary": "What is sent to webhook endpoints",
                "description": Webhook.__doc__,
                "requestBody": {"required": True, **_body_of("Webhook")},
                "responses": {"2XX": {"description": "Heard. Anything else is tried again."}},
            }
        }
    }


def _body_of(model: str) -> dict[str, Any]:
    schema = {"$ref": f"#/components/schemas/{model}"}
    return {"content": {"application/json": {"schema": schema}}}


def _add_security(document: dict[str, Any]) -> None:
    document["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
    document["security"] = [{"key": []}]
    for path, operations in document["paths"].items():
        if path.startswith(_OPEN_PATHS):
            for operation in operations.values():
                operation["security"] = []


def _add_problems(document: dict[str, Any]) -> None:
    """Every operation may be refused, always in the same form."""
    schema = {"$ref": "#/components/schemas/ProblemDocument"}
    refusal = {"description": "A refusal.", "content": {MEDIA_TYPE: {"schema": schema}}}
    for operations in document["paths"].values():
        for operation in operations.values():
            operation["responses"].pop("422", None)
            operation["responses"]["default"] = refusal
