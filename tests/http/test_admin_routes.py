"""The routing table over HTTP: exported, edited, imported; and its choices explained."""

import asyncio
import json
import sys
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from app.storage.drafts import Desk
from routing.quality import Outcome
from routing.sheet import COLUMNS, MOST_BYTES
from schemas.admin.routes import Simulation
from tests.http.problems import assert_problem
from tests.http.shop import TELKOMSEL, XL, Customer, Shop
from tests.shops import until

CSV = {"content-type": "text/csv"}
APPLY = "/admin/v1/routes/apply"
EMPTY_SHEET = ",".join(COLUMNS).encode() + b"\n"


@pytest.fixture
async def desk(shop: Shop) -> httpx.AsyncClient:
    """An operator's way to the API."""
    return shop.client("operators-token")


async def export(desk: httpx.AsyncClient) -> httpx.Response:
    answer = await desk.get("/admin/v1/routes")
    assert answer.status_code == 200
    return answer


async def put(desk: httpx.AsyncClient, content: bytes, **query: object) -> httpx.Response:
    return await desk.post(APPLY, content=content, headers=CSV, params=dict(query), timeout=60)


async def test_export_is_csv_and_its_etag_the_revision(shop: Shop, desk: httpx.AsyncClient):
    answer = await export(desk)
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert answer.text.splitlines()[0] == ",".join(COLUMNS)
    revision = await shop.owner.fetchval("select revision from routing_policy")
    assert answer.headers["etag"] == f'"{revision}"'
    part = await desk.get("/admin/v1/routes", params={"dealer": "alfa"})
    assert part.text.splitlines()[1:] == [
        ",".join(["TSEL10", "", "alfa", "s10", "10100"]) + ",true,,,,,,0"
    ]


async def test_edited_export_is_the_table_that_orders_use(
    shop: Shop, desk: httpx.AsyncClient, customer: Customer
):
    exported = await export(desk)
    cheaper = exported.content.replace(b"beta,s10,10200", b"beta,s10,9900")
    answer = await desk.post(
        APPLY,
        content=cheaper,
        headers=CSV | {"if-match": exported.headers["etag"]},
        params={"reason": "beta's new list"},
    )
    assert answer.status_code == 200
    assert answer.headers["etag"] == f'"{answer.json()["revision"]}"'
    assert (answer.json()["changed"], answer.json()["unchanged"]) == (1, 1)
    await shop.api.router.refresh(shop.api.pool)
    await customer.order()
    assert await shop.owner.fetchval("select dealer_id from ready") == "beta"
    line = await shop.owner.fetchrow(
        "select operator, action, reason from audit_log where action <> 'deposit.booked'"
    )
    assert tuple(line) == ("admin-token", "routes.applied", "beta's new list")


async def test_status_tells_what_the_newest_table_changed(shop: Shop, desk: httpx.AsyncClient):
    exported = await export(desk)
    await put(desk, exported.content.replace(b"beta,s10,10200", b"beta,s10,9900"))
    await shop.api.router.refresh(shop.api.pool)
    told = (await desk.get("/admin/v1/routes/status")).json()
    assert told["route_changes"] == {"added": 0, "changed": 1, "removed": 0}
    assert told["product_changes"] == {"added": 0, "changed": 0, "removed": 0}
    assert (told["routes"], told["compiling"], told["refused"]) == (2, False, {})


async def test_diff_over_http_changes_nothing(shop: Shop, desk: httpx.AsyncClient):
    exported = await export(desk)
    cheaper = exported.content.replace(b"10200", b"9900")
    told = await desk.post("/admin/v1/routes/diff", content=cheaper, headers=CSV)
    assert (told.status_code, told.json()["changed"]) == (200, 1)
    assert (await export(desk)).content == exported.content


SIMULATE = "/admin/v1/routes/simulate"


