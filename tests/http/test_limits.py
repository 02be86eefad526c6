"""Rates on the wire: what is refused, what the headers say, and that nothing is done for it."""

import asyncio
import re

import httpx
import pytest

from app.administration import keys, resellers
from app.errors import NotFound, Unprocessable
from app.http.api import ApiLimits
from app.http.failures import Failures
from app.http.server import build_app
from app.rates import Rate
from app.storage import api_keys
from app.storage.pool import Pool
from tests.http.problems import assert_problem
from tests.http.shop import Customer, Shop, open_shop
from tests.shops import OPERATOR

HEAD = re.compile(r'"[a-z0-9-]+"(;[a-z]=\d+)+(, "[a-z0-9-]+"(;[a-z]=\d+)+)*')


def told(answer: httpx.Response) -> dict[str, dict[str, int]]:
    """What the two headers say, by policy: quota, window, remaining, time."""
    found: dict[str, dict[str, int]] = {}
    for name in ("ratelimit-policy", "ratelimit"):
        value = answer.headers[name]
        assert HEAD.fullmatch(value), value
        for item in value.split(", "):
            policy, *parameters = item.split(";")
            numbers = {key: int(number) for key, number in (each.split("=") for each in parameters)}
            found.setdefault(policy.strip('"'), {}).update(numbers)
    return found


async def limited(shop: Shop, orders: str | None = None, reads: str | None = None) -> Customer:
    customer = await shop.customer()
    await resellers.limit(shop.api.pool, OPERATOR, str(customer.reseller_id), orders, reads)
    return customer


async def test_orders_beyond_the_rate_are_refused_and_use_nothing(shop: Shop) -> None:
    customer = await limited(shop, orders="3/1d")
    accepted = [await customer.order(f"r-{number}") for number in range(3)]
    assert [told(each)["orders"] for each in accepted] == [
        {"q": 3, "w": 86_400, "r": left, "t": pytest.approx((3 - left) * 28_800, abs=60)}
        for left in (2, 1, 0)
    ]
    # The body is not even looked at.
    refused = await customer.http.post("/v1/orders", content=b"\0" * 1_000_000)
    assert_problem(refused, 429, "rate-limited")
    assert refused.json()["errors"] == [{"field": "orders", "message": "3 in 1d"}]
    assert 28_700 <= int(refused.headers["retry-after"]) <= 28_800
    assert told(refused)["orders"]["r"] == 0
    assert_problem(await customer.order("r-9"), 429, "rate-limited")
    assert await shop.counts() == (3, 3, 3)
    # Reading goes on, and another reseller does not notice.
    assert (await customer.http.get("/v1/orders")).status_code == 200
    assert (await (await shop.customer()).order("r-1")).status_code == 202
    text = (await shop.client().get("/metrics")).text
    assert 'jalur_rate_limited_requests_total{policy="orders"} 2.0' in text


async def test_every_answer_to_a_reseller_tells_its_rates(customer: Customer) -> None:
    for path in ("balance", "orders", "events", "products", "ledger", "webhook-endpoints"):
        answer = await customer.http.get(f"/v1/{path}")
        assert told(answer)["reads"]["q"] == 20_000
        kept = "private, no-cache" if "etag" in answer.headers else "no-store"
        assert answer.headers["cache-control"] == kept
        assert answer.headers["x-content-type-options"] == "nosniff"
    unknown = await customer.http.get("/v1/orders/none")
    assert_problem(unknown, 404, "not-found")
    assert told(unknown)["reads"]["w"] == 2
    assert_problem(bad := await customer.order(max_price=-1), 422, "invalid-request")
    assert told(bad).keys() == {"orders"}
    order = (await customer.order()).json()
    read = await customer.http.get(f"/v1/orders/{order['id']}")
    assert read.headers["cache-control"] == "private, no-cache"


