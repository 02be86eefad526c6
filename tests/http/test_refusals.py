"""Every bad request gets a problem document and leaves nothing behind.

One shop serves the whole file: that each test finds it untouched is the very promise.
"""

from uuid import UUID

import orjson
import pytest

from app.storage import api_keys
from tests.http.problems import assert_problem
from tests.http.shop import TELKOMSEL, XL, Customer, Shop

pytestmark = pytest.mark.asyncio(loop_scope="module")

GOOD = {"ref_id": "r-1", "sku": "TSEL10", "customer_number": TELKOMSEL}
KEY = api_keys.generate(random_bytes=lambda size: b"\7" * size)
URL = "https://toko.example.co.id/hook"

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
    untouched_shop: Shop, idle_customer: Customer, body: object, status: int, code: str
) -> None:
    content = body if isinstance(body, bytes) else orjson.dumps(body)
    answer = await idle_customer.http.post("/v1/orders", content=content)
    assert_problem(answer, status, code)
    assert await untouched_shop.counts() == (0, 0, 0)


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        (f"/v1/orders/{UUID(int=7)}", 404, "not-found"),
        ("/v1/orders/not-an-id", 404, "not-found"),
        ("/v1/orders/%00", 404, "not-found"),
        ("/v1/orders?limit=0", 422, "invalid-request"),
        ("/v1/orders?limit=1000", 422, "invalid-request"),
        ("/v1/orders?status=lost", 422, "invalid-request"),
        ("/v1/orders?ref_id=%00", 422, "invalid-request"),
        ("/v1/orders?cursor=nonsense", 400, "invalid-cursor"),
        ("/v1/orders?cursor=b3JkZXJzOg", 400, "invalid-cursor"),
        ("/v1/events?cursor=bGVkZ2VyOgAAAAAAAAAB", 400, "invalid-cursor"),
        ("/v1/products?region=atlantis", 422, "unknown-region"),
        ("/v1/nothing", 404, "not-found"),
        ("/nothing", 404, "not-found"),
        ("/v1/orders/", 404, "not-found"),
    ],
)
async def test_a_bad_question_gets_a_problem(
    idle_customer: Customer, path: str, status: int, code: str
) -> None:
    assert_problem(await idle_customer.http.get(path), status, code)


@pytest.mark.parametrize(
    "authorization",
    [
        "",
        "Bearer",
        "Bearer ",
        f"Basic {KEY.token}",
        KEY.token,
        f"Bearer {KEY.token}",
        f"Bearer {KEY.token[:-1]}",
        f"Bearer {KEY.token}a",
        f"Bearer {KEY.token.upper()}",
        "Bearer jalur_live_\udcff",
        "Bearer " + "a" * 5000,
    ],
)
async def test_what_is_no_key_of_ours_opens_nothing(
    untouched_shop: Shop, authorization: str
) -> None:
    header = authorization.encode(errors="surrogateescape")
    answer = await untouched_shop.client().get("/v1/balance", headers={b"authorization": header})
    assert_problem(answer, 401, "invalid-key")
    assert answer.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize(
    ("body", "code", "field"),
    [
        ({"url": "http://toko.id/"}, "invalid-url", "url"),
        ({"url": "https://127.0.0.1/"}, "invalid-url", "url"),
        ({"url": "https://0x7f.1/"}, "invalid-url", "url"),
        ({"url": "https://[::ffff:169.254.169.254]/"}, "invalid-url", "url"),
        ({"url": "https://u:p@toko.id/"}, "invalid-url", "url"),
        ({"url": "ftp://toko.id/"}, "invalid-url", "url"),
        ({"url": "https://toko.id/\0"}, "invalid-url", "url"),
        ({"url": ""}, "invalid-request", "url"),
        ({"url": 5}, "invalid-request", "url"),
        ({"url": URL, "event_types": []}, "invalid-request", "event_types"),
        ({"url": URL, "event_types": ["order.lost"]}, "invalid-request", "event_types.0"),
        ({"url": URL, "secret": "mine"}, "invalid-request", "secret"),
    ],
)
async def test_a_bad_endpoint_is_refused_by_its_field(
    untouched_shop: Shop, idle_customer: Customer, body: dict[str, object], code: str, field: str
) -> None:
    answer = await idle_customer.http.post("/v1/webhook-endpoints", json=body)
    assert_problem(answer, 422, code)
    assert [error["field"] for error in answer.json()["errors"]] == [field]
    assert await untouched_shop.owner.fetchval("select count(*) from webhook_endpoints") == 0
