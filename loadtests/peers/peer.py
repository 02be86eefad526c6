"""A peer under a load, and killed in the middle of one: the same for all of them."""

import json
from array import array
from collections import Counter
from collections.abc import Awaitable, Callable, Generator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.request import urlopen

from loadtests.job import Job
from loadtests.peers.kills import Heard, Wreck, wreck
from loadtests.peers.processes import Supervised
from loadtests.programs import Program, running
from loadtests.stage import Stage
from loadtests.trial import Load, Measured, drive, figures

_MOST_PER_SECOND = 12_000
"""Orders prepared for each second of a load; more than any peer takes."""
_WARM_UP_ORDERS = 200
_ANSWER_SECONDS = 60.0
_DEALER_SECONDS = 0.1
"""Where something is killed, dealers take time, as real ones do: so purchases are under way."""


@dataclass(frozen=True, slots=True)
class Scene:
    """A peer that is up, with the dealer and the receiver around it."""

    orders_url: str
    kind: str
    tokens: Sequence[str] = field(repr=False)
    receiver_url: str
    read_book: Callable[[], "Counter[int]"]
    supervised: Mapping[str, Supervised]
    """The peer's own processes by name."""
    around: Mapping[str, Program]
    ask_if_done: Callable[[], Awaitable[bool]] | None = None

    def job(self, load: Load) -> Job:
        """The load as the client is told it."""
        most_orders = load.most_orders or round(load.seconds * _MOST_PER_SECOND)
        return Job(
            orders_url=self.orders_url,
            kind="sendsms" if self.kind == "sendsms" else "order",
            tokens=list(self.tokens),
            seconds=load.seconds,
            most_orders=most_orders,
            connections=load.connections,
            warm_up_orders=min(_WARM_UP_ORDERS, most_orders),
            receiver_url=self.receiver_url,
            most_open=load.open_orders,
        )

    def process_ids(self) -> dict[str, int]:
        """Of everybody's processes, by name."""
        own = {name: each.process.pid for name, each in self.supervised.items()}
        return own | {name: each.process.pid for name, each in self.around.items()}

    def book(self) -> "Counter[int]":
        """How often each order was delivered by the dealer."""
        return self.read_book()

    async def is_done(self) -> bool:
        """Whether the peer knows that nothing is left to do; never, where it cannot know."""
        return self.ask_if_done is not None and await self.ask_if_done()

    def heard(self) -> Heard:
        """What the receiver has heard."""
        return Heard(**json.loads(fetch(f"{self.receiver_url}/counts")))


Staging = Callable[[Stage, Path, float], AbstractContextManager[Scene]]
"""Puts a peer up for as long as the block lasts; what it keeps and logs goes to the folder. The
dealers answer after so many seconds."""


@dataclass(frozen=True, slots=True)
class Peer:
    """A contender: how it is set up, and which of its processes are killed."""

    name: str
    what: str
    staging: Staging
    worker: str
    """The process that buys: it is killed."""
    keeper: str | None
    """The one that keeps the queue, where it is another."""
    patience_seconds: float
    """How long nothing may be heard after a kill before it is over; what is missing is lost."""

    def measure(self, stage: Stage, load: Load, logs: Path) -> Measured:
        """Put it under a load once. Raises LoadTestFailure."""
        with self.staging(stage, logs, 0.0) as scene:
            driven = drive(scene.job(load), scene.process_ids(), logs)
            book, heard = scene.book(), scene.heard()
        lost = driven.outcome.accepted_in_all - min(len(book), heard.orders)
        doubled = sum(times > 1 for times in book.values())
        rejected = [f"{count} webhooks rejected: {why}" for why, count in heard.rejected.items()]
        refused = driven.outcome.refused
        turned_away = [f"{refused} orders: HTTP 503"] if refused else []
        faults = [*driven.outcome.faults, *turned_away, *rejected]
        return Measured(figures(driven, lost, doubled), faults)

    def kills(self, stage: Stage, load: Load, logs: Path) -> dict[str, Wreck]:
        """Kill the process that buys, and in another load the one that keeps the queue."""
        found: dict[str, Wreck] = {}
        for victim in filter(None, (self.worker, self.keeper)):
            folder = logs / victim
            folder.mkdir()
            found[victim] = self._wreck(stage, load, folder, victim)
        return found

    def _wreck(self, stage: Stage, load: Load, logs: Path, victim: str) -> Wreck:
        with self.staging(stage, logs, _DEALER_SECONDS) as scene:
            job = scene.job(load)
            return wreck(job, scene.supervised, victim, scene, self.patience_seconds)


@contextmanager
def around(
    logs: Path, receiver: list[str], dealer_seconds: float
) -> Generator[tuple[dict[str, Program], str, str]]:
    """The dealer and the receiver; with them their addresses, the dealer's first."""
    waits = ["--answer-seconds", str(dealer_seconds)]
    upstream = ["loadtests.peers.upstream", "--port", "0", *waits]
    with (
        running("upstream", upstream, logs) as sells,
        running("receiver", [*receiver, "--port", "0"], logs) as hears,
    ):
        addresses = [json.loads(each.read_line())["listening"] for each in (sells, hears)]
        yield {"upstream": sells, "receiver": hears}, addresses[0], addresses[1]


def read_book(upstream_url: str) -> "Counter[int]":
    """How often each order was delivered by the light dealer."""
    return Counter(array("q", fetch(f"{upstream_url}/book")))


def fetch(url: str) -> bytes:
    """What stands at an address of this machine."""
    with urlopen(url, timeout=_ANSWER_SECONDS) as answer:
        return answer.read()
