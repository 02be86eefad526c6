"""Whether an order costs the same whatever was sold before, by one command.

The same short loads on a shop that has sold nothing, one that has sold a million orders and one
that has sold ten million, each load in a round of all sizes, which ends with the empty shop again:
so the machine's own drift is seen beside what history costs. Every load is examined, and the money
of every shop when all is over.

    python -m loadtests.growth
"""

import argparse
import json
import re
import shutil
import signal
import sys
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Any
from urllib.request import urlopen

import asyncpg
import psutil
import uvloop
from rich.console import Console
from rich.table import Table

from app.errors import JalurError
from app.storage.purchase_hours import first_id
from loadtests import database_work, history, shop, witnesses
from loadtests.database_work import Size, Work
from loadtests.job import Percentiles
from loadtests.programs import LoadTestFailure, cpu_seconds, running
from loadtests.report import PAGE, bound_lines, processor, table_lines, with_figures
from loadtests.shop import DealerManner
from loadtests.stage import BUYERS, Stage, data_folder, outside, service, set_stage
from loadtests.steady import Stretch, Task, read_stretch

_RESULT = Path(__file__).resolve().parent / "results" / "growth.json"
_BEGIN, _END = "<!-- growth figures: begin -->", "<!-- growth figures: end -->"
_SIZES = (0, 1_000_000, 10_000_000)
_QUICK_SIZES = (0, 100_000, 1_000_000)
_QUICK_SECONDS = 4.0
_AGAIN = "0 again"
_MOST_RATIO = 1.15
"""Of the CPU time an order, and of the rate upside down: how far from an empty shop one may be."""
_BYTES_AN_ORDER = 5200
"""Room that an order of the history takes on the disk, its part of the log included."""
_MOST_OPEN = 512
"""Orders sent and not yet reported, at most."""
_MANNER = DealerManner(places=_MOST_OPEN)
"""Where a dealer is known as a monopoly from the past, nearly all orders go to one other: nobody
may wait for its places, since waiting orders take a longer way."""
_NUMBERS_A_LOAD = 1_000_000
_WARM_UP_ORDERS = 1000
_DRAIN_SECONDS = 120.0
_COUNTING_SECONDS = 60.0
_LOOK_SECONDS = 0.2
_COUNTED = re.compile(r'^jalur_share_rebuilds_total\{reason="connected"\} [1-9]', re.MULTILINE)
"""The shares were counted anew once this process was connected to the others."""

LOADS = {
    "serve-spread": "end to end, `jalur serve`, 1,000 resellers",
    "serve-hot": "end to end, `jalur serve`, one reseller",
    "accept": "`jalur api` accepting orders, nobody buying them until the load is over",
}


@dataclass(frozen=True, slots=True)
class Wish:
    """What the command line asked for."""

    sizes: Sequence[int]
    loads: Sequence[str]
    rounds: int
    seconds: float
    rate: float | None
    """Orders a second; None: as fast as they are answered."""
    data_dir: Path | None
    json_only: bool
    write_docs: bool


@dataclass(frozen=True, slots=True)
class Case:
    """One load on one shop, once. Times and bytes are those of an order."""

    orders: int
    shed: int
    per_second: float
    accept: Percentiles
    end_to_end: Percentiles
    cpu_us: Mapping[str, float]
    statement_us: Mapping[str, float]
    wal_bytes: float
    page_images: float
    blocks_read: float

    @property
    def own_us(self) -> float:
        """CPU time of the service and PostgreSQL together."""
        return sum(self.cpu_us[name] for name in ("service", "postgres"))


Round = Mapping[str, Mapping[str, Case]]
"""By load, then by shop: a size, or the empty shop again."""


