"""A sheet of a million lines made the table in force while orders flow, by one command.

Orders are sent at a steady rate, each at its own moment whether or not others were answered, so a
stall shows in the durations of all that fall into it. They flow for a while alone, then while
`jalur routes apply` reads, checks, compares and stores the sheet and the service compiles and takes
up the new table, and that several times: once with everything new, then with every cost changed.

    python -m loadtests.table_load
"""

import argparse
import asyncio
import json
import os
import re
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import asyncpg
import uvloop
from rich.console import Console
from rich.table import Table

from app.cli.demo import seed
from app.errors import JalurError
from loadtests import shop, witnesses
from loadtests.caller import FAULTS, Caller, request_head
from loadtests.job import Percentiles, percentiles
from loadtests.orders import order_body
from loadtests.programs import LoadTestFailure
from loadtests.report import PAGE, with_figures
from loadtests.stage import Stage, data_folder, outside, service, set_stage
from routing.sheet import SheetRow, write_sheet

_ROOT = Path(__file__).resolve().parent.parent
_MOST_SECONDS = 120.0
_MOST_RATIO = 2.0
_TAKEN_UP_SECONDS = 2.0
_ACCEPTED = 202
_REQUEST_SECONDS = 30.0
_CONNECTIONS = 64
_BUYERS = 100
_WARM_UP_SECONDS = 5.0
_LOOK_SECONDS = 0.25
_DEALERS = len(seed.DEALERS)
_BEGIN, _END = "<!-- table load figures: begin -->", "<!-- table load figures: end -->"


@dataclass(frozen=True, slots=True)
class Wish:
    """What the command line asked for."""

    lines: int
    rate: float
    """Orders a second."""
    quiet_seconds: float
    processes: int
    data_dir: Path | None
    json_only: bool
    write_docs: bool


@dataclass(frozen=True, slots=True)
class Loaded:
    """One sheet made the table in force. Seconds count from the command's start."""

    what: str
    applied_seconds: float
    """Until the command said that it is stored."""
    in_force_seconds: float
    """Until every process had taken it up."""
    taken_up_seconds: float
    """Of those, how long after the compiling the last process had it."""
    accept: Percentiles
    """Of the orders sent meanwhile."""
    orders: int
    ratio_p99: float
    """Of the 99th percentile to the one of the quiet time before."""


@dataclass(slots=True)
class Orders:
    """Orders sent at a steady rate until stopped, and how long each took to be accepted."""

    base_url: str
    tokens: Sequence[str]
    rate: float
    sent: list[tuple[float, float]] = field(default_factory=list[tuple[float, float]])
    """When each was due, and the seconds from then until it was accepted."""
    refused: list[str] = field(default_factory=list[str])
    _stopped: bool = False

    async def run(self) -> None:
        """Send until stopped, then wait for the answers."""
        url = f"{self.base_url}/v1/orders"
        free: asyncio.Queue[Caller] = asyncio.Queue()
        callers = [Caller(url, _REQUEST_SECONDS) for _ in range(_CONNECTIONS)]
        for caller in callers:
            free.put_nowait(caller)
        begun = time.monotonic()
        async with asyncio.TaskGroup() as group:
            number = 0
            while not self._stopped:
                due = begun + number / self.rate
                await asyncio.sleep(max(0.0, due - time.monotonic()))
                caller = await free.get()
                group.create_task(self._send(caller, free, number, due))
                number += 1
        for caller in callers:
            caller.close()

    def stop(self) -> None:
        """Send no more."""
        self._stopped = True

    def accepted_between(self, begin: float, end: float) -> list[float]:
        """The durations of the orders that were due in this time."""
        return [seconds for due, seconds in self.sent if begin <= due < end]

    async def _send(
        self, caller: Caller, free: "asyncio.Queue[Caller]", number: int, due: float
    ) -> None:
        buyer = number % len(self.tokens)
        head = request_head(
            "POST",
            f"{self.base_url}/v1/orders",
            authorization=f"Bearer {self.tokens[buyer]}",
            content_type="application/json",
        )
        body = order_body(number, buyer)
        try:
            answer = await caller.ask(b"%bcontent-length: %d\r\n\r\n%b" % (head, len(body), body))
        except FAULTS as error:
            self.refused.append(type(error).__name__)
        else:
            if answer.status == _ACCEPTED:
                self.sent.append((due, time.monotonic() - due))
            else:
                self.refused.append(f"HTTP {answer.status}")
        free.put_nowait(caller)


