"""Installations in a chain, shown by one command: two that buy from each other, three in a circle.

An order enters at the first of two installations, is bought at the second and there at a simulated
dealer that misbehaves by the number's last digits. What every witness says in the end is compared:
both ledgers, both accounts of the order, the dealer's book. Then an order goes into a circle of
three, each of which has only the next one to buy from: it is refused where it comes round, fails,
and no money stays reserved anywhere.

    python -m loadtests.chain
"""

import argparse
import asyncio
import itertools
import json
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path

import httpx
import uvloop

from app.embedded.folder import choose_port
from app.embedded.postgres import start_postgres
from app.errors import JalurError
from loadtests.installations import (
    DEALER_TIMEOUT_SECONDS,
    SKU,
    Account,
    Buyer,
    Installation,
    Supplier,
    book,
    install,
    supplier_of,
    until_finished,
)
from loadtests.job import Percentiles, percentiles
from loadtests.programs import LoadTestFailure, Program, running
from loadtests.stage import data_folder

DEALER = "nusantara"
DEALER_COST = 10_300
UPSTREAM_PRICE = 10_500
DOWNSTREAM_PRICE = 10_700
_PARTNER_PRICE = 10_200
"""What the last of the circle pays at the first: without the circle, it would be a good buy."""
CREDENTIALS = {"username": "jalur", "api_key": "key", "webhook_secret": "hook"}
TIMING = {
    "callback_seconds": 0.3,
    "late_success_seconds": 0.8,
    "reversal_seconds": 0.8,
    "late_answer_seconds": 2 * DEALER_TIMEOUT_SECONDS,
    "slow_answer_seconds": 0.5,
    "late_serial_seconds": 0.5,
    "callback_retry_seconds": 0.3,
}

ENDS: Mapping[str, tuple[str, str | None]] = {
    "00": ("succeeded", None),
    "70": ("succeeded", None),
    "71": ("succeeded", None),
    "72": ("failed", "not-delivered"),
    "73": ("failed", "not-delivered"),
    "74": ("failed", "number-refused"),
    "75": ("succeeded", None),
    "76": ("succeeded", None),
    "77": ("succeeded", None),
    "78": ("succeeded", None),
    "79": ("succeeded", None),
    "80": ("reversed", None),
    "81": ("succeeded", None),
    "82": ("succeeded", None),
    "83": ("succeeded", None),
    "84": ("succeeded", None),
    "85": ("succeeded", None),
    "86": ("succeeded", None),
    "87": ("failed", "not-delivered"),
}
"""How an order ends at both installations, by what the dealer behind the second one does."""


_LOSSY_WAVES = (("75", "76", "77"), ("81", "82", "83"))
"""Behaviours that a breaker counts as failures: five of them on end would open it."""
_CALM_NUMBERS = itertools.count(1)
_NO_ROUTE = 409
_TRIES = 30


@dataclass(frozen=True, slots=True)
class Chained:
    """What became of the orders through two installations."""

    orders: int
    succeeded: int
    failed: int
    reversed: int
    webhooks_taken: int
    """Callbacks of the second installation that the first one settled or asked about."""
    end_to_end: Percentiles
    """Of the orders that the dealer delivers at once."""


@dataclass(frozen=True, slots=True)
class Circle:
    """What became of an order that went round."""

    status: str
    failure: str | None
    installations: int
    orders: int
    """In all installations: the one that came round stands nowhere."""
    reserved_rupiah: int
    spent_rupiah: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Pair:
    """Two installations and who buys there."""

    downstream: Installation
    upstream: Installation
    customer: Buyer
    """Who orders at the first one."""
    link: Buyer
    """The first one, as the second knows it."""
    webhook_secret: str = field(repr=False)
    """What the second one signs with."""


# ------------------------------------------------------------------ two in a chain


