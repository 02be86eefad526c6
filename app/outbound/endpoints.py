"""Calls to webhook endpoints: addresses that resellers chose, so each is checked, then pinned.

A name that is checked and then resolved a second time by the HTTP client can answer differently
the second time (DNS rebinding). So each host gets a connection pool of its own, nailed to the
address that was checked; the pin is renewed, with every check, once it is old. It also keeps one
slow host's connections apart from every other's.
"""

import asyncio
import socket
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import lru_cache, partial

from app.outbound.addresses import (
    AddressPolicy,
    EndpointUrl,
    IPAddress,
    Resolver,
    parse_endpoint_url,
    resolve_checked,
)
from app.outbound.client import (
    CONNECT_TIMEOUT_SECONDS,
    FailureKind,
    OutboundClient,
    Pin,
    TransportFailure,
)
from dealers.contract import Answer, Request

TIMEOUT_SECONDS = 15.0
PIN_SECONDS = 60.0
MAX_ANSWER_BYTES = 16_384
MAX_IN_FLIGHT_PER_HOST = 256
MAX_WAITING_PER_HOST = 256
"""Many endpoints may share a host: a burst waits its turn there. A host that hangs holds no more
than these and those in flight, and leaves the other places to other hosts."""
MAX_HOSTS = 256
"""Each may keep connections open; the host used longest ago gives way."""
RESOLVER_THREADS = 16
_MOST_URLS = 4096


@dataclass(slots=True)
class _Host:
    """One host's pool and the address it is nailed to, renewed under its own lock."""

    places: asyncio.Semaphore
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    address: IPAddress | None = None
    client: OutboundClient | None = None
    valid_until: float = 0.0
    waiting: int = 0

    def current_client(self, now_monotonic: float) -> OutboundClient | None:
        """The pool, while its pin is young enough to be trusted."""
        return self.client if now_monotonic < self.valid_until else None

    async def take_place(self, longest_seconds: float) -> None:
        """Wait for one of the host's places, in order of arrival. Raises `TransportFailure`."""
        if not self.places.locked():
            await self.places.acquire()  # at once
            return
        if self.waiting >= MAX_WAITING_PER_HOST:
            raise _busy("too many calls wait for this host")
        self.waiting += 1
        try:
            async with asyncio.timeout(longest_seconds):
                await self.places.acquire()
        except TimeoutError:
            raise _busy("no place was free at this host in time") from None
        finally:
            self.waiting -= 1


