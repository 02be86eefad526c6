"""How fast a dealer is chosen: compiling a table, and deciding from small and large ones.

Beside it, in the same rounds, Kamailio's `lcr` module answers the same question over HTTP. What is
compared is interleaved, round by round, on a machine whose absolute speed comes and goes.

    python -m loadtests.routing_bench
"""

import argparse
import signal
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass

import psutil
import uvloop
from rich.console import Console

from app.errors import JalurError
from loadtests import kamailio
from loadtests.kamailio import Peer
from loadtests.programs import LoadTestFailure
from loadtests.report import processor
from loadtests.routing_report import (
    CHOOSE,
    COMPILE,
    NOTHING,
    PEER,
    RECORD,
    Report,
    Round,
    bounds,
    print_table,
    write_docs,
)
from loadtests.routing_table import CANDIDATES, compiled, questions
from loadtests.routing_trials import Figures, compile_apart, decide, faults_of, rates, settle
from loadtests.stage import data_folder
from routing.snapshot import Snapshot

_TABLES = (10, 10_000, 1_000_000)
_QUICK_TABLES = (10, 10_000)
_PEER_RULES = (1_250, 10_000, 125_000)
"""The rules that equal 10,000, 80,000 and 1,000,000 routes."""
_QUICK_PEER_RULES = (1_250,)
_LOOK_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Load:
    """How much is measured."""

    rounds: int
    tables: Sequence[int]
    """Numbers of routes."""
    compile_routes: int
    decisions: int
    """Of each table and kind, in each round."""
    peer_rules: Sequence[int]
    peer_seconds: float
    peer_connections: int


@dataclass(frozen=True, slots=True)
class Wish:
    """What the command line asked for."""

    load: Load
    without_peer: bool
    json_only: bool
    bounds_matter: bool
    write_docs: bool


def main() -> None:
    """Measure, report, and end with status 1 if a bound is missed or an answer is wrong."""
    wish = _read_arguments()
    # Ended politely, it removes what it made.
    signal.signal(signal.SIGTERM, lambda _number, _frame: sys.exit(1))
    try:
        report = _measure_all(wish)
    except (LoadTestFailure, JalurError) as error:
        sys.exit(f"routing-bench: {error}")
    if not wish.json_only:
        print_table(report, Console(width=120))
    if wish.write_docs:
        write_docs(report)
    print(report.as_json(), flush=True)
    missed = wish.bounds_matter and not all(bound.met for bound in bounds(report))
    sys.exit(1 if report.faults or missed else 0)


def _measure_all(wish: Wish) -> Report:
    load = wish.load
    machine = processor(psutil.cpu_percent(interval=_LOOK_SECONDS))
    absent = "Kamailio was left out." if wish.without_peer else kamailio.why_absent()
    with ExitStack() as stack:
        folder = stack.enter_context(data_folder(None))
        peers: list[Peer] = []
        for rules in () if absent else load.peer_rules:
            _tell(wish, f"Kamailio loads {rules:,} rules …")
            peers.append(stack.enter_context(kamailio.running_peer(folder, rules)))
        tables = _compile_all(wish)
        faults = [fault for routes, table in tables.items() for fault in faults_of(table, routes)]
        for peer in peers:
            faults += uvloop.run(kamailio.check(peer, _peer_questions(peer, load, 0)))
        rounds: list[Round] = []
        for number in range(1, load.rounds + 1):
            _tell(wish, f"round {number} of {load.rounds} …")
            rounds.append(_round(load, tables, peers, number, faults))
    peer_load_seconds = {peer.rules: peer.load_seconds for peer in peers}
    return Report(machine, asdict(load), rounds, peer_load_seconds, absent, faults)


def _compile_all(wish: Wish) -> Mapping[int, Snapshot]:
    tables: dict[int, Snapshot] = {}
    for routes in wish.load.tables:
        _tell(wish, f"compiling {routes:,} routes …")
        tables[routes] = compiled(routes)
    settle()
    return tables


def _round(
    load: Load,
    tables: Mapping[int, Snapshot],
    peers: Sequence[Peer],
    number: int,
    faults: list[str],
) -> Round:
    """Each measurement once, the kinds side by side; new products in every round."""
    found: dict[str, Figures] = {COMPILE: compile_apart(load.compile_routes)}
    asked = {routes: questions(routes, load.decisions, number) for routes in tables}
    for kind in (CHOOSE, RECORD):
        for routes, table in tables.items():
            figures = decide(table, asked[routes], record=kind == RECORD)
            found[f"{kind} {routes}"] = figures
    for peer in peers:
        found[f"{PEER} {peer.rules}"] = _ask(load, peer, number, faults, lcr=True)
    if peers:
        found[f"{PEER} {NOTHING}"] = _ask(load, peers[0], number, faults, lcr=False)
    return found


def _ask(load: Load, peer: Peer, number: int, faults: list[str], *, lcr: bool) -> Figures:
    asked = _peer_questions(peer, load, number)
    asking = kamailio.ask(peer, asked, load.peer_connections, load.peer_seconds, lcr=lcr)
    told = uvloop.run(asking)
    faults += told.faults
    return rates(told.answers, told.peer_cpu_seconds, told.seconds)


def _peer_questions(peer: Peer, load: Load, seed: int) -> list[kamailio.Question]:
    return questions(peer.rules * CANDIDATES, load.decisions, seed)


def _tell(wish: Wish, line: str) -> None:
    if not wish.json_only:
        print(line, file=sys.stderr, flush=True)


def _read_arguments() -> Wish:
    parser = argparse.ArgumentParser(prog="python -m loadtests.routing_bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="rounds to measure; 5")
    parser.add_argument(
        "--decisions", type=int, default=50_000, help="decisions of a table in a round; 50,000"
    )
    parser.add_argument(
        "--peer-seconds", type=float, default=2.0, help="length of one load on Kamailio; 2"
    )
    parser.add_argument(
        "--connections", type=int, default=16, help="questions to Kamailio at once; 16"
    )
    parser.add_argument("--no-peer", action="store_true", help="leave Kamailio out")
    parser.add_argument("--quick", action="store_true", help="one round, small tables")
    parser.add_argument("--json-only", action="store_true", help="nothing but the JSON object")
    parser.add_argument(
        "--no-bounds", action="store_true", help="do not fail when a bound is missed"
    )
    parser.add_argument(
        "--write-docs", action="store_true", help="write docs/performance.md and loadtests/results"
    )
    given = parser.parse_args()
    if min(given.rounds, given.decisions, given.peer_seconds, given.connections) <= 0:
        parser.error("numbers must be above zero")
    tables = _QUICK_TABLES if given.quick else _TABLES
    load = Load(
        rounds=1 if given.quick else given.rounds,
        tables=tables,
        compile_routes=max(tables),
        decisions=given.decisions,
        peer_rules=_QUICK_PEER_RULES if given.quick else _PEER_RULES,
        peer_seconds=given.peer_seconds,
        peer_connections=given.connections,
    )
    return Wish(load, given.no_peer, given.json_only, not given.no_bounds, given.write_docs)


if __name__ == "__main__":
    main()
