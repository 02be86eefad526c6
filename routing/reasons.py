"""Why a dealer was not bought from: one stable code for each way to lose.

The codes are kept with every order and shown to ops, so an existing one never changes meaning.
"""

from enum import StrEnum


class Reason(StrEnum):
    """Why one candidate was not chosen. The filter's reasons come first, in no ranking."""

    DISABLED = "disabled"
    """The route is switched off."""
    DEALER_DISABLED = "dealer-disabled"
    """The dealer is switched off."""
    DEALER_UNUSABLE = "dealer-unusable"
    """The dealer cannot be called as it is configured."""
    DRAINED = "drained"
    """The dealer gets no new orders while its open ones finish."""
    MUTED = "muted"
    """The dealer is paused until a set time."""
    NOT_YET_VALID = "not-yet-valid"
    """The offer starts later."""
    EXPIRED = "expired"
    """The offer has ended."""
    OUTSIDE_HOURS = "outside-hours"
    """The offer does not sell at this time of day in WIB (Western Indonesia, UTC+7)."""
    DEALER_DOWN = "dealer-down"
    """The dealer's breaker holds calls back."""
    TRIED = "tried"
    """This order was already attempted at this dealer."""
    LOSS_GUARD = "loss-guard"
    """The cost leaves less than the minimum margin below the reseller's price."""
    ABOVE_MAX_PRICE = "above-max-price"
    """The cost is above the limit that the order carries."""
    LOW_FLOAT = "low-float"
    """What is known to be left on our account at the dealer does not cover the cost."""
    PRICE_RISEN = "price-risen"
    """The dealer charged more than the route's cost, and the cost has not followed yet."""
    QUOTA_USED = "quota-used"
    """The route has sold as many orders today, in WIB, as it may."""
    REPEATED = "repeated"
    """The dealer sells this product for one number only so often a day, in WIB."""
    CLUSTER_REFUSED = "cluster-refused"
    """The dealer refused several numbers of this cluster as outside its area, and served none
    since."""
    GONE = "gone"
    """An earlier choice that the table in force no longer offers for this product and cluster."""

    DECLARED_MONOPOLY = "declared-monopoly"
    """Ops declared the owner group a monopoly in this market."""
    MONOPOLY_BARRED = "monopoly-barred"
    """The owner group's share before this order stood at or above the cap."""
    TOP_THREE_BARRED = "top-three-barred"
    """The three largest groups together stood at or above their cap: only the one ranked first and
    the one with the lowest share may serve."""
    BELOW_QUALITY = "below-quality"
    """The dealer's success rate is below the floor: it serves only where no better one can."""
    OUTSIDE_PREMIUM = "outside-premium"
    """Too much dearer than the cheapest to serve merely for avoiding a monopoly."""
    DEARER = "dearer"
    """Allowed, but a candidate ranked before it was chosen."""


RANKED = frozenset(
    {
        Reason.DECLARED_MONOPOLY,
        Reason.MONOPOLY_BARRED,
        Reason.TOP_THREE_BARRED,
        Reason.BELOW_QUALITY,
        Reason.OUTSIDE_PREMIUM,
        Reason.DEARER,
    }
)
"""Reasons of candidates that passed the filter; all others exclude before any ranking."""


class NoPick(StrEnum):
    """Why an order found no dealer at all."""

    NO_ROUTE = "no-route"
    """No candidate passed the filter, or the table offers none."""
    ALL_BARRED = "all-barred"
    """Every candidate inside the premium is barred, and the policy refuses such orders."""


class RowFault(StrEnum):
    """Why a route was left out of the compiled table."""

    NO_PRICE = "no-price"
    PRICE_NOT_POSITIVE = "price-not-positive"
    UNKNOWN_DEALER = "unknown-dealer"
    UNKNOWN_PRODUCT = "unknown-product"
    BAD_HOURS = "bad-hours"
    """A window that opens and closes at the same time, or times that carry a zone."""
    BAD_VALIDITY = "bad-validity"
    """A date without a zone, or an end that is not after the start."""
    BAD_LIMIT = "bad-limit"
    """A daily quota or a repeat limit below 1, or a negative weight."""
    BAD_TEXT = "bad-text"
    """An id, a SKU or a cluster with a tab or a line break in it."""
