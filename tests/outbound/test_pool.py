"""Connections over real sockets: which are kept, which are never used again, and how all end."""

import asyncio
import gc
import os
import socket
import ssl
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.outbound import client as client_module
from app.outbound.client import FailureKind, OutboundClient, Pin, TransportFailure
from dealers.contract import Answer, Request
from tests.outbound.certificates import HOST, write_certificates
from tests.outbound.peers import Conversation, answer_forever, hang, listening

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@pytest.fixture
async def client() -> AsyncIterator[OutboundClient]:
    client = OutboundClient(max_in_flight=4, connect_timeout_seconds=0.5)
    yield client
    await client.close()


async def call(
    client: OutboundClient, url: str, *, timeout_seconds: float = 5.0, body: bytes = b"buy"
) -> Answer:
    request = Request("POST", url, {}, body)
    return await client.call(request, timeout_seconds=timeout_seconds, max_answer_bytes=1000)


async def failure_of(client: OutboundClient, url: str, **how: float) -> TransportFailure:
    with pytest.raises(TransportFailure) as caught:
        await call(client, url, **how)
    return caught.value


def open_sockets() -> int:
    folder = "/proc/self/fd"
    links = []
    for number in os.listdir(folder):
        try:
            links.append(os.readlink(f"{folder}/{number}"))
        except OSError:
            continue
    return sum(link.startswith("socket:") for link in links)


async def sockets_soon(wanted: int) -> int:
    """How many sockets are open, once there are no more than wanted or two seconds have passed."""
    for _ in range(200):
        if open_sockets() <= wanted:
            break
        await asyncio.sleep(0.01)
    return open_sockets()


# Kept, or not


async def test_calls_in_turn_share_a_connection_and_calls_at_once_do_not(client: OutboundClient):
    everyone = asyncio.Barrier(3)

    async def answer_together(conversation: Conversation) -> None:
        while True:
            await conversation.read_request()
            await everyone.wait()
            await conversation.answer(b"%d" % conversation.number)

    async with listening(answer_together) as peer:
        for _ in range(3):
            answers = await asyncio.gather(*(call(client, peer.url) for _ in range(3)))
            assert sorted(answer.body for answer in answers) == [b"1", b"2", b"3"]
    assert peer.connections == 3


async def test_the_connection_used_last_is_used_next(client: OutboundClient):
    async def tell_number(conversation: Conversation) -> None:
        while True:
            await conversation.read_request()
            await asyncio.sleep(0.02 * conversation.number)
            await conversation.answer(b"%d" % conversation.number)

    async with listening(tell_number) as peer:
        await asyncio.gather(*(call(client, peer.url) for _ in range(3)))
        assert (await call(client, peer.url)).body == b"3"


async def test_a_connection_that_the_peer_closed_unnoticed_is_not_written_to(
    client: OutboundClient,
):
    """The end is there, but the loop had no turn to see it: the socket itself is asked."""
    with socket.create_server(("127.0.0.1", 0)) as server, ThreadPoolExecutor() as threads:
        url = f"http://127.0.0.1:{server.getsockname()[1]}/"
        for _ in range(3):
            serving = threads.submit(_serve_one, server)
            assert (await call(client, url)).status == 200
            # No turn of the loop lies between this end and the next call's beginning.
            serving.result().close()


def _serve_one(server: socket.socket) -> socket.socket:
    server.settimeout(5)
    accepted, _ = server.accept()
    assert accepted.recv(65536).endswith(b"buy")
    accepted.sendall(OK)
    return accepted


@pytest.mark.parametrize("more", [b"x", b"\r\n", OK, b"HTTP/1.1 408 Late\r\n\r\n"])
async def test_bytes_on_an_idle_connection_close_it(client: OutboundClient, more: bytes):
    async def say_more_later(conversation: Conversation) -> None:
        await conversation.read_request()
        await conversation.answer(b"%d" % conversation.number)
        if conversation.number == 1:
            await asyncio.sleep(0.02)
            await conversation.send(more)
        await hang(conversation)

    async with listening(say_more_later) as peer:
        assert (await call(client, peer.url)).body == b"1"
        await asyncio.sleep(0.05)
        assert (await call(client, peer.url)).body == b"2"
    assert peer.connections == 2


