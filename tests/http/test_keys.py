"""Keys: what they open, from where, until when; replaced without a gap, and never widened."""

from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from typing import Any, get_args

import httpx
import pytest
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from app.http.server import build_app
from app.networks import covers, is_within, read_network
from app.scopes import KeyScope
from app.storage import api_keys, statements
from app.storage.api_keys import KeyTerms
from schemas import keys as shapes
from tests.http.problems import assert_problem
from tests.http.shop import Customer, Shop

SOON = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=2)
NETWORK = ip_network("203.0.113.0/24")


async def key_with(shop: Shop, customer: Customer, **terms: Any) -> httpx.AsyncClient:
    """A client with another key of the customer's."""
    key = api_keys.generate()
    bounded = KeyTerms(**terms)
    await api_keys.create(shop.owner, key, customer.lane, customer.reseller_id, bounded)
    return shop.client(key.token)


def from_address(shop: Shop, client: httpx.AsyncClient, address: str) -> httpx.AsyncClient:
    """The same key from another address."""
    other = httpx.AsyncClient(
        transport=httpx.ASGITransport(build_app(shop.api), client=(address, 1)),
        base_url="http://jalur",
        headers=client.headers,
    )
    shop.customers.append(other)
    return other


def id_of(client: httpx.AsyncClient) -> str:
    return client.headers["authorization"].split("_")[2]


def all_but(*missing: KeyScope) -> frozenset[str]:
    return frozenset(KeyScope) - set(missing)


# ------------------------------------------------------------------ what a key opens


def test_the_documentation_and_the_keys_know_the_same_scopes():
    assert set(get_args(shapes.Scope)) == set(KeyScope)


async def test_every_route_for_resellers_says_its_scope_and_refuses_a_key_without_it(
    shop: Shop, customer: Customer
):
    paths = (await customer.http.get("/openapi.json")).json()["paths"]
    clients = {scope: await key_with(shop, customer, scopes=all_but(scope)) for scope in KeyScope}
    tried = 0
    for path, operations in paths.items():
        if path.startswith("/v1/callbacks/") or not path.startswith("/v1/"):
            continue
        for method, operation in operations.items():
            assert operation.get("security"), f"{method} {path} does not say which scope it needs"
            ((scheme, (scope,)),) = operation["security"][0].items()
            assert scheme == "key"
            address = path.replace("{", "").replace("}", "")
            answer = await clients[KeyScope(scope)].request(method, address, json={})
            problem = assert_problem(answer, 403, "insufficient-scope")
            assert scope in problem["detail"]
            tried += 1
    assert tried >= 16


async def test_one_scope_opens_just_what_it_says(shop: Shop, customer: Customer):
    client = await key_with(shop, customer, scopes=frozenset({KeyScope.BALANCE_READ}))
    assert (await client.get("/v1/balance")).status_code == 200
    assert_problem(await client.get("/v1/orders"), 403, "insufficient-scope")
    order = {"ref_id": "r-1", "sku": "TSEL10", "customer_number": "081234567800"}
    assert_problem(await client.post("/v1/orders", json=order), 403, "insufficient-scope")
    assert await shop.counts() == (0, 0, 0)


async def test_a_key_without_scopes_opens_everything(customer: Customer):
    assert (await customer.order()).status_code == 202
    assert (await customer.http.get("/v1/keys")).status_code == 200


# ------------------------------------------------------------------ until when, from where


async def test_an_expired_key_opens_nothing(shop: Shop, customer: Customer):
    past = datetime.now(UTC) - timedelta(seconds=1)
    client = await key_with(shop, customer, expires_at=past)
    assert_problem(await client.get("/v1/balance"), 401, "expired-key")
    assert_problem(await client.post("/v1/orders", json={}), 401, "expired-key")


@pytest.mark.parametrize(
    ("address", "is_open"),
    [
        ("203.0.113.7", True),
        ("::ffff:203.0.113.7", True),
        ("203.0.114.7", False),
        ("2001:db8::1", True),
        ("2001:db9::1", False),
        ("no address", False),
    ],
)
async def test_a_key_with_addresses_is_taken_from_there_only(
    shop: Shop, customer: Customer, address: str, is_open: bool
):
    networks = (NETWORK, ip_network("2001:db8::/32"))
    client = await key_with(shop, customer, addresses=networks)
    caller = from_address(shop, client, address)
    answers = [await caller.get("/v1/balance"), await caller.post("/v1/orders", json={})]
    if is_open:
        assert [each.status_code for each in answers] == [200, 422]
        return
    for answer in answers:
        problem = assert_problem(answer, 403, "address-not-allowed")
        assert ("unknown" if " " in address else address) in problem["detail"]


