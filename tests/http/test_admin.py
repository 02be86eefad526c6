"""The operators' API: who gets in, how far, and what it says."""

from datetime import UTC, datetime, timedelta, timezone
from uuid import UUID

import httpx
import pytest

from app.administration import tokens
from app.administration.operator import Scope
from app.storage import reference
from tests.http.problems import assert_problem
from tests.http.shop import Customer, Shop
from tests.shops import OPERATOR

OTOMAX = {"memberID": "MEMBER-ONE", "pin": "PIN-ONE", "password": "PASSWORD-ONE"}
DEALER = {
    "id": "cahaya",
    "name": "Cahaya",
    "owner_group": "cahaya",
    "protocol": "otomax",
    "base_url": "http://127.0.0.1:9",
    "credentials": OTOMAX,
}
ADMIN = "/admin/v1"
SOON = datetime.now(UTC).replace(microsecond=0) + timedelta(days=1)
READS = (
    *("resellers", "products", "prices", "dealers", "operators", "audit", "hold"),
    *("floats", "price-rises"),
)
ACTS = {
    Scope.RESELLERS: [
        ("POST", "/resellers", {"name": "Toko Baru"}),
        ("PATCH", "/resellers/Toko", {"tier": "gold"}),
        ("POST", "/resellers/Toko/suspend", {"reason": "unpaid"}),
        ("POST", "/resellers/Toko/activate", {}),
        ("POST", "/resellers/Toko/keys", {}),
        ("PATCH", "/resellers/Toko/rates", {"orders": "100/1s"}),
        ("PUT", "/resellers/Toko/outlets", {"outlets": []}),
        ("POST", "/resellers/Toko/outlets/12/remove", {}),
        ("PATCH", f"/keys/{'a' * 12}/rates", {"orders": "100/1s"}),
        ("POST", f"/keys/{'a' * 12}/revoke", {"reason": "lost"}),
        ("POST", f"/keys/{'a' * 12}/rotate", {}),
    ],
    Scope.MONEY: [
        ("POST", "/resellers/Toko/deposits", {"amount": 5, "reference": "BCA 17"}),
        ("POST", "/resellers/Toko/adjustments", {"amount": 5, "reference": "F", "reason": "why"}),
        ("POST", "/floats/alfa/deposits", {"amount": 5, "reference": "BCA 17"}),
        ("POST", "/floats/alfa/balance", {"balance": 5}),
        ("POST", "/floats/alfa/accept", {"reason": "why"}),
    ],
    Scope.CATALOGUE: [
        ("PUT", "/products", {"products": []}),
        ("PUT", "/prices", {"prices": []}),
        ("POST", "/products/TSEL10/disable", {"reason": "gone"}),
        ("POST", "/products/TSEL10/enable", {}),
    ],
    Scope.DEALERS: [
        ("POST", "/dealers", DEALER),
        ("PATCH", "/dealers/alfa", {"name": "Alfa"}),
        ("POST", "/dealers/alfa/pause", {"reason": "why"}),
        ("POST", "/dealers/alfa/drain", {"reason": "why"}),
        ("POST", "/dealers/alfa/resume", {"reason": "why"}),
        ("POST", "/dealers/alfa/mute", {"until": SOON.isoformat(), "reason": "why"}),
        ("POST", "/dealers/alfa/unmute", {}),
        ("POST", "/dealers/alfa/forget-clusters", {}),
    ],
    Scope.ROUTES: [
        ("POST", "/routes/diff", []),
        ("POST", "/routes/simulate", []),
        ("POST", "/routes/apply", []),
        ("POST", "/routes/rollback", {}),
        ("POST", f"/routes/scheduled/{UUID(int=1)}/cancel", {}),
        ("PUT", "/routes/policy", {"policy": {}}),
        ("POST", "/dealers/alfa/pull-prices", {}),
        ("POST", "/price-rises/lift", {"route": "r-alfa"}),
    ],
    Scope.OPERATORS: [
        ("POST", "/operators", {"name": "Sari", "scopes": ["read"]}),
        ("POST", f"/operators/{'a' * 12}/revoke", {"reason": "left"}),
        ("POST", "/hold", {"reason": "restoring"}),
        ("POST", "/hold/resume", {"reason": "compared", "reconciled": True}),
    ],
}


