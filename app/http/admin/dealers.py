"""Dealers, for operators: what they are, and whether is bought there."""

from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from app.administration import dealers, documents, refusals
from app.administration.dealers import Edit, NewDealer
from app.administration.desk import Errand
from app.administration.plans import Wanted
from app.http.admin.identity import AnyOperator, DealersOperator, RoutesOperator
from app.http.answers import json_answer, list_answer, secret_answer
from app.http.api import Parts
from app.http.bodies import read_json, takes
from app.storage import processes, reference
from schemas.admin import dealers as shapes
from schemas.admin.routes import PricesPull, PulledPrices
from schemas.admin.shapes import Because

Limit = Annotated[int, Query(ge=1, le=1000)]

routes = APIRouter(prefix="/admin/v1/dealers", tags=["admin"])


@routes.post(
    "",
    response_model=None,
    status_code=201,
    responses={201: {"model": shapes.ConfiguredDealer}},
    openapi_extra=takes(shapes.NewDealer),
)
async def add_dealer(request: Request, api: Parts, by: DealersOperator) -> Response:
    """Add a dealer. Its callback address is shown this once; it gets no orders without routes."""
    new = await read_json(request, shapes.NewDealer, api.limits.body_bytes)
    wanted = NewDealer(
        new.id,
        new.name,
        new.owner_group,
        new.protocol,
        new.base_url,
        new.credentials,
        new.options,
        new.concurrency,
        new.timeout_seconds,
        new.connect_timeout_seconds,
        new.callback_from,
        new.requests_per_second,
        new.test,
    )
    row = await dealers.add(api.pool, by, wanted, api.router.limits, new.reason)
    return secret_answer(
        documents.dealer(row, with_callback=True), f"/admin/v1/dealers/{row.dealer_id}"
    )


@routes.get("", response_model=None, responses={200: {"model": shapes.DealerList}})
async def list_dealers(api: Parts, by: AnyOperator) -> Response:
    """All dealers, by id, without their credentials."""
    async with api.pool.acquire(timeout=api.limits.connection_seconds) as connection:
        rows = await reference.dealers(connection)
    return list_answer([documents.dealer(row) for row in rows], None, has_more=False)


@routes.get("/{dealer_id}", response_model=None, responses={200: {"model": shapes.LiveDealer}})
async def read_dealer(dealer_id: str, api: Parts, by: AnyOperator) -> Response:
    """One dealer, with what may be sent to it now."""
    async with api.pool.acquire(timeout=api.limits.connection_seconds) as connection:
        row = await dealers.find(connection, dealer_id)
        return json_answer(documents.live_dealer(row, await processes.living(connection)))


@routes.get(
    "/{dealer_id}/callbacks",
    response_model=None,
    responses={200: {"model": shapes.DealerCallbacks}},
)
async def list_callbacks(
    dealer_id: str,
    api: Parts,
    by: DealersOperator,
    limit: Limit = 50,
) -> Response:
    """The dealer's last callbacks as they came, with what became of them; refused ones too."""
    async with api.pool.acquire(timeout=api.limits.connection_seconds) as connection:
        seen = await dealers.callbacks_of(connection, dealer_id, limit)
    return list_answer([documents.dealer_callback(each) for each in seen], None, has_more=False)


@routes.patch(
    "/{dealer_id}",
    response_model=None,
    responses={200: {"model": shapes.Dealer, "description": "With `callback_path` if renewed."}},
    openapi_extra=takes(shapes.DealerEdit),
)
async def change_dealer(
    dealer_id: str, request: Request, api: Parts, by: DealersOperator
) -> Response:
    """Change a dealer; refused where it could not be called afterwards."""
    wanted = await read_json(request, shapes.DealerEdit, api.limits.body_bytes)
    edit = Edit(
        wanted.name,
        wanted.owner_group,
        wanted.protocol,
        wanted.base_url,
        wanted.credentials,
        wanted.replace_credentials,
        wanted.options,
        wanted.concurrency,
        wanted.timeout_seconds,
        wanted.connect_timeout_seconds,
        wanted.renew_callback_token,
        wanted.callback_from,
        wanted.requests_per_second,
    )
    done = await dealers.change(api.pool, by, dealer_id, edit, api.router.limits, wanted.reason)
    document = documents.dealer(done.dealer, with_callback=wanted.renew_callback_token)
    return json_answer(document, headers={"cache-control": "no-store"})