@pytest.mark.parametrize(
    ("proxy", "forwarded", "is_open"),
    [
        ("10.0.0.1", "203.0.113.7", True),
        ("10.0.0.1", "203.0.113.7, 198.51.100.1", False),  # what a sender wrote stands to the left
        ("10.0.0.1", "198.51.100.1, 203.0.113.7, 10.0.0.2", True),
        ("192.0.2.1", "203.0.113.7", False),  # a proxy that nobody named
    ],
)
async def test_behind_a_proxy_counts_what_a_named_one_says(
    shop: Shop, customer: Customer, proxy: str, forwarded: str, is_open: bool
):
    key = await key_with(shop, customer, addresses=(NETWORK,))
    # As the service runs it with JALUR_TRUSTED_PROXIES=10.0.0.0/8.
    app: Any = ProxyHeadersMiddleware(build_app(shop.api), ["10.0.0.0/8"])
    transport = httpx.ASGITransport(app, client=(proxy, 1))
    headers = {**key.headers, "x-forwarded-for": forwarded}
    async with httpx.AsyncClient(transport=transport, base_url="http://jalur") as client:
        answer = await client.get("/v1/balance", headers=headers)
    assert answer.status_code == (200 if is_open else 403)


def test_a_network_in_an_ipv6_coat_is_the_ipv4_one_in_it():
    assert read_network("::ffff:203.0.113.0/120") == NETWORK
    assert is_within("203.0.113.9", [read_network("::ffff:203.0.113.0/120")])
    assert not covers(ip_network("10.0.0.0/8"), ip_network("2001:db8::/64"))
    assert not covers(ip_network("10.0.0.0/16"), ip_network("10.0.0.0/8"))


async def test_when_a_key_was_used_is_written_once_a_minute_with_the_address(
    shop: Shop, customer: Customer
):
    caller = from_address(shop, customer.http, "203.0.113.7")
    seen: list[str] = []
    for everything in (False, False, True):
        await caller.get("/v1/balance")
        await shop.api.key_uses.write(everything=everything)
        async with shop.api.pool.acquire() as connection:
            owner = (customer.lane, customer.reseller_id)
            (record,) = await api_keys.list_of(connection, [owner])
        assert record.last_used_from == "203.0.113.7"
        seen.append(str(record.last_used_at))
    assert seen[0] == seen[1] < seen[2]


async def test_a_use_that_another_process_wrote_later_stays(shop: Shop, customer: Customer):
    late, early = datetime.now(UTC), datetime.now(UTC) - timedelta(hours=1)
    for moment in (late, early):
        use = api_keys.Use(customer.key_id, moment, "203.0.113.7")
        await api_keys.note_uses(shop.owner, [use])
    assert await shop.owner.fetchval("select used_at from key_uses") == late


# ------------------------------------------------------------------ made and replaced


async def test_a_reseller_makes_itself_a_key_that_opens_less(shop: Shop, customer: Customer):
    wanted = {
        "name": "till",
        "scopes": ["orders:write", "orders:read"],
        "addresses": ["203.0.113.7"],
        "expires_at": SOON.isoformat(),
    }
    made = await customer.http.post("/v1/keys", json=wanted)
    assert (made.status_code, made.headers["cache-control"]) == (201, "no-store")
    told = made.json()
    assert (told["name"], told["addresses"]) == ("till", ["203.0.113.7/32"])
    client = from_address(shop, shop.client(told["key"]), "203.0.113.7")
    order = {"ref_id": "r-1", "sku": "TSEL10", "customer_number": "081234567800"}
    assert (await client.post("/v1/orders", json=order)).status_code == 202
    assert_problem(await client.get("/v1/balance"), 403, "insufficient-scope")
    listed = (await customer.http.get("/v1/keys")).json()["data"]
    assert [each["name"] for each in listed] == ["", "till"]
    assert told["key"].split("_")[3] not in str(listed)
    line = await shop.owner.fetchrow("select action, operator from audit_log where action ~ 'key'")
    assert tuple(line) == ("key.added", f"key:{customer.key_id}")


