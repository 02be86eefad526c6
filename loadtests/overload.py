"""Overload: what is finished when three times as much is asked for as can be done.

First the best that the service finishes end to end, closed loop. Then that rate, twice and three
times of it are offered whether or not they are answered, to a thousand resellers and to one; behind
each burst single orders tell when all is as before. What a machine gives drifts within a minute: so
the best is taken anew between the bursts, each is compared with the mean of those beside it, and
those of three times the best are the median of three rounds. Then one reseller floods with three
times the best while twenty others send a little. Everything shares this machine's cores, so that
what refusals cost is missing to the orders. All ratios are within this one run.

    python -m loadtests.overload
"""

import argparse
import json
import signal
import sys
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import fmean, median
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import orjson
import psutil
import uvloop
from rich.console import Console
from rich.table import Table

from app.errors import JalurError
from loadtests import database_work, shop, witnesses
from loadtests.crowd import Came, Stream, Wave, read_came
from loadtests.orders import order_body
from loadtests.programs import LoadTestFailure, Program, cpu_seconds, running
from loadtests.report import PAGE, processor, table_lines, with_figures
from loadtests.stage import BUYERS, Stage, data_folder, outside, service, set_stage

_RESULT = Path(__file__).resolve().parent / "results" / "overload.json"
_BEGIN, _END = "<!-- overload figures: begin -->", "<!-- overload figures: end -->"
LEAST_GOODPUT_RATIO = 0.9
MOST_RECOVERY_SECONDS = 5.0
LEAST_FAIR_RATIO = 0.95
"""Of the modest resellers' orders, how many must be accepted beside the flood."""
_MULTIPLES = (1, 2)
_FLOOD = 3
_BURSTS = (f"{_FLOOD} x", f"hot {_FLOOD} x")
"""What is asked for several times: of a thousand resellers, and of one."""
_ROUNDS = 3
_MODEST = 20
_MODEST_PART = 0.2
"""What they send in all, as a part of the best."""
_CONNECTIONS, _OPEN_ORDERS = 128, 768
_BEST, _ALONE, _FLOODED = "best", "modest alone", "modest beside a flood"
_QUIET_PER_SECOND = 20.0
_QUIET_SECONDS = 3.0
_WARM_UP_SECONDS = 2.0
_QUICK_SECONDS = 3.0
_REFUSING_CONNECTIONS = 64
_LOOK_SECONDS = 0.1
_REFUSING_WITHIN_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Wish:
    """What the command line asked for."""

    seconds: float
    rounds: int
    data_dir: Path | None
    json_only: bool
    write_docs: bool


@dataclass(frozen=True, slots=True)
class Measured:
    """One wave: what came, and what CPU time it took by process, until all was worked off."""

    name: str
    came: Came
    cpu_seconds: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Crowd:
    """The client, and the processes that are watched while it sends."""

    program: Program
    watched: Mapping[str, int]
    dsn: str = field(repr=False)

    def send(self, name: str, wave: Wave) -> Measured:
        """Have one wave sent, on a database that is tidy: else autovacuum, which comes once a
        minute, would take a processor from whichever wave it falls into. Raises LoadTestFailure."""
        uvloop.run(database_work.tidy(self.dsn))
        before = {each: cpu_seconds(process_id) for each, process_id in self.watched.items()}
        self.program.write_line(wave.to_line())
        came = read_came(self.program.read_line())
        used = {each: cpu_seconds(self.watched[each]) - before[each] for each in before}
        return Measured(name, came, used | {"client": came.cpu_seconds})


def main() -> None:
    """Measure, report, and end with status 1 where a bound is missed or a witness disagrees."""
    wish = _read_arguments()
    signal.signal(signal.SIGTERM, lambda _number, _frame: sys.exit(1))
    try:
        with data_folder(wish.data_dir) as folder, set_stage(folder) as stage:
            report = _measure(stage, wish)
    except (LoadTestFailure, JalurError) as error:
        sys.exit(f"overload: {error}")
    if not wish.json_only:
        _print_table(report, Console(width=160))
    if wish.write_docs:
        _RESULT.write_text(json.dumps(report, indent=1) + "\n")
        PAGE.write_text(with_figures(PAGE.read_text(), _markdown(report), _BEGIN, _END))
    print(json.dumps(report), flush=True)
    sys.exit(1 if report["faults"] or not all(report["bounds"].values()) else 0)


