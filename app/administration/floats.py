"""Our money at dealers, for operators: what is left, what they paid in, what does not add up."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from app.administration.acting import acting
from app.administration.checks import MOST_RUPIAH, Checks
from app.administration.dealers import find
from app.administration.operator import Operator, Scope
from app.errors import Conflict, NotFound, Unprocessable
from app.lifecycle.account import (
    NO_HOURS,
    RECORDED,
    Balanced,
    Expected,
    Rules,
    last_hours,
    record_balance,
)
from app.lifecycle.trade import DEFAULT_FLOAT_TERMS, FloatTerms, float_terms
from app.runway import hourly_rate, runway_hours
from app.storage import dealer_accounts, dealer_spend, price_rises, purchase_hours, reference
from app.storage.dealer_accounts import Account
from app.storage.dealer_spend import NOTHING, Span, Spent
from app.storage.pool import Connection, Pool
from app.storage.price_rises import Risen

_MOST_RISES = 1000
_UNTIL_RECORDED_AGAIN = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Float:
    """Our account at a dealer at this moment. Rupiah; None where no balance was told yet."""

    dealer_id: str
    balance: int | None
    """What the dealer told last."""
    told_at: datetime | None
    paid_in: int
    """Deposits written down since."""
    spent: int
    """What purchases took since; those in doubt count as taken."""
    in_flight: int
    """Cost of purchases without a final word."""
    expected: int | None
    """What should be left now, if all in flight succeed."""
    difference: int | None
    """How far the last balance was outside of our own account; below 0 where money is missing."""
    agrees: bool
    """Whether that is within the tolerance."""
    spent_per_hour: int
    """In the mean of the last 24 whole hours."""
    runway_hours: float | None
    """How long the money lasts, its reserve left; None where longer than a week, or not known."""
    reserve: int
    refused: bool
    """The dealer said that our money does not suffice, and has told no balance since."""
    failures: int
    """How often in a row no balance could be pulled."""
    last_failure: str | None

    def document(self) -> dict[str, Any]:
        """For JSON."""
        document = {name: getattr(self, name) for name in Float.__slots__}
        document["dealer"] = document.pop("dealer_id")
        document["told_at"] = None if self.told_at is None else self.told_at.isoformat()
        return document


@dataclass(frozen=True, slots=True)
class PaidIn:
    """A deposit that stands written down; `repeated` where it did before."""

    dealer_id: str
    amount: int
    reference: str
    repeated: bool


async def look(pool: Pool, by: Operator, dealer_id: str | None) -> list[Float]:
    """Our accounts, counted at this moment; one dealer's where it is named. Raises NotFound."""
    by.require(Scope.READ)
    async with pool.acquire() as connection:
        await dealer_accounts.open_missing(connection)
        if dealer_id is not None:
            await find(connection, dealer_id)
        rows = {row.dealer_id: row for row in await reference.dealers(connection)}
        accounts = [
            account
            for account in await dealer_accounts.read_all(connection)
            if dealer_id in (None, account.dealer_id)
        ]
        if not accounts:
            return []
        now = accounts[0].now
        spent = await _spent(connection, accounts, now)
        hourly = await last_hours(connection, now)
        found: list[Float] = []
        for account in accounts:
            paid_in = 0
            if account.answered_at is not None:
                paid_in = await dealer_accounts.deposits_since(
                    connection, account.dealer_id, account.answered_at
                )
            terms = float_terms_of(rows[account.dealer_id])
            hours = hourly.get(account.dealer_id, NO_HOURS)
            took = spent.get(account.dealer_id, NOTHING)
            found.append(_float(account, took, paid_in, hours, terms))
        return found


def float_terms_of(row: reference.DealerRow) -> FloatTerms:
    """What a dealer's options say of our account there; where they are wrong, as without them."""
    return float_terms(row) or DEFAULT_FLOAT_TERMS


async def _spent(
    connection: Connection, accounts: list[Account], now: datetime
) -> Mapping[str, Spent]:
    spans = [
        Span(account.dealer_id, account.asked_at, account.answered_at)
        for account in accounts
        if account.asked_at is not None and account.answered_at is not None
    ]
    found = await dealer_spend.spent(connection, spans, now)
    return {span.dealer_id: spent for span, spent in zip(spans, found, strict=True)}


def _float(
    account: Account, spent: Spent, paid_in: int, hourly: Sequence[int], terms: FloatTerms
) -> Float:
    taken = spent.certain + spent.doubtful
    expected = difference = runway = None
    if account.rupiah is not None:
        expected = account.rupiah + paid_in - taken - spent.in_flight
        difference = 0
        runway = runway_hours(expected - terms.reserve, hourly, account.now.minute)
        if account.expected_low is not None and account.expected_high is not None:
            band = Expected(account.expected_low, account.expected_high)
            difference = band.difference(account.rupiah)
    refused_at, asked_at = account.refused_at, account.asked_at
    fresh = refused_at is not None and account.now - refused_at < dealer_accounts.REFUSAL_LASTS
    unanswered = refused_at is not None and (asked_at is None or refused_at > asked_at)
    return Float(
        account.dealer_id,
        account.rupiah,
        account.answered_at,
        paid_in,
        taken,
        spent.in_flight,
        expected,
        difference,
        abs(difference or 0) <= terms.tolerance,
        hourly_rate(hourly),
        runway,
        terms.reserve,
        fresh and unanswered,
        account.failures,
        account.last_failure,
    )


