"""The benchmark, by one command: how many orders a second, how long each takes, what each costs.

Every run is one block: a single database row, a bare web server, accepting orders, the whole way of
an order under closed and open loads, and what one would otherwise build or install for the same
job, one after the other on the same machine; so that ratios between them mean something where
absolute speed comes and goes.

    python -m loadtests.bench
"""

import argparse
import shutil
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import asyncpg
import psutil
import uvloop
from rich.console import Console

from app.errors import JalurError
from loadtests.figures import Figures, Run, most_reached
from loadtests.peers.contenders import JALUR, NAMES, find
from loadtests.peers.environment import default_cache
from loadtests.peers.kills import Wreck
from loadtests.peers.peer import Peer
from loadtests.programs import LoadTestFailure
from loadtests.report import Report, machine, print_report, write_docs
from loadtests.scenarios import SCENARIOS, Scenario
from loadtests.stage import Stage, data_folder, set_stage
from loadtests.trial import Load, Measured

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
    peers: Sequence[Peer]
    left_out: Sequence[str]
    """Peers that are wanted and not installed, with the reason."""
    kills: bool
    most_per_second: float | None
    data_dir: Path | None
    json_only: bool
    write_docs: bool


@dataclass(slots=True)
class Findings:
    """What has been found so far."""

    runs: list[Run] = field(default_factory=list[Run])
    wrecks: dict[str, Wreck] = field(default_factory=dict[str, Wreck])
    faults: list[str] = field(default_factory=list[str])
    """The service's: each of them fails the benchmark."""
    notes: list[str] = field(default_factory=list[str])
    """The peers': each of them only says what their figures are worth."""


def main() -> None:
    """Measure, report, and end with status 1 if any witness disagrees."""
    wish = _read_arguments()
    # Ended politely, it removes what it made.
    signal.signal(signal.SIGTERM, lambda _number, _frame: sys.exit(1))
    try:
        with data_folder(wish.data_dir) as folder, set_stage(folder) as stage:
            report = _measure_all(stage, wish)
    except (LoadTestFailure, JalurError) as error:
        sys.exit(f"bench: {error}")
    if not wish.json_only:
        print_report(report, Console(width=180))
    if wish.write_docs:
        write_docs(report)
    print(report.as_json(), flush=True)
    sys.exit(1 if report.faults else 0)


def _measure_all(stage: Stage, wish: Wish) -> Report:
    busy_percent = psutil.cpu_percent(interval=_LOOK_SECONDS)
    if busy_percent > _BUSY_PERCENT:
        _tell(wish, f"The cores are {busy_percent:.0f} % busy with other work: expect low figures.")
    found = Findings(notes=list(wish.left_out))
    for number in range(1, wish.runs + 1):
        found.runs.append(_run(stage, wish, number, found))
    for peer in wish.peers if wish.kills else ():
        _kill(stage, wish, peer, found)
    version = uvloop.run(_postgres_version(stage.postgres.dsn))
    facts = machine(version, stage.folder, busy_percent)
    return Report(facts, wish.load, found.runs, found.wrecks, found.faults, found.notes)


def _run(stage: Stage, wish: Wish, number: int, found: Findings) -> Run:
    """One block."""
    figures: dict[str, Figures] = {}
    for scenario in wish.scenarios:
        load = scenario.load(wish.load, wish.most_per_second or most_reached(figures))
        measured = _measure(stage, wish, scenario, load, number)
        figures[scenario.name] = measured.figures
        found.faults += [f"run {number}, {scenario.name}: {each}" for each in measured.faults]
    for peer in wish.peers:
        if peer is not JALUR:
            measured = _measure(stage, wish, peer, wish.load, number)
            figures[peer.name] = measured.figures
            found.notes += [f"run {number}, {peer.name}: {each}" for each in measured.faults]
    return figures


