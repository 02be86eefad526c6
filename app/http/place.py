"""Placing an order: the hot path, from what is wanted to an accepted order or to a refusal.

Everything is decided in memory, then one commit accepts. An order whose reference stands already
is answered with that order, whatever has changed since: products, prices and routes come and go,
but a reseller that asks again after a lost answer must learn what became of its order.
"""

import hashlib
from dataclasses import dataclass
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
from app.lifecycle.accept import (
    Accepted,
    NumberBusy,
    OutOfFunds,
    ReferenceTaken,
    Replayed,
    Submission,
)
from app.lifecycle.trade import Trade
from app.storage import order_references, order_views
from app.storage.api_keys import KeyHolder
from app.storage.order_views import OrderView
from app.storage.orders import NewOrder
from app.traces import Trace
from routing.choose import Decision, Inquiry, as_record
from routing.clusters import UnknownRegion
from routing.monopoly import Market
from routing.numbering import InvalidNumber, NumberFault, normalise
from routing.reasons import Reason
from routing.table import Route
from schemas.orders import NewOrder as Wanted

log = structlog.get_logger()

_SHED_SECONDS = 5
_NO_ROUTE_SECONDS = 30
_NUMBER_BUSY_SECONDS = 60

_NUMBER_FAULTS = {
    NumberFault.EMPTY: "is empty",
    NumberFault.TOO_MANY_CHARACTERS: "is too long",
    NumberFault.FOREIGN_CHARACTER: "holds something else than digits and separators",
    NumberFault.NOT_MOBILE: "must begin with 08, 628 or +628",
    NumberFault.WRONG_LENGTH: "must have 9 to 12 digits after the leading 0 or 62",
}


@dataclass(frozen=True, slots=True)
class _Pick:
    """What an order would be: its number, its price, the dealer chosen for it."""

    inquiry: Inquiry
    decision: Decision
    route: Route


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
    number = _number(wanted)
    fingerprint = fingerprint_of(wanted, number)
    now = datetime.now(UTC)
    try:
        if hops is not None:
            _refuse_loop(api, hops)
        pick = _pick(api, caller, wanted, number, now)
    except Problem:
        held = await _held(api, caller, wanted.ref_id, fingerprint)
        if held is None:
            raise
        return await _replayed(api, caller, held)
    order = _new_order(api, caller, wanted, number, fingerprint, pick, now, hops, trace)
    return await _accept(api, caller, order, pick)


# ------------------------------------------------------------------ deciding, in memory


def fingerprint_of(wanted: Wanted, number: str) -> bytes:
    """What makes two orders under one reference the same order."""
    content = (wanted.sku, number, wanted.region, wanted.outlet_id, wanted.max_price)
    return hashlib.sha256(orjson.dumps(content)).digest()


def _number(wanted: Wanted) -> str:
    try:
        return normalise(wanted.customer_number)
    except InvalidNumber as fault:
        raise _invalid_number(_NUMBER_FAULTS[fault.reason]) from None


def _invalid_number(why: str) -> Unprocessable:
    return Unprocessable(
        "invalid-number",
        f"The customer number {why}.",
        errors=[FieldError("customer_number", why)],
    )


def _refuse_loop(api: Api, hops: Hops) -> None:
    """Raise Unprocessable for an order that has been here, or that comes too long a way."""
    loop = loop_in(hops, api.installation_id)
    if loop is not None:
        raise _wrong("order-loop", HEADER, loop)


def _pick(api: Api, caller: KeyHolder, wanted: Wanted, number: str, now: datetime) -> _Pick:
    """The dealer for an order. Raises Unprocessable, Conflict."""
    repeats = api.router.repeats.of(number, wanted.sku, now)
    inquiry = _inquiry(api.router.trade, caller, wanted, number)._replace(repeats=repeats)
    decision = api.router.choose(inquiry, now)
    if decision.chosen is None:
        if Reason.REPEATED in decision.excluded:
            raise Conflict(
                "number-busy",
                "Those who could serve this order sell this product for the number only so often "
                "a day, and have.",
                retry_after_seconds=_NUMBER_BUSY_SECONDS,
            )
        raise Conflict(
            "no-route",
            "No dealer can serve this order now.",
            retry_after_seconds=_NO_ROUTE_SECONDS,
        )
    return _Pick(inquiry, decision, decision.chosen)


