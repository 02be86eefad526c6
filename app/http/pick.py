"""Picking: what an order for a product and a number would cost, and which dealer would serve it.

Everything is decided in memory; nothing is taken, written or promised.
"""

from dataclasses import dataclass, replace
from datetime import datetime

from uuid_utils.compat import uuid7

from app.errors import Conflict, FieldError, Unprocessable
from app.http.api import Api
from app.lifecycle.trade import Trade
from app.storage.api_keys import KeyHolder
from routing.choose import Decision, Inquiry
from routing.clusters import UnknownRegion
from routing.numbering import InvalidNumber, NumberFault, normalise
from routing.reasons import Reason
from routing.table import Route
from schemas.orders import TopUpWish

NUMBER_BUSY_SECONDS = 60
_NO_ROUTE_SECONDS = 30

_NUMBER_FAULTS = {
    NumberFault.EMPTY: "is empty",
    NumberFault.TOO_MANY_CHARACTERS: "is too long",
    NumberFault.FOREIGN_CHARACTER: "holds something else than digits and separators",
    NumberFault.NOT_MOBILE: "must begin with 08, 628 or +628",
    NumberFault.WRONG_LENGTH: "must have 9 to 12 digits after the leading 0 or 62",
}


@dataclass(frozen=True, slots=True)
class Pick:
    """What an order would be: its number, its price, the dealer chosen for it."""

    inquiry: Inquiry
    decision: Decision
    route: Route


def number_of(wish: TopUpWish) -> str:
    """The customer number in its national form. Raises Unprocessable."""
    try:
        return normalise(wish.customer_number)
    except InvalidNumber as fault:
        raise _invalid_number(_NUMBER_FAULTS[fault.reason]) from None


def _invalid_number(why: str) -> Unprocessable:
    return Unprocessable(
        "invalid-number",
        f"The customer number {why}.",
        errors=[FieldError("customer_number", why)],
    )


def choose_dealer(api: Api, inquiry: Inquiry, number: str, now: datetime) -> Pick:
    """The dealer for what was inquired about. Raises Conflict where none can serve it now."""
    repeats = api.router.repeats.of(number, inquiry.sku, now)
    if repeats:
        inquiry = replace(inquiry, repeats=repeats)
    decision = api.router.choose(inquiry, now)
    if decision.chosen is None:
        if Reason.REPEATED in decision.excluded:
            raise Conflict(
                "number-busy",
                "Those who could serve this order sell this product for the number only so often "
                "a day, and have.",
                retry_after_seconds=NUMBER_BUSY_SECONDS,
            )
        raise Conflict(
            "no-route",
            "No dealer can serve this order now.",
            retry_after_seconds=_NO_ROUTE_SECONDS,
        )
    return Pick(inquiry, decision, decision.chosen)


def inquire(trade: Trade, caller: KeyHolder, wish: TopUpWish, number: str) -> Inquiry:
    """What a dealer is to be found for, with the reseller's price. Raises Unprocessable."""
    product = trade.price_book.product(wish.sku)
    price = trade.price_book.price(caller.tier, wish.sku)
    if product is None or price is None:
        raise wrong("unknown-sku", "sku", "There is no such product for you.")
    brand = trade.brands.brand_of(number)
    if brand is None:
        raise _invalid_number("belongs to no brand that we know")
    if brand != product.brand:
        raise wrong(
            "brand-mismatch",
            "customer_number",
            f"The number belongs to {brand}, the product to {product.brand}.",
        )
    outlet = None if wish.outlet_id is None else (caller.reseller_id, wish.outlet_id)
    if outlet in trade.clusters.blocked:
        raise wrong("outlet-blocked", "outlet_id", "You blocked this outlet.")
    try:
        cluster = trade.clusters.of(wish.region, outlet, number)
    except UnknownRegion:
        raise wrong("unknown-region", "region", "There is no such region.") from None
    return Inquiry(
        wish.sku,
        brand,
        cluster,
        price,
        wish.max_price,
        tier=caller.tier,
        kind=product.kind,
        order_id=uuid7(),
        test=caller.test,
    )


def wrong(code: str, field: str, sentence: str) -> Unprocessable:
    """A field that cannot be ordered with."""
    return Unprocessable(code, sentence, errors=[FieldError(field, sentence)])
