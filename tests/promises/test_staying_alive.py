"""One bad row, one bad table, one bad endpoint: nobody else may notice."""

import asyncio

import pytest
from uuid_utils.compat import uuid7

from app.lifecycle.deliver import Persistence, secret_context
from app.signatures import new_secret
from app.storage import endpoints
from app.storage.endpoints import NewEndpoint
from dealers.contract import Callback
from tests.shops import RESELLER, Owner, Shop, deliver_once


async def _answering(head: str) -> tuple[asyncio.Server, str]:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(head.encode() + b"content-length: 0\r\nconnection: close\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    return server, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"


async def _endpoint(shop: Shop, url: str) -> NewEndpoint:
    endpoint_id = uuid7()
    sealed = shop.engine.sealer.seal(new_secret(), secret_context(endpoint_id))
    new = NewEndpoint(shop.lane, endpoint_id, RESELLER, url, None, sealed)
    async with shop.engine.pool.acquire() as connection:
        await endpoints.create(connection, new)
    return new


async def _try_once(shop: Shop) -> None:
    deliverer = shop.engine.deliverer
    for each in await deliverer.claim(10):
        await deliver_once(deliverer, each)


@pytest.mark.parametrize("retry_after", ["9" * 30, "9" * 5000])
async def test_retry_after_beyond_all_time_is_recorded(shop: Shop, retry_after: str) -> None:
    server, url = await _answering(f"HTTP/1.1 503 x\r\nretry-after: {retry_after}\r\n")
    await _endpoint(shop, url)
    await shop.succeed(await shop.bought())
    await _try_once(shop)
    server.close()
    assert await shop.value("select claim_id is null from deliveries")


async def test_retry_after_zero_is_not_tried_again_at_once_for_ever(shop: Shop) -> None:
    server, url = await _answering("HTTP/1.1 503 x\r\nretry-after: 0\r\n")
    await _endpoint(shop, url)
    await shop.succeed(await shop.bought())
    for _ in range(30):
        await _try_once(shop)
    server.close()
    row = (await shop.fetch("select tries, due_at > now() from deliveries"))[0]
    assert row[0] > 0 or row[1]


async def test_one_claim_takes_no_more_of_an_endpoint_than_its_places(shop: Shop) -> None:
    await _endpoint(shop, "http://127.0.0.1:9/")
    for number in range(40):
        await shop.order(f"A{number}")
    for purchase in await shop.claim(100):
        await shop.succeed(purchase)
    for purchase in await shop.claim(100):
        await shop.succeed(purchase)
    assert len(await shop.engine.deliverer.claim(256)) <= Persistence().endpoint_concurrency


async def test_policy_with_a_mistyped_name_leaves_the_process_alive(
    shop: Shop, owner: Owner
) -> None:
    running = asyncio.ensure_future(shop.engine.upkeep.run(inbox=True))
    await owner.execute("""update routing_policy set revision = revision + 1,
                           policy = '{"premium_basis_point": 100}'""")
    await asyncio.wait([running], timeout=1.6)
    alive = not running.done()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert alive


async def test_bad_table_does_not_hold_up_the_inbox(shop: Shop, owner: Owner) -> None:
    bought = await shop.bought()
    query = f"refid={bought.order.dealer_ref}&status=20&message=SUKSES"
    await shop.engine.receiver.receive("alfa", "sesame", Callback("GET", query, {}, b""), "x")
    await shop.execute("update callbacks set last_received_at = now() - interval '5 s'")
    await shop.execute("update attempts set claim_id = null")
    await owner.execute("""update routing_policy set revision = revision + 1,
                           policy = '{"declared_monopolies": [["tri"]]}'""")
    running = asyncio.ensure_future(shop.engine.upkeep.run(inbox=True))
    await asyncio.wait([running], timeout=1.6)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert await shop.value("select verdict from callbacks") == "check"


async def test_inbox_goes_on_behind_a_callback_whose_row_is_locked(
    shop: Shop, owner: Owner
) -> None:
    first, second = await shop.bought("A"), await shop.bought("B")
    for bought in (first, second):
        query = f"refid={bought.order.dealer_ref}&status=20&message=SUKSES"
        await shop.engine.receiver.receive("alfa", "sesame", Callback("GET", query, {}, b""), "x")
    await shop.execute("update callbacks set last_received_at = now() - interval '5 s'")
    await shop.execute(
        "update callbacks set last_received_at = now() - interval '9 s' where query like $1",
        f"%{first.order.dealer_ref}%",
    )
    await shop.execute("update attempts set claim_id = null")
    async with owner.transaction():
        await owner.execute("select from attempts where order_id = $1 for update", first.order_id)
        await asyncio.gather(shop.engine.receiver.sweep(), return_exceptions=True)
        verdict = await shop.value(
            "select verdict from callbacks where query like $1", f"%{second.order.dealer_ref}%"
        )
    assert verdict == "check"