def main() -> None:
    """Load the sheets, report, and end with status 1 where a bound is missed."""
    wish = _read_arguments()
    try:
        with data_folder(wish.data_dir) as folder, set_stage(folder) as stage:
            report = _measure(stage, wish)
    except (LoadTestFailure, JalurError) as error:
        sys.exit(f"table load: {error}")
    if not wish.json_only:
        _print_table(report, Console(width=160))
    if wish.write_docs:
        figures = with_figures(PAGE.read_text(), _markdown(report), _BEGIN, _END)
        PAGE.write_text(figures)
    print(json.dumps(report), flush=True)
    sys.exit(1 if report["faults"] or not all(report["bounds"].values()) else 0)


def _measure(stage: Stage, wish: Wish) -> dict[str, Any]:
    logs = stage.folder / "logs"
    logs.mkdir()
    sheets = list(_write_sheets(stage.folder, wish.lines))
    environment = {**os.environ, "JALUR_SECRET_KEY": stage.secret_key}
    command = {"service": ("serve", "--processes", str(wish.processes))}
    with shop.copy(stage.postgres.dsn) as dsn, outside(stage, logs):
        uvloop.run(_add_products(dsn, wish.lines))
        environment["DATABASE_URL"] = dsn
        with service(stage, dsn, command, logs) as (program,):
            quiet, loads, orders = uvloop.run(
                _load_all(stage, wish, sheets, environment, program.log)
            )
            uvloop.run(witnesses.until_nothing_is_left(dsn))
            lag = _lag_ms(stage.addresses.service)
        faults = [f"refused: {each}" for each in orders.refused] + uvloop.run(
            witnesses.examine_delivered(
                dsn, stage.addresses.simulator, stage.addresses.receiver, len(orders.sent)
            )
        )
    return {
        "lines": wish.lines,
        "orders_per_second": wish.rate,
        "processes": wish.processes,
        "accept_quiet": asdict(quiet),
        "loads": [asdict(each) for each in loads],
        "loop_lag_at_most_ms": lag,
        "bounds": _bounds(loads),
        "faults": faults,
    }


def _bounds(loads: Sequence[Loaded]) -> dict[str, bool]:
    return {
        f"in force in {_MOST_SECONDS:g} s": all(
            each.in_force_seconds <= _MOST_SECONDS for each in loads
        ),
        f"p99 of accept at most x {_MOST_RATIO:g}": all(
            each.ratio_p99 <= _MOST_RATIO for each in loads
        ),
        f"taken up {_TAKEN_UP_SECONDS:g} s after it was compiled": all(
            each.taken_up_seconds <= _TAKEN_UP_SECONDS for each in loads
        ),
    }


# ------------------------------------------------------------------ the sheets


def _write_sheets(folder: Path, lines: int) -> Iterator[tuple[str, Path]]:
    """A table that is all new, then one where every cost is another."""
    for what, dearer in (("all new", 0), ("every cost changed", 1)):
        path = folder / f"{what.replace(' ', '-')}.csv"
        path.write_text(write_sheet(islice(_rows(dearer), lines)), encoding="utf-8")
        yield what, path


def _rows(dearer: int) -> Iterator[SheetRow]:
    """The demo's offers, which the orders use, then as many others as are asked for."""
    for product in seed.products():
        for dealer in seed.DEALERS:
            cost = dealer.cost(product.denomination) + dearer
            yield SheetRow(
                product.sku, None, dealer.dealer_id, product.sku, cost, True, "", None, None
            )
    number = 0
    while True:
        for dealer in seed.DEALERS:
            cost = 10_000 + number % 977 + dealer.above_cheapest_basis_points + dearer
            for cluster in (None, "jabar"):
                yield SheetRow(
                    f"P{number:07d}",
                    cluster,
                    dealer.dealer_id,
                    f"D{number}",
                    cost,
                    True,
                    "",
                    None,
                    None,
                )
        number += 1


