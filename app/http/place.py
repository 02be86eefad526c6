"""Placing an order: the hot path, from what is wanted to an accepted order or to a refusal.

Everything is decided in memory, then one commit accepts. An order whose reference stands already
is answered with that order, whatever has changed since: products, prices and routes come and go,
but a reseller that asks again after a lost answer must learn what became of its order.
"""

import hashlib
from datetime import UTC, datetime
from uuid import UUID

import orjson
import structlog
from uuid_utils.compat import uuid7

from app.errors import (
    Conflict,
    FieldError,
    InsufficientBalance,
    Problem,
    Unavailable,
    Unprocessable,
)
from app.hops import HEADER, Hops, loop_in
from app.http.api import Api
from app.http.pick import NUMBER_BUSY_SECONDS, Pick, choose_dealer, inquire, number_of, wrong
from app.lifecycle.accept import (
    Accepted,
    NumberBusy,
    OutOfFunds,
    ReferenceTaken,
    Replayed,
    Submission,
)
from app.storage import order_references, order_views
from app.storage.api_keys import KeyHolder
from app.storage.order_views import OrderView
from app.storage.orders import NewOrder
from app.traces import Trace
from routing.choose import as_record
from routing.monopoly import Market
from schemas.orders import NewOrder as Wanted

log = structlog.get_logger()

_SHED_SECONDS = 5


def shed(api: Api) -> None:
    """Raise Unavailable while too many orders wait: asked before an order's body is read."""
    if api.backlog() >= api.limits.backlog_orders:
        raise Unavailable(
            "overloaded",
            "Too many orders wait for a dealer.",
            retry_after_seconds=_SHED_SECONDS,
        )


async def place(
    api: Api,
    caller: KeyHolder,
    wanted: Wanted,
    hops: Hops | None = None,
    trace: Trace | None = None,
) -> NewOrder | OrderView:
    """Place an order for a reseller: the new order, or the one that its reference stands for.

    `hops`: the installations that it came through; `trace`: what the request belongs to. Raises
    Problem, and what `Acceptor.accept` raises, after which the same reference again tells whether
    the order stands.
    """
    number = number_of(wanted)
    fingerprint = fingerprint_of(wanted, number)
    now = datetime.now(UTC)
    try:
        if hops is not None:
            _refuse_loop(api, hops)
        inquiry = inquire(api.router.trade, caller, wanted, number)
        _refuse_charge(wanted, inquiry.price_rupiah)
        pick = choose_dealer(api, inquiry, number, now)
    except Problem:
        held = await _held(api, caller, wanted.ref_id, fingerprint)
        if held is None:
            raise
        return await _replayed(api, caller, held)
    order = _new_order(api, caller, wanted, number, fingerprint, pick, now, hops, trace)
    return await _accept(api, caller, order, pick)


def fingerprint_of(wanted: Wanted, number: str) -> bytes:
    """What makes two orders under one reference the same order."""
    content = (wanted.sku, number, wanted.region, wanted.outlet_id, wanted.max_price)
    return hashlib.sha256(orjson.dumps(content)).digest()


def _refuse_loop(api: Api, hops: Hops) -> None:
    """Raise Unprocessable for an order that has been here, or that comes too long a way."""
    loop = loop_in(hops, api.installation_id)
    if loop is not None:
        raise wrong("order-loop", HEADER, loop)


def _refuse_charge(wanted: Wanted, price: int) -> None:
    """Raise Conflict for an order that would be charged more than its reseller allows."""
    if wanted.max_charge is not None and price > wanted.max_charge:
        raise Conflict("price-above-limit", f"The price is {price} rupiah, above your limit.")


