"""An order's trace: kept with it, sent to dealers that want it and with its webhooks."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from uuid import UUID

import pytest
from standardwebhooks import Webhook
from uuid_utils.compat import uuid7

from app.lifecycle.deliver import secret_context
from app.signatures import new_secret
from app.storage import endpoints
from app.storage.endpoints import NewEndpoint
from app.workers.engine import Engine
from dealers.contract import Outcome
from tests.outbound.peers import Peer, answer_forever, listening
from tests.shops import (
    ALFA,
    BRAVO,
    RESELLER,
    Shop,
    deliver_once,
    engine_on,
    enrol,
    furnish,
    send,
    submission,
)

ID = bytes(range(16))
CALLERS = ID + b"\x01"
MADE_UP = ID
SECRET = new_secret(lambda count: b"s" * count)


@asynccontextmanager
async def shop_beside(dsn: str, dealer: Peer, options: str) -> AsyncIterator[Shop]:
    """A shop whose cheaper dealer listens."""
    await furnish(dsn, [replace(ALFA, base_url=dealer.url, options=options), BRAVO])
    async with engine_on(dsn) as engine:
        yield Shop(engine, await enrol(engine))


async def order(shop: Shop, trace: bytes | None) -> UUID:
    new = submission(lane=shop.lane)
    placed = replace(new, order=new.order._replace(trace=trace))
    return (await shop.engine.acceptor.accept(placed)).order_id


def header_of(raw: bytes) -> str | None:
    """The `traceparent` of a request, of which there is one at most."""
    lines = raw.partition(b"\r\n\r\n")[0].decode().lower().split("\r\n")
    found = [line.partition(": ")[2] for line in lines if line.startswith("traceparent:")]
    assert len(found) <= 1
    return found[0] if found else None


async def ask(engine: Engine, shop: Shop) -> None:
    await engine.reconciler.check(await shop.claim_check())


@pytest.mark.parametrize(
    ("options", "trace", "is_sent"),
    [
        ('{"traceparent": "yes"}', CALLERS, True),
        ('{"traceparent": "yes"}', MADE_UP, False),
        ('{"traceparent": "yes"}', None, False),
        ('{"traceparent": "no"}', CALLERS, False),
        ("{}", CALLERS, False),
    ],
)
async def test_dealer_that_wants_it_is_sent_the_callers_trace(
    database_dsn: str, options: str, trace: bytes | None, is_sent: bool
):
    async with (
        listening(answer_forever) as dealer,
        shop_beside(database_dsn, dealer, options) as shop,
    ):
        await order(shop, trace)
        await send(shop.engine, await shop.claim_one())
        await ask(shop.engine, shop)
        headers = [header_of(raw) for raw in dealer.requests]
    assert len(headers) == 2
    if not is_sent:
        assert headers == [None, None]
        return
    spans = [header.split("-") for header in headers if header]
    assert [(span[0], span[1], span[3]) for span in spans] == [("00", ID.hex(), "01")] * 2
    assert spans[0][2] != spans[1][2]


async def test_every_attempt_of_an_order_carries_its_trace(shop: Shop):
    await order(shop, CALLERS)
    first = await shop.claim_one()
    await shop.refuse(first)
    second = await shop.claim_one()
    assert (first.trace, second.attempt_no, second.trace) == (CALLERS, 2, CALLERS)
    await shop.hear(second, Outcome.UNKNOWN)
    assert (await shop.claim_check()).due.trace == CALLERS


@pytest.mark.parametrize(("trace", "is_sent"), [(CALLERS, True), (MADE_UP, False), (None, False)])
async def test_webhooks_of_an_order_carry_its_trace_beside_the_signature(
    shop: Shop, trace: bytes | None, is_sent: bool
):
    async with listening(answer_forever) as receiver:
        endpoint_id = uuid7()
        sealed = shop.engine.sealer.seal(SECRET, secret_context(endpoint_id))
        new = NewEndpoint(shop.lane, endpoint_id, RESELLER, receiver.url, None, sealed)
        async with shop.engine.pool.acquire() as connection:
            await endpoints.create(connection, new)
        await order(shop, trace)
        await shop.succeed(await shop.claim_one())
        (delivery,) = await shop.engine.deliverer.claim(10)
        await deliver_once(shop.engine.deliverer, delivery)
        (raw,) = receiver.requests
    header = header_of(raw)
    assert (header is not None) == is_sent
    assert header is None or header.split("-")[1] == ID.hex()
    head, _, body = raw.partition(b"\r\n\r\n")
    lines = head.decode().lower().split("\r\n")[1:]
    signed = dict(line.split(": ", 1) for line in lines)
    signed["webhook-signature"] = next(
        line.partition(": ")[2] for line in head.decode().split("\r\n") if "signature" in line
    )
    assert Webhook(SECRET).verify(body, signed)
