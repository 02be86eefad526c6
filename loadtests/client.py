"""The load client: sends orders over HTTP, a process of its own.

A closed load sends the next order once one is answered. An open one sends each at its own moment,
laid down before, and counts from that moment: where everything stands still, all the orders that
fell due meanwhile have waited, not only those that were on their way.

It reads a job from standard input, warms up, says that it is ready, and begins when told to go; so
whoever measures the other processes can look at them right before and right after.

    python -m loadtests.client
"""

import asyncio
import sys
import time
from array import array
from collections import Counter
from collections.abc import Callable, Coroutine
from contextlib import closing

import uvloop

from loadtests.asking import requests_of
from loadtests.caller import FAULTS, Caller, request_head
from loadtests.job import Job, Outcome, percentiles, read_job

_ACCEPTED, _REFUSED = 202, 503
_REQUEST_SECONDS = 30.0
_NEWS_EVERY_SECONDS = 0.01
_SILENCE_SECONDS = 20.0
"""How long no order may be reported before those that are open are given up."""
_TIMER_SECONDS = 0.0005
"""Timers are rounded to the millisecond: with half of one more, none comes before its time."""
_HEAD_START_SECONDS = 0.01


class Load:
    """One job under way."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._callers = [Caller(job.orders_url, _REQUEST_SECONDS) for _ in range(job.connections)]
        total = job.warm_up_orders + job.most_orders
        self._request = requests_of(job, total)
        self._begun_at = array("d", bytes(8 * total))
        """When an order was due, or sent where the load is closed: what durations count from."""
        self._lags = array("d")
        self._answered_at = array("d", bytes(8 * total))
        self._heard_at = array("d", bytes(8 * total))
        self._free = asyncio.Semaphore(job.most_open or job.connections)
        self._heard = 0
        self._accepted = 0
        self._refused = 0
        self._faults: Counter[str] = Counter()

    async def run(self, numbers: range, seconds: float) -> None:
        """Send these orders for at most so long, then wait until every accepted one is reported."""
        await self._run(self._send_all(numbers, seconds))

    async def run_open(self, numbers: range, per_second: float) -> None:
        """Send these orders, so many a second, then wait as `run` does."""
        await self._run(self._send_due(numbers, per_second))

    async def _run(self, sending: Coroutine[None, None, None]) -> None:
        accepted_before, heard_before = self._accepted, self._heard
        async with asyncio.TaskGroup() as group:
            listening = None
            if self._job.receiver_url is not None:
                listening = group.create_task(self._listen(self._job.receiver_url))
            await sending
            if listening is not None:
                expected = heard_before + self._accepted - accepted_before
                await self._until_heard(expected)
                listening.cancel()

    def close(self) -> None:
        """Close all connections."""
        for caller in self._callers:
            caller.close()

    def outcome(self, numbers: range, cpu_seconds: float) -> Outcome:
        """What became of these orders."""
        sent = [number for number in numbers if self._answered_at[number]]
        end_to_end = None
        if self._job.receiver_url is None:
            ended = self._answered_at
        else:
            ended, unheard = self._heard_at, [each for each in sent if not self._heard_at[each]]
            if unheard:
                self._faults["accepted and never reported"] = len(unheard)
            sent = [number for number in sent if self._heard_at[number]]
            end_to_end = percentiles([ended[each] - self._begun_at[each] for each in sent])
        first = min((self._begun_at[each] for each in sent), default=0.0)
        last = max((ended[each] for each in sent), default=0.0)
        last_sent = max((self._begun_at[each] for each in sent), default=0.0)
        return Outcome(
            orders=len(sent),
            seconds=last - first,
            sending_seconds=last_sent - first,
            ended_while_sending=sum(ended[each] <= last_sent for each in sent),
            cpu_seconds=cpu_seconds,
            accept=percentiles([self._answered_at[each] - self._begun_at[each] for each in sent]),
            end_to_end=end_to_end,
            lag=percentiles(self._lags) if self._lags else None,
            accepted_in_all=self._accepted,
            refused=self._refused,
            faults=[f"{count} orders: {what}" for what, count in self._faults.items()],
        )

    async def _send_all(self, numbers: range, seconds: float) -> None:
        remaining, deadline = iter(numbers), time.monotonic() + seconds

        async def send_on(caller: Caller) -> None:
            for number in remaining:
                await self._free.acquire()
                self._begun_at[number] = time.monotonic()
                if not await self._send(caller, number) or self._job.receiver_url is None:
                    self._free.release()
                if time.monotonic() > deadline:
                    return

        await self._on_all_connections(send_on)

    async def _send_due(self, numbers: range, per_second: float) -> None:
        remaining, begin = iter(enumerate(numbers)), time.monotonic() + _HEAD_START_SECONDS

        async def send_on(caller: Caller) -> None:
            for place, number in remaining:
                due = begin + place / per_second
                early_seconds = due - time.monotonic()
                if early_seconds > 0:
                    await asyncio.sleep(early_seconds + _TIMER_SECONDS)
                self._begun_at[number] = due
                self._lags.append(time.monotonic() - due)
                await self._send(caller, number)

        await self._on_all_connections(send_on)

    async def _on_all_connections(
        self, send_on: Callable[[Caller], Coroutine[None, None, None]]
    ) -> None:
        async with asyncio.TaskGroup() as group:
            for caller in self._callers:
                group.create_task(send_on(caller))

    async def _send(self, caller: Caller, number: int) -> bool:
        """Send one order. Returns whether it was accepted."""
        request = self._request(number)
        try:
            answer = await caller.ask(request)
        except FAULTS as error:
            self._faults[type(error).__name__] += 1
            return False
        if answer.status == _REFUSED:
            self._refused += 1
            return False
        if answer.status != _ACCEPTED:
            self._faults[f"HTTP {answer.status}"] += 1
            return False
        self._answered_at[number] = time.monotonic()
        self._accepted += 1
        return True

    async def _listen(self, receiver_url: str) -> None:
        """Take up what the receiver has verified; each reported order makes room for another."""
        with closing(Caller(receiver_url, _REQUEST_SECONDS)) as caller:
            while True:
                head = request_head("GET", f"{receiver_url}/news?{self._heard}")
                self._take_up(array("d", (await caller.ask(head + b"\r\n")).body))
                await asyncio.sleep(_NEWS_EVERY_SECONDS)

    def _take_up(self, pairs: "array[float]") -> None:
        for number, at in zip(pairs[::2], pairs[1::2], strict=True):
            self._heard_at[int(number)] = at
            self._free.release()
        self._heard += len(pairs) // 2

    async def _until_heard(self, expected: int) -> None:
        newest, since = self._heard, time.monotonic()
        while self._heard < expected and time.monotonic() - since < _SILENCE_SECONDS:
            await asyncio.sleep(0.01)
            if self._heard != newest:
                newest, since = self._heard, time.monotonic()


async def work() -> None:
    """Do one job. Between `ready` and the outcome nothing but the measured load runs here."""
    job = read_job(_read_line())
    load = Load(job)
    await load.run(range(job.warm_up_orders), _REQUEST_SECONDS)
    _write_line(b"ready\n")
    _read_line()
    before = time.process_time()
    measured = range(job.warm_up_orders, job.warm_up_orders + job.most_orders)
    if job.per_second is None:
        await load.run(measured, job.seconds)
    else:
        await load.run_open(measured, job.per_second)
    outcome = load.outcome(measured, time.process_time() - before)
    load.close()
    _write_line(outcome.to_line())
    # Until it is ended, its memory can be looked at.
    _read_line()


def _read_line() -> bytes:
    return sys.stdin.buffer.readline()


def _write_line(line: bytes) -> None:
    sys.stdout.buffer.write(line)
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    uvloop.run(work())