async def test_past_orders_are_simulated_over_http(
    shop: Shop, desk: httpx.AsyncClient, customer: Customer
):
    await shop.send_to_dealer((await customer.order()).json())
    exported = await export(desk)
    cheaper = exported.content.replace(b"10200", b"9900")
    answer = await desk.post(
        SIMULATE, content=cheaper, headers=CSV, params={"since": "30m"}, timeout=60
    )
    assert answer.status_code == 200
    told = answer.json()
    assert Simulation.model_validate(told).model_dump(mode="json", exclude={"since", "until"}) == {
        name: value for name, value in told.items() if name not in {"since", "until"}
    }
    assert (told["orders"]["replayed"], told["happened"]["cost"]) == (1, 10_100)
    assert (told["in_force"]["cost"], told["draft"]["cost"]) == (10_100, 9900)
    assert answer.headers["etag"] == exported.headers["etag"]
    assert (await export(desk)).content == exported.content
    alone = await desk.post(SIMULATE, params={"in_force": True}, timeout=60)
    assert (alone.json()["draft"], alone.json()["in_force"]["margin"]) == (None, 400)


async def test_what_cannot_be_simulated_is_refused(desk: httpx.AsyncClient):
    wrong = await desk.post(SIMULATE, params={"in_force": True, "since": "40d"})
    assert_problem(wrong, 422, "invalid-request")
    strange = await desk.post(SIMULATE, content=b"x", headers={"content-type": "text/html"})
    assert_problem(strange, 415, "unsupported-media-type")
    sheet = await desk.post(SIMULATE, content=b"sku,dealer", headers=CSV, timeout=60)
    assert_problem(sheet, 422, "invalid-table")
    late = CSV | {"if-match": '"9999"'}
    changed = await desk.post(SIMULATE, content=b"sku", headers=late, timeout=60)
    assert_problem(changed, 412, "table-changed")


async def test_one_simulation_runs_at_a_time_and_no_sheet_waits_for_it(
    shop: Shop, desk: httpx.AsyncClient
):
    content = (await export(desk)).content
    alone = {"in_force": True}
    answers = await asyncio.gather(
        desk.post(SIMULATE, params=alone, timeout=60),
        desk.post(SIMULATE, params=alone, timeout=60),
        put(desk, content),
    )
    assert sorted(answer.status_code for answer in answers[:2]) == [200, 409]
    assert answers[2].status_code == 200
    async with shop.api.pool.acquire() as elsewhere:
        await elsewhere.execute("select pg_advisory_lock($1)", Desk.SIMULATIONS)
        assert_problem(await desk.post(SIMULATE, params=alone, timeout=60), 409, "table-busy")
        assert (await put(desk, content)).status_code == 200
        await elsewhere.execute("select pg_advisory_unlock_all()")


async def test_faults_are_named_by_line_and_column(shop: Shop, desk: httpx.AsyncClient):
    exported = await export(desk)
    answer = await put(desk, exported.content.replace(b"10200", b"10.200"))
    assert_problem(answer, 422, "invalid-table")
    (error,) = answer.json()["errors"]
    assert error["field"] == "line 3.cost"
    after = await export(desk)
    assert (after.content, after.headers["etag"]) == (exported.content, exported.headers["etag"])


async def test_etag_of_an_older_table_is_refused(shop: Shop, desk: httpx.AsyncClient):
    exported = await export(desk)
    await put(desk, exported.content.replace(b"10200", b"9900"))
    late = CSV | {"if-match": exported.headers["etag"]}
    answer = await desk.post(APPLY, content=exported.content, headers=late)
    assert_problem(answer, 412, "table-changed")
    strange = CSV | {"if-match": '"a table"'}
    answer = await desk.post(APPLY, content=exported.content, headers=strange)
    assert_problem(answer, 400, "invalid-request")


async def test_emptying_over_http_must_be_said(shop: Shop, desk: httpx.AsyncClient):
    header = ",".join(COLUMNS).encode()
    assert_problem(await put(desk, header), 409, "would-be-empty")
    answer = await put(desk, header, allow_empty=True, dealer="alfa")
    assert (answer.json()["removed"], answer.json()["unchanged"]) == (1, 0)


