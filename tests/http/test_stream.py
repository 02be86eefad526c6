"""The stream of events: each once and in order, over lost connections, revocations and stops."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator

import pytest

from app.http import event_feed
from app.http.event_feed import FeedLimits
from app.http.server import ApiLimits
from app.storage import api_keys
from dealers.contract import Outcome
from tests.http.serving import HOST, Served, Stream, Told, open_stream, serving
from tests.http.shop import Customer, Shop, open_shop
from tests.shops import until


@pytest.fixture
async def served(shop: Shop) -> AsyncIterator[Served]:
    async with serving(shop.api) as running:
        yield running


def shop_limits(feed: FeedLimits) -> ApiLimits:
    return ApiLimits(feed=feed)


def token(customer: Customer) -> str:
    return customer.http.headers["authorization"]


async def succeed(shop: Shop, customer: Customer, *refs: str) -> None:
    for ref_id in refs:
        placed = (await customer.order(ref_id)).json()
        await (await shop.send_to_dealer(placed)).hear(Outcome.SUCCEEDED)


def references(told: list[Told]) -> list[str]:
    return [each.data["data"]["ref_id"] for each in told]


async def test_stream_tells_what_is_committed_as_webhooks_do(
    shop: Shop, customer: Customer, served: Served
) -> None:
    await succeed(shop, customer, "before")
    stream = await open_stream(served, token(customer))
    assert (stream.status, stream.headers["content-type"]) == (200, "text/event-stream")
    await stream.block()
    await succeed(shop, customer, "r-1", "r-2")
    told = await stream.all(2)
    listed = (await customer.http.get("/v1/events")).json()["data"]
    assert [each.data for each in told] == listed[1:]
    assert {each.type for each in told} == {"order.succeeded"}
    stream.close()


async def test_stream_goes_on_behind_the_last_event_id_or_the_cursor(
    shop: Shop, customer: Customer, served: Served
) -> None:
    await succeed(shop, customer, "r-1", "r-2", "r-3")
    first = (await customer.http.get("/v1/events?limit=1")).json()["next_cursor"]
    by_cursor = await open_stream(served, token(customer), f"?cursor={first}")
    told = await by_cursor.all(2)
    assert references(told) == ["r-2", "r-3"]
    assert told[0].id is not None
    query = f"?cursor={first}"
    by_header = await open_stream(served, token(customer), query, last_event_id=told[0].id)
    assert references(await by_header.all(1)) == ["r-3"]
    await succeed(shop, customer, "r-4")
    for stream in (by_cursor, by_header):
        assert references(await stream.all(1)) == ["r-4"]
        stream.close()


async def test_first_sign_of_life_names_where_a_stream_began(
    shop: Shop, customer: Customer, served: Served
) -> None:
    await succeed(shop, customer, "before")
    stream = await open_stream(served, token(customer))
    begun = await stream.block()
    assert begun is not None
    assert begun.id is not None
    stream.close()
    await succeed(shop, customer, "while-away")
    again = await open_stream(served, token(customer), last_event_id=begun.id)
    assert references(await again.all(1)) == ["while-away"]
    again.close()


async def test_types_are_filtered_and_the_cursor_still_moves_on(
    shop: Shop, customer: Customer, served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_feed, "_SILENCE_SECONDS", 0.0)
    monkeypatch.setattr(event_feed, "_ROUND_SECONDS", 0.05)
    stream = await open_stream(served, token(customer), "?type=order.failed&type=order.reversed")
    begun = await stream.block()
    assert begun is not None
    await succeed(shop, customer, "r-1")
    newest = (await customer.http.get("/v1/events")).json()["next_cursor"]
    assert newest != begun.id
    async with asyncio.timeout(10):
        while (alive := await stream.block()) is not None and alive.id != newest:
            assert alive.type is None
    placed = (await customer.order("r-2")).json()
    await customer.http.post(f"/v1/orders/{placed['id']}/cancel")
    assert references(await stream.all(1)) == ["r-2"]
    stream.close()


async def test_resellers_hear_their_own_events_only(
    shop: Shop, customer: Customer, served: Served
) -> None:
    other = await shop.customer()
    streams = [await open_stream(served, token(each)) for each in (customer, other)]
    for stream in streams:
        await stream.block()
    await succeed(shop, customer, "mine")
    await succeed(shop, other, "theirs")
    assert references(await streams[0].all(1)) == ["mine"]
    assert references(await streams[1].all(1)) == ["theirs"]
    for stream in streams:
        stream.close()


async def test_no_event_is_skipped_or_told_twice_while_streams_come_and_go(
    shop: Shop, customer: Customer, served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Small pages and buffers, so that streams fall behind and catch up all the time."""
    monkeypatch.setattr(event_feed, "_PAGE", 2)
    monkeypatch.setattr(event_feed, "_EVENTS_AT_ONCE", 3)
    monkeypatch.setattr(event_feed, "_MOST_WAITING_BYTES", 1)
    await succeed(shop, customer, "r-0")
    count = 40

    async def listen(number: int) -> list[str]:
        heard: list[str] = []
        last = ""
        stream = await open_stream(served, token(customer), "?cursor=ZXZlbnRzOgAAAAAAAAAA")
        while len(heard) < count:
            told = await stream.next()
            assert told is not None
            heard += references([told])
            last = told.id or last
            if number and len(heard) % (3 + number) == 0:
                stream.close()
                stream = await open_stream(served, token(customer), last_event_id=last)
        stream.close()
        return heard

    listening = [asyncio.ensure_future(listen(number)) for number in range(5)]
    refs = [f"r-{number}" for number in range(1, count)]
    await succeed(shop, customer, *refs)
    events = (await customer.http.get("/v1/events?limit=100")).json()["data"]
    expected = [event["data"]["ref_id"] for event in events]
    assert len(expected) == count
    for heard in await asyncio.gather(*listening):
        assert heard == expected


