"""The counter: what one request creates in the book, and how its answer will leave.

Nothing here awaits. From looking a reference up to recording it no other request can come
between, which is why the same reference never delivers twice, however many callers send it.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from dealers.simulator.agenda import Agenda
from dealers.simulator.behaviour import (
    SUCCESS,
    Manner,
    Plan,
    Reason,
    State,
    Timing,
    digits_of,
    plan_of,
    told_by_callback,
)
from dealers.simulator.book import Book, Purchase, serial_number_of
from dealers.simulator.config import Dealer
from dealers.simulator.dialect import Ask, Desk, Incoming, Reply
from dealers.simulator.market import Market


@dataclass(frozen=True, slots=True)
class Served:
    """An answer and the manner in which it leaves."""

    reply: Reply
    manner: Manner = Manner.PLAIN


_SPOILT: Mapping[Manner, Reply] = MappingProxyType(
    {
        Manner.CUT: Reply(b""),
        Manner.GARBAGE: Reply(b"\x00\xff\xfe<<%{\x13\x9d\xc3(]", b"application/octet-stream"),
        Manner.HTTP_500: Reply(b"Internal Server Error", status=500),
        Manner.HTTP_503: Reply(b"Service Unavailable", status=503),
    }
)


class Sales:
    """Serves buyers' requests out of the book."""

    def __init__(self, book: Book, agenda: Agenda, market: Market, timing: Timing) -> None:
        self._book = book
        self._agenda = agenda
        self._market = market
        self._timing = timing

    def serve(self, desk: Desk, incoming: Incoming) -> Served:
        """Answer one request; what it created is recorded when this returns."""
        dealer, dialect = desk.dealer, desk.dialect
        ask = dialect.read(dealer, incoming, self._book.balance_rupiah(dealer))
        if isinstance(ask, Reply):
            return Served(ask)
        known = self._book.find((dealer.dealer_id, ask.dealer_ref))
        if ask.only_status or (known is not None and not _may_try_again(known, ask)):
            balance_rupiah = self._book.balance_rupiah(dealer)
            return Served(dialect.recall(dealer, ask, known, balance_rupiah))
        # Whoever comes back after a lost first try is served without further trouble.
        calm = dealer.always_succeeds or known is not None
        return self._sell(desk, ask, SUCCESS if calm else digits_of(ask.customer_number))

    def _sell(self, desk: Desk, ask: Ask, digits: str) -> Served:
        plan = plan_of(digits)
        refusal = _refusal(desk.dealer, ask, plan)
        if refusal is not None:
            return self._refuse(desk, ask, refusal)
        purchase = self._create(desk, ask, digits, desk.dealer.price_of(ask.sku) or 0)
        self._market.sold(desk.dealer, ask.sku)
        reply = _SPOILT.get(plan.manner)
        if reply is None:
            balance_rupiah = self._book.balance_rupiah(desk.dealer)
            reply = desk.dialect.confirm(desk.dealer, purchase, balance_rupiah)
        return Served(reply, plan.manner)

    def _refuse(self, desk: Desk, ask: Ask, reason: Reason) -> Served:
        balance_rupiah = self._book.balance_rupiah(desk.dealer)
        return Served(desk.dialect.refuse(desk.dealer, ask, reason, balance_rupiah))

    def _create(self, desk: Desk, ask: Ask, digits: str, price_rupiah: int) -> Purchase:
        if getattr(desk.dialect, "RESULT_BY_CALLBACK", False):
            digits = told_by_callback(digits)
        now, plan = time.time(), plan_of(digits)
        dealer_id, number = desk.dealer.dealer_id, self._book.next_number()
        delivered = plan.state is State.SUCCEEDED
        serial_number = ""
        if delivered and plan.has_serial:
            serial_number = serial_number_of(dealer_id, ask.dealer_ref, number)
        purchase = Purchase(
            dealer_id=dealer_id,
            dealer_ref=ask.dealer_ref,
            customer_number=ask.customer_number,
            sku=ask.sku,
            number=number,
            price_rupiah=price_rupiah,
            digits=digits,
            state=plan.state,
            callback_url=ask.callback_url or desk.dealer.callback_url,
            created_at=now,
            reason=plan.failure if plan.state is State.FAILED else None,
            serial_number=serial_number,
            delivered_at=now if delivered else None,
            due_at=now + self._timing.before_step(plan.steps[0].after) if plan.steps else None,
        )
        self._book.record(purchase)
        self._agenda.follow(purchase)
        return purchase


def _may_try_again(known: Purchase, ask: Ask) -> bool:
    same = (known.customer_number, known.sku) == (ask.customer_number, ask.sku)
    return known.state is State.LOST and same


def _refusal(dealer: Dealer, ask: Ask, plan: Plan) -> Reason | None:
    """Why nothing is sold, by what the dealer offers now and by what the digits ask for."""
    price_rupiah, limit_rupiah = dealer.price_of(ask.sku), ask.max_price_rupiah
    if price_rupiah is None:
        return Reason.UNKNOWN_PRODUCT
    if not dealer.is_in_stock(ask.sku):
        return Reason.STOCK
    if limit_rupiah is not None and price_rupiah > limit_rupiah:
        return Reason.PRICE
    return None if _is_within_limit(plan, ask) else plan.refusal


def _is_within_limit(plan: Plan, ask: Ask) -> bool:
    """A risen price is no ground for refusing a buyer who set no limit."""
    return plan.refusal is Reason.PRICE and not ask.price_limited
