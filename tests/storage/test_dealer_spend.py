"""What was taken since a balance: the same from written hours as from attempts, doubts apart."""

import itertools
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from app.lifecycle.account import LastHours
from app.storage import dealer_spend, purchase_hours
from app.storage.dealer_spend import NOTHING, HourSpend, Span, Spent
from app.storage.pool import Pool
from tests.shops import Owner

NOW = datetime.now(UTC)
HOUR, MINUTE, SECOND = timedelta(hours=1), timedelta(minutes=1), timedelta(seconds=1)
FIRST, SECOND_ONE = NOW - 5 * HOUR, NOW - MINUTE
ACROSS = SECOND * 2
SPAN = Span("alfa", FIRST - SECOND, FIRST + SECOND, SECOND_ONE - SECOND, SECOND_ONE + SECOND)
OPEN_SPAN = Span("alfa", FIRST - SECOND, FIRST + SECOND)
_numbers = itertools.count(1)


@pytest.fixture
async def owner(database_dsn: str) -> AsyncIterator[Owner]:
    connection = await asyncpg.connect(database_dsn)
    yield connection
    await connection.close()


async def buy(
    owner: Owner,
    sent_at: datetime,
    closed_at: datetime | None,
    state: str = "succeeded",
    rupiah: int = 1000,
    accepted_at: datetime | None = None,
    **fields: Any,
) -> None:
    """Write an attempt of that time; its order's id is some seconds older unless told."""
    number = next(_numbers)
    first = purchase_hours.first_id(accepted_at or sent_at - 5 * SECOND)
    row = {
        "lane": number % 64,
        "order_id": type(first)(int=first.int + number),
        "attempt_no": 1,
        "dealer_id": "alfa",
        "route_id": "r",
        "dealer_sku": "S",
        "dealer_ref": f"R{number}",
        "cost": rupiah,
        "max_price": 10**9,
        "asked_at": sent_at,
        "sent_at": sent_at,
        "closed_at": closed_at,
        "state": state,
        "due_at": NOW if state in ("sent", "pending", "unknown") else None,
        **fields,
    }
    names, places = ", ".join(row), ", ".join(f"${n}" for n in range(1, len(row) + 1))
    await owner.execute(f"insert into attempts ({names}) values ({places})", *row.values())
    await owner.execute(
        """
        insert into orders (lane, order_id, reseller_id, ref_id, sku, brand, customer_number, price,
                            retry_until, created_at, decision)
        values ($1, $2, $2, 'r', 'S', 'tri', '0895', 6000, $3, $3, '{}')
        """,
        row["lane"],
        row["order_id"],
        sent_at,
    )


async def spent(pool: Pool, *spans: Span) -> list[Spent]:
    async with pool.acquire() as connection:
        return await dealer_spend.spent(connection, spans, NOW)


async def write_hours(pool: Pool) -> None:
    """Have every hour that is over written, as processes do."""
    async with pool.acquire() as connection:
        for hour in purchase_hours.hours(NOW - 8 * HOUR, NOW - 2 * HOUR):
            await purchase_hours.write(connection, hour)


async def test_each_doubt_is_told_apart(owner: Owner, pool: Pool):
    before, after = FIRST - ACROSS, FIRST + ACROSS
    await buy(owner, FIRST - HOUR, FIRST - HOUR + SECOND, rupiah=1)  # before it all
    await buy(owner, before, after, rupiah=10)  # across the first balance
    await buy(owner, before, after, "failed", rupiah=100)
    await buy(owner, before, after, "rejected", rupiah=10**6)  # nothing was ever held
    await buy(owner, after, after + MINUTE, rupiah=1000)  # between both
    await buy(owner, after, after + MINUTE, "failed", rupiah=10**6)
    await buy(owner, SECOND_ONE - ACROSS, SECOND_ONE + ACROSS, rupiah=10_000)  # across the second
    await buy(owner, SECOND_ONE - ACROSS, SECOND_ONE + ACROSS, "failed", rupiah=100_000)
    await buy(owner, SECOND_ONE + ACROSS, SECOND_ONE + 2 * ACROSS, rupiah=10**6)  # after it all
    await buy(owner, SECOND_ONE - MINUTE, None, "pending", rupiah=5)
    await buy(owner, after, after + MINUTE, rupiah=10**6, dealer_id="bravo")
    told, open_ended = await spent(pool, SPAN, OPEN_SPAN)
    assert told == Spent(certain=1000, doubtful=110_010, given_back=100, in_flight=5)
    assert open_ended == Spent(1000 + 10_000 + 10**6, 10, 100, 5)


@pytest.mark.parametrize("written", [False, True])
async def test_hours_that_are_written_say_the_same(owner: Owner, pool: Pool, written: bool):
    for minutes in range(0, 290, 10):
        at = FIRST + minutes * MINUTE
        await buy(owner, at + ACROSS, at + 2 * ACROSS, rupiah=1000 + minutes, charged=900 + minutes)
        await buy(owner, at + ACROSS, at + 2 * ACROSS, "failed")
    if written:
        await write_hours(pool)
    assert await spent(pool, OPEN_SPAN) == [Spent(29 * 900 + sum(range(0, 290, 10)), 0, 0, 0)]


