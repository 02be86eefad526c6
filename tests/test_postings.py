"""Postings: every one sums to zero, and a wallet is nothing but the sum of its postings."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.postings import (
    Kind,
    Posting,
    Wallet,
    capture,
    correction,
    deposit,
    refund,
    release,
    reserve,
)

rupiah = st.integers(1, 10**12)
postings = st.one_of(
    st.builds(deposit, rupiah),
    st.builds(reserve, rupiah),
    st.builds(capture, rupiah),
    st.builds(release, rupiah),
    st.builds(refund, rupiah, st.integers(1, 9)),
    st.builds(correction, rupiah, st.integers(1, 9)),
)


@given(postings)
def test_every_posting_sums_to_zero(posting: Posting):
    assert posting.available_delta + posting.reserved_delta + posting.outside_delta == 0


@given(st.lists(postings, max_size=30))
def test_a_wallet_is_the_sum_of_its_postings(moved: list[Posting]):
    wallet = Wallet(0, 0, 0)
    for posting in moved:
        wallet = wallet.after(posting)
    assert wallet.available == sum(posting.available_delta for posting in moved)
    assert wallet.reserved == sum(posting.reserved_delta for posting in moved)
    outside = sum(posting.outside_delta for posting in moved)
    assert wallet.available + wallet.reserved + outside == 0


@pytest.mark.parametrize(
    ("resolved", "charged"), [([capture], 700), ([release], 0)], ids=["captured", "released"]
)
def test_an_order_costs_its_price_or_nothing(resolved: list, charged: int):
    wallet = Wallet(1000, 0, 0).after(reserve(700))
    for step in resolved:
        wallet = wallet.after(step(700))
    assert (wallet.available, wallet.reserved) == (1000 - charged, 0)


def test_a_refund_undoes_a_capture_and_a_correction_a_release():
    bought = Wallet(1000, 0, 0).after(reserve(700)).after(capture(700))
    assert bought.after(refund(700, 1)).available == 1000
    given_back = Wallet(1000, 0, 0).after(reserve(700)).after(release(700))
    assert given_back.after(correction(700, 1)).available == 300


def test_capture_and_release_share_the_leg_that_exists_once():
    assert capture(1).leg == release(1).leg
    assert len({reserve(1).leg, capture(1).leg, refund(1, 1).leg, correction(1, 2).leg}) == 4


@pytest.mark.parametrize("amount", [0, -1])
def test_a_deposit_is_positive(amount: int):
    with pytest.raises(ValueError, match="positive"):
        deposit(amount)


def test_a_deposit_has_no_order_to_be_a_leg_of():
    assert (deposit(5).kind, deposit(5).leg) == (Kind.DEPOSIT, None)
