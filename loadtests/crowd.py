"""The load client of the overload test: a crowd that sends whether or not it is answered.

A process of its own that does one wave after the other, each read as a line of JSON from standard
input and answered with one. An open wave sends every order at its own moment, from which its times
count; a closed one sends the next when there is room. It costs as little as it can, since a refusal
costs the service little: no tasks, a connection is a parser and a place in a list.

    python -m loadtests.crowd
"""

import asyncio
import heapq
import sys
import time
from array import array
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field
from typing import cast
from urllib.parse import urlsplit

import orjson
import uvloop
from httptools import HttpParserError, HttpResponseParser

from loadtests.caller import Caller, request_head
from loadtests.job import Percentiles, percentiles
from loadtests.orders import order_body

_ACCEPTED, _REFUSED, _LIMITED = 202, 503, 429
_KNOWN = frozenset({_ACCEPTED, _REFUSED, _LIMITED})
_MOST_CONNECTIONS = 2048
_TICK_SECONDS = 0.002
_NEWS_EVERY_SECONDS = 0.01
_ANSWER_SECONDS = 30.0
_PROBE_EVERY_SECONDS = 0.05
_LONGEST_PROBING_SECONDS = 60.0
_PROBE = -1
"""The stream of probes."""
_SILENCE_SECONDS = 30.0
"""How long no order may be reported before those that are open are given up."""


@dataclass(frozen=True, slots=True)
class Stream:
    """Orders of some buyers in turn, at a steady rate."""

    first_buyer: int
    buyers: int
    per_second: float


@dataclass(frozen=True, slots=True)
class Wave:
    """What to send. An open one for so many seconds; a closed one, of a single stream, with so
    many orders under way and unreported at once."""

    streams: Sequence[Stream]
    seconds: float
    connections: int = 0
    open_orders: int = 0
    probe_within_ms: float = 0.0
    """Behind the wave single orders are sent until one is reported within this time; 0: none."""

    def to_line(self) -> bytes:
        """The wave as one line of JSON."""
        return orjson.dumps(asdict(self), option=orjson.OPT_APPEND_NEWLINE)


@dataclass(frozen=True, slots=True)
class Group:
    """What became of one stream's orders."""

    offered: int
    accepted: int
    refused: int
    limited: int
    """Answered 429: what they may ask for could not be had from Redis in time."""
    accept: Percentiles
    end_to_end: Percentiles


@dataclass(frozen=True, slots=True)
class Came:
    """What became of a wave."""

    seconds: float
    """From its first moment to its last order."""
    reported: int
    """Orders reported while it goes on, once it has gone on for a quarter."""
    reported_seconds: float
    worked_off_seconds: float
    """After its end, until every accepted order was reported."""
    accepted_in_all: int
    """Probes included."""
    cpu_seconds: float
    sent_late: Percentiles
    """How much later than due orders left."""
    groups: list[Group]
    recovered_seconds: float | None = None
    """After the wave's end, until the first probe was reported in time."""
    faults: list[str] = field(default_factory=list[str])

    @property
    def offered_a_second(self) -> float:
        """Orders sent a second."""
        return sum(each.offered for each in self.groups) / self.seconds

    @property
    def finished_a_second(self) -> float:
        """Orders reported a second, while the wave went on."""
        return self.reported / self.reported_seconds

    def to_line(self) -> bytes:
        """What came as one line of JSON."""
        return orjson.dumps(asdict(self), option=orjson.OPT_APPEND_NEWLINE)


def read_came(line: bytes) -> Came:
    """What came out of its line."""
    raw = orjson.loads(line)
    for group in raw["groups"]:
        for name in ("accept", "end_to_end"):
            group[name] = Percentiles(**group[name])
    raw["groups"] = [Group(**group) for group in raw["groups"]]
    raw["sent_late"] = Percentiles(**raw["sent_late"])
    return Came(**raw)


@dataclass(slots=True)
class _Sent:
    """Everything about the orders of a wave, by their place in it."""

    stream: "array[int]" = field(default_factory=lambda: array("b"))
    due: "array[float]" = field(default_factory=lambda: array("d"))
    late: "array[float]" = field(default_factory=lambda: array("d"))
    status: "array[int]" = field(default_factory=lambda: array("h"))
    answered: "array[float]" = field(default_factory=lambda: array("d"))
    heard: "array[float]" = field(default_factory=lambda: array("d"))

    def add(self, stream: int, due: float) -> int:
        """A place for an order more."""
        self.stream.append(stream)
        self.status.append(0)
        self.due.append(due)
        for unknown in (self.late, self.answered, self.heard):
            unknown.append(0.0)
        return len(self.due) - 1