@pytest.mark.parametrize("more", [b"HTTP", OK, b"garbage"])
async def test_bytes_behind_an_answer_never_answer_the_next_call(
    client: OutboundClient, more: bytes
):
    async def say_more(conversation: Conversation) -> None:
        await conversation.read_request()
        body = b"%d" % conversation.number
        await conversation.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n" + body + more)
        await hang(conversation)

    async with listening(say_more) as peer:
        assert (await call(client, peer.url)).body == b"1"
        assert (await call(client, peer.url)).body == b"2"
    assert peer.connections == 2


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2000\r\n\r\n" + b"x" * 2000,
    ],
)
async def test_a_connection_that_is_not_to_be_kept_is_closed_by_us(
    client: OutboundClient, head: bytes
):
    ended = asyncio.Event()

    async def answer_and_wait(conversation: Conversation) -> None:
        await conversation.read_request()
        await conversation.send(head)
        await hang(conversation)
        ended.set()

    async with listening(answer_and_wait) as peer:
        await call(client, peer.url)
        assert await asyncio.wait_for(ended.wait(), 1)


async def test_an_answer_before_the_request_has_left_is_an_answer(client: OutboundClient):
    async def refuse_unread(conversation: Conversation) -> None:
        await conversation.reader.readexactly(10)
        await conversation.send(b"HTTP/1.1 413 No\r\nContent-Length: 2\r\n\r\nno")
        await asyncio.sleep(0.2)

    async with listening(refuse_unread) as peer:
        for _ in range(2):
            assert (await call(client, peer.url, body=b"x" * 8_000_000)).status == 413
    assert peer.connections == 2