async def test_reads_have_a_rate_of_their_own(shop: Shop) -> None:
    customer = await limited(shop, reads="2/1d")
    for _ in range(2):
        assert (await customer.http.get("/v1/balance")).status_code == 200
    answer = await customer.http.get("/v1/products")
    assert_problem(answer, 429, "rate-limited")
    assert answer.json()["errors"] == [{"field": "reads", "message": "2 in 1d"}]
    assert (await customer.order()).status_code == 202


async def test_a_key_s_rate_holds_beside_its_reseller_s(shop: Shop) -> None:
    customer = await limited(shop, orders="4/1d")
    second = api_keys.generate()
    await api_keys.create(shop.owner, second, customer.lane, customer.reseller_id)
    await keys.limit(shop.api.pool, OPERATOR, second.key_id, "2/1d,50/1h", None)
    other = Customer(customer.reseller_id, customer.lane, second.key_id, shop.client(second.token))
    answers = [await other.order(f"b-{number}") for number in range(3)]
    assert [each.status_code for each in answers] == [202, 202, 429]
    assert answers[2].json()["errors"][0]["field"] == "orders-key"
    assert told(answers[2]).keys() == {"orders", "orders-key", "orders-key-1h"}
    # What the key was refused for was not counted at the reseller.
    answers = [await customer.order(f"a-{number}") for number in range(3)]
    assert [each.status_code for each in answers] == [202, 202, 429]
    assert answers[2].json()["errors"][0]["field"] == "orders"


async def test_a_batch_takes_as_many_as_it_holds(shop: Shop) -> None:
    customer = await limited(shop, orders="5/1d")
    await customer.order()
    caller = await shop.api.authenticator.identify(customer.http.headers["authorization"], "")
    limits = shop.api.limits_of(caller)
    with pytest.raises(Exception, match="more than orders allows"):
        await limits.take("orders", 5)
    with pytest.raises(Exception, match="more than orders ever allows: 5"):
        await limits.take("orders", 6)
    await limits.take("orders", 4)
    assert_problem(await customer.order("r-2"), 429, "rate-limited")


async def test_a_change_of_rates_is_in_force_within_a_second(shop: Shop) -> None:
    customer = await limited(shop, reads="1/1d")
    seconds = 100.0
    shop.api.authenticator._monotonic = lambda: seconds
    await shop.api.authenticator.refresh()
    assert (await customer.http.get("/v1/balance")).status_code == 200
    assert (await customer.http.get("/v1/balance")).status_code == 429
    await resellers.limit(shop.api.pool, OPERATOR, str(customer.reseller_id), None, "usual", "paid")
    await shop.api.authenticator.refresh()
    assert told(await customer.http.get("/v1/balance"))["reads"]["q"] == 20_000


async def test_changes_of_rates_are_audited_and_checked(shop: Shop) -> None:
    customer = await limited(shop, orders="100/1s, 50000/1d")
    pool, who = shop.api.pool, str(customer.reseller_id)
    again = await resellers.limit(pool, OPERATOR, who, "100/1s,50000/1d", None)
    assert (again.changed, again.account.orders_rate) == (False, "100/1s,50000/1d")
    done = await keys.limit(pool, OPERATOR, customer.key_id, None, "9/1m", "abuse")
    assert (done.changed, done.key.reads_rate, done.key.orders_rate) == (True, "9/1m", None)
    for wrong in ("fast", "0/1s", "1/2d"):
        with pytest.raises(Unprocessable, match="100/1s"):
            await resellers.limit(pool, OPERATOR, who, wrong, None)
    with pytest.raises(NotFound):
        await keys.limit(pool, OPERATOR, "a" * 12, "1/1s", None)
    rows = await shop.owner.fetch("select action from audit_log order by audit_id")
    assert [row[0] for row in rows if "limited" in row[0]] == ["reseller.limited", "key.limited"]


