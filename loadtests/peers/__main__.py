"""The peers by one command: what they take, what it costs them, and what a kill -9 does to them.

python -m loadtests.peers
"""

import argparse
import shutil
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from app.errors import JalurError
from loadtests.peers.contenders import JALUR, NAMES, find
from loadtests.peers.environment import default_cache
from loadtests.peers.peer import Peer
from loadtests.peers.report import Report, print_tables
from loadtests.programs import LoadTestFailure
from loadtests.stage import BUYERS, Stage, data_folder, set_stage
from loadtests.trial import Load

_QUICK_SECONDS = 2.0
_QUICK_BUYERS = 50


@dataclass(frozen=True, slots=True)
class Wish:
    """What the command line asked for."""

    load: Load
    only: Sequence[str]
    buyers: int
    kills: bool
    install: bool
    cache: Path
    data_dir: Path | None
    json_only: bool


def main() -> None:
    """Measure, kill, report; end with status 1 at a fault or where the service lost or doubled."""
    wish = _read_arguments()
    # Ended politely, it removes what it made.
    signal.signal(signal.SIGTERM, lambda _number, _frame: sys.exit(1))
    found = find(wish.cache, install=wish.install)
    contenders = [each for each in found.contenders if each.name in wish.only]
    report = Report(wish.load, found.left_out)
    try:
        with data_folder(wish.data_dir) as folder, set_stage(folder, wish.buyers) as stage:
            for contender in contenders:
                _measure(stage, contender, wish, report)
    except (LoadTestFailure, JalurError) as error:
        sys.exit(f"peers: {error}")
    if not wish.json_only:
        print_tables(report, Console(width=180))
    print(report.as_json(contenders), flush=True)
    sys.exit(1 if report.faults else 0)


def _measure(stage: Stage, contender: Peer, wish: Wish, report: Report) -> None:
    logs = stage.folder / contender.name
    logs.mkdir()
    _tell(wish, f"{contender.name}: {contender.what} …")
    rated = logs / "rate"
    rated.mkdir()
    measured = contender.measure(stage, wish.load, rated)
    report.rates[contender.name] = measured.figures
    report.faults += [f"{contender.name}: {fault}" for fault in measured.faults]
    _tell(wish, f"  {measured.figures.per_second:,.0f} a second")
    if wish.kills:
        wrecks = contender.kills(stage, wish.load, logs)
        report.kills[contender.name] = wrecks
        for victim, wreck in wrecks.items():
            _tell(wish, f"  {victim} killed: {wreck}")
            if contender is JALUR:
                found = wreck.killed.broken_promises
                report.faults += [f"jalur, {victim} killed: {each}" for each in found]
    if wish.data_dir is None:
        shutil.rmtree(logs)


def _tell(wish: Wish, line: str) -> None:
    if not wish.json_only:
        print(line, file=sys.stderr, flush=True)


def _read_arguments() -> Wish:
    parser = argparse.ArgumentParser(prog="python -m loadtests.peers", description=__doc__)
    parser.add_argument("--seconds", type=float, default=6.0, help="length of one load; 6")
    parser.add_argument("--orders", type=int, help="end a load after so many orders already")
    parser.add_argument("--connections", type=int, default=64, help="requests at once; 64")
    parser.add_argument(
        "--open-orders", type=int, default=768, help="orders sent and not yet reported; 768"
    )
    parser.add_argument(
        "--only", action="append", choices=NAMES, metavar="NAME", help=" or ".join(NAMES)
    )
    parser.add_argument("--no-kills", action="store_true", help="rates only")
    parser.add_argument("--quick", action="store_true", help="2 seconds each, and no kills")
    parser.add_argument("--install", action="store_true", help="install the peers that are missing")
    parser.add_argument("--cache", type=Path, default=default_cache(), help="where they are kept")
    parser.add_argument("--data-dir", type=Path, help="keep databases and logs in this new folder")
    parser.add_argument("--json-only", action="store_true", help="nothing but the JSON object")
    given = parser.parse_args()
    seconds = _QUICK_SECONDS if given.quick else given.seconds
    if min(seconds, given.connections, given.open_orders, given.orders or 1) <= 0:
        parser.error("numbers must be above zero")
    return Wish(
        load=Load(seconds, given.orders, given.connections, given.open_orders),
        only=given.only or NAMES,
        buyers=_QUICK_BUYERS if given.quick else BUYERS,
        kills=not (given.quick or given.no_kills),
        install=given.install,
        cache=given.cache.absolute(),
        data_dir=given.data_dir,
        json_only=given.json_only,
    )


if __name__ == "__main__":
    main()
