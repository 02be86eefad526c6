"""Compiled routes as bytes: read back as they went in, and refused where they are damaged."""

from datetime import UTC, datetime, time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from routing_examples import offer

from routing.image import Image, compile_routes
from routing.table import NO_CONDITION, BadTable, Condition, Window

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\t\n"), max_size=8)
conditions = st.builds(
    Condition,
    enabled=st.booleans(),
    hours=st.sampled_from([(), (Window(time(22), time(2, 30)),)]),
    valid_from=st.sampled_from([None, datetime(2026, 1, 1, 0, 0, 0, 5, tzinfo=UTC)]),
    valid_until=st.sampled_from([None, datetime(2026, 1, 2, tzinfo=UTC)]),
    daily_quota=st.sampled_from([None, 7]),
    repeat_limit=st.sampled_from([None, 1]),
    weight=st.sampled_from([0, 3]),
)
rows = st.lists(
    st.builds(
        offer,
        st.sampled_from("abc"),
        st.integers(1, 2**63 - 1),
        route_id=texts,
        sku=texts.filter(bool),
        cluster=st.none() | texts.filter(bool),
        dealer_sku=texts,
        condition=conditions,
    ),
    unique_by=lambda route: route.route_id,
    max_size=12,
)


def read(routes):
    compiled = compile_routes(routes, "abc", {route.sku for route in routes})
    assert compiled.refused == ()
    return Image(compiled.content)


@given(rows)
def test_every_route_is_read_back_as_it_went_in(routes):
    image = read(routes)
    for route in routes:
        offered = image.offer(route.sku, route.cluster)
        found = [
            (
                *image.route_text(offered.routes[place]),
                image.dealers[offered.dealers[place]],
                offered.costs[place],
                image.conditions[offered.conditions[place]],
            )
            for place in range(len(offered.costs))
        ]
        wanted = (route.route_id, route.dealer_sku, route.dealer_id, route.cost_rupiah)
        assert (*wanted, route.condition) in found
        assert [each[3] for each in found] == sorted(offered.costs)
        assert offered.costs_repeat is (len(set(offered.costs)) < len(offered.costs))
    assert len(image) == len(routes)


@given(rows, st.randoms())
def test_the_same_rows_in_any_order_give_the_same_bytes(routes, random):
    shuffled = random.sample(routes, len(routes))
    assert read(routes).checksum == read(shuffled).checksum


def test_most_routes_need_no_condition():
    image = read([offer("a", 100), offer("b", 200, enabled=False)])
    assert image.offer("S10", None).conditions == (0, 1)
    assert image.conditions[0] == NO_CONDITION


@pytest.mark.parametrize("damage", [b"", b"x", b"jalur routes 1\n", b"jalur routes 1\n{}\n"])
def test_bytes_that_are_no_table_are_refused(damage):
    with pytest.raises(BadTable):
        Image(damage)


def test_a_table_that_was_cut_is_refused():
    content = compile_routes([offer("a", 100)], "a", ["S10"]).content
    with pytest.raises(BadTable, match="cut"):
        Image(content[:-8])
