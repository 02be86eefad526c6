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
from loadtests.shop import DealerManner
from loadtests.stage import BUYERS, Stage, outside, service
from loadtests.trial import Load, Measured, drive

_MOST_PER_SECOND = 15_000
"""Orders prepared for each second of a load; more than any arrangement takes."""
_MOST_BARE_PER_SECOND = 45_000
_MOST_WAITING = 90_000
"""Orders that may be accepted with nobody to work on them: below the service's own limit."""
_MOST_BOUGHT_PER_SECOND = 5_000
"""What the dealers' places are enough for, however long they take to answer."""
_OPEN_CONNECTIONS = 256
"""Of an open load: enough that an order due finds one free."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """One thing to measure. `service` names its processes, each with its `jalur` command line."""

    name: str
    what: str
    service: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])
    buyers: int = 0
    connections: int | None = None
    """None: as many as the load has."""
    share: float | None = None
    """An open load, at this share of the most that closed ones reached; None: a closed load."""
    manner: DealerManner | None = None
    """How the dealers answer; None: at once."""
    misbehaving: bool = False
    """Whether one order in twenty meets a dealer that misbehaves."""

    def load(self, load: Load, most_per_second: float) -> Load:
        """The load asked for, as this scenario takes it. An open one needs the most reached."""
        load = replace(load, connections=self.connections or load.connections)
        if self.manner is not None:
            under_way = round(self.manner.answer_seconds * _MOST_BOUGHT_PER_SECOND)
            load = replace(load, open_orders=load.open_orders + under_way)
        if self.share is not None:
            per_second = round(self.share * most_per_second, 1)
            load = replace(load, connections=_OPEN_CONNECTIONS, per_second=per_second)
        return load

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


def _answering_after(milliseconds: int) -> Scenario:
    seconds = milliseconds / 1000
    # A quarter of a dealer's places is kept for orders that wait.
    places = max(shop.DEALER_CONCURRENCY, round(seconds * _MOST_BOUGHT_PER_SECOND * 4 / 3))
    return Scenario(
        f"serve-dealers-{milliseconds}ms",
        f"`jalur serve`, 1,000 resellers, dealers answer after {milliseconds} ms",
        _ONE,
        BUYERS,
        manner=DealerManner(answer_seconds=seconds, places=places),
    )


def _open_at(percent: int) -> Scenario:
    return Scenario(
        f"serve-open-{percent}",
        f"`jalur serve`, 1,000 resellers, open: {percent} % of the most a closed load reached",
        _ONE,
        BUYERS,
        share=percent / 100,
    )


SCENARIOS = (
    Scenario("pgbench", "one durable order row a transaction, 64 clients"),
    Scenario("bare", "uvicorn answering 202 and keeping nothing, one process"),
    Scenario(
        "accept", "`jalur api` accepting orders, nobody buying them", {"api": ("api",)}, BUYERS
    ),
    Scenario("serve-spread", "`jalur serve`, 1,000 resellers", _ONE, BUYERS),
    Scenario(
        "serve-spread-256", "`jalur serve`, 1,000 resellers, 256 connections", _ONE, BUYERS, 256
    ),
    Scenario("serve-hot", "`jalur serve`, one reseller", _ONE, 1),
    Scenario("serve-hot-256", "`jalur serve`, one reseller, 256 connections", _ONE, 1, 256),
    *(_open_at(percent) for percent in (25, 50, 75)),
    *(_answering_after(milliseconds) for milliseconds in (50, 300)),
    Scenario(
        "serve-misbehaving",
        "`jalur serve`, 1,000 resellers, dealers misbehave on 5 % of the orders",
        _ONE,
        BUYERS,
        manner=DealerManner(timeout_seconds=2.0),
        misbehaving=True,
    ),
    Scenario("two-spread", "`jalur serve --processes 2`, 1,000 resellers", _TWO, BUYERS),
    Scenario("two-hot", "`jalur serve --processes 2`, one reseller", _TWO, 1),
    Scenario("apart-spread", "`api` and `worker` apart, 1,000 resellers", _APART, BUYERS),
    Scenario("apart-hot", "`api` and `worker` apart, one reseller", _APART, 1),
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
    cpu = trial.cpu_us({"postgres": used, "pgbench": done.cpu_seconds}, done.rows)
    per_second = trial.rate(done.rows, done.seconds)
    return Measured(Figures(done.rows, round(done.seconds, 3), per_second, cpu), faults)


def _measure_bare(stage: Stage, load: Load, logs: Path) -> Measured:
    with running("bare", ["loadtests.bare_asgi", "--port", "0"], logs) as server:
        address = json.loads(server.read_line())["listening"]
        job = _job(stage, load, address, BUYERS, _MOST_BARE_PER_SECOND)
        driven = drive(job, {"uvicorn": server.process.pid}, logs)
    return Measured(trial.figures(driven), driven.outcome.faults)


def _measure_accepting(scenario: Scenario, stage: Stage, load: Load, logs: Path) -> Measured:
    job = _job(stage, load, stage.addresses.service, scenario.buyers, _MOST_PER_SECOND)
    job = replace(job, most_orders=min(job.most_orders, _MOST_WAITING - job.warm_up_orders))
    with shop.copy(stage.postgres.dsn) as dsn:
        with service(stage, dsn, scenario.service, logs) as programs:
            driven = drive(job, _watched(stage, programs), logs)
        faults = uvloop.run(witnesses.examine_accepted(dsn, driven.outcome.accepted_in_all))
    return Measured(trial.figures(driven), [*driven.outcome.faults, *faults])


def _measure_whole_way(scenario: Scenario, stage: Stage, load: Load, logs: Path) -> Measured:
    job = _job(stage, load, stage.addresses.service, scenario.buyers, _MOST_PER_SECOND)
    job = replace(
        job,
        receiver_url=stage.addresses.receiver,
        most_open=load.open_orders,
        misbehaving=scenario.misbehaving,
    )
    manner = scenario.manner
    with shop.copy(stage.postgres.dsn, manner) as dsn, outside(stage, logs, manner) as others:
        with service(stage, dsn, scenario.service, logs) as programs:
            driven = drive(job, _watched(stage, [*programs, *others]), logs)
            uvloop.run(witnesses.until_nothing_is_left(dsn))
        verdict = uvloop.run(
            witnesses.judge_delivered(
                dsn,
                stage.addresses.simulator,
                stage.addresses.receiver,
                driven.outcome.accepted_in_all,
            )
        )
    outcome, figures = driven.outcome, trial.figures(driven, verdict.lost, verdict.doubled)
    if scenario.misbehaving:
        # The last orders wait for their dealers' late words: a tail of seconds, of a few orders.
        per_second = trial.rate(outcome.ended_while_sending, outcome.sending_seconds)
        figures = replace(figures, per_second=per_second)
    return Measured(figures, [*outcome.faults, *verdict.faults])


def _job(stage: Stage, load: Load, base_url: str, buyers: int, most_per_second: int) -> Job:
    most_orders = load.most_orders or round(load.seconds * (load.per_second or most_per_second))
    return Job(
        orders_url=f"{base_url}/v1/orders",
        tokens=[buyer.token for buyer in stage.buyers[:buyers]],
        seconds=load.seconds,
        most_orders=most_orders,
        connections=load.connections,
        warm_up_orders=min(BUYERS, most_orders),
        per_second=load.per_second,
    )


def _watched(stage: Stage, programs: Sequence[Program]) -> dict[str, int]:
    """The processes whose CPU time is counted, by name."""
    servers = {"postgres": stage.postgres.process.pid, "valkey": stage.valkey.process.pid}
    return {program.name: program.process.pid for program in programs} | servers
