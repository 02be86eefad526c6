"""Dealer references: the same for ever, different for each purchase, and they name their lane."""

import re
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from uuid_utils.compat import uuid7

from app.references import dealer_reference, lane_of_reference
from dealers.contract import ReferenceRules

ORDER = UUID("0190a000-0000-7000-8000-000000000001")
LONGEST = ReferenceRules()
EXPECTED = "05LYGR8ZCWE0M0KSP1CQJ1"
lanes = st.integers(0, 63)
rules = st.integers(14, 40).map(ReferenceRules)


@given(lanes, st.uuids(), st.integers(1, 99), rules)
def test_a_reference_keeps_the_dealers_rules_and_names_its_lane(
    lane: int, order_id: UUID, attempt_no: int, allowed: ReferenceRules
):
    reference = dealer_reference(lane, order_id, attempt_no, allowed)
    assert re.fullmatch("[0-9A-Z]+", reference)
    assert len(reference) == min(22, allowed.max_length)
    assert lane_of_reference(reference, 64) == lane


def test_a_reference_never_changes_between_versions():
    """A purchase sent by an older version is asked about by a newer one."""
    assert dealer_reference(5, ORDER, 1, LONGEST) == EXPECTED
    assert dealer_reference(5, ORDER, 2, LONGEST) != EXPECTED


@given(lanes, st.integers(14, 22).map(ReferenceRules))
def test_references_of_a_lane_are_in_the_order_of_time_as_far_as_they_tell_it(
    lane: int, allowed: ReferenceRules
):
    told = allowed.max_length - 14
    moments = [UUID(int=ORDER.int + (minute * 60_000 << 80)) for minute in range(50)]
    heads = [dealer_reference(lane, each, 1, allowed)[: 2 + told] for each in moments]
    assert heads == sorted(heads)
    assert told < 8 or len(set(heads)) == len(moments)


def test_orders_of_one_millisecond_have_references_of_their_own():
    references = {
        dealer_reference(0, uuid7(), attempt_no, ReferenceRules(14))
        for _ in range(2000)
        for attempt_no in (1, 2)
    }
    assert len(references) == 4000


def test_a_dealer_that_allows_too_little_is_refused():
    with pytest.raises(ValueError, match="14"):
        dealer_reference(0, ORDER, 1, ReferenceRules(13))


@pytest.mark.parametrize("foreign", ["", "0", "1s0", "zz", "é0AAAA", "1SAAAA", "ZZAAAA", " 0AAA"])
def test_a_foreign_reference_names_no_lane(foreign: str):
    assert lane_of_reference(foreign, 64) is None
