"""The outbound client against real sockets: what is proven unsent, and what is not."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from types import MappingProxyType

import pytest

from app.outbound.client import FailureKind, OutboundClient, Pin, TransportFailure
from dealers.contract import Answer, Request
from tests.outbound.certificates import HOST, write_certificates
from tests.outbound.peers import Conversation, answer_forever, hang, listening
from tests.ports import free_port


@pytest.fixture
async def client() -> AsyncIterator[OutboundClient]:
    client = OutboundClient(max_in_flight=8, connect_timeout_seconds=0.3)
    yield client
    await client.close()


@pytest.fixture
async def patient_client() -> AsyncIterator[OutboundClient]:
    """One that finds even a busy machine's listener in time."""
    client = OutboundClient(max_in_flight=8, connect_timeout_seconds=10)
    yield client
    await client.close()


async def buy(
    client: OutboundClient,
    url: str,
    *,
    body: bytes = b"buy",
    timeout_seconds: float = 5.0,
    max_answer_bytes: int = 1000,
) -> Answer:
    request = Request("POST", url, {"X-Ref": "A1"}, body)
    return await client.call(
        request, timeout_seconds=timeout_seconds, max_answer_bytes=max_answer_bytes
    )


async def failure_of(
    client: OutboundClient, url: str, body: bytes = b"buy", timeout_seconds: float = 5.0
) -> TransportFailure:
    with pytest.raises(TransportFailure) as caught:
        await buy(client, url, body=body, timeout_seconds=timeout_seconds)
    return caught.value


# Proven unsent


async def test_a_refused_port_proves_that_nothing_was_sent(client: OutboundClient):
    failure = await failure_of(client, f"http://127.0.0.1:{free_port()}/")
    assert failure.nothing_sent
    assert failure.kind is FailureKind.NOT_CONNECTED


async def test_a_name_that_does_not_resolve_proves_that_nothing_was_sent(client: OutboundClient):
    failure = await failure_of(client, "http://no-such-host.invalid/")
    assert failure.nothing_sent


async def test_a_listener_that_never_completes_the_handshake_proves_that_nothing_was_sent(
    client: OutboundClient,
):
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        fillers = [await _half_open(full.getsockname()) for _ in range(4)]
        failure = await failure_of(client, f"http://127.0.0.1:{full.getsockname()[1]}/")
        for filler in fillers:
            filler.close()
    assert failure.nothing_sent


async def _half_open(address: tuple[str, int]) -> socket.socket:
    filler = socket.socket()
    filler.setblocking(False)
    filler.connect_ex(address)
    return filler


async def test_a_failed_tls_handshake_proves_that_nothing_was_sent(client: OutboundClient):
    async with listening(hang) as plain:
        failure = await failure_of(client, plain.url.replace("http:", "https:"))
    assert failure.nothing_sent
    assert plain.requests == []


async def test_a_certificate_that_nobody_vouches_for_proves_that_nothing_was_sent(tmp_path: Path):
    _, tls = write_certificates(tmp_path)
    client = OutboundClient(max_in_flight=1, pin=Pin(HOST, "127.0.0.1"))
    async with listening(answer_forever, tls) as peer:
        failure = await failure_of(client, f"https://{HOST}:{peer.port}/")
    await client.close()
    assert failure.nothing_sent
    assert peer.requests == []


async def hang_once(conversation: Conversation) -> None:
    if conversation.number == 1:
        await silent(conversation)
    await answer_forever(conversation)


async def test_one_call_too_many_fails_at_once_and_unsent_instead_of_queueing():
    client = OutboundClient(max_in_flight=1)
    async with listening(hang_once) as peer:
        first = asyncio.ensure_future(buy(client, peer.url))
        await peer.called.wait()
        failure = await failure_of(client, peer.url)
        assert failure.kind is FailureKind.BUSY
        assert failure.nothing_sent
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        assert (await buy(client, peer.url)).status == 200
    await client.close()
    assert len(peer.requests) == 2