class EndpointClients:
    """The pools of all webhook hosts, bounded; `close` ends them."""

    def __init__(
        self,
        policy: AddressPolicy,
        *,
        connect_timeout_seconds: float = CONNECT_TIMEOUT_SECONDS,
        pin_seconds: float = PIN_SECONDS,
        max_hosts: int = MAX_HOSTS,
        max_in_flight_per_host: int = MAX_IN_FLIGHT_PER_HOST,
        resolver: Resolver | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._policy = policy
        self._connect_timeout_seconds = connect_timeout_seconds
        self._pin_seconds = pin_seconds
        self._max_hosts = max_hosts
        self._max_in_flight_per_host = max_in_flight_per_host
        self._monotonic = monotonic
        self._parse = lru_cache(_MOST_URLS)(partial(parse_endpoint_url, policy=policy))
        self._hosts: OrderedDict[str, _Host] = OrderedDict()
        # Threads of its own: names that nobody answers for must not hold up the loop's other work.
        self._threads = ThreadPoolExecutor(RESOLVER_THREADS, thread_name_prefix="resolver")
        self._resolver = resolver or self._resolve_by_system

    async def post(
        self,
        url: str,
        headers: Mapping[str, str],
        body: bytes,
        *,
        timeout_seconds: float = TIMEOUT_SECONDS,
    ) -> Answer:
        """POST once; any status is an answer, redirects too. The answer's body is cut at 16 kB.

        Raises `AddressRefused` before anything is connected, `TransportFailure` without an answer.
        `timeout_seconds` covers name resolution as well, and the wait for a place at the host, of
        which half of it is the longest.
        """
        endpoint = self._parse(url)
        request = Request("POST", endpoint.url, headers, body)
        return await self._call(endpoint, request, timeout_seconds)

    async def get(
        self, url: str, query: str, *, timeout_seconds: float = TIMEOUT_SECONDS
    ) -> Answer:
        """GET once, with `query` behind the address's own. Otherwise as `post`."""
        endpoint = self._parse(url)
        joined = f"{endpoint.url}{'&' if '?' in endpoint.url else '?'}{query}"
        return await self._call(endpoint, Request("GET", joined), timeout_seconds)

    async def _call(
        self, endpoint: EndpointUrl, request: Request, timeout_seconds: float
    ) -> Answer:
        started = self._monotonic()
        host = self._host(endpoint.host)
        await host.take_place(timeout_seconds / 2)
        try:
            client = await self._pinned_client(host, endpoint)
            remaining_seconds = max(0.0, timeout_seconds - (self._monotonic() - started))
            return await client.call(
                request,
                timeout_seconds=remaining_seconds,
                max_answer_bytes=MAX_ANSWER_BYTES,
            )
        finally:
            host.places.release()

    async def close(self) -> None:
        """Close every pool. A name still being resolved is given up."""
        hosts, self._hosts = self._hosts, OrderedDict()
        for host in hosts.values():
            if host.client is not None:
                await host.client.close()
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _pinned_client(self, host: _Host, endpoint: EndpointUrl) -> OutboundClient:
        if (client := host.current_client(self._monotonic())) is not None:
            return client
        try:
            async with asyncio.timeout(self._connect_timeout_seconds), host.lock:
                # Whoever held the lock before may have renewed the pin meanwhile.
                client = host.current_client(self._monotonic())
                return client or await self._renew(host, endpoint)
        except TimeoutError:
            raise _unresolved("no answer in time") from None
        except OSError as error:
            raise _unresolved(error.strerror or "no address") from None

    def _host(self, name: str) -> _Host:
        """The host's place in the cache, as the one used last."""
        host = self._hosts.get(name)
        if host is None:
            host = self._hosts[name] = _Host(asyncio.Semaphore(self._max_in_flight_per_host))
        self._hosts.move_to_end(name)
        while len(self._hosts) > self._max_hosts:
            # Dropped, not closed: calls in flight still end, and idle connections close themselves.
            self._hosts.popitem(last=False)
        return host

    async def _renew(self, host: _Host, endpoint: EndpointUrl) -> OutboundClient:
        """Check the name anew; the pool stays while it still points at the same address."""
        address = endpoint.literal or await resolve_checked(
            endpoint.host, endpoint.port, self._policy, self._resolver
        )
        if host.client is None or host.address != address:
            host.client = self._build(endpoint, address)
            host.address = address
        host.valid_until = self._monotonic() + self._pin_seconds
        return host.client

    def _build(self, endpoint: EndpointUrl, address: IPAddress) -> OutboundClient:
        # A literal address has nothing to resolve, so there is nothing to nail down.
        pin = Pin(endpoint.host, str(address)) if endpoint.literal is None else None
        return OutboundClient(
            max_in_flight=self._max_in_flight_per_host,
            connect_timeout_seconds=self._connect_timeout_seconds,
            pin=pin,
        )

    async def _resolve_by_system(self, host: str, port: int) -> Sequence[str]:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, _addresses_of, host, port)


def _addresses_of(host: str, port: int) -> Sequence[str]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(address[0]) for _, _, _, _, address in found]


def _busy(detail: str) -> TransportFailure:
    return TransportFailure(FailureKind.BUSY, nothing_sent=True, detail=detail)


def _unresolved(detail: str) -> TransportFailure:
    return TransportFailure(
        FailureKind.NOT_CONNECTED, nothing_sent=True, detail=f"name not resolved: {detail}"
    )