def main() -> None:
    """Measure, report, and end with status 1 where a bound is missed or a witness disagrees."""
    wish = _read_arguments()
    signal.signal(signal.SIGTERM, lambda _number, _frame: sys.exit(1))
    try:
        with data_folder(wish.data_dir) as folder:
            _demand_room(folder, sum(wish.sizes))
            database_work.let_count(folder)
            with set_stage(folder) as stage:
                report = _measure_all(stage, wish)
    except (LoadTestFailure, JalurError) as error:
        sys.exit(f"growth: {error}")
    if not wish.json_only:
        _print(report, Console(width=160))
    if wish.write_docs:
        _RESULT.write_text(json.dumps(report, indent=1) + "\n")
        PAGE.write_text(with_figures(PAGE.read_text(), _markdown(report), _BEGIN, _END))
    print(json.dumps(report), flush=True)
    sys.exit(1 if report["faults"] or not all(each["met"] for each in report["bounds"]) else 0)


def _demand_room(folder: Path, orders: int) -> None:
    needed, free = orders * _BYTES_AN_ORDER, shutil.disk_usage(folder).free
    if needed > free:
        raise LoadTestFailure(
            f"{orders:,} orders need {needed / 1e9:.0f} GB at {folder}, {free / 1e9:.0f} are free: "
            "choose a larger disk with --data-dir, or --sizes"
        )


def _measure_all(stage: Stage, wish: Wish) -> dict[str, Any]:
    busy = psutil.cpu_percent(interval=1.0)
    faults: list[str] = []
    with ExitStack() as stack:
        shops = {
            str(size): stack.enter_context(_shop_of(stage, wish, size))
            for size in wish.sizes
            if size
        }
        tables = {name: uvloop.run(database_work.sizes(dsn)) for name, dsn in shops.items()}
        rounds = [
            {load: _go_round(stage, wish, shops, load, number, faults) for load in wish.loads}
            for number in range(wish.rounds)
        ]
        for name, dsn in shops.items():
            _tell(wish, f"looking at all money of the shop with {name} orders …")
            faults += [f"{name}: {fault}" for fault in uvloop.run(witnesses.examine_ledger(dsn))]
    return _report(wish, rounds, tables, faults, busy)


@contextmanager
def _shop_of(stage: Stage, wish: Wish, size: int) -> Generator[str]:
    """A shop with so many finished orders."""

    def tell(done: int, seconds: float) -> None:
        if done % 500_000 == 0 or done == size:
            _tell(wish, f"  {done:,} of {size:,} orders in {seconds:.0f} s")

    _tell(wish, f"a shop that has sold {size:,} orders …")
    with shop.copy(stage.postgres.dsn, _MANNER, f"jalur_growth_{size}") as dsn:
        uvloop.run(history.add(dsn, stage.secret_key, size, tell))
        yield dsn


def _go_round(
    stage: Stage, wish: Wish, shops: Mapping[str, str], load: str, number: int, faults: list[str]
) -> dict[str, Case]:
    """One load on every shop, the empty one first and last."""
    cases: dict[str, Case] = {}
    for place, name in enumerate(["0", *shops, _AGAIN]):
        # Numbers are never used twice in a shop that is used again.
        first = ((number * len(LOADS) + wish.loads.index(load)) * 2 + 1) * _NUMBERS_A_LOAD
        logs = stage.folder / f"{number}-{load}-{place}"
        logs.mkdir()
        with ExitStack() as stack:
            dsn = (
                shops[name]
                if name in shops
                else stack.enter_context(shop.copy(stage.postgres.dsn, _MANNER))
            )
            case, wrong = _measure(stage, wish, dsn, load, first, logs)
        cases[name] = case
        faults += [f"{load}, {name}, round {number + 1}: {fault}" for fault in wrong]
        _tell(
            wish,
            f"{load}, {name} orders before: {case.per_second:,.0f} a second, "
            f"{case.own_us:.0f} µs an order",
        )
        if wish.data_dir is None:
            shutil.rmtree(logs)
    return cases