async def operator(shop: Shop, *scopes: Scope) -> httpx.AsyncClient:
    token = await tokens.add(shop.api.pool, OPERATOR, "Sari", scopes or tuple(Scope))
    return shop.client(token.token)


@pytest.fixture
async def admin(shop: Shop) -> httpx.AsyncClient:
    return await operator(shop)


async def lines(shop: Shop) -> int:
    return await shop.owner.fetchval("select count(*) from audit_log")


# ------------------------------------------------------------------ who gets in


async def test_without_an_operators_token_nothing_opens(shop: Shop, customer: Customer) -> None:
    for client in (shop.client(), customer.http, shop.client("operators-token-not")):
        for path in READS:
            assert_problem(await client.get(f"{ADMIN}/{path}"), 401, "invalid-key")
        answer = await client.post(f"{ADMIN}/resellers", json={"name": "Toko Baru"})
        assert_problem(answer, 401, "invalid-key")


async def test_an_operators_token_is_no_resellers_key(admin: httpx.AsyncClient) -> None:
    assert_problem(await admin.get("/v1/balance"), 401, "invalid-key")


async def test_the_installations_own_token_opens_everything_readable(shop: Shop) -> None:
    client = shop.client("operators-token")
    for path in READS:
        assert (await client.get(f"{ADMIN}/{path}")).status_code == 200


@pytest.mark.parametrize("scope", ACTS)
async def test_each_act_needs_its_scope_and_no_other_one_will_do(shop: Shop, scope: Scope) -> None:
    others = await operator(shop, *(set(Scope) - {scope}))
    for method, path, body in ACTS[scope]:
        answer = await others.request(method, ADMIN + path, json=body)
        assert_problem(answer, 403, "missing-scope")
    holder = await operator(shop, scope)
    for path in READS:
        assert (await holder.get(f"{ADMIN}/{path}")).status_code == 200
    for method, path, body in ACTS[scope]:
        assert (await holder.request(method, ADMIN + path, json=body)).status_code != 403


async def test_every_act_of_the_api_is_among_those_tried(shop: Shop) -> None:
    paths = (await shop.client().get("/admin/openapi.json")).json()["paths"]
    mine = (
        *("resellers", "keys", "products", "prices", "dealers", "operators", "hold", "routes"),
        *("floats", "price-rises"),
    )
    documented = [
        path
        for path, operations in paths.items()
        for method in operations
        if method != "get"
        and path.startswith(tuple(f"{ADMIN}/{part}" for part in mine))
        and path != f"{ADMIN}/routes/explain"  # a question that comes as a body
    ]
    assert len(documented) == sum(len(acts) for acts in ACTS.values())


async def test_a_revoked_token_stops_within_a_second(shop: Shop) -> None:
    token = await tokens.add(shop.api.pool, OPERATOR, "Sari", (Scope.READ,))
    client, seconds = shop.client(token.token), 100.0
    shop.api.operators._monotonic = lambda: seconds
    assert (await client.get(f"{ADMIN}/dealers")).status_code == 200
    await tokens.revoke(shop.api.pool, OPERATOR, token.key_id, "left")
    seconds += 1.1
    assert_problem(await client.get(f"{ADMIN}/dealers"), 401, "invalid-key")


async def test_a_token_in_use_stays_known_while_it_is_refreshed(shop: Shop) -> None:
    token = await tokens.add(shop.api.pool, OPERATOR, "Sari", (Scope.READ,))
    client, seconds = shop.client(token.token), 100.0
    shop.api.operators._monotonic = lambda: seconds
    for _ in range(3):
        assert (await client.get(f"{ADMIN}/dealers")).status_code == 200
        await shop.api.operators.refresh()
        seconds += 0.6
    await shop.owner.execute("update operator_tokens set revoked_at = now()")
    assert (await client.get(f"{ADMIN}/dealers")).status_code == 200
    await shop.api.operators.refresh()
    assert_problem(await client.get(f"{ADMIN}/dealers"), 401, "invalid-key")


