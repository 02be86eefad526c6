"""The hops of an order: what can be read, what is a loop, what is passed on."""

import contextlib
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.hops import MOST_HOPS, InvalidHops, loop_in, passed_on, read_hops

OWN = UUID("3f8a1f0e-6d0c-4a52-9f5b-0f6f8f6f2a10")
OTHER = UUID("9be2d3f4-1c55-4f0e-8f0a-5f8f6b7f3c21")
MANY = [UUID(int=number) for number in range(30)]


@pytest.mark.parametrize(
    ("text", "hops"),
    [
        (str(OWN), (OWN,)),
        (f"{OWN}, {OTHER}", (OWN, OTHER)),
        (f"{OWN},{OTHER}", (OWN, OTHER)),
        (f"\t{OTHER} ,  {OWN} ", (OTHER, OWN)),
        (str(OWN).upper(), (OWN,)),
    ],
)
def test_installations_are_read_in_their_order(text: str, hops: tuple[UUID, ...]):
    assert read_hops(text) == hops


@pytest.mark.parametrize(
    "text",
    ["", " ", ",", f"{OWN},", f"{OWN} {OTHER}", "satu", OWN.hex, f"{{{OWN}}}", OWN.urn, f"{OWN}\0"],
)
def test_what_names_no_installations_is_refused(text: str):
    with pytest.raises(InvalidHops):
        read_hops(text)


def test_a_list_beyond_all_bounds_is_not_read():
    with pytest.raises(InvalidHops, match="longer"):
        read_hops(",".join(map(str, MANY)))


@given(st.lists(st.uuids(), max_size=MOST_HOPS), st.uuids())
def test_what_is_passed_on_can_be_read_and_ends_with_oneself(hops: list[UUID], own: UUID):
    assert read_hops(", ".join(passed_on(hops, str(own)))) == (*hops, own)


@given(st.text())
def test_invented_headers_are_read_or_refused(text: str):
    with contextlib.suppress(InvalidHops):
        assert read_hops(text)


@pytest.mark.parametrize(
    "hops", [(OWN,), (OTHER, OWN), (OWN, OTHER), (OTHER, OTHER), tuple(MANY[: MOST_HOPS + 1])]
)
def test_a_way_that_closes_or_is_too_long_is_a_loop(hops: tuple[UUID, ...]):
    assert loop_in(hops, OWN)


@pytest.mark.parametrize("hops", [(OTHER,), tuple(MANY[:MOST_HOPS])])
def test_any_other_way_is_none(hops: tuple[UUID, ...]):
    assert loop_in(hops, OWN) is None


def test_order_that_was_placed_here_begins_with_this_installation():
    assert passed_on(None, str(OWN)) == (str(OWN),)
