"""Whatever JSON arrives, an order stands once, or a problem says why and names the field."""

import asyncio
import json
from typing import Any

import httpx
import orjson
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.orders import NewOrder
from schemas.problems import CATALOGUE
from tests.http.shop import TELKOMSEL, Customer, Shop

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)
SENSIBLE: dict[str, st.SearchStrategy[Any]] = {
    "ref_id": st.sampled_from(["r-1", "r-2", "r-3"]),
    "sku": st.sampled_from(["TSEL10", "TSEL20", "XL10"]),
    "customer_number": st.sampled_from([TELKOMSEL, "+62 812-3456-7801", "087712345600", "1"]),
    "region": st.sampled_from(["surabaya", "atlantis", None]),
    "outlet_id": st.sampled_from(["outlet-1", None]),
    "max_price": st.sampled_from([1, 10_150, 10**12, None]),
    "max_charge": st.sampled_from([1, 10_500, None]),
    "allow_repeat": st.booleans(),
    "metadata": st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=3) | st.none(),
}
NEEDED = {"ref_id", "sku", "customer_number"}
ORDERS = st.fixed_dictionaries(
    {name: value for name, value in SENSIBLE.items() if name in NEEDED},
    optional={name: value for name, value in SENSIBLE.items() if name not in NEEDED},
)


@st.composite
def spoilt(draw: st.DrawFn) -> Any:
    """An order of which a member is something else, or lacks, or is one too many."""
    order = dict(draw(ORDERS))
    name = draw(st.sampled_from([*order, "ghost"]))
    if draw(st.booleans()):
        order.pop(name, None)
    else:
        order[name] = draw(JSON)
    return order


BODIES = ORDERS | spoilt() | JSON


def encoded(body: object) -> bytes:
    """As JSON; numbers and texts that orjson refuses as Python writes them."""
    try:
        return orjson.dumps(body, option=orjson.OPT_NON_STR_KEYS)
    except TypeError:
        return json.dumps(body).encode("utf-8", "surrogatepass")


def test_every_field_of_an_order_is_tried():
    assert set(SENSIBLE) == set(NewOrder.model_fields)


async def test_whatever_arrives_an_order_stands_once_or_the_field_is_named(
    shop: Shop, customer: Customer
) -> None:
    loop = asyncio.get_running_loop()

    @given(body=BODIES)
    @settings(max_examples=100)
    def check(body: object) -> None:
        asyncio.run_coroutine_threadsafe(_check(shop, customer, encoded(body)), loop).result(60)

    await asyncio.to_thread(check)
    reserved = await shop.owner.fetchval("select reserved from wallets")
    prices = await shop.owner.fetchval("select coalesce(sum(price), 0) from orders")
    assert reserved == prices


async def _check(shop: Shop, customer: Customer, body: bytes) -> None:
    before = await shop.counts()
    first = await _send(customer, body)
    after = await shop.counts()
    if first.status_code == 202:
        assert after == tuple(count + 1 for count in before)
        again = await _send(customer, body)
        assert (again.status_code, again.json()["id"]) == (200, first.json()["id"])
        assert await shop.counts() == after
        return
    assert after == before
    if first.status_code == 200:
        assert first.headers["idempotency-replayed"] == "true"
        return
    problem = first.json()
    assert 400 <= first.status_code < 500, problem
    assert problem["code"] in CATALOGUE
    if first.status_code == 422:
        assert problem["errors"]
        assert all(error["field"] and error["message"] for error in problem["errors"])


async def _send(customer: Customer, body: bytes) -> httpx.Response:
    headers = {"content-type": "application/json"}
    return await customer.http.post("/v1/orders", content=body, headers=headers)