async def test_a_revoked_key_s_stream_ends(shop: Shop, customer: Customer, served: Served) -> None:
    stream = await open_stream(served, token(customer))
    await stream.block()
    await api_keys.revoke(shop.owner, customer.key_id)
    assert await stream.next() is None


async def test_streams_end_at_once_when_the_process_stops(
    shop: Shop, customer: Customer, served: Served
) -> None:
    streams = [await open_stream(served, token(customer)) for _ in range(3)]
    for stream in streams:
        await stream.block()
    served.stop()
    for stream in streams:
        assert await stream.next(seconds=3) is None
    await until(lambda: _none_left(served))


async def test_a_process_that_stops_begins_no_stream(customer: Customer, served: Served) -> None:
    served.api.draining.set()
    refused = await open_stream(served, token(customer))
    assert (refused.status, refused.headers["retry-after"]) == (503, "5")


async def _none_left(served: Served) -> bool:
    return not served.server.server_state.connections


def _deaf(served: Served, customer: Customer) -> socket.socket:
    """A client that asks for everything and then takes nothing."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.connect((HOST, served.port))
    head = f"GET /v1/events/stream HTTP/1.1\r\nHost: x\r\nAuthorization: {token(customer)}\r\n\r\n"
    client.sendall(head.encode())
    return client


async def _fill(customer: Customer, shop: Shop, rows: int = 3000) -> None:
    """Write many large events, as settling would, and hint at them."""
    await shop.owner.execute(
        """
        with told as (
            update wallets set event_seq = event_seq + $2 where reseller_id = $1
            returning lane, reseller_id, event_seq - $2 as before
        )
        insert into events (lane, reseller_id, event_seq, event_id, type, payload, created_at)
        select lane, reseller_id, before + n, gen_random_uuid(), 'order.succeeded',
               '{"type":"order.succeeded","data":"' || repeat('x', 4000) || '"}', now()
        from told, generate_series(1, $2) n
        """,
        customer.reseller_id,
        rows,
    )


async def test_a_client_that_takes_nothing_is_cut_off_and_the_others_are_told(
    shop: Shop, customer: Customer, served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_feed, "_STUCK_SECONDS", 0.5)
    monkeypatch.setattr(event_feed, "_ROUND_SECONDS", 0.1)
    deaf = _deaf(served, customer)
    stream = await open_stream(served, token(customer))
    await stream.block()
    await _fill(customer, shop)

    async def is_cut() -> bool:
        return 'ends_total{reason="slow"} 1.0' in shop.api.metrics.exposition().decode()

    told = [await stream.next() for _ in range(3000)]
    assert len({each.id for each in told if each}) == 3000
    await until(is_cut)
    stream.close()
    deaf.close()


async def test_a_client_that_takes_nothing_does_not_hold_up_a_stop(
    shop: Shop, customer: Customer, served: Served
) -> None:
    deaf = _deaf(served, customer)
    await until(lambda: _one_streams(shop))
    await _fill(customer, shop)
    await asyncio.sleep(1)
    started = time.monotonic()
    served.stop()
    await until(lambda: _none_left(served))
    # Not a speed: without the cut, it would be the grace of 20 seconds.
    assert time.monotonic() - started < 10
    deaf.close()


async def _one_streams(shop: Shop) -> bool:
    return "jalur_event_streams 1.0" in shop.api.metrics.exposition().decode()


@pytest.mark.parametrize(
    ("query", "status", "code"),
    [
        ("?type=order.unheard", 422, "invalid-request"),
        ("?cursor=abc", 400, "invalid-cursor"),
        ("?cursor=" + "a" * 3000, 400, "invalid-cursor"),
        ("?" + "&".join(["type=order.failed"] * 100), 422, "invalid-request"),
    ],
)
async def test_what_cannot_be_streamed_is_refused(
    customer: Customer, served: Served, query: str, status: int, code: str
) -> None:
    stream = await open_stream(served, token(customer), query)
    assert stream.status == status
    assert code.encode() in await stream.reader.read(2000)
    stream.close()


async def test_a_stream_needs_a_key(served: Served) -> None:
    stream = await open_stream(served, "Bearer jalur_live_none")
    assert stream.status == 401
    stream.close()


async def _opened(served: Served, customer: Customer) -> Stream:
    return await open_stream(served, token(customer))


async def test_streams_are_bounded_by_key_and_by_process(pool, database_dsn: str) -> None:
    limits = shop_limits(FeedLimits(streams=3, streams_a_key=2))
    async with open_shop(pool, database_dsn, limits) as shop, serving(shop.api) as served:
        one, other = await shop.customer(), await shop.customer()
        held = [await _opened(served, each) for each in (one, one, other)]
        refused = await _opened(served, one), await _opened(served, other)
        assert [each.status for each in (*held, *refused)] == [200, 200, 200, 429, 503]
        assert all(each.headers["retry-after"] for each in refused)
        held[0].close()

        async def has_room() -> bool:
            return (await _opened(served, one)).status == 200

        await until(has_room)
