"""Webhook endpoints: safe addresses only, the secret shown once."""

import asyncio
from typing import get_args

import httpx

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
    sent = await shop.send_to_dealer((await customer.order()).json())
    await sent.hear(Outcome.SUCCEEDED)
    assert (await customer.http.delete(location)).status_code == 204
    assert_problem(await customer.http.delete(location), 404, "not-found")
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
