"""The API's description in OpenAPI 3.1: one document for resellers, one for operators.

FastAPI tells the routes and their models. Added here is what it does not know, as far as possible
by rule, so that a new route is described like the others without a line here: which problems an
operation may answer with, examples, the texts of fields, and the links from what was made to what
can be done with it.
"""

import ast
import inspect
import pkgutil
from collections.abc import Iterator, Mapping
from importlib import import_module
from itertools import pairwise
from typing import Any, TypeAlias, cast, get_args

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

import schemas as wire
from app.errors import Problem
from app.hops import HEADER
from app.http.edge import ORDERS_PATH
from app.http.examples import example_of
from app.http.order_door import IDEMPOTENCY_KEY
from app.http.refusals import by_status, codes_of
from app.http.stream_door import STREAM_PATH, StreamDoor
from app.scopes import KeyScope
from schemas.events import EventType
from schemas.problems import CATALOGUE, MEDIA_TYPE, problem_document

Document: TypeAlias = dict[str, Any]
Scopes = Mapping[tuple[str, str], KeyScope]
"""What a key must open, by path and method."""

_JSON = "application/json"
_REFERENCE = "#/components/schemas/"
_TITLES = {kind.status: kind.title for kind in (Problem, *Problem.__subclasses__())}
_DESCRIPTION = """\
Orders for prepaid top-ups: phone credit (*pulsa*), data and the like, bought once and reported by
signed webhooks. Money is whole rupiah, times are RFC 3339 with an offset. Every refusal is a
problem document (RFC 9457) with a stable `code` that [the catalogue](/problems) explains. Sending
an order again under the same `ref_id` never buys twice."""
_FOR_OPERATORS = """\
The operators' side: resellers and their money, products and prices, dealers, the routing table and
reviews. Every request needs an operator's token with the scope that the act asks for. Dealers'
callbacks and what machines ask about a process are here as well."""

_TAGS = {
    "orders": "Place an order, follow it, cancel it while it is not at a dealer.",
    "quotes": "What an order would cost and whether it could be served now, without ordering.",
    "events": "What webhooks tell, to be read by cursor or as a stream.",
    "products": "What you can order, at your own prices.",
    "money": "Your balance and every movement of it.",
    "outlets": "Your points of sale and where they stand.",
    "webhooks": "Where you want to be told of what, and what was sent there.",
    "keys": "Your API keys.",
    "test side": "What only test keys do: orders and money that are not real.",
    "doors": "The same service in the forms that other systems of the trade speak.",
    "problems": "What the `type` of a refusal stands for.",
    "admin": "For operators.",
    "dealers": "Where dealers tell what became of a purchase.",
    "operations": "How a process is doing.",
}

_EVENTS = {
    "order.succeeded": "An order was delivered and charged.",
    "order.failed": "An order was not delivered; its money is back. `failure` says why.",
    "order.reversed": "An order that had succeeded was taken back by the dealer, and refunded.",
    "order.corrected": "An order that had failed was delivered after all, and is charged.",
    "order.updated": "A delivered order's serial number came late or is another one now.",
    "balance.low": "Your balance fell below the mark that you set.",
    "endpoint.disabled": "An endpoint of yours is not sent anything any more; its events wait.",
    "test.ping": "The test that you asked for; nothing happened.",
}

_EVENTS_DATA = {
    "balance.low": "LowBalance",
    "endpoint.disabled": "DisabledEndpoint",
    "test.ping": "Ping",
}
"""What an event carries that is not about an order."""

_WEBHOOK_HEADERS = {
    "webhook-id": (
        "The event's id, the same on every try: work on each once.",
        "evt_01a200b2-2c89",
    ),
    "webhook-timestamp": (
        "When this try was made, in seconds; part of what is signed.",
        "1795308006",
    ),
    "webhook-signature": ("One signature or, while a secret rotates, several.", "v1,K5oZfzN95Z9U="),
}


def operation_id(route: APIRoute) -> str:
    """A name that stays when a path changes; operators' acts have a name space of their own."""
    return f"admin_{route.name}" if route.path_format.startswith("/admin/") else route.name


def for_resellers(app: FastAPI) -> Document:
    """What a reseller's developer needs."""
    document = _document(app, _DESCRIPTION, for_operators=False)
    document["webhooks"] = dict(_webhooks(document["components"]["schemas"]))
    _finish(document, app.state.scopes)
    return document


