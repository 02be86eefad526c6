"""The tally: what the others are to be told, bounded, and what comes while the shares are read."""

import time
from datetime import UTC, datetime

from app.lifecycle.route import Router
from app.lifecycle.tally import Tally
from app.sealing import Sealer
from routing.monopoly import Market, ShareRow
from tests.shops import SECRET_KEY

TRI, XL = Market("tri", None), Market("xl", "jabar")
NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)


def bought(value: int, orders: int = 1, market: Market = TRI, minute: int = 0) -> ShareRow:
    return ShareRow(market, "satu", value, orders, NOON.replace(minute=minute))


def telling(most_cells: int = 10_000) -> Tally:
    tally = Tally(most_cells)
    tally.told = True
    return tally


def test_counts_of_an_hour_are_told_as_one_row() -> None:
    tally = telling()
    tally.count(bought(5000, minute=1))
    tally.count(bought(6000, minute=59))
    assert tally.take(10) == [bought(11000, 2)]
    assert not tally


def test_what_was_taken_back_before_it_was_told_is_not_told() -> None:
    tally = telling()
    tally.count(bought(5000))
    tally.count(bought(-5000, -1))
    assert tally.take(10) == []


def test_equal_failures_of_another_price_are_told_in_rupiah() -> None:
    tally = telling()
    tally.count(bought(5000))
    tally.count(bought(-4000, -1))
    assert tally.take(10) == [bought(1000, 0)]


def test_rows_beyond_the_limit_of_a_message_are_kept_for_the_next() -> None:
    tally = telling()
    tally.count(bought(5000))
    tally.count(bought(7000, market=XL))
    assert tally.take(1) == [bought(5000)]
    assert tally.take(1) == [bought(7000, market=XL)]


def test_tally_that_grows_too_large_is_dropped_and_says_so() -> None:
    tally = telling(most_cells=2)
    for minute in range(3):
        tally.count(ShareRow(Market(f"brand{minute}", None), "satu", 1, 1, NOON))
    assert (len(tally), tally.forget(), tally.forget()) == (0, True, False)


def test_nothing_is_kept_where_nobody_is_told() -> None:
    tally = Tally()
    tally.count(bought(5000))
    assert (len(tally), tally.forget()) == (0, False)


def test_what_is_counted_or_heard_meanwhile_is_noted() -> None:
    tally = telling()
    tally.count(bought(1000))
    with tally.meanwhile() as meanwhile:
        tally.count(bought(2000))
        tally.hear(bought(4000))
        assert list(meanwhile.rows()) == [bought(6000, 2)]
    tally.hear(bought(8000))
    assert list(meanwhile.rows()) == [bought(6000, 2)]
    assert tally.take(10) == [bought(3000, 2)]


def test_what_is_heard_while_the_shares_are_read_is_kept_for_them_and_not_told_on() -> None:
    router = Router(Sealer([SECRET_KEY]), time.monotonic, 45)
    router.tally.told = True
    with router.tally.meanwhile() as meanwhile:
        router.hear([bought(5000)])
        assert list(meanwhile.rows()) == [bought(5000)]
    assert not router.tally
