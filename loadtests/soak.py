"""Whether a long steady load leaves everything as it was, by one command.

Orders come at half of what the machine takes, for twenty minutes, each at its own moment. Every ten
seconds a sample is taken: memory, tables and their dead rows, how the event loop lags, what waits,
how long orders took. In the middle somebody holds a snapshot in PostgreSQL for five minutes and
does nothing with it, as a forgotten session or a backup does, so that nothing that was deleted or
replaced since can be cleared away.

    python -m loadtests.soak
"""

import argparse
import asyncio
import json
import re
import signal
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import fmean, median
from typing import Any

import asyncpg
import httpx
import psutil
import uvloop
from rich.console import Console
from rich.table import Table

from app.errors import JalurError
from loadtests import database_work, shop, witnesses
from loadtests.database_work import CLAIMS, COUNTING, Work
from loadtests.programs import LoadTestFailure, Program, cpu_seconds, running
from loadtests.report import PAGE, bound_lines, processor, table_lines, with_figures
from loadtests.stage import BUYERS, Stage, data_folder, outside, service, set_stage
from loadtests.steady import Stretch, Task, read_stretch

_RESULT = Path(__file__).resolve().parent / "results" / "soak.json"
_BEGIN, _END = "<!-- soak figures: begin -->", "<!-- soak figures: end -->"
_MINUTES, _HELD_SECONDS = 20.0, 300.0
_QUICK_MINUTES, _QUICK_HELD_SECONDS = 2.0, 30.0
_SHARE = 0.5
"""Of the rate found beforehand."""
_TRIAL_SECONDS = 6.0
_EVERY_SECONDS = 10.0
_SAMPLES_HELD = 6
"""At least so many while the snapshot is held."""
_WARM_UP_ORDERS = 1000
_WARM_UP_SHARE = 0.25
"""The part of the time after which memory is looked at: caches and pools are filled by then."""
_CONNECTIONS = 256
_MOST_OPEN = 20_000
_REQUEST_SECONDS = 30.0
_SETTLING_SECONDS = 60.0

_SLACK_BYTES = {"service": 16 << 20, "postgres": 64 << 20, "valkey": 8 << 20}
"""For pools that fill when the machine stalls; PostgreSQL has sixteen connections of a service."""
_MOST_BYTES_AN_ORDER = 30
"""Less than the smallest object that could be forgotten: an order that stays would show."""
_VACUUM_SECONDS = 180.0
"""Autovacuum looks every minute; by then it has been at a busy table once."""
_QUEUE_BYTES_AN_ORDER = 400
"""A row of a queue table, its part of the page and its index entries."""
_MOST_P99_RATIO = 3.0
_MOST_CLAIM_RATIO = 3.0
_LEAST_RATE_SHARE = 0.97
_RECOVERED_RATIO = 1.25

QUEUES = {"open_numbers": 1, "ready": 1, "wallets": 2}
"""Tables that must stay as small as what is open, with the dead rows that an order leaves in each:
a wallet is written when its money is reserved and when it is captured."""
QUEUE_INDEXES = (
    "attempts_waiting",
    "attempts_leased",
    "deliveries_waiting",
    "deliveries_leased",
    "deliveries_of_an_endpoint",
    "deliveries_undelivered",
    "deliveries_unfinished",
)
"""Indexes of only what is to be done, on tables that grow."""
HISTORIES = ("orders", "attempts", "deliveries", "webhook_endpoints")


@dataclass(frozen=True, slots=True)
class Wish:
    """What the command line asked for."""

    seconds: float
    held_seconds: float
    every_seconds: float
    rate: float | None
    data_dir: Path | None
    json_only: bool
    write_docs: bool


@dataclass(frozen=True, slots=True)
class TableState:
    """A table as PostgreSQL counts it."""

    size_bytes: int
    """With its indexes."""
    dead_rows: int
    updates: int
    hot_updates: int
    vacuums: int


