"""Webhook calls over real sockets: checked, pinned, renewed, bounded."""

import asyncio
import socket
from collections.abc import AsyncIterator, Sequence
from ipaddress import ip_network

import pytest

from app.outbound.addresses import AddressPolicy, AddressRefused
from app.outbound.client import FailureKind, TransportFailure
from app.outbound.endpoints import MAX_ANSWER_BYTES, EndpointClients
from tests.outbound.peers import Conversation, answer_forever, hang, listening

LOOPBACK_ONE = AddressPolicy(allow=(ip_network("127.0.0.1/32"),), allow_http=True)
LOOPBACK = AddressPolicy(allow=(ip_network("127.0.0.0/8"),), allow_http=True)


class Names:
    """A DNS under the test's hand; it counts how often it was asked."""

    def __init__(self, *addresses: str) -> None:
        self.addresses: Sequence[str] = addresses
        self.asked = 0

    async def resolve(self, host: str, port: int) -> Sequence[str]:
        self.asked += 1
        await asyncio.sleep(0)
        return self.addresses


class Clock:
    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def names() -> Names:
    return Names("127.0.0.1")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def clients(names: Names, clock: Clock) -> AsyncIterator[EndpointClients]:
    clients = EndpointClients(
        LOOPBACK_ONE,
        resolver=names.resolve,
        monotonic=clock,
        max_hosts=2,
        connect_timeout_seconds=0.5,
    )
    yield clients
    await clients.close()


async def test_a_webhook_reaches_the_checked_address_under_its_own_name(clients: EndpointClients):
    async with listening(answer_forever) as peer:
        answer = await clients.post(
            f"http://hooks.test:{peer.port}/in?a=1", {"webhook-id": "e1"}, b"{}"
        )
    assert answer.status == 200
    request = peer.requests[0].lower()
    assert request.startswith(b"post /in?a=1 http/1.1\r\n")
    assert b"host: hooks.test:%d\r\n" % peer.port in request
    assert b"webhook-id: e1\r\n" in request


async def test_the_connection_goes_to_the_pinned_address_and_to_no_other(names: Names):
    names.addresses = ["127.0.0.2"]
    clients = EndpointClients(LOOPBACK, resolver=names.resolve)
    async with listening(answer_forever) as wrong, listening(answer_forever, host="127.0.0.2") as p:
        url = f"http://localhost:{p.port}/"
        assert (await clients.post(url, {}, b"{}")).status == 200
        assert len(p.requests) == 1
        assert wrong.requests == []
    await clients.close()


async def test_a_name_that_turns_to_another_address_is_refused_when_its_pin_is_renewed(
    clients: EndpointClients, names: Names, clock: Clock
):
    async with (
        listening(answer_forever) as peer,
        listening(answer_forever, host="127.0.0.2") as bad,
    ):
        url = f"http://hooks.test:{peer.port}/"
        await clients.post(url, {}, b"{}")
        names.addresses = ["127.0.0.2"]
        await clients.post(url, {}, b"{}")
        clock.seconds += 60
        with pytest.raises(AddressRefused):
            await clients.post(url, {}, b"{}")
    assert len(peer.requests) == 2
    assert bad.connections == 0


async def test_a_name_with_one_good_and_one_bad_address_is_never_connected_to(
    clients: EndpointClients, names: Names
):
    names.addresses = ["127.0.0.1", "10.0.0.1"]
    async with listening(answer_forever) as peer:
        with pytest.raises(AddressRefused, match=r"10\.0\.0\.1"):
            await clients.post(f"http://hooks.test:{peer.port}/", {}, b"{}")
    assert peer.connections == 0


@pytest.mark.parametrize(
    "host", ["127.0.0.2", "127.2", "0x7f000002", "2130706434", "[::ffff:127.0.0.2]", "[::1]"]
)
async def test_a_literal_address_is_refused_before_any_connection(
    clients: EndpointClients, names: Names, host: str
):
    async with listening(answer_forever, host="127.0.0.2") as peer:
        with pytest.raises(AddressRefused):
            await clients.post(f"http://{host}:{peer.port}/", {}, b"{}")
    assert peer.connections == 0
    assert names.asked == 0


