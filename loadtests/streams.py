"""A thousand clients listen to one process while orders end: does each hear all of its events, once
and in order; how late; what does a client cost; and how fast does the process stop with all there?

    python -m loadtests.streams
"""

import argparse
import asyncio
import json
import resource
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import asyncpg
import psutil
import uvloop

from app.errors import JalurError
from loadtests import shop
from loadtests.caller import FAULTS, Caller, request_head
from loadtests.job import percentiles
from loadtests.listeners import Heard, Listener, open_all
from loadtests.orders import order_body
from loadtests.programs import LoadTestFailure, Program
from loadtests.shop import Buyer
from loadtests.stage import BUYERS, Stage, data_folder, outside, service, set_stage

_MOST_STOP_SECONDS = 5.0
_SILENCE_SECONDS = 30.0
_LOOK_SECONDS = 0.2
_FILES = 8192
_ACCEPTED = 202
_REQUEST_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Wish:
    """What the command line asked for."""

    clients: int
    orders_a_client: int
    connections: int
    per_second: float
    """Orders, at most: a service that has more to do than it can says nothing about streams."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What came of it. Delays are from the beginning of the transaction that made the event."""

    clients: int
    orders: int
    events: int
    heard: int
    missed: int
    doubled: int
    out_of_order: int
    memory_bytes_a_client: int
    delay_p50_ms: float
    delay_p99_ms: float
    orders_per_second: float
    streams_ended: int
    stop_seconds: float
    drain_seconds: int
    exit_status: int

    @property
    def is_good(self) -> bool:
        """Whether all that must hold held."""
        nothing_wrong = not (self.missed or self.doubled or self.out_of_order)
        return (
            nothing_wrong
            and self.events == self.heard == self.orders
            and self.streams_ended == self.clients
            and self.exit_status == 0
            and self.stop_seconds < _MOST_STOP_SECONDS
        )


def main() -> None:
    """Measure, tell, and end with status 1 unless all holds."""
    wish = _read_arguments()
    signal.signal(signal.SIGTERM, lambda _number, _frame: sys.exit(1))
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(_FILES, hard), hard))
    try:
        with data_folder(None) as folder, set_stage(folder) as stage:
            measured = _measure(stage, wish, folder)
    except (LoadTestFailure, JalurError) as error:
        sys.exit(f"streams: {error}")
    print(json.dumps(asdict(measured) | {"ok": measured.is_good}), flush=True)
    sys.exit(0 if measured.is_good else 1)


def _measure(stage: Stage, wish: Wish, logs: Path) -> Measured:
    # The time that a load balancer needs to notice is not the streams': it is left out.
    told = {"JALUR_DRAIN_SECONDS": "0"}
    with (
        shop.copy(stage.postgres.dsn) as dsn,
        outside(stage, logs),
        service(stage, dsn, {"service": ("serve",)}, logs, told) as (program,),
    ):
        return uvloop.run(_listen(stage, wish, dsn, program))


async def _listen(stage: Stage, wish: Wish, dsn: str, program: Program) -> Measured:
    buyers = stage.buyers[: wish.clients]
    process = psutil.Process(program.process.pid)
    url = f"{stage.addresses.service}/v1/orders"
    await _order(url, buyers, range(wish.clients), wish)
    await _until_told(dsn, wish.clients)
    _tell(f"{wish.clients} orders to warm up; opening {wish.clients} streams")
    before = process.memory_info().rss
    stream_url = f"{stage.addresses.service}/v1/events/stream"
    listeners = await open_all(stream_url, [buyer.token for buyer in buyers])
    memory = (process.memory_info().rss - before) // wish.clients
    count = wish.clients * wish.orders_a_client
    _tell(f"{memory} bytes a client; sending {count} orders")
    started = time.monotonic()
    await _order(url, buyers, range(wish.clients, wish.clients + count), wish)
    await _until_heard(listeners, count)
    seconds = time.monotonic() - started
    _tell(f"all heard after {seconds:.1f} s; stopping")
    stop_seconds, status = await _stop(program)
    ended = sum(listener.has_ended for listener in listeners)
    expected = await _events(dsn)
    delays = [each.seconds for listener in listeners for each in listener.heard]
    spread = percentiles(delays)
    faults = [_compare(expected[i], listeners[i].heard) for i in range(wish.clients)]
    return Measured(
        clients=wish.clients,
        orders=count,
        events=sum(len(each) for each in expected.values()),
        heard=len(delays),
        missed=sum(each[0] for each in faults),
        doubled=sum(each[1] for each in faults),
        out_of_order=sum(each[2] for each in faults),
        memory_bytes_a_client=memory,
        delay_p50_ms=spread.p50_ms,
        delay_p99_ms=spread.p99_ms,
        orders_per_second=round(count / seconds, 1),
        streams_ended=ended,
        stop_seconds=round(stop_seconds, 2),
        drain_seconds=0,
        exit_status=status,
    )