@pytest.mark.parametrize(
    ("own", "wanted"),
    [
        ({"scopes": all_but(KeyScope.BALANCE_READ)}, {"scopes": ["balance:read"]}),
        ({"addresses": (NETWORK,)}, {"addresses": ["203.0.0.0/16"]}),
        ({"addresses": (NETWORK,)}, {"addresses": ["2001:db8::/64"]}),
        ({"expires_at": SOON}, {"expires_at": (SOON + timedelta(seconds=1)).isoformat()}),
    ],
)
async def test_no_key_makes_one_that_goes_further(
    shop: Shop, customer: Customer, own: dict[str, Any], wanted: dict[str, Any]
):
    client = from_address(shop, await key_with(shop, customer, **own), "203.0.113.7")
    problem = assert_problem(await client.post("/v1/keys", json=wanted), 422, "invalid-request")
    assert [each["field"] for each in problem["errors"]] == list(wanted)
    made = (await client.post("/v1/keys", json={})).json()
    stored = await shop.owner.fetch(
        "select key_id, scopes, addresses, expires_at from api_keys where key_id = any($1)",
        [id_of(client), made["id"]],
    )
    assert len({tuple(map(str, tuple(row)[1:])) for row in stored}) == 1


async def test_no_key_touches_one_that_goes_further(shop: Shop, customer: Customer):
    client = await key_with(shop, customer, scopes=all_but(KeyScope.BALANCE_READ))
    place = f"/v1/keys/{customer.key_id}"
    assert_problem(await client.post(f"{place}/rotate", json={}), 403, "key-goes-further")
    assert_problem(await client.delete(place), 403, "key-goes-further")
    assert (await customer.http.get("/v1/balance")).status_code == 200


async def test_a_key_is_replaced_without_a_gap(shop: Shop, customer: Customer):
    made = await customer.http.post(f"/v1/keys/{customer.key_id}/rotate", json={})
    assert made.status_code == 201
    successor = shop.client(made.json()["key"])
    for client in (customer.http, successor):
        assert (await client.get("/v1/balance")).status_code == 200
    old, new = (await successor.get("/v1/keys")).json()["data"]
    assert old["replaced_by"] == new["id"]
    left = datetime.fromisoformat(old["expires_at"]) - datetime.now(UTC)
    assert timedelta(hours=23) < left <= timedelta(hours=24)


async def test_at_most_two_of_a_key_are_alive(shop: Shop, customer: Customer):
    made = await customer.http.post(f"/v1/keys/{customer.key_id}/rotate", json={})
    successor = shop.client(made.json()["key"])
    again = await successor.post(f"/v1/keys/{customer.key_id}/rotate", json={})
    assert_problem(again, 409, "key-replaced")
    third = await successor.post(f"/v1/keys/{made.json()['id']}/rotate", json={})
    assert_problem(third, 409, "key-rotating")
    assert (await successor.delete(f"/v1/keys/{customer.key_id}")).status_code == 204
    third = await successor.post(f"/v1/keys/{made.json()['id']}/rotate", json={})
    assert third.status_code == 201


async def test_a_key_without_overlap_is_over_with_its_replacement(shop: Shop, customer: Customer):
    place = f"/v1/keys/{customer.key_id}/rotate"
    made = await customer.http.post(place, json={"overlap_seconds": 0})
    await shop.api.authenticator.refresh()
    assert_problem(await customer.http.get("/v1/balance"), 401, "invalid-key")
    successor = shop.client(made.json()["key"])
    assert (await successor.get("/v1/balance")).status_code == 200
    assert_problem(await successor.post(place, json={}), 409, "key-over")


async def test_the_last_key_that_makes_others_stays(shop: Shop, customer: Customer):
    place = f"/v1/keys/{customer.key_id}"
    await key_with(shop, customer, scopes=frozenset({KeyScope.ORDERS_READ}))
    assert_problem(await customer.http.delete(place), 409, "last-key")
    await key_with(shop, customer, expires_at=datetime.now(UTC) - timedelta(seconds=1))
    assert_problem(await customer.http.delete(place), 409, "last-key")
    await key_with(shop, customer)
    assert (await customer.http.delete(place)).status_code == 204


async def test_anothers_key_is_no_key_at_all(shop: Shop, customer: Customer):
    other = await shop.customer()
    place = f"/v1/keys/{other.key_id}"
    assert_problem(await customer.http.delete(place), 404, "not-found")
    assert_problem(await customer.http.post(f"{place}/rotate", json={}), 404, "not-found")
    assert (await other.http.get("/v1/balance")).status_code == 200
    listed = (await customer.http.get("/v1/keys")).json()["data"]
    assert [each["id"] for each in listed] == [customer.key_id]


@pytest.mark.parametrize(
    "body",
    [
        {"scopes": []},
        {"scopes": ["everything"]},
        {"addresses": ["203.0.113.300"]},
        {"addresses": ["203.0.113.7/24"]},
        {"expires_at": "2020-01-01T00:00:00Z"},
        {"expires_at": "2999-01-01T00:00:00"},
        {"mode": "ops"},
        {"name": "two\nlines"},
        {"colour": "red"},
    ],
)
async def test_a_wrong_key_is_refused(customer: Customer, body: dict[str, Any]):
    assert_problem(await customer.http.post("/v1/keys", json=body), 422, "invalid-request")


