"""What a new table changes of the one before, counted by route and by product."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routing.compare import Changes, product_changes, route_changes
from routing.image import Image, compile_routes
from routing.price_book import Price, PriceBook, compile_prices
from routing.table import NO_CONDITION, Condition, Product, Route

ANYWHERE = Route("a", "TRI5", None, "alfa", "T5", 5_000)
LOCAL = Route("b", "TRI5", "jatim", "bravo", "T5", 4_900)
OTHER = Route("c", "TRI10", None, "alfa", "T10", 9_900)
RIVAL = Route("d", "TRI10", None, "bravo", "T10", 9_900)


def image(*routes: Route) -> Image:
    dealers = {route.dealer_id for route in routes}
    return Image(compile_routes(routes, dealers, ["TRI5", "TRI10"]).content)


BEFORE = image(ANYWHERE, LOCAL, OTHER)


@pytest.mark.parametrize(
    ("routes", "changes"),
    [
        ([OTHER, LOCAL, ANYWHERE], Changes()),
        ([ANYWHERE, LOCAL], Changes(removed=1)),
        (
            [ANYWHERE, LOCAL, OTHER, OTHER._replace(route_id="d", dealer_id="bravo")],
            Changes(added=1),
        ),
        ([ANYWHERE._replace(cost_rupiah=5_001), LOCAL, OTHER], Changes(changed=1)),
        ([ANYWHERE, LOCAL._replace(dealer_sku="T05"), OTHER], Changes(changed=1)),
        ([ANYWHERE, LOCAL, OTHER._replace(condition=Condition(daily_quota=5))], Changes(changed=1)),
        ([ANYWHERE, LOCAL._replace(cluster="jabar"), OTHER], Changes(changed=1)),
        # It stands in for the any-cluster route in its cluster, which is there all the same.
        ([ANYWHERE, LOCAL._replace(dealer_id="alfa"), OTHER], Changes(changed=1)),
        ([ANYWHERE, LOCAL._replace(sku="TRI10"), OTHER], Changes(changed=1)),
        ([], Changes(removed=3)),
    ],
)
def test_routes_are_compared_by_their_ids(routes: list[Route], changes: Changes):
    assert route_changes(BEFORE, image(*routes)) == changes


tables = st.lists(
    st.builds(
        Route,
        st.sampled_from("abcdefgh"),
        st.sampled_from(["TRI5", "TRI10"]),
        st.sampled_from([None, "jatim", "jabar"]),
        st.sampled_from(["alfa", "bravo"]),
        st.sampled_from(["T5", "T05"]),
        st.integers(1, 3),
        st.sampled_from([NO_CONDITION, Condition(daily_quota=5)]),
    ),
    unique_by=lambda route: route.route_id,
)


@given(tables, tables)
def test_what_became_of_each_id_is_counted(before: list[Route], after: list[Route]):
    old, new = ({route.route_id: route for route in table} for table in (before, after))
    both = old.keys() & new.keys()
    wanted = Changes(
        len(new.keys() - both), sum(old[each] != new[each] for each in both), len(old) - len(both)
    )
    assert route_changes(image(*before), image(*after)) == wanted


def test_everything_is_new_where_nothing_was():
    assert route_changes(None, BEFORE) == Changes(added=3)
    assert route_changes(image(), BEFORE) == Changes(added=3)


TRI5 = Product("TRI5", "Tri", "tri", "pulsa", 5_000)
TRI10 = Product("TRI10", "Tri", "tri", "pulsa", 10_000)


def book(products: list[Product], *prices: Price) -> PriceBook:
    return PriceBook(compile_prices(products, prices))


def test_a_product_changes_with_any_of_its_prices():
    before = book([TRI5, TRI10], Price("gold", "TRI5", 5_100))
    assert product_changes(None, before) == Changes(added=2)
    assert product_changes(before, before) == Changes()
    dearer = book([TRI5, TRI10], Price("gold", "TRI5", 5_200))
    assert product_changes(before, dearer) == Changes(changed=1)
    offered = book([TRI5, TRI10], Price("gold", "TRI5", 5_100), Price("new", "TRI10", 1))
    assert product_changes(before, offered) == Changes(changed=1)
    other = book([TRI5._replace(name="Three"), TRI10._replace(sku="TRI11")])
    assert product_changes(before, other) == Changes(added=1, changed=1, removed=1)