async def test_what_was_sent_long_before_and_closed_late_is_in_doubt(owner: Owner, pool: Pool):
    await buy(owner, FIRST - 3 * HOUR, FIRST + MINUTE, rupiah=10)
    await buy(owner, FIRST - 3 * HOUR, FIRST + MINUTE, "failed", rupiah=100)
    await buy(owner, FIRST - 3 * HOUR, FIRST - MINUTE, rupiah=10**6)
    await buy(owner, FIRST - 3 * HOUR, None, "unknown", rupiah=1)
    await buy(owner, FIRST - 3 * HOUR, None, "unknown", rupiah=2, due_at=None)
    await owner.execute(
        """
        insert into reviews (lane, order_id, attempt_no, reason, opened_at)
        select lane, order_id, attempt_no, 'unresolved', now() from attempts
        where state = 'unknown' and due_at is null
        """
    )
    await write_hours(pool)
    assert await spent(pool, OPEN_SPAN) == [Spent(0, 10, 100, 3)]


@pytest.mark.parametrize(
    "waited", [SECOND, 45 * SECOND, 59 * SECOND, 61 * SECOND, 9 * MINUTE, 3 * HOUR]
)
async def test_it_counts_when_a_purchase_was_sent_not_when_its_order_was_accepted(
    owner: Owner, pool: Pool, waited: timedelta
):
    before, after = FIRST - ACROSS, FIRST + ACROSS
    for sent_at, closed_at, rupiah in (
        (before, before + SECOND / 2, 10**6),
        (before, after, 10),
        (after, after + SECOND, 1000),
    ):
        await buy(owner, sent_at, closed_at, rupiah=rupiah, accepted_at=sent_at - waited)
        await buy(owner, sent_at, closed_at, "failed", rupiah, accepted_at=sent_at - waited)
    await buy(owner, after, None, "pending", rupiah=5, accepted_at=after - waited)
    assert await spent(pool, OPEN_SPAN) == [Spent(1000, 10, 10, 5)]


async def test_an_order_s_moment_is_that_of_its_id(owner: Owner):
    for moment in (NOW, NOW + timedelta(microseconds=1), datetime(2026, 1, 1, tzinfo=UTC)):
        first = purchase_hours.first_id(moment)
        told = await owner.fetchval("select order_moment($1)", first)
        assert told == purchase_hours.moment_of(first)


async def test_a_purchase_closed_after_its_hour_was_written_counts_anew(owner: Owner, pool: Pool):
    at = FIRST + 2 * HOUR
    await buy(owner, at, None, "unknown", rupiah=70)
    await write_hours(pool)
    assert await spent(pool, OPEN_SPAN) == [Spent(0, 0, 0, 70)]
    await owner.execute("update attempts set state = 'succeeded', closed_at = now(), due_at = null")
    assert await spent(pool, OPEN_SPAN) == [Spent(70, 0, 0, 0)]


async def test_several_dealers_and_moments_are_counted_at_once(owner: Owner, pool: Pool):
    await buy(owner, FIRST + MINUTE, FIRST + MINUTE + SECOND)
    await buy(owner, NOW - 2 * MINUTE, NOW - 2 * MINUTE + SECOND, dealer_id="bravo")
    await buy(owner, NOW - 20 * MINUTE, NOW - 20 * MINUTE + SECOND, dealer_id="bravo")
    await write_hours(pool)
    lately = Span("bravo", NOW - 10 * MINUTE, NOW - 10 * MINUTE)
    found = await spent(pool, OPEN_SPAN, lately, OPEN_SPAN._replace(dealer_id="bravo"))
    assert [each.certain for each in found] == [1000, 1000, 2000]
    assert await spent(pool, OPEN_SPAN._replace(dealer_id="nobody")) == [NOTHING]


@pytest.mark.parametrize("written", [False, True])
async def test_hours_are_told_by_dealer(owner: Owner, pool: Pool, written: bool):
    hour = purchase_hours.hours(NOW - 3 * HOUR, NOW - 3 * HOUR)[0]
    at = hour.hour + MINUTE
    await buy(owner, at, at + SECOND, charged=1234)
    await buy(owner, at, at + SECOND, "failed")
    await buy(owner, at, at + SECOND, dealer_id="bravo")
    if written:
        await write_hours(pool)
    async with pool.acquire() as connection:
        found = await dealer_spend.by_hour(connection, [hour])
    assert sorted(found) == [
        HourSpend("alfa", hour.hour, 1234),
        HourSpend("bravo", hour.hour, 1000),
    ]


async def test_last_hours_are_read_for_all_dealers_and_kept_no_longer_than_they_are_true(
    owner: Owner, pool: Pool
):
    hour = purchase_hours.hours(NOW, NOW)[0].hour
    kept = LastHours()

    async def told(dealer_id: str, now: datetime) -> list[int]:
        async with pool.acquire() as connection:
            return list(await kept.of(connection, dealer_id, now))[-2:]

    async def take(dealer_id: str, rupiah: int) -> None:
        at = hour - 10 * MINUTE
        await buy(owner, at, at + SECOND, rupiah=rupiah, dealer_id=dealer_id)

    await take("alfa", 1000)
    await take("bravo", 20)
    assert await told("alfa", hour + MINUTE) == [0, 1000]
    assert await told("nobody", hour + MINUTE) == [0, 0]
    await take("bravo", 300)
    assert await told("bravo", hour + 15 * MINUTE) == [0, 20]
    assert await told("bravo", hour + 16 * MINUTE) == [0, 320]
    assert await told("bravo", hour + 50 * MINUTE) == [0, 320]
    assert await told("bravo", hour + HOUR) == [320, 0]
