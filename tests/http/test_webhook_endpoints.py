"""Webhook endpoints: safe addresses only, the secret shown once."""

import asyncio
from typing import get_args

import httpx
import pytest

from app import words
from app.lifecycle.deliver import secret_context
from dealers.contract import Outcome
from schemas import events
from tests.http.problems import assert_problem
from tests.http.shop import Customer, Shop

PATH = "/v1/webhook-endpoints"
URL = "https://toko.example.co.id/hook"


async def test_the_secret_is_shown_once_and_kept_sealed(shop: Shop, customer: Customer) -> None:
    created = (await customer.http.post(PATH, json={"url": URL})).json()
    listed = (await customer.http.get(PATH)).json()["data"]
    secret = created.pop("secret")
    assert listed == [created]
    row = await shop.owner.fetchrow("select endpoint_id, secret_sealed from webhook_endpoints")
    assert row is not None
    assert secret.encode() not in row["secret_sealed"]
    assert shop.api.sealer.open(row["secret_sealed"], secret_context(row["endpoint_id"])) == secret


async def test_event_types_are_kept(customer: Customer) -> None:
    body = {"url": URL, "event_types": ["order.failed", "order.failed"]}
    assert (await customer.http.post(PATH, json=body)).json()["event_types"] == ["order.failed"]


def test_every_event_there_is_can_be_asked_for() -> None:
    assert set(get_args(events.EventType)) == {each.value for each in words.EventType}


async def test_sixteen_endpoints_are_enough_also_when_asked_for_at_once(
    customer: Customer,
) -> None:
    async def ask(number: int) -> httpx.Response:
        answer = await customer.http.post(PATH, json={"url": f"{URL}/{number}"})
        # They wait for one another, on a busy machine for too long: then one asks again.
        return answer if answer.status_code != 503 else await ask(number)

    answers = await asyncio.gather(*(ask(number) for number in range(20)))
    refused = [answer for answer in answers if answer.status_code != 201]
    assert len(refused) == 4
    assert_problem(refused[0], 409, "too-many-endpoints")
    assert len((await customer.http.get(PATH)).json()["data"]) == 16


async def test_a_deleted_endpoint_is_gone_and_its_events_stay(
    shop: Shop, customer: Customer
) -> None:
    location = (await customer.http.post(PATH, json={"url": URL})).headers["location"]
    seen = {"if-match": '"1"'}
    sent = await shop.send_to_dealer((await customer.order()).json())
    await sent.hear(Outcome.SUCCEEDED)
    assert (await customer.http.delete(location, headers=seen)).status_code == 204
    assert_problem(await customer.http.delete(location, headers=seen), 404, "not-found")
    assert (await customer.http.get(PATH)).json()["data"] == []
    assert await shop.owner.fetchval("select status from webhook_endpoints") == "deleted"
    assert len((await customer.http.get("/v1/events")).json()["data"]) == 1


async def test_an_endpoint_asked_for_while_its_reseller_is_locked_may_be_asked_for_again(
    shop: Shop, customer: Customer
) -> None:
    async with shop.owner.transaction():
        await shop.owner.execute("select from resellers for update")
        answer = await customer.http.post(PATH, json={"url": URL})
    assert_problem(answer, 503, "overloaded")
    assert (await customer.http.post(PATH, json={"url": URL})).status_code == 201


# ------------------------------------------------------------------ changing one


async def created(customer: Customer, **fields: object) -> httpx.Response:
    answer = await customer.http.post(PATH, json={"url": URL} | fields)
    assert answer.status_code == 201
    return answer


async def change(customer: Customer, location: str, tag: str, **fields: object) -> httpx.Response:
    return await customer.http.patch(location, json=fields, headers={"if-match": tag})


async def test_an_endpoint_is_read_and_changed_under_its_etag(customer: Customer) -> None:
    answer = await created(customer, description="kasir")
    location = answer.headers["location"]
    read = await customer.http.get(location)
    assert read.headers["etag"] == answer.headers["etag"] == '"1"'
    changed = await change(
        customer,
        location,
        '"1"',
        url=f"{URL}/2",
        event_types=["balance.low"],
        description="gudang",
        schedule_seconds=[0, 60, 600],
        rate_per_second=2.5,
    )
    assert changed.headers["etag"] == '"2"'
    assert (await customer.http.get(location)).json() == changed.json()
    assert (
        changed.json()
        | {
            "url": f"{URL}/2",
            "event_types": ["balance.low"],
            "description": "gudang",
            "schedule_seconds": [0, 60, 600],
            "rate_per_second": 2.5,
        }
        == changed.json()
    )
    cleared = await change(customer, location, '"2"', event_types=None, schedule_seconds=None)
    assert (cleared.json()["event_types"], cleared.json()["schedule_seconds"]) == (None, None)
    assert cleared.json()["rate_per_second"] == 2.5


