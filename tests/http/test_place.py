"""Placing orders: what is accepted once, what is refused and leaves nothing behind."""

import asyncio
from datetime import UTC, datetime

import orjson
import pytest

from app.http.intake import IntakeLimits
from app.http.server import ApiLimits
from app.storage import api_keys
from app.storage.pool import Pool
from routing.monopoly import Market
from tests.http.problems import assert_problem
from tests.http.shop import TELKOMSEL, XL, Customer, Shop, open_shop
from tests.publishing import PUBLISH

GOOD = {"ref_id": "r-1", "sku": "TSEL10", "customer_number": TELKOMSEL}


async def test_an_accepted_order_is_answered_with_its_place(customer: Customer) -> None:
    answer = await customer.order(
        customer_number="+62 812-3456-7800", region="surabaya", metadata={"till": "3"}
    )
    order = answer.json()
    assert answer.status_code == 202
    assert answer.headers["location"] == f"/v1/orders/{order['id']}"
    assert order.pop("id")
    assert order.pop("created_at").endswith("+00:00")
    assert order == {
        "ref_id": "r-1",
        "sku": "TSEL10",
        "brand": "telkomsel",
        "customer_number": TELKOMSEL,
        "cluster": "east-java",
        "price": 10_500,
        "status": "accepted",
        "delayed": False,
        "serial_number": None,
        "failure": None,
        "version": 1,
        "finished_at": None,
        "metadata": {"till": "3"},
    }


async def test_the_answer_from_memory_is_what_a_read_returns(customer: Customer) -> None:
    placed = (await customer.order(metadata={"till": "3"})).json()
    assert (await customer.http.get(f"/v1/orders/{placed['id']}")).json() == placed


async def test_accepting_reserves_the_price_and_queues_the_cheapest_dealer(
    shop: Shop, customer: Customer
) -> None:
    await customer.order()
    balance = (await customer.http.get("/v1/balance")).json()
    assert balance == {
        "available": 989_500,
        "reserved": 10_500,
        "credit_limit": 0,
        "currency": "IDR",
    }
    assert await shop.owner.fetchval("select dealer_id from ready") == "alfa"


async def test_the_same_reference_again_is_the_same_order(shop: Shop, customer: Customer) -> None:
    first = await customer.order()
    again = await customer.order(metadata={"not": "part of it"})
    assert again.status_code == 200
    assert again.headers["idempotency-replayed"] == "true"
    assert again.json() == first.json()
    assert await shop.counts() == (1, 1, 1)


async def test_forty_at_once_under_one_reference_are_one_order(
    shop: Shop, customer: Customer
) -> None:
    answers = await asyncio.gather(*(customer.order() for _ in range(40)))
    assert sorted(answer.status_code for answer in answers) == [200] * 39 + [202]
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert await shop.counts() == (1, 1, 1)


async def test_a_reference_is_free_for_another_reseller(shop: Shop, customer: Customer) -> None:
    other = await shop.customer()
    assert (await customer.order()).json()["id"] != (await other.order()).json()["id"]


@pytest.mark.parametrize(
    "change",
    [
        {"sku": "XL10", "customer_number": XL},
        {"customer_number": "081234567801"},
        {"region": "surabaya"},
        {"outlet_id": "till-2"},
        {"max_price": 10_150},
    ],
)
async def test_a_reference_with_another_content_is_refused(
    shop: Shop, customer: Customer, change: dict[str, object]
) -> None:
    await customer.order()
    answer = await customer.order(**change)
    assert (answer.status_code, answer.json()["code"]) == (422, "idempotency-mismatch")
    assert await shop.counts() == (1, 1, 1)


@pytest.mark.parametrize(
    "change",
    [
        "update routes set enabled = false",
        "delete from prices where sku = 'TSEL10'",
        "update products set enabled = false where sku = 'TSEL10'",
        "delete from brand_prefixes",
        "delete from regions",
    ],
)
async def test_a_replay_is_answered_whatever_became_of_the_table(
    shop: Shop, customer: Customer, change: str
) -> None:
    placed = await customer.order(region="surabaya")
    await shop.owner.execute(f"{change}; {PUBLISH}")
    await shop.api.router.refresh(shop.api.pool)
    again = await customer.order(region="surabaya")
    assert (again.status_code, again.json()["id"]) == (200, placed.json()["id"])
    other = await customer.order(region="surabaya", outlet_id="another")
    assert other.json()["code"] == "idempotency-mismatch"