@dataclass(frozen=True, slots=True)
class Sample:
    """What happened since the sample before, and how things stand."""

    at_seconds: float
    """Since the load began."""
    is_held: bool
    per_second: float
    accept_p50_ms: float
    accept_p99_ms: float
    end_to_end_p50_ms: float
    end_to_end_p99_ms: float
    cpu_us: Mapping[str, float]
    """An order."""
    claims_us: float
    """PostgreSQL's time looking for work, an order."""
    claim_ms: float
    """The mean of one look."""
    counting_us: float
    """PostgreSQL's time adding purchases up anew, an order."""
    memory_bytes: Mapping[str, int]
    """By process: what it shares with no other."""
    tables: Mapping[str, TableState]
    index_bytes: Mapping[str, int]
    lag_ms: float
    """The smallest bound that 99 of 100 lags of the event loop were not above."""
    waiting: Mapping[str, float]


@dataclass(slots=True)
class _Before:
    """The counters at the sample before."""

    cpu: Mapping[str, float]
    work: Work
    lags: Mapping[float, float]
    samples: list[Sample] = field(default_factory=list[Sample])


def main() -> None:
    """Soak, report, and end with status 1 where a bound is missed or a witness disagrees."""
    wish = _read_arguments()
    signal.signal(signal.SIGTERM, lambda _number, _frame: sys.exit(1))
    busy = psutil.cpu_percent(interval=1.0)
    try:
        with data_folder(wish.data_dir) as folder:
            database_work.let_count(folder)
            with set_stage(folder) as stage:
                rate = wish.rate or _half_of_the_most(stage, wish)
                samples, whole, faults = _soak(stage, wish, rate)
    except (LoadTestFailure, JalurError) as error:
        sys.exit(f"soak: {error}")
    report = _report(wish, rate, samples, whole, faults, busy)
    if not wish.json_only:
        _print(report, Console(width=180))
    if wish.write_docs:
        kept = {name: value for name, value in report.items() if name != "samples"}
        _RESULT.write_text(json.dumps(kept, indent=1) + "\n")
        PAGE.write_text(with_figures(PAGE.read_text(), _markdown(report), _BEGIN, _END))
    print(json.dumps(report), flush=True)
    sys.exit(1 if report["faults"] or not all(each["met"] for each in report["bounds"]) else 0)


# ------------------------------------------------------------------ the load


def _half_of_the_most(stage: Stage, wish: Wish) -> float:
    """Half of the rate at which orders go their whole way here."""
    logs = stage.folder / "trial"
    logs.mkdir()
    with (
        shop.copy(stage.postgres.dsn) as dsn,
        outside(stage, logs),
        service(stage, dsn, {"service": ("serve",)}, logs),
        running("client", ["loadtests.steady"], logs) as client,
    ):
        client.write_line(_task(stage, _TRIAL_SECONDS).to_line())
        client.read_line()
        client.write_line(b"go\n")
        found = read_stretch(client.read_line())
    most = found.ended / max(found.seconds, 0.001)
    _tell(wish, f"{most:,.0f} orders a second at most: {most * _SHARE:,.0f} from here on")
    if found.faults or most < 1:
        raise LoadTestFailure(f"the trial went wrong: {found.faults}")
    return round(most * _SHARE)


def _task(
    stage: Stage, seconds: float, rate: float | None = None, every_seconds: float | None = None
) -> Task:
    return Task(
        f"{stage.addresses.service}/v1/orders",
        [buyer.token for buyer in stage.buyers[:BUYERS]],
        0,
        seconds,
        _WARM_UP_ORDERS,
        rate,
        stage.addresses.receiver,
        **({} if rate is None else {"connections": _CONNECTIONS, "most_open": _MOST_OPEN}),
        every_seconds=every_seconds,
    )


def _soak(stage: Stage, wish: Wish, rate: float) -> tuple[list[Sample], Stretch, list[str]]:
    logs = stage.folder / "soak"
    logs.mkdir()
    addresses = stage.addresses
    with shop.copy(stage.postgres.dsn) as dsn, outside(stage, logs) as others:
        with (
            service(stage, dsn, {"service": ("serve",)}, logs) as programs,
            running("client", ["loadtests.steady"], logs) as client,
        ):
            watched = {each.name: each.process.pid for each in (*programs, *others)}
            watched |= {"postgres": stage.postgres.process.pid, "valkey": stage.valkey.process.pid}
            client.write_line(_task(stage, wish.seconds, rate, wish.every_seconds).to_line())
            client.read_line()
            samples, whole = uvloop.run(_watch(stage, wish, dsn, client, watched))
            uvloop.run(witnesses.until_nothing_is_left(dsn, seconds=_SETTLING_SECONDS))
        faults = uvloop.run(
            witnesses.examine_delivered(
                dsn, addresses.simulator, addresses.receiver, whole.accepted_in_all
            )
        )
    return samples, whole, [*whole.faults, *faults]


