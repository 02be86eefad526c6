"""Fifty healthy endpoints beside five bad ones: nobody waits for them, and nothing is lost.

Orders flow at a steady pace to 55 resellers, through the simulated dealers, to a webhook endpoint
each. In every other run five of the endpoints are bad: one hangs for 15 seconds, one answers 500,
one 429 with `Retry-After`, one redirects, one is disabled. The runs alternate, so that a busy
machine disturbs both kinds. Each run with bad endpoints ends with their recovery: the disabled one
is enabled, what is undelivered is replayed, and every event of every order must then have come.

    python -m loadtests.endpoints
"""

import argparse
import asyncio
import contextlib
import json
import signal
import sys
import time
from collections import defaultdict
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import uvloop
from standardwebhooks import Webhook

from app.errors import JalurError
from dealers.simulator.connection import Answer, Connection, Request, listen, on_wire
from loadtests import shop
from loadtests.caller import FAULTS, Caller, request_head
from loadtests.job import percentiles
from loadtests.orders import order_body, read_reference
from loadtests.programs import LoadTestFailure, running
from loadtests.shop import Buyer
from loadtests.stage import Stage, data_folder, service, set_stage

HEALTHY = 50
BAD = ("hangs", "fails", "asks to wait", "redirects", "disabled")
MOST_RATIO = 1.5
_CONNECTIONS = 32
_REQUEST_SECONDS = 30.0
_SETTLED_SECONDS = 30.0
"""How long after the last order healthy endpoints may take."""
_RECOVERED_SECONDS = 120.0
_REPLAY_EVERY_SECONDS = 20.0
_LOOK_SECONDS = 0.1
_ACCEPTED = 202
_HOOKS = b"/hooks/"
_HEARD = Answer(b"HTTP/1.1 204 No Content\r\n\r\n")
_BAD_ANSWERS = {
    "hangs": Answer(on_wire(b"late"), after_seconds=16.0),
    "fails": Answer(on_wire(b"oops", status=500)),
    "asks to wait": Answer(
        b"HTTP/1.1 429 Too Many Requests\r\nretry-after: 5\r\ncontent-length: 0\r\n\r\n"
    ),
    "redirects": Answer(b"HTTP/1.1 302 Found\r\nlocation: /hooks/0\r\ncontent-length: 0\r\n\r\n"),
}


@dataclass(slots=True)
class Inbox:
    """What came to each endpoint: by order number the moment of its first delivery."""

    keys: Sequence[Webhook]
    bad: dict[int, Answer] = field(default_factory=dict[int, Answer])
    heard: dict[int, dict[int, float]] = field(
        default_factory=lambda: defaultdict[int, dict[int, float]](dict)
    )
    rejected: int = 0

    def respond(self, request: Request) -> Answer:
        """Take a webhook, or treat it as a bad endpoint does."""
        endpoint = int(request.target.removeprefix(_HOOKS))
        if endpoint in self.bad:
            return self.bad[endpoint]
        headers = {name.decode(): value.decode() for name, value in request.headers.items()}
        try:
            event = self.keys[endpoint].verify(request.body, headers)
            number, buyer = read_reference(event["data"]["ref_id"])
        except Exception:  # noqa: BLE001 - whatever is wrong with it, it must not have been sent
            self.rejected += 1
            return Answer(on_wire(b"rejected", status=401))
        if buyer != endpoint:
            self.rejected += 1
            return Answer(on_wire(b"another's", status=401))
        self.heard[endpoint].setdefault(number, time.monotonic())
        return _HEARD


@dataclass(slots=True)
class Run:
    """One run: when each accepted order was answered, and what became of it."""

    with_bad: bool
    accepted: dict[int, float] = field(default_factory=dict[int, float])
    refused: int = 0
    rejected: int = 0
    waits: list[float] = field(default_factory=list[float])
    """From an order's acceptance to its first delivery, of healthy endpoints, in seconds."""
    late: int = 0
    """Orders of healthy endpoints that were not reported in time."""
    missing_before: int = 0
    """Orders of bad endpoints that had not been reported before these recovered."""
    lost: int = 0
    """Orders not reported in the end, whoever's."""
    recovery_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Wish:
    """What the command line asked for."""

    pairs: int
    seconds: float
    per_second: float
    data_dir: Path | None


def main() -> None:
    """Measure, report, and end with status 1 if anything was lost or the healthy ones waited."""
    wish = _read_arguments()
    signal.signal(signal.SIGTERM, lambda _number, _frame: sys.exit(1))
    try:
        with (
            data_folder(wish.data_dir) as folder,
            set_stage(folder, HEALTHY + len(BAD)) as stage,
        ):
            runs = [
                _one_run(stage, wish, number, with_bad=number % 2 == 1)
                for number in range(2 * wish.pairs)
            ]
    except (LoadTestFailure, JalurError) as error:
        sys.exit(f"endpoints: {error}")
    result = _result(runs)
    print(json.dumps(result), flush=True)
    sys.exit(0 if result["met"] else 1)


