"""Deposit: money paid in by a reseller, booked once under its reference."""

from dataclasses import dataclass
from uuid import UUID

from app import postings
from app.errors import Conflict, NotFound
from app.storage import ledger
from app.storage.lanes import lane_of
from app.storage.pool import Pool


@dataclass(frozen=True, slots=True)
class Deposited:
    """The balance after it, in rupiah, and whether it had been booked before."""

    available: int
    repeated: bool


async def deposit(pool: Pool, reseller_id: UUID, amount_rupiah: int, reference: str) -> Deposited:
    """Book a deposit, or find it booked.

    Raises NotFound for an unknown reseller, Conflict where the reference stands for another
    amount, ValueError unless the amount is positive.
    """
    posting = postings.deposit(amount_rupiah)
    key = (lane_of(reseller_id), reseller_id)
    async with pool.acquire() as connection, connection.transaction():
        wallet = await ledger.lock(connection, key)
        if wallet is None:
            raise NotFound("unknown-reseller", f"There is no reseller {reseller_id}.")
        booked = await ledger.find_reference(connection, key, reference)
        if booked == amount_rupiah:
            return Deposited(wallet.available, repeated=True)
        if booked is not None:
            raise Conflict(
                "reference-taken", f"The reference {reference} stands for {booked} rupiah."
            )
        movement = ledger.movement(key, posting, reference=reference)
        await ledger.write(connection, [movement])
    return Deposited(wallet.after(posting).available, repeated=False)
