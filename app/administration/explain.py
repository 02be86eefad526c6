"""Explaining a choice: what the production code would choose now, or what an order keeps of it."""

import json
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from app.administration import resellers
from app.administration.operator import Operator, Scope
from app.errors import FieldError, NotFound, Unprocessable
from app.lifecycle.route import Router
from app.lifecycle.trade import Trade
from app.storage import order_references, orders
from app.storage.pool import Pool
from routing.choose import Decision, Inquiry, Verdict
from routing.clusters import UnknownRegion
from routing.monopoly import MarketTotals
from routing.numbering import InvalidNumber, normalise
from routing.quality import Quality, QualityBook
from routing.table import Product
from routing.verdict import verdict

STANDARD_TIER = "standard"


@dataclass(frozen=True, slots=True)
class Question:
    """An order to think of. Without a number its brand is the product's."""

    sku: str
    number: str | None = None
    region: str | None = None
    tier: str = STANDARD_TIER
    max_price_rupiah: int | None = None
    at: datetime | None = None
    """Aware. When it would be chosen; None: now."""


def explain_choice(
    router: Router, by: Operator, asked: Question, now: datetime
) -> dict[str, object]:
    """What would be chosen for such an order, with every candidate, ready for JSON.

    The ranked come first, in their order, then those that the filter excluded. `at` is the moment
    of the choice; shares, quality and breakers are those of `shares_at`, which is now. Raises
    Unprocessable.
    """
    by.require(Scope.READ)
    trade = router.trade
    inquiry = _inquiry(trade, asked)
    at = asked.at or now
    decision = router.choose_at(inquiry, at, now)
    return {
        "verdict": verdict(decision),
        "sku": inquiry.sku,
        "brand": inquiry.brand,
        "cluster": inquiry.cluster,
        "tier": asked.tier,
        "price": inquiry.price_rupiah,
        "max_price": inquiry.max_price_rupiah,
        "at": at.isoformat(),
        "shares_at": now.isoformat(),
        "revision": trade.revision,
        "table": decision.snapshot.version,
        "dealer": decision.chosen and decision.chosen.dealer_id,
        "refusal": decision.refusal,
        "forced_monopoly": decision.forced_monopoly,
        "cheapest_cost": decision.cheapest_cost_rupiah,
        "monopoly_cost": decision.monopoly_cost_rupiah,
        "market": {"orders": decision.totals.orders, "value": decision.totals.value_rupiah},
        "candidates": _candidates(decision, router.quality, now),
        "left_out": list(trade.faults),
    }


async def explain_order(pool: Pool, by: Operator, order_id: UUID) -> dict[str, object]:
    """What an order keeps of how its dealers were chosen, ready for JSON. Raises NotFound."""
    by.require(Scope.READ)
    async with pool.acquire() as connection:
        lane = await orders.find_lane(connection, order_id)
        if lane is None:
            raise NotFound("not-found", f"There is no order {order_id}.")
        stored = await orders.decisions(connection, lane, order_id)
    return {
        "order_id": str(order_id),
        "attempts": [
            {
                "attempt_no": each.attempt_no,
                "dealer": each.dealer_id,
                "state": each.state,
                "decision": json.loads(each.decision),
            }
            for each in stored
        ],
    }


async def find_order(pool: Pool, by: Operator, reseller: str, ref_id: str) -> UUID:
    """The order that a reseller's reference stands for. Raises NotFound."""
    by.require(Scope.READ)
    async with pool.acquire() as connection:
        account = await resellers.find(connection, reseller)
        lane, reseller_id = account.lane, account.reseller_id
        held = await order_references.find(connection, lane, reseller_id, ref_id)
    if held is None or held.order_id == order_references.NO_ORDER:
        raise NotFound("not-found", f"{account.name} has no order {ref_id}.")
    return held.order_id


# ------------------------------------------------------------------ the question


def _inquiry(trade: Trade, asked: Question) -> Inquiry:
    product = trade.price_book.product(asked.sku)
    if product is None:
        raise _wrong("unknown-sku", "sku", "There is no such product, or it is switched off.")
    price = trade.price_book.price(asked.tier, asked.sku)
    if price is None:
        raise _wrong("invalid-request", "tier", "The product has no price for this tier.")
    number = None if asked.number is None else _number(trade, product, asked.number)
    try:
        cluster = trade.clusters.of(asked.region, None, number)
    except UnknownRegion:
        raise _wrong("unknown-region", "region", "There is no such region.") from None
    return Inquiry(
        asked.sku,
        product.brand,
        cluster,
        price,
        asked.max_price_rupiah,
        tier=asked.tier,
        kind=product.kind,
    )


def _number(trade: Trade, product: Product, raw: str) -> str:
    """The number in its national form, if it is of the product's brand."""
    try:
        number = normalise(raw)
    except InvalidNumber as fault:
        raise _wrong(
            "invalid-number", "number", f"The number is refused: {fault.reason}."
        ) from None
    brand = trade.brands.brand_of(number)
    if brand is None:
        raise _wrong("invalid-number", "number", "The number belongs to no brand that we know.")
    if brand != product.brand:
        sentence = f"The number belongs to {brand}, the product to {product.brand}."
        raise _wrong("brand-mismatch", "number", sentence)
    return number


def _wrong(code: str, field: str, sentence: str) -> Unprocessable:
    return Unprocessable(code, sentence, errors=[FieldError(field, sentence)])


# ------------------------------------------------------------------ the answer


def _candidates(decision: Decision, book: QualityBook, now: datetime) -> list[dict[str, object]]:
    ordered = sorted(decision.verdicts, key=lambda each: (each.rank is None, each.rank or 0))
    kind, rules = decision.inquiry.kind, decision.snapshot.policy.quality
    return [
        _candidate(decision.totals, each, book.of(each.dealer_id, kind, rules, now))
        for each in ordered
    ]


def _candidate(totals: MarketTotals, each: Verdict, quality: Quality) -> dict[str, object]:
    """One candidate; what is known of its quality is null where the sample is too small."""
    known = quality.sample > 0
    return {
        "dealer": each.dealer_id,
        "owner_group": each.owner_group,
        "route": each.route_id,
        "dealer_sku": each.dealer_sku,
        "cost": each.cost_rupiah,
        "rank": each.rank,
        "reason": each.reason,
        "share_before_basis_points": totals.share_basis_points(each.owner_group),
        "share_after_basis_points": totals.share_after_basis_points(
            each.owner_group, each.cost_rupiah
        ),
        "success_basis_points": quality.success_basis_points if known else None,
        "sample": quality.sample,
        "level": quality.level if known else None,
    }