def for_operators(app: FastAPI) -> Document:
    """The operators' side, and what machines call."""
    document = _document(app, _FOR_OPERATORS, for_operators=True)
    _finish(document, app.state.scopes)
    return document


def _is_for_operators(path: str) -> bool:
    outside = ("/v1/", "/problems", "/doors/")
    return path.startswith("/v1/callbacks") or not path.startswith(outside)


def _document(app: FastAPI, text: str, *, for_operators: bool) -> Document:
    document = get_openapi(
        title="Jalur for operators" if for_operators else "Jalur",
        version=app.version,
        description=text,
        routes=app.routes,
    )
    _add_models(document)
    if ORDERS_PATH in document["paths"]:
        schemas = document["components"]["schemas"]
        document["paths"][ORDERS_PATH]["post"] = _place_order(schemas)
        document["paths"][STREAM_PATH] = {"get": _stream_events()}
    document["paths"] = {
        path: operations
        for path, operations in document["paths"].items()
        if _is_for_operators(path) == for_operators
    }
    return document


def _finish(document: Document, scopes: Scopes) -> None:
    """All that follows from the operations by rule."""
    _add_security(document, scopes)
    schemas = document["components"]["schemas"]
    for path, _, operation in _operations(document):
        _add_headers(operation)
        _add_problems(path, operation)
        _add_examples(operation, schemas)
    _add_links(document)
    used = {tag for _, _, operation in _operations(document) for tag in operation.get("tags", ())}
    used |= {"webhooks"} if "webhooks" in document else set()
    document["tags"] = [
        {"name": name, "description": text} for name, text in _TAGS.items() if name in used
    ]
    document["components"]["schemas"] = _referenced(document, schemas)


def _operations(document: Document) -> Iterator[tuple[str, str, Document]]:
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            yield path, method, operation


# ------------------------------------------------------------------ models


def _add_models(document: Document) -> None:
    """Every model of the wire: bodies are read by hand, so FastAPI does not know their models."""
    models = list(_models())
    _, generated = models_json_schema(
        [(model, "validation") for model in models], ref_template=_REFERENCE + "{model}"
    )
    schemas = document["components"].setdefault("schemas", {})
    for name, schema in generated["$defs"].items():
        schemas.setdefault(name, schema)
    _shorten_references(document, schemas)
    for model in models:
        long_name = f"{model.__module__}.{model.__name__}".replace(".", "__")
        _add_texts(schemas.get(long_name) or schemas.get(model.__name__, {}), model)


def _shorten_references(node: Any, schemas: Mapping[str, Any]) -> None:  # noqa: ANN401 (any JSON)
    """Bodies name their models with the module, which stays only where two have the same name."""
    if isinstance(node, dict):
        items = cast("dict[str, Any]", node)
        name = str(items.get("$ref", "")).removeprefix(_REFERENCE)
        if name and name not in schemas:
            items["$ref"] = _REFERENCE + name.rpartition("__")[2]
        for each in items.values():
            _shorten_references(each, schemas)
    elif isinstance(node, list):
        for each in cast("list[Any]", node):
            _shorten_references(each, schemas)


def _models() -> Iterator[type[BaseModel]]:
    for module in pkgutil.walk_packages(wire.__path__, "schemas."):
        for _, found in inspect.getmembers(import_module(module.name), inspect.isclass):
            if issubclass(found, BaseModel) and found.__module__ == module.name:
                yield found


def _add_texts(schema: Document, model: type[BaseModel]) -> None:
    """The strings that stand below a model's fields, as the descriptions of these."""
    (body,) = ast.parse(inspect.getsource(model)).body
    statements = body.body if isinstance(body, ast.ClassDef) else []
    for field, text in pairwise(statements):
        if not isinstance(field, ast.AnnAssign) or not isinstance(text, ast.Expr):
            continue
        described = schema.get("properties", {}).get(ast.unparse(field.target))
        if described is not None and isinstance(text.value, ast.Constant):
            described["description"] = inspect.cleandoc(str(text.value.value))


def _referenced(document: Document, schemas: Mapping[str, Any]) -> Document:
    """The schemas that the document refers to, and those that these refer to."""
    kept: Document = {}
    waiting = list(_references({**document, "components": {}}))
    while waiting:
        name = waiting.pop()
        if name not in kept and name in schemas:
            kept[name] = schemas[name]
            waiting += _references(schemas[name])
    return dict(sorted(kept.items()))