def _measure(
    stage: Stage, wish: Wish, dsn: str, load: str, first: int, logs: Path
) -> tuple[Case, list[str]]:
    """One load, and what was wrong with it."""
    is_whole = load != "accept"
    since = first_id(datetime.now(UTC) - timedelta(milliseconds=1))
    task = Task(
        f"{stage.addresses.service}/v1/orders",
        [buyer.token for buyer in stage.buyers[: 1 if load == "serve-hot" else BUYERS]],
        first,
        wish.seconds,
        _WARM_UP_ORDERS,
        wish.rate,
        receiver_url=stage.addresses.receiver if is_whole else None,
        most_open=_MOST_OPEN,
    )
    with outside(stage, logs) as others:
        command = ("serve",) if is_whole else ("api",)
        with service(stage, dsn, {"service": command}, logs) as programs:
            watched = {each.name: each.process.pid for each in (*programs, *others)}
            watched |= {"postgres": stage.postgres.process.pid, "valkey": stage.valkey.process.pid}
            stretch, cpu, work = _drive(stage, dsn, task, watched, logs)
            if is_whole:
                uvloop.run(witnesses.until_nothing_is_left(dsn, since))
        if not is_whole:
            with service(stage, dsn, {"worker": ("worker",)}, logs):
                uvloop.run(witnesses.until_nothing_is_left(dsn, since, _DRAIN_SECONDS))
        addresses = stage.addresses
        faults = uvloop.run(
            witnesses.examine_delivered(
                dsn, addresses.simulator, addresses.receiver, stretch.accepted_in_all, since
            )
        )
    return _case(stretch, cpu, work), [*stretch.faults, *faults]


def _drive(
    stage: Stage, dsn: str, task: Task, watched: Mapping[str, int], logs: Path
) -> tuple[Stretch, dict[str, float], Work]:
    """Run the client. Beside what it tells: everybody's CPU seconds, PostgreSQL's statements."""
    with running("client", ["loadtests.steady"], logs) as client:
        # Before the warm-up, which then bears what follows a checkpoint: each page goes to the log
        # as a whole when it is changed for the first time, once in minutes.
        uvloop.run(database_work.checkpoint(dsn))
        client.write_line(task.to_line())
        client.read_line()
        _until_shares_are_counted(stage.addresses.service)
        uvloop.run(database_work.reset(dsn))
        before = {name: cpu_seconds(process_id) for name, process_id in watched.items()}
        client.write_line(b"go\n")
        stretch = read_stretch(client.read_line())
        used = {name: cpu_seconds(watched[name]) - before[name] for name in watched}
        work = uvloop.run(_work(dsn))
    return stretch, used | {"client": stretch.cpu_seconds}, work


def _until_shares_are_counted(base_url: str) -> None:
    """Until a process that has just started has added up what was bought before it: that is a part
    of its start, and of no order's cost. Once in minutes it does so again. Raises LoadTestFailure.
    """
    deadline = time.monotonic() + _COUNTING_SECONDS
    while time.monotonic() < deadline:
        with urlopen(f"{base_url}/metrics", timeout=_COUNTING_SECONDS) as answer:
            if _COUNTED.search(answer.read().decode()):
                return
        time.sleep(_LOOK_SECONDS)
    raise LoadTestFailure(f"shares are not counted {_COUNTING_SECONDS:g} s after the start")


async def _work(dsn: str) -> Work:
    connection = await asyncpg.connect(dsn)
    try:
        return await database_work.read(connection)
    finally:
        await connection.close()


def _case(stretch: Stretch, cpu: Mapping[str, float], work: Work) -> Case:
    orders = max(stretch.ended, 1)
    return Case(
        stretch.ended,
        stretch.shed,
        round(stretch.ended / stretch.seconds, 1) if stretch.seconds else 0.0,
        stretch.accept,
        stretch.end_to_end,
        {name: round(used / orders * 1e6, 1) for name, used in cpu.items()},
        {name: round(used / orders * 1e6, 1) for name, used in work.seconds.items()},
        round(work.wal_bytes / orders),
        round(work.page_images / orders, 3),
        round(work.blocks_read / orders, 2),
    )


# ------------------------------------------------------------------ what follows