async def furnish_pair(
    server_dsn: str,
    ports: Sequence[int],
    simulator_url: str,
    between: str | None = None,
) -> Pair:
    """Two installations, the dealer behind the second one. `between` stands in for its address."""
    downstream = await install(server_dsn, "hilir", ports[0])
    upstream = await install(server_dsn, "hulu", ports[1])
    link = await upstream.enrol("hilir")
    customer = await downstream.enrol("Toko")
    options = {"check_interval_seconds": "0.2"}
    dealer = Supplier(
        DEALER, "digiflazz", f"{simulator_url}/{DEALER}", DEALER_COST, CREDENTIALS, options
    )
    await upstream.trade({"standard": UPSTREAM_PRICE}, [dealer])
    supplier = await supplier_of(upstream, downstream, link, UPSTREAM_PRICE, between)
    await downstream.trade({"standard": DOWNSTREAM_PRICE}, [supplier])
    secret = supplier.credentials["webhook_secret"]
    return Pair(downstream, upstream, customer, link, secret)


def write_simulator(path: Path, upstream_port: int) -> Path:
    """The configuration of the dealer behind the second installation."""
    callback_url = f"http://127.0.0.1:{upstream_port}/v1/callbacks/{DEALER}/chain-path"
    dealer = {
        "dealer_id": DEALER,
        "protocol": "digiflazz",
        "credentials": CREDENTIALS,
        "callback_url": callback_url,
        "balance_rupiah": 1_000_000_000,
        "prices": {SKU: DEALER_COST},
    }
    path.write_text(json.dumps({"dealers": [dealer], "timing": TIMING}))
    return path


async def order(client: httpx.AsyncClient, ref_id: str, customer_number: str) -> None:
    """Place one order. Raises LoadTestFailure where it is not accepted."""
    body = {"ref_id": ref_id, "sku": SKU, "customer_number": customer_number}
    answer = await client.post("/v1/orders", json=body)
    for _ in range(_TRIES):
        if answer.status_code != _NO_ROUTE:
            break
        # Too much was lost on the way to the only dealer: it is tried again in ten seconds.
        await asyncio.sleep(1)
        answer = await client.post("/v1/orders", json=body)
    if answer.status_code not in (200, 202):
        raise LoadTestFailure(f"{ref_id} is not accepted: {answer.text}")


async def buy(pair: Pair, numbers: Mapping[str, str]) -> None:
    """Place an order for each reference and its number."""
    async with pair.downstream.client(pair.customer) as client:
        for ref_id, number in numbers.items():
            await order(client, ref_id, number)


async def try_every_behaviour(pair: Pair, simulator_url: str) -> list[dict[str, str | None]]:
    """Place an order for each of the dealer's behaviours. Returns its book."""
    lossy = [digits for wave in _LOSSY_WAVES for digits in wave]
    calm = [digits for digits in ENDS if digits not in lossy]
    for wave in (calm, *_LOSSY_WAVES):
        await buy(pair, {f"digits-{digits}": f"0812345678{digits}" for digits in wave})
        await finish(pair, simulator_url)
        number = next(_CALM_NUMBERS)
        await buy(pair, {f"calm-{number}": f"0821{number:06d}00"})
    return await finish(pair, simulator_url)


async def finish(pair: Pair, simulator_url: str) -> list[dict[str, str | None]]:
    """Wait until nothing is left to do anywhere. Returns the dealer's book."""
    await until_finished(simulator_url, pair.downstream, pair.upstream)
    return await book(simulator_url)


async def faults_of(pair: Pair, delivered: Sequence[Mapping[str, str | None]]) -> list[str]:
    """Where the witnesses disagree, `delivered` being the dealer's book: a sentence each."""
    mine = await pair.downstream.account(pair.customer)
    theirs = await pair.upstream.account(pair.link)
    faults = [
        f"{each.name}: {count} discrepancies in the ledger"
        for each in (pair.downstream, pair.upstream)
        if (count := await each.discrepancies())
    ]
    faults += _money_faults("hilir", mine, DOWNSTREAM_PRICE)
    faults += _money_faults("hulu", theirs, UPSTREAM_PRICE)
    standing = [row["dealer_ref"] for row in delivered if row["reversed_at"] is None]
    return faults + _order_faults(mine, theirs, standing)


def _money_faults(name: str, account: Account, price: int) -> list[str]:
    owed = price * sum(each.status == "succeeded" for each in account.outcomes)
    faults = [
        f"{name}: {each.ref_id} is {each.status} and was charged {each.charged}"
        for each in account.outcomes
        if each.charged != (price if each.status == "succeeded" else 0)
    ]
    if (account.spent_rupiah, account.reserved_rupiah) != (owed, 0):
        faults.append(f"{name}: {account.spent_rupiah} spent of {owed} owed")
    return faults


