"""The price book: what a tier can buy and what it pays, whatever order it was compiled in."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routing.price_book import Price, PriceBook, compile_prices
from routing.table import BadTable, Product

TRI5 = Product("TRI5", "Tri 5.000", "tri", "pulsa", 5000)
TRI10 = Product("TRI10", 'Tri\t"10.000" ü', "tri", "pulsa", 10_000)
OPEN = Product("TSEL", "Telkomsel", "telkomsel", "postpaid", None)


def book(*prices: Price) -> PriceBook:
    return PriceBook(compile_prices([TRI5, OPEN, TRI10], prices))


def test_each_tier_pays_its_own_price():
    found = book(Price("gold", "TRI5", 5_100), Price("standard", "TRI5", 5_400))
    assert (found.price("gold", "TRI5"), found.price("standard", "TRI5")) == (5_100, 5_400)
    assert found.product("TRI10") == TRI10
    assert found.product("TSEL") == OPEN


def test_what_has_no_price_cannot_be_bought():
    found = book(Price("gold", "TRI5", 5_100), Price("gold", "GONE", 1))
    assert found.price("gold", "TRI10") is None
    assert found.price("silver", "TRI5") is None
    assert found.price("gold", "GONE") is None
    assert found.product("GONE") is None


def test_a_list_goes_on_behind_a_sku_that_may_be_gone():
    prices = [Price("gold", sku, 9) for sku in ("TRI10", "TRI5", "TSEL")]
    found = book(*prices, Price("silver", "TSEL", 8))
    assert [product.sku for product, _ in found.on_sale("gold")] == ["TRI10", "TRI5", "TSEL"]
    assert list(found.on_sale("gold", "TRI4")) == [(TRI5, 9), (OPEN, 9)]
    assert list(found.on_sale("silver", "TRI10")) == [(OPEN, 8)]
    assert list(found.on_sale("bronze")) == []


def test_a_shop_without_products_has_a_price_book():
    found = PriceBook(compile_prices([], [Price("gold", "TRI5", 1)]))
    assert (len(found), found.price("gold", "TRI5")) == (0, None)


@pytest.mark.parametrize("products", [[TRI5, TRI5], [TRI5._replace(sku="TRI\n5")]])
def test_rows_that_contradict_each_other_are_refused(products: list[Product]):
    with pytest.raises(BadTable):
        compile_prices(products, [])


def test_bytes_that_are_cut_or_foreign_are_refused():
    content = compile_prices([TRI5], [])
    for bad in (content[:-8], content[1:], b"", b"jalur routes 1\n{}"):
        with pytest.raises(BadTable):
            PriceBook(bad)


_SKUS = st.text(st.characters(codec="utf-8", exclude_characters="\n"), min_size=1, max_size=6)
_RUPIAH = st.integers(1, 2**63 - 1)


@given(st.dictionaries(_SKUS, st.dictionaries(st.sampled_from("abc"), _RUPIAH), max_size=12))
def test_it_is_what_was_put_in_and_the_order_makes_no_difference(
    wanted: dict[str, dict[str, int]],
):
    products = [Product(sku, sku, "tri", "pulsa", 5) for sku in wanted]
    prices = [Price(tier, sku, rp) for sku, tiers in wanted.items() for tier, rp in tiers.items()]
    content = compile_prices(products, prices)
    assert compile_prices(products[::-1], prices[::-1]) == content
    found = PriceBook(content)
    assert found.skus() == wanted.keys()
    for sku, tiers in wanted.items():
        assert {tier: found.price(tier, sku) for tier in "abc"} == {
            tier: tiers.get(tier) for tier in "abc"
        }
    for tier in "abc":
        on_sale = [(product.sku, price) for product, price in found.on_sale(tier)]
        assert on_sale == sorted(
            (sku, tiers[tier]) for sku, tiers in wanted.items() if tier in tiers
        )
