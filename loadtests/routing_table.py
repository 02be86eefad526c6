"""A routing table of any size for measuring, the orders asked of it, and the dealer due to each.

Product n is of brand n mod 8, and dealer n mod 8 is its cheapest; the seven others follow at 0.2 %
each, so that all eight are inside the premium. The owner of a brand's cheapest dealer holds too
much of that market: every pick has to pass over one and take the next.
"""

import random
from collections.abc import Iterator
from datetime import UTC, datetime

import orjson

from routing.choose import Decision, Inquiry, Live, as_record, choose
from routing.monopoly import GroupTotal, MarketTotals
from routing.snapshot import Snapshot, compile_table
from routing.table import NO_CONDITION, Condition, Dealer, Policy, Product, Route, read_hours

CANDIDATES = 8
"""Offers of each product, each of another dealer, each dealer of another owner."""

_PRICE_RUPIAH = 20_000
_CHEAPEST_RUPIAH = 10_000
_STEP_RUPIAH = 20
_WITH_HOURS = Condition(hours=read_hours("00:15-23:45"))
_DEALERS_WITH_HOURS = 2
_NOON = datetime(2025, 6, 2, 5, 0, tzinfo=UTC)
_ORDERS_OF_LEADER, _ORDERS_OF_OTHERS = 520, 68
_DOWN: frozenset[str] = frozenset()

Question = tuple[Inquiry, MarketTotals]
"""An order, and its market before it."""


def compiled(routes: int) -> Snapshot:
    """The table compiled; making its rows is part of the time that this takes."""
    dealers = [Dealer(_dealer(number), _owner(number)) for number in range(CANDIDATES)]
    return compile_table(dealers, _products(routes), _routes(routes), Policy())


def picked(snapshot: Snapshot, question: Question) -> Decision:
    """What a process does to choose a dealer for an order."""
    inquiry, totals = question
    live = Live(snapshot.lasting or snapshot.standing(_is_up, _NOON))
    return choose(snapshot, inquiry, live, totals, _NOON)


def recorded(decision: Decision) -> bytes:
    """The proof that the order keeps."""
    return orjson.dumps(as_record(decision))


def questions(routes: int, count: int, seed: int) -> list[Question]:
    """Orders for products drawn at random among those that all dealers offer."""
    drawn = random.Random(seed).choices(range(complete_products(routes)), k=count)
    markets = [_market(brand) for brand in range(CANDIDATES)]
    return [
        (Inquiry(sku(number), _brand(number), None, _PRICE_RUPIAH), markets[number % CANDIDATES])
        for number in drawn
    ]


def complete_products(routes: int) -> int:
    """How many products of so many routes all dealers offer; at most one more has fewer offers."""
    return routes // CANDIDATES


def sku(number: int) -> str:
    """A product's name: nine digits, so that a table of telephone prefixes can hold it."""
    return f"{number:09}"


def is_due(question: Question, decision: Decision) -> bool:
    """Whether the second cheapest was picked, and the record tells of all candidates."""
    number = int(question[0].sku)
    due = decision.chosen is not None and decision.chosen.dealer_id == _dealer(number + 1)
    record = orjson.loads(recorded(decision))
    told = record["monopoly_cost"] == _STEP_RUPIAH and len(record["candidates"]) == CANDIDATES
    return due and told


def _products(routes: int) -> Iterator[Product]:
    for number in range(-(-routes // CANDIDATES)):
        yield Product(sku(number), f"Product {number}", _brand(number), "pulsa", 10_000)


def _routes(routes: int) -> Iterator[Route]:
    for number in range(routes):
        product, rank = divmod(number, CANDIDATES)
        dealer = (product + rank) % CANDIDATES
        yield Route(
            route_id=f"r-{number:09}",
            sku=sku(product),
            cluster=None,
            dealer_id=_dealer(dealer),
            dealer_sku=f"d{product}",
            cost_rupiah=_CHEAPEST_RUPIAH + rank * _STEP_RUPIAH,
            condition=_WITH_HOURS if dealer < _DEALERS_WITH_HOURS else NO_CONDITION,
        )


def _dealer(number: int) -> str:
    return f"dealer-{number % CANDIDATES}"


def _owner(number: int) -> str:
    return f"owner-{number % CANDIDATES}"


def _brand(number: int) -> str:
    return f"brand-{number % CANDIDATES}"


def _market(brand: int) -> MarketTotals:
    groups = {
        _owner(brand + rank): _total(_ORDERS_OF_OTHERS if rank else _ORDERS_OF_LEADER)
        for rank in range(CANDIDATES)
    }
    return MarketTotals.of(groups)


def _total(orders: int) -> GroupTotal:
    return GroupTotal(orders * _CHEAPEST_RUPIAH, orders)


def _is_up(dealer_id: str) -> bool:
    return dealer_id not in _DOWN
