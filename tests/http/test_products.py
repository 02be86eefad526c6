"""Products by filters and pages, and polled for nothing while nothing changes."""

import pytest

from app.http import products
from app.lifecycle.goods import newest_goods
from tests.http.problems import assert_problem
from tests.http.shop import Customer, Shop
from tests.publishing import PUBLISH


async def listed(customer: Customer, **query: object) -> list[str]:
    rows: list[str] = []
    while True:
        page = (await customer.http.get("/v1/products", params=query)).json()
        rows += [each["sku"] for each in page["data"]]
        if not page["has_more"]:
            return rows
        query["cursor"] = page["next_cursor"]


async def add_products(shop: Shop, count: int) -> None:
    await shop.owner.execute(
        """
        insert into products (sku, name, brand, kind, denomination)
        select 'P' || lpad(n::text, 6, '0'), 'P', case when n % 10 = 0 then 'tri' else 'axis' end,
               case when n % 2 = 0 then 'data' else 'pulsa' end, 5000 from generate_series(1, $1) n
        """,
        count,
    )
    await shop.owner.execute(
        "insert into prices select 'standard', sku, 6000 from products where sku like 'P%'"
    )
    await shop.owner.execute(PUBLISH)
    await shop.api.router.refresh(shop.api.pool, newest_goods)


@pytest.mark.parametrize("limit", [1, 7, 100])
@pytest.mark.parametrize("scan", [3, 2000])
async def test_filters_find_all_and_nothing_else_on_pages_of_any_size(
    shop: Shop, customer: Customer, monkeypatch: pytest.MonkeyPatch, limit: int, scan: int
) -> None:
    monkeypatch.setattr(products, "SCAN_LIMIT", scan)
    await add_products(shop, 40)
    tens = [f"P{number:06}" for number in (10, 20, 30, 40)]
    assert await listed(customer, brand="tri", limit=limit) == tens
    assert await listed(customer, brand="tri", kind="pulsa", limit=limit) == []
    assert await listed(customer, sku_prefix="P00003", limit=limit) == [
        f"P{number:06}" for number in range(30, 40)
    ]
    assert await listed(customer, sku_prefix="P00003", kind="data", brand="tri", limit=limit) == [
        "P000030"
    ]
    assert len(await listed(customer, limit=limit)) == 42


async def test_a_page_is_sent_again_only_once_something_in_it_changes(
    shop: Shop, customer: Customer
) -> None:
    first = await customer.http.get("/v1/products")
    tag = {"if-none-match": first.headers["etag"]}
    unchanged = await customer.http.get("/v1/products", headers=tag)
    assert (unchanged.status_code, unchanged.content) == (304, b"")
    assert (await customer.http.get("/v1/products?limit=1", headers=tag)).status_code == 200
    await shop.owner.execute("update dealers set drained = true")
    await shop.owner.execute("update routing_policy set revision = revision + 1")
    await shop.api.router.refresh(shop.api.pool)
    drained = await customer.http.get("/v1/products", headers=tag)
    assert [each["available"] for each in drained.json()["data"]] == [False, False]
    tag = {"if-none-match": drained.headers["etag"]}
    assert (await customer.http.get("/v1/products", headers=tag)).status_code == 304
    await shop.owner.execute("update prices set price = 10900 where sku = 'TSEL10'")
    await shop.owner.execute(PUBLISH)
    await shop.api.router.refresh(shop.api.pool)
    dearer = await customer.http.get("/v1/products", headers=tag)
    assert dearer.json()["data"][0]["price"] == 10_900


async def test_one_product_by_its_sku(shop: Shop, customer: Customer) -> None:
    found = await customer.http.get("/v1/products/TSEL10")
    assert (found.json()["price"], found.json()["available"]) == (10_500, True)
    tag = {"if-none-match": found.headers["etag"]}
    assert (await customer.http.get("/v1/products/TSEL10", headers=tag)).status_code == 304
    for sku in ("TSEL20", "NONE"):  # the first is another tier's
        assert_problem(await customer.http.get(f"/v1/products/{sku}"), 404, "not-found")
    assert_problem(
        await customer.http.get("/v1/products/TSEL10?region=mars"), 422, "unknown-region"
    )


async def test_polling_a_large_catalogue_looks_at_a_page_only(
    shop: Shop, customer: Customer
) -> None:
    await add_products(shop, 20_000)
    first = await customer.http.get("/v1/products?brand=none")
    assert first.json()["has_more"] is True
    assert first.json()["data"] == []
    page = await customer.http.get("/v1/products?sku_prefix=P0199")
    assert len(page.json()["data"]) == 100
    tag = {"if-none-match": page.headers["etag"]}
    again = await customer.http.get("/v1/products?sku_prefix=P0199", headers=tag)
    assert (again.status_code, again.content) == (304, b"")