async def _watch(
    stage: Stage, wish: Wish, dsn: str, client: Program, watched: Mapping[str, int]
) -> tuple[list[Sample], Stretch]:
    """Let the client go, take a sample whenever it tells, and hold the snapshot in between."""
    await database_work.reset(dsn)
    hold_at = (wish.seconds - wish.held_seconds) / 2
    holder: asyncpg.Connection[asyncpg.Record] | None = None
    connection = await asyncpg.connect(dsn)
    async with httpx.AsyncClient(timeout=_REQUEST_SECONDS, trust_env=False) as http:
        url = f"{stage.addresses.service}/metrics"
        before = _Before(
            _cpu(watched), await database_work.read(connection), _lags((await http.get(url)).text)
        )
        client.write_line(b"go\n")
        while True:
            stretch = read_stretch(await asyncio.to_thread(client.read_line))
            if stretch.is_last:
                break
            metrics = (await http.get(url)).text
            sample = await _sample(
                connection, stretch, before, watched, metrics, is_held=holder is not None
            )
            before.samples.append(sample)
            _tell(wish, _line(sample))
            if not stretch.ended:
                raise LoadTestFailure(
                    f"no order was finished since the last sample; refused: {stretch.faults[:3]}"
                )
            at = sample.at_seconds
            if holder is None and hold_at <= at < hold_at + wish.held_seconds:
                holder = await _hold(dsn)
            elif holder is not None and at >= hold_at + wish.held_seconds:
                await holder.close()
                holder = None
    if holder is not None:
        await holder.close()
    await connection.close()
    return before.samples, stretch


async def _hold(dsn: str) -> "asyncpg.Connection[asyncpg.Record]":
    """Take a snapshot and keep it until the connection is closed."""
    connection = await asyncpg.connect(dsn)
    await connection.execute("begin isolation level repeatable read")
    await connection.execute("select from orders limit 1")
    return connection


# ------------------------------------------------------------------ samples


async def _sample(
    connection: "asyncpg.Connection[asyncpg.Record]",
    stretch: Stretch,
    before: _Before,
    watched: Mapping[str, int],
    metrics: str,
    *,
    is_held: bool,
) -> Sample:
    """Look at everything, and set the counters on."""
    cpu, work, lags = _cpu(watched), await database_work.read(connection), _lags(metrics)
    orders = max(stretch.ended, 1)
    looking, counting = (_spent(before.work, work, kinds) for kinds in (CLAIMS, COUNTING))
    looks = sum(work.calls.get(each, 0) - before.work.calls.get(each, 0) for each in CLAIMS)
    sample = Sample(
        at_seconds=_ends_at(before, stretch),
        is_held=is_held,
        per_second=round(stretch.ended / stretch.seconds, 1),
        accept_p50_ms=stretch.accept.p50_ms,
        accept_p99_ms=stretch.accept.p99_ms,
        end_to_end_p50_ms=stretch.end_to_end.p50_ms,
        end_to_end_p99_ms=stretch.end_to_end.p99_ms,
        cpu_us={name: round((cpu[name] - before.cpu[name]) / orders * 1e6, 1) for name in cpu},
        claims_us=round(looking / orders * 1e6, 2),
        claim_ms=round(looking / max(looks, 1) * 1e3, 3),
        counting_us=round(counting / orders * 1e6, 2),
        memory_bytes={name: _memory(process_id) for name, process_id in watched.items()},
        tables=await _tables(connection),
        index_bytes=await _index_bytes(connection),
        lag_ms=_lag_ms(before.lags, lags),
        waiting=_waiting(metrics),
    )
    before.cpu, before.work, before.lags = cpu, work, lags
    return sample


