"""Past orders asked of a table: the figures of small markets, worked out by hand."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta

from routing_examples import NOON, PRODUCT, offer, table

from routing.choose import Inquiry
from routing.monopoly import GroupTotal, Market, ShareRow, herfindahl_hirschman_index
from routing.reasons import NoPick, Reason
from routing.simulate import PastOrder, Purchases, Replay
from routing.snapshot import Snapshot
from routing.table import Dealer, Policy

TELKOMSEL = Market("telkomsel", None)
MINUTE = timedelta(minutes=1)
AT_ONCE = Policy(minimum_sample_orders=0)
"""Shares count from the second order on."""


def order(at: datetime = NOON, dealer_id: str = "a", cost: int = 10_000, **asked: object):
    inquiry = Inquiry(PRODUCT.sku, "telkomsel", None, 11_000)
    return PastOrder(replace(inquiry, **asked), at, TELKOMSEL, dealer_id, cost)  # type: ignore[arg-type]


def minutes(count: int, **asked: object) -> list[PastOrder]:
    """So many orders, one a minute."""
    return [order(NOON + number * MINUTE, **asked) for number in range(count)]


def replayed(
    snapshot: Snapshot,
    orders: Iterable[PastOrder],
    before: Iterable[ShareRow] = (),
    now: datetime = NOON,
) -> Replay:
    replay = Replay(snapshot, before, now)
    for each in orders:
        replay.ask(each)
    return replay


def test_a_cheaper_dealer_takes_every_order_and_saves_its_difference():
    replay = replayed(table([offer("a", 10_000), offer("b", 9_900)]), minutes(10))
    assert replay.purchases.dealers().groups == {"b": GroupTotal(99_000, 10)}
    assert (replay.purchases.price_rupiah, replay.true_cost_rupiah) == (110_000, 100_000)
    assert (replay.moved, replay.forced, replay.monopoly_cost_rupiah) == (10, 0, 0)


def test_a_market_of_two_is_shared_to_the_rupiah():
    # The first goes to a. From then on whoever holds half or more gives way: b, a, b …
    replay = replayed(table([offer("a", 10_000), offer("b", 10_100)], AT_ONCE), minutes(10))
    market = replay.purchases.markets()[TELKOMSEL]
    assert market.groups == {"A": GroupTotal(50_000, 5), "B": GroupTotal(50_500, 5)}
    assert (replay.monopoly_cost_rupiah, replay.moved, replay.forced) == (500, 5, 0)
    # 50,000² + 50,500² are 50.0006 % of 100,500²
    assert herfindahl_hirschman_index(market) == 5_000


def test_one_group_alone_above_the_cap_is_forced():
    # No other candidate costs at most 2 % more.
    policy = Policy(minimum_sample_orders=0, minimum_groups=1)
    replay = replayed(table([offer("a", 10_000)], policy), minutes(4))
    assert (replay.forced, replay.purchases.orders) == (3, 4)


def test_shares_begin_with_what_was_bought_before():
    snapshot = table([offer("a", 10_000), offer("b", 10_100)])
    held = ShareRow(TELKOMSEL, "A", 600_000, 60, NOON - timedelta(hours=3))
    replay = replayed(snapshot, [order(), order(NOON + timedelta(days=8))], [held])
    # A week later what was bought before has left the window.
    assert replay.purchases.dealers().groups == {
        "a": GroupTotal(10_000, 1),
        "b": GroupTotal(10_100, 1),
    }
    led_in = Replay(snapshot, (), NOON)
    for each in minutes(50):
        led_in.lead_in(each)
    led_in.ask(order(NOON + timedelta(hours=1)))
    assert list(led_in.purchases.dealers().groups) == ["b"]


def test_quotas_are_counted_by_the_day_in_western_indonesia():
    snapshot = table([offer("a", 10_000, daily_quota=2), offer("b", 10_100)])
    midnight = NOON + timedelta(hours=12)
    orders = [*minutes(3), *(order(midnight + number * MINUTE) for number in range(3))]
    replay = replayed(snapshot, orders)
    assert replay.purchases.dealers().groups == {
        "a": GroupTotal(40_000, 4),
        "b": GroupTotal(20_200, 2),
    }


def test_orders_without_a_route_say_why():
    snapshot = table([offer("a", 10_000, daily_quota=1), offer("b", 10_100)])
    asked = [
        order(),
        order(NOON + MINUTE, max_price_rupiah=10_050),
        order(NOON + 2 * MINUTE, price_rupiah=10_050),
        order(NOON + 3 * MINUTE, sku="S99"),
    ]
    refused = replayed(snapshot, asked).refused
    assert (refused.orders, refused.without_offer) == (3, 1)
    assert refused.refusals == {NoPick.NO_ROUTE: 3}
    assert refused.reasons == {
        Reason.QUOTA_USED: 2,
        Reason.ABOVE_MAX_PRICE: 1,
        Reason.LOSS_GUARD: 1,
    }
    assert refused.skus == {"S10": 2, "S99": 1}


def test_refused_monopolies_are_counted_as_such():
    policy = Policy(minimum_sample_orders=0, minimum_groups=1, when_all_barred="reject")
    refused = replayed(table([offer("a", 10_000)], policy), minutes(4)).refused
    assert refused.refusals == {NoPick.ALL_BARRED: 3}
    assert refused.reasons == {Reason.MONOPOLY_BARRED: 3}


def test_dealers_stand_as_they_do_now_and_not_as_they_did_then():
    routes = [offer("a", 10_000), offer("b", 10_100), offer("c", 10_200)]
    dealers = [
        Dealer("a", "A", drained=True),
        Dealer("b", "B", muted_until=NOON + timedelta(days=9)),
        Dealer("c", "C", muted_until=NOON + timedelta(days=1)),
    ]
    now = NOON + timedelta(days=2)
    replay = replayed(table(routes, dealers=dealers), minutes(2), now=now)
    assert replay.purchases.dealers().groups == {"c": GroupTotal(20_400, 2)}


def test_a_dealer_that_is_no_more_stands_for_itself():
    purchases = Purchases({"a": "A"})
    purchases.count(TELKOMSEL, "gone", 10_000, 11_000)
    purchases.count(TELKOMSEL, "a", 10_000, 11_000)
    assert set(purchases.markets()[TELKOMSEL].groups) == {"A", "gone"}