def _order_faults(mine: Account, theirs: Account, standing: Sequence[str | None]) -> list[str]:
    """Each order against its twin at the second installation, and that against the book."""
    twins = {each.ref_id: each for each in theirs.outcomes}
    faults: list[str] = []
    for each in mine.outcomes:
        twin = twins.pop(each.dealer_refs[0], None)
        if twin is None:
            if each.status != "failed":
                faults.append(f"{each.ref_id} is {each.status} and stands nowhere above")
            continue
        if len(each.dealer_refs) > 1 or (each.status, each.in_review) != (twin.status, False):
            faults.append(f"{each.ref_id} is {each.status} below, {twin.status} above")
        if mine.serial_numbers[each.ref_id] != theirs.serial_numbers[twin.ref_id]:
            faults.append(f"{each.ref_id} has another serial number above")
        times = sum(standing.count(ref) for ref in twin.dealer_refs)
        if times != (each.status == "succeeded"):
            faults.append(f"{each.ref_id} is {each.status} and was delivered {times} times")
    return [*faults, *(f"{ref} stands above and not below" for ref in twins)]


async def _show_pair(pair: Pair, simulator_url: str, orders: int) -> tuple[Chained, list[str]]:
    await try_every_behaviour(pair, simulator_url)
    # Alone, so that how long a way through both takes is not that of a misbehaving dealer.
    await buy(pair, {f"plain-{number:05d}": f"0812{number:06d}00" for number in range(orders)})
    faults = await faults_of(pair, await finish(pair, simulator_url))
    faults += await unexpected_ends(pair)
    account = await pair.downstream.account(pair.customer)
    ends = [each.status for each in account.outcomes]
    plain = [each.seconds for each in account.outcomes if each.ref_id.startswith("plain-")]
    chained = Chained(
        len(ends),
        ends.count("succeeded"),
        ends.count("failed"),
        ends.count("reversed"),
        await taken_callbacks(pair.downstream),
        percentiles([seconds for seconds in plain if seconds is not None]),
    )
    return chained, faults


async def unexpected_ends(pair: Pair, prefix: str = "") -> list[str]:
    """The customer's orders that did not end as their number's digits say: a sentence each.

    Only references that begin with `prefix` are looked at.
    """
    async with pair.downstream.connection() as connection:
        rows = await connection.fetch(
            "select ref_id, right(customer_number, 2), status, failure_code from orders "
            "where starts_with(ref_id, $1)",
            prefix,
        )
    return [
        f"{ref_id} ended {status} ({failure}), not {ENDS[digits]}"
        for ref_id, digits, status, failure in rows
        # An order that was corrected keeps no failure, one that failed has one.
        if (status, failure) != ENDS[digits]
    ]


async def taken_callbacks(at: Installation) -> int:
    """How many dealers' callbacks were settled or made it ask."""
    async with at.connection() as connection:
        return await connection.fetchval(
            "select count(*) from callbacks where verdict in ('applied', 'check')"
        )


# ------------------------------------------------------------------ three in a circle


async def furnish_circle(
    server_dsn: str, ports: Sequence[int]
) -> tuple[list[Installation], list[Buyer], Buyer]:
    """Three installations, each with the next as its only dealer, who they are there, a customer.

    The n-th buyer is the installation before the n-th, as that one knows it.
    """
    names = ("satu", "dua", "tiga")
    circle = [
        await install(server_dsn, name, port) for name, port in zip(names, ports, strict=True)
    ]
    prices = (DOWNSTREAM_PRICE, 10_500, 10_400)
    buyers = [
        await each.enrol("before", "partner" if number == 0 else "standard")
        for number, each in enumerate(circle)
    ]
    for number, each in enumerate(circle):
        following = (number + 1) % len(circle)
        cost = prices[following] if following else _PARTNER_PRICE
        supplier = await supplier_of(circle[following], each, buyers[following], cost)
        tiers = {"standard": prices[number], "partner": _PARTNER_PRICE}
        await each.trade(tiers, [supplier])
    return circle, buyers, await circle[0].enrol("Toko")