async def _add_products(dsn: str, lines: int) -> None:
    """The products of the sheet, with two tiers' prices."""
    count = lines // (2 * _DEALERS) + 1
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(
            f"""
            insert into products (sku, name, brand, kind, denomination)
            select 'P' || lpad(n::text, 7, '0'), 'Product ' || n, '{seed.BRANDS[0].brand}',
                   'data', 10000
            from generate_series(0, {count}) as n;
            insert into prices (tier, sku, price)
            select tier, sku, 12000 from products, unnest(array['standard', 'gold']) as tier
            where kind = 'data';
            update routing_policy set revision = revision + 1, goods_revision = revision + 1;
            analyze products; analyze prices
            """
        )
    finally:
        await connection.close()


# ------------------------------------------------------------------ loading while orders flow


async def _load_all(
    stage: Stage,
    wish: Wish,
    sheets: Sequence[tuple[str, Path]],
    environment: Mapping[str, str],
    log: Path,
) -> tuple[Percentiles, list[Loaded], Orders]:
    tokens = [buyer.token for buyer in stage.buyers[:_BUYERS]]
    orders = Orders(stage.addresses.service, tokens, wish.rate)
    async with asyncio.TaskGroup() as group:
        group.create_task(orders.run())
        await asyncio.sleep(_WARM_UP_SECONDS)
        begin = time.monotonic()
        await asyncio.sleep(wish.quiet_seconds)
        quiet = percentiles(orders.accepted_between(begin, time.monotonic()))
        loads: list[Loaded] = []
        try:
            for what, sheet in sheets:
                loads.append(await _load(wish, orders, (what, sheet), environment, log, quiet))
                await asyncio.sleep(_WARM_UP_SECONDS)
        finally:
            orders.stop()
    return quiet, loads, orders


async def _load(
    wish: Wish,
    orders: Orders,
    sheet: tuple[str, Path],
    environment: Mapping[str, str],
    log: Path,
    quiet: Percentiles,
) -> Loaded:
    what, path = sheet
    begin = time.monotonic()
    tables = _Tables(log)
    following = asyncio.create_task(tables.follow())
    try:
        revision = await _apply(path, environment)
        applied = time.monotonic()
        deadline = begin + 2 * _MOST_SECONDS
        late = await tables.until_taken_up(revision, wish.processes, deadline)
    finally:
        following.cancel()
    end = time.monotonic()
    durations = orders.accepted_between(begin, end)
    accept = percentiles(durations)
    return Loaded(
        what,
        round(applied - begin, 1),
        round(end - begin, 1),
        round(late, 2),
        accept,
        len(durations),
        round(accept.p99_ms / quiet.p99_ms, 2),
    )