def _references(node: Any) -> Iterator[str]:  # noqa: ANN401 (any JSON value)
    if isinstance(node, Mapping):
        items = cast("Mapping[str, Any]", node)
        if isinstance(items.get("$ref"), str):
            yield items["$ref"].removeprefix(_REFERENCE)
        for each in items.values():
            yield from _references(each)
    elif isinstance(node, list):
        for each in cast("list[Any]", node):
            yield from _references(each)


# ------------------------------------------------------------------ what FastAPI does not know


def _place_order(schemas: Mapping[str, Any]) -> Document:
    accepted = _example(
        "Order", schemas, status="accepted", serial_number=None, version=1, finished_at=None
    )
    return {
        "tags": ["orders"],
        "summary": "Place Order",
        "description": "Place an order: 202 with a new order, 200 with the one that its reference "
        "stands for. If no answer comes, or a 5xx, send the same again: it is never bought twice.",
        "operationId": "place_order",
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
                "name": IDEMPOTENCY_KEY,
                "in": "header",
                "schema": {"type": "string"},
                "description": "Not needed; where it comes, it is the `ref_id`, bare or quoted.",
            },
        ],
        "requestBody": {"required": True, **_body_of("NewOrder")},
        "responses": {
            "202": {
                "description": "Accepted; `Location` names the order. It is still open.",
                **_body_of("Order", accepted),
            },
            "200": {
                "description": "The reference came again; this is its order.",
                **_body_of("Order"),
            },
        },
    }


def _stream_events() -> Document:
    text = {"type": "string"}
    types = {"type": "array", "items": {**text, "enum": list(get_args(EventType))}}
    last = "The `id` of the last event heard: the stream goes on behind it."
    return {
        "tags": ["events"],
        "summary": "Stream Events",
        "description": StreamDoor.__doc__,
        "operationId": "stream_events",
        "parameters": [
            {"name": "Last-Event-ID", "in": "header", "schema": text, "description": last},
            {"name": "cursor", "in": "query", "schema": text, "description": "The same, by query."},
            {"name": "type", "in": "query", "schema": types, "description": "Only these."},
        ],
        "responses": {
            "200": {
                "description": "The events, for as long as both sides like.",
                "content": {"text/event-stream": {"schema": text}},
            }
        },
    }


def _body_of(model: str, example: Document | None = None) -> Document:
    schema = {"$ref": _REFERENCE + model}
    return {"content": {_JSON: {"schema": schema} | ({"example": example} if example else {})}}


def _example(model: str, schemas: Mapping[str, Any], **told: object) -> Document:
    """The model's example, with some fields as told."""
    made = example_of({"$ref": _REFERENCE + model}, schemas, whole=True)
    return {**cast("Document", made), **told}


def _webhooks(schemas: Mapping[str, Any]) -> Iterator[tuple[str, Document]]:
    headers = [
        {
            "name": name,
            "in": "header",
            "required": True,
            "schema": {"type": "string"},
            "description": text,
            "example": example,
        }
        for name, (text, example) in _WEBHOOK_HEADERS.items()
    ]
    body = {"$ref": f"{_REFERENCE}Webhook"}
    for event in get_args(EventType):
        data = _EVENTS_DATA.get(event, "Order")
        example = _example("Webhook", schemas, type=event, data=_example(data, schemas))
        told = {"type": {"const": event}, "data": {"$ref": _REFERENCE + data}}
        schema = {"allOf": [body, {"properties": told}]}
        operation = {
            "tags": ["webhooks"],
            "operationId": f"webhook_{event.replace('.', '_')}",
            "summary": event,
            "description": _EVENTS[event],
            "parameters": headers,
            "requestBody": {
                "required": True,
                "content": {_JSON: {"schema": schema, "example": example}},
            },
            "responses": {"2XX": {"description": "Heard. Anything else is tried again."}},
        }
        yield event, {"post": operation}


# ------------------------------------------------------------------ what follows by rule


def _add_security(document: Document, scopes: Scopes) -> None:
    document["components"]["securitySchemes"] = {
        "key": {
            "type": "http",
            "scheme": "bearer",
            "description": "`Authorization: Bearer jalur_…`, the whole key as it was shown.",
        }
    }
    document["security"] = [{"key": []}]
    for path, method, operation in _operations(document):
        if (path, method) in scopes:
            operation["security"] = [{"key": [scopes[path, method]]}]
        if path.startswith("/v1/callbacks") or not path.startswith(("/v1/", "/admin/v1/")):
            operation.setdefault("security", [])


