"""Our accounts at dealers: balances they told, deposits we made, and what is left as last counted.

    dealer_accounts(dealer_id, pull_due_at, claimed_until, refused_at, rupiah, agreed_rupiah, …)
    dealer_balances(dealer_id, answered_at, asked_at, rupiah, source, expected_low, expected_high)
    dealer_deposits(dealer_id, reference, rupiah, recorded_at)

One row a dealer, which no order touches: who pulls a balance or counts anew writes it. The moments
are the database's. What is expected is counted from the last balance that agreed with our own
account, so that a difference stays until somebody explains it.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

from app.storage.pool import Connection, transposed

REFUSAL_LASTS = timedelta(minutes=15)
"""How long a dealer's word that our money does not suffice counts without a newer balance."""
_COUNTED_EVERY = timedelta(seconds=10)
_AGE_SHARE = 100
"""Old balances are counted from more seldom: at most once in this part of their age."""


@dataclass(frozen=True, slots=True)
class Account:
    """A dealer's account under its lock. Without a balance yet, the moments are None."""

    dealer_id: str
    asked_at: datetime | None
    answered_at: datetime | None
    rupiah: int | None
    agreed_asked_at: datetime | None
    agreed_answered_at: datetime | None
    agreed_rupiah: int | None
    refused_at: datetime | None
    failures: int
    last_failure: str | None
    expected_low: int | None
    """What was expected as the last balance came, everything in flight taken."""
    expected_high: int | None
    now: datetime
    """The database's, after the lock was taken."""


@dataclass(frozen=True, slots=True)
class Observation:
    """A balance as it was told. `expected_*` in rupiah; None for the first one."""

    dealer_id: str
    asked_at: datetime
    answered_at: datetime
    rupiah: int
    source: str
    expected_low: int | None
    expected_high: int | None


class Standing(NamedTuple):
    """What a process needs to know of a dealer's account. Ages in seconds, amounts in rupiah."""

    dealer_id: str
    rupiah: int | None
    """What the dealer told last; None where nothing was counted yet."""
    spent: int
    """Taken since, as counted last."""
    in_flight: int
    counted_age: float | None
    balance_age: float | None
    refused: bool
    """The dealer said that our money does not suffice, and has told no balance since."""
    expected_low: int | None
    expected_high: int | None
    hourly: list[int]
    """What the last whole hours took, the newest last."""


class Counted(NamedTuple):
    """What is counted from a dealer's last balance."""

    dealer_id: str
    spent: int
    in_flight: int


class Count(NamedTuple):
    """A balance to be counted from."""

    dealer_id: str
    asked_at: datetime
    answered_at: datetime


async def open_missing(connection: Connection) -> None:
    """Have an account at every dealer. A new one's balance is not pulled at once: whoever adds a
    dealer may not be done."""
    await connection.execute(
        """
        insert into dealer_accounts (dealer_id, pull_due_at)
        select dealer_id, now() + interval '10 seconds' from dealers d
        where not exists (select from dealer_accounts a where a.dealer_id = d.dealer_id)
        on conflict do nothing
        """
    )


async def claim_pulls(
    connection: Connection, dealer_ids: Collection[str], most: int, lease: timedelta
) -> list[tuple[str, datetime]]:
    """Accounts of these dealers whose balance is due, and the database's time. They are the
    caller's until the lease is over."""
    rows = await connection.fetch(
        """
        update dealer_accounts set claimed_until = now() + $3::interval
        where dealer_id in (
            select dealer_id from dealer_accounts
            where dealer_id = any($1::text[]) and pull_due_at <= now()
              and (claimed_until is null or claimed_until <= now())
            order by pull_due_at, dealer_id limit $2
            for update skip locked
        )
        returning dealer_id, now()
        """,
        list(dealer_ids),
        most,
        lease,
    )
    return [(row[0], row[1]) for row in rows]


async def put_off(
    connection: Connection, dealer_id: str, pause: timedelta, failure: str | None
) -> None:
    """Give a claimed account back without a balance. `failure` says why, if something failed."""
    await connection.execute(
        """
        update dealer_accounts
        set claimed_until = null, pull_due_at = now() + $2::interval,
            last_failure = $3::text,
            failures = case when $3::text is null then 0 else failures + 1 end
        where dealer_id = $1
        """,
        dealer_id,
        pause,
        failure,
    )


async def pull_soon(connection: Connection, dealer_id: str) -> None:
    """Have the balance pulled at once."""
    await connection.execute(
        "update dealer_accounts set pull_due_at = now() where dealer_id = $1", dealer_id
    )


async def note_refusals(connection: Connection, dealer_ids: Collection[str]) -> None:
    """These dealers just said that our money does not suffice: ask what is left, at most once
    in ten seconds."""
    await connection.execute(
        """
        update dealer_accounts
        set refused_at = now(),
            pull_due_at = least(pull_due_at, greatest(now(), answered_at + interval '10 seconds'))
        where dealer_id = any($1::text[])
        """,
        sorted(dealer_ids),
    )


async def lock(connection: Connection, dealer_id: str) -> Account | None:
    """Lock and read an account; None where the dealer has none yet."""
    row = await connection.fetchrow(
        """
        select dealer_id, asked_at, answered_at, rupiah, agreed_asked_at, agreed_answered_at,
               agreed_rupiah, refused_at, failures, last_failure, expected_low, expected_high,
               clock_timestamp()
        from dealer_accounts where dealer_id = $1 for update
        """,
        dealer_id,
    )
    return None if row is None else Account(*row)