async def _order(url: str, buyers: Sequence[Buyer], numbers: Sequence[int], wish: Wish) -> None:
    """Place these orders, a few at once. Raises LoadTestFailure."""
    remaining, started = iter(numbers), time.monotonic()

    async def send() -> None:
        caller = Caller(url, _REQUEST_SECONDS)
        for number in remaining:
            due = started + (number - numbers[0]) / wish.per_second
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            buyer = number % len(buyers)
            body = order_body(number, buyer)
            head = request_head(
                "POST",
                url,
                authorization=f"Bearer {buyers[buyer].token}",
                content_type="application/json",
                content_length=str(len(body)),
            )
            answer = await caller.ask(head + b"\r\n" + body)
            if answer.status != _ACCEPTED:
                raise LoadTestFailure(f"order {number}: {answer.status} {answer.body!r}")
        caller.close()

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(wish.connections):
                group.create_task(send())
    except* (*FAULTS, LoadTestFailure) as errors:
        raise LoadTestFailure(f"orders are not taken: {errors.exceptions[0]}") from None


async def _until_told(dsn: str, count: int) -> None:
    """Until so many events are written, which are then gone by: streams begin behind them."""
    connection = await asyncpg.connect(dsn)
    deadline = time.monotonic() + _SILENCE_SECONDS
    try:
        while await connection.fetchval("select count(*) from events") < count:
            if time.monotonic() > deadline:
                raise LoadTestFailure("the first orders do not end")
            await asyncio.sleep(_LOOK_SECONDS)
        await connection.execute("create table heard_before as select event_id from events")
    finally:
        await connection.close()


async def _until_heard(listeners: Sequence[Listener], count: int) -> None:
    """Until so many were heard in all, or nothing new for long."""
    heard, since = 0, time.monotonic()
    while heard < count and time.monotonic() - since < _SILENCE_SECONDS:
        await asyncio.sleep(_LOOK_SECONDS)
        now = sum(len(listener.heard) for listener in listeners)
        if now > heard:
            heard, since = now, time.monotonic()


async def _stop(program: Program) -> tuple[float, int]:
    """Stop as an operator does, with everybody connected: seconds until it is gone, its status."""
    started = time.monotonic()
    program.process.send_signal(signal.SIGTERM)
    status = await asyncio.to_thread(program.process.wait)
    return time.monotonic() - started, status


async def _events(dsn: str) -> dict[int, list[str]]:
    """What each client should have heard, by its number, in order."""
    connection = await asyncpg.connect(dsn)
    try:
        rows = await connection.fetch(
            """
            select split_part(o.ref_id, '-', 1)::int as buyer, e.event_id
            from events e join orders o using (lane, order_id)
            where e.event_id not in (select event_id from heard_before)
            order by e.reseller_id, e.event_seq
            """
        )
    finally:
        await connection.close()
    found: dict[int, list[str]] = {}
    for buyer, event_id in rows:
        found.setdefault(buyer, []).append(f"evt_{event_id}")
    return found


def _compare(expected: Sequence[str], heard: Sequence[Heard]) -> tuple[int, int, int]:
    """How many were missed, heard more than once, and out of order."""
    ids = [each.event_id for each in heard]
    once = list(dict.fromkeys(ids))
    known = set(ids)
    in_order = [each for each in expected if each in known]
    misplaced = sum(one != other for one, other in zip(once, in_order, strict=False))
    return len(set(expected) - known), len(ids) - len(once), misplaced


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _read_arguments() -> Wish:
    parser = argparse.ArgumentParser(prog="python -m loadtests.streams", description=__doc__)
    parser.add_argument("--clients", type=int, default=BUYERS, help=f"streams; {BUYERS}")
    parser.add_argument("--orders", type=int, default=10, help="orders a client; 10")
    parser.add_argument("--connections", type=int, default=32, help="orders sent at once; 32")
    parser.add_argument("--per-second", type=float, default=200, help="orders at most; 200")
    given = parser.parse_args()
    least = min(given.orders, given.connections, given.per_second)
    if not 1 <= given.clients <= BUYERS or least < 1:
        parser.error(f"clients must be 1 to {BUYERS}, the others above zero")
    return Wish(given.clients, given.orders, given.connections, given.per_second)


if __name__ == "__main__":
    main()
