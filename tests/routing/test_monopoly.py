from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routing.monopoly import (
    NO_PURCHASES,
    GroupTotal,
    Market,
    MarketTotals,
    ShareRow,
    Shares,
    herfindahl_hirschman_index,
)

MARKET = Market("telkomsel", "jabar")
START = datetime(2025, 6, 2, tzinfo=UTC)


def at_hour(hours):
    return START + timedelta(hours=hours)


def test_purchases_fall_out_of_the_window_hour_by_hour():
    shares = Shares(window_days=1)
    shares.add(MARKET, "A", 100, 1, at_hour(0))
    shares.add(MARKET, "B", 300, 2, at_hour(1))
    assert shares.totals(MARKET, at_hour(23)).value_rupiah == 400
    assert shares.totals(MARKET, at_hour(24)).groups == {"B": GroupTotal(300, 2)}
    assert shares.totals(MARKET, at_hour(25)) == NO_PURCHASES


def test_a_failure_is_taken_back_from_the_hour_it_was_counted_in():
    shares = Shares(window_days=1)
    shares.add(MARKET, "A", 100, 1, at_hour(0))
    shares.add(MARKET, "A", 100, 1, at_hour(5))
    shares.take_back(MARKET, "A", 100, 1, at_hour(0))
    assert shares.totals(MARKET, at_hour(24)).value_of("A") == 100


def test_a_failure_older_than_the_window_takes_nothing_back():
    shares = Shares(window_days=1)
    shares.add(MARKET, "A", 100, 1, at_hour(0))
    shares.add(MARKET, "A", 70, 1, at_hour(30))
    shares.totals(MARKET, at_hour(30))
    shares.take_back(MARKET, "A", 100, 1, at_hour(0))
    assert shares.totals(MARKET, at_hour(30)).value_of("A") == 70


def test_news_of_the_oldest_hour_inside_the_window_still_counts():
    shares = Shares(window_days=1)
    shares.add(MARKET, "A", 100, 1, at_hour(23))
    shares.totals(MARKET, at_hour(23))
    shares.add(MARKET, "A", 7, 1, at_hour(0))
    assert shares.totals(MARKET, at_hour(23)).value_of("A") == 107


def test_markets_are_counted_apart():
    shares = Shares(window_days=7)
    shares.add(MARKET, "A", 100, 1, START)
    other = Market("telkomsel", None)
    assert shares.totals(other, START) == NO_PURCHASES
    assert shares.markets() == [MARKET]


def test_loading_replaces_what_was_counted():
    shares = Shares(window_days=7)
    shares.add(MARKET, "A", 100, 1, START)
    shares.load([ShareRow(MARKET, "B", 40, 3, START)])
    assert shares.totals(MARKET, START).groups == {"B": GroupTotal(40, 3)}


def test_totals_already_handed_out_never_change():
    shares = Shares(window_days=7)
    shares.add(MARKET, "A", 100, 1, START)
    evidence = shares.totals(MARKET, START)
    shares.add(MARKET, "A", 900, 1, START)
    assert evidence.value_of("A") == evidence.value_rupiah == 100


events = st.lists(
    st.tuples(
        st.sampled_from(["add", "take_back", "look"]),
        st.sampled_from("ABC"),
        st.integers(1, 5),
        st.integers(0, 80),
    ),
    max_size=60,
)


@given(events)
def test_running_sums_equal_a_sum_over_everything_inside_the_window(history):
    shares, counted, latest = Shares(window_days=1), [], 0
    for verb, group, value, hour in history:
        if verb == "look":
            latest = max(latest, hour)
            shares.totals(MARKET, at_hour(hour))
        else:
            getattr(shares, verb)(MARKET, group, value, 1, at_hour(hour))
            counted.append((group, value if verb == "add" else -value, hour))
    values, orders = Counter(), Counter()
    for group, value, hour in counted:
        if hour > latest - 24:
            values[group] += value
            orders[group] += 1 if value > 0 else -1
    totals = shares.totals(MARKET, at_hour(latest))
    assert totals.groups == {
        group: (values[group], orders[group]) for group in values if values[group] or orders[group]
    }
    assert (totals.value_rupiah, totals.orders) == (values.total(), orders.total())


@pytest.mark.parametrize(
    ("values", "index"),
    [([], 0), ([700], 10_000), ([50, 50], 5_000), ([25] * 4, 2_500), ([60, 30, 10], 4_600)],
)
def test_concentration_is_the_sum_of_squared_percentages(values, index):
    groups = {str(n): GroupTotal(value, 1) for n, value in enumerate(values)}
    assert herfindahl_hirschman_index(MarketTotals.of(groups)) == index


def test_a_cap_is_compared_to_the_rupiah():
    whole = 3_000_000_000_001
    totals = MarketTotals.of({"A": GroupTotal(whole // 2, 1), "B": GroupTotal(whole // 2 + 1, 1)})
    assert totals.share_basis_points("A") == 4_999
    assert totals.above_cap_rupiah("A", 5_000) < 0 < totals.above_cap_rupiah("B", 5_000)


def test_nobody_is_above_the_cap_of_an_empty_market():
    assert NO_PURCHASES.above_cap_rupiah("A", 1) < 0
    assert NO_PURCHASES.share_basis_points("A") == 0