class _Connection(asyncio.Protocol):
    """One connection with at most one request under way."""

    def __init__(self, crowd: "Crowd") -> None:
        self._crowd = crowd
        self._place = -1
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ready for the first order."""
        self.transport = cast(asyncio.Transport, transport)
        self._parser = HttpResponseParser(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """What was under way is not known."""
        self._crowd.lost(self, self._place)

    def data_received(self, data: bytes) -> None:
        """Read on; the parser tells when an answer is whole."""
        try:
            self._parser.feed_data(data)
        except HttpParserError:
            if self.transport is not None:
                self.transport.abort()

    def on_message_complete(self) -> None:
        """The answer is whole."""
        place, self._place = self._place, -1
        self._crowd.answered(self, place, self._parser.get_status_code())

    def send(self, place: int, request: bytes) -> None:
        """Send one order's request."""
        self._place = place
        if self.transport is not None:
            self.transport.write(request)


class Crowd:
    """All connections, and the wave under way."""

    def __init__(self, orders_url: str, receiver_url: str, tokens: Sequence[str]) -> None:
        address = urlsplit(orders_url)
        self._host, self._port = address.hostname or "", address.port or 80
        self._receiver_url = receiver_url
        self._heads = [_order_head(orders_url, token) for token in tokens]
        self._free: list[_Connection] = []
        self._opening = 0
        self._all: set[_Connection] = set()
        self._number = 0
        self._heard_in_all = 0
        self._begin(Wave([], 0.0))

    def _begin(self, wave: Wave) -> None:
        self._wave = wave
        self._sent = _Sent()
        self._first_number = self._number
        self._probes: list[int] = []
        self._waiting: deque[tuple[int, bytes]] = deque()
        self._under_way = 0
        self._open = 0
        self._faults: list[str] = []

    async def run(self, wave: Wave) -> Came:
        """Do one wave, then wait until every accepted order is reported."""
        self._begin(wave)
        cpu, begun = time.process_time(), time.monotonic()
        async with asyncio.TaskGroup() as group:
            self._tasks = group
            listening = group.create_task(self._listen())
            if wave.open_orders:
                await self._send_closed(begun + wave.seconds)
            else:
                await self._send_open(begun)
            ended = time.monotonic()
            cpu = time.process_time() - cpu
            if wave.probe_within_ms:
                await self._probe(ended + _LONGEST_PROBING_SECONDS)
            await self._until_all_is_known()
            listening.cancel()
        return self._came(begun, ended, cpu)

    def close(self) -> None:
        """Close all connections."""
        for connection in self._all:
            if connection.transport is not None:
                connection.transport.close()

    # -------------------------------------------------------------- sending

    async def _send_open(self, begun: float) -> None:
        """Send each order at its moment, or as soon afterwards as there is a connection."""
        dues = list(_moments(self._wave))
        position, total = 0, len(dues)
        while position < total:
            now = time.monotonic() - begun
            while position < total and dues[position][0] <= now:
                offset, stream, buyer = dues[position]
                self._send(stream, buyer, begun + offset)
                position += 1
            await asyncio.sleep(_TICK_SECONDS)

    async def _send_closed(self, deadline: float) -> None:
        stream, wave, turn = self._wave.streams[0], self._wave, 0
        while time.monotonic() < deadline:
            while self._under_way < wave.connections and self._open < wave.open_orders:
                self._send(0, stream.first_buyer + turn % stream.buyers, time.monotonic())
                turn += 1
            await asyncio.sleep(_TICK_SECONDS)

    async def _probe(self, deadline: float) -> None:
        """Send an order now and then until one is reported in time."""
        buyer = self._wave.streams[-1].first_buyer
        while self._first_in_time() is None and time.monotonic() < deadline:
            self._send(_PROBE, buyer, time.monotonic())
            await asyncio.sleep(_PROBE_EVERY_SECONDS)

    def _send(self, stream: int, buyer: int, due: float) -> None:
        place = self._sent.add(stream, due)
        if stream == _PROBE:
            self._probes.append(place)
        body = order_body(self._number, buyer)
        self._number += 1
        self._under_way += 1
        self._open += 1
        self._waiting.append((place, b"%b%d\r\n\r\n%b" % (self._heads[buyer], len(body), body)))
        self._send_waiting()

    def _send_waiting(self) -> None:
        while self._waiting and self._free:
            place, request = self._waiting.popleft()
            self._sent.late[place] = time.monotonic() - self._sent.due[place]
            self._free.pop().send(place, request)
        if self._waiting and self._opening < len(self._waiting):
            self._open_another()

    def _open_another(self) -> None:
        if len(self._all) + self._opening < _MOST_CONNECTIONS:
            self._opening += 1
            self._tasks.create_task(self._connect())

    async def _connect(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            _, connection = await loop.create_connection(
                lambda: _Connection(self), self._host, self._port
            )
        except OSError as error:
            self._faults.append(f"no connection: {error}")
            return
        finally:
            self._opening -= 1
        self._all.add(connection)
        self._free.append(connection)
        self._send_waiting()

    # -------------------------------------------------------------- answers and reports

    def answered(self, connection: _Connection, place: int, status: int) -> None:
        """An order was answered; the connection is free."""
        if place >= 0:
            self._sent.status[place] = status
            self._sent.answered[place] = time.monotonic()
            self._under_way -= 1
            self._open -= status != _ACCEPTED
        self._free.append(connection)
        self._send_waiting()

    def lost(self, connection: _Connection, place: int) -> None:
        """A connection ended; an order under way on it is one whose fate is not known."""
        self._all.discard(connection)
        if connection in self._free:
            self._free.remove(connection)
        if place >= 0:
            self._faults.append("an order was not answered")
            self._under_way -= 1

    async def _listen(self) -> None:
        """Take up what the receiver has verified."""
        with closing(Caller(self._receiver_url, _ANSWER_SECONDS)) as caller:
            while True:
                head = request_head("GET", f"{self._receiver_url}/news?{self._heard_in_all}")
                pairs = array("d", (await caller.ask(head + b"\r\n")).body)
                for number, at in zip(pairs[::2], pairs[1::2], strict=True):
                    self._sent.heard[int(number) - self._first_number] = at
                self._open -= len(pairs) // 2
                self._heard_in_all += len(pairs) // 2
                await asyncio.sleep(_NEWS_EVERY_SECONDS)

    async def _until_all_is_known(self) -> None:
        state, since = (0, 0), time.monotonic()
        while self._under_way + self._open > 0:
            await asyncio.sleep(_NEWS_EVERY_SECONDS)
            if (self._under_way, self._open) != state:
                state, since = (self._under_way, self._open), time.monotonic()
            elif time.monotonic() - since > _SILENCE_SECONDS:
                self._faults.append(f"{self._open} orders were accepted and never reported")
                return

    def _first_in_time(self) -> float | None:
        """When the first probe was reported that was reported in time."""
        sent, within = self._sent, self._wave.probe_within_ms / 1000
        times = (
            sent.heard[place]
            for place in self._probes
            if sent.heard[place] and sent.heard[place] - sent.due[place] <= within
        )
        return min(times, default=None)

    # -------------------------------------------------------------- what came

    def _came(self, begun: float, ended: float, cpu: float) -> Came:
        sent, settled = self._sent, begun + (ended - begun) / 4
        recovered = self._first_in_time()
        strange = {status for status in sent.status if status not in _KNOWN}
        return Came(
            seconds=ended - begun,
            reported=sum(settled <= heard < ended for heard in sent.heard),
            reported_seconds=ended - settled,
            worked_off_seconds=max(0.0, max(sent.heard, default=ended) - ended),
            accepted_in_all=sum(status == _ACCEPTED for status in sent.status),
            cpu_seconds=cpu,
            sent_late=percentiles(sent.late),
            groups=[self._group(stream) for stream in range(len(self._wave.streams))],
            recovered_seconds=None if recovered is None else recovered - ended,
            faults=[*self._faults, *(f"an order was answered {each}" for each in strange)],
        )

    def _group(self, stream: int) -> Group:
        sent = self._sent
        places = [place for place, each in enumerate(sent.stream) if each == stream]
        accepted = [place for place in places if sent.status[place] == _ACCEPTED]
        return Group(
            offered=len(places),
            accepted=len(accepted),
            refused=sum(sent.status[place] == _REFUSED for place in places),
            limited=sum(sent.status[place] == _LIMITED for place in places),
            accept=percentiles([sent.answered[each] - sent.due[each] for each in accepted]),
            end_to_end=percentiles(
                [sent.heard[each] - sent.due[each] for each in accepted if sent.heard[each]]
            ),
        )


def _moments(wave: Wave) -> Iterator[tuple[float, int, int]]:
    """When which stream sends an order of which buyer, in order of time."""
    return heapq.merge(
        *(_moments_of(number, stream, wave.seconds) for number, stream in enumerate(wave.streams))
    )


def _moments_of(number: int, stream: Stream, seconds: float) -> Iterator[tuple[float, int, int]]:
    for turn in range(round(seconds * stream.per_second)):
        yield turn / stream.per_second, number, stream.first_buyer + turn % stream.buyers


def _order_head(orders_url: str, token: str) -> bytes:
    """An order's first bytes; its length and its body follow."""
    head = request_head(
        "POST", orders_url, authorization=f"Bearer {token}", content_type="application/json"
    )
    return head + b"content-length: "


async def work() -> None:
    """Do waves until standard input ends. The first line says where, and as whom."""
    given = orjson.loads(sys.stdin.buffer.readline())
    crowd = Crowd(given["orders_url"], given["receiver_url"], given["tokens"])
    try:
        while line := await asyncio.to_thread(sys.stdin.buffer.readline):
            raw = orjson.loads(line)
            raw["streams"] = [Stream(**each) for each in raw["streams"]]
            sys.stdout.buffer.write((await crowd.run(Wave(**raw))).to_line())
            sys.stdout.buffer.flush()
    finally:
        crowd.close()


if __name__ == "__main__":
    uvloop.run(work())
