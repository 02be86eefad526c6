"""Placing an order: the hot path, from what is wanted to an accepted order or to a refusal.

Everything is decided in memory, then one commit accepts. An order whose reference stands already
is answered with that order, whatever has changed since: products, prices and routes come and go,
but a reseller that asks again after a lost answer must learn what became of its order.
"""

import asyncio
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
from app.http.intake import Reason
from app.http.pick import NUMBER_BUSY_SECONDS, Pick, choose_dealer, inquire, number_of, wrong
from app.lifecycle.accept import (
    Accepted,
    NumberBusy,
    Outcome,
    OutOfFunds,
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

_SHED: dict[Reason, str] = {
    "queues": "More orders come than can be taken: the same order again, after `Retry-After`.",
    "backlog": "Too many orders wait for a dealer.",
}


def shed(api: Api, caller: KeyHolder) -> None:
    """Raise Unavailable where an order more is too much: asked before an order's body is read."""
    reason = api.intake.refusal(caller.reseller_id)
    if reason is not None:
        raise not_let_in(reason, api.intake.retry_after_seconds(reason))


def not_let_in(reason: Reason, retry_after_seconds: int) -> Unavailable:
    """What is told to whose order is not let in."""
    return Unavailable("overloaded", _SHED[reason], retry_after_seconds=retry_after_seconds)


async def place(
    api: Api,
    caller: KeyHolder,
    wanted: Wanted,
    hops: Hops | None = None,
    trace: Trace | None = None,
) -> NewOrder | OrderView:
    """Place an order for a reseller: the new order, or the one that its reference stands for.

    `hops`: the installations that it came through; `trace`: what the request belongs to. Raises
    Problem, and what `Acceptor.submit` brings, after which the same reference again tells whether
    the order stands.
    """
    placing = Placing(api, caller, wanted, hops, trace)
    try:
        placing.prepare()
    except Problem as problem:
        return await placing.refused(problem)
    deciding = placing.submit()
    deciding.add_done_callback(placing.decided)
    outcome = await asyncio.shield(deciding)
    return placing.order if isinstance(outcome, Accepted) else await placing.otherwise(outcome)


class Placing:
    """One order on its way in: `prepare`, `submit`, `decided`; `refused` where preparing raised,
    `otherwise` where it was not accepted.

    Preparing decides in memory and changes nothing; only the last two wait for anything.
    """

    __slots__ = ("_api", "_caller", "_fingerprint", "_hops", "_trace", "_wanted", "order", "pick")

    order: NewOrder
    pick: Pick

    def __init__(
        self,
        api: Api,
        caller: KeyHolder,
        wanted: Wanted,
        hops: Hops | None,
        trace: Trace | None,
    ) -> None:
        self._api = api
        self._caller = caller
        self._wanted = wanted
        self._hops = hops
        self._trace = trace
        self._fingerprint = b""

    def prepare(self) -> None:
        """Find what the order is and who would serve it. Raises Problem."""
        api, wanted = self._api, self._wanted
        number = number_of(wanted)
        self._fingerprint = fingerprint_of(wanted, number)
        if self._hops is not None:
            _refuse_loop(api, self._hops)
        inquiry = inquire(api.router.trade, self._caller, wanted, number)
        _refuse_charge(wanted, inquiry.price_rupiah)
        now = datetime.now(UTC)
        self.pick = choose_dealer(api, inquiry, number, now)
        self.order = self._new_order(number, now)

    def submit(self) -> "asyncio.Future[Outcome]":
        """Have it accepted, in one commit with others. `decided` must be told what came of it.

        The market's share is taken before, so that orders side by side see each other. Raises
        Overloaded.
        """
        order, pick = self.order, self.pick
        caller = self._caller
        future = self._api.acceptor.submit(
            Submission(order, pick.route.dealer_id, pick.route, caller.tier, caller.test)
        )
        self._api.router.take(pick.inquiry, pick.route, order.created_at)
        return future

    def decided(self, future: "asyncio.Future[Outcome]") -> bool:
        """The commit is over: tell of a new order, or give its share back. Returns whether it is
        new."""
        order, pick = self.order, self.pick
        failed = future.cancelled() or future.exception() is not None
        if failed or not isinstance(future.result(), Accepted):
            self._api.router.give_back(pick.inquiry, pick.route, order.created_at)
            return False
        self._tell()
        return True

    async def refused(self, problem: Problem) -> OrderView:
        """The order that the reference stands for already. Raises the problem where there is none,
        Unprocessable where that is another order."""
        held = await self._held()
        if held is None:
            raise problem
        return await self._replayed(held)

    async def otherwise(self, outcome: Outcome) -> OrderView:
        """As `refused`, after the batch decided against it."""
        if isinstance(outcome, Replayed):
            return await self._replayed(outcome.order_id)
        if isinstance(outcome, (OutOfFunds, NumberBusy)):
            # What took the money or the number may be this very order, by way of another process.
            return await self.refused(_refusal(self.order, outcome))
        raise _mismatch()

    def _new_order(self, number: str, now: datetime) -> NewOrder:
        pick, wanted, caller = self.pick, self._wanted, self._caller
        inquiry, metadata = pick.inquiry, wanted.metadata
        return NewOrder(
            lane=caller.lane,
            order_id=inquiry.order_id or uuid7(),
            reseller_id=caller.reseller_id,
            ref_id=wanted.ref_id,
            fingerprint=self._fingerprint,
            sku=wanted.sku,
            brand=inquiry.brand,
            customer_number=number,
            cluster=inquiry.cluster,
            region=wanted.region,
            outlet_id=wanted.outlet_id,
            max_price=wanted.max_price,
            price=inquiry.price_rupiah,
            retry_until=now + self._api.limits.retry_for,
            created_at=now,
            metadata=None if metadata is None else orjson.dumps(metadata).decode(),
            decision=orjson.dumps(as_record(pick.decision)).decode(),
            hops=self._hops,
            trace=self._trace,
            # Another installation guards its own resellers, who may well be several for one number.
            may_repeat=wanted.allow_repeat or self._hops is not None,
        )

    def _tell(self) -> None:
        api, order, pick = self._api, self.order, self.pick
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

    async def _held(self) -> UUID | None:
        """The order that the reference stands for. Raises Unprocessable where it is another one."""
        api, caller, ref_id = self._api, self._caller, self._wanted.ref_id
        async with api.pool.acquire(timeout=api.limits.connection_seconds) as connection:
            held = await order_references.find(connection, caller.lane, caller.reseller_id, ref_id)
        if held is None:
            return None
        if held.fingerprint != self._fingerprint:
            raise _mismatch()
        return held.order_id

    async def _replayed(self, order_id: UUID) -> OrderView:
        api, caller = self._api, self._caller
        async with api.pool.acquire(timeout=api.limits.connection_seconds) as connection:
            view = await order_views.find(connection, caller.lane, caller.reseller_id, order_id)
        if view is None:
            raise RuntimeError(f"the order {order_id} holds a reference but cannot be read")
        if not caller.test:
            api.metrics.order_replayed()
        log.info("order.replayed", order_id=order_id, reseller_id=caller.reseller_id)
        return view


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


def _mismatch() -> Unprocessable:
    return wrong("idempotency-mismatch", "ref_id", "The reference stands for another order.")
