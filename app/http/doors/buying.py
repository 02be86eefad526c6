"""Buying through a door: an order placed as any other, and told in one of four states.

Clients of these protocols ask for an order's state by sending it again, and pay their customer back
once they read "failed". So three rules hold at every door:

- "Failed" is told of an order that failed, or of a request that was certainly refused while no
  order stands for its reference. Whatever else goes wrong is pending.
- What was told as failed without an order stays so: its reference is noted before it is told, and
  sending it again buys nothing.
- One request a reference at a time, so that of two alike none is refused while the other is taken.
"""

import asyncio
import hashlib
from dataclasses import dataclass, replace
from typing import Final
from uuid import UUID
from weakref import WeakValueDictionary

import orjson
import structlog
from pydantic import TypeAdapter, ValidationError

from app.errors import Problem, Unprocessable
from app.http.api import Api
from app.http.place import place, shed
from app.http.problems import EXPECTED, internal_error, problem_of, unreadable_body
from app.shapes.telling import State, Told, state_of
from app.storage import door_refusals, order_views, statements
from app.storage.api_keys import KeyHolder
from app.storage.door_refusals import Refusal
from app.storage.order_views import OrderView
from app.storage.orders import NewOrder
from app.traces import Trace
from routing.numbering import InvalidNumber, normalise
from schemas.orders import NewOrder as Wanted
from schemas.orders import Reference

log = structlog.get_logger()

CERTAIN: Final = frozenset(
    {
        "invalid-request",
        "unknown-sku",
        "invalid-number",
        "brand-mismatch",
        "unknown-region",
        "price-above-limit",
        "no-route",
        "number-busy",
        "outlet-blocked",
        "order-loop",
        "insufficient-balance",
    }
)
"""Problems that say for certain that nothing was accepted, and that the request is at fault or
cannot be served: these alone are told as failed. A limit or an overload says nothing of an order
that was placed before."""

MISMATCH: Final = "idempotency-mismatch"

_REFERENCE: TypeAdapter[str] = TypeAdapter(Reference)
_turns: WeakValueDictionary[tuple[UUID, str], asyncio.Lock] = WeakValueDictionary()


@dataclass(frozen=True, slots=True)
class Asked:
    """What a client asks for, as it wrote it. `max_charge` in rupiah."""

    ref_id: str
    sku: str
    customer_number: str
    max_charge: int | None = None
    allow_repeat: bool = False
    """Whether the client says that it means this product for this number once more."""
    fault: str | None = None
    """Why it cannot be an order, where its protocol tells."""

    def told(self, state: State, reason: str | None = None) -> Told:
        """It as it stands, without an order."""
        return Told(self.ref_id, self.sku, self.customer_number, state, reason)

    def fingerprint(self) -> bytes:
        """What makes two requests under one reference the same."""
        try:
            number = normalise(self.customer_number)
        except InvalidNumber:
            number = self.customer_number
        return hashlib.sha256(orjson.dumps((self.sku, number))).digest()

    def wanted(self) -> Wanted:
        """It as an order. Raises Problem."""
        if self.fault is not None:
            raise Unprocessable("invalid-request", self.fault)
        try:
            return Wanted(
                ref_id=self.ref_id,
                sku=self.sku,
                customer_number=self.customer_number,
                max_charge=self.max_charge,
                allow_repeat=self.allow_repeat,
            )
        except ValidationError as error:
            raise unreadable_body(error) from None


async def buy(api: Api, caller: KeyHolder, asked: Asked, trace: Trace | None) -> Told:
    """Place an order, or tell of the one that its reference stands for. Never raises.

    `trace`: what the request belongs to.
    """
    if not is_reference(asked.ref_id):
        return asked.told(State.FAILED, "invalid-request")
    turn = _turns.setdefault((caller.reseller_id, asked.ref_id), asyncio.Lock())
    async with turn:
        told = await _in_turn(api, caller, asked, trace)
    return await with_balance(api, caller, told)


