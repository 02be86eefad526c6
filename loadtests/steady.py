"""A load client for long loads: steady rather than fast, and it holds no more than what is open.

It sends orders from a given number on, at a given rate with each order at its own moment, whether
or not others were answered, or as fast as they are answered. Whoever measures the other processes
is told when it is ready, what became of the orders every so many seconds, and of all at the end.

    python -m loadtests.steady
"""

import asyncio
import itertools
import sys
import time
from array import array
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field

import orjson
import uvloop

from loadtests.caller import FAULTS, Caller, request_head
from loadtests.job import Percentiles, percentiles
from loadtests.orders import order_body

_ACCEPTED, _SHED = 202, 503
_AFTER_SHED_SECONDS = 0.05
_REQUEST_SECONDS = 30.0
_NEWS_EVERY_SECONDS = 0.02
_SILENCE_SECONDS = 20.0
"""How long no order may be reported before those that are open are given up."""


@dataclass(frozen=True, slots=True)
class Task:
    """What the client is told."""

    orders_url: str
    tokens: Sequence[str] = field(repr=False)
    """A key a buyer; orders are spread evenly over them."""
    first: int
    """The number of the first order; two loads of one database have none in common."""
    seconds: float
    warm_up_orders: int
    rate: float | None = None
    """Orders a second; None: the next one is sent when one was answered."""
    receiver_url: str | None = None
    """The receiver to ask which orders were reported; None: being accepted is the end."""
    connections: int = 128
    most_open: int = 512
    """Orders sent and not yet reported, at most."""
    every_seconds: float | None = None
    """How often to tell what became of the orders meanwhile."""

    def to_line(self) -> bytes:
        """The task as one line of JSON."""
        return orjson.dumps(asdict(self), option=orjson.OPT_APPEND_NEWLINE)


@dataclass(frozen=True, slots=True)
class Stretch:
    """What became of orders in a stretch of time. Durations count from when an order was due."""

    begun: float
    """Monotonic seconds."""
    seconds: float
    """To the last answer or webhook, of a whole load; else how long the stretch was."""
    accepted: int
    ended: int
    """Accepted and, where a receiver was asked, reported."""
    accept: Percentiles
    end_to_end: Percentiles
    shed: int
    """Refused because the service had too much to do, which is no fault: nothing was promised."""
    accepted_in_all: int
    """Since the client began, those of the warm-up too."""
    cpu_seconds: float
    """The client's own."""
    faults: list[str]
    is_last: bool = False
    """Whether it is the whole load, and everything is over."""

    def to_line(self) -> bytes:
        """The stretch as one line of JSON."""
        return orjson.dumps(asdict(self), option=orjson.OPT_APPEND_NEWLINE)


def read_task(line: bytes) -> Task:
    """The task out of its line."""
    return Task(**orjson.loads(line))


def read_stretch(line: bytes) -> Stretch:
    """The stretch out of its line."""
    raw = orjson.loads(line)
    for name in ("accept", "end_to_end"):
        raw[name] = Percentiles(**raw[name])
    return Stretch(**raw)


class _Tally:
    """Counts and durations since a moment."""

    def __init__(self) -> None:
        self.begun = time.monotonic()
        self.accepted = self.ended = self.shed = 0
        self.last = self.begun
        """When the last order ended."""
        self._accept, self._end_to_end = array("d"), array("d")
        self._used = time.process_time()

    def note_accepted(self, seconds: float) -> None:
        self.accepted += 1
        self._accept.append(seconds)

    def note_ended(self, seconds: float, at: float) -> None:
        self.ended += 1
        self.last = at
        self._end_to_end.append(seconds)

    def stretch(self, accepted_in_all: int, faults: Sequence[str], *, is_last: bool) -> Stretch:
        until = self.last if is_last else time.monotonic()
        return Stretch(
            round(self.begun, 3),
            round(until - self.begun, 3),
            self.accepted,
            self.ended,
            percentiles(self._accept),
            percentiles(self._end_to_end),
            self.shed,
            accepted_in_all,
            round(time.process_time() - self._used, 3),
            list(faults),
            is_last,
        )


