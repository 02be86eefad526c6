"""Retry: where an order goes next, and when, after a purchase that did not serve it.

A dealer that was sent a purchase is tried no more. One that was sent nothing may be: at once where
that was our own doing, else after every other dealer. Each time it waits longer, and not for ever.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import orjson

from app.lifecycle.route import Router
from app.words import NOT_REACHED, UNSENT, AttemptState
from routing.choose import Decision, Inquiry, as_record
from routing.reasons import Reason
from routing.table import Route

MOST_UNSENT = 12
"""After so many attempts of which nothing was sent, none is made there again."""
_LONGEST_PAUSE_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Try:
    """A purchase of the order that did not serve it. `unsent`: the code of why nothing was sent."""

    dealer_id: str
    unsent: str | None


@dataclass(frozen=True, slots=True)
class Next:
    """Where to buy next. `decision`: JSON text of the choice; None where none was made anew."""

    route: Route
    not_before: datetime
    decision: str | None


def made(dealer_id: str, state: str, code: str | None) -> Try:
    """What stands about a purchase as a try."""
    unsent = state == AttemptState.REJECTED and code in UNSENT
    return Try(dealer_id, code if unsent else None)


def choose_next(
    router: Router, inquiry: Inquiry, tries: Sequence[Try], retry_until: datetime, now: datetime
) -> Next | None:
    """The next purchase of an order, or None where none may be made."""
    unsent = [each for each in tries if each.unsent is not None]
    spent = {each.dealer_id for each in tries if each.unsent is None}
    if len(unsent) >= MOST_UNSENT:
        spent |= {each.dealer_id for each in unsent}
    refused = {each.dealer_id for each in unsent if each.unsent in NOT_REACHED}
    decision = choose_past(router, inquiry, frozenset(spent), frozenset(refused), now)
    if decision.chosen is not None:
        route, proof = decision.chosen, orjson.dumps(as_record(decision)).decode()
    else:
        candidates = [each.dealer_id for each in unsent if each.dealer_id not in spent]
        route, proof = _held_back(router, inquiry, candidates, frozenset(spent), now), None
    if route is None:
        return None
    again = any(each.dealer_id == route.dealer_id for each in unsent)
    not_before = now + _pause(len(unsent)) if again else now
    return Next(route, not_before, proof) if not_before < retry_until else None


def choose_past(
    router: Router,
    inquiry: Inquiry,
    spent: frozenset[str],
    refused: frozenset[str],
    now: datetime,
) -> Decision:
    """Choose among the dealers not spent: first those that could be reached, then the others."""
    decision = router.choose(replace(inquiry, tried=spent | refused), now)
    if decision.chosen is None and refused - spent:
        decision = router.choose(replace(inquiry, tried=spent), now)
    return decision


def _held_back(
    router: Router,
    inquiry: Inquiry,
    candidates: Sequence[str],
    spent: frozenset[str],
    now: datetime,
) -> Route | None:
    """The offer, tried last, of a dealer that only its breaker keeps from being called again."""
    for dealer_id in reversed(candidates):
        offer = router.standing_offer(replace(inquiry, tried=spent), dealer_id, now)
        if offer is Reason.DEALER_DOWN:
            return router.route_at(inquiry.sku, inquiry.cluster, dealer_id, now)
    return None


def _pause(unsent: int) -> timedelta:
    """How long the next attempt waits after so many that were not sent: 1, 2, 4, … seconds."""
    return timedelta(seconds=min(2.0 ** (unsent - 1), _LONGEST_PAUSE_SECONDS))