def _one_run(stage: Stage, wish: Wish, number: int, *, with_bad: bool) -> Run:
    logs = stage.folder / f"run-{number}"
    logs.mkdir()
    simulator = ["dealers.simulator", "--config", str(stage.folder / "simulator.json")]
    simulator += ["--port", stage.addresses.simulator.rpartition(":")[2]]
    with (
        shop.copy(stage.postgres.dsn) as dsn,
        running("simulator", simulator, logs) as sells,
        service(stage, dsn, {"service": ("serve",)}, logs),
    ):
        sells.read_line()
        run = uvloop.run(_drive(stage, wish, with_bad=with_bad))
    _tell(number, run)
    return run


async def _drive(stage: Stage, wish: Wish, *, with_bad: bool) -> Run:
    run = Run(with_bad)
    inbox = Inbox([Webhook(buyer.webhook_secret) for buyer in stage.buyers])
    async with _receiver(stage, inbox):
        if with_bad:
            await _go_bad(stage, inbox)
        await _send_orders(stage, wish, run)
        well = range(HEALTHY if with_bad else len(stage.buyers))
        await _until(lambda: not _missing(run, inbox, well), _SETTLED_SECONDS)
        run.late = len(_missing(run, inbox, well))
        run.waits = _waits(run, inbox)
        everybody = range(len(stage.buyers))
        run.missing_before = len(_missing(run, inbox, everybody))
        if with_bad:
            began = time.monotonic()
            await _recover(stage, run, inbox)
            run.recovery_seconds = round(time.monotonic() - began, 1)
        run.lost = len(_missing(run, inbox, everybody))
        run.rejected = inbox.rejected
    return run


@contextlib.asynccontextmanager
async def _receiver(stage: Stage, inbox: Inbox) -> AsyncGenerator[None]:
    """Every reseller's endpoint, in this process, until the block ends."""
    connections: set[Connection] = set()
    with listen(int(stage.addresses.receiver.rpartition(":")[2])) as listener:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(
            lambda: Connection(inbox.respond, connections), sock=listener
        )
        try:
            yield
        finally:
            server.close()
            for connection in list(connections):
                connection.hang_up()


async def _go_bad(stage: Stage, inbox: Inbox) -> None:
    """Turn the last five endpoints bad, and disable the one that is to be disabled."""
    for number, kind in enumerate(BAD, HEALTHY):
        if kind == "disabled":
            await _change(stage, stage.buyers[number], "disabled")
        else:
            inbox.bad[number] = _BAD_ANSWERS[kind]


async def _recover(stage: Stage, run: Run, inbox: Inbox) -> None:
    """Heal them, enable the disabled one, and have what is undelivered replayed, as a reseller
    does: again after a while, since what was just being sent then is not replayed."""
    inbox.bad.clear()
    await _change(stage, stage.buyers[HEALTHY + BAD.index("disabled")], "active")
    everybody = range(len(stage.buyers))
    deadline = time.monotonic() + _RECOVERED_SECONDS
    while _missing(run, inbox, everybody) and time.monotonic() < deadline:
        await _replay(stage)
        await _until(lambda: not _missing(run, inbox, everybody), _REPLAY_EVERY_SECONDS)


async def _replay(stage: Stage) -> None:
    for buyer in stage.buyers[HEALTHY:]:
        async with _client(stage, buyer) as http:
            page: dict[str, object] = {"has_more": True, "next_cursor": None}
            while page["has_more"]:
                asked = {"cursor": page["next_cursor"]}
                answer = await http.post("/v1/deliveries/replay", json=asked)
                page = answer.raise_for_status().json()


async def _change(stage: Stage, buyer: Buyer, status: str) -> None:
    async with _client(stage, buyer) as http:
        (endpoint,) = (await http.get("/v1/webhook-endpoints")).json()["data"]
        answer = await http.patch(
            f"/v1/webhook-endpoints/{endpoint['id']}",
            json={"status": status},
            headers={"if-match": f'"{endpoint["version"]}"'},
        )
        answer.raise_for_status()


def _client(stage: Stage, buyer: Buyer) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        base_url=stage.addresses.service,
        headers={"authorization": f"Bearer {buyer.token}"},
        timeout=_REQUEST_SECONDS,
        trust_env=False,
    )


# ------------------------------------------------------------------ orders