def _measure(stage: Stage, wish: Wish) -> dict[str, Any]:
    busy_percent = psutil.cpu_percent(interval=1.0)
    logs = stage.folder / "overload"
    logs.mkdir()
    with shop.copy(stage.postgres.dsn) as dsn, outside(stage, logs) as others:
        with service(stage, dsn, {"service": ("serve",)}, logs) as programs:
            with _crowd(stage, dsn, [*programs, *others], logs) as crowd:
                measured = _measure_waves(crowd, wish)
            uvloop.run(witnesses.until_nothing_is_left(dsn))
        accepted = sum(each.came.accepted_in_all for each in measured)
        faults = uvloop.run(
            witnesses.examine_delivered(
                dsn, stage.addresses.simulator, stage.addresses.receiver, accepted
            )
        )
    refusing = _measure_refusing(stage, wish)
    faults += [f"{each.name}: {fault}" for each in measured for fault in each.came.faults]
    return _report(measured, refusing, busy_percent, faults)


@contextmanager
def _crowd(stage: Stage, dsn: str, programs: Sequence[Program], logs: Path) -> Generator[Crowd]:
    watched = {each.name: each.process.pid for each in programs}
    watched["postgres"] = stage.postgres.process.pid
    given = {
        "orders_url": f"{stage.addresses.service}/v1/orders",
        "receiver_url": stage.addresses.receiver,
        "tokens": [buyer.token for buyer in stage.buyers],
    }
    with running("client", ["loadtests.crowd"], logs) as client:
        client.write_line(orjson.dumps(given, option=orjson.OPT_APPEND_NEWLINE))
        yield Crowd(client, watched, dsn)


def _measure_waves(crowd: Crowd, wish: Wish) -> list[Measured]:
    everybody = Stream(0, BUYERS, 0.0)
    closed = Wave([everybody], wish.seconds, _CONNECTIONS, _OPEN_ORDERS)
    warm_up = crowd.send("warm-up", Wave([everybody], _WARM_UP_SECONDS, 64, 256))
    quiet = crowd.send("quiet", Wave([Stream(0, BUYERS, _QUIET_PER_SECOND)], _QUIET_SECONDS))
    within_ms = 2 * quiet.came.groups[0].end_to_end.p50_ms
    measured = [warm_up, quiet]

    def best() -> float:
        measured.append(crowd.send(_BEST, closed))
        return measured[-1].came.finished_a_second

    def burst(name: str, *streams: Stream) -> None:
        wave = Wave(streams, wish.seconds, probe_within_ms=within_ms)
        measured.append(crowd.send(name, wave))

    rate = best()
    for multiple in _MULTIPLES:
        burst(f"{multiple} x", Stream(0, BUYERS, multiple * rate))
    for _ in range(wish.rounds):
        for name, buyers in zip(_BURSTS, (BUYERS, 1), strict=True):
            burst(name, Stream(0, buyers, _FLOOD * best()))
    rate = best()
    modest = Stream(1, _MODEST, _MODEST_PART * rate)
    burst(_ALONE, modest)
    burst(_FLOODED, Stream(0, 1, _FLOOD * rate), modest)
    return measured


def _measure_refusing(stage: Stage, wish: Wish) -> Measured:
    """The CPU time of a refusal alone: an API that nobody works for, full with its first order."""
    logs = stage.folder / "refusing"
    logs.mkdir()
    api, settings = {"service": ("api",)}, {"JALUR_BACKLOG_LIMIT": "1"}
    everybody = Stream(0, BUYERS, 0.0)
    wave = Wave([everybody], wish.seconds / 2, _REFUSING_CONNECTIONS, _REFUSING_CONNECTIONS)
    with (
        shop.copy(stage.postgres.dsn) as dsn,
        outside(stage, logs) as others,
        service(stage, dsn, api, logs, settings) as programs,
        _crowd(stage, dsn, [*programs, *others], logs) as crowd,
    ):
        _fill(stage)
        crowd.send("keys looked up", wave)
        return crowd.send("refusing", wave)


def _fill(stage: Stage) -> None:
    """Send an order, and again, until it is refused."""
    headers = {
        "authorization": f"Bearer {stage.buyers[0].token}",
        "content-type": "application/json",
    }
    deadline = time.monotonic() + _REFUSING_WITHIN_SECONDS
    while time.monotonic() < deadline:
        order = Request(f"{stage.addresses.service}/v1/orders", order_body(0, 0), headers)
        try:
            urlopen(order, timeout=_REFUSING_WITHIN_SECONDS).close()
        except HTTPError as refused:
            if json.load(refused)["code"] == "overloaded":
                return
        time.sleep(_LOOK_SECONDS)
    raise LoadTestFailure("nothing is refused although the backlog is at its limit")


# ------------------------------------------------------------------ what follows


