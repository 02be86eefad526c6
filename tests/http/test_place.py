"""Placing orders: what is accepted once, what is refused and leaves nothing behind."""

import asyncio
from datetime import UTC, datetime

import orjson
import pytest

from app.http.server import ApiLimits
from app.storage import api_keys
from app.storage.pool import Pool
from routing.monopoly import Market
from schemas.problems import CATALOGUE, MEDIA_TYPE
from tests.http.shop import TELKOMSEL, XL, Customer, Shop, open_shop

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
    await shop.owner.execute(f"{change}; update routing_policy set revision = revision + 1")
    await shop.api.router.refresh(shop.api.pool)
    again = await customer.order(region="surabaya")
    assert (again.status_code, again.json()["id"]) == (200, placed.json()["id"])
    other = await customer.order(region="surabaya", outlet_id="another")
    assert other.json()["code"] == "idempotency-mismatch"


async def test_a_replay_needs_no_money(shop: Shop) -> None:
    poor = await shop.customer(money=10_500)
    placed = await poor.order()
    assert (await poor.order()).json()["id"] == placed.json()["id"]


REFUSED = {
    "malformed JSON": (b'{"ref_id": "r-1",', 400, "invalid-json"),
    "an empty body": (b"", 400, "invalid-json"),
    "a lone surrogate": (
        b'{"ref_id":"r-1","sku":"\\ud800","customer_number":"081234567800"}',
        400,
        "invalid-json",
    ),
    "bytes that are not UTF-8": (b'{"ref_id":"\xff"}', 400, "invalid-json"),
    "nesting without end": (b"[" * 60_000, 400, "invalid-json"),
    "an array": (b"[]", 422, "invalid-request"),
    "null": (b"null", 422, "invalid-request"),
    "nothing in it": ({}, 422, "invalid-request"),
    "an unknown field": (GOOD | {"price": 1}, 422, "invalid-request"),
    "a reference too long": (GOOD | {"ref_id": "r" * 65}, 422, "invalid-request"),
    "an empty reference": (GOOD | {"ref_id": ""}, 422, "invalid-request"),
    "a reference of spaces": (GOOD | {"ref_id": "  "}, 422, "invalid-request"),
    "a reference with a line break": (GOOD | {"ref_id": "r-1\n"}, 422, "invalid-request"),
    "a NUL in the reference": (GOOD | {"ref_id": "r\0"}, 422, "invalid-request"),
    "a NUL in the metadata": (GOOD | {"metadata": {"a": "\0"}}, 422, "invalid-request"),
    "a NUL in the SKU": (GOOD | {"sku": "\0"}, 422, "unknown-sku"),
    "a number as reference": (GOOD | {"ref_id": 1}, 422, "invalid-request"),
    "a number as customer number": (
        GOOD | {"customer_number": 81234567800},
        422,
        "invalid-request",
    ),
    "a negative price": (GOOD | {"max_price": -1}, 422, "invalid-request"),
    "a price of nothing": (GOOD | {"max_price": 0}, 422, "invalid-request"),
    "a price beyond all bounds": (GOOD | {"max_price": 2**63}, 422, "invalid-request"),
    "a fraction as price": (GOOD | {"max_price": 10_500.0}, 422, "invalid-request"),
    "a price as text": (GOOD | {"max_price": "10500"}, 422, "invalid-request"),
    "true as price": (GOOD | {"max_price": True}, 422, "invalid-request"),
    "metadata that is no object": (GOOD | {"metadata": "x"}, 422, "invalid-request"),
    "metadata of numbers": (GOOD | {"metadata": {"a": 1}}, 422, "invalid-request"),
    "too much metadata": (GOOD | {"metadata": {"a": "x" * 2048}}, 422, "invalid-request"),
    "too many metadata": (
        GOOD | {"metadata": {str(each): "" for each in range(21)}},
        422,
        "invalid-request",
    ),
    "an unknown SKU": (GOOD | {"sku": "TSEL99"}, 422, "unknown-sku"),
    "a SKU without a price in the tier": (GOOD | {"sku": "TSEL20"}, 422, "unknown-sku"),
    "a number of another brand": (GOOD | {"customer_number": XL}, 422, "brand-mismatch"),
    "a number of no brand": (GOOD | {"customer_number": "081012345678"}, 422, "invalid-number"),
    "a landline": (GOOD | {"customer_number": "0215551234"}, 422, "invalid-number"),
    "no number at all": (GOOD | {"customer_number": " "}, 422, "invalid-number"),
    "a SQL injection": (
        GOOD | {"customer_number": "0812'; drop table orders--"},
        422,
        "invalid-number",
    ),
    "an unknown region": (GOOD | {"region": "atlantis"}, 422, "unknown-region"),
    "a limit below every dealer": (GOOD | {"max_price": 10_000}, 409, "no-route"),
    "a product nobody sells": (
        GOOD | {"sku": "XL10", "customer_number": XL},
        409,
        "no-route",
    ),
    "10 MB": (b" " * 10_000_000, 413, "body-too-large"),
}


@pytest.mark.parametrize(("body", "status", "code"), REFUSED.values(), ids=REFUSED.keys())
async def test_a_bad_order_gets_a_problem_and_leaves_nothing_behind(
    shop: Shop, customer: Customer, body: object, status: int, code: str
) -> None:
    content = body if isinstance(body, bytes) else orjson.dumps(body)
    answer = await customer.http.post("/v1/orders", content=content)
    assert_problem(answer, status, code)
    assert await shop.counts() == (0, 0, 0)


def assert_problem(answer, status: int, code: str) -> None:
    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (status, code), problem
    assert answer.headers["content-type"] == MEDIA_TYPE
    assert problem["type"] == f"/problems/{code}"
    assert problem["trace_id"] == answer.headers["x-request-id"]
    assert code in CATALOGUE
    for word in ("Traceback", "pydantic", "asyncpg", "Error"):
        assert word not in answer.text


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
    limits = ApiLimits(backlog_orders=10)
    async with open_shop(pool, database_dsn, limits, backlog=10) as shop:
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