async def test_what_is_no_table_is_refused(shop: Shop, desk: httpx.AsyncClient):
    form = {"content-type": "application/x-www-form-urlencoded"}
    strange = await desk.post(APPLY, content=b"sku=1", headers=form)
    assert_problem(strange, 415, "unsupported-media-type")
    huge = CSV | {"content-length": str(MOST_BYTES + 1)}
    assert_problem(await desk.post(APPLY, content=b"x", headers=huge), 413, "body-too-large")
    assert_problem(await put(desk, b"", dealer="nobody"), 404, "not-found")
    assert_problem(await put(desk, b"", dealer="a\0b"), 422, "invalid-request")


@pytest.mark.parametrize("path", ["/admin/v1/routes", "/admin/v1/routes/explain?ref_id=1"])
async def test_the_table_is_not_for_resellers(shop: Shop, customer: Customer, path: str):
    assert_problem(await shop.client().get(path), 401, "invalid-key")
    assert_problem(await customer.http.get(path), 401, "invalid-key")


# ------------------------------------------------------------------ explaining


async def explain(desk: httpx.AsyncClient, **asked: object) -> httpx.Response:
    return await desk.post("/admin/v1/routes/explain", json=asked)


async def stored(desk: httpx.AsyncClient, **named: object) -> httpx.Response:
    return await desk.get("/admin/v1/routes/explain", params=dict(named))


async def test_explained_choice_is_the_one_that_an_order_gets(
    shop: Shop, desk: httpx.AsyncClient, customer: Customer
):
    told = (await explain(desk, sku="TSEL10", number=TELKOMSEL, region="surabaya")).json()
    assert (told["dealer"], told["cluster"], told["price"]) == ("alfa", "east-java", 10_500)
    assert [(each["dealer"], each["rank"], each["reason"]) for each in told["candidates"]] == [
        ("alfa", 1, None),
        ("beta", 2, "dearer"),
    ]
    assert told["verdict"].startswith("alfa serves for Rp 10,100: the cheapest; shares bar nobody")
    await customer.order(region="surabaya")
    assert await shop.owner.fetchval("select dealer_id from ready") == told["dealer"]


async def test_explanation_sees_live_shares_and_limits(
    shop: Shop, desk: httpx.AsyncClient, customer: Customer
):
    await customer.order()
    told = (await explain(desk, sku="TSEL10", max_price=10_150)).json()
    assert told["market"] == {"orders": 1, "value": 10_100}
    alfa, beta = told["candidates"]
    shares = ("share_before_basis_points", "share_after_basis_points")
    assert [alfa[each] for each in shares] == [10_000, 10_000]
    assert [beta[each] for each in shares] == [0, 5_024]  # 10,200 of 20,300
    assert (beta["rank"], beta["reason"]) == (None, "above-max-price")


async def test_explanation_tells_what_dealers_deliver(shop: Shop, desk: httpx.AsyncClient):
    now = datetime.now(UTC)
    shop.api.router.quality.count("beta", "pulsa", Outcome.SUCCEEDED, now, 15)
    shop.api.router.quality.count("beta", "pulsa", Outcome.FAILED, now, 5)
    alfa, beta = (await explain(desk, sku="TSEL10")).json()["candidates"]
    known = ("success_basis_points", "sample", "level")
    assert [alfa[each] for each in known] == [None, 0, None]
    assert [beta[each] for each in known] == [7_500, 20, "warning"]


async def test_another_moment_has_its_own_hours_and_mutes_and_todays_shares(
    shop: Shop, desk: httpx.AsyncClient, customer: Customer
):
    await customer.order()
    exported = (await export(desk)).content.decode()
    night = exported.replace("alfa,s10,10100,true,", "alfa,s10,10100,true,22:00-06:00")
    await put(desk, night.encode())
    until = (datetime.fromisoformat("2030-01-01T23:30:00+07:00"),)
    await shop.owner.execute("update dealers set muted_until = $1 where dealer_id = 'beta'", *until)
    await shop.owner.execute("update routing_policy set revision = revision + 1")
    await shop.api.router.refresh(shop.api.pool)
    at_noon = (await explain(desk, sku="TSEL10", at="2030-01-01T12:00:00")).json()
    assert [each["reason"] for each in at_noon["candidates"]] == ["outside-hours", "muted"]
    assert at_noon["at"] == "2030-01-01T12:00:00+07:00"
    assert "outside the selling hours (outside-hours)" in at_noon["verdict"]
    at_night = (await explain(desk, sku="TSEL10", at="2030-01-01T16:30:00Z")).json()
    assert [each["reason"] for each in at_night["candidates"]] == [None, "dearer"]
    # The window of the shares does not move on: an order that comes now still counts them.
    assert at_night["market"]["orders"] == 1
    assert (await explain(desk, sku="TSEL10")).json()["market"]["orders"] == 1