@routes.post(
    "/{dealer_id}/pause",
    response_model=None,
    responses={200: {"model": shapes.Dealer}},
    openapi_extra=takes(Because),
)
async def pause_dealer(
    dealer_id: str, request: Request, api: Parts, by: DealersOperator
) -> Response:
    """Buy nothing there until it is resumed; checks and callbacks go on."""
    because = await read_json(request, Because, api.limits.body_bytes)
    done = await dealers.pause(api.pool, by, dealer_id, because.reason)
    return json_answer(documents.dealer(done.dealer))


@routes.post(
    "/{dealer_id}/drain",
    response_model=None,
    responses={200: {"model": shapes.Dealer}},
    openapi_extra=takes(Because),
)
async def drain_dealer(
    dealer_id: str, request: Request, api: Parts, by: DealersOperator
) -> Response:
    """Buy nothing there any more and see through what is open."""
    because = await read_json(request, Because, api.limits.body_bytes)
    done = await dealers.drain(api.pool, by, dealer_id, because.reason)
    return json_answer(documents.dealer(done.dealer))


@routes.post(
    "/{dealer_id}/resume",
    response_model=None,
    responses={200: {"model": shapes.Dealer}},
    openapi_extra=takes(Because),
)
async def resume_dealer(
    dealer_id: str, request: Request, api: Parts, by: DealersOperator
) -> Response:
    """End a pause or a draining; a mute goes on."""
    because = await read_json(request, Because, api.limits.body_bytes)
    done = await dealers.resume(api.pool, by, dealer_id, because.reason)
    return json_answer(documents.dealer(done.dealer))


@routes.post(
    "/{dealer_id}/mute",
    response_model=None,
    responses={200: {"model": shapes.Dealer}},
    openapi_extra=takes(shapes.Mute),
)
async def mute_dealer(
    dealer_id: str, request: Request, api: Parts, by: DealersOperator
) -> Response:
    """Buy nothing there until a moment."""
    wanted = await read_json(request, shapes.Mute, api.limits.body_bytes)
    now = datetime.now(UTC)
    done = await dealers.mute(api.pool, by, dealer_id, wanted.until, now, wanted.reason)
    return json_answer(documents.dealer(done.dealer))


@routes.post(
    "/{dealer_id}/unmute",
    response_model=None,
    responses={200: {"model": shapes.Dealer}},
    openapi_extra=takes(Because),
)
async def unmute_dealer(
    dealer_id: str, request: Request, api: Parts, by: DealersOperator
) -> Response:
    """End a mute."""
    because = await read_json(request, Because, api.limits.body_bytes)
    done = await dealers.unmute(api.pool, by, dealer_id, because.reason)
    return json_answer(documents.dealer(done.dealer))


@routes.get(
    "/{dealer_id}/clusters",
    response_model=None,
    responses={200: {"model": shapes.RefusedClusterList}},
)
async def list_refused_clusters(dealer_id: str, api: Parts, by: AnyOperator) -> Response:
    """Clusters that the dealer refused lately, and until when it is left out of them."""
    async with api.pool.acquire(timeout=api.limits.connection_seconds) as connection:
        found = await refusals.listed(connection, dealer_id, datetime.now(UTC))
    return list_answer([shapes.RefusedCluster.of(each) for each in found], None, has_more=False)


@routes.post(
    "/{dealer_id}/forget-clusters",
    response_model=None,
    responses={200: {"model": shapes.Forgotten}},
    openapi_extra=takes(shapes.ForgetClusters),
)
async def forget_clusters(
    dealer_id: str, request: Request, api: Parts, by: DealersOperator
) -> Response:
    """Forget refused clusters: the dealer is asked there again, within seconds."""
    wanted = await read_json(request, shapes.ForgetClusters, api.limits.body_bytes)
    areas = await refusals.forget(
        api.pool, by, dealer_id, wanted.brand, wanted.cluster, wanted.reason
    )
    return json_answer({"forgotten": [shapes.Market.of(area) for area in areas]})


@routes.post(
    "/{dealer_id}/pull-prices",
    response_model=None,
    responses={200: {"model": PulledPrices}},
    openapi_extra=takes(PricesPull),
)
async def pull_prices(dealer_id: str, request: Request, api: Parts, by: RoutesOperator) -> Response:
    """Set the dealer's own price list against our routes there; `apply` takes it over.

    409 `no-price-list` where its protocol has none, 503 where it does not answer.
    """
    meant = await read_json(request, PricesPull, api.limits.body_bytes)
    wanted = Wanted(dealer_id, allow_rises=meant.yes, reason=meant.reason)
    now = datetime.now(UTC)
    errand = Errand("pull", now, by, wanted, dealer_id=dealer_id, apply=meant.apply)
    return json_answer(await api.desk.run(errand))