async def test_metrics_open_to_an_operators_token_from_elsewhere(shop: Shop) -> None:
    far = {"x-forwarded-for": "203.0.113.7"}
    token = await operator(shop, Scope.READ)
    assert (await token.get("/metrics", headers=far)).status_code == 200
    answer = await shop.client("jalur_ops_nonsense").get("/metrics", headers=far)
    assert_problem(answer, 403, "forbidden")


async def test_who_acted_and_from_where_is_in_the_log(shop: Shop) -> None:
    client = await operator(shop, Scope.RESELLERS)
    await client.post(f"{ADMIN}/resellers", json={"name": "Toko Baru", "reason": "asked"})
    (line, *_) = (await client.get(f"{ADMIN}/audit")).json()["data"]
    assert line["operator"].startswith("Sari (")
    assert (line["origin"], line["action"], line["reason"]) == (
        "127.0.0.1",
        "reseller.added",
        "asked",
    )
    assert line["after"]["name"] == "Toko Baru"


# ------------------------------------------------------------------ resellers, keys, money


async def test_a_reseller_is_set_up_without_sql_and_orders(shop: Shop, admin: httpx.AsyncClient):
    added = await admin.post(f"{ADMIN}/resellers", json={"name": "Toko Baru"})
    assert added.status_code == 201
    place = added.headers["location"]
    key = await admin.post(f"{place}/keys", json={"mode": "live"})
    assert (key.status_code, key.headers["cache-control"]) == (201, "no-store")
    paid = await admin.post(f"{place}/deposits", json={"amount": 50_000, "reference": "BCA 17"})
    assert (paid.status_code, paid.json()["available"]) == (201, 50_000)
    customer = shop.client(key.json()["key"])
    body = {"ref_id": "r-1", "sku": "TSEL10", "customer_number": "081234567800"}
    assert (await customer.post("/v1/orders", json=body)).status_code == 202
    shown = (await admin.get(f"{ADMIN}/resellers/Toko Baru")).json()
    assert (shown["available"], shown["reserved"]) == (39_500, 10_500)
    (listed,) = (await admin.get(f"{place}/keys")).json()["data"]
    assert (listed["mode"], listed["scopes"], listed["revoked_at"]) == ("live", None, None)
    assert not {"key", "secret_sha256"} & set(listed)
    log = await shop.owner.fetchval("select json_agg(a)::text from audit_log a")
    assert key.json()["key"].split("_")[3] not in log


async def test_a_deposit_again_is_200_and_of_another_amount_409(
    shop: Shop, admin: httpx.AsyncClient
) -> None:
    customer = await shop.customer(money=0)
    place = f"{ADMIN}/resellers/{customer.reseller_id}/deposits"
    before = await lines(shop)
    statuses = [
        (await admin.post(place, json={"amount": amount, "reference": "BCA 17"})).status_code
        for amount in (5_000, 5_000, 5_001)
    ]
    assert statuses == [201, 200, 409]
    answer = await admin.post(place, json={"amount": 1, "reference": "BCA 17"})
    assert_problem(answer, 409, "reference-taken")
    assert await lines(shop) == before + 1
    assert (await customer.http.get("/v1/balance")).json()["available"] == 5_000


async def test_a_suspended_reseller_is_refused_and_activated_again(
    shop: Shop, customer: Customer, admin: httpx.AsyncClient
) -> None:
    place = f"{ADMIN}/resellers/{customer.reseller_id}"
    assert_problem(await admin.post(f"{place}/suspend", json={}), 422, "invalid-request")
    done = await admin.post(f"{place}/suspend", json={"reason": "unpaid"})
    assert done.json()["status"] == "suspended"
    assert_problem(await customer.order(), 401, "invalid-key")
    await admin.post(f"{place}/activate", json={})
    seconds = 1e9
    shop.api.authenticator._monotonic = lambda: seconds
    assert (await customer.order()).status_code == 202