async def _apply(path: Path, environment: Mapping[str, str]) -> int:
    """Apply a sheet as a timer does, in a session of its own. Returns the revision it became."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "app",
        "routes",
        "apply",
        str(path),
        "--yes",
        "--json",
        cwd=_ROOT,
        env=dict(environment),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    told, complaint = await process.communicate()
    if process.returncode:
        raise LoadTestFailure(f"apply ended with {process.returncode}: {complaint[-500:]!r}")
    return json.loads(told.splitlines()[-1])["revision"]


class _Tables:
    """What the service's log tells of tables from now on.

    It is read as it is written: to read minutes of it at once would hold up the orders to be sent.
    """

    def __init__(self, log: Path) -> None:
        self._log = log
        self._from = log.stat().st_size
        self._told: list[Mapping[str, Any]] = []

    async def follow(self) -> None:
        """Read on until cancelled."""
        with self._log.open("rb") as lines:
            lines.seek(self._from)
            while True:
                self._told += (json.loads(line) for line in lines if b'"goods_revision"' in line)
                await asyncio.sleep(_LOOK_SECONDS)

    async def until_taken_up(self, revision: int, processes: int, deadline: float) -> float:
        """Wait until every process has taken it up. Returns how long after its compiling that
        was."""
        while time.monotonic() < deadline:
            compiled = self._moments(revision, "goods.compiled", "compiled_at")
            taken = self._moments(revision, "table.taken", "timestamp")
            if compiled and len(taken) >= processes:
                return (max(taken) - min(compiled)).total_seconds()
            await asyncio.sleep(_LOOK_SECONDS)
        raise LoadTestFailure(f"revision {revision} was not taken up: see {self._log}")

    def _moments(self, revision: int, event: str, field_name: str) -> list[datetime]:
        return [
            datetime.fromisoformat(each[field_name])
            for each in self._told
            if each["goods_revision"] == revision and each["event"] == event
        ]


def _lag_ms(base_url: str) -> float:
    """The smallest of the histogram's bounds that no lag of the event loop was above."""
    with urlopen(f"{base_url}/metrics", timeout=_REQUEST_SECONDS) as answer:
        text = answer.read().decode()
    buckets = re.findall(r'jalur_event_loop_lag_seconds_bucket{le="([^"]+)"} (\S+)', text)
    whole = buckets[-1][1]
    return next(float(bound) for bound, count in buckets if count == whole) * 1000


# ------------------------------------------------------------------ telling


def _print_table(report: Mapping[str, Any], console: Console) -> None:
    table = Table(
        title=f"{report['lines']:,} lines, {report['orders_per_second']:g} orders a second"
    )
    for column in ("", "applied s", "in force s", "after compiling s", "p50 ms", "p99 ms", "ratio"):
        table.add_column(column, justify="left" if not column else "right")
    quiet = report["accept_quiet"]
    table.add_row("quiet", "", "", "", f"{quiet['p50_ms']:.1f}", f"{quiet['p99_ms']:.1f}", "")
    for each in report["loads"]:
        table.add_row(
            each["what"],
            f"{each['applied_seconds']:.1f}",
            f"{each['in_force_seconds']:.1f}",
            f"{each['taken_up_seconds']:.2f}",
            f"{each['accept']['p50_ms']:.1f}",
            f"{each['accept']['p99_ms']:.1f}",
            f"{each['ratio_p99']:.2f}",
        )
    console.print(table)


def _markdown(report: Mapping[str, Any]) -> str:
    quiet = report["accept_quiet"]
    rows = [
        f"| {each['what']} | {each['applied_seconds']:.1f} | {each['in_force_seconds']:.1f} | "
        f"{each['taken_up_seconds']:.2f} | {each['accept']['p50_ms']:.1f} | "
        f"{each['accept']['p99_ms']:.1f} | {each['ratio_p99']:.2f} |"
        for each in report["loads"]
    ]
    bounds = ", ".join(
        f"{name}: {'met' if met else 'missed'}" for name, met in report["bounds"].items()
    )
    return "\n".join(
        [
            f"{report['lines']:,} lines, {report['orders_per_second']:g} orders a second, "
            f"{report['processes']} serving process(es). No lag of the event loop was above "
            f"{report['loop_lag_at_most_ms']:g} ms.",
            "",
            "| | stored, s | in force, s | after compiling, s | accept p50, ms | p99, ms | ratio |",
            "|---|---:|---:|---:|---:|---:|---:|",
            f"| orders alone | | | | {quiet['p50_ms']:.1f} | {quiet['p99_ms']:.1f} | |",
            *rows,
            "",
            f"Bounds: {bounds}.",
            "",
        ]
    )


def _read_arguments() -> Wish:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--lines", type=int, default=1_000_000, help="of the sheet")
    parser.add_argument("--rate", type=float, default=100, help="orders a second")
    parser.add_argument("--quiet-seconds", type=float, default=60)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--json", action="store_true", help="print the last line only")
    parser.add_argument("--write-docs", action="store_true", help="write docs/performance.md")
    given = parser.parse_args()
    return Wish(
        given.lines,
        given.rate,
        given.quiet_seconds,
        given.processes,
        given.data_dir,
        given.json,
        given.write_docs,
    )


if __name__ == "__main__":
    main()
