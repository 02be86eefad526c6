"""The orders of a load test: told apart by their numbers, misbehaving where they should."""

from collections import Counter

from loadtests.orders import MISBEHAVIOUR, ONE_IN, customer_number, must_fail

MANY = 100_000


def test_no_two_orders_top_up_the_same_number():
    for misbehaving in (False, True):
        numbers = {customer_number(each, misbehaving=misbehaving) for each in range(MANY)}
        assert len(numbers) == MANY


def test_one_order_in_twenty_misbehaves_in_each_way_equally_often():
    endings = Counter(customer_number(each, misbehaving=True)[-2:] for each in range(MANY))
    each_way = MANY // ONE_IN // len(MISBEHAVIOUR)
    assert {ending: endings[ending] for ending in MISBEHAVIOUR} == dict.fromkeys(
        MISBEHAVIOUR, each_way
    )
    assert sum(endings[f"{digits:02d}"] for digits in range(70)) == MANY - MANY // ONE_IN


def test_an_order_is_delivered_at_once_unless_it_was_asked_to_misbehave():
    assert all(customer_number(each)[-2:] < "70" for each in range(MANY))
    assert not any(must_fail(customer_number(each)) for each in range(MANY))
