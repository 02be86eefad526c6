"""Reading orders, events, money and products: one's own only, page by page."""

import pytest

from app.storage import order_views
from dealers.contract import Outcome
from tests.http.problems import assert_problem
from tests.http.shop import Customer, Shop


async def place(customer: Customer, count: int) -> list[str]:
    answers = [await customer.order(f"r-{number}") for number in range(count)]
    return [answer.json()["id"] for answer in answers]


async def read_all(customer: Customer, path: str, limit: int, **query: object) -> list[dict]:
    rows, cursor = [], None
    while True:
        cursors = {"cursor": cursor} if cursor else {}
        params = {"limit": limit, **query, **cursors}
        page = (await customer.http.get(path, params=params)).json()
        assert len(page["data"]) <= limit
        rows += page["data"]
        cursor = page["next_cursor"]
        if not page["has_more"]:
            return rows


@pytest.mark.parametrize("limit", [1, 2, 5, 6, 100])
async def test_pages_hold_every_order_once_the_newest_first(customer: Customer, limit: int) -> None:
    placed = await place(customer, 5)
    listed = await read_all(customer, "/v1/orders", limit)
    assert [order["id"] for order in listed] == placed[::-1]


async def test_a_status_is_listed_to_the_end_however_rare(
    shop: Shop, customer: Customer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(order_views, "SCAN_LIMIT", 2)
    placed = await place(customer, 7)
    for order_id in (placed[0], placed[4]):
        await shop.send_to_dealer({"id": order_id})
    listed = await read_all(customer, "/v1/orders", 1, status="processing")
    assert [order["id"] for order in listed] == [placed[4], placed[0]]


async def test_an_order_is_found_by_its_reference(customer: Customer) -> None:
    placed = await place(customer, 2)
    found = (await customer.http.get("/v1/orders", params={"ref_id": "r-1"})).json()
    assert [order["id"] for order in found["data"]] == [placed[1]]
    unknown = await customer.http.get("/v1/orders", params={"ref_id": "r-9"})
    nothing = {"data": [], "next_cursor": None, "has_more": False, "ref_id": "r-9"}
    assert unknown.json() == nothing


async def test_an_order_at_a_dealer_reads_as_processing_with_another_etag(
    shop: Shop, customer: Customer
) -> None:
    placed = (await customer.order()).json()
    url = f"/v1/orders/{placed['id']}"
    tag = (await customer.http.get(url)).headers["etag"]
    unchanged = await customer.http.get(url, headers={"if-none-match": f'"x", {tag}'})
    assert (unchanged.status_code, unchanged.content) == (304, b"")
    await shop.send_to_dealer(placed)
    changed = await customer.http.get(url, headers={"if-none-match": tag})
    assert (changed.status_code, changed.json()["status"]) == (200, "processing")


async def test_a_finished_order_shows_its_serial_number_and_not_its_dealer(
    shop: Shop, customer: Customer
) -> None:
    placed = (await customer.order()).json()
    sent = await shop.send_to_dealer(placed)
    await sent.hear(Outcome.SUCCEEDED, serial_number="SN-77", message="via alfa")
    answer = await customer.http.get(f"/v1/orders/{placed['id']}")
    assert answer.json()["status"] == "succeeded"
    assert answer.json()["serial_number"] == "SN-77"
    assert answer.json()["finished_at"]
    assert "alfa" not in answer.text


async def test_events_are_read_once_and_in_order_from_a_cursor_that_is_kept(
    shop: Shop, customer: Customer
) -> None:
    empty = (await customer.http.get("/v1/events")).json()
    assert empty == {"data": [], "next_cursor": None, "has_more": False}
    for order_id in await place(customer, 3):
        await (await shop.send_to_dealer({"id": order_id})).hear(Outcome.SUCCEEDED)
    first = (await customer.http.get("/v1/events", params={"limit": 2})).json()
    assert (len(first["data"]), first["has_more"]) == (2, True)
    second = (await customer.http.get("/v1/events", params={"cursor": first["next_cursor"]})).json()
    third = (await customer.http.get("/v1/events", params={"cursor": second["next_cursor"]})).json()
    assert (third["data"], third["next_cursor"]) == ([], second["next_cursor"])
    told = first["data"] + second["data"]
    assert [event["data"]["ref_id"] for event in told] == ["r-0", "r-1", "r-2"]
    assert {event["type"] for event in told} == {"order.succeeded"}


async def test_an_order_s_own_events_are_those_of_the_webhooks(
    shop: Shop, customer: Customer
) -> None:
    placed, _ = [(await customer.order(ref_id)).json() for ref_id in ("r-1", "r-2")]
    await (await shop.send_to_dealer(placed)).hear(Outcome.SUCCEEDED)
    told = (await customer.http.get(f"/v1/orders/{placed['id']}/events")).json()["data"]
    order = (await customer.http.get(f"/v1/orders/{placed['id']}")).json()
    assert [event["data"] for event in told] == [order]
    assert told[0]["id"].startswith("evt_")


async def test_the_ledger_lists_every_entry_with_the_balance_after_it(customer: Customer) -> None:
    await place(customer, 3)
    entries = await read_all(customer, "/v1/ledger", 2)
    assert [(entry["seq"], entry["kind"]) for entry in entries] == [
        (4, "reserve"),
        (3, "reserve"),
        (2, "reserve"),
        (1, "deposit"),
    ]
    balance = (await customer.http.get("/v1/balance")).json()
    assert entries[0]["available_after"] == balance["available"] == 1_000_000 - 3 * 10_500
    assert entries[0]["reserved_after"] == balance["reserved"] == 3 * 10_500


async def test_products_are_those_of_the_tier_and_say_whether_a_dealer_stands(
    customer: Customer,
) -> None:
    products = await read_all(customer, "/v1/products", 1)
    assert [(each["sku"], each["price"], each["available"]) for each in products] == [
        ("TSEL10", 10_500, True),
        ("XL10", 10_600, False),
    ]


async def test_another_reseller_s_things_are_not_there(shop: Shop, customer: Customer) -> None:
    stranger = await shop.customer()
    order = (await customer.order()).json()
    hook = await customer.http.post("/v1/webhook-endpoints", json={"url": "https://toko.id/hook"})
    for method, path in (
        ("GET", f"/v1/orders/{order['id']}"),
        ("GET", f"/v1/orders/{order['id']}/events"),
        ("POST", f"/v1/orders/{order['id']}/cancel"),
        ("DELETE", hook.headers["location"]),
    ):
        assert_problem(await stranger.http.request(method, path), 404, "not-found")
    for path in ("/v1/orders", "/v1/orders?ref_id=r-1", "/v1/events", "/v1/webhook-endpoints"):
        assert (await stranger.http.get(path)).json()["data"] == []
    assert (await stranger.http.get("/v1/balance")).json()["available"] == 1_000_000
    assert await shop.owner.fetchval("select status from orders") == "accepted"


async def test_one_reseller_s_cursor_shows_another_nothing_of_the_first(
    shop: Shop, customer: Customer
) -> None:
    await place(customer, 3)
    cursor = (await customer.http.get("/v1/orders?limit=1")).json()["next_cursor"]
    stranger = await shop.customer()
    assert (await stranger.http.get(f"/v1/orders?cursor={cursor}")).json()["data"] == []


async def test_an_order_that_nobody_was_asked_to_serve_can_be_cancelled(
    shop: Shop, customer: Customer
) -> None:
    order = (await customer.order()).json()
    for _ in range(2):
        answer = await customer.http.post(f"/v1/orders/{order['id']}/cancel")
        assert (answer.status_code, answer.json()["status"]) == (200, "failed")
        assert answer.json()["failure"]["code"] == "cancelled"
    assert (await customer.http.get("/v1/balance")).json()["available"] == 1_000_000
    assert await shop.counts() == (1, 2, 0)


async def test_an_order_at_a_dealer_cannot_be_cancelled(shop: Shop, customer: Customer) -> None:
    order = (await customer.order()).json()
    await shop.send_to_dealer(order)
    answer = await customer.http.post(f"/v1/orders/{order['id']}/cancel")
    assert_problem(answer, 409, "not-cancellable")
    assert (await customer.http.get("/v1/balance")).json()["reserved"] == 10_500