async def test_quotas_of_today_are_not_those_of_another_day(shop: Shop, desk: httpx.AsyncClient):
    exported = (await export(desk)).content.decode()
    limited = exported.replace("alfa,s10,10100,true,,,,", "alfa,s10,10100,true,,,,1")
    assert (await put(desk, limited.encode())).status_code == 200
    router, now = shop.api.router, datetime.now(UTC)
    await router.refresh(shop.api.pool)
    await router.rebuild_sales(shop.api.pool, now)
    (route,) = [
        each for each in await shop.owner.fetch("select * from routes") if each["daily_quota"]
    ]
    router.count_sale(route["route_id"], now, 1)
    assert (await explain(desk, sku="TSEL10")).json()["dealer"] == "beta"
    later = (now + timedelta(days=2)).isoformat()
    assert (await explain(desk, sku="TSEL10", at=later)).json()["dealer"] == "alfa"
    assert (await explain(desk, sku="TSEL10")).json()["dealer"] == "beta"


async def test_what_an_order_keeps_is_shown(
    shop: Shop, desk: httpx.AsyncClient, customer: Customer
):
    order = (await customer.order()).json()
    told = (await stored(desk, order_id=order["id"])).json()
    (attempt,) = told["attempts"]
    assert (attempt["dealer"], attempt["state"]) == ("alfa", "ready")
    assert attempt["decision"]["table"] == shop.api.router.trade.snapshot.version
    reseller = await shop.owner.fetchval("select name from resellers")
    by_reference = await stored(desk, reseller=reseller, ref_id=order["ref_id"])
    assert by_reference.json() == told
    await shop.send_to_dealer(order)
    (attempt,) = (await stored(desk, order_id=order["id"])).json()["attempts"]
    assert (attempt["attempt_no"], attempt["state"]) == (1, "sent")


@pytest.mark.parametrize(
    ("asked", "code", "field"),
    [
        ({}, "invalid-request", "sku"),
        ({"sku": "NONE"}, "unknown-sku", "sku"),
        ({"sku": "TSEL10", "tier": "none"}, "invalid-request", "tier"),
        ({"sku": "TSEL10", "number": XL}, "brand-mismatch", "number"),
        ({"sku": "TSEL10", "number": "12"}, "invalid-number", "number"),
        ({"sku": "TSEL10", "number": 812}, "invalid-request", "number"),
        ({"sku": "TSEL10", "number": "089912345678000"}, "invalid-number", "number"),
        ({"sku": "TSEL10", "region": "mars"}, "unknown-region", "region"),
        ({"sku": "TSEL10", "max_price": 0}, "invalid-request", "max_price"),
        ({"sku": "TSEL10", "max_price": "10000"}, "invalid-request", "max_price"),
        ({"sku": "TSEL10", "at": "soon"}, "invalid-request", "at"),
        ({"sku": "TSEL10", "price": 1}, "invalid-request", "price"),
    ],
)
async def test_question_that_makes_no_order_is_refused(
    shop: Shop, desk: httpx.AsyncClient, asked: dict[str, object], code: str, field: str
):
    answer = await explain(desk, **asked)
    assert_problem(answer, 422, code)
    assert [each["field"] for each in answer.json()["errors"]] == [field]


async def test_order_that_is_none_cannot_be_explained(shop: Shop, desk: httpx.AsyncClient):
    answer = await stored(desk, order_id="00000000-0000-7000-8000-000000000001")
    assert_problem(answer, 404, "not-found")
    assert_problem(await stored(desk, order_id="A1"), 422, "invalid-request")
    assert_problem(await stored(desk, ref_id="r-1"), 422, "invalid-request")
    assert_problem(await stored(desk, reseller="nobody", ref_id="r-1"), 404, "unknown-reseller")


