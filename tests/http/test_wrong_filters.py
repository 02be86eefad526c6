"""Filters that cannot be: each is named in the refusal."""

import pytest

from tests.http.problems import assert_problem
from tests.http.shop import Customer

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("status", "paid"),
        ("sku", "\0"),
        ("sku", "x" * 33),
        ("customer_number", "12345"),
        ("outlet_id", " "),
        ("ref_id", "\0"),
        ("created_from", "yesterday"),
        ("created_from", "1795308006"),
        ("created_from", "2026-11-22T00:00:00"),
        ("created_to", "0001-01-01T00:00:00Z"),
        ("created_to", "9999-12-31T23:59:59-12:00"),
        ("limit", "0"),
    ],
)
async def test_a_wrong_filter_is_named(idle_customer: Customer, field: str, value: str) -> None:
    refused = await idle_customer.http.get("/v1/orders", params={field: value})
    assert refused.status_code == 422
    assert refused.json()["errors"][0]["field"].split(".")[0] == field


async def test_a_time_that_ends_before_it_begins_is_refused(idle_customer: Customer) -> None:
    query = {"created_from": "2026-11-22T00:00:00Z", "created_to": "2026-11-22T06:59:59+07:00"}
    refused = await idle_customer.http.get("/v1/orders", params=query)
    assert_problem(refused, 422, "invalid-request")
    assert refused.json()["errors"][0]["field"] == "created_to"


async def test_wrong_event_filters_are_named(idle_customer: Customer) -> None:
    for query in ("type=order.unheard", "order_id=7"):
        refused = await idle_customer.http.get(f"/v1/events?{query}")
        assert_problem(refused, 422, "invalid-request")
        assert refused.json()["errors"][0]["field"].split(".")[0] == query.split("=")[0]
    for event_id in ("7", "evt_7", "evt_01a200b2-2c5c-70b8-87fb-03340034df76"):
        unknown = await idle_customer.http.get(f"/v1/events/{event_id}")
        assert_problem(unknown, 404, "not-found")