async def show_circle(
    circle: Sequence[Installation], buyers: Sequence[Buyer], customer: Buyer
) -> tuple[Circle, list[str]]:
    """Send one order round. Returns what became of it, and what should have been otherwise."""
    started = time.monotonic()
    async with circle[0].client(customer) as client:
        await order(client, "round-1", "081234567800")
        await until_finished(None, *circle)
        seconds = time.monotonic() - started
        found = (await client.get("/v1/orders", params={"ref_id": "round-1"})).json()["data"][0]
    accounts = [await each.account(buyer) for each, buyer in zip(circle, buyers, strict=True)]
    accounts.append(await circle[0].account(customer))
    failure = found["failure"]["code"] if found["failure"] else None
    seen = Circle(
        found["status"],
        failure,
        len(circle),
        sum(len(account.outcomes) for account in accounts),
        sum(account.reserved_rupiah for account in accounts),
        sum(account.spent_rupiah for account in accounts),
        round(seconds, 3),
    )
    faults = [
        f"{each.name}: {count} discrepancies in the ledger"
        for each in circle
        if (count := await each.discrepancies())
    ]
    if (seen.status, seen.orders, seen.reserved_rupiah, seen.spent_rupiah) != ("failed", 3, 0, 0):
        faults.append(f"the circle left {seen}")
    async with circle[-1].connection() as connection:
        code = await connection.fetchval("select code from attempts")
    if code != "order-loop":
        faults.append(f"the last installation was refused with {code}")
    return seen, faults


# ------------------------------------------------------------------ the command


def main() -> None:
    """Show both, report, and end with status 1 if any witness disagrees."""
    given = _read_arguments()
    # Ended politely, it removes what it made.
    signal.signal(signal.SIGTERM, lambda _number, _frame: sys.exit(1))
    try:
        with data_folder(given.data_dir) as folder, start_postgres(folder) as postgres:
            chained, faults = _run_pair(folder, postgres.dsn, given.orders)
            circle, more = _run_circle(folder, postgres.dsn)
    except (LoadTestFailure, JalurError) as error:
        sys.exit(f"chain: {error}")
    faults += more
    report = {"chained": asdict(chained), "circle": asdict(circle), "faults": faults}
    print(json.dumps(report), flush=True)
    sys.exit(1 if faults else 0)


def _run_pair(folder: Path, server_dsn: str, orders: int) -> tuple[Chained, list[str]]:
    ports = _ports(folder, 2)
    config = write_simulator(folder / "simulator.json", ports[1])
    with ExitStack() as stack:
        command = ["dealers.simulator", "--config", str(config), "--port", "0"]
        simulator = stack.enter_context(running("simulator", command, folder))
        simulator_url = json.loads(simulator.read_line())["listening"]
        pair = uvloop.run(furnish_pair(server_dsn, ports, simulator_url))
        _serve_all(stack, [pair.upstream, pair.downstream], folder)
        _tell(f"two installations in a chain, {len(ENDS)} dealer's behaviours, {orders} orders …")
        return uvloop.run(_show_pair(pair, simulator_url, orders))


def _run_circle(folder: Path, server_dsn: str) -> tuple[Circle, list[str]]:
    with ExitStack() as stack:
        circle, buyers, customer = uvloop.run(furnish_circle(server_dsn, _ports(folder, 3)))
        _serve_all(stack, circle, folder)
        _tell("three installations in a circle …")
        return uvloop.run(show_circle(circle, buyers, customer))


def _serve_all(
    stack: ExitStack, installations: Sequence[Installation], folder: Path
) -> list[Program]:
    return [stack.enter_context(each.serving(folder)) for each in installations]


def _ports(folder: Path, count: int) -> list[int]:
    return [choose_port(folder / "no.port", None) for _ in range(count)]


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m loadtests.chain", description=__doc__)
    parser.add_argument("--orders", type=int, default=200, help="plain orders to measure; 200")
    parser.add_argument("--data-dir", type=Path, help="keep databases and logs in this new folder")
    return parser.parse_args()


if __name__ == "__main__":
    main()