@pytest.mark.parametrize(
    "request_",
    [
        Request("POST", "ftp://127.0.0.1/?pin=1234"),
        Request("POST", "http://127.0.0.1:99999/?pin=1234"),
        Request("PO ST", "http://127.0.0.1/?pin=1234"),
        Request("POST", "http://127.0.0.1/", {"Authorization": "pin 1234\r\nX: y"}),
    ],
)
async def test_a_request_that_is_not_http_is_unsent_and_its_secrets_stay_unsaid(
    client: OutboundClient, request_: Request
):
    with pytest.raises(TransportFailure) as caught:
        await client.call(request_, timeout_seconds=1, max_answer_bytes=10)
    assert caught.value.kind is FailureKind.UNSENDABLE
    assert caught.value.nothing_sent
    assert "1234" not in str(caught.value)


# Not proven unsent


async def close_at_once(conversation: Conversation) -> None:
    conversation.writer.close()


async def reset_at_once(conversation: Conversation) -> None:
    conversation.reset()


async def read_then_close(conversation: Conversation) -> None:
    await conversation.read_request()


async def read_then_reset(conversation: Conversation) -> None:
    await conversation.read_request()
    conversation.reset()


async def read_half_then_reset(conversation: Conversation) -> None:
    await conversation.reader.readexactly(100_000)
    conversation.reset()


async def half_a_head(conversation: Conversation) -> None:
    await conversation.read_request()
    await conversation.send(b"HTTP/1.1 200 OK\r\nContent-Le")


async def half_a_body(conversation: Conversation) -> None:
    await conversation.read_request()
    await conversation.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nsuccess")


async def half_a_body_then_reset(conversation: Conversation) -> None:
    await half_a_body(conversation)
    await asyncio.sleep(0.05)
    conversation.reset()


async def half_a_chunked_body(conversation: Conversation) -> None:
    await conversation.read_request()
    await conversation.send(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n7\r\nsuccess\r\n"
    )


CUTS = [
    close_at_once,
    read_then_close,
    read_then_reset,
    read_half_then_reset,
    half_a_head,
    half_a_body,
    half_a_body_then_reset,
    half_a_chunked_body,
]


@pytest.mark.parametrize("behaviour", CUTS)
async def test_a_cut_connection_never_claims_that_nothing_was_sent(
    patient_client: OutboundClient, behaviour
):
    async with listening(behaviour) as peer:
        failure = await failure_of(patient_client, peer.url, body=b"x" * 4_000_000)
    assert not failure.nothing_sent
    assert failure.kind is FailureKind.CUT
    assert peer.connections == 1


async def test_a_reset_before_anything_was_read_is_a_failure_and_is_not_tried_again(
    client: OutboundClient,
):
    """Whether it hits the connecting or the sending is a race: either verdict is then true."""
    async with listening(reset_at_once) as peer:
        failure = await failure_of(client, peer.url)
    assert failure.kind in {FailureKind.NOT_CONNECTED, FailureKind.CUT}
    assert peer.connections == 1


async def answer_no_http(conversation: Conversation) -> None:
    await conversation.read_request()
    await conversation.send(b"OK 200 berhasil\r\n\r\n")


async def answer_endless_head(conversation: Conversation) -> None:
    await conversation.read_request()
    await conversation.send(b"HTTP/1.1 200 OK\r\nX: " + b"a" * 900_000)


@pytest.mark.parametrize("behaviour", [answer_no_http, answer_endless_head])
async def test_an_answer_that_is_not_http_leaves_the_outcome_open(
    client: OutboundClient, behaviour
):
    async with listening(behaviour) as peer:
        failure = await failure_of(client, peer.url)
    assert failure.kind is FailureKind.UNREADABLE
    assert not failure.nothing_sent


async def silent(conversation: Conversation) -> None:
    await conversation.read_request()
    await hang(conversation)


async def silent_in_the_body(conversation: Conversation) -> None:
    await half_a_body(conversation)
    await hang(conversation)


@pytest.mark.parametrize("behaviour", [silent, silent_in_the_body])
async def test_a_time_out_after_sending_leaves_the_outcome_open(client: OutboundClient, behaviour):
    async with listening(behaviour) as peer:
        failure = await failure_of(client, peer.url, timeout_seconds=0.2)
    assert failure.kind is FailureKind.TIMED_OUT
    assert not failure.nothing_sent
    assert len(peer.requests) == 1


async def test_a_total_time_out_while_connecting_is_not_taken_for_proof(client: OutboundClient):
    async with listening(hang) as plain:
        url = plain.url.replace("http:", "https:")
        failure = await failure_of(client, url, timeout_seconds=0.1)
    assert not failure.nothing_sent