def _new_order(
    api: Api,
    caller: KeyHolder,
    wanted: Wanted,
    number: str,
    fingerprint: bytes,
    pick: Pick,
    now: datetime,
    hops: Hops | None,
    trace: Trace | None,
) -> NewOrder:
    inquiry, metadata = pick.inquiry, wanted.metadata
    return NewOrder(
        lane=caller.lane,
        order_id=inquiry.order_id or uuid7(),
        reseller_id=caller.reseller_id,
        ref_id=wanted.ref_id,
        fingerprint=fingerprint,
        sku=wanted.sku,
        brand=inquiry.brand,
        customer_number=number,
        cluster=inquiry.cluster,
        region=wanted.region,
        outlet_id=wanted.outlet_id,
        max_price=wanted.max_price,
        price=inquiry.price_rupiah,
        retry_until=now + api.limits.retry_for,
        created_at=now,
        metadata=None if metadata is None else orjson.dumps(metadata).decode(),
        decision=orjson.dumps(as_record(pick.decision)).decode(),
        hops=hops,
        trace=trace,
        # Another installation guards its own resellers, who may well be several for one number.
        may_repeat=wanted.allow_repeat or hops is not None,
    )


# ------------------------------------------------------------------ accepting


async def _accept(api: Api, caller: KeyHolder, order: NewOrder, pick: Pick) -> NewOrder | OrderView:
    """Accept in one commit. The market's share is taken before, so that orders side by side see
    each other, and given back unless the order is new."""
    api.router.take(pick.inquiry, pick.route, order.created_at)
    is_new = False
    try:
        outcome = await api.acceptor.accept(
            Submission(order, pick.route.dealer_id, pick.route, caller.tier, caller.test)
        )
        is_new = isinstance(outcome, Accepted)
    except ReferenceTaken:
        raise _mismatch() from None
    except (OutOfFunds, NumberBusy) as refused:
        # What took the money or the number may be this very order, by way of another process.
        held = await _held(api, caller, order.ref_id, order.fingerprint)
        if held is None:
            raise _refusal(order, refused) from None
        return await _replayed(api, caller, held)
    finally:
        if not is_new:
            api.router.give_back(pick.inquiry, pick.route, order.created_at)
    if isinstance(outcome, Replayed):
        return await _replayed(api, caller, outcome.order_id)
    _tell(api, order, pick)
    return order


def _refusal(order: NewOrder, refused: OutOfFunds | NumberBusy) -> Problem:
    if isinstance(refused, OutOfFunds):
        return InsufficientBalance(
            "insufficient-balance",
            f"{refused.available} rupiah are available, {order.price} are required.",
        )
    return Conflict(
        "number-busy",
        f"Your order {refused.order_id} for this number and product is still open. Once more on "
        "purpose: the same order with `allow_repeat` true.",
        errors=[FieldError("customer_number", f"The order {refused.order_id} is open.")],
        retry_after_seconds=NUMBER_BUSY_SECONDS,
    )


def _tell(api: Api, order: NewOrder, pick: Pick) -> None:
    if not pick.inquiry.test:
        api.metrics.order_accepted()
    if pick.decision.forced_monopoly:
        api.metrics.forced_monopoly(Market(order.brand, order.cluster))
    if pick.decision.monopoly_cost_rupiah:
        market = Market(order.brand, order.cluster)
        api.metrics.monopoly_avoided(market, pick.decision.monopoly_cost_rupiah)
    log.info(
        "order.accepted",
        order_id=order.order_id,
        reseller_id=order.reseller_id,
        dealer_id=pick.route.dealer_id,
        price=order.price,
    )


# ------------------------------------------------------------------ the same reference again


async def _held(api: Api, caller: KeyHolder, ref_id: str, fingerprint: bytes) -> UUID | None:
    """The order that the reference stands for. Raises Unprocessable where it is another one."""
    async with api.pool.acquire(timeout=api.limits.connection_seconds) as connection:
        held = await order_references.find(connection, caller.lane, caller.reseller_id, ref_id)
    if held is None:
        return None
    if held.fingerprint != fingerprint:
        raise _mismatch()
    return held.order_id


async def _replayed(api: Api, caller: KeyHolder, order_id: UUID) -> OrderView:
    async with api.pool.acquire(timeout=api.limits.connection_seconds) as connection:
        view = await order_views.find(connection, caller.lane, caller.reseller_id, order_id)
    if view is None:
        raise RuntimeError(f"the order {order_id} holds a reference but cannot be read")
    if not caller.test:
        api.metrics.order_replayed()
    log.info("order.replayed", order_id=order_id, reseller_id=caller.reseller_id)
    return view


def _mismatch() -> Unprocessable:
    return wrong("idempotency-mismatch", "ref_id", "The reference stands for another order.")