def _report(
    measured: Sequence[Measured], refusing: Measured, busy_percent: float, faults: Sequence[str]
) -> dict[str, Any]:
    rounds: dict[str, list[dict[str, Any]]] = {}
    for place, each in enumerate(measured[1:], 1):
        if each.name not in (_ALONE, _FLOODED):
            rounds.setdefault(each.name, []).append(_told(each, _best_beside(measured, place)))
    waves = {name: _middle(found) for name, found in rounds.items()}
    fairness = _fairness(measured[-2].came, measured[-1].came, _best_beside(measured, -1))
    return {
        "ok": not faults,
        "faults": list(faults),
        "machine": processor(busy_percent),
        "best_a_second": round(median(each["finished_a_second"] for each in rounds[_BEST]), 1),
        "waves": waves,
        "fairness": fairness,
        "refusal": _refusal(refusing),
        "bounds": _bounds(waves, fairness),
    }


def _best_beside(measured: Sequence[Measured], place: int) -> float:
    """Orders a second at best, of the last time before this place and the first time after it."""
    before = [each for each in measured[:place] if each.name == _BEST]
    after = [each for each in measured[place:][1:] if each.name == _BEST]
    return fmean(each.came.finished_a_second for each in (*before[-1:], *after[:1]))


def _middle(rounds: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The round with the median ratio, with all ratios and the longest that one took to recover."""
    by_ratio = sorted(rounds, key=lambda each: each["goodput_ratio"])
    recovered = [each["recovered_seconds"] for each in rounds]
    return by_ratio[(len(rounds) - 1) // 2] | {
        "goodput_ratios": [each["goodput_ratio"] for each in rounds],
        "recovered_seconds": max((each for each in recovered if each is not None), default=None),
    }


def _told(measured: Measured, best: float) -> dict[str, Any]:
    """One wave beside the best of its time, in orders a second."""
    came, group = measured.came, measured.came.groups[0]
    cores = psutil.cpu_count() or 1
    return {
        "offered_a_second": round(came.offered_a_second, 1),
        "finished_a_second": round(came.finished_a_second, 1),
        "goodput_ratio": round(came.finished_a_second / best, 3),
        "finished_a_cpu_second": round(group.accepted / measured.cpu_seconds["service"], 1),
        "refused_ratio": round(group.refused / max(1, group.offered), 3),
        "limited_ratio": round(group.limited / max(1, group.offered), 3),
        "accept": asdict(group.accept),
        "end_to_end": asdict(group.end_to_end),
        "sent_late": asdict(came.sent_late),
        "worked_off_seconds": round(came.worked_off_seconds, 2),
        "recovered_seconds": _rounded(came.recovered_seconds),
        "client_cpu_ratio": round(came.cpu_seconds / came.seconds / cores, 3),
        "cpu_seconds": {name: round(used, 2) for name, used in measured.cpu_seconds.items()},
    }


def _fairness(alone: Came, beside: Came, best: float) -> dict[str, Any]:
    flooder, modest = beside.groups
    quiet = alone.groups[0]
    return {
        "flood_offered_a_second": round(flooder.offered / beside.seconds, 1),
        "flood_accepted_ratio": round(flooder.accepted / max(1, flooder.offered), 3),
        "modest_offered_a_second": round(modest.offered / beside.seconds, 1),
        "modest_accepted_ratio": round(modest.accepted / max(1, modest.offered), 4),
        "modest_limited_ratio": round(modest.limited / max(1, modest.offered), 4),
        "modest_alone": {"accept": asdict(quiet.accept), "end_to_end": asdict(quiet.end_to_end)},
        "modest_beside": {"accept": asdict(modest.accept), "end_to_end": asdict(modest.end_to_end)},
        "goodput_ratio": round(beside.finished_a_second / best, 3),
        "recovered_seconds": _rounded(beside.recovered_seconds),
    }


def _refusal(refusing: Measured) -> dict[str, float]:
    """CPU of refusals alone, in microseconds each."""
    refused = max(1, refusing.came.groups[0].refused)
    return {
        "a_second": round(refused / refusing.came.seconds, 1),
        "service_cpu_us": round(refusing.cpu_seconds["service"] / refused * 1e6, 1),
        "client_cpu_us": round(refusing.cpu_seconds["client"] / refused * 1e6, 1),
    }


def _bounds(waves: Mapping[str, Any], fairness: Mapping[str, Any]) -> dict[str, bool]:
    recovered = [each["recovered_seconds"] for each in (*waves.values(), fairness)]
    return {
        f"goodput at {_FLOOD} x at least {LEAST_GOODPUT_RATIO:g} of the best": all(
            waves[each]["goodput_ratio"] >= LEAST_GOODPUT_RATIO for each in _BURSTS
        ),
        f"as before within {MOST_RECOVERY_SECONDS:g} s of a burst": all(
            each <= MOST_RECOVERY_SECONDS for each in recovered if each is not None
        ),
        f"of the modest resellers' orders at least {LEAST_FAIR_RATIO:.0%} accepted": (
            fairness["modest_accepted_ratio"] >= LEAST_FAIR_RATIO
        ),
    }


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 2)


# ------------------------------------------------------------------ telling


_HEADINGS = (
    "",
    "offered/s",
    "finished/s",
    "of the best beside it",
    "refused",
    "accept p50, p99 ms",
    "end to end p50, p99 ms",
    "as before after s",
    "client's CPU",
)


def _print_table(report: Mapping[str, Any], console: Console) -> None:
    table = Table(title=f"the best: {report['best_a_second']:,.0f} orders a second, end to end")
    for column in _HEADINGS:
        table.add_column(column, justify="left" if not column else "right")
    for name, wave in report["waves"].items():
        table.add_row(name, *_cells(wave))
    console.print(table)
    for sentence in _sentences(report):
        console.print(sentence)
    for bound, met in report["bounds"].items():
        console.print(f"{bound}: {'met' if met else 'MISSED'}")
    for fault in report["faults"]:
        console.print(f"fault: {fault}")


def _markdown(report: Mapping[str, Any]) -> str:
    """The figures as Markdown."""
    facts = ", ".join(f"{name} {value}" for name, value in report["machine"].items())
    bounds = ", ".join(
        f"{bound}: {'met' if met else '**missed**'}" for bound, met in report["bounds"].items()
    )
    lines = [
        f"The best: {report['best_a_second']:,.0f} orders a second, end to end; {facts}.",
        "",
        *table_lines(_HEADINGS, ((name, *_cells(wave)) for name, wave in report["waves"].items())),
        "",
        *_sentences(report),
        "",
        f"Bounds: {bounds}.",
        *(f"- **Fault**: {fault}" for fault in report["faults"]),
    ]
    return "\n".join(lines) + "\n"


def _sentences(report: Mapping[str, Any]) -> Sequence[str]:
    fairness, refusal = report["fairness"], report["refusal"]
    return (
        f"Beside a flood of {fairness['flood_offered_a_second']:,.0f}/s, of which "
        f"{fairness['flood_accepted_ratio']:.0%} were accepted, {_MODEST} modest resellers had "
        f"{fairness['modest_accepted_ratio']:.1%} of theirs accepted; p99 to acceptance "
        f"{fairness['modest_beside']['accept']['p99_ms']:.0f} ms, alone "
        f"{fairness['modest_alone']['accept']['p99_ms']:.0f}.",
        f"A refusal takes {refusal['service_cpu_us']:.1f} µs of the service's CPU time; "
        f"{refusal['a_second']:,.0f} a second.",
    )


def _cells(wave: Mapping[str, Any]) -> tuple[str, ...]:
    accept, end_to_end, recovered = wave["accept"], wave["end_to_end"], wave["recovered_seconds"]
    return (
        f"{wave['offered_a_second']:,.0f}",
        f"{wave['finished_a_second']:,.0f}",
        f"{wave['goodput_ratio']:.2f}" + _least_and_most(wave["goodput_ratios"]),
        f"{wave['refused_ratio']:.0%}",
        f"{accept['p50_ms']:.0f}, {accept['p99_ms']:.0f}",
        f"{end_to_end['p50_ms']:.0f}, {end_to_end['p99_ms']:.0f}",
        "" if recovered is None else f"{recovered:.2f}",
        f"{wave['client_cpu_ratio']:.0%}",
    )


def _least_and_most(ratios: Sequence[float]) -> str:
    """Of several rounds."""
    return f" ({min(ratios):.2f} to {max(ratios):.2f})" if len(ratios) > 1 else ""


def _read_arguments() -> Wish:
    parser = argparse.ArgumentParser(prog="python -m loadtests.overload", description=__doc__)
    parser.add_argument("--seconds", type=float, default=8.0, help="length of one wave; 8")
    parser.add_argument("--quick", action="store_true", help="one round, waves of 3 seconds")
    parser.add_argument("--data-dir", type=Path, help="keep databases and logs in this new folder")
    parser.add_argument("--json-only", action="store_true", help="nothing but the JSON object")
    parser.add_argument("--write-docs", action="store_true", help="write docs/performance.md")
    given = parser.parse_args()
    seconds = _QUICK_SECONDS if given.quick else given.seconds
    if seconds <= 0:
        parser.error("numbers must be above zero")
    rounds = 1 if given.quick else _ROUNDS
    return Wish(seconds, rounds, given.data_dir, given.json_only, given.write_docs)


if __name__ == "__main__":
    main()