# ------------------------------------------------------------------ what operators write down


async def deposit(
    pool: Pool, by: Operator, dealer_id: str, rupiah: int, reference_: str, reason: str = ""
) -> PaidIn:
    """Write down what we paid in at a dealer, once a reference, and have the balance pulled.

    Raises Conflict where the reference stands for another amount.
    """
    by.require(Scope.MONEY)
    checks = Checks()
    checks.rupiah("amount", rupiah)
    checks.text("reference", reference_)
    checks.reason(reason)
    checks.done()
    async with acting(pool) as connection:
        await _lock(connection, dealer_id)
        before = await dealer_accounts.add_deposit(connection, dealer_id, reference_, rupiah)
        if before is not None and before != rupiah:
            raise Conflict(
                "reference-used",
                f"{reference_} stands for {before} rupiah at {dealer_id} already.",
            )
        if before is None:
            after = {"amount": rupiah, "reference": reference_}
            await by.record(
                connection, "dealer.paid_in", f"dealer:{dealer_id}", after=after, reason=reason
            )
        await dealer_accounts.pull_soon(connection, dealer_id)
    return PaidIn(dealer_id, rupiah, reference_, repeated=before is not None)


async def record(
    pool: Pool, by: Operator, dealer_id: str, rupiah: int, reason: str = ""
) -> Balanced:
    """Write down a balance that people read off the dealer's own pages just now."""
    by.require(Scope.MONEY)
    checks = Checks()
    if abs(rupiah) > MOST_RUPIAH:
        checks.wrong("balance", f"must be at most {MOST_RUPIAH} rupiah")
    checks.reason(reason)
    checks.done()
    async with acting(pool) as connection:
        row = await find(connection, dealer_id)
        await _lock(connection, dealer_id)
        rules = Rules(float_terms_of(row).tolerance, _UNTIL_RECORDED_AGAIN)
        hourly = await last_hours(connection, await purchase_hours.moment(connection))
        hours = hourly.get(dealer_id, NO_HOURS)
        balanced = await record_balance(connection, dealer_id, rupiah, RECORDED, None, hours, rules)
        if balanced is None:
            raise NotFound("not-found", f"There is no dealer {dealer_id}.")
        after = {"balance": rupiah, "difference": balanced.difference}
        await by.record(
            connection, "dealer.balance_recorded", f"dealer:{dealer_id}", after=after, reason=reason
        )
    return balanced


async def accept(pool: Pool, by: Operator, dealer_id: str, reason: str) -> int:
    """Take the dealer's last balance for right, whatever we had expected. Returns the difference
    that is given up, in rupiah."""
    by.require(Scope.MONEY)
    checks = Checks()
    checks.reason(reason, needed=True)
    checks.done()
    async with acting(pool) as connection:
        account = await _lock(connection, dealer_id)
        if account.rupiah is None:
            raise Unprocessable("no-balance", f"{dealer_id} has told no balance yet.")
        low, high = account.expected_low, account.expected_high
        known = low is not None and high is not None
        difference = Expected(low or 0, high or 0).difference(account.rupiah) if known else 0
        await dealer_accounts.agree(connection, dealer_id)
        await by.record(
            connection,
            "dealer.balance_accepted",
            f"dealer:{dealer_id}",
            before={"difference": difference},
            after={"balance": account.rupiah},
            reason=reason,
        )
    return difference


async def _lock(connection: Connection, dealer_id: str) -> Account:
    await find(connection, dealer_id)
    await dealer_accounts.open_missing(connection)
    account = await dealer_accounts.lock(connection, dealer_id)
    if account is None:
        raise NotFound("not-found", f"There is no dealer {dealer_id}.")
    return account


# ------------------------------------------------------------------ prices that rose


async def list_rises(pool: Pool, by: Operator) -> list[Risen]:
    """Routes whose dealer charged more than their cost, those not bought from first."""
    by.require(Scope.READ)
    async with pool.acquire() as connection:
        return await price_rises.list_all(connection, _MOST_RISES)


async def lift(pool: Pool, by: Operator, route_id: str, reason: str = "") -> Risen:
    """Buy from a route again, its cost as it is. Raises NotFound where it is not muted."""
    by.require(Scope.ROUTES)
    checks = Checks()
    checks.reason(reason)
    checks.done()
    async with acting(pool) as connection:
        risen = await price_rises.lift(connection, route_id)
        if risen is None:
            raise NotFound("not-found", f"No price of a route {route_id[:100]} stands as risen.")
        await by.record(
            connection,
            "price_rise.lifted",
            f"route:{route_id}",
            before={"cost": risen.cost, "charged": risen.charged},
            reason=reason,
        )
    return risen


def rise_document(risen: Risen) -> dict[str, Any]:
    """For JSON."""
    return {
        "route": risen.route_id,
        "dealer": risen.dealer_id,
        "dealer_sku": risen.dealer_sku,
        "cost": risen.cost,
        "charged": risen.charged,
        "purchases": risen.purchases,
        "order_id": str(risen.order_id),
        "first_seen_at": risen.first_seen_at.isoformat(),
        "last_seen_at": risen.last_seen_at.isoformat(),
        "muted_until": risen.muted_until.isoformat(),
        "lifted_at": None if risen.lifted_at is None else risen.lifted_at.isoformat(),
        "muted": risen.stands,
    }
