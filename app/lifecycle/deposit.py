"""Deposit: money that comes in by hand, booked once under its reference.

An adjustment is booked the same way: it puts right what was booked wrongly.
"""

from dataclasses import dataclass
from uuid import UUID

from app.errors import Conflict, NotFound
from app.postings import Posting
from app.storage import ledger
from app.storage.lanes import lane_of
from app.storage.pool import Connection


@dataclass(frozen=True, slots=True)
class Booked:
    """What was available before and is after, in rupiah; equal where it was booked already."""

    available_before: int
    available: int
    repeated: bool


async def book(
    connection: Connection, reseller_id: UUID, posting: Posting, reference: str
) -> Booked:
    """Book a deposit or an adjustment in the caller's transaction, or find it booked.

    Raises NotFound for an unknown reseller, Conflict where the reference stands for something
    else. The wallet's lock has the same reference booked by several callers one after the other.
    """
    key = (lane_of(reseller_id), reseller_id)
    wallet = await ledger.lock(connection, key)
    if wallet is None:
        raise NotFound("unknown-reseller", f"There is no reseller {reseller_id}.")
    booked = await ledger.find_reference(connection, key, reference)
    if booked == (posting.kind, posting.available_delta):
        return Booked(wallet.available, wallet.available, repeated=True)
    if booked is not None:
        kind, rupiah = booked
        raise Conflict(
            "reference-taken", f"The reference {reference} stands for a {kind} of {rupiah} rupiah."
        )
    await ledger.write(connection, [ledger.movement(key, posting, reference=reference)])
    return Booked(wallet.available, wallet.after(posting).available, repeated=False)
