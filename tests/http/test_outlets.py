"""Outlets that resellers administer: changed only as seen, blocked everywhere, bounded."""

import pytest

from app.administration import outlets as operators
from app.administration.sheets import Placed
from app.http.server import ApiLimits
from app.storage import outlets
from tests.http.problems import assert_problem
from tests.http.shop import Customer, Shop, open_shop
from tests.shops import OPERATOR

URL = "/v1/outlets/OUT-1"


async def take_up(shop: Shop) -> None:
    await shop.api.router.refresh(shop.api.pool)


async def test_an_outlet_is_changed_only_by_who_saw_it(customer: Customer) -> None:
    made = await customer.http.put(URL, json={"region": "surabaya"})
    assert made.status_code == 201
    same = await customer.http.put(URL, json={"region": "surabaya"})
    assert (same.status_code, same.headers["etag"]) == (200, made.headers["etag"])
    assert_problem(await customer.http.put(URL, json={}), 428, "if-match-missing")
    assert_problem(await customer.http.delete(URL), 428, "if-match-missing")
    seen = {"if-match": made.headers["etag"]}
    changed = await customer.http.put(URL, json={"blocked": True, "reason": "lost"}, headers=seen)
    assert changed.json() == {
        "outlet_id": "OUT-1",
        "region": None,
        "blocked": True,
        "reason": "lost",
    }
    late = await customer.http.put(URL, json={"region": "surabaya"}, headers=seen)
    assert_problem(late, 412, "changed-meanwhile")
    assert_problem(await customer.http.delete(URL, headers=seen), 412, "changed-meanwhile")
    seen = {"if-match": (await customer.http.get(URL)).headers["etag"]}
    assert (await customer.http.delete(URL, headers=seen)).status_code == 204
    assert_problem(await customer.http.get(URL), 404, "not-found")
    gone = await customer.http.put(URL, json={}, headers=seen)
    assert_problem(gone, 412, "changed-meanwhile")


async def test_orders_of_a_blocked_outlet_are_refused_until_it_is_unblocked(
    shop: Shop, customer: Customer
) -> None:
    placed = (await customer.order("r-1", outlet_id="OUT-1")).json()
    made = await customer.http.put(URL, json={"blocked": True})
    await take_up(shop)
    refused = await customer.order("r-2", outlet_id="OUT-1")
    assert_problem(refused, 422, "outlet-blocked")
    assert refused.json()["errors"][0]["field"] == "outlet_id"
    again = await customer.order("r-1", outlet_id="OUT-1")
    assert (again.status_code, again.json()["id"]) == (200, placed["id"])
    assert (await customer.order("r-3", outlet_id="OUT-2")).status_code == 202
    assert (await (await shop.customer()).order("r-2", outlet_id="OUT-1")).status_code == 202
    await customer.http.put(URL, json={}, headers={"if-match": made.headers["etag"]})
    await take_up(shop)
    assert (await customer.order("r-2", outlet_id="OUT-1")).status_code == 202


async def test_an_outlet_s_region_decides_its_cluster_until_it_is_deleted(
    shop: Shop, customer: Customer
) -> None:
    made = await customer.http.put(URL, json={"region": "surabaya"})
    await take_up(shop)
    assert (await customer.order("r-1", outlet_id="OUT-1")).json()["cluster"] == "east-java"
    await customer.http.delete(URL, headers={"if-match": made.headers["etag"]})
    await take_up(shop)
    assert (await customer.order("r-2", outlet_id="OUT-1")).json()["cluster"] is None


async def test_operators_move_outlets_and_leave_blocks_alone(
    shop: Shop, customer: Customer
) -> None:
    await customer.http.put(URL, json={"blocked": True, "reason": "lost"})
    reseller, rows = str(customer.reseller_id), [Placed("outlets.0", ("OUT-1", "surabaya"))]
    await operators.put(shop.api.pool, OPERATOR, reseller, rows)
    stands = (await customer.http.get(URL)).json()
    assert (stands["region"], stands["blocked"]) == ("surabaya", True)
    await operators.remove(shop.api.pool, OPERATOR, reseller, "OUT-1")
    stands = (await customer.http.get(URL)).json()
    assert (stands["region"], stands["blocked"]) == (None, True)


async def test_outlets_are_one_s_own_and_listed_page_by_page(
    shop: Shop, customer: Customer
) -> None:
    for number in range(5):
        await customer.http.put(f"/v1/outlets/o{number}", json={"blocked": number % 2 == 0})
    first = (await customer.http.get("/v1/outlets?limit=2&blocked=true")).json()
    assert [each["outlet_id"] for each in first["data"]] == ["o0", "o2"]
    query = f"/v1/outlets?blocked=true&cursor={first['next_cursor']}"
    rest = (await customer.http.get(query)).json()
    assert [each["outlet_id"] for each in rest["data"]] == ["o4"]
    stranger = await shop.customer()
    assert (await stranger.http.get("/v1/outlets")).json()["data"] == []
    assert_problem(await stranger.http.get("/v1/outlets/o0"), 404, "not-found")


async def test_what_cannot_be_an_outlet_is_refused(customer: Customer) -> None:
    refused = await customer.http.put(URL, json={"region": "mars"})
    assert_problem(refused, 422, "unknown-region")
    assert_problem(await customer.http.put(URL, json={"blokced": True}), 422, "invalid-request")
    assert_problem(await customer.http.put("/v1/outlets/%20", json={}), 422, "invalid-request")


async def test_outlets_are_bounded_and_removed_ones_count_for_a_day(pool, database_dsn: str):
    async with open_shop(pool, database_dsn, ApiLimits(outlets=2)) as shop:
        customer = await shop.customer()
        made = [await customer.http.put(f"/v1/outlets/{name}", json={}) for name in "abc"]
        assert [each.status_code for each in made] == [201, 201, 409]
        seen = {"if-match": made[0].headers["etag"]}
        await customer.http.delete("/v1/outlets/a", headers=seen)
        assert_problem(await customer.http.put("/v1/outlets/c", json={}), 409, "too-many-outlets")
        await shop.owner.execute("update outlets set removed_at = removed_at - interval '2 days'")
        await outlets.drop_removed(shop.owner)
        assert (await customer.http.put("/v1/outlets/c", json={})).status_code == 201


@pytest.mark.parametrize("when", ["started before", "starts now"])
async def test_every_process_learns_of_a_change(
    shop: Shop, customer: Customer, database_dsn: str, pool, when: str
) -> None:
    await customer.http.put(URL, json={"region": "surabaya"})
    if when == "started before":
        await take_up(shop)
    seen = {"if-match": (await customer.http.get(URL)).headers["etag"]}
    await customer.http.put(URL, json={"blocked": True}, headers=seen)
    await take_up(shop)
    clusters = shop.api.router.trade.clusters
    assert clusters.outlets == {}
    assert list(clusters.blocked) == [(customer.reseller_id, "OUT-1")]