async def read_all(connection: Connection) -> list[Account]:
    """Every account, by its dealer's id."""
    rows = await connection.fetch(
        """
        select dealer_id, asked_at, answered_at, rupiah, agreed_asked_at, agreed_answered_at,
               agreed_rupiah, refused_at, failures, last_failure, expected_low, expected_high,
               clock_timestamp()
        from dealer_accounts order by dealer_id
        """
    )
    return [Account(*row) for row in rows]


async def observe(
    connection: Connection,
    seen: Observation,
    counted: Counted,
    hourly: Sequence[int],
    next_pull: timedelta,
    *,
    agrees: bool,
) -> None:
    """Write a balance down; where it agrees, later ones are held against it."""
    await connection.execute(
        """
        insert into dealer_balances (dealer_id, asked_at, answered_at, rupiah, source,
                                     expected_low, expected_high)
        values ($1, $2, $3, $4, $5, $6, $7)
        """,
        *(getattr(seen, name) for name in Observation.__slots__),
    )
    await connection.execute(
        """
        update dealer_accounts
        set asked_at = $2, answered_at = $3, rupiah = $4,
            agreed_asked_at = case when $5 then $2 else agreed_asked_at end,
            agreed_answered_at = case when $5 then $3 else agreed_answered_at end,
            agreed_rupiah = case when $5 then $4 else agreed_rupiah end,
            expected_low = $6, expected_high = $7, counted_at = now(), spent = $8, in_flight = $9,
            hourly = $10, pull_due_at = now() + $11::interval, claimed_until = null, failures = 0,
            last_failure = null
        where dealer_id = $1
        """,
        seen.dealer_id,
        seen.asked_at,
        seen.answered_at,
        seen.rupiah,
        agrees,
        seen.expected_low,
        seen.expected_high,
        counted.spent,
        counted.in_flight,
        list(hourly),
        next_pull,
    )


async def agree(connection: Connection, dealer_id: str) -> None:
    """Hold later balances against the last one, whatever was expected of it."""
    await connection.execute(
        """
        update dealer_accounts
        set agreed_asked_at = asked_at, agreed_answered_at = answered_at, agreed_rupiah = rupiah,
            expected_low = rupiah, expected_high = rupiah
        where dealer_id = $1
        """,
        dealer_id,
    )


# ------------------------------------------------------------------ what is left


async def standings(connection: Connection) -> list[Standing]:
    """Every account as processes take it up."""
    rows = await connection.fetch(
        """
        select dealer_id, rupiah, spent, in_flight,
               extract(epoch from now() - counted_at)::float8,
               extract(epoch from now() - asked_at)::float8,
               coalesce(refused_at > now() - $1::interval
                        and (asked_at is null or refused_at > asked_at), false),
               expected_low, expected_high, hourly
        from dealer_accounts
        """,
        REFUSAL_LASTS,
    )
    return [Standing(*row) for row in rows]


async def take_counts(connection: Connection) -> list[Count]:
    """Lock the balances that are to be counted from anew and that nobody counts just now."""
    rows = await connection.fetch(
        """
        select dealer_id, asked_at, answered_at from dealer_accounts
        where rupiah is not null and now() - counted_at >= greatest(
            $1::interval, (now() - answered_at) / $2::integer
        )
        order by dealer_id
        for update skip locked
        """,
        _COUNTED_EVERY,
        _AGE_SHARE,
    )
    return [Count(*row) for row in rows]


async def write_counts(connection: Connection, counts: Sequence[Counted]) -> None:
    """Write down what was counted in this transaction."""
    await connection.execute(
        """
        update dealer_accounts a set spent = k.spent, in_flight = k.in_flight, counted_at = now()
        from unnest($1::text[], $2::bigint[], $3::bigint[]) k (dealer_id, spent, in_flight)
        where a.dealer_id = k.dealer_id
        """,
        *transposed(counts, 3),
    )


# ------------------------------------------------------------------ deposits


async def add_deposit(
    connection: Connection, dealer_id: str, reference: str, rupiah: int
) -> int | None:
    """Write a deposit down, under the account's lock. The amount that stands under this reference
    already; None where there was none."""
    written = await connection.fetchval(
        """
        insert into dealer_deposits (dealer_id, reference, rupiah, recorded_at)
        values ($1, $2, $3, clock_timestamp())
        on conflict do nothing returning true
        """,
        dealer_id,
        reference,
        rupiah,
    )
    if written:
        return None
    return await connection.fetchval(
        "select rupiah from dealer_deposits where dealer_id = $1 and reference = $2",
        dealer_id,
        reference,
    )


async def deposits_since(connection: Connection, dealer_id: str, since: datetime) -> int:
    """What was paid in at a dealer since a moment, in rupiah, as far as it is written down."""
    return await connection.fetchval(
        """
        select coalesce(sum(rupiah), 0)::bigint from dealer_deposits
        where dealer_id = $1 and recorded_at >= $2
        """,
        dealer_id,
        since,
    )


async def balances(connection: Connection, dealer_id: str, most: int) -> list[Observation]:
    """The last balances of a dealer, the newest first."""
    rows = await connection.fetch(
        """
        select dealer_id, asked_at, answered_at, rupiah, source, expected_low, expected_high
        from dealer_balances where dealer_id = $1 order by answered_at desc limit $2
        """,
        dealer_id,
        most,
    )
    return [Observation(*row) for row in rows]