# ------------------------------------------------------------------ put off, undone, pulled


async def test_a_wrong_sheet_is_explained_line_by_line_and_changes_nothing(
    shop: Shop, desk: httpx.AsyncClient
):
    exported = await export(desk)
    wrong = exported.content.replace(b"10100", b"dear").replace(b"beta", b"zulu") + b"TSEL10,\n"
    for path in (APPLY, "/admin/v1/routes/diff"):
        answer = await desk.post(path, content=wrong, headers=CSV)
        assert_problem(answer, 422, "invalid-table")
        told = [error["field"] for error in answer.json()["errors"]]
        assert told == ["line 2.cost", "line 3.dealer", "line 4"]
    assert (await export(desk)).content == exported.content


async def test_a_sheet_may_come_as_json(shop: Shop, desk: httpx.AsyncClient):
    item = {"sku": "TSEL10", "dealer": "alfa", "dealer_sku": "s10", "cost": 9900, "enabled": True}
    answer = await desk.post(APPLY, json=[item], params={"dealer": "alfa"})
    assert (answer.status_code, answer.json()["changed"]) == (200, 1)
    wrong = await desk.post(APPLY, json=[item, item], params={"dealer": "alfa"})
    assert_problem(wrong, 422, "invalid-table")
    assert wrong.json()["errors"][0]["field"] == "line 2"


async def test_a_large_rise_needs_a_yes_over_http(shop: Shop, desk: httpx.AsyncClient):
    dear = (await export(desk)).content.replace(b"10200", b"20200")
    assert_problem(await put(desk, dear), 409, "large-rise")
    assert (await put(desk, dear, yes=True)).json()["large_rises"] == 1


async def test_a_sheet_put_off_is_listed_and_cancelled(shop: Shop, desk: httpx.AsyncClient):
    exported = await export(desk)
    cheaper = exported.content.replace(b"10200", b"9900")
    at = (datetime.now(UTC) + timedelta(days=2)).replace(microsecond=0)
    answer = await put(desk, cheaper, at=at.isoformat())
    assert (answer.status_code, answer.json()["state"]) == (202, "waiting")
    (waiting,) = (await desk.get("/admin/v1/routes/scheduled")).json()["scheduled"]
    assert datetime.fromisoformat(waiting["at"]) == at
    place = f"/admin/v1/routes/scheduled/{waiting['id']}/cancel"
    assert (await desk.post(place, json={"reason": "not so"})).json()["state"] == "cancelled"
    assert_problem(await desk.post(place, json={}), 409, "already-over")
    assert_problem(await put(desk, cheaper, at="2020-01-01T00:00:00Z"), 422, "invalid-request")
    assert (await export(desk)).content == exported.content


async def test_what_was_in_force_is_listed_read_and_gone_back_to(
    shop: Shop, desk: httpx.AsyncClient
):
    before = (await export(desk)).content
    await put(desk, before.replace(b"10200", b"9900"), reason="beta's new list")
    versions = (await desk.get("/admin/v1/routes/versions")).json()["versions"]
    assert [(each["version"], each["act"]) for each in versions] == [(2, "applied"), (1, "found")]
    assert (await desk.get("/admin/v1/routes/versions/1")).content == before
    assert_problem(await desk.get("/admin/v1/routes/versions/9"), 404, "not-found")
    back = await desk.post("/admin/v1/routes/rollback", json={"to": 1, "reason": "a slip"})
    assert (back.json()["to"], back.json()["version"]) == (1, 3)
    assert (await export(desk)).content == before
    assert_problem(
        await desk.post("/admin/v1/routes/rollback", json={"to": 0}), 422, "invalid-request"
    )


async def test_a_dealer_that_cannot_be_asked_for_its_prices_is_told(
    shop: Shop, desk: httpx.AsyncClient
):
    answer = await desk.post("/admin/v1/dealers/alfa/pull-prices", json={})
    assert_problem(answer, 503, "dealer-unreachable")
    answer = await desk.post("/admin/v1/dealers/nobody/pull-prices", json={})
    assert_problem(answer, 404, "not-found")