async def test_a_literal_address_that_ops_opened_is_called_without_dns(
    clients: EndpointClients, names: Names
):
    async with listening(answer_forever) as peer:
        assert (await clients.post(peer.url, {}, b"{}")).status == 200
    assert names.asked == 0


async def test_a_redirect_to_an_inner_address_is_only_an_answer(clients: EndpointClients):
    async with listening(answer_forever, host="127.0.0.2") as inner:

        async def redirect(conversation: Conversation) -> None:
            await conversation.read_request()
            location = b"Location: http://127.0.0.2:%d/\r\n" % inner.port
            await conversation.send(
                b"HTTP/1.1 302 Go\r\n" + location + b"Content-Length: 0\r\n\r\n"
            )

        async with listening(redirect) as peer:
            answer = await clients.post(peer.url, {}, b"{}")
    assert answer.status == 302
    assert inner.connections == 0


async def test_dns_is_asked_once_for_many_calls_at_once_and_again_after_the_pin_has_aged(
    clients: EndpointClients, names: Names, clock: Clock
):
    async with listening(answer_forever) as peer:
        url = f"http://hooks.test:{peer.port}/"
        await asyncio.gather(*(clients.post(url, {}, b"{}") for _ in range(20)))
        assert names.asked == 1
        clock.seconds += 60
        await clients.post(url, {}, b"{}")
        assert names.asked == 2


async def test_renewing_a_pin_to_the_same_address_keeps_the_warm_connection(
    clients: EndpointClients, clock: Clock
):
    async with listening(answer_forever) as peer:
        for _ in range(3):
            await clients.post(f"http://hooks.test:{peer.port}/", {}, b"{}")
            clock.seconds += 60
    assert peer.connections == 1


async def test_a_name_that_moves_to_another_open_address_is_followed_there(
    names: Names, clock: Clock
):
    clients = EndpointClients(LOOPBACK, resolver=names.resolve, monotonic=clock)
    async with listening(answer_forever, host="127.0.0.2") as moved:
        names.addresses = ["127.0.0.3"]
        with pytest.raises(TransportFailure):
            await clients.post(f"http://hooks.test:{moved.port}/", {}, b"{}")
        names.addresses = ["127.0.0.2"]
        clock.seconds += 60
        await clients.post(f"http://hooks.test:{moved.port}/", {}, b"{}")
    await clients.close()
    assert len(moved.requests) == 1


async def test_a_host_that_gives_way_to_others_still_finishes_its_calls(
    clients: EndpointClients, names: Names
):
    release = asyncio.Event()

    async def answer_late(conversation: Conversation) -> None:
        await conversation.read_request()
        await release.wait()
        await conversation.answer()

    async with listening(answer_late) as slow, listening(answer_forever) as quick:
        waiting = asyncio.ensure_future(clients.post(f"http://slow.test:{slow.port}/", {}, b""))
        await slow.called.wait()
        for host in ("a.test", "b.test", "c.test"):
            await clients.post(f"http://{host}:{quick.port}/", {}, b"{}")
        release.set()
        assert (await waiting).status == 200
        await clients.post(f"http://c.test:{quick.port}/", {}, b"{}")
        assert names.asked == 4
        await clients.post(f"http://slow.test:{slow.port}/", {}, b"{}")
        assert names.asked == 5


async def test_a_name_that_does_not_resolve_is_a_failure_that_sent_nothing():
    clients = EndpointClients(LOOPBACK)
    with pytest.raises(TransportFailure) as caught:
        await clients.post("http://no-such-host.invalid/", {}, b"{}")
    await clients.close()
    assert caught.value.kind is FailureKind.NOT_CONNECTED
    assert caught.value.nothing_sent


