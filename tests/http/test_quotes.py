"""Quotes: what an order would cost and whether it could be served, with nothing left behind."""

import pytest

from tests.http.problems import assert_problem
from tests.http.shop import TELKOMSEL, XL, Customer, Shop

WISH = {"sku": "TSEL10", "customer_number": TELKOMSEL}


async def test_a_quote_is_what_the_order_is_then_charged(shop: Shop, customer: Customer) -> None:
    wish = WISH | {"customer_number": "+62 812-3456-7800", "region": "surabaya"}
    answer = await customer.http.post("/v1/quotes", json=wish)
    quote = answer.json()
    assert answer.status_code == 200
    assert quote.pop("as_of").endswith("+00:00")
    assert quote == {
        "sku": "TSEL10",
        "customer_number": TELKOMSEL,
        "brand": "telkomsel",
        "cluster": "east-java",
        "price": 10_500,
        "available": True,
        "reason": None,
    }
    assert await shop.counts() == (0, 0, 0)
    order = (await customer.order(region="surabaya")).json()
    same = ("brand", "cluster", "price", "customer_number")
    assert [order[name] for name in same] == [quote[name] for name in same]


async def test_a_quote_tells_of_no_dealer(customer: Customer) -> None:
    answer = await customer.http.post("/v1/quotes", json=WISH)
    assert "alfa" not in answer.text
    assert "10100" not in answer.text


async def test_without_a_route_the_price_is_told_and_the_reason(
    shop: Shop, customer: Customer
) -> None:
    dear = await customer.http.post("/v1/quotes", json=WISH | {"max_price": 1})
    assert (dear.json()["available"], dear.json()["reason"]) == (False, "no-route")
    assert dear.json()["price"] == 10_500


@pytest.mark.parametrize(
    ("fields", "code", "field"),
    [
        ({"sku": "TSEL20"}, "unknown-sku", "sku"),
        ({"customer_number": XL}, "brand-mismatch", "customer_number"),
        ({"customer_number": "12"}, "invalid-number", "customer_number"),
        ({"region": "atlantis"}, "unknown-region", "region"),
        ({"ref_id": "r-1"}, "invalid-request", "ref_id"),
        ({"max_price": 0}, "invalid-request", "max_price"),
    ],
)
async def test_what_cannot_be_ordered_cannot_be_quoted(
    customer: Customer, fields: dict[str, object], code: str, field: str
) -> None:
    answer = await customer.http.post("/v1/quotes", json=WISH | fields)
    assert_problem(answer, 422, code)
    assert [error["field"] for error in answer.json()["errors"]] == [field]
