"""Callbacks in the shapes of doors: repeated as webhooks are, read by our own readers."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import orjson
import pytest
from uuid_utils.compat import uuid7

from app.lifecycle.deliver import secret_context
from app.shapes import callbacks
from app.shapes.telling import NoWords, State, Told
from app.storage import endpoints
from app.storage.endpoints import NewEndpoint
from dealers.contract import Account, Callback, CallbackReport, Fault, Outcome
from dealers.registry import load
from tests.lifecycle.test_deliver import deliver, due_now, headers_of, refusing, the_delivery
from tests.outbound.peers import Peer, answer_forever, listening
from tests.shops import RESELLER, Shop

SECRET = "5ecret-of-the-hook"
SHAPES = ("digiflazz", "otomax", "irs")
DIALECTS = load()
CREDENTIALS = {"username": "j1", "api_key": "k", "webhook_secret": SECRET}


@asynccontextmanager
async def receiver(
    shop: Shop, shape: str, behaviour: Any = answer_forever, path: str = ""
) -> AsyncIterator[Peer]:
    """A client's report address, registered for a door of this shape."""
    async with listening(behaviour) as peer:
        endpoint_id = uuid7()
        sealed = shop.engine.sealer.seal(SECRET, secret_context(endpoint_id))
        new = NewEndpoint(
            shop.lane,
            endpoint_id,
            RESELLER,
            (path and peer.url.rsplit("/", 1)[0] + path) or peer.url,
            None,
            sealed,
            shape=shape,
        )
        async with shop.engine.pool.acquire() as connection:
            await endpoints.create(connection, new)
        yield peer


def read(shape: str, raw: bytes) -> CallbackReport:
    """What a client of the protocol understands."""
    method, target, _ = raw.split(b"\r\n", 1)[0].decode().split(" ")
    body = raw.partition(b"\r\n\r\n")[2]
    callback = Callback(method, urlsplit(target).query, headers_of(raw), body)
    credentials = CREDENTIALS if shape == "digiflazz" else {}
    account = Account("jalur", "http://jalur", credentials)
    return DIALECTS[shape].read_callback(account, callback)


@pytest.mark.parametrize("shape", SHAPES)
async def test_a_success_is_called_back(shop: Shop, shape: str):
    async with receiver(shop, shape) as peer:
        await shop.succeed(await shop.bought("A0"))
        await deliver(shop)
        told = read(shape, peer.requests[0])
    assert (told.dealer_ref, told.report.outcome) == ("A0", Outcome.SUCCEEDED)
    assert told.verified == (shape == "digiflazz")
    assert b"SN1" in peer.requests[0]
    assert (await the_delivery(shop))["state"] == "delivered"


@pytest.mark.parametrize("shape", SHAPES)
async def test_a_failure_is_called_back(shop: Shop, shape: str):
    async with receiver(shop, shape) as peer:
        purchase = await shop.bought("A0")
        await shop.hear(purchase, Outcome.FAILED, fault=Fault.NUMBER)
        await deliver(shop)
        told = read(shape, peer.requests[0])
    assert (told.dealer_ref, told.report.outcome) == ("A0", Outcome.FAILED)


@pytest.mark.parametrize("shape", SHAPES)
async def test_a_reversal_is_called_back_behind_the_success(shop: Shop, shape: str):
    async with receiver(shop, shape) as peer:
        purchase = await shop.bought("A0")
        await shop.succeed(purchase)
        await shop.hear(purchase, Outcome.FAILED, fence=None, reversal=True)
        await deliver(shop)
        await due_now(shop)
        await deliver(shop)
        words = [read(shape, raw).report for raw in peer.requests]
    assert [word.outcome for word in words] == [Outcome.SUCCEEDED, Outcome.FAILED]
    assert b"efund" in peer.requests[1] or b"REFUND" in peer.requests[1]


@pytest.mark.parametrize("shape", SHAPES)
async def test_a_callback_is_repeated_until_it_is_heard(shop: Shop, shape: str):
    async with receiver(shop, shape, refusing(b"500 Oops")) as peer:
        await shop.succeed(await shop.bought("A0"))
        for _ in range(2):
            await due_now(shop)
            await deliver(shop)
        assert len(peer.requests) == 2
        assert peer.requests[0] == peer.requests[1]
    row = await the_delivery(shop)
    assert (row["state"], row["tries"]) == ("pending", 2)


async def test_a_report_keeps_the_query_of_its_address(shop: Shop):
    async with receiver(shop, "otomax", path="/lapor?modul=7&k=a%20b") as peer:
        await shop.succeed(await shop.bought("A0"))
        await deliver(shop)
    assert peer.requests[0].startswith(b"GET /lapor?modul=7&k=a%20b&t=")


async def test_a_digiflazz_webhook_has_its_headers_and_the_balance(shop: Shop):
    async with receiver(shop, "digiflazz") as peer:
        await shop.succeed(await shop.bought("A0"))
        await deliver(shop)
    headers = headers_of(peer.requests[0])
    assert headers["x-digiflazz-event"] == "update"
    assert headers["x-digiflazz-delivery"].startswith("evt_")
    data = orjson.loads(peer.requests[0].partition(b"\r\n\r\n")[2])["data"]
    spendable = await shop.value("select available + credit_limit from wallets")
    assert (data["rc"], data["status"], data["buyer_last_saldo"]) == ("00", "Sukses", spendable)
    assert int(data["trx_id"]) < 2**63


@pytest.mark.parametrize("shape", SHAPES)
def test_events_without_words_are_not_guessed_at(shape: str):
    payload = orjson.dumps({"type": "balance.low", "data": {}}).decode()
    with pytest.raises(NoWords):
        callbacks.shaped(shape, payload, "evt_1", SECRET, None)


def test_transactions_of_one_moment_have_numbers_of_their_own():
    numbers = {Told("R", "S", "0", State.PENDING, order_id=uuid7()).transaction for _ in range(100)}
    assert len(numbers) == 100
    assert all(number.isdecimal() and int(number) < 2**63 for number in numbers)