async def test_a_replay_needs_no_money(shop: Shop) -> None:
    poor = await shop.customer(money=10_500)
    placed = await poor.order()
    assert (await poor.order()).json()["id"] == placed.json()["id"]


async def test_a_wrong_field_is_named(customer: Customer) -> None:
    answer = await customer.order(max_price=-5, colour="red")
    assert {error["field"] for error in answer.json()["errors"]} == {"max_price", "colour"}


async def test_a_body_in_pieces_is_cut_off_at_the_limit(shop: Shop, customer: Customer) -> None:
    sent = 0

    async def endless():
        nonlocal sent
        while True:
            sent += 1
            yield b" " * 1000

    answer = await customer.http.post("/v1/orders", content=endless())
    assert_problem(answer, 413, "body-too-large")
    assert sent < 80
    assert await shop.counts() == (0, 0, 0)


@pytest.mark.parametrize("media_type", ["text/plain", "application/x-www-form-urlencoded"])
async def test_only_json_is_taken(shop: Shop, customer: Customer, media_type: str) -> None:
    answer = await customer.http.post(
        "/v1/orders", content=orjson.dumps(GOOD), headers={"content-type": media_type}
    )
    assert_problem(answer, 415, "unsupported-media-type")
    assert await shop.counts() == (0, 0, 0)


async def test_too_little_money_is_told_with_amounts(shop: Shop) -> None:
    poor = await shop.customer(money=10_499)
    answer = await poor.order()
    assert_problem(answer, 402, "insufficient-balance")
    assert "10499" in answer.json()["detail"]
    assert "10500" in answer.json()["detail"]
    assert await shop.counts() == (0, 0, 0)


async def test_a_refused_reference_stays_free(shop: Shop, customer: Customer) -> None:
    assert (await customer.order(max_price=10_000)).status_code == 409
    assert (await customer.order()).status_code == 202


async def test_a_refused_order_takes_no_share_of_the_market(shop: Shop) -> None:
    poor = await shop.customer(money=10_500)
    for ref_id in ("r-1", "r-2", "r-1", "r-3"):
        await poor.order(ref_id)
    market = shop.api.router.shares.totals(Market("telkomsel", None), datetime.now(UTC))
    assert (market.value_rupiah, market.orders) == (10_100, 1)


async def test_too_long_a_queue_sheds_new_orders(pool: Pool, database_dsn: str) -> None:
    limits = ApiLimits(intake=IntakeLimits(backlog_orders=10))
    async with open_shop(pool, database_dsn, limits, backlog=lambda: 10) as shop:
        answer = await (await shop.customer()).order()
        assert_problem(answer, 503, "overloaded")
        assert answer.headers["retry-after"] == "5"
        assert await shop.counts() == (0, 0, 0)


async def test_a_revoked_key_orders_nothing(shop: Shop, customer: Customer) -> None:
    await api_keys.revoke(shop.owner, customer.key_id)
    assert_problem(await customer.order(), 401, "invalid-key")
    assert await shop.counts() == (0, 0, 0)


async def test_a_lost_database_is_said_to_be_away(shop: Shop, customer: Customer) -> None:
    await customer.http.get("/v1/balance")
    await shop.api.pool.close()
    answer = await customer.order()
    assert_problem(answer, 503, "unavailable")
    assert answer.headers["retry-after"]


async def test_number_that_had_its_purchase_of_the_day_is_busy(shop: Shop):
    await shop.owner.execute("update routes set repeat_limit = 1")
    await shop.owner.execute(PUBLISH)
    await shop.api.router.refresh(shop.api.pool)
    repeats, now = shop.api.router.repeats, datetime.now(UTC)
    for dealer_id in ("alfa", "beta"):
        repeats.note(TELKOMSEL, "TSEL10", dealer_id, 1, now)
    customer = await shop.customer()
    busy = await customer.order("r-1")
    assert (busy.status_code, busy.json()["code"]) == (409, "number-busy")
    assert busy.headers["retry-after"] == "60"
    assert (await customer.order("r-1", customer_number="081234567801")).status_code == 202
