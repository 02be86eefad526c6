"""The HTTP application: routes, problems and documentation put together around the API's parts."""

from collections.abc import Iterable, Iterator
from typing import Any, get_args

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute
from pydantic.json_schema import models_json_schema
from starlette.routing import Route
from starlette.types import ASGIApp

from app.hops import HEADER
from app.http import (
    balance_alerts,
    balances,
    callbacks,
    deliveries,
    events,
    health,
    keys,
    ledger,
    order_batches,
    order_door,
    orders,
    outlets,
    play_money,
    problems,
    products,
    quotes,
    stream_door,
    webhook_endpoints,
)
from app.http.admin import catalogue, dealers, floats, operators, resellers, reviews
from app.http.admin import routes as routing_table
from app.http.api import Api, ApiLimits, Needs
from app.http.doors import digiflazz, irs, otomax
from app.http.edge import ORDERS_PATH, Edge
from app.http.stream_door import STREAM_PATH
from app.scopes import KeyScope
from schemas.admin import OPERATORS_BODIES
from schemas.deliveries import Replay
from schemas.events import EventType, Webhook
from schemas.keys import KeyReplacement, NewOwnKey
from schemas.money import BalanceAlert, PlayDeposit
from schemas.orders import NewOrder, NewOrderBatch, Order
from schemas.outlets import OutletState
from schemas.problems import MEDIA_TYPE, ProblemDocument
from schemas.quotes import NewQuote
from schemas.reviews import DisputeEnd, ReviewDecision
from schemas.webhook_endpoints import NewWebhookEndpoint, Rotation, WebhookEndpointEdit

__all__ = ["Api", "ApiLimits", "build_app"]

_DESCRIPTION = (
    "Orders for prepaid top-ups. Money is whole rupiah, times are RFC 3339 with an offset, every "
    "refusal is a problem document with a stable `code`. Sending an order again under the same "
    "`ref_id` never orders twice."
)
_TELEMETRY: Any = {"tracing": False, "metrics": False, "logs": False, "operation_spans": False}
_OPEN_PATHS = ("/livez", "/readyz", "/metrics", "/problems/", "/v1/callbacks/")


def _parts() -> Iterable[Any]:
    """Everything for resellers, dealers and operators."""
    return (
        order_batches,
        orders,
        quotes,
        events,
        products,
        balances,
        ledger,
        outlets,
        balance_alerts,
        webhook_endpoints,
        deliveries,
        keys,
        play_money,
        callbacks,
        resellers,
        catalogue,
        dealers,
        floats,
        operators,
        routing_table,
        reviews,
        digiflazz,
        otomax,
        irs,
    )


def build_app(api: Api, *, for_resellers: bool = True) -> ASGIApp:
    """The application. It starts and stops nothing: the parts are running already.

    Without what is for resellers and dealers it only tells how the process is doing.
    """
    if not for_resellers:
        nobody = _build_fastapi(api, None)
        return Edge(nobody, nobody, api.metrics, api.draining)
    door = order_door.OrderDoor(api)
    return Edge(_build_fastapi(api, door), door, api.metrics, api.draining)


def _build_fastapi(api: Api, door: ASGIApp | None) -> FastAPI:
    app = FastAPI(
        title="Jalur",
        version="1",
        description=_DESCRIPTION,
        docs_url=None,
        redoc_url=None,
        openapi_url="/openapi.json" if door else None,
        redirect_slashes=False,
        telemetry=_TELEMETRY,
    )
    app.state.api = api
    if door is not None:
        # Served before it comes here; the route tells which methods the address has.
        app.router.routes.insert(0, Route(ORDERS_PATH, door, methods=["POST"]))
        stream = Route(STREAM_PATH, stream_door.StreamDoor(api), methods=["GET"])
        stream.methods = {"GET"}  # Starlette adds HEAD, which would never end
        app.router.routes.insert(0, stream)
        for part in _parts():
            app.include_router(part.routes)
    for part in (health, problems):
        app.include_router(part.routes)
    problems.register(app)
    app.openapi = lambda: _documentation(app)
    return app


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
        _add_stream(document)
        _add_security(document)
        _add_problems(document)
        app.openapi_schema = document
    return app.openapi_schema