async def _send_orders(stage: Stage, wish: Wish, run: Run) -> None:
    """Send orders at a steady pace, each reseller's turn after the other's."""
    count = round(wish.seconds * wish.per_second)
    began = time.monotonic()
    numbers = iter(range(count))
    async with asyncio.TaskGroup() as group:
        for _ in range(_CONNECTIONS):
            group.create_task(_send_some(stage, wish, run, numbers, began))


async def _send_some(
    stage: Stage, wish: Wish, run: Run, numbers: Iterator[int], began: float
) -> None:
    url = f"{stage.addresses.service}/v1/orders"
    caller = Caller(url, _REQUEST_SECONDS)
    for number in numbers:
        await asyncio.sleep(max(0.0, began + number / wish.per_second - time.monotonic()))
        buyer = number % len(stage.buyers)
        token = stage.buyers[buyer].token
        head = request_head(
            "POST", url, authorization=f"Bearer {token}", content_type="application/json"
        )
        body = order_body(number, buyer)
        sent_at = time.monotonic()
        try:
            answer = await caller.ask(b"%bcontent-length: %d\r\n\r\n%b" % (head, len(body), body))
        except FAULTS:
            run.refused += 1
            continue
        if answer.status == _ACCEPTED:
            run.accepted[number] = sent_at
        else:
            run.refused += 1
    caller.close()


def _missing(run: Run, inbox: Inbox, endpoints: range) -> list[int]:
    """Accepted orders of these endpoints that were not reported yet."""
    everybody = HEALTHY + len(BAD)
    return [
        number
        for number in run.accepted
        if (number % everybody) in endpoints and number not in inbox.heard[number % everybody]
    ]


def _waits(run: Run, inbox: Inbox) -> list[float]:
    everybody = HEALTHY + len(BAD)
    return [
        inbox.heard[number % everybody][number] - sent_at
        for number, sent_at in run.accepted.items()
        if number % everybody < HEALTHY and number in inbox.heard[number % everybody]
    ]


async def _until(holds: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not holds() and time.monotonic() < deadline:  # noqa: ASYNC110 - asks other processes
        await asyncio.sleep(_LOOK_SECONDS)


# ------------------------------------------------------------------ figures


def _result(runs: Sequence[Run]) -> dict[str, object]:
    without, beside = (
        percentiles([wait for run in runs if run.with_bad == kind for wait in run.waits])
        for kind in (False, True)
    )
    ratio = round(beside.p99_ms / max(without.p99_ms, 0.001), 3)
    wrong = sum(run.lost + run.late + run.refused + run.rejected for run in runs)
    return {
        "runs": len(runs),
        "orders": sum(len(run.accepted) for run in runs),
        "healthy_p50_ms": {"without": without.p50_ms, "beside_bad": beside.p50_ms},
        "healthy_p99_ms": {"without": without.p99_ms, "beside_bad": beside.p99_ms},
        "p99_ratio": ratio,
        "most_ratio": MOST_RATIO,
        "undelivered_before_recovery": sum(run.missing_before for run in runs),
        "recovery_seconds": [run.recovery_seconds for run in runs if run.with_bad],
        "late": sum(run.late for run in runs),
        "lost": sum(run.lost for run in runs),
        "refused": sum(run.refused for run in runs),
        "rejected": sum(run.rejected for run in runs),
        "met": ratio <= MOST_RATIO and wrong == 0,
    }


def _tell(number: int, run: Run) -> None:
    kind = "beside five bad endpoints" if run.with_bad else "fifty-five healthy endpoints"
    figures = percentiles(run.waits)
    print(
        f"run {number + 1}, {kind}: {len(run.accepted)} orders, p50 {figures.p50_ms} ms, "
        f"p99 {figures.p99_ms} ms to the first delivery; {run.missing_before} undelivered before "
        f"recovery, {run.lost} after",
        file=sys.stderr,
        flush=True,
    )


def _read_arguments() -> Wish:
    parser = argparse.ArgumentParser(prog="python -m loadtests.endpoints", description=__doc__)
    parser.add_argument("--pairs", type=int, default=2, help="runs of each kind; 2")
    parser.add_argument("--seconds", type=float, default=20.0, help="length of a run; 20")
    parser.add_argument("--per-second", type=float, default=110.0, help="orders a second; 110")
    parser.add_argument("--data-dir", type=Path, help="keep databases and logs in this new folder")
    given = parser.parse_args()
    if min(given.pairs, given.seconds, given.per_second) <= 0:
        parser.error("numbers must be above zero")
    return Wish(given.pairs, given.seconds, given.per_second, given.data_dir)


if __name__ == "__main__":
    main()
