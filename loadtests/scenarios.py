"""The scenarios: what is put under load, from one database row up to the whole way of an order."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import uvloop

from loadtests import pgbench, shop, trial, witnesses
from loadtests.figures import Figures
from loadtests.job import Job
from loadtests.programs import Program, cpu_seconds, running
from loadtests.stage import BUYERS, Stage, outside, service
from loadtests.trial import Load, Measured, drive

_MOST_PER_SECOND = 15_000
"""Orders prepared for each second of a load; more than any arrangement takes."""
_MOST_BARE_PER_SECOND = 45_000
_MOST_WAITING = 90_000
"""Orders that may be accepted with nobody to work on them: below the service's own limit."""


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
    seconds = round(done.seconds, 3)
    per_second = trial.rate(done.rows, done.seconds)
    return Measured(
        Figures(done.rows, seconds, per_second, trial.cpu_us(cpu, done.rows)), faults
    )


def _measure_bare(stage: Stage, load: Load, logs: Path) -> Measured:
    with running("bare", ["loadtests.bare_asgi", "--port", "0"], logs) as server:
        address = json.loads(server.read_line())["listening"]
        job = _job(stage, load, address, BUYERS, _MOST_BARE_PER_SECOND)
        driven = drive(job, {"uvicorn": server.process.pid}, logs)
    return _measured(driven, [])


def _measure_accepting(scenario: Scenario, stage: Stage, load: Load, logs: Path) -> Measured:
    job = _job(stage, load, stage.addresses.service, scenario.buyers, _MOST_PER_SECOND)
    job = replace(job, most_orders=min(job.most_orders, _MOST_WAITING - job.warm_up_orders))
    with shop.copy(stage.postgres.dsn) as dsn:
        with service(stage, dsn, scenario.service, logs) as programs:
            driven = drive(job, _watched(stage, programs), logs)
        faults = uvloop.run(witnesses.examine_accepted(dsn, driven.outcome.accepted_in_all))
    return _measured(driven, faults)


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
