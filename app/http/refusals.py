"""Which problems each operation may answer with: for its documentation, and held by the tests.

Most of it follows from an operation's form: who takes a body refuses a broken one, who takes an id
may not know it. What does not follow stands in `OWN`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from schemas.problem_advice import ADVICE
from schemas.problems import CATALOGUE

_ORDER = (
    "insufficient-balance",
    "no-route",
    "number-busy",
    "price-above-limit",
    "unknown-sku",
    "invalid-number",
    "brand-mismatch",
    "unknown-region",
    "idempotency-mismatch",
    "order-loop",
    "outlet-blocked",
)
_SHEET = (
    "invalid-request",
    "invalid-table",
    "not-found",
    "table-busy",
    "table-changed",
)
_CHANGED_SHEET = (*_SHEET, "large-rise", "would-be-empty")
_CHANGED = ("changed-meanwhile", "if-match-missing")
_RESELLER = ("unknown-reseller", "ambiguous-name")

_OPERATORS_TOKEN = ("invalid-key", "missing-scope")
_RESELLERS_KEY = (
    *("invalid-key", "expired-key", "insufficient-scope", "address-not-allowed"),
    *("rate-limited", "too-many-at-once"),
)
_ROTATION = ("key-over", "key-replaced", "key-rotating", "too-many-keys")

OWN: Mapping[str, Sequence[str]] = {
    "place_order": _ORDER,
    "cancel_order": ("not-cancellable",),
    "quote": ("unknown-sku", "invalid-number", "brand-mismatch", "unknown-region"),
    "list_products": ("unknown-region",),
    "read_product": ("unknown-region",),
    "list_entries": ("range-too-large",),
    "list_orders": ("invalid-number",),
    "stream_events": ("too-many-streams", "not-ready"),
    "put_outlet": ("too-many-outlets", "unknown-region", *_CHANGED),
    "delete_outlet": _CHANGED,
    "read_balance": ("not-found",),
    "create_endpoint": ("too-many-endpoints", "invalid-url"),
    "change_endpoint": ("invalid-url", *_CHANGED),
    "delete_endpoint": _CHANGED,
    "rotate_secret": ("rotation-under-way",),
    "test_endpoint": ("endpoint-disabled",),
    "replay_delivery": ("endpoint-deleted", "in-flight"),
    "create_own_key": ("key-goes-further", "too-many-keys"),
    "rotate_own_key": ("key-goes-further", *_ROTATION),
    "delete_own_key": ("key-goes-further", "last-key"),
    "deposit_play_money": ("test-side-only", "too-much-play-money", "reference-taken"),
    "receive_callback": ("callback-refused",),
    "receive_callback_with_token": ("callback-refused",),
    "metrics": ("forbidden",),
    "admin_add_reseller": ("name-taken",),
    "admin_change_reseller": ("name-taken",),
    "admin_add_key": ("too-many-keys",),
    "admin_rotate_key": _ROTATION,
    "admin_book_deposit": ("reference-taken",),
    "admin_book_adjustment": ("reference-taken",),
    "admin_add_dealer": ("dealer-exists", "dealer-refused"),
    "admin_change_dealer": ("dealer-refused",),
    "admin_pull_prices": (
        *("no-price-list", "dealer-refused", "dealer-unreachable", "unreadable-price-list"),
        *_CHANGED_SHEET,
    ),
    "admin_add_deposit": ("reference-used",),
    "admin_accept_balance": ("no-balance",),
    "admin_lift_price_rise": ("not-found",),
    "admin_resume": ("not-reconciled",),
    "admin_read_routes": ("not-found",),
    "admin_compare_routes": _SHEET,
    "admin_simulate_routes": _SHEET,
    "admin_apply_routes": _CHANGED_SHEET,
    "admin_cancel_scheduled": ("already-over",),
    "admin_roll_back": ("no-version", "table-changed", "invalid-table", "table-busy"),
    "admin_replace_policy": ("table-changed", "invalid-request"),
    "admin_explain": ("unknown-sku", "invalid-number", "brand-mismatch", "unknown-region"),
    "admin_explain_stored": ("not-found", *_RESELLER),
    "admin_resolve": ("not-in-review", "review-closed", "check-in-flight", "word-does-not-fit"),
    "admin_close": ("dispute-closed",),
}
"""The codes that an operation's form does not tell, by its `operationId`."""


def codes_of(path: str, operation: Mapping[str, Any]) -> list[str]:
    """The codes that an operation may answer with."""
    places = {(each["in"], each["name"]) for each in operation.get("parameters", ())}
    inputs = {place for place, _ in places}
    codes: list[str] = []
    if operation.get("security") != []:
        codes += _OPERATORS_TOKEN if path.startswith("/admin/") else _RESELLERS_KEY
    if "requestBody" in operation:
        codes += ["invalid-json", "body-too-large", "unsupported-media-type", "invalid-request"]
    if "query" in inputs or "header" in inputs:
        codes += ["invalid-request"]
    if ("query", "cursor") in places:
        codes += ["invalid-cursor"]
    if "path" in inputs:
        codes += ["not-found", "invalid-request"]
    if "{reseller}" in path:
        codes += _RESELLER
    codes += OWN.get(operation["operationId"], ())
    codes += ("overloaded", "unavailable", "internal-error")
    return [code for code in dict.fromkeys(codes) if code in CATALOGUE]


def by_status(codes: Sequence[str]) -> dict[int, list[str]]:
    """The codes under each HTTP status that they come with, the lowest first."""
    found: dict[int, list[str]] = {}
    for code in codes:
        for status in ADVICE[code].statuses:
            found.setdefault(status, []).append(code)
    return dict(sorted(found.items()))