async def test_a_server_that_refuses_us_after_the_tls_handshake_is_not_taken_for_proof(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    roots, tls = write_certificates(tmp_path)
    tls.verify_mode = ssl.CERT_REQUIRED
    monkeypatch.setenv("SSL_CERT_FILE", str(roots))
    client = OutboundClient(max_in_flight=1, pin=Pin(HOST, "127.0.0.1"))
    async with listening(answer_forever, tls) as peer:
        failure = await failure_of(client, f"https://{HOST}:{peer.port}/")
    await client.close()
    assert not failure.nothing_sent


async def test_closing_the_client_leaves_the_outcome_of_a_call_in_flight_open():
    client = OutboundClient(max_in_flight=1)
    async with listening(silent) as peer:
        call = asyncio.ensure_future(failure_of(client, peer.url))
        await peer.called.wait()
        await client.close()
        failure = await call
    assert not failure.nothing_sent


# Never twice


async def close_while_idle(conversation: Conversation) -> None:
    await conversation.read_request()
    await conversation.answer()


async def test_a_connection_closed_while_idle_costs_neither_a_call_nor_a_second_request(
    client: OutboundClient,
):
    async with listening(close_while_idle) as peer:
        for _ in range(5):
            await buy(client, peer.url)
            await asyncio.gather(*peer.tasks)
            await asyncio.sleep(0.05)
    assert len(peer.requests) == 5


async def read_second_then_reset(conversation: Conversation) -> None:
    await close_while_idle(conversation)
    await conversation.read_request()
    conversation.reset()


async def take_second_then_close(conversation: Conversation) -> None:
    await close_while_idle(conversation)
    await conversation.reader.readexactly(1)


@pytest.mark.parametrize("behaviour", [read_second_then_reset, take_second_then_close])
async def test_a_request_cut_on_a_reused_connection_is_never_sent_again(
    client: OutboundClient, behaviour
):
    async with listening(behaviour) as peer:
        await buy(client, peer.url)
        failure = await failure_of(client, peer.url)
    assert not failure.nothing_sent
    assert peer.connections == 1


async def test_a_server_closing_as_we_write_never_sees_a_request_twice(client: OutboundClient):
    async with listening(close_while_idle) as peer:
        outcomes = [await outcome_of(client, peer.url, b"order %03d" % n) for n in range(200)]
    arrived = [request[-9:] for request in peer.requests]
    assert len(arrived) == len(set(arrived))
    assert "answered" in outcomes
    assert "unsent" not in outcomes


async def outcome_of(client: OutboundClient, url: str, body: bytes) -> str:
    try:
        await buy(client, url, body=body)
    except TransportFailure as failure:
        return "unsent" if failure.nothing_sent else "unknown"
    return "answered"


# Answers


async def test_the_answer_comes_back_with_status_headers_and_body(client: OutboundClient):
    async def answer(conversation: Conversation) -> None:
        await conversation.read_request()
        await conversation.send(
            b"HTTP/1.1 503 Busy\r\nRetry-After: 7\r\nX-A: 1\r\nx-a: 2\r\n"
            b"Content-Length: 4\r\n\r\n\xff\x00ab"
        )

    async with listening(answer) as peer:
        received = await buy(client, peer.url)
    assert received == Answer(
        503, {"retry-after": "7", "x-a": "1, 2", "content-length": "4"}, b"\xff\x00ab"
    )


async def test_a_header_beyond_ascii_does_not_cost_the_answer(client: OutboundClient):
    async def answer(conversation: Conversation) -> None:
        await conversation.read_request()
        await conversation.answer(b"success", b"X-Pesan: berhasil\xe9\r\nX-Ref: A1\r\n")

    async with listening(answer) as peer:
        received = await buy(client, peer.url)
    assert received.body == b"success"
    assert received.headers == {"content-length": "7", "x-ref": "A1"}


@pytest.mark.parametrize(("size", "truncated"), [(999, False), (1000, False), (1001, True)])
async def test_a_body_is_read_up_to_the_cap(client: OutboundClient, size: int, truncated: bool):
    async def answer(conversation: Conversation) -> None:
        await conversation.read_request()
        await conversation.answer(b"x" * size)

    async with listening(answer) as peer:
        received = await buy(client, peer.url, max_answer_bytes=1000)
    assert received.body == b"x" * min(size, 1000)
    assert received.truncated is truncated


async def test_an_endless_body_ends_at_the_cap(client: OutboundClient):
    async def answer(conversation: Conversation) -> None:
        await conversation.read_request()
        await conversation.send(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            await conversation.send(b"x" * 65536)

    async with listening(answer) as peer:
        received = await buy(client, peer.url, max_answer_bytes=1000)
    assert received.truncated
    assert len(received.body) == 1000


async def test_a_body_that_drips_is_read_to_its_end(client: OutboundClient):
    async def answer(conversation: Conversation) -> None:
        await conversation.read_request()
        await conversation.send(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n")
        for piece in (b"su", b"cc", b"es"):
            await conversation.send(piece)
            await asyncio.sleep(0.02)

    async with listening(answer) as peer:
        received = await buy(client, peer.url)
    assert received.body == b"succes"


async def test_a_redirect_is_an_answer_and_is_not_followed(client: OutboundClient):
    async def answer(conversation: Conversation) -> None:
        await conversation.read_request()
        await conversation.send(
            b"HTTP/1.1 307 Go\r\nLocation: /elsewhere\r\nSet-Cookie: a=b\r\n"
            b"Content-Length: 0\r\n\r\n"
        )

    async with listening(answer) as peer:
        first = await buy(client, peer.url)
        await buy(client, peer.url)
    assert first.status == 307
    assert len(peer.requests) == 2
    assert b"cookie" not in peer.requests[1].lower()


async def test_a_compressed_body_is_left_as_it_is(client: OutboundClient):
    async def answer(conversation: Conversation) -> None:
        await conversation.read_request()
        await conversation.answer(b"\x1f\x8bnot", b"Content-Encoding: gzip\r\n")

    async with listening(answer) as peer:
        received = await buy(client, peer.url)
    assert received.body == b"\x1f\x8bnot"


# Requests


async def test_the_request_arrives_byte_for_byte(client: OutboundClient):
    async with listening(answer_forever) as peer:
        headers = MappingProxyType({"Content-Type": "application/json", "Accept": "text/xml"})
        request = Request("POST", f"{peer.url}topup?a=1&b=%20", headers, b'{"ref":"A1"}')
        await client.call(request, timeout_seconds=5, max_answer_bytes=10)
    head, _, body = peer.requests[0].partition(b"\r\n\r\n")
    first, *lines = head.lower().split(b"\r\n")
    assert first == b"post /topup?a=1&b=%20 http/1.1"
    assert sorted(lines) == [
        b"accept: text/xml",
        b"content-length: 12",
        b"content-type: application/json",
        b"host: 127.0.0.1:%d" % peer.port,
        b"user-agent: jalur",
    ]
    assert body == b'{"ref":"A1"}'


async def test_a_get_carries_no_body(client: OutboundClient):
    async with listening(answer_forever) as peer:
        request = Request("GET", peer.url)
        await client.call(request, timeout_seconds=5, max_answer_bytes=10)
    assert b"content-length" not in peer.requests[0].lower()


async def test_a_proxy_in_the_environment_is_ignored(monkeypatch: pytest.MonkeyPatch):
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_port()}")
    client = OutboundClient(max_in_flight=1)
    async with listening(answer_forever) as peer:
        received = await buy(client, peer.url)
    await client.close()
    assert received.status == 200


async def test_what_ops_read_of_a_failure_holds_no_address(client: OutboundClient):
    failure = await failure_of(client, f"http://127.0.0.1:{free_port()}/?pin=1234")
    assert str(failure) == "not-connected: Connection refused"
    assert failure.__cause__ is None
    assert failure.__suppress_context__


async def test_a_pinned_name_goes_to_its_address_with_its_own_name_in_tls(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    roots, tls = write_certificates(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(roots))
    client = OutboundClient(max_in_flight=1, pin=Pin(HOST, "127.0.0.1"))
    async with listening(answer_forever, tls) as peer:
        received = await buy(client, f"https://{HOST}:{peer.port}/")
    await client.close()
    assert received.status == 200
    assert b"host: hooks.test" in peer.requests[0].lower()