async def test_idle_connections_are_closed_after_a_while(
    client: OutboundClient, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(client_module, "IDLE_SECONDS", 0.1)
    async with listening(answer_forever) as peer:
        before = open_sockets()
        await asyncio.gather(*(call(client, peer.url) for _ in range(3)))
        assert open_sockets() == before + 6
        assert await sockets_soon(before) <= before
        assert (await call(client, peer.url)).status == 200


async def test_no_more_connections_are_open_than_calls_may_be_in_flight(client: OutboundClient):
    before = open_sockets()
    async with listening(answer_forever) as one, listening(answer_forever) as other:
        for peer in (one, other, one, other):
            await asyncio.gather(*(call(client, peer.url) for _ in range(4)))
            assert await sockets_soon(before + 2 + 2 * 4) <= before + 2 + 2 * 4


# Cut off, by either side


async def test_a_call_cancelled_as_its_connection_is_cut_leaves_no_failure_unfetched(
    client: OutboundClient,
):
    async def read_then_cut(conversation: Conversation) -> None:
        await conversation.read_request()
        if conversation.number % 2:
            conversation.reset()
        await asyncio.sleep(0)
        running.cancel()

    async with listening(read_then_cut) as peer:
        for _ in range(6):
            running = asyncio.ensure_future(call(client, peer.url))
            (ended,) = await asyncio.gather(running, return_exceptions=True)
            assert isinstance(ended, asyncio.CancelledError | TransportFailure)
    gc.collect()  # what was not fetched is reported now, and fails the test


async def begin_then_hang(conversation: Conversation) -> None:
    await conversation.read_request()
    await conversation.send(b"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\nhalf")
    await hang(conversation)


async def test_a_cancelled_call_closes_its_connection(client: OutboundClient):
    async with listening(begin_then_hang) as peer:
        before = open_sockets()
        running = asyncio.ensure_future(call(client, peer.url))
        await peer.called.wait()
        await asyncio.sleep(0.02)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert await sockets_soon(before) <= before
        await asyncio.gather(*peer.tasks)
    assert peer.connections == 1


async def test_a_call_cancelled_while_connecting_leaves_nothing_open(tmp_path: Path):
    before = open_sockets()
    client = OutboundClient(max_in_flight=1)
    async with listening(hang) as plain:
        for scheme, turns in [("http", turns) for turns in range(6)] + [("https", 20)]:
            url = plain.url.replace("http:", f"{scheme}:")
            running = asyncio.ensure_future(call(client, url))
            for _ in range(turns):
                await asyncio.sleep(0)
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
    await client.close()
    gc.collect()
    assert await sockets_soon(before) <= before


async def test_a_body_that_dribbles_forever_ends_at_the_total_time_out(client: OutboundClient):
    async def dribble(conversation: Conversation) -> None:
        await conversation.read_request()
        await conversation.send(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            await conversation.send(b"x")
            await asyncio.sleep(0.02)

    async with listening(dribble) as peer:
        before = open_sockets()
        failure = await failure_of(client, peer.url, timeout_seconds=0.2)
        assert await sockets_soon(before) <= before
    assert failure.kind is FailureKind.TIMED_OUT
    assert not failure.nothing_sent


async def test_a_connection_made_in_a_closed_client_is_not_written_to(client: OutboundClient):
    async with listening(answer_forever) as peer:
        running = asyncio.ensure_future(failure_of(client, peer.url))
        await asyncio.sleep(0)
        await client.close()
        failure = await running
        after = await failure_of(client, peer.url)
        await asyncio.sleep(0.02)
    assert failure.nothing_sent
    assert after.nothing_sent
    assert peer.requests == []


async def test_a_host_beside_the_pinned_one_is_not_called():
    client = OutboundClient(max_in_flight=1, pin=Pin("hooks.test", "127.0.0.1"))
    async with listening(answer_forever) as peer:
        failure = await failure_of(client, peer.url)
    await client.close()
    assert failure.kind is FailureKind.UNSENDABLE
    assert peer.connections == 0


# TLS


@pytest.mark.parametrize("farewell", [True, False])
async def test_under_tls_only_a_farewell_ends_a_body_without_a_length(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, farewell: bool
):
    roots, tls = write_certificates(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(roots))
    client = OutboundClient(max_in_flight=1, pin=Pin(HOST, "127.0.0.1"))
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"https://{HOST}:{server.getsockname()[1]}/"
        serving = asyncio.ensure_future(asyncio.to_thread(_serve_tls, server, tls, farewell))
        if farewell:
            assert (await call(client, url)).body == b"sukses"
        else:
            assert (await failure_of(client, url)).kind is FailureKind.CUT
        await serving
    await client.close()


def _serve_tls(server: socket.socket, tls: ssl.SSLContext, farewell: bool) -> None:
    server.settimeout(5)
    accepted, _ = server.accept()
    with tls.wrap_socket(accepted, server_side=True) as wrapped:
        wrapped.recv(65536)
        wrapped.sendall(b"HTTP/1.1 200 OK\r\n\r\nsukses")
        if farewell:
            wrapped.unwrap().close()


async def test_a_certificate_for_another_name_proves_that_nothing_was_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    roots, tls = write_certificates(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(roots))
    client = OutboundClient(max_in_flight=1, pin=Pin("other.test", "127.0.0.1"))
    async with listening(answer_forever, tls) as peer:
        failure = await failure_of(client, f"https://other.test:{peer.port}/")
    await client.close()
    assert failure.kind is FailureKind.NOT_CONNECTED
    assert failure.nothing_sent
    assert peer.requests == []


async def test_calls_over_tls_share_a_connection_in_turn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    roots, tls = write_certificates(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(roots))
    client = OutboundClient(max_in_flight=1, pin=Pin(HOST, "127.0.0.1"))
    async with listening(answer_forever, tls) as peer:
        for _ in range(3):
            await call(client, f"https://{HOST}:{peer.port}/", body=b"x" * 100_000)
    await client.close()
    assert peer.connections == 1


# Anything


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.sampled_from([OK, OK[:17], b"\r\n"]) | st.binary(max_size=60), max_size=5))
async def test_any_bytes_from_a_peer_end_in_an_answer_or_a_failure(pieces: list[bytes]):
    async def say(conversation: Conversation) -> None:
        await conversation.read_request()
        for piece in pieces:
            await conversation.send(piece)
            await asyncio.sleep(0)

    client = OutboundClient(max_in_flight=1)
    async with listening(say) as peer, asyncio.timeout(5):
        outcome = await asyncio.gather(call(client, peer.url), return_exceptions=True)
    await client.close()
    match outcome[0]:
        case Answer(body=body):
            assert len(body) <= 1000
        case TransportFailure(kind=kind, nothing_sent=nothing_sent):
            assert kind in {FailureKind.CUT, FailureKind.UNREADABLE}
            assert not nothing_sent
        case surprise:
            pytest.fail(repr(surprise))