def _inquiry(trade: Trade, caller: KeyHolder, wanted: Wanted, number: str) -> Inquiry:
    product = trade.price_book.product(wanted.sku)
    price = trade.price_book.price(caller.tier, wanted.sku)
    if product is None or price is None:
        raise _wrong("unknown-sku", "sku", "There is no such product for you.")
    if wanted.max_charge is not None and price > wanted.max_charge:
        raise Conflict("price-above-limit", f"The price is {price} rupiah, above your limit.")
    brand = trade.brands.brand_of(number)
    if brand is None:
        raise _invalid_number("belongs to no brand that we know")
    if brand != product.brand:
        raise _wrong(
            "brand-mismatch",
            "customer_number",
            f"The number belongs to {brand}, the product to {product.brand}.",
        )
    outlet = None if wanted.outlet_id is None else (caller.reseller_id, wanted.outlet_id)
    if outlet in trade.clusters.blocked:
        raise _wrong("outlet-blocked", "outlet_id", "You blocked this outlet.")
    try:
        cluster = trade.clusters.of(wanted.region, outlet, number)
    except UnknownRegion:
        raise _wrong("unknown-region", "region", "There is no such region.") from None
    return Inquiry(
        wanted.sku,
        brand,
        cluster,
        price,
        wanted.max_price,
        tier=caller.tier,
        kind=product.kind,
        order_id=uuid7(),
    )


def _wrong(code: str, field: str, sentence: str) -> Unprocessable:
    return Unprocessable(code, sentence, errors=[FieldError(field, sentence)])


def _new_order(
    api: Api,
    caller: KeyHolder,
    wanted: Wanted,
    number: str,
    fingerprint: bytes,
    pick: _Pick,
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


async def _accept(
    api: Api, caller: KeyHolder, order: NewOrder, pick: _Pick
) -> NewOrder | OrderView:
    """Accept in one commit. The market's share is taken before, so that orders side by side see
    each other, and given back unless the order is new."""
    api.router.take(pick.inquiry, pick.route, order.created_at)
    is_new = False
    try:
        outcome = await api.acceptor.accept(
            Submission(order, pick.route.dealer_id, pick.route, caller.tier)
        )
        is_new = isinstance(outcome, Accepted)
    except ReferenceTaken:
        raise _mismatch() from None
    except OutOfFunds as short:
        raise InsufficientBalance(
            "insufficient-balance",
            f"{short.available} rupiah are available, {order.price} are required.",
        ) from None
    except NumberBusy as busy:
        raise Conflict(
            "number-busy",
            f"Your order {busy.order_id} for this number and product is still open. Once more on "
            "purpose: the same order with `allow_repeat` true.",
            errors=[FieldError("customer_number", f"The order {busy.order_id} is open.")],
            retry_after_seconds=_NUMBER_BUSY_SECONDS,
        ) from None
    finally:
        if not is_new:
            api.router.give_back(pick.inquiry, pick.route, order.created_at)
    if isinstance(outcome, Replayed):
        return await _replayed(api, caller, outcome.order_id)
    _tell(api, order, pick)
    return order


def _tell(api: Api, order: NewOrder, pick: _Pick) -> None:
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
    api.metrics.order_replayed()
    log.info("order.replayed", order_id=order_id, reseller_id=caller.reseller_id)
    return view


def _mismatch() -> Unprocessable:
    return _wrong("idempotency-mismatch", "ref_id", "The reference stands for another order.")
