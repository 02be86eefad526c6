"""A load in the middle of which a process is killed, and what is missing or double afterwards.

The load is closed like that of the rates, but it is sent from here: it must outlive the server that
it talks to, and remember which orders were accepted.
"""

import asyncio
import time
from array import array
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Protocol

import uvloop

from loadtests.asking import RequestOf, requests_of
from loadtests.caller import FAULTS, Caller, request_head
from loadtests.figures import Killed
from loadtests.job import Job
from loadtests.peers.processes import Supervised
from loadtests.programs import LoadTestFailure

_ACCEPTED = 202
_ANSWER_SECONDS = 30.0
_AFTER_FAULT_SECONDS = 0.05
_NEWS_EVERY_SECONDS = 0.01
_START_SECONDS = 30.0
_LOOK_SECONDS = 0.5
_RESTART_SECONDS = 0.1
"""systemd's own `RestartSec`."""


@dataclass(frozen=True, slots=True)
class Heard:
    """What the receiver says at the end."""

    orders: int
    """Reported."""
    repeated: int
    """Reports that had come before."""
    rejected: Mapping[str, int]


class Witness(Protocol):
    """Those around a peer, and what it says itself."""

    def book(self) -> "Counter[int]":
        """How often each order was delivered by the dealer."""
        ...

    def heard(self) -> Heard:
        """What the receiver has heard."""
        ...

    async def is_done(self) -> bool:
        """Whether the peer knows that nothing is left to do; never, where it cannot know."""
        ...


@dataclass(frozen=True, slots=True)
class Wreck:
    """What a kill did."""

    killed: Killed
    unsure: int
    """Orders sent that nobody answered: whoever sent them must ask, or send them again."""
    recovered_seconds: float
    """From the kill to the last report."""


class Survivor:
    """The client of a load that goes on through a kill."""

    def __init__(self, job: Job, requests: RequestOf) -> None:
        self._job = job
        self._requests = requests
        self._numbers: Iterator[int] = iter(range(job.most_orders))
        self._places = asyncio.Semaphore(job.most_open or job.connections)
        self._deadline = 0.0
        self.accepted: set[int] = set()
        self.reported: set[int] = set()
        self.unsure = 0
        self.last_report = 0.0

    async def begin(self) -> None:
        """Place one order and hear of it. Raises LoadTestFailure."""
        deadline = time.monotonic() + _START_SECONDS
        number = next(self._numbers)
        await self._places.acquire()
        with closing(Caller(self._job.orders_url, _ANSWER_SECONDS)) as caller:
            while not await self._send(caller, number):
                await asyncio.sleep(_AFTER_FAULT_SECONDS)
                if time.monotonic() > deadline:
                    raise LoadTestFailure("no order is accepted")
        while not self.reported:
            await asyncio.sleep(_NEWS_EVERY_SECONDS)
            if time.monotonic() > deadline:
                raise LoadTestFailure("no order is reported")

    async def send(self, seconds: float) -> None:
        """Send orders for so long."""
        self._deadline = time.monotonic() + seconds
        async with asyncio.TaskGroup() as group:
            for _ in range(self._job.connections):
                group.create_task(self._send_on())

    async def listen(self) -> None:
        """Hear which orders are reported, until cancelled."""
        url = self._job.receiver_url
        assert url is not None
        with closing(Caller(url, _ANSWER_SECONDS)) as caller:
            while True:
                head = request_head("GET", f"{url}/news?{len(self.reported)}")
                pairs = array("d", (await caller.ask(head + b"\r\n")).body)
                for number, at in zip(pairs[::2], pairs[1::2], strict=True):
                    self.reported.add(int(number))
                    self.last_report = at
                    self._places.release()
                await asyncio.sleep(_NEWS_EVERY_SECONDS)

    async def _send_on(self) -> None:
        with closing(Caller(self._job.orders_url, _ANSWER_SECONDS)) as caller:
            for number in self._numbers:
                try:
                    async with asyncio.timeout(max(0.0, self._deadline - time.monotonic())):
                        await self._places.acquire()
                except TimeoutError:
                    return
                if not await self._send(caller, number):
                    self._places.release()
                    await asyncio.sleep(_AFTER_FAULT_SECONDS)
                if time.monotonic() > self._deadline:
                    return

    async def _send(self, caller: Caller, number: int) -> bool:
        """Send one order. Returns whether it was accepted."""
        try:
            heard = await caller.ask(self._requests(number))
        except FAULTS:
            self.unsure += 1
            return False
        if heard.status == _ACCEPTED:
            self.accepted.add(number)
            return True
        return False


def wreck(
    job: Job,
    supervised: Mapping[str, Supervised],
    victim: str,
    witness: Witness,
    patience_seconds: float,
) -> Wreck:
    """Load, kill in the middle, start again what ended, wait, and count. In the main thread.

    `patience_seconds`: how long nothing may be heard before it is over. Raises LoadTestFailure
    where nothing is accepted or reported to begin with.
    """
    return uvloop.run(_wreck(job, supervised, victim, witness, patience_seconds))


async def _wreck(
    job: Job,
    supervised: Mapping[str, Supervised],
    victim: str,
    witness: Witness,
    patience_seconds: float,
) -> Wreck:
    survivor = Survivor(job, requests_of(job, job.most_orders))
    async with asyncio.TaskGroup() as group:
        watching = [
            group.create_task(survivor.listen()),
            group.create_task(_supervise(supervised)),
        ]
        await survivor.begin()
        sending = group.create_task(survivor.send(job.seconds))
        await asyncio.sleep(job.seconds / 2)
        supervised[victim].kill()
        killed_at = time.monotonic()
        await sending
        await _until_quiet(witness, patience_seconds)
        for task in watching:
            task.cancel()
    return _count(survivor, witness.book(), witness.heard().repeated, killed_at)


async def _until_quiet(witness: Witness, patience_seconds: float) -> None:
    """Wait until nothing more is heard, also not of orders that were reported before."""
    newest, since = witness.heard(), time.monotonic()
    while time.monotonic() - since < patience_seconds and not await witness.is_done():
        await asyncio.sleep(_LOOK_SECONDS)
        if (now := witness.heard()) != newest:
            newest, since = now, time.monotonic()


async def _supervise(supervised: Mapping[str, Supervised]) -> None:
    while True:
        await asyncio.sleep(_RESTART_SECONDS)
        for each in supervised.values():
            each.start_again_if_ended()


def _count(survivor: Survivor, book: "Counter[int]", repeated: int, killed_at: float) -> Wreck:
    bought = set(book)
    return Wreck(
        Killed(
            accepted=len(survivor.accepted),
            lost=len(survivor.accepted - bought),
            bought_twice=sum(times > 1 for times in book.values()),
            reported_twice=repeated,
            unreported=len((survivor.accepted & bought) - survivor.reported),
        ),
        unsure=survivor.unsure,
        recovered_seconds=round(max(0.0, survivor.last_report - killed_at), 1),
    )