def _spent(before: Work, after: Work, kinds: Iterable[str]) -> float:
    """Seconds in statements of these kinds."""
    return sum(after.seconds.get(each, 0.0) - before.seconds.get(each, 0.0) for each in kinds)


def _ends_at(before: _Before, stretch: Stretch) -> float:
    so_far = before.samples[-1].at_seconds if before.samples else 0.0
    return round(so_far + stretch.seconds, 1)


def _cpu(watched: Mapping[str, int]) -> dict[str, float]:
    return {name: cpu_seconds(process_id) for name, process_id in watched.items()}


def _memory(process_id: int) -> int:
    """What a process and its children hold and share with nobody, in bytes."""
    root = psutil.Process(process_id)
    total = 0
    for process in (root, *root.children(recursive=True)):
        with suppress(psutil.NoSuchProcess):
            total += process.memory_full_info().uss
    return total


async def _tables(connection: "asyncpg.Connection[asyncpg.Record]") -> dict[str, TableState]:
    rows = await connection.fetch(
        """
        select relname::text, pg_total_relation_size(relid), n_dead_tup, n_tup_upd, n_tup_hot_upd,
               vacuum_count + autovacuum_count
        from pg_stat_user_tables where relname = any($1::text[])
        """,
        [*QUEUES, *HISTORIES],
    )
    return {row[0]: TableState(*tuple(row)[1:]) for row in rows}


async def _index_bytes(connection: "asyncpg.Connection[asyncpg.Record]") -> dict[str, int]:
    rows = await connection.fetch(
        "select name, pg_relation_size(name::regclass) from unnest($1::text[]) i (name)",
        list(QUEUE_INDEXES),
    )
    return {row[0]: row[1] for row in rows}


def _lags(metrics: str) -> dict[float, float]:
    """How many lags of the event loop were not above each bound, in seconds."""
    found = re.findall(r'jalur_event_loop_lag_seconds_bucket{le="([^"]+)"} (\S+)', metrics)
    return {float(bound): float(count) for bound, count in found}


def _lag_ms(before: Mapping[float, float], after: Mapping[float, float]) -> float:
    counts = {bound: count - before.get(bound, 0.0) for bound, count in after.items()}
    most = max(counts.values(), default=0.0)
    bound = next((bound for bound, count in counts.items() if count >= 0.99 * most), 0.0)
    return bound * 1000


def _waiting(metrics: str) -> dict[str, float]:
    """What waited in the service's memory, and in its tables."""
    found = re.findall(r'jalur_batch_waiting_rows{kind="([^"]+)"} (\S+)', metrics)
    return {kind: float(count) for kind, count in found}


def _line(sample: Sample) -> str:
    held = " held" if sample.is_held else ""
    dead = sum(each.dead_rows for each in sample.tables.values())
    return (
        f"{sample.at_seconds:.0f} s{held}: {sample.per_second:,.0f}/s, end to end p50 "
        f"{sample.end_to_end_p50_ms:.0f} p99 {sample.end_to_end_p99_ms:.0f} ms, service "
        f"{sample.cpu_us['service']:.0f} postgres {sample.cpu_us['postgres']:.0f} claims "
        f"{sample.claims_us:.1f} µs, {sample.memory_bytes['service'] >> 20} MiB, {dead:,} dead"
    )


# ------------------------------------------------------------------ what follows


