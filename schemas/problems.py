"""Problems on the wire: every refusal, as RFC 9457 has it, with a code that never changes."""

from typing import Any

from pydantic import BaseModel

MEDIA_TYPE = "application/problem+json"

CATALOGUE = {
    "invalid-json": "The body is not one JSON value in UTF-8.",
    "invalid-request": "Fields are missing, unknown or of the wrong form; `errors` names each.",
    "invalid-cursor": "The cursor was not given out by this list.",
    "invalid-key": "There is no key in `Authorization: Bearer …`, or it is mistyped, unknown or "
    "revoked.",
    "expired-key": "The key's time is over: make or ask for another one.",
    "insufficient-scope": "The key does not open this; `detail` names the scope that it lacks.",
    "address-not-allowed": "The key is not taken from where the call came from; `detail` "
    "names that address.",
    "key-goes-further": "The key to be changed opens more than the one that calls.",
    "key-over": "The key is revoked or expired and cannot be replaced: make a new one.",
    "key-replaced": "Another key replaces this one already.",
    "key-rotating": "The key that this one replaces is alive: revoke it first.",
    "last-key": "Without this key there is none left that can make others.",
    "too-many-keys": "No more keys can be alive at once.",
    "test-side": "A test side has test keys only.",
    "test-side-only": "Only a test key may do this.",
    "too-much-play-money": "The test side has as much play money as it may have.",
    "insufficient-balance": "The balance and the credit do not cover the price.",
    "callback-refused": "The callback is not signed as agreed, or names a foreign reference.",
    "forbidden": "This is not open to you.",
    "not-reconciled": "A hold is ended only by who says that the dealers' books were compared.",
    "unknown-reseller": "There is no reseller of this id or name.",
    "ambiguous-name": "Several resellers have this name: use the id.",
    "name-taken": "There is a reseller of this name already.",
    "reference-taken": "The reference stands for another booking of this reseller.",
    "dealer-exists": "There is a dealer of this id already.",
    "dealer-refused": "The dealer could not be called like this; `detail` says what lacks. Nothing "
    "was changed.",
    "missing-scope": "The operator's token does not open this.",
    "not-found": "There is no such thing here, or it is not yours.",
    "method-not-allowed": "The address exists, but not for this method; `Allow` lists them.",
    "no-route": "No dealer can serve the order now. The reference stays free.",
    "order-loop": "The order came through this installation before, or through too many: among the "
    "installations that buy from each other there is a circle. The reference stays free.",
    "price-above-limit": "The price is above the order's `max_charge`. The reference stays free.",
    "number-busy": "An order of yours for this number and product is still open (`allow_repeat` "
    "orders once more), or those who could serve sell the product for this number only so often a "
    "day, and have. `detail` says which. The reference stays free.",
    "not-cancellable": "The order was sent to a dealer already, or is finished.",
    "too-many-streams": "This key has as many streams of events open as it may: close one.",
    "too-many-outlets": "No more outlets can be added.",
    "outlet-blocked": "You blocked this outlet: unblock it, or order without it. The reference "
    "stays free.",
    "if-match-missing": "What stands there is changed only by who has seen it: send its `ETag` as "
    "`If-Match`.",
    "changed-meanwhile": "What stands there is not any more what you saw: read it again.",
    "range-too-large": "There are too many entries between these times: ask for a shorter time.",
    "too-many-doors": "No more doors can be given to this reseller.",
    "too-many-endpoints": "No more webhook endpoints can be added.",
    "rotation-under-way": "The old secret still signs beside the new one. Wait until it ends, or "
    "rotate with `overlap_seconds` 0, which ends it at once.",
    "endpoint-disabled": "The endpoint is disabled: enable it first.",
    "endpoint-deleted": "The endpoint was deleted: nothing can be sent there again.",
    "in-flight": "The delivery is being sent right now: look at it again in a moment.",
    "body-too-large": "The body is larger than allowed.",
    "unsupported-media-type": "The body is of another kind than this address takes.",
    "unknown-sku": "There is no such product for you.",
    "invalid-number": "The customer number is not an Indonesian mobile number of a known brand.",
    "brand-mismatch": "The customer number belongs to another brand than the product.",
    "unknown-region": "There is no such region.",
    "idempotency-mismatch": "The reference stands for another order: send that order again "
    "unchanged, or take a new reference. Or the header `Idempotency-Key` is not the `ref_id`.",
    "invalid-table": "The routing table has faults; `errors` names the first of them by line and "
    "column. The table in force stays.",
    "table-changed": "The routing table is not any more the one that the change was made for: "
    "export it again.",
    "would-be-empty": "The change would remove every route, and it was not said that it may.",
    "large-rise": "A cost would rise by more than the policy allows without a yes; `errors` names "
    "the first of them.",
    "table-busy": "Another routing table is being worked on; again in a minute.",
    "already-over": "What was scheduled was applied, refused or cancelled before.",
    "no-version": "No routing table was in force before this one.",
    "no-price-list": "The dealer's protocol has no price list.",
    "dealer-unreachable": "The dealer did not answer; again later.",
    "unreadable-price-list": "The dealer's answer holds no price list.",
    "not-in-review": "Nothing about this attempt waits for an operator's decision.",
    "review-closed": "The review was closed by another decision or by the dealer's word.",
    "check-in-flight": "A purchase or a question is on its way to the dealer: decide once it is "
    "answered, in some seconds.",
    "word-does-not-fit": "This cannot be said of the attempt as it stands.",
    "dispute-closed": "The dispute was closed with another resolution.",
    "no-balance": "The dealer's balance was never pulled, so that there is nothing to accept.",
    "reference-used": "The reference stands for another deposit at this dealer.",
    "invalid-statement": "The dealer's statement has faults; `errors` names them by line.",
    "no-statement-form": "It was never said how this dealer's statements are written.",
    "invalid-url": "Webhooks cannot be sent to this address.",
    "rate-limited": "You ask more than your rate allows; `errors` names which and what it allows, "
    "`Retry-After` when to go on. Nothing was done and the reference stays free.",
    "too-many-at-once": "Too many of your requests are under way: wait for answers first. Nothing "
    "was done and the reference stays free.",
    "head-too-large": "The request has too many headers, or too long ones.",
    "overloaded": "Too much is waiting. The same request with the same reference is safe, later.",
    "unavailable": "The service cannot tell now whether it was done. The same request with the "
    "same reference is safe, and tells.",
    "not-ready": "This process is starting, stopping, or without its database.",
    "internal-error": "Something went wrong on our side; `trace_id` finds it in our logs. The "
    "same request with the same reference is safe.",
}
"""Every code and what it means, served at `/problems/{code}`."""


class ProblemExplained(BaseModel):
    """What a problem's code stands for, and what to do about it."""

    code: str
    meaning: str
    statuses: list[int]
    """The HTTP statuses that it comes with."""
    do: str
    retry: str
    """What the same request again, unchanged, comes to."""
    ref_id: str
    """What became of an order's `ref_id`."""


class ProblemCatalogue(BaseModel):
    """Every code that there is."""

    data: list[ProblemExplained]


class FieldProblem(BaseModel):
    """What is wrong with one field."""

    field: str
    message: str


class ProblemDocument(BaseModel):
    """A refusal. `code` is for programs, `detail` for people."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    errors: list[FieldProblem]
    trace_id: str


def problem_document(
    *,
    code: str,
    title: str,
    status: int,
    detail: str,
    errors: list[tuple[str, str]],
    trace_id: str,
) -> dict[str, Any]:
    """The problem as `ProblemDocument` describes it, ready for JSON."""
    return {
        "type": f"/problems/{code}",
        "title": title,
        "status": status,
        "detail": detail,
        "code": code,
        "errors": [{"field": field, "message": message} for field, message in errors],
        "trace_id": trace_id,
    }
