"""The service itself, put up so that it can be killed like its peers, with servers of its own."""

import sys
from collections import Counter
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import asyncpg
import orjson

from app.embedded.folder import prepare
from app.embedded.postgres import start_postgres
from app.storage import lives
from loadtests import shop
from loadtests.orders import customer_number
from loadtests.peers.peer import Scene, fetch
from loadtests.peers.processes import Supervised, spawn_program, supervise, wait_for_port
from loadtests.shop import DealerManner
from loadtests.stage import Stage, environment, outside, set_stage

SERVICE = "service"
_MOST_ORDERS = 1_000_000


@contextmanager
def running(stage: Stage, logs: Path, dealer_seconds: float) -> Generator[Scene]:
    """`jalur serve` on a PostgreSQL that nobody else needs, the simulated dealers around it."""
    home = prepare(logs / "stage")
    with ExitStack() as stack:
        own = stack.enter_context(set_stage(home, len(stage.buyers)))
        postgres = Supervised(
            "postgres", own.postgres.process, lambda: start_postgres(home).process
        )
        stack.callback(postgres.stop)
        manner = DealerManner(answer_seconds=dealer_seconds)
        dsn = stack.enter_context(shop.copy(own.postgres.dsn))
        others = {each.name: each for each in stack.enter_context(outside(own, logs, manner))}
        log = logs / f"{SERVICE}.log"
        command = [sys.executable, "-m", "app", "serve"]
        service = supervise(SERVICE, partial(spawn_program, command, environment(own, dsn), log))
        stack.callback(service.stop)
        wait_for_port(int(own.addresses.service.rpartition(":")[2]), service, log)
        yield Scene(
            orders_url=f"{own.addresses.service}/v1/orders",
            kind="order",
            tokens=[buyer.token for buyer in own.buyers],
            receiver_url=own.addresses.receiver,
            read_book=partial(_read_book, own.addresses.simulator),
            supervised={each.name: each for each in (service, postgres)},
            around=others,
            ask_if_done=partial(_is_done, dsn),
        )


def _read_book(simulator_url: str) -> "Counter[int]":
    """How often each order was delivered, by the dealers' own book."""
    served = Counter(row["customer_number"] for row in orjson.loads(fetch(f"{simulator_url}/book")))
    numbers: dict[str, int] = {}
    for number in range(_MOST_ORDERS):
        if len(numbers) == len(served):
            break
        if (customer := customer_number(number)) in served:
            numbers[customer] = number
    return Counter({numbers[customer]: times for customer, times in served.items()})


async def _is_done(dsn: str) -> bool:
    connection = await asyncpg.connect(dsn)
    try:
        return (await lives.unfinished(connection)).nothing
    finally:
        await connection.close()
