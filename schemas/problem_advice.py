"""What to do about each problem: whether the same request again is safe, and what became of the
`ref_id`. The other half of `schemas.problems.CATALOGUE`, which says what happened."""

from enum import StrEnum
from typing import NamedTuple


class Retry(StrEnum):
    """What the same request again, unchanged, comes to."""

    SAFE = "Safe: the same request again is safe, and may succeed."
    LATER = "Safe, later: wait as long as `Retry-After` says, then send the same request again."
    MEND = "Safe but useless: unchanged it gets this answer again. Mend it first."
    NEVER = "Useless: no repetition changes this answer."


class Reference(StrEnum):
    """What became of an order's `ref_id`."""

    FREE = "Not used: nothing was ordered under it, and it may be used again."
    TAKEN = "Used before, by another order, and it stays with that order."
    UNKNOWN = (
        "May be used: the same order again under the same `ref_id` tells, and never buys twice."
    )
    NONE = "Not concerned: this answer never meets an order being placed."


class Advice(NamedTuple):
    """What to do about a problem, and the HTTP statuses that it comes with."""

    statuses: tuple[int, ...]
    do: str
    retry: Retry
    reference: Reference


_FREE, _NONE = Reference.FREE, Reference.NONE
_MEND, _SAFE, _LATER, _NEVER = Retry.MEND, Retry.SAFE, Retry.LATER, Retry.NEVER