async def test_a_reseller_has_only_so_many_requests_under_way(
    pool: Pool, database_dsn: str
) -> None:
    async with open_shop(pool, database_dsn, ApiLimits(in_flight=2)) as shop:
        customer, other = await shop.customer(), await shop.customer()
        assert (await customer.http.get("/v1/balance")).status_code == 200
        async with shop.owner.transaction():
            await shop.owner.execute("lock table wallets in access exclusive mode")
            held = [asyncio.ensure_future(customer.http.get("/v1/balance")) for _ in range(2)]
            while shop.api.visits._under_way[customer.reseller_id] < 2:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            refused = await customer.http.get("/v1/products")
            assert_problem(refused, 429, "too-many-at-once")
            assert refused.headers["retry-after"] == "1"
            assert_problem(await customer.order(), 429, "too-many-at-once")
            assert (await other.http.get("/v1/products")).status_code == 200
        assert [(await each).status_code for each in held] == [200, 200]
        assert (await customer.http.get("/v1/balance")).status_code == 200
        assert not shop.api.visits._under_way


async def test_wrong_keys_are_slowed_by_address_and_known_ones_are_not(
    pool: Pool, database_dsn: str
) -> None:
    limits = ApiLimits(auth_failures=Rate(5, 86_400))
    async with open_shop(pool, database_dsn, limits) as shop:
        customer, late = await shop.customer(), await shop.customer()
        assert (await customer.http.get("/v1/balance")).status_code == 200
        guesses = [shop.client(api_keys.generate().token) for _ in range(7)]
        codes = [(await each.get("/v1/balance")).status_code for each in guesses]
        assert codes == [401] * 5 + [429] * 2
        refused = await guesses[0].post("/v1/orders", content=b"{}")
        assert_problem(refused, 429, "rate-limited")
        assert int(refused.headers["retry-after"]) > 0
        assert_problem(await guesses[0].get("/admin/v1/resellers"), 429, "rate-limited")
        # A key that was good a moment ago is not locked out by its neighbour, a new one is.
        assert (await customer.http.get("/v1/balance")).status_code == 200
        assert_problem(await late.http.get("/v1/balance"), 429, "rate-limited")
        transport = httpx.ASGITransport(build_app(shop.api), client=("203.0.113.9", 5))
        async with httpx.AsyncClient(
            transport=transport, base_url="http://jalur", headers=late.http.headers
        ) as elsewhere:
            assert (await elsewhere.get("/v1/balance")).status_code == 200


def test_failures_are_remembered_by_network_and_not_for_ever() -> None:
    seconds = 0.0
    failures = Failures(Rate(3, 30), lambda: seconds)
    for _ in range(3):
        failures.count("2001:db8::1")
    assert failures.wait_seconds("2001:db8::ffff:2") == 10
    assert failures.wait_seconds("2001:db8:0:1::1") == 0
    seconds = 10.1
    assert failures.wait_seconds("2001:db8::1") == 0
    for number in range(30_000):
        failures.count(f"10.0.{number >> 8}.{number & 255}")
    assert len(failures._full_at) == 10_000


@pytest.mark.parametrize("key", ["r-1", '"r-1"'])
async def test_an_idempotency_key_may_name_the_reference(customer: Customer, key: str) -> None:
    body = {"ref_id": "r-1", "sku": "TSEL10", "customer_number": "081234567800"}
    headers = {"idempotency-key": key}
    first = await customer.http.post("/v1/orders", json=body, headers=headers)
    again = await customer.http.post("/v1/orders", json=body, headers=headers)
    assert (first.status_code, again.status_code) == (202, 200)
    assert again.headers["idempotency-replayed"] == "true"
    body["sku"] = "XL10"
    other = await customer.http.post("/v1/orders", json=body, headers=headers)
    assert other.status_code == 422


@pytest.mark.parametrize("key", ["", '"', "r-2", '"r-1', "5f1c7b9e-0000-4000-8000-000000000000"])
async def test_an_idempotency_key_for_another_order_is_refused(
    shop: Shop, customer: Customer, key: str
) -> None:
    body = {"ref_id": "r-1", "sku": "TSEL10", "customer_number": "081234567800"}
    answer = await customer.http.post("/v1/orders", json=body, headers={"idempotency-key": key})
    assert_problem(answer, 422, "idempotency-mismatch")
    assert answer.json()["errors"][0]["field"] == "Idempotency-Key"
    assert await shop.counts() == (0, 0, 0)