async def test_a_revoked_key_is_refused(customer: Customer, admin: httpx.AsyncClient) -> None:
    place = f"{ADMIN}/keys/{customer.key_id}/revoke"
    assert (await admin.post(place, json={"reason": "lost"})).json() == {"changed": True}
    assert (await admin.post(place, json={"reason": "lost"})).json() == {"changed": False}
    assert_problem(await customer.order(), 401, "invalid-key")


async def test_lists_go_on_where_they_stopped(shop: Shop, admin: httpx.AsyncClient) -> None:
    for number in range(5):
        await admin.post(f"{ADMIN}/resellers", json={"name": f"Toko {number}"})
    for path, key in (("resellers", "id"), ("products", "sku"), ("prices", "sku"), ("audit", "id")):
        whole = (await admin.get(f"{ADMIN}/{path}")).json()["data"]
        assert len(whole) >= 3
        parts: list[dict[str, object]] = []
        cursor: str | None = ""
        while cursor is not None:
            given = {"limit": 2, **({"cursor": cursor} if cursor else {})}
            page = (await admin.get(f"{ADMIN}/{path}", params=given)).json()
            parts += page["data"]
            cursor = page["next_cursor"]
        assert [row[key] for row in parts] == [row[key] for row in whole]
        foreign = await admin.get(f"{ADMIN}/{path}", params={"cursor": "Zm9v"})
        assert_problem(foreign, 400, "invalid-cursor")


# ------------------------------------------------------------------ catalogue and dealers


async def test_a_new_price_is_taken_up_and_a_wrong_list_changes_nothing(
    shop: Shop, customer: Customer, admin: httpx.AsyncClient
) -> None:
    good = {"tier": "standard", "sku": "TSEL10", "price": 10_700}
    bad = {"tier": "standard", "sku": "TSEL99", "price": 5}
    answer = await admin.put(f"{ADMIN}/prices", json={"prices": [good, bad]})
    assert_problem(answer, 422, "invalid-request")
    assert [error["field"] for error in answer.json()["errors"]] == ["prices.1.sku"]
    done = await admin.put(f"{ADMIN}/prices", json={"prices": [good]})
    assert done.json() == {"given": 1, "changed": 1}
    await shop.api.router.refresh(shop.api.pool)
    products = (await customer.http.get("/v1/products")).json()["data"]
    assert {row["sku"]: row["price"] for row in products}["TSEL10"] == 10_700


async def test_a_product_is_added_and_taken_off_sale(
    shop: Shop, customer: Customer, admin: httpx.AsyncClient
) -> None:
    new = {"sku": "XL5", "name": "XL 5.000", "brand": "xl", "denomination": 5000}
    done = await admin.put(f"{ADMIN}/products", json={"products": [new]})
    assert done.json() == {"given": 1, "changed": 1}
    off = await admin.post(f"{ADMIN}/products/TSEL10/disable", json={"reason": "gone"})
    assert off.json() == {"changed": True}
    await shop.api.router.refresh(shop.api.pool)
    assert_problem(await customer.order(), 422, "unknown-sku")


async def test_a_dealer_is_added_steered_and_never_shows_its_account(
    shop: Shop, admin: httpx.AsyncClient
) -> None:
    added = await admin.post(f"{ADMIN}/dealers", json=DEALER)
    assert added.status_code == 201
    assert added.json()["callback_path"].startswith("/v1/callbacks/cahaya/")
    place = f"{ADMIN}/dealers/cahaya"
    renewed = await admin.patch(place, json={"renew_callback_token": True})
    assert renewed.json()["callback_path"] != added.json()["callback_path"]
    for verb in ("pause", "drain", "resume"):
        assert_problem(await admin.post(f"{place}/{verb}", json={}), 422, "invalid-request")
        assert (await admin.post(f"{place}/{verb}", json={"reason": "why"})).status_code == 200
    until = SOON.astimezone(timezone(timedelta(hours=7))).isoformat()
    muted = await admin.post(f"{place}/mute", json={"until": until, "reason": "slow"})
    assert datetime.fromisoformat(muted.json()["muted_until"]) == SOON
    shown = (await admin.get(place)).text + (await admin.get(f"{ADMIN}/dealers")).text
    shown += (await admin.get(f"{ADMIN}/audit")).text
    for secret in (*OTOMAX.values(), renewed.json()["callback_path"].split("/")[-1]):
        assert secret not in shown
    assert (await shop.owner.fetchval("select count(*) from audit_log")) == 7
    await shop.api.router.refresh(shop.api.pool)
    assert "cahaya" in shop.api.router.trade.dealers


