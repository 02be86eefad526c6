"""The HTTP application: routes, problems and documentation put together around the API's parts."""

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import Any, cast

from fastapi import FastAPI
from fastapi.routing import APIRoute
from starlette.routing import Route
from starlette.types import ASGIApp

from app.http import (
    balance_alerts,
    balances,
    callbacks,
    deliveries,
    documentation,
    events,
    health,
    keys,
    ledger,
    order_batches,
    order_door,
    orders,
    outlets,
    play_money,
    problem_pages,
    problems,
    products,
    quotes,
    stream_door,
    webhook_endpoints,
)
from app.http.admin import catalogue, dealers, floats, operators, resellers, reviews
from app.http.admin import routes as routing_table
from app.http.api import Api, ApiLimits, Needs
from app.http.description import operation_id
from app.http.doors import digiflazz, irs, otomax
from app.http.edge import ORDERS_PATH, Edge
from app.http.gate import Gate
from app.http.order_shortcut import OrderShortcut, address_reader
from app.http.stream_door import STREAM_PATH
from app.http.wire import GatheringProtocol, ShortWay
from app.scopes import KeyScope

__all__ = ["Api", "ApiLimits", "build_app", "wire_protocol"]

_TELEMETRY: Any = {"tracing": False, "metrics": False, "logs": False, "operation_spans": False}


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


def build_app(api: Api, *, for_resellers: bool = True, documented: bool = True) -> ASGIApp:
    """The application. It starts and stops nothing: the parts are running already.

    Without what is for resellers and dealers it only tells how the process is doing. `documented`:
    with its description and the pages that show it.
    """
    if not for_resellers:
        nobody = _build_fastapi(api, None, documented=False)
        return Edge(nobody, nobody, api.metrics, api.draining)
    door = order_door.OrderDoor(api)
    return Edge(_build_fastapi(api, door, documented=documented), door, api.metrics, api.draining)


def wire_protocol(
    api: Api | None, trusted_proxies: Sequence[object] = ()
) -> type[asyncio.Protocol]:
    """What uvicorn is to speak: with `api`, new orders take the shortcut to it."""
    short_way = None
    if api is not None:
        shortcut = OrderShortcut(api, address_reader(trusted_proxies))
        target = ORDERS_PATH.encode()
        first_line = b"POST %b HTTP/1.1\r\n" % target
        short_way = ShortWay(
            shortcut, Gate(api), b"POST", target, first_line, api.limits.body_bytes
        )
    return cast("type[asyncio.Protocol]", partial(GatheringProtocol, short_way=short_way))


def _build_fastapi(api: Api, door: ASGIApp | None, *, documented: bool) -> FastAPI:
    app = FastAPI(
        title="Jalur",
        version="1",
        openapi_url=None,
        redirect_slashes=False,
        generate_unique_id_function=operation_id,
        telemetry=_TELEMETRY,
    )
    app.state.api = api
    app.state.scopes = dict(_scopes())
    if door is not None:
        # Served before it comes here; the route tells which methods the address has.
        app.router.routes.insert(0, Route(ORDERS_PATH, door, methods=["POST"]))
        stream = Route(STREAM_PATH, stream_door.StreamDoor(api), methods=["GET"])
        stream.methods = {"GET"}  # Starlette adds HEAD, which would never end
        app.router.routes.insert(0, stream)
        for part in _parts():
            app.include_router(part.routes)
    for part in (health, problem_pages):
        app.include_router(part.routes)
    if documented:
        documentation.add_to(app)
    problems.register(app)
    return app


def _scopes() -> Iterator[tuple[tuple[str, str], KeyScope]]:
    """What a key must open for an operation, by its path and method."""
    yield (ORDERS_PATH, "post"), KeyScope.ORDERS_WRITE
    yield (STREAM_PATH, "get"), KeyScope.ORDERS_READ
    for part in _parts():
        for route in part.routes.routes:
            if isinstance(route, APIRoute):
                for each in route.dependant.dependencies:
                    if isinstance(each.call, Needs):
                        for method in route.methods or ():
                            yield (route.path_format, method.lower()), each.call.scope