ADVICE = {
    "invalid-json": Advice(
        (400,), "Send one JSON object in UTF-8, as your language's JSON library does.", _MEND, _FREE
    ),
    "invalid-request": Advice(
        (400, 422), "Mend each field that `errors` names, as its message says.", _MEND, _FREE
    ),
    "invalid-cursor": Advice(
        (400,),
        "Use `next_cursor` of the same list as it came, or leave `cursor` out to begin anew.",
        _MEND,
        _NONE,
    ),
    "invalid-key": Advice(
        (401,),
        "Check that the whole key is sent as `Authorization: Bearer jalur_…`; if it is, ask us "
        "whether it was revoked.",
        _MEND,
        _FREE,
    ),
    "insufficient-balance": Advice((402,), "Pay in, then send the same order again.", _SAFE, _FREE),
    "callback-refused": Advice(
        (403,),
        "Sign the callback as agreed, from the agreed address, and name a purchase of ours.",
        _MEND,
        _NONE,
    ),
    "forbidden": Advice((403,), "Ask us to open it to you.", _NEVER, _NONE),
    "not-reconciled": Advice(
        (422,), "Compare the dealers' books with ours, then say so in the request.", _MEND, _NONE
    ),
    "unknown-reseller": Advice((404,), "Look the reseller up in the list.", _MEND, _NONE),
    "ambiguous-name": Advice((409,), "Name the reseller by its id.", _MEND, _NONE),
    "name-taken": Advice(
        (409,), "Use the reseller that there is, or take another name.", _MEND, _NONE
    ),
    "reference-taken": Advice(
        (409,),
        "Look at the booking that has the reference; take a new one for another booking.",
        _MEND,
        _NONE,
    ),
    "reference-used": Advice(
        (409,),
        "Look at the deposit that has the reference; take a new one for another deposit.",
        _MEND,
        _NONE,
    ),
    "dealer-exists": Advice(
        (409,), "Change the dealer that there is, or take another id.", _MEND, _NONE
    ),
    "dealer-refused": Advice((409, 422), "Supply what `detail` says is lacking.", _MEND, _NONE),
    "missing-scope": Advice(
        (403,), "Use a token or key that has the scope that `detail` names.", _MEND, _FREE
    ),
    "not-found": Advice(
        (404,), "Check the address and the id; look the thing up in its list.", _MEND, _NONE
    ),
    "method-not-allowed": Advice(
        (405,), "Use one of the methods that the header `Allow` lists.", _MEND, _NONE
    ),
    "no-route": Advice(
        (409,), "Send the same order again later, or another product now.", _LATER, _FREE
    ),
    "order-loop": Advice(
        (422,),
        "Look at who buys from whom, and take one of the installations out of the circle.",
        _MEND,
        _FREE,
    ),
    "price-above-limit": Advice(
        (409,),
        "Look at the price in `/v1/products`, then send the order with another `max_charge`.",
        _MEND,
        _FREE,
    ),
    "number-busy": Advice(
        (409,),
        "If the second order is meant, send it with `allow_repeat` true; else wait as "
        "`Retry-After` says. A limit of so many a day ends at midnight in Jakarta.",
        _LATER,
        _FREE,
    ),
    "not-cancellable": Advice(
        (409,), "Wait for the order's outcome: a dealer has it, or it is finished.", _NEVER, _NONE
    ),
    "too-many-endpoints": Advice(
        (409,), "Delete an endpoint that is not used any more.", _SAFE, _NONE
    ),
    "body-too-large": Advice(
        (413,), "Send less at once; `detail` says how much is taken.", _MEND, _FREE
    ),
    "unsupported-media-type": Advice(
        (415,),
        "Send the header `Content-Type: application/json`, or the type that `detail` names.",
        _MEND,
        _FREE,
    ),
    "unknown-sku": Advice((422,), "Take a `sku` from `/v1/products`.", _MEND, _FREE),
    "invalid-number": Advice(
        (422,),
        "Ask the customer for the number again; `errors` says what is wrong with it.",
        _MEND,
        _FREE,
    ),
    "brand-mismatch": Advice(
        (422,),
        "Choose a product of the number's own brand; ask the customer for the number again.",
        _MEND,
        _FREE,
    ),
    "unknown-region": Advice(
        (422,), "Leave `region` out, or ask us for the regions.", _MEND, _FREE
    ),
    "idempotency-mismatch": Advice(
        (422,),
        "Send the first order again unchanged to learn its state, or take a new `ref_id` for "
        "a new order.",
        _MEND,
        Reference.TAKEN,
    ),
    "invalid-table": Advice((422,), "Mend the lines that `errors` names.", _MEND, _NONE),
    "table-changed": Advice(
        (409, 412), "Export the table again and make the change on that.", _MEND, _NONE
    ),
    "would-be-empty": Advice((409,), "If it is meant, say so with `allow_empty`.", _MEND, _NONE),
    "large-rise": Advice((409,), "If the rises are right, say so with `yes`.", _MEND, _NONE),
    "table-busy": Advice((409,), "Send the same again in a minute.", _SAFE, _NONE),
    "already-over": Advice((409,), "Nothing: look at what became of it.", _NEVER, _NONE),
    "no-version": Advice((409,), "Nothing: there is no older table to go back to.", _NEVER, _NONE),
    "no-price-list": Advice((409,), "Keep this dealer's prices by sheet.", _NEVER, _NONE),
    "dealer-unreachable": Advice(
        (503,),
        "Try again later; look at the dealer's address and account if it goes on.",
        _SAFE,
        _NONE,
    ),
    "unreadable-price-list": Advice(
        (503,), "Try again later; look at the dealer's account if it goes on.", _SAFE, _NONE
    ),
    "not-in-review": Advice((409,), "Nothing: look at the order as it stands.", _NEVER, _NONE),
    "review-closed": Advice((409,), "Nothing: look at the order as it stands.", _NEVER, _NONE),
    "check-in-flight": Advice((409,), "Decide again in some seconds.", _SAFE, _NONE),
    "word-does-not-fit": Advice(
        (409, 422), "Look at the attempt and say what fits it.", _MEND, _NONE
    ),
    "dispute-closed": Advice((409,), "Nothing: the dispute is closed.", _NEVER, _NONE),
    "no-balance": Advice((422,), "Pull the dealer's balance first.", _MEND, _NONE),
    "invalid-statement": Advice((422,), "Mend the lines that `errors` names.", _MEND, _NONE),
    "no-statement-form": Advice((422,), "Say how the statement is written, once.", _MEND, _NONE),
    "invalid-url": Advice(
        (422,), "Give a public address that begins with `https://`.", _MEND, _NONE
    ),
    "insufficient-scope": Advice(
        (403,), "Use a key with the scope that `detail` names, or make one.", _MEND, _FREE
    ),
    "address-not-allowed": Advice(
        (403,), "Send from an address that the key is for, or widen its list.", _MEND, _FREE
    ),
    "expired-key": Advice((401,), "Use the key's successor, or make another.", _MEND, _FREE),
    "key-goes-further": Advice(
        (403,), "Ask for nothing that the calling key does not have itself.", _MEND, _NONE
    ),
    "key-over": Advice((409,), "Use a key that is alive.", _NEVER, _NONE),
    "key-replaced": Advice((409,), "Rotate the key that took its place.", _NEVER, _NONE),
    "key-rotating": Advice((409,), "Wait until the old key's time is over.", _SAFE, _NONE),
    "last-key": Advice((409,), "Make another key first.", _MEND, _NONE),
    "too-many-keys": Advice((409,), "Delete a key that is not used any more.", _SAFE, _NONE),
    "test-side": Advice((409,), "Do this on the live side.", _NEVER, _NONE),
    "test-side-only": Advice((403,), "Use a test key.", _MEND, _NONE),
    "too-much-play-money": Advice((409,), "Spend some first, or add less.", _MEND, _NONE),
    "rate-limited": Advice(
        (429,), "Wait as long as `Retry-After` says, then send the same again.", _LATER, _FREE
    ),
    "too-many-at-once": Advice(
        (429,), "Wait for answers before sending more; then send the same again.", _LATER, _FREE
    ),
    "head-too-large": Advice((431,), "Send fewer and shorter headers.", _MEND, _FREE),
    "too-many-streams": Advice(
        (429,), "Close a stream, or read `/v1/events` by cursor.", _SAFE, _NONE
    ),
    "too-many-outlets": Advice((409,), "Delete an outlet that is not used any more.", _SAFE, _NONE),
    "outlet-blocked": Advice((409,), "Unblock the outlet, or order without it.", _MEND, _FREE),
    "if-match-missing": Advice(
        (428,), "Read the thing, then send its `ETag` as `If-Match`.", _MEND, _NONE
    ),
    "changed-meanwhile": Advice(
        (412,), "Read the thing anew and make the change on that.", _MEND, _NONE
    ),
    "range-too-large": Advice((422,), "Ask for a shorter time.", _MEND, _NONE),
    "rotation-under-way": Advice(
        (409,), "Wait until the rotation ends, or end it with `overlap_seconds` 0.", _SAFE, _NONE
    ),
    "endpoint-disabled": Advice((409,), "Enable the endpoint, then do it again.", _MEND, _NONE),
    "endpoint-deleted": Advice((409,), "Read the event at `/v1/events` instead.", _NEVER, _NONE),
    "in-flight": Advice((409,), "Look again in a moment.", _SAFE, _NONE),
    "too-many-doors": Advice((409,), "Remove a door that is not used any more.", _SAFE, _NONE),
    "overloaded": Advice(
        (503,), "Wait as long as `Retry-After` says, then send the same again.", _LATER, _FREE
    ),
    "unavailable": Advice(
        (503,),
        "Wait as long as `Retry-After` says, then send the same again.",
        _LATER,
        Reference.UNKNOWN,
    ),
    "not-ready": Advice((503,), "Send requests to another process; wait.", _SAFE, _NONE),
    "internal-error": Advice(
        (500,),
        "Send the same again; if it goes on, tell us the `trace_id`.",
        _SAFE,
        Reference.UNKNOWN,
    ),
}
"""What to do, by code: every code of `CATALOGUE` is here."""