async def test_a_second_sheet_at_a_time_is_refused(shop: Shop, desk: httpx.AsyncClient):
    content = (await export(desk)).content
    answers = await asyncio.gather(put(desk, content), put(desk, content))
    assert sorted(answer.status_code for answer in answers) == [200, 409]
    async with shop.api.pool.acquire() as elsewhere:
        await elsewhere.execute("select pg_advisory_lock($1)", 0x6A616C7572)
        assert_problem(await put(desk, content), 409, "table-busy")
        await elsewhere.execute("select pg_advisory_unlock_all()")
    assert (await put(desk, content)).status_code == 200


async def begin_to_empty_the_table(dsn: str, length: int) -> "asyncio.subprocess.Process":
    """Hand a sheet without rows to a child, as a serving process does; the pipe stays open."""
    by = {"name": "ada", "origin": "here", "scopes": ["routes"]}
    errand = {"verb": "apply", "now": "2026-11-22T05:00:00Z", "by": by, "form": "csv"}
    means = {"dsn": dsn, "role": "jalur_service", "secret_keys": [], "length": length}
    job = {**means, "errand": {**errand, "wanted": {"allow_empty": True}}}
    child = await asyncio.create_subprocess_exec(
        *[sys.executable, "-m", "app.administration.desk_job"],
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert child.stdin is not None
    child.stdin.write(json.dumps(job).encode() + b"\n" + EMPTY_SHEET)
    return child


async def test_a_sheet_that_does_not_come_whole_is_not_applied(shop: Shop, database_dsn: str):
    """As when the serving process dies while it hands the sheet over."""
    child = await begin_to_empty_the_table(database_dsn, length=4096)
    told, _ = await child.communicate(b"")  # which closes the pipe
    assert "did not come whole" in json.loads(told)["detail"]
    assert await shop.owner.fetchval("select count(*) from routes") == 2


async def test_a_sheet_whose_giver_died_is_not_applied_afterwards(shop: Shop, database_dsn: str):
    async with shop.owner.transaction():
        await shop.owner.execute("select from routing_policy for update")
        child = await begin_to_empty_the_table(database_dsn, length=len(EMPTY_SHEET))

        async def waits_to_write() -> object:
            return await shop.owner.fetchval(
                "select exists (select from pg_locks where not granted)"
            )

        await until(waits_to_write)
        told, _ = await child.communicate(b"")  # which closes the pipe
    assert told == b""
    assert await shop.owner.fetchval("select count(*) from routes") == 2


async def test_a_sheet_whose_giver_lives_is_applied(shop: Shop, database_dsn: str):
    child = await begin_to_empty_the_table(database_dsn, length=len(EMPTY_SHEET))
    assert child.stdout is not None
    told = json.loads(await child.stdout.readline())
    assert told["done"]["removed"] == 2
    assert await child.wait() == 0


# ------------------------------------------------------------------ the policy


async def test_the_policy_is_read_and_replaced(shop: Shop, desk: httpx.AsyncClient):
    place = "/admin/v1/routes/policy"
    read = await desk.get(place)
    assert read.json()["stated"] == {}
    body = {"policy": {"premium_basis_points": 0, "quality": {"minimum_sample": 9}}, "reason": "x"}
    answer = await desk.put(place, json=body, headers={"if-match": read.headers["etag"]})
    assert answer.json()["changes"]["premium_basis_points"] == {"before": 200, "after": 0}
    await shop.api.router.refresh(shop.api.pool)
    policy = shop.api.router.trade.snapshot.policy
    assert (policy.premium_basis_points, policy.quality.minimum_sample) == (0, 9)
    late = await desk.put(place, json=body, headers={"if-match": read.headers["etag"]})
    assert_problem(late, 412, "table-changed")
    wrong = await desk.put(place, json={"policy": {"window_days": "7", "premium": 1}})
    assert_problem(wrong, 422, "invalid-request")
    assert [each["field"] for each in wrong.json()["errors"]] == ["window_days", "premium"]
    assert_problem(await desk.put(place, json={"policy": []}), 422, "invalid-request")