def _add_headers(operation: Document) -> None:
    """ETags where 304 is answered, `Location` where something was made."""
    responses = operation["responses"]
    if "304" in responses:
        tag = _header("Names this state; send it as `If-None-Match`.", 'W/"2-succeeded"')
        for status in {"200", "304"} & set(responses):
            responses[status].setdefault("headers", {}).setdefault("ETag", tag)
        known = {each["name"].lower() for each in operation.setdefault("parameters", [])}
        if "if-none-match" not in known:
            operation["parameters"].append(
                {
                    "name": "If-None-Match",
                    "in": "header",
                    "schema": {"type": "string"},
                    "description": "The last `ETag`: 304 while nothing has changed.",
                }
            )
    for status in {"201", "202"} & set(responses):
        place = _header("The address of what was made.", "/v1/orders/01a200b2-2c5c")
        responses[status].setdefault("headers", {}).setdefault("Location", place)


def _header(text: str, example: str) -> Document:
    return {"description": text, "schema": {"type": "string"}, "example": example}


def _add_problems(path: str, operation: Document) -> None:
    """Each status of a refusal with its codes, always in the same form."""
    responses = operation["responses"]
    responses.pop("422", None)
    for status, codes in by_status(codes_of(path, operation)).items():
        meanings = "\n".join(f"- `{code}`: {CATALOGUE[code]}" for code in codes)
        described = responses.get(str(status), {}).get("description")
        responses[str(status)] = {
            "description": meanings if described is None else f"{described}\n\n{meanings}",
            "content": {
                **responses.get(str(status), {}).get("content", {}),
                MEDIA_TYPE: {
                    "schema": {"$ref": f"{_REFERENCE}ProblemDocument"},
                    "examples": {code: {"value": _problem(code, status)} for code in codes},
                },
            },
        }


def _problem(code: str, status: int) -> Document:
    return problem_document(
        code=code,
        title=_TITLES[status],
        status=status,
        detail=CATALOGUE[code],
        errors=[],
        trace_id="853d1e1b7cfb587067c6dc7cda17e574",
    )


def _add_examples(operation: Document, schemas: Mapping[str, Any]) -> None:
    request = operation.get("requestBody", {}).get("content", {})
    for content, whole in (
        (request, False),
        *((answer.get("content", {}), True) for answer in operation["responses"].values()),
    ):
        told = content.get(_JSON)
        if told is not None and "schema" in told and not {"example", "examples"} & set(told):
            told["example"] = example_of(told["schema"], schemas, whole=whole)


def _add_links(document: Document) -> None:
    """From what was made, or stands first in a list, to every operation on such a thing."""
    for path, method, operation in _operations(document):
        status, pointer = {"post": ("201", "/id"), "get": ("200", "/data/0/id")}.get(
            method, ("", "")
        )
        answer = operation["responses"].get(
            "202" if path == ORDERS_PATH and pointer == "/id" else status
        )
        if answer is None or not _has_id(answer, document, pointer):
            continue
        links = dict(_links_from(document, path, f"$response.body#{pointer}"))
        if links:
            answer["links"] = links


def _has_id(answer: Document, document: Document, pointer: str) -> bool:
    """Whether the answer's schema has an id at the pointer."""
    node = answer.get("content", {}).get(_JSON, {}).get("schema", {})
    for part in (*pointer.split("/")[1:-1], "id"):
        node = document["components"]["schemas"].get(
            node.get("$ref", "").removeprefix(_REFERENCE), node
        )
        node = node.get("items") if part == "0" else node.get("properties", {}).get(part)
        if node is None:
            return False
    return True


def _links_from(document: Document, path: str, place: str) -> Iterator[tuple[str, Document]]:
    for other, _, operation in _operations(document):
        parts = other.removeprefix(f"{path}/").split("/")
        name = parts[0].strip("{}")
        alone = sum(part.startswith("{") for part in parts) == 1
        if other.startswith(f"{path}/{{") and alone:
            yield (
                operation["operationId"],
                {"operationId": operation["operationId"], "parameters": {name: place}},
            )