def _report(
    wish: Wish,
    rounds: Sequence[Round],
    tables: Mapping[str, Sequence[Size]],
    faults: Sequence[str],
    busy_percent: float,
) -> dict[str, Any]:
    names = [*(str(size) for size in wish.sizes), _AGAIN]
    return {
        "machine": processor(busy_percent),
        "seconds": wish.seconds,
        "offered_per_second": wish.rate,
        "rounds": len(rounds),
        "loads": {
            load: {name: _median([each[load][name] for each in rounds]) for name in names}
            for load in wish.loads
        },
        "ratios": {
            load: {name: _ratios([each[load] for each in rounds], name) for name in names[1:]}
            for load in wish.loads
        },
        "bounds": [
            bound
            for load in wish.loads
            for name in names[1:-1]
            for bound in _bounds(load, name, _ratios([each[load] for each in rounds], name))
        ],
        "bytes_an_order": {
            name: [
                {
                    "table": each.table,
                    "name": each.name,
                    "bytes": round(each.size_bytes / int(name)),
                }
                for each in sizes
                if each.size_bytes >= int(name)
            ]
            for name, sizes in tables.items()
        },
        "faults": list(faults),
    }


def _median(cases: Sequence[Case]) -> dict[str, Any]:
    """Each figure's median by itself; a statement that a round did without counts as nothing."""
    listed = [asdict(case) | {"own_us": case.own_us} for case in cases]
    return {name: _middle([each[name] for each in listed]) for name in listed[0]}


def _middle(values: Sequence[Any]) -> object:
    if isinstance(values[0], Mapping):
        names = dict.fromkeys(name for each in values for name in each)
        return {name: _middle([each.get(name, 0.0) for each in values]) for name in names}
    return round(median(values), 3)


def _ratios(rounds: Sequence[Mapping[str, Case]], name: str) -> dict[str, float]:
    """To the empty shop of the same round, the mean of first and last; the last to the first."""

    def ratio(cases: Mapping[str, Case], of: str) -> float:
        first, last = (float(getattr(cases[each], of)) for each in ("0", _AGAIN))
        empty = first if name == _AGAIN else (first + last) / 2
        return float(getattr(cases[name], of)) / max(empty, 0.001)

    return {
        "cpu": round(median(ratio(cases, "own_us") for cases in rounds), 3),
        "rate": round(median(ratio(cases, "per_second") for cases in rounds), 3),
    }


def _bounds(load: str, name: str, ratios: Mapping[str, float]) -> list[dict[str, Any]]:
    where = f"{load}, {int(name):,} orders before"
    least_rate = round(1 / _MOST_RATIO, 3)
    return [
        {
            "name": f"{where}: CPU an order by the empty shop's",
            "wanted": f"≤ {_MOST_RATIO:g}",
            "found": ratios["cpu"],
            "met": ratios["cpu"] <= _MOST_RATIO,
        },
        {
            "name": f"{where}: rate by the empty shop's",
            "wanted": f"≥ {least_rate:g}",
            "found": ratios["rate"],
            "met": ratios["rate"] >= least_rate,
        },
    ]


# ------------------------------------------------------------------ telling

_HEADINGS = (
    "orders before",
    "a second",
    "CPU µs an order: service, PostgreSQL",
    "CPU ratio",
    "rate ratio",
    "log bytes an order",
    "whole pages an order",
    "pages read an order",
)


def _rows(report: Mapping[str, Any], load: str) -> list[tuple[str, ...]]:
    return [
        (
            name if name == _AGAIN else f"{int(name):,}",
            f"{case['per_second']:,.0f}",
            f"{case['cpu_us']['service']:.0f}, {case['cpu_us']['postgres']:.0f}",
            *_ratio_cells(report["ratios"][load].get(name)),
            f"{case['wal_bytes']:,.0f}",
            f"{case['page_images']:.2f}",
            f"{case['blocks_read']:.1f}",
        )
        for name, case in report["loads"][load].items()
    ]


def _ratio_cells(ratios: Mapping[str, float] | None) -> tuple[str, str]:
    return ("", "") if ratios is None else (f"{ratios['cpu']:.2f}", f"{ratios['rate']:.2f}")


def _statement_rows(report: Mapping[str, Any], load: str) -> list[tuple[str, ...]]:
    """Each kind of statement's time by shop, the dearest first."""
    cases = report["loads"][load]
    names = dict.fromkeys(name for case in cases.values() for name in case["statement_us"])
    times = {
        name: [case["statement_us"].get(name, 0.0) for case in cases.values()] for name in names
    }
    ranked = sorted(times.items(), key=lambda each: max(each[1]), reverse=True)
    return [
        (name, *(f"{us:.1f}" for us in several)) for name, several in ranked if max(several) >= 1
    ]