async def test_a_dealers_rate_is_set_shown_and_taken_away(
    shop: Shop, admin: httpx.AsyncClient
) -> None:
    added = await admin.post(f"{ADMIN}/dealers", json={**DEALER, "requests_per_second": 2.5})
    assert added.json()["requests_per_second"] == 2.5
    place = f"{ADMIN}/dealers/cahaya"
    await shop.api.router.refresh(shop.api.pool)
    assert shop.api.router.trade.dealers["cahaya"].requests_per_second == 2.5
    shown = (await admin.get(place)).json()
    assert shown["live"] == {"processes": 0, "limit": 0, "in_use": 0}
    taken_away = await admin.patch(place, json={"requests_per_second": 0})
    assert taken_away.json()["requests_per_second"] is None
    for wrong in (-1, 0.0001, 10_001):
        answer = await admin.patch(place, json={"requests_per_second": wrong})
        assert answer.status_code == 422


async def test_a_dealer_that_could_not_be_called_never_reaches_the_table(
    shop: Shop, admin: httpx.AsyncClient
) -> None:
    stands = shop.api.router.trade
    for fields in (
        {"protocol": "telepathy"},
        {"credentials": {}},
        {"timeout_seconds": 60},
        {"base_url": "nowhere"},
    ):
        answer = await admin.post(f"{ADMIN}/dealers", json={**DEALER, **fields})
        assert_problem(answer, 422, "dealer-refused")
    assert not await shop.api.router.refresh(shop.api.pool)
    assert shop.api.router.trade is stands
    async with shop.api.pool.acquire() as connection:
        rows = await reference.dealers(connection)
    assert [row.dealer_id for row in rows] == ["alfa", "beta"]


async def test_the_hold_is_shown_set_and_ended(admin: httpx.AsyncClient) -> None:
    assert (await admin.get(f"{ADMIN}/hold")).json()["hold"] is False
    await admin.post(f"{ADMIN}/hold", json={"reason": "restoring"})
    assert (await admin.get(f"{ADMIN}/hold")).json()["hold"] is True
    lightly = {"reason": "sure", "reconciled": False}
    assert_problem(await admin.post(f"{ADMIN}/hold/resume", json=lightly), 422, "not-reconciled")
    surely = {"reason": "compared", "reconciled": True}
    assert (await admin.post(f"{ADMIN}/hold/resume", json=surely)).json() == {"changed": True}


async def test_an_operator_makes_another_and_no_greater_one(shop: Shop) -> None:
    giver = await operator(shop, Scope.OPERATORS, Scope.MONEY)
    place = f"{ADMIN}/operators"
    made = await giver.post(place, json={"name": "Budi", "scopes": ["money"]})
    assert (made.status_code, made.headers["cache-control"]) == (201, "no-store")
    budi = shop.client(made.json()["token"])
    assert (await budi.get(place)).status_code == 200
    greater = await giver.post(place, json={"name": "Budi", "scopes": ["dealers"]})
    assert_problem(greater, 403, "missing-scope")
    strange = await giver.post(place, json={"name": "Budi", "scopes": ["everything"]})
    assert_problem(strange, 422, "invalid-request")
    ended = await giver.post(f"{place}/{made.json()['id']}/revoke", json={"reason": "left"})
    assert ended.json() == {"changed": True}