async def test_operators_replace_keys_and_see_both_sides(shop: Shop, customer: Customer):
    operators = shop.client("operators-token")
    place = f"/admin/v1/resellers/{customer.reseller_id}/keys"
    wanted = {"mode": "test", "name": "try", "scopes": ["orders:read"]}
    made = await operators.post(place, json=wanted)
    rotated = await operators.post(f"/admin/v1/keys/{made.json()['id']}/rotate", json={})
    assert rotated.status_code == 201
    listed = (await operators.get(place)).json()["data"]
    told = [(each["mode"], each["name"], each["scopes"]) for each in listed]
    assert told == [("live", "", None)] + [("test", "try", ["orders:read"])] * 2


# ------------------------------------------------------------------ the test side


@pytest.fixture
async def tester(shop: Shop, customer: Customer) -> httpx.AsyncClient:
    """A client with a test key that the customer made."""
    made = await customer.http.post("/v1/keys", json={"mode": "test"})
    assert made.json()["key"].startswith("jalur_test_")
    return shop.client(made.json()["key"])


async def test_the_test_side_has_money_of_its_own(
    shop: Shop, customer: Customer, tester: httpx.AsyncClient
):
    assert (await tester.get("/v1/balance")).json()["available"] == 10_000_000
    assert (await customer.http.get("/v1/balance")).json()["available"] == 1_000_000
    body = {"amount": 5, "reference": "more"}
    first, again = [await tester.post("/v1/test/deposits", json=body) for _ in range(2)]
    assert (first.status_code, first.json()) == (201, {"available": 10_000_005, "repeated": False})
    assert (again.status_code, again.json()["repeated"]) == (200, True)
    refused = await customer.http.post("/v1/test/deposits", json=body)
    assert_problem(refused, 403, "test-side-only")
    most = {"amount": 1_000_000_000_000, "reference": "too much"}
    assert_problem(await tester.post("/v1/test/deposits", json=most), 409, "too-much-play-money")
    async with shop.api.pool.acquire() as connection:
        assert await statements.verify(connection) == []


async def test_all_test_keys_are_of_one_test_side(customer: Customer, tester: httpx.AsyncClient):
    again = await customer.http.post("/v1/keys", json={"mode": "test"})
    third = await tester.post("/v1/keys", json={})
    assert third.json()["key"].startswith("jalur_test_")
    seen = {each["id"] for each in (await tester.get("/v1/keys")).json()["data"]}
    assert seen == {id_of(tester), again.json()["id"], third.json()["id"]}
    all_of_them = (await customer.http.get("/v1/keys")).json()["data"]
    assert {each["id"] for each in all_of_them} == seen | {customer.key_id}


async def test_a_test_key_touches_nothing_live(customer: Customer, tester: httpx.AsyncClient):
    refused = await tester.post("/v1/keys", json={"mode": "live"})
    assert_problem(refused, 422, "invalid-request")
    assert_problem(await tester.delete(f"/v1/keys/{customer.key_id}"), 404, "not-found")
    placed = (await customer.order()).json()
    assert_problem(await tester.get(f"/v1/orders/{placed['id']}"), 404, "not-found")
    assert (await tester.get("/v1/orders")).json()["data"] == []
    assert (await customer.http.delete(f"/v1/keys/{id_of(tester)}")).status_code == 204


async def test_a_test_order_finds_no_live_dealer(customer: Customer, tester: httpx.AsyncClient):
    order = {"ref_id": "r-1", "sku": "TSEL10", "customer_number": "081234567800"}
    assert_problem(await tester.post("/v1/orders", json=order), 409, "no-route")
    offered = (await tester.get("/v1/products")).json()["data"]
    assert not any(each["available"] for each in offered)
    assert (await customer.http.post("/v1/orders", json=order)).status_code == 202


async def test_a_test_key_kept_for_a_live_reseller_opens_nothing(shop: Shop, customer: Customer):
    key = api_keys.generate("test")
    await api_keys.create(shop.owner, key, customer.lane, customer.reseller_id)
    assert_problem(await shop.client(key.token).get("/v1/balance"), 401, "invalid-key")


async def test_a_suspended_reseller_tests_no_more(
    shop: Shop, customer: Customer, tester: httpx.AsyncClient
):
    assert (await tester.get("/v1/balance")).status_code == 200
    operators = shop.client("operators-token")
    place = f"/admin/v1/resellers/{customer.reseller_id}/suspend"
    assert (await operators.post(place, json={"reason": "unpaid"})).status_code == 200
    await shop.api.authenticator.refresh()
    assert_problem(await tester.get("/v1/balance"), 401, "invalid-key")