def _print(report: Mapping[str, Any], console: Console) -> None:
    for load in report["loads"]:
        table = Table(*_HEADINGS, title=f"{load}: {LOADS[load]}")
        for row in _rows(report, load):
            table.add_row(*row)
        console.print(table)
        cases = report["loads"][load]
        statements = Table(load, *cases, title="PostgreSQL's time in statements, µs an order")
        for row in _statement_rows(report, load):
            statements.add_row(*row)
        console.print(statements)
    for name, sizes in report["bytes_an_order"].items():
        table = Table("", "bytes an order", title=f"{int(name):,} orders")
        for each in sizes:
            indent = "" if each["table"] == each["name"] else "  "
            table.add_row(f"{indent}{each['name']}", f"{each['bytes']:,}")
        table.add_row("all", f"{sum(each['bytes'] for each in sizes):,}")
        console.print(table)
    for bound in report["bounds"]:
        word = "met" if bound["met"] else "MISSED"
        console.print(f"{bound['name']} {bound['wanted']}: {bound['found']:.2f}, {word}")
    for fault in report["faults"]:
        console.print(f"fault: {fault}")


def _markdown(report: Mapping[str, Any]) -> str:
    facts = ", ".join(f"{name} {value}" for name, value in report["machine"].items())
    lines = [f"Medians of {report['rounds']} rounds, {report['seconds']:g} s a load; {facts}.", ""]
    for load in report["loads"]:
        lines += [
            f"**{load}**: {LOADS[load]}",
            "",
            *table_lines(_HEADINGS, _rows(report, load)),
            "",
        ]
    lines += bound_lines(report["bounds"])
    for name, sizes in list(report["bytes_an_order"].items())[-1:]:
        lines += ["", f"| {int(name):,} orders | bytes an order |", "|---|---:|"]
        lines += [
            f"| {'' if each['table'] == each['name'] else '- '}{each['name']} | {each['bytes']:,} |"
            for each in sizes
            if each["bytes"]
        ]
        lines.append(f"| all | {sum(each['bytes'] for each in sizes):,} |")
    lines += [f"\n**Fault**: {fault}" for fault in report["faults"]]
    return "\n".join(lines) + "\n"


def _tell(wish: Wish, line: str) -> None:
    if not wish.json_only:
        print(f"{time.strftime('%H:%M:%S')} {line}", file=sys.stderr, flush=True)


def _read_arguments() -> Wish:
    parser = argparse.ArgumentParser(prog="python -m loadtests.growth", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="rounds to measure; 3")
    parser.add_argument("--seconds", type=float, default=8.0, help="length of one load; 8")
    parser.add_argument(
        "--rate", type=float, help="orders a second; else as fast as they are answered"
    )
    parser.add_argument(
        "--sizes", type=int, nargs="+", metavar="ORDERS", help="shops to compare with the empty one"
    )
    parser.add_argument(
        "--only", action="append", choices=LOADS, metavar="LOAD", help=", ".join(LOADS)
    )
    parser.add_argument(
        "--quick", action="store_true", help="100,000 and a million orders, loads of 4 seconds"
    )
    parser.add_argument("--data-dir", type=Path, help="keep databases and logs in this new folder")
    parser.add_argument("--json-only", action="store_true", help="nothing but the JSON object")
    parser.add_argument(
        "--write-docs", action="store_true", help="write docs/performance.md and loadtests/results"
    )
    given = parser.parse_args()
    seconds = _QUICK_SECONDS if given.quick else given.seconds
    chosen = given.sizes or (_QUICK_SIZES if given.quick else _SIZES)
    if min(given.rounds, seconds, given.rate or 1, *(size + 1 for size in chosen)) <= 0:
        parser.error("numbers must be above zero")
    return Wish(
        sorted({0, *chosen}),
        [load for load in LOADS if load in (given.only or LOADS)],
        given.rounds,
        seconds,
        given.rate,
        given.data_dir,
        given.json_only,
        given.write_docs,
    )


if __name__ == "__main__":
    main()