def _report(
    wish: Wish,
    rate: float,
    samples: Sequence[Sample],
    whole: Stretch,
    faults: Sequence[str],
    busy_percent: float,
) -> dict[str, Any]:
    before = [each for each in _warm(wish, samples) if not each.is_held]
    held = [each for each in samples if each.is_held]
    if not held or samples[-1].is_held:
        raise LoadTestFailure("the load was too short to see before, during and after the snapshot")
    after = samples[samples.index(held[-1]) + 1 :]
    before = [each for each in before if each.at_seconds < held[0].at_seconds]
    parts = {"before": before, "while held": held, "after": after}
    return {
        "machine": processor(busy_percent),
        "seconds": wish.seconds,
        "held_seconds": wish.held_seconds,
        "offered_per_second": rate,
        "orders": whole.ended,
        "shed": whole.shed,
        "accept": asdict(whole.accept),
        "end_to_end": asdict(whole.end_to_end),
        "parts": {name: _part(part) for name, part in parts.items()},
        "recovered_after_seconds": _recovered(before, after),
        "memory": {name: _growth(wish, samples, name) for name in samples[-1].memory_bytes},
        "tables": {name: _table(samples, name) for name in samples[-1].tables},
        "index_bytes": {
            name: {
                "before": before[-1].index_bytes[name],
                "most": max(each.index_bytes[name] for each in samples),
                "at_the_end": samples[-1].index_bytes[name],
            }
            for name in QUEUE_INDEXES
        },
        "bounds": _bounds(wish, rate, parts, samples),
        "faults": list(faults),
        "samples": [asdict(each) for each in samples],
    }


def _warm(wish: Wish, samples: Sequence[Sample]) -> list[Sample]:
    return [each for each in samples if each.at_seconds > wish.seconds * _WARM_UP_SHARE]


def _part(samples: Sequence[Sample]) -> dict[str, Any]:
    """The medians of a part of the time; the worst of what must not happen."""
    return {
        "per_second": round(fmean(each.per_second for each in samples), 1),
        "accept_p99_ms": round(median(each.accept_p99_ms for each in samples), 1),
        "end_to_end_p50_ms": round(median(each.end_to_end_p50_ms for each in samples), 1),
        "end_to_end_p99_ms": round(median(each.end_to_end_p99_ms for each in samples), 1),
        "worst_p99_ms": round(max(each.end_to_end_p99_ms for each in samples), 1),
        "lag_ms": max(each.lag_ms for each in samples),
        "waiting": max(sum(each.waiting.values()) for each in samples),
        "cpu_us": {
            name: round(median(each.cpu_us[name] for each in samples), 1)
            for name in samples[0].cpu_us
        },
        "claims_us": round(median(each.claims_us for each in samples), 2),
        "claim_ms": round(median(each.claim_ms for each in samples), 3),
        "counting_us": round(fmean(each.counting_us for each in samples), 2),
    }


def _recovered(before: Sequence[Sample], after: Sequence[Sample]) -> float | None:
    """How long after the snapshot was given up p99 and claims were, and stayed for a sample, what
    they had been; None: never."""
    p99 = _RECOVERED_RATIO * median(each.end_to_end_p99_ms for each in before)
    claims = _RECOVERED_RATIO * median(each.claims_us for each in before)
    fine = [each.end_to_end_p99_ms <= p99 and each.claims_us <= claims for each in after]
    for place, (this, next_one) in enumerate(zip(fine, [*fine[1:], True], strict=True)):
        if this and next_one:
            # The sample's beginning: it was fine as a whole.
            began = after[place - 1].at_seconds if place else after[0].at_seconds
            return round(began - after[0].at_seconds, 1)
    return None


