"""The scenarios: what is put under load, from one database row up to the whole way of an order."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import uvloop

from loadtests import pgbench, shop, witnesses
from loadtests.figures import Figures
from loadtests.job import Job, Outcome, read_outcome
from loadtests.programs import Program, cpu_seconds, running
from loadtests.stage import BUYERS, Stage, outside, service

_MOST_PER_SECOND = 15_000
"""Orders prepared for each second of a load; more than any arrangement takes."""
_MOST_BARE_PER_SECOND = 45_000
_MOST_WAITING = 90_000
"""Orders that may be accepted with nobody to work on them: below the service's own limit."""


@dataclass(frozen=True, slots=True)
class Load:
    """How hard and how long."""

    seconds: float
    most_orders: int | None
    """End a load after so many orders, even before the time is over."""
    connections: int
    open_orders: int
    """Orders sent and not yet reported, at most."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What a scenario gave, and what was wrong with it."""

    figures: Figures
    faults: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Scenario:
    """One thing to measure. `service` names its processes, each with its `jalur` command line."""

    name: str
    what: str
    service: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])
    buyers: int = 0

    def measure(self, stage: Stage, load: Load, logs: Path) -> Measured:
        """Measure it once. Raises LoadTestFailure."""
        match self.name:
            case "pgbench":
                return _measure_inserts(stage, load)
            case "bare":
                return _measure_bare(stage, load, logs)
            case "accept":
                return _measure_accepting(self, stage, load, logs)
            case _:
                return _measure_whole_way(self, stage, load, logs)


_ONE = {"service": ("serve",)}
_TWO = {"service": ("serve", "--processes", "2")}
_APART = {"api": ("api",), "worker": ("worker",)}

SCENARIOS = (
    Scenario("pgbench", "one durable order row a transaction, 64 clients"),
    Scenario("bare", "uvicorn answering 202 and keeping nothing, one process"),
    Scenario(
        "accept", "`jalur api` accepting orders, nobody buying them", {"api": ("api",)}, BUYERS
    ),
    Scenario("serve-spread", "end to end, `jalur serve`, 1,000 resellers", _ONE, BUYERS),
    Scenario("serve-hot", "end to end, `jalur serve`, one reseller", _ONE, 1),
    Scenario(
        "two-spread", "end to end, `jalur serve --processes 2`, 1,000 resellers", _TWO, BUYERS
    ),
    Scenario("two-hot", "end to end, `jalur serve --processes 2`, one reseller", _TWO, 1),
    Scenario(
        "apart-spread", "end to end, `api` and `worker` apart, 1,000 resellers", _APART, BUYERS
    ),
    Scenario("apart-hot", "end to end, `api` and `worker` apart, one reseller", _APART, 1),
)


def _measure_inserts(stage: Stage, load: Load) -> Measured:
    script, postgres_id = stage.folder / "pgbench.sql", stage.postgres.process.pid
    with shop.copy(stage.postgres.dsn) as dsn:
        script.write_text(uvloop.run(pgbench.prepare(dsn, stage.secret_key)))
        before = cpu_seconds(postgres_id)
        done = pgbench.insert(dsn, script, load.seconds, load.most_orders)
        used = cpu_seconds(postgres_id) - before
        stored = uvloop.run(pgbench.rows_written(dsn))
    faults = [] if stored == done.rows else [f"{done.rows} rows inserted, {stored} stored"]
    cpu = {"postgres": used, "pgbench": done.cpu_seconds}
    return Measured(_figures(done.rows, done.seconds, cpu), faults)


def _measure_bare(stage: Stage, load: Load, logs: Path) -> Measured:
    with running("bare", ["loadtests.bare_asgi", "--port", "0"], logs) as server:
        address = json.loads(server.read_line())["listening"]
        job = _job(stage, load, address, BUYERS, _MOST_BARE_PER_SECOND)
        outcome, cpu = _drive(job, {"uvicorn": server.process.pid}, logs)
    return _measured(outcome, cpu, [])


def _measure_accepting(scenario: Scenario, stage: Stage, load: Load, logs: Path) -> Measured:
    job = _job(stage, load, stage.addresses.service, scenario.buyers, _MOST_PER_SECOND)
    job = replace(job, most_orders=min(job.most_orders, _MOST_WAITING - job.warm_up_orders))
    with shop.copy(stage.postgres.dsn) as dsn:
        with service(stage, dsn, scenario.service, logs) as programs:
            outcome, cpu = _drive(job, _watched(stage, programs), logs)
        faults = uvloop.run(witnesses.examine_accepted(dsn, outcome.accepted_in_all))
    return _measured(outcome, cpu, faults)


def _measure_whole_way(scenario: Scenario, stage: Stage, load: Load, logs: Path) -> Measured:
    job = _job(stage, load, stage.addresses.service, scenario.buyers, _MOST_PER_SECOND)
    job = replace(job, receiver_url=stage.addresses.receiver, most_open=load.open_orders)
    with shop.copy(stage.postgres.dsn) as dsn, outside(stage, logs) as others:
        with service(stage, dsn, scenario.service, logs) as programs:
            outcome, cpu = _drive(job, _watched(stage, [*programs, *others]), logs)
            uvloop.run(witnesses.until_nothing_is_left(dsn))
        faults = uvloop.run(
            witnesses.examine_delivered(
                dsn, stage.addresses.simulator, stage.addresses.receiver, outcome.accepted_in_all
            )
        )
    return _measured(outcome, cpu, faults)


def _job(stage: Stage, load: Load, base_url: str, buyers: int, most_per_second: int) -> Job:
    most_orders = load.most_orders or round(load.seconds * most_per_second)
    return Job(
        orders_url=f"{base_url}/v1/orders",
        tokens=[buyer.token for buyer in stage.buyers[:buyers]],
        seconds=load.seconds,
        most_orders=most_orders,
        connections=load.connections,
        warm_up_orders=min(BUYERS, most_orders),
    )


def _watched(stage: Stage, programs: Sequence[Program]) -> dict[str, int]:
    """The processes whose CPU time is counted, by name."""
    servers = {"postgres": stage.postgres.process.pid, "valkey": stage.valkey.process.pid}
    return {program.name: program.process.pid for program in programs} | servers


def _drive(job: Job, watched: Mapping[str, int], logs: Path) -> tuple[Outcome, dict[str, float]]:
    """Run the load client. Returns what it says, and everybody's CPU seconds during the load."""
    with running("client", ["loadtests.client"], logs) as client:
        client.write_line(job.to_line())
        client.read_line()
        before = {name: cpu_seconds(process_id) for name, process_id in watched.items()}
        client.write_line(b"go\n")
        outcome = read_outcome(client.read_line())
        used = {name: cpu_seconds(watched[name]) - before[name] for name in watched}
    return outcome, used | {"client": outcome.cpu_seconds}


def _measured(outcome: Outcome, cpu: Mapping[str, float], faults: Sequence[str]) -> Measured:
    figures = _figures(outcome.orders, outcome.seconds, cpu)
    figures = replace(figures, accept=outcome.accept, end_to_end=outcome.end_to_end)
    return Measured(figures, [*outcome.faults, *faults])


def _figures(orders: int, seconds: float, cpu: Mapping[str, float]) -> Figures:
    return Figures(
        orders=orders,
        seconds=round(seconds, 3),
        per_second=round(orders / seconds, 1) if seconds else 0.0,
        cpu_us={name: round(used / max(orders, 1) * 1e6, 1) for name, used in cpu.items()},
    )