def _add_models(document: dict[str, Any]) -> None:
    models = (
        NewOrder,
        NewOrderBatch,
        NewQuote,
        NewWebhookEndpoint,
        OutletState,
        WebhookEndpointEdit,
        Rotation,
        Replay,
        BalanceAlert,
        NewOwnKey,
        KeyReplacement,
        PlayDeposit,
        ReviewDecision,
        DisputeEnd,
        ProblemDocument,
        Order,
        Webhook,
        *OPERATORS_BODIES,
    )
    _, schemas = models_json_schema(
        [(model, "validation") for model in models],
        ref_template="#/components/schemas/{model}",
    )
    for name, schema in schemas["$defs"].items():
        document["components"]["schemas"].setdefault(name, schema)


def _add_order(document: dict[str, Any]) -> None:
    """Describe the one route that FastAPI does not know, and what webhooks send."""
    accepted = _body_of("Order")
    document["paths"][ORDERS_PATH]["post"] = {
        "tags": ["orders"],
        "summary": "Place Order",
        "description": order_door.OrderDoor.__doc__,
        "operationId": "place_order_v1_orders_post",
        "parameters": [
            {
                "name": HEADER,
                "in": "header",
                "schema": {"type": "string"},
                "description": "The installations that the order came through, from another one.",
            },
            {
                "name": "traceparent",
                "in": "header",
                "schema": {"type": "string"},
                "description": "Your trace (W3C Trace Context): kept with the order and sent with "
                "its webhooks.",
            },
            {
                "name": order_door.IDEMPOTENCY_KEY,
                "in": "header",
                "schema": {"type": "string"},
                "description": "Not needed; where it comes, it is the `ref_id`, bare or quoted.",
            },
        ],
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


def _add_stream(document: dict[str, Any]) -> None:
    text = {"type": "string"}
    types = {"type": "array", "items": {**text, "enum": list(get_args(EventType))}}
    document["paths"][STREAM_PATH] = {
        "get": {
            "tags": ["events"],
            "summary": "Stream Events",
            "description": stream_door.StreamDoor.__doc__,
            "operationId": "stream_events_v1_events_stream_get",
            "parameters": [
                {"name": "Last-Event-ID", "in": "header", "schema": text},
                {"name": "cursor", "in": "query", "schema": text},
                {"name": "type", "in": "query", "schema": types},
            ],
            "responses": {
                "200": {
                    "description": "The events, for as long as both sides like.",
                    "content": {"text/event-stream": {"schema": text}},
                }
            },
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
    for route, scope in _scoped_routes():
        for method in route.methods or ():
            operation = document["paths"][route.path_format][method.lower()]
            operation["security"] = [{"key": [scope]}]
    document["paths"][ORDERS_PATH]["post"]["security"] = [{"key": [KeyScope.ORDERS_WRITE]}]
    document["paths"][STREAM_PATH]["get"]["security"] = [{"key": [KeyScope.ORDERS_READ]}]


def _scoped_routes() -> Iterator[tuple[APIRoute, KeyScope]]:
    """Routes whose dependency asks a scope of a key, and which."""
    for part in _parts():
        for route in part.routes.routes:
            if isinstance(route, APIRoute):
                for each in route.dependant.dependencies:
                    if isinstance(each.call, Needs):
                        yield route, each.call.scope


def _add_problems(document: dict[str, Any]) -> None:
    """Every operation may be refused, always in the same form."""
    schema = {"$ref": "#/components/schemas/ProblemDocument"}
    refusal = {"description": "A refusal.", "content": {MEDIA_TYPE: {"schema": schema}}}
    for operations in document["paths"].values():
        for operation in operations.values():
            operation["responses"].pop("422", None)
            operation["responses"]["default"] = refusal