async def look(api: Api, caller: KeyHolder, ref_id: str) -> Told | None:
    """The order that a reference stands for. Raises what the database does."""
    async with api.pool.acquire(timeout=api.limits.connection_seconds) as connection:
        views = await order_views.of_references(
            connection, caller.lane, caller.reseller_id, [ref_id], order_views.Wanted()
        )
    if not views:
        return None
    view = views[0]
    return await with_balance(api, caller, _told(view, view.sku, view.customer_number))


async def with_balance(api: Api, caller: KeyHolder, told: Told) -> Told:
    """With what can be spent now, where that can be read."""
    try:
        return replace(told, balance=await spendable(api, caller))
    except EXPECTED as error:
        log.warning("door.without_balance", reason=type(error).__name__)
        return told


async def spendable(api: Api, caller: KeyHolder) -> int:
    """What the caller can order for now, in rupiah: its balance and its credit."""
    async with api.pool.acquire(timeout=api.limits.connection_seconds) as connection:
        balance = await statements.balance(connection, caller.lane, caller.reseller_id)
    return balance.available + balance.credit_limit if balance else 0


def is_reference(text: str) -> bool:
    """Whether an order could stand for it."""
    try:
        _REFERENCE.validate_python(text, strict=True)
    except ValidationError:
        return False
    return True


async def _in_turn(api: Api, caller: KeyHolder, asked: Asked, trace: Trace | None) -> Told:
    try:
        return await _placed(api, caller, asked, trace)
    except EXPECTED as error:
        problem = problem_of(error)
    except Exception:
        log.exception("door.failed")
        problem = internal_error()
    api.metrics.order_refused(problem.code)
    return await _refused(api, caller, asked, problem)


async def _placed(api: Api, caller: KeyHolder, asked: Asked, trace: Trace | None) -> Told:
    """Place it. Raises Problem and what `place` raises."""
    shed(api, caller)
    noted = await _noted(api, caller, asked)
    if noted is not None:
        return noted
    placed = await place(api, caller, asked.wanted(), trace=trace)
    return _told(placed, asked.sku, asked.customer_number)


async def _noted(api: Api, caller: KeyHolder, asked: Asked) -> Told | None:
    """What the reference was refused with before. Raises Unprocessable for another request."""
    async with api.pool.acquire(timeout=api.limits.connection_seconds) as connection:
        before = await door_refusals.find(connection, caller.lane, caller.reseller_id, asked.ref_id)
    if before is None:
        return None
    if before.fingerprint != asked.fingerprint():
        raise Unprocessable(MISMATCH, "The reference was used for another request.")
    return asked.told(State.FAILED, before.code)


async def _refused(api: Api, caller: KeyHolder, asked: Asked, problem: Problem) -> Told:
    """Failed where that is certain, and noted; else pending."""
    if problem.code not in CERTAIN:
        return asked.told(State.PENDING, problem.code)
    refusal = Refusal(asked.fingerprint(), problem.code)
    try:
        async with api.pool.acquire(timeout=api.limits.connection_seconds) as connection:
            of_reference = caller.lane, caller.reseller_id, asked.ref_id
            free = await door_refusals.note(connection, *of_reference, refusal)
            if not free:
                # By an order, or by the same refusal to the same request beside this one.
                free = await door_refusals.find(connection, *of_reference) == refusal
    except EXPECTED as error:
        return asked.told(State.PENDING, problem_of(error).code)
    if not free:
        return asked.told(State.PENDING, MISMATCH)
    return asked.told(State.FAILED, problem.code)


def _told(placed: NewOrder | OrderView, sku: str, customer_number: str) -> Told:
    if isinstance(placed, NewOrder):
        return Told(
            placed.ref_id,
            sku,
            customer_number,
            State.PENDING,
            order_id=placed.order_id,
            price=placed.price,
        )
    return Told(
        placed.ref_id,
        sku,
        customer_number,
        state_of(placed.status),
        placed.failure_code,
        placed.order_id,
        placed.serial_number,
        placed.price,
    )