def _growth(wish: Wish, samples: Sequence[Sample], name: str) -> dict[str, float]:
    """A process's memory after the warm-up and at the end, and what an order left behind."""
    warm = _warm(wish, samples)
    few = max(1, len(warm) // 5)
    first, last = (
        median(each.memory_bytes[name] for each in part) for part in (warm[:few], warm[-few:])
    )
    seconds = warm[-1 - few // 2].at_seconds - warm[few // 2].at_seconds
    orders = max(1.0, seconds * fmean(each.per_second for each in warm))
    return {
        "warm_mib": round(first / (1 << 20), 1),
        "end_mib": round(last / (1 << 20), 1),
        "bytes": round(last - first),
        "orders": round(orders),
        "mb_a_million_orders": round((last - first) / orders, 2),
    }


def _table(samples: Sequence[Sample], name: str) -> dict[str, float]:
    states = [each.tables[name] for each in samples]
    updates = states[-1].updates - states[0].updates
    hot = states[-1].hot_updates - states[0].hot_updates
    return {
        "bytes_at_the_end": states[-1].size_bytes,
        "most_bytes": max(each.size_bytes for each in states),
        "dead_at_the_end": states[-1].dead_rows,
        "most_dead": max(each.dead_rows for each in states),
        "updates": updates,
        "hot_share": round(hot / updates, 3) if updates else 1.0,
        "vacuums": states[-1].vacuums - states[0].vacuums,
    }


def _bounds(
    wish: Wish, rate: float, parts: Mapping[str, Sequence[Sample]], samples: Sequence[Sample]
) -> list[dict[str, Any]]:
    part = {name: _part(several) for name, several in parts.items()}
    # What is written while nothing can be cleared away, and until it is.
    uncleared = rate * (wish.held_seconds + _VACUUM_SECONDS)
    before, held = part["before"], part["while held"]
    found: list[tuple[str, float, float]] = [
        (
            f"memory of {name}: bytes more after the warm-up",
            _growth(wish, samples, name)["bytes"],
            slack + _MOST_BYTES_AN_ORDER * _growth(wish, samples, name)["orders"],
        )
        for name, slack in _SLACK_BYTES.items()
    ]
    found += [
        (
            f"{name}: dead rows at most",
            max(each.tables[name].dead_rows for each in samples),
            uncleared * dead_rows,
        )
        for name, dead_rows in QUEUES.items()
    ]
    found += [
        (
            f"{name}: bytes at the end",
            samples[-1].tables[name].size_bytes,
            uncleared * _QUEUE_BYTES_AN_ORDER,
        )
        for name in QUEUES
    ]
    found += [
        (
            f"{name}: bytes at the end",
            samples[-1].index_bytes[name],
            uncleared * _QUEUE_BYTES_AN_ORDER,
        )
        for name in QUEUE_INDEXES
    ]
    found += [
        (
            "p99 end to end while the snapshot is held, by before",
            held["end_to_end_p99_ms"] / before["end_to_end_p99_ms"],
            _MOST_P99_RATIO,
        ),
        (
            "looking for work while the snapshot is held, by before",
            held["claims_us"] / max(before["claims_us"], 0.01),
            _MOST_CLAIM_RATIO,
        ),
        (
            "seconds to recover",
            _recovered(parts["before"], parts["after"]) or 0.0,
            _VACUUM_SECONDS,
        ),
    ]
    bounds = [_bound(name, value, most) for name, value, most in found]
    least = round(_LEAST_RATE_SHARE * rate, 1)
    return [
        *bounds,
        *(
            _bound(f"orders a second {name}", each["per_second"], least, at_least=True)
            for name, each in part.items()
        ),
    ]


def _bound(name: str, value: float, bound: float, *, at_least: bool = False) -> dict[str, Any]:
    return {
        "name": name,
        "wanted": f"{'≥' if at_least else '≤'} {bound:,.6g}",
        "found": round(value, 3),
        "met": value >= bound if at_least else value <= bound,
    }


# ------------------------------------------------------------------ telling

_HEADINGS = (
    "",
    "a second",
    "accept p99 ms",
    "end to end p50, p99, worst p99 ms",
    "CPU µs an order: service, PostgreSQL",
    "looking for work µs an order, ms a look",
    "adding up µs an order",
    "loop lag ms",
)


def _part_rows(report: Mapping[str, Any]) -> list[tuple[str, ...]]:
    return [
        (
            name,
            f"{each['per_second']:,.0f}",
            f"{each['accept_p99_ms']:.0f}",
            f"{each['end_to_end_p50_ms']:.0f}, {each['end_to_end_p99_ms']:.0f}, "
            f"{each['worst_p99_ms']:.0f}",
            f"{each['cpu_us']['service']:.0f}, {each['cpu_us']['postgres']:.0f}",
            f"{each['claims_us']:.1f}, {each['claim_ms']:.2f}",
            f"{each['counting_us']:.1f}",
            f"{each['lag_ms']:g}",
        )
        for name, each in report["parts"].items()
    ]


def _table_rows(report: Mapping[str, Any]) -> list[tuple[str, ...]]:
    return [
        (
            name,
            f"{each['bytes_at_the_end'] / 1e6:,.1f}",
            f"{each['most_dead']:,}",
            f"{each['dead_at_the_end']:,}",
            f"{each['hot_share']:.0%} of {each['updates']:,}",
            str(each["vacuums"]),
        )
        for name, each in report["tables"].items()
    ]


_TABLE_HEADINGS = (
    "table",
    "MB at the end",
    "dead rows at most",
    "at the end",
    "updates in place",
    "vacuumed",
)
_MEMORY_HEADINGS = ("process", "MiB after the warm-up", "at the end", "MB a million orders")


def _memory_rows(report: Mapping[str, Any]) -> list[tuple[str, ...]]:
    return [
        (
            name,
            f"{each['warm_mib']:,.0f}",
            f"{each['end_mib']:,.0f}",
            f"{each['mb_a_million_orders']:,.0f}",
        )
        for name, each in report["memory"].items()
    ]


def _title(report: Mapping[str, Any]) -> str:
    recovered = report["recovered_after_seconds"]
    shed = f", {report['shed']:,} shed" if report["shed"] else ""
    spoken = "did not recover" if recovered is None else f"recovered after {recovered:g} s"
    return (
        f"{report['orders']:,} orders in {report['seconds']:g} s{shed}, "
        f"{report['offered_per_second']:,.0f} a second; a snapshot held for "
        f"{report['held_seconds']:g} s, {spoken}"
    )


def _print(report: Mapping[str, Any], console: Console) -> None:
    for headings, rows in (
        (_HEADINGS, _part_rows(report)),
        (_TABLE_HEADINGS, _table_rows(report)),
        (_MEMORY_HEADINGS, _memory_rows(report)),
    ):
        table = Table(*headings)
        for row in rows:
            table.add_row(*row)
        console.print(table)
    console.print(_title(report))
    for bound in report["bounds"]:
        word = "met" if bound["met"] else "MISSED"
        console.print(f"{bound['name']} {bound['wanted']}: {bound['found']:,}, {word}")
    for fault in report["faults"]:
        console.print(f"fault: {fault}")


def _markdown(report: Mapping[str, Any]) -> str:
    facts = ", ".join(f"{name} {value}" for name, value in report["machine"].items())
    lines = [f"{_title(report)}; {facts}."]
    for headings, rows in (
        (_HEADINGS, _part_rows(report)),
        (_TABLE_HEADINGS, _table_rows(report)),
        (_MEMORY_HEADINGS, _memory_rows(report)),
    ):
        lines += ["", *table_lines(headings, rows)]
    lines += ["", *bound_lines(report["bounds"])]
    lines += [f"\n**Fault**: {fault}" for fault in report["faults"]]
    return "\n".join(lines) + "\n"


def _tell(wish: Wish, line: str) -> None:
    if not wish.json_only:
        print(f"{time.strftime('%H:%M:%S')} {line}", file=sys.stderr, flush=True)


def _read_arguments() -> Wish:
    parser = argparse.ArgumentParser(prog="python -m loadtests.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, help=f"length of the load; {_MINUTES:g}")
    parser.add_argument(
        "--held-seconds", type=float, help=f"how long the snapshot is held; {_HELD_SECONDS:g}"
    )
    parser.add_argument("--rate", type=float, help="orders a second; else half of the most")
    parser.add_argument("--quick", action="store_true", help="two minutes, 30 seconds held")
    parser.add_argument("--data-dir", type=Path, help="keep databases and logs in this new folder")
    parser.add_argument("--json-only", action="store_true", help="nothing but the JSON object")
    parser.add_argument(
        "--write-docs", action="store_true", help="write docs/performance.md and loadtests/results"
    )
    given = parser.parse_args()
    minutes = given.minutes or (_QUICK_MINUTES if given.quick else _MINUTES)
    held = given.held_seconds or (_QUICK_HELD_SECONDS if given.quick else _HELD_SECONDS)
    if min(minutes, held, given.rate or 1) <= 0:
        parser.error("numbers must be above zero")
    if held * 2 > minutes * 60:
        parser.error("the snapshot may be held for half of the time at most")
    return Wish(
        minutes * 60,
        held,
        min(_EVERY_SECONDS, held / _SAMPLES_HELD),
        given.rate,
        given.data_dir,
        given.json_only,
        given.write_docs,
    )


if __name__ == "__main__":
    main()
