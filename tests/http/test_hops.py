"""Orders that come through other installations: taken with their way, or refused for it."""

from uuid import UUID, uuid4

import httpx
import pytest

from app.hops import HEADER, MOST_HOPS
from tests.http.problems import assert_problem
from tests.http.shop import TELKOMSEL, Customer, Shop

ORDER = {"ref_id": "r-1", "sku": "TSEL10", "customer_number": TELKOMSEL}
FIRST, SECOND = UUID(int=1), UUID(int=2)


async def send(customer: Customer, *hops: str, **fields: object) -> httpx.Response:
    """Place an order, a header a value."""
    headers = [(HEADER, each) for each in hops]
    return await customer.http.post("/v1/orders", json=ORDER | fields, headers=headers)


async def stored(shop: Shop) -> list[UUID] | None:
    return await shop.owner.fetchval("select hops from orders")


async def test_the_installations_that_an_order_came_through_are_kept(
    shop: Shop, customer: Customer
):
    answer = await send(customer, f"{FIRST}, {SECOND}")
    assert answer.status_code == 202
    assert "hops" not in answer.json()
    assert await stored(shop) == [FIRST, SECOND]


async def test_an_order_placed_here_has_come_through_none(shop: Shop, customer: Customer):
    assert (await send(customer)).status_code == 202
    assert await stored(shop) is None


async def test_headers_of_the_same_name_are_one_list(shop: Shop, customer: Customer):
    assert (await send(customer, str(FIRST), str(SECOND))).status_code == 202
    assert await stored(shop) == [FIRST, SECOND]


async def test_the_same_order_by_another_way_is_the_same_order(shop: Shop, customer: Customer):
    first = await send(customer, str(FIRST))
    for again in ([], [str(SECOND)], [str(shop.api.installation_id)]):
        answer = await send(customer, *again)
        assert (answer.status_code, answer.json()["id"]) == (200, first.json()["id"])
    assert await stored(shop) == [FIRST]


@pytest.mark.parametrize("place", [0, 1, 2])
async def test_an_order_that_was_here_before_is_refused_and_leaves_nothing(
    shop: Shop, customer: Customer, place: int
):
    way = [FIRST, SECOND]
    way.insert(place, shop.api.installation_id)
    for values in ([", ".join(map(str, way))], [str(each).upper() for each in way]):
        answer = await send(customer, *values)
        assert_problem(answer, 422, "order-loop")
        assert answer.json()["errors"][0]["field"] == HEADER
    assert await shop.counts() == (0, 0, 0)
    assert await shop.owner.fetchval("select count(*) from order_references") == 0
    balance = (await customer.http.get("/v1/balance")).json()
    assert (balance["available"], balance["reserved"]) == (1_000_000, 0)
    assert (await send(customer)).status_code == 202


@pytest.mark.parametrize(
    ("count", "status"), [(MOST_HOPS, 202), (MOST_HOPS + 1, 422), (MOST_HOPS + 2, 422)]
)
async def test_an_order_may_come_through_so_many_and_no_more(
    customer: Customer, count: int, status: int
):
    answer = await send(customer, ", ".join(str(uuid4()) for _ in range(count)))
    assert answer.status_code == status
    if status != 202:
        assert answer.json()["code"] == "order-loop"


@pytest.mark.parametrize("value", ["", "satu", f"{FIRST};{SECOND}", f"{FIRST}," * 40])
async def test_a_way_that_cannot_be_read_is_refused(shop: Shop, customer: Customer, value: str):
    answer = await send(customer, value)
    assert_problem(answer, 422, "invalid-request")
    assert answer.json()["errors"][0]["field"] == HEADER
    assert await shop.counts() == (0, 0, 0)


# ------------------------------------------------------------------ the most that is charged


async def test_an_order_is_charged_no_more_than_it_allows(shop: Shop, customer: Customer):
    assert_problem(await send(customer, max_charge=10_499), 409, "price-above-limit")
    assert await shop.counts() == (0, 0, 0)
    answer = await send(customer, max_charge=10_500)
    assert (answer.status_code, answer.json()["price"]) == (202, 10_500)


async def test_the_limit_is_no_part_of_what_was_ordered(customer: Customer):
    first = await send(customer, max_charge=10_500)
    for again in ({}, {"max_charge": 1}):
        answer = await send(customer, **again)
        assert (answer.status_code, answer.json()["id"]) == (200, first.json()["id"])
