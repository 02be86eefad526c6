"""The simulator's HTTP, byte by byte: being lean, it leaves out nothing that buyers rely on."""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import httpx
import pytest

from dealers.simulator.connection import Answer, Connection, Request
from tests.dealers.simulator.buyers import DigiflazzBuyer, OtomaxBuyer, plain_client
from tests.dealers.simulator.simulators import RunningSimulator

LIVEZ = b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n"


@contextmanager
def connected(running: RunningSimulator) -> Iterator[socket.socket]:
    address = urlsplit(running.url)
    with socket.create_connection((address.hostname, address.port), timeout=10) as connection:
        yield connection


def read_until(connection: socket.socket, end: bytes) -> bytes:
    read = b""
    while not read.endswith(end):
        part = connection.recv(4096)
        assert part, read
        read += part
    return read


def read_all(connection: socket.socket) -> bytes:
    return b"".join(iter(lambda: connection.recv(4096), b""))


def purchase(running: RunningSimulator, number: str, ref: str) -> bytes:
    call = OtomaxBuyer(running.url).trx(number, ref, "S5")
    return b"GET %b HTTP/1.1\r\nhost: x\r\n\r\n" % call.url.raw_path


def test_a_connection_is_kept_and_a_request_may_come_in_pieces(running: RunningSimulator) -> None:
    with connected(running) as connection:
        for _ in range(2):
            for byte in LIVEZ:
                connection.sendall(bytes([byte]))
            assert read_until(connection, b'"ok"}').startswith(b"HTTP/1.1 200 OK\r\n")


def test_requests_sent_at_once_are_answered_in_their_order(running: RunningSimulator) -> None:
    held = purchase(running, "081234567886", "PIPELINED")
    with connected(running) as connection:
        connection.sendall(held + LIVEZ)
        first, second = read_until(connection, b'"ok"}').split(b"HTTP/1.1 200 OK\r\n")[1:]
    assert b"R#PIPELINED" in first
    assert b'{"status":"ok"}' in second


def test_a_cut_connection_answers_nothing_at_all(running: RunningSimulator) -> None:
    with connected(running) as connection:
        connection.sendall(purchase(running, "081234567875", "RAWCUT") + LIVEZ)
        assert read_all(connection) == b""
    assert len(running.delivered("RAWCUT")) == 1


@pytest.mark.parametrize(
    "words", [b"\x16\x03\x01\x02\x00", b"HELLO\r\n\r\n", b"GET /\r\nx\r\n\r\n"]
)
def test_what_is_not_http_is_answered_400_and_the_end(
    running: RunningSimulator, words: bytes
) -> None:
    with connected(running) as connection:
        connection.sendall(words)
        answer = read_all(connection)
    assert answer.startswith(b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\n")


@pytest.mark.parametrize(
    "request_",
    [LIVEZ.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n"), b"GET /livez HTTP/1.0\r\n\r\n"],
)
def test_a_client_that_wants_the_connection_ended_gets_the_whole_answer_first(
    running: RunningSimulator, request_: bytes
) -> None:
    with connected(running) as connection:
        connection.sendall(request_)
        answer = read_all(connection)
    assert b"\r\nconnection: close\r\n" in answer
    assert answer.endswith(b'{"status":"ok"}')


def test_a_question_for_the_head_gets_no_body(running: RunningSimulator) -> None:
    with connected(running) as connection:
        connection.sendall(LIVEZ.replace(b"GET", b"HEAD") + LIVEZ)
        head, whole = read_until(connection, b'"ok"}').split(b"HTTP/1.1 200 OK\r\n")[1:]
    assert head == whole.removesuffix(b'{"status":"ok"}')


def test_a_body_may_come_in_chunks(running: RunningSimulator) -> None:
    buyer = DigiflazzBuyer(running.url)
    fields = {"buyer_sku_code": "S5", "customer_no": "081234567800", "ref_id": "CHUNKS"}
    body = buyer.post("transaction", "CHUNKS", **fields).content
    with plain_client() as client:
        answer = client.post(f"{buyer.url}/transaction", content=iter([body[:9], body[9:]]))
    assert "transfer-encoding" in answer.request.headers
    assert buyer.read(answer.content).kind == "succeeded"


def test_a_client_that_asks_first_is_told_to_go_on(running: RunningSimulator) -> None:
    head = b"POST /livez HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n"
    with connected(running) as connection:
        connection.sendall(head)
        assert read_until(connection, b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(b"{}")
        assert read_until(connection, b'"ok"}').startswith(b"HTTP/1.1 200 OK\r\n")


def test_who_wants_another_protocol_is_answered_in_this_one(running: RunningSimulator) -> None:
    headers = {"connection": "upgrade", "upgrade": "h2c"}
    with plain_client() as client:
        assert client.get(f"{running.url}/livez", headers=headers).json() == {"status": "ok"}


async def test_a_mistake_is_answered_500_and_told_to_the_loop() -> None:
    told: list[str] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _loop, context: told.append(context["message"]))

    def respond(request: Request) -> Answer:
        raise OSError("the disk is full")

    server = await loop.create_server(lambda: Connection(respond, set()), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, httpx.AsyncClient(trust_env=False) as client:
        answer = await client.get(f"http://127.0.0.1:{port}/page")
    assert answer.status_code == 500
    assert told == ["no answer to b'/page'"]
