"""Lists of orders and events by every filter, each combination whole and bounded."""

import itertools
from uuid import UUID

import pytest

from app.http.orders import _MOST_REFERENCES
from app.storage import events, order_views
from dealers.contract import Outcome
from tests.http.problems import assert_problem
from tests.http.shop import Customer, Shop
from tests.http.test_reads import read_all

OTHER = "081234567811"


async def fill(shop: Shop, customer: Customer) -> list[dict]:
    """Twelve orders, an hour apart, over two numbers and three outlets, every third cancelled."""
    placed = []
    for number in range(12):
        answer = await customer.order(
            f"r-{number}",
            customer_number=(OTHER if number % 2 else "0812 3456 7800"),
            outlet_id=f"o{number % 3}",
        )
        if number % 3 == 0:
            await customer.http.post(f"/v1/orders/{answer.json()['id']}/cancel")
        placed.append(answer.json()["id"])
    for hours, order_id in enumerate(reversed(placed)):
        await set_back(shop, UUID(order_id), hours)
    return (await customer.http.get("/v1/orders?limit=100")).json()["data"]


async def set_back(shop: Shop, order_id: UUID, hours: int) -> None:
    """Move an order into the past, with its id, which begins with its time in milliseconds."""
    earlier = UUID(int=order_id.int - (hours * 3_600_000 << 80))
    await shop.owner.execute(
        "update orders set order_id = $2, created_at = created_at - $3 * interval '1h' "
        "where order_id = $1",
        order_id,
        earlier,
        hours,
    )
    await shop.owner.execute(
        "update order_references set order_id = $2 where order_id = $1", order_id, earlier
    )


FILTERS: dict[str, tuple[str, object]] = {
    "status": ("failed", lambda order: order["status"] == "failed"),
    "sku": ("TSEL10", lambda order: order["sku"] == "TSEL10"),
    "customer_number": ("+62 812-3456-7800", lambda o: o["customer_number"] == "081234567800"),
    "outlet_id": ("o1", lambda order: int(order["ref_id"][2:]) % 3 == 1),
    "created_from": ("", lambda order: int(order["ref_id"][2:]) >= 3),
    "created_to": ("", lambda order: int(order["ref_id"][2:]) < 9),
}


@pytest.mark.parametrize("scan", [1, 4, 2000])
async def test_every_combination_of_filters_lists_just_what_it_names(
    shop: Shop, customer: Customer, monkeypatch: pytest.MonkeyPatch, scan: int
) -> None:
    monkeypatch.setattr(order_views, "SCAN_LIMIT", scan)
    orders = await fill(shop, customer)
    assert len(orders) == 12
    by_ref = {order["ref_id"]: order for order in orders}
    values = {name: value for name, (value, _) in FILTERS.items()}
    values["created_from"] = by_ref["r-3"]["created_at"]
    values["created_to"] = by_ref["r-9"]["created_at"].replace("+", " ")  # as `+` comes unencoded
    for count in range(1, len(FILTERS) + 1):
        for names in itertools.combinations(FILTERS, count):
            query = {name: values[name] for name in names}
            expected = [o for o in orders if all(FILTERS[name][1](o) for name in names)]
            assert await read_all(customer, "/v1/orders", 5, **query) == expected, names


async def test_several_references_at_once(shop: Shop, customer: Customer) -> None:
    orders = await fill(shop, customer)
    query = {"ref_id": ["r-7", "r-3", "r-99", "r-3"]}
    found = (await customer.http.get("/v1/orders", params=query)).json()
    assert [order["ref_id"] for order in found["data"]] == ["r-7", "r-3"]
    failed = (await customer.http.get("/v1/orders", params={**query, "status": "failed"})).json()
    assert [order["ref_id"] for order in failed["data"]] == ["r-3"]
    many = {"ref_id": [f"r-{number}" for number in range(_MOST_REFERENCES + 1)]}
    refused = await customer.http.get("/v1/orders", params=many)
    assert_problem(refused, 422, "invalid-request")
    assert len(orders) == 12


@pytest.mark.parametrize("scan", [1, 3, 2000])
async def test_events_by_type_by_order_and_singly(
    shop: Shop, customer: Customer, monkeypatch: pytest.MonkeyPatch, scan: int
) -> None:
    monkeypatch.setattr(events, "SCAN_LIMIT", scan)
    placed = [(await customer.order(f"r-{number}")).json() for number in range(6)]
    for number, order in enumerate(placed):
        if number % 3:
            await (await shop.send_to_dealer(order)).hear(Outcome.SUCCEEDED)
        else:
            await customer.http.post(f"/v1/orders/{order['id']}/cancel")
    everything = await read_all(customer, "/v1/events", 4)
    for types in (["order.failed"], ["order.succeeded", "order.failed"], ["order.reversed"]):
        expected = [event for event in everything if event["type"] in types]
        assert await read_all(customer, "/v1/events", 2, type=types) == expected
    of_one = await read_all(customer, "/v1/events", 2, order_id=placed[3]["id"])
    assert of_one == [event for event in everything if event["data"]["id"] == placed[3]["id"]]
    one = await customer.http.get(f"/v1/events/{everything[2]['id']}")
    assert one.json() == everything[2]
    stranger = await shop.customer()
    foreign = await stranger.http.get(f"/v1/events/{everything[2]['id']}")
    assert_problem(foreign, 404, "not-found")
    for path in (f"?order_id={placed[3]['id']}", "?type=order.failed"):
        assert (await stranger.http.get(f"/v1/events{path}")).json()["data"] == []


async def test_a_cursor_of_filtered_events_goes_on_when_there_is_more(
    shop: Shop, customer: Customer
) -> None:
    for ref_id in ("r-1", "r-2"):
        await (await shop.send_to_dealer((await customer.order(ref_id)).json())).hear(
            Outcome.SUCCEEDED
        )
    query = {"type": "order.failed"}
    empty = (await customer.http.get("/v1/events", params=query)).json()
    assert (empty["data"], empty["has_more"]) == ([], False)
    order = (await customer.order("r-3")).json()
    await customer.http.post(f"/v1/orders/{order['id']}/cancel")
    cursor = {"cursor": empty["next_cursor"]}
    news = (await customer.http.get("/v1/events", params=query | cursor)).json()
    assert [event["data"]["ref_id"] for event in news["data"]] == ["r-3"]