async def test_the_systems_own_resolver_is_checked_too():
    clients = EndpointClients(AddressPolicy(allow_http=True))
    with pytest.raises(AddressRefused, match="loopback"):
        await clients.post("http://localhost/", {}, b"{}")
    await clients.close()


async def test_a_resolver_that_hangs_ends_at_the_connect_time_out(names: Names):
    async def never(host: str, port: int) -> Sequence[str]:
        await asyncio.Event().wait()
        return []

    clients = EndpointClients(LOOPBACK, resolver=never, connect_timeout_seconds=0.1)
    results = await asyncio.gather(
        *(clients.post("http://hooks.test/", {}, b"{}") for _ in range(5)), return_exceptions=True
    )
    assert all(isinstance(result, TransportFailure) for result in results)
    await clients.close()


async def test_a_silent_endpoint_ends_at_the_total_time_out(clients: EndpointClients):
    async with listening(hang) as peer:
        with pytest.raises(TransportFailure) as caught:
            await clients.post(peer.url, {}, b"{}", timeout_seconds=0.2)
    assert caught.value.kind is FailureKind.TIMED_OUT


async def test_a_burst_at_one_host_waits_its_turn_and_leaves_other_hosts_alone(names: Names):
    clients = EndpointClients(LOOPBACK_ONE, resolver=names.resolve, max_in_flight_per_host=1)
    first_heard, go_on = asyncio.Event(), asyncio.Event()

    async def slow_at_first(conversation: Conversation) -> None:
        if conversation.number == 1:
            first_heard.set()
            await go_on.wait()
        await answer_forever(conversation)

    async with listening(slow_at_first) as slow, listening(answer_forever) as other:
        burst = [
            asyncio.ensure_future(clients.post(f"http://a.test:{slow.port}/{n}", {}, b"{}"))
            for n in range(3)
        ]
        await first_heard.wait()
        answer = await clients.post(f"http://b.test:{other.port}/", {}, b"{}")
        assert answer.status == 200
        assert slow.connections == 1
        go_on.set()
        assert [answer.status for answer in await asyncio.gather(*burst)] == [200, 200, 200]
    await clients.close()


async def silent(conversation: Conversation) -> None:
    await conversation.read_request()
    await hang(conversation)


async def test_no_place_at_a_host_in_half_of_the_time_is_a_failure_that_sent_nothing(names: Names):
    clients = EndpointClients(LOOPBACK_ONE, resolver=names.resolve, max_in_flight_per_host=1)
    async with listening(silent) as peer:
        url = f"http://a.test:{peer.port}/"
        first = asyncio.ensure_future(clients.post(url, {}, b"{}"))
        await peer.called.wait()
        with pytest.raises(TransportFailure) as caught:
            await clients.post(url, {}, b"{}", timeout_seconds=0.1)
        assert caught.value.kind is FailureKind.BUSY
        assert caught.value.nothing_sent
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
    assert len(peer.requests) == 1
    await clients.close()


async def test_a_long_answer_is_cut(clients: EndpointClients):
    async def answer(conversation: Conversation) -> None:
        await conversation.read_request()
        await conversation.answer(b"x" * 100_000)

    async with listening(answer) as peer:
        received = await clients.post(peer.url, {}, b"{}")
    assert received.truncated
    assert len(received.body) == MAX_ANSWER_BYTES


async def test_an_ipv6_endpoint_is_called_by_name_and_by_address():
    if not _has_ipv6():
        pytest.skip("no IPv6 loopback here")
    policy = AddressPolicy(allow=(ip_network("::1/128"),), allow_http=True)
    clients = EndpointClients(policy, resolver=Names("::1").resolve)
    async with listening(answer_forever, host="::1") as peer:
        assert (await clients.post(f"http://hooks.test:{peer.port}/", {}, b"")).status == 200
        assert (await clients.post(f"http://[::1]:{peer.port}/", {}, b"")).status == 200
    await clients.close()


def _has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True