class Load:
    """One task under way."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self._callers = [Caller(task.orders_url, _REQUEST_SECONDS) for _ in range(task.connections)]
        self._heads = [_order_head(task.orders_url, token) for token in task.tokens]
        self._room = asyncio.Semaphore(task.most_open)
        self._open: dict[int, float] = {}
        """When each order that is open was due, by its number."""
        self._heard = 0
        self._refused: Counter[str] = Counter()
        self._accepted = 0
        self._numbers = itertools.count(task.first)
        self._whole = self._part = _Tally()

    async def warm_up(self) -> None:
        """Send the first orders as fast as they are answered, and wait until they are reported."""
        await self._run(_REQUEST_SECONDS, self._task.warm_up_orders, rate=None)

    async def run(self) -> Stretch:
        """Send, telling now and then; returns what became of everything but the warm-up."""
        self._whole, self._part = _Tally(), _Tally()
        telling = asyncio.create_task(self._tell())
        await self._run(self._task.seconds, None, self._task.rate)
        telling.cancel()
        if self._open:
            self._refused["accepted and never reported"] = len(self._open)
        return self._whole.stretch(self._accepted, self._faults(), is_last=True)

    def close(self) -> None:
        """Close all connections."""
        for caller in self._callers:
            caller.close()

    async def _run(self, seconds: float, most: int | None, rate: float | None) -> None:
        deadline = time.monotonic() + seconds
        async with asyncio.TaskGroup() as group:
            listening = None
            if self._task.receiver_url is not None:
                listening = group.create_task(self._listen(self._task.receiver_url))
            if rate is None:
                await self._send_as_answered(deadline, most)
            else:
                await self._send_in_time(deadline, rate)
            if listening is not None:
                await self._until_heard()
                listening.cancel()

    async def _send_as_answered(self, deadline: float, most: int | None) -> None:
        turns = itertools.count() if most is None else range(most)
        remaining = iter(turns)

        async def send_some(caller: Caller) -> None:
            for _ in remaining:
                await self._room.acquire()
                now = time.monotonic()
                if now > deadline:
                    self._room.release()
                    return
                await self._send(caller, next(self._numbers), now)

        async with asyncio.TaskGroup() as group:
            for caller in self._callers:
                group.create_task(send_some(caller))

    async def _send_in_time(self, deadline: float, rate: float) -> None:
        free: asyncio.Queue[Caller] = asyncio.Queue()
        for caller in self._callers:
            free.put_nowait(caller)

        async def send_one(caller: Caller, due: float) -> None:
            await self._send(caller, next(self._numbers), due)
            free.put_nowait(caller)

        begun = time.monotonic()
        async with asyncio.TaskGroup() as group:
            for turn in itertools.count():
                due = begun + turn / rate
                if due > deadline:
                    return
                if (early := due - time.monotonic()) > 0:
                    await asyncio.sleep(early)
                await self._room.acquire()
                group.create_task(send_one(await free.get(), due))

    async def _send(self, caller: Caller, number: int, due: float) -> None:
        """Send one order; its room is free again once it is reported, or will not be."""
        buyer = number % len(self._heads)
        body = order_body(number, buyer)
        # Before it is answered: its webhook may be faster.
        self._open[number] = due
        try:
            answer = await caller.ask(b"%b%d\r\n\r\n%b" % (self._heads[buyer], len(body), body))
        except FAULTS as error:
            self._refused[type(error).__name__] += 1
            self._forget(number)
            return
        now = time.monotonic()
        if answer.status == _ACCEPTED:
            self._accepted += 1
            for tally in self._tallies():
                tally.note_accepted(now - due)
            if self._task.receiver_url is None:
                self._end(number, now)
        elif answer.status == _SHED:
            for tally in self._tallies():
                tally.shed += 1
            self._forget(number)
            await asyncio.sleep(_AFTER_SHED_SECONDS)
        else:
            self._refused[f"HTTP {answer.status}"] += 1
            self._forget(number)

    def _forget(self, number: int) -> None:
        if self._open.pop(number, None) is not None:
            self._room.release()

    def _end(self, number: int, at: float) -> None:
        due = self._open.pop(number, None)
        if due is not None:
            self._room.release()
            for tally in self._tallies():
                tally.note_ended(at - due, at)

    def _tallies(self) -> Sequence[_Tally]:
        return (self._whole, self._part)

    async def _listen(self, receiver_url: str) -> None:
        """Take up what the receiver has verified; each reported order makes room for another."""
        with closing(Caller(receiver_url, _REQUEST_SECONDS)) as caller:
            while True:
                head = request_head("GET", f"{receiver_url}/news?{self._heard}")
                pairs = array("d", (await caller.ask(head + b"\r\n")).body)
                for number, at in zip(pairs[::2], pairs[1::2], strict=True):
                    self._end(int(number), at)
                self._heard += len(pairs) // 2
                await asyncio.sleep(_NEWS_EVERY_SECONDS)

    async def _until_heard(self) -> None:
        newest, since = self._heard, time.monotonic()
        while self._open and time.monotonic() - since < _SILENCE_SECONDS:
            await asyncio.sleep(0.01)
            if self._heard != newest:
                newest, since = self._heard, time.monotonic()

    async def _tell(self) -> None:
        """Tell what became of the orders since the last time."""
        if self._task.every_seconds is None:
            return
        while True:
            await asyncio.sleep(self._task.every_seconds)
            ended, self._part = self._part, _Tally()
            _write_line(ended.stretch(self._accepted, self._faults(), is_last=False).to_line())

    def _faults(self) -> list[str]:
        return [f"{count} orders: {what}" for what, count in self._refused.items()]


async def work() -> None:
    """Do one task."""
    load = Load(read_task(sys.stdin.buffer.readline()))
    await load.warm_up()
    _write_line(b"ready\n")
    sys.stdin.buffer.readline()
    _write_line((await load.run()).to_line())
    load.close()


def _order_head(orders_url: str, token: str) -> bytes:
    """An order's first bytes; its length and its body follow."""
    authorization = f"Bearer {token}"
    head = request_head(
        "POST", orders_url, authorization=authorization, content_type="application/json"
    )
    return head + b"content-length: "


def _write_line(line: bytes) -> None:
    sys.stdout.buffer.write(line)
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    uvloop.run(work())
