"""Account: a dealer's word on our balance, set against what we know ourselves.

Our own account is the last balance that agreed, with the deposits written down since and without
what purchases took. What cannot be told to be before or after a balance is a band around it: only
beyond the band is there a difference. A balance that differs does not become the new measure, so
the difference stays until a deposit explains it or an operator accepts the dealer's word.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from app.runway import HOURS_OF_HISTORY
from app.storage import dealer_accounts, dealer_spend, purchase_hours
from app.storage.dealer_accounts import Account, Counted, Observation
from app.storage.dealer_spend import Span, Spent
from app.storage.pool import Connection
from app.storage.purchase_hours import HOUR

PULLED, RECORDED = "pulled", "recorded"
NO_HOURS: Sequence[int] = (0,) * HOURS_OF_HISTORY
"""Of a dealer that nothing was bought from."""
_HOURS_LAST = timedelta(minutes=15)
"""How long what the last hours took is kept: until an hour is written, adding it up reads each of
its purchases."""


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
    hourly: Sequence[int],
    rules: Rules,
) -> Balanced | None:
    """Write a balance down and judge it. `asked_at` is None for one that people read themselves;
    `hourly` is what the last whole hours took.

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


async def last_hours(connection: Connection, now: datetime) -> Mapping[str, list[int]]:
    """What purchases took in each of the last whole hours, the newest last, by dealer.

    A dealer without any is missing.
    """
    wanted = purchase_hours.hours(now - HOUR * HOURS_OF_HISTORY, now - HOUR)
    places = {each.hour: place for place, each in enumerate(wanted)}
    found: dict[str, list[int]] = {}
    for row in await dealer_spend.by_hour(connection, wanted):
        found.setdefault(row.dealer_id, [*NO_HOURS])[places[row.hour]] += row.rupiah
    return found


class LastHours:
    """The same, read for all dealers together and kept for a while, but for no other hour."""

    def __init__(self) -> None:
        self._read_at: datetime | None = None
        self._found: Mapping[str, list[int]] = {}
        self._reading = asyncio.Lock()

    async def of(self, connection: Connection, dealer_id: str, now: datetime) -> Sequence[int]:
        """One dealer's hours. `now` is the database's."""
        async with self._reading:
            if self._read_at is None or self._is_old(self._read_at, now):
                self._found, self._read_at = await last_hours(connection, now), now
        return self._found.get(dealer_id, NO_HOURS)

    def _is_old(self, read_at: datetime, now: datetime) -> bool:
        return now - read_at >= _HOURS_LAST or now.hour != read_at.hour


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
