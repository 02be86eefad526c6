"""Batches: each order is answered in its place, as it would have been alone."""

import asyncio
from collections import Counter
from typing import Any

import httpx
import pytest

from app.http.intake import IntakeLimits
from app.http.server import ApiLimits
from app.storage.pool import Pool
from tests.http.problems import assert_problem
from tests.http.shop import TELKOMSEL, XL, Customer, Shop, open_shop


def order(number: int, **fields: object) -> dict[str, object]:
    wanted = {"ref_id": f"b-{number}", "sku": "TSEL10", "customer_number": f"0812345{number:05d}"}
    return wanted | fields


async def send(customer: Customer, orders: object, **headers: str) -> httpx.Response:
    return await customer.http.post("/v1/orders/batch", json={"orders": orders}, headers=headers)


async def results(customer: Customer, orders: object) -> list[dict[str, Any]]:
    answer = await send(customer, orders)
    assert answer.status_code == 200
    return answer.json()["results"]


async def test_five_hundred_are_accepted_each_as_a_read_shows_it(shop: Shop) -> None:
    customer = await shop.customer(500 * 10_500)
    told = await results(customer, [order(number) for number in range(500)])
    assert [each["status"] for each in told] == [202] * 500
    assert [each["order"]["ref_id"] for each in told] == [f"b-{number}" for number in range(500)]
    assert (await shop.counts()) == (500, 500, 500)
    last = told[-1]["order"]
    assert (await customer.http.get(f"/v1/orders/{last['id']}")).json() == last


async def test_the_same_batch_again_is_the_same_orders(shop: Shop, customer: Customer) -> None:
    orders = [order(number) for number in range(5)]
    first, again = await results(customer, orders), await results(customer, orders)
    assert [each["status"] for each in again] == [200] * 5
    assert [each["order"] for each in again] == [each["order"] for each in first]
    assert await shop.counts() == (5, 5, 5)


async def test_the_same_batch_twice_at_once_is_each_order_once(
    shop: Shop, customer: Customer
) -> None:
    orders = [order(number) for number in range(50)]
    both = await asyncio.gather(results(customer, orders), results(customer, orders))
    assert Counter(each["status"] for told in both for each in told) == {202: 50, 200: 50}
    assert await shop.counts() == (50, 50, 50)


async def test_what_is_wrong_with_one_is_named_in_its_place_and_harms_no_other(
    customer: Customer,
) -> None:
    good, *refused, last = await results(
        customer,
        [
            order(0),
            order(1, sku=7),
            order(2, colour="red"),
            "no order",
            order(4, customer_number=XL),
            order(5, region="atlantis"),
            order(6, max_charge=1),
            order(7),
        ],
    )
    assert good["status"] == last["status"] == 202
    assert [(each["status"], each["problem"]["code"]) for each in refused] == [
        (422, "invalid-request"),
        (422, "invalid-request"),
        (422, "invalid-request"),
        (422, "brand-mismatch"),
        (422, "unknown-region"),
        (409, "price-above-limit"),
    ]
    fields = [[error["field"] for error in each["problem"]["errors"]] for each in refused]
    assert fields == [
        ["orders[1].sku"],
        ["orders[2].colour"],
        ["orders[3]"],
        ["orders[4].customer_number"],
        ["orders[5].region"],
        [],
    ]
    assert all(each["problem"]["status"] == each["status"] for each in refused)


async def test_repeated_references_and_numbers_within_a_batch_behave_as_requests_would(
    shop: Shop, customer: Customer
) -> None:
    first, again, other, twin, allowed = await results(
        customer,
        [
            order(0),
            order(0),
            order(0, customer_number=TELKOMSEL),
            order(0, ref_id="twin"),
            order(0, ref_id="meant", allow_repeat=True),
        ],
    )
    assert (first["status"], again["status"], allowed["status"]) == (202, 200, 202)
    assert again["order"]["id"] == first["order"]["id"]
    assert other["problem"]["code"] == "idempotency-mismatch"
    assert twin["problem"]["code"] == "number-busy"
    assert twin["retry_after"] > 0
    assert first["order"]["id"] in twin["problem"]["detail"]
    assert (await shop.counts())[0] == 2


async def test_the_first_orders_get_the_money_first(shop: Shop) -> None:
    customer = await shop.customer(100 * 10_500)
    told = await results(customer, [order(number) for number in range(200)])
    assert [each["status"] for each in told] == [202] * 100 + [402] * 100


async def test_orders_are_shed_one_by_one(pool: Pool, database_dsn: str) -> None:
    async with open_shop(
        pool, database_dsn, ApiLimits(intake=IntakeLimits(backlog_orders=1)), backlog=lambda: 1
    ) as shop:
        customer = await shop.customer()
        told = await results(customer, [order(0), order(1)])
        assert [each["status"] for each in told] == [503, 503]
        assert {each["retry_after"] for each in told} == {5}


@pytest.mark.parametrize(
    "body",
    [
        b"[]",
        b"{}",
        b'{"orders":[]}',
        b'{"orders":{}}',
        b'{"orders":[{}],"more":1}',
        b'{"orders":[' + b",".join([b"{}"] * 501) + b"]}",
    ],
)
async def test_what_is_no_batch_is_refused_whole(customer: Customer, body: bytes) -> None:
    headers = {"content-type": "application/json"}
    answer = await customer.http.post("/v1/orders/batch", content=body, headers=headers)
    assert_problem(answer, 422, "invalid-request")
    assert [error["field"] for error in answer.json()["errors"]] == ["orders"]


async def test_a_batch_that_is_too_large_or_no_json_is_refused(customer: Customer) -> None:
    headers = {"content-type": "application/json"}
    large = await customer.http.post("/v1/orders/batch", content=b" " * 1_048_577, headers=headers)
    assert_problem(large, 413, "body-too-large")
    broken = await customer.http.post("/v1/orders/batch", content=b'{"orders":', headers=headers)
    assert_problem(broken, 400, "invalid-json")
    foreign = await send(customer, [order(0)], **{"content-type": "text/xml"})
    assert_problem(foreign, 415, "unsupported-media-type")


async def test_the_way_that_a_batch_came_counts_for_each_of_its_orders(
    shop: Shop, customer: Customer
) -> None:
    elsewhere = "0190a000-0000-7000-8000-0000000000ab"
    here = str(shop.api.installation_id)
    passed = await send(customer, [order(0)], **{"jalur-hops": elsewhere})
    assert passed.json()["results"][0]["status"] == 202
    circled = await send(customer, [order(1)], **{"jalur-hops": here})
    (result,) = circled.json()["results"]
    assert result["problem"]["code"] == "order-loop"
    assert [error["field"] for error in result["problem"]["errors"]] == ["Jalur-Hops"]


async def test_a_batch_needs_a_key(shop: Shop) -> None:
    answer = await shop.client().post("/v1/orders/batch", json={"orders": [order(0)]})
    assert_problem(answer, 401, "invalid-key")