# ------------------------------------------------------------------ what cannot be


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code"),
    [
        ("POST", "/resellers", {"name": "T\0"}, 422, "invalid-request"),
        ("POST", "/resellers", {"name": "x" * 201}, 422, "invalid-request"),
        ("POST", "/resellers", {"name": "Toko", "limit": 5}, 422, "invalid-request"),
        ("POST", "/resellers", {"name": "Toko", "credit_limit": "5"}, 422, "invalid-request"),
        ("GET", "/resellers/T%00", None, 422, "invalid-request"),
        ("GET", "/resellers/Nobody", None, 404, "unknown-reseller"),
        ("GET", "/resellers/Nobody/keys", None, 404, "unknown-reseller"),
        ("POST", "/keys/%00/revoke", {"reason": "x"}, 404, "not-found"),
        ("POST", "/operators/%00/revoke", {"reason": "x"}, 404, "not-found"),
        ("GET", "/dealers/%00", None, 404, "not-found"),
        ("POST", "/dealers/%00/pause", {"reason": "x"}, 422, "invalid-request"),
        ("POST", "/dealers/gone/pause", {"reason": "x"}, 404, "not-found"),
        ("POST", "/products/%00/enable", {}, 422, "invalid-request"),
        ("POST", "/products/NONE/enable", {}, 404, "not-found"),
        ("GET", "/audit?subject=%00", None, 422, "invalid-request"),
        ("GET", "/audit?limit=1000", None, 422, "invalid-request"),
        ("PUT", "/prices", {"prices": []}, 422, "invalid-request"),
        ("POST", "/dealers", {**DEALER, "id": "alfa"}, 409, "dealer-exists"),
        ("POST", "/hold", {}, 422, "invalid-request"),
    ],
)
async def test_what_cannot_be_is_a_problem(
    admin: httpx.AsyncClient,
    method: str,
    path: str,
    body: dict[str, object] | None,
    status: int,
    code: str,
) -> None:
    assert_problem(await admin.request(method, ADMIN + path, json=body), status, code)


async def test_bodies_are_bounded_and_json(admin: httpx.AsyncClient) -> None:
    large = await admin.post(f"{ADMIN}/resellers", content=b" " * 70_000)
    assert_problem(large, 413, "body-too-large")
    headers = {"content-type": "text/csv"}
    other = await admin.put(f"{ADMIN}/prices", content=b"tier,sku,price", headers=headers)
    assert_problem(other, 415, "unsupported-media-type")


async def test_outlets_are_put_listed_by_the_page_and_removed(shop: Shop):
    ops = shop.client("operators-token")
    await ops.post(f"{ADMIN}/resellers", json={"name": "Toko Cabang"})
    at = f"{ADMIN}/resellers/Toko Cabang/outlets"
    rows = [{"outlet_id": str(number), "region": "surabaya"} for number in (1, 2, 3)]
    assert (await ops.put(at, json={"outlets": rows})).json() == {"given": 3, "changed": 3}
    first = (await ops.get(at, params={"limit": 2})).json()
    rest = (await ops.get(at, params={"limit": 2, "cursor": first["next_cursor"]})).json()
    assert (first["data"] + rest["data"], rest["has_more"]) == (rows, False)
    assert (await ops.post(f"{at}/2/remove", json={})).json() == {"changed": True}
    assert_problem(await ops.post(f"{at}/2/remove", json={}), 404, "not-found")
    wrong = await ops.put(at, json={"outlets": [{"outlet_id": "9", "region": "atlantis"}]})
    assert wrong.json()["errors"][0]["field"] == "outlets.0.region"


async def test_refused_clusters_are_shown_and_forgotten(shop: Shop):
    ops = shop.client("operators-token")
    await shop.owner.execute(
        """
        insert into cluster_refusals
        select 'alfa', 'telkomsel', 'jatim', '0812' || n, now() from generate_series(1, 3) n
        """
    )
    (seen,) = (await ops.get(f"{ADMIN}/dealers/alfa/clusters")).json()["data"]
    assert (seen["cluster"], seen["numbers"]) == ("jatim", 3)
    assert seen["left_out_until"] > seen["refused_at"]
    forgotten = await ops.post(f"{ADMIN}/dealers/alfa/forget-clusters", json={"cluster": "jatim"})
    assert forgotten.json() == {"forgotten": [{"brand": "telkomsel", "cluster": "jatim"}]}
    assert (await ops.get(f"{ADMIN}/dealers/alfa/clusters")).json()["data"] == []
    assert_problem(await ops.get(f"{ADMIN}/dealers/nobody/clusters"), 404, "not-found")
