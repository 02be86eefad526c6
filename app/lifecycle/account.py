"""Account: a dealer's word on our balance, set against what we know ourselves.

Our own account is the last balance that agreed, with the deposits written down since and without
what purchases took. What cannot be told to be before or after a balance is a band around it: only
beyond the band is there a difference. A balance that differs does not become the new measure, so
the difference stays until a deposit explains it or an operator accepts the dealer's word.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from app.runway import HOURS_OF_HISTORY
from app.storage import dealer_accounts, dealer_spend, purchase_hours
from app.storage.dealer_accounts import Account, Counted, Observation
from app.storage.dealer_spend import Span, Spent
from app.storage.pool import Connection
from app.storage.purchase_hours import HOUR

PULLED, RECORDED = "pulled", "recorded"


@dataclass(frozen=True, slots=True)
class Expected:
    """What should be left, in rupiah: between everything in doubt taken, and none of it."""

    low: int
    high: int

    def difference(self, rupiah: int) -> int:
        """How far a balance lies outside; less than 0 where money is missing."""
        return min(rupiah - self.low, 0) or max(rupiah - self.high, 0)


@dataclass(frozen=True, slots=True)
class Balanced:
    """A balance written down. `expected` is None for the first one."""

    seen: Observation
    expected: Expected | None
    agrees: bool

    @property
    def difference(self) -> int:
        """Rupiah beyond what was expected."""
        return 0 if self.expected is None else self.expected.difference(self.seen.rupiah)


@dataclass(frozen=True, slots=True)
class Rules:
    """How a balance is judged, and what comes next."""

    tolerance: int
    """Rupiah of difference that still agree."""
    next_pull: timedelta


async def record_balance(
    connection: Connection,
    dealer_id: str,
    rupiah: int,
    source: str,
    asked_at: datetime | None,
    rules: Rules,
) -> Balanced | None:
    """Write a balance down and judge it. `asked_at` is None for one that people read themselves.

    None where the account is gone. Needs a transaction.
    """
    account = await dealer_accounts.lock(connection, dealer_id)
    if account is None:
        return None
    now = account.now
    asked_at = asked_at or now
    spans = [Span(dealer_id, asked_at, now)]
    if account.agreed_asked_at is not None and account.agreed_answered_at is not None:
        agreed = account.agreed_asked_at, account.agreed_answered_at
        spans.append(Span(dealer_id, *agreed, asked_at, now))
    since, *between = await dealer_spend.spent(connection, spans, now)
    expected = await _expected(connection, account, between[0]) if between else None
    agrees = expected is None or abs(expected.difference(rupiah)) <= rules.tolerance
    seen = Observation(
        dealer_id,
        asked_at,
        now,
        rupiah,
        source,
        expected and expected.low,
        expected and expected.high,
    )
    counted = counted_of(dealer_id, since)
    hourly = await last_hours(connection, now, dealer_id)
    await dealer_accounts.observe(connection, seen, counted, hourly, rules.next_pull, agrees=agrees)
    return Balanced(seen, expected, agrees)


async def _expected(connection: Connection, account: Account, spent: Spent) -> Expected | None:
    if account.agreed_rupiah is None or account.agreed_answered_at is None:
        return None
    since = account.agreed_answered_at
    paid_in = await dealer_accounts.deposits_since(connection, account.dealer_id, since)
    certain = account.agreed_rupiah + paid_in - spent.certain
    return Expected(certain - spent.doubtful - spent.in_flight, certain + spent.given_back)


def counted_of(dealer_id: str, spent: Spent) -> Counted:
    """What routing counts as taken since a balance: what is in doubt counts as taken."""
    return Counted(dealer_id, spent.certain + spent.doubtful, spent.in_flight)


async def last_hours(connection: Connection, now: datetime, dealer_id: str) -> list[int]:
    """What a dealer's purchases took in each of the last whole hours, the newest last."""
    wanted = purchase_hours.hours(now - HOUR * HOURS_OF_HISTORY, now - HOUR)
    rows = await dealer_spend.by_hour(connection, wanted)
    found = {row.hour: row.rupiah for row in rows if row.dealer_id == dealer_id}
    return [found.get(each.hour, 0) for each in wanted]


async def count_anew(connection: Connection) -> int:
    """Count what was taken since each balance that nobody else counts from just now.

    Returns how many there were. Needs a transaction.
    """
    counts = await dealer_accounts.take_counts(connection)
    if not counts:
        return 0
    now = await purchase_hours.moment(connection)
    spans = [Span(each.dealer_id, each.asked_at, each.answered_at) for each in counts]
    spent = await dealer_spend.spent(connection, spans, now)
    counted = [counted_of(each.dealer_id, took) for each, took in zip(counts, spent, strict=True)]
    await dealer_accounts.write_counts(connection, counted)
    return len(counts)
