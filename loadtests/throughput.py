"""The baseline measurement, by one command: how many orders a second, and what each costs.

Every run is one block: a single database row, a bare web server, accepting orders, and the whole
way of an order in several arrangements, one after the other on the same PostgreSQL; so that ratios
between them mean something on a machine whose absolute speed comes and goes.

    python -m loadtests.throughput
"""

import argparse
import shutil
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import asyncpg
import psutil
import uvloop
from rich.console import Console

from app.errors import JalurError
from loadtests.figures import Figures, Run
from loadtests.programs import LoadTestFailure
from loadtests.report import Report, machine, print_table, write_docs
from loadtests.scenarios import SCENARIOS, Load, Measured, Scenario
from loadtests.stage import Stage, data_folder, set_stage

_QUICK_SECONDS = 2.0
_LOOK_SECONDS = 1.0
_BUSY_PERCENT = 10
_SHORT = {"pgbench", "bare", "accept"}
"""Scenarios that settle within half the time."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What the command line asked for."""

    runs: int
    load: Load
    scenarios: Sequence[Scenario]
    data_dir: Path | None
    json_only: bool
    write_docs: bool


def main() -> None:
    """Measure, report, and end with status 1 if any witness disagrees."""
    wish = _read_arguments()
    # Ended politely, it removes what it made.
    signal.signal(signal.SIGTERM, lambda _number, _frame: sys.exit(1))
    try:
        with data_folder(wish.data_dir) as folder, set_stage(folder) as stage:
            report = _measure_all(stage, wish)
    except (LoadTestFailure, JalurError) as error:
        sys.exit(f"throughput: {error}")
    if not wish.json_only:
        print_table(report, Console(width=160))
    if wish.write_docs:
        write_docs(report)
    print(report.as_json(), flush=True)
    sys.exit(1 if report.faults else 0)


def _measure_all(stage: Stage, wish: Wish) -> Report:
    busy_percent = psutil.cpu_percent(interval=_LOOK_SECONDS)
    if busy_percent > _BUSY_PERCENT:
        _tell(wish, f"The cores are {busy_percent:.0f} % busy with other work: expect low figures.")
    runs: list[Run] = []
    faults: list[str] = []
    for number in range(1, wish.runs + 1):
        figures: dict[str, Figures] = {}
        for scenario in wish.scenarios:
            measured = _measure(stage, wish, scenario, number)
            figures[scenario.name] = measured.figures
            faults += [f"run {number}, {scenario.name}: {fault}" for fault in measured.faults]
        runs.append(figures)
    version = uvloop.run(_postgres_version(stage.postgres.dsn))
    return Report(machine(version, stage.folder, busy_percent), wish.load, runs, faults)


def _measure(stage: Stage, wish: Wish, scenario: Scenario, number: int) -> Measured:
    _tell(wish, f"run {number} of {wish.runs}, {scenario.name}: {scenario.what} …")
    seconds = wish.load.seconds / 2 if scenario.name in _SHORT else wish.load.seconds
    logs = stage.folder / f"{number}-{scenario.name}"
    logs.mkdir()
    measured = scenario.measure(stage, replace(wish.load, seconds=seconds), logs)
    if wish.data_dir is None:
        shutil.rmtree(logs)
    _tell(wish, f"  {measured.figures.per_second:,.0f} a second")
    for fault in measured.faults:
        _tell(wish, f"  fault: {fault}")
    return measured


async def _postgres_version(dsn: str) -> str:
    connection = await asyncpg.connect(dsn)
    try:
        return await connection.fetchval("show server_version")
    finally:
        await connection.close()


def _tell(wish: Wish, line: str) -> None:
    if not wish.json_only:
        print(line, file=sys.stderr, flush=True)


def _read_arguments() -> Wish:
    names = [scenario.name for scenario in SCENARIOS]
    parser = argparse.ArgumentParser(prog="python -m loadtests.throughput", description=__doc__)
    parser.add_argument("--runs", type=int, default=3, help="blocks to measure; 3")
    parser.add_argument("--seconds", type=float, default=10.0, help="length of one load; 10")
    parser.add_argument("--orders", type=int, help="end a load after so many orders already")
    parser.add_argument("--connections", type=int, default=128, help="requests at once; 128")
    parser.add_argument(
        "--open-orders", type=int, default=768, help="orders sent and not yet reported; 768"
    )
    parser.add_argument(
        "--only", action="append", choices=names, metavar="NAME", help=" or ".join(names)
    )
    parser.add_argument("--quick", action="store_true", help="one run of 2 seconds each")
    parser.add_argument("--data-dir", type=Path, help="keep databases and logs in this new folder")
    parser.add_argument("--json-only", action="store_true", help="nothing but the JSON object")
    parser.add_argument(
        "--write-docs", action="store_true", help="write docs/performance.md and loadtests/results"
    )
    given = parser.parse_args()
    runs, seconds = (1, _QUICK_SECONDS) if given.quick else (given.runs, given.seconds)
    if min(runs, seconds, given.connections, given.open_orders, given.orders or 1) <= 0:
        parser.error("numbers must be above zero")
    return Wish(
        runs,
        Load(seconds, given.orders, given.connections, given.open_orders),
        [each for each in SCENARIOS if each.name in (given.only or names)],
        given.data_dir,
        given.json_only,
        given.write_docs,
    )


if __name__ == "__main__":
    main()