async def test_a_change_names_the_version_that_it_is_made_for(customer: Customer) -> None:
    location = (await created(customer)).headers["location"]
    blind = await customer.http.patch(location, json={"description": "x"})
    assert_problem(blind, 428, "if-match-missing")
    assert_problem(await customer.http.delete(location), 428, "if-match-missing")
    assert (await change(customer, location, '"1"', description="x")).status_code == 200
    late = await change(customer, location, '"1"', description="y")
    assert_problem(late, 412, "changed-meanwhile")
    assert (await change(customer, location, '"7", *', description="z")).status_code == 200


async def test_what_changes_nothing_makes_no_version(customer: Customer) -> None:
    location = (await created(customer, description="x")).headers["location"]
    assert (await change(customer, location, '"1"', description="x")).headers["etag"] == '"1"'


@pytest.mark.parametrize(
    ("fields", "code", "field"),
    [
        ({"url": None}, "invalid-request", "url"),
        ({"status": None}, "invalid-request", "status"),
        ({"url": "https://127.0.0.1/"}, "invalid-url", "url"),
        ({"schedule_seconds": []}, "invalid-request", "schedule_seconds"),
        ({"schedule_seconds": [90000]}, "invalid-request", "schedule_seconds.0"),
        ({"schedule_seconds": [0] * 21}, "invalid-request", "schedule_seconds"),
        ({"rate_per_second": 0}, "invalid-request", "rate_per_second"),
        ({"secret": "whsec_x"}, "invalid-request", "secret"),
    ],
)
async def test_a_wrong_change_is_refused_by_name(
    customer: Customer, fields: dict[str, object], code: str, field: str
) -> None:
    location = (await created(customer)).headers["location"]
    answer = await change(customer, location, '"1"', **fields)
    assert_problem(answer, 422, code)
    assert answer.json()["errors"][0]["field"] == field


async def test_another_resellers_endpoint_is_not_there(shop: Shop, customer: Customer) -> None:
    location = (await created(customer)).headers["location"]
    stranger = (await shop.customer()).http
    seen = {"if-match": "*"}
    for answer in (
        await stranger.get(location),
        await stranger.patch(location, json={"description": "x"}, headers=seen),
        await stranger.delete(location, headers=seen),
        await stranger.post(f"{location}/enable"),
        await stranger.post(f"{location}/test"),
        await stranger.post(f"{location}/rotate-secret"),
    ):
        assert_problem(answer, 404, "not-found")


async def test_a_secret_rotates_with_an_overlap_and_not_twice_within_it(
    shop: Shop, customer: Customer
) -> None:
    first = (await created(customer)).json()
    location = f"{PATH}/{first['id']}"
    rotated = await customer.http.post(f"{location}/rotate-secret", json={"overlap_seconds": 60})
    second = rotated.json()
    assert rotated.headers["cache-control"] == "no-store"
    assert second["secret"] not in (first["secret"], None)
    assert second["old_secret_until"] is not None
    again = await customer.http.post(f"{location}/rotate-secret", json={})
    assert_problem(again, 409, "rotation-under-way")
    at_once = await customer.http.post(f"{location}/rotate-secret", json={"overlap_seconds": 0})
    assert at_once.json()["old_secret_until"] is None
    row = await shop.owner.fetchrow("select * from webhook_endpoints")
    assert row is not None
    context = secret_context(row["endpoint_id"])
    assert shop.api.sealer.open(row["secret_sealed"], context) == at_once.json()["secret"]
    assert row["old_secret_sealed"] is None


async def test_a_disabled_endpoint_is_not_tested_and_can_be_enabled(customer: Customer) -> None:
    location = (await created(customer)).headers["location"]
    disabled = (await change(customer, location, '"1"', status="disabled")).json()
    assert (disabled["status"], disabled["disabled_reason"]) == ("disabled", "reseller")
    assert_problem(await customer.http.post(f"{location}/test"), 409, "endpoint-disabled")
    enabled = (await customer.http.post(f"{location}/enable")).json()
    assert (enabled["status"], enabled["disabled_reason"]) == ("active", None)
    assert enabled["version"] == 3
