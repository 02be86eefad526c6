"""Money booked by hand: deposits, and adjustments of what was booked wrongly."""

from dataclasses import dataclass

from app import postings
from app.administration.acting import acting
from app.administration.checks import MOST_RUPIAH, Checks
from app.administration.operator import Operator, Scope
from app.administration.resellers import find, subject
from app.lifecycle.deposit import Booked, book
from app.postings import Posting
from app.storage.pool import Pool
from app.storage.resellers import Account


@dataclass(frozen=True, slots=True)
class Receipt:
    """What was booked, or stood already: then `repeated` is True and nothing was changed."""

    account: Account
    """As it was before."""
    amount: int
    reference: str
    available: int
    """Afterwards, in rupiah."""
    repeated: bool


async def deposit(
    pool: Pool, by: Operator, reseller: str, amount_rupiah: int, reference: str, reason: str = ""
) -> Receipt:
    """Book money paid in, once: the same reference and amount again change nothing.

    Raises Conflict where the reference stands for another amount.
    """
    by.require(Scope.MONEY)
    checks = Checks()
    checks.rupiah("amount", amount_rupiah)
    _check_texts(checks, reference, reason)
    posting = postings.deposit(amount_rupiah)
    return await _book(pool, by, reseller, posting, reference, reason)


async def adjust(
    pool: Pool, by: Operator, reseller: str, amount_rupiah: int, reference: str, reason: str
) -> Receipt:
    """Add to a balance, or take from it where the amount is negative, once a reference.

    It always books, past the credit limit too: what was paid in wrongly may be spent already, and
    then new orders wait for money.
    """
    by.require(Scope.MONEY)
    checks = Checks()
    if not 0 < abs(amount_rupiah) <= MOST_RUPIAH:
        checks.wrong("amount", f"must be up to {MOST_RUPIAH} rupiah and not nothing")
    _check_texts(checks, reference, reason, needed=True)
    posting = postings.adjustment(amount_rupiah)
    return await _book(pool, by, reseller, posting, reference, reason)


def _check_texts(checks: Checks, reference: str, reason: str, *, needed: bool = False) -> None:
    checks.text("reference", reference)
    checks.reason(reason, needed=needed)
    checks.done()


async def _book(
    pool: Pool, by: Operator, reseller: str, posting: Posting, reference: str, reason: str
) -> Receipt:
    async with acting(pool) as connection:
        account = await find(connection, reseller)
        booked = await book(connection, account.reseller_id, posting, reference)
        if not booked.repeated:
            await by.record(
                connection,
                f"{posting.kind}.booked",
                subject(account),
                before={"available": booked.available_before},
                after=_after(booked, posting, reference),
                reason=reason,
            )
    return Receipt(account, posting.available_delta, reference, booked.available, booked.repeated)


def _after(booked: Booked, posting: Posting, reference: str) -> dict[str, object]:
    return {
        "available": booked.available,
        "amount": posting.available_delta,
        "reference": reference,
    }