def _measure(
    stage: Stage, wish: Wish, subject: Scenario | Peer, load: Load, number: int
) -> Measured:
    _tell(wish, f"run {number} of {wish.runs}, {subject.name}: {subject.what} …")
    seconds = load.seconds / 2 if subject.name in _SHORT else load.seconds
    logs = stage.folder / f"{number}-{subject.name}"
    logs.mkdir()
    measured = subject.measure(stage, replace(load, seconds=seconds), logs)
    if wish.data_dir is None:
        shutil.rmtree(logs)
    _tell(wish, f"  {measured.figures.per_second:,.0f} a second")
    for fault in measured.faults:
        _tell(wish, f"  fault: {fault}")
    return measured


def _kill(stage: Stage, wish: Wish, peer: Peer, found: Findings) -> None:
    """Kill each of its processes that matters, in a load of its own."""
    _tell(wish, f"{peer.name}, killed with -9 in the middle of a load …")
    logs = stage.folder / f"kill-{peer.name}"
    logs.mkdir()
    for victim, wreck in peer.kills(stage, wish.load, logs).items():
        name = f"{peer.name}: {victim}"
        found.wrecks[name] = wreck
        _tell(wish, f"  {victim}: {wreck}")
        if peer is JALUR:
            found.faults += [f"{name} killed: {each}" for each in wreck.killed.broken_promises]


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
    names = [*(scenario.name for scenario in SCENARIOS), *NAMES]
    parser = argparse.ArgumentParser(prog="python -m loadtests.bench", description=__doc__)
    parser.add_argument("--runs", type=int, default=3, help="blocks to measure; 3")
    parser.add_argument("--seconds", type=float, default=6.0, help="length of one load; 6")
    parser.add_argument("--orders", type=int, help="end a load after so many orders already")
    parser.add_argument("--connections", type=int, default=64, help="requests at once; 64")
    parser.add_argument(
        "--open-orders", type=int, default=512, help="orders sent and not yet reported; 512"
    )
    parser.add_argument(
        "--most", type=float, help="orders a second that open loads are shares of; as measured"
    )
    parser.add_argument(
        "--only", action="append", choices=names, metavar="NAME", help=" or ".join(names)
    )
    parser.add_argument("--quick", action="store_true", help="one run of 2 seconds, and no kills")
    parser.add_argument("--no-kills", action="store_true", help="nothing is killed")
    parser.add_argument("--install", action="store_true", help="install the peers that are missing")
    parser.add_argument("--data-dir", type=Path, help="keep databases and logs in this new folder")
    parser.add_argument("--json-only", action="store_true", help="nothing but the JSON object")
    parser.add_argument(
        "--write-docs", action="store_true", help="write docs/performance.md and loadtests/results"
    )
    given = parser.parse_args()
    runs, seconds = (1, _QUICK_SECONDS) if given.quick else (given.runs, given.seconds)
    numbers = (given.connections, given.open_orders, given.orders or 1, given.most or 1)
    if min(runs, seconds, *numbers) <= 0:
        parser.error("numbers must be above zero")
    wanted = given.only or names
    scenarios = [each for each in SCENARIOS if each.name in wanted]
    closed = any(each.share is None and each.name.startswith("serve-spread") for each in scenarios)
    if given.most is None and not closed and any(each.share for each in scenarios):
        parser.error("an open load needs --most, or serve-spread before it")
    peers, left_out = _peers(wanted, install=given.install)
    return Wish(
        runs=runs,
        load=Load(seconds, given.orders, given.connections, given.open_orders),
        scenarios=scenarios,
        peers=peers,
        left_out=left_out,
        kills=not (given.quick or given.no_kills),
        most_per_second=given.most,
        data_dir=given.data_dir,
        json_only=given.json_only,
        write_docs=given.write_docs,
    )


def _peers(wanted: Sequence[str], *, install: bool) -> tuple[list[Peer], Sequence[str]]:
    """Those of the wanted peers that can be measured here, and why others cannot."""
    if not set(wanted) & set(NAMES):
        return [], ()
    found = find(default_cache(), install=install)
    return [each for each in found.contenders if each.name in wanted], found.left_out


if __name__ == "__main__":
    main()
