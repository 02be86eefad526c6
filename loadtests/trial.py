"""One load on whatever does the job: how hard, driven by the client, and what everybody spent.

The service's scenarios and its peers are measured by the same few lines, so that their figures mean
the same.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from loadtests.figures import Figures
from loadtests.job import Job, Outcome, read_outcome
from loadtests.programs import cpu_seconds, memory_bytes, running

CLIENT = "client"


@dataclass(frozen=True, slots=True)
class Load:
    """How hard and how long."""

    seconds: float
    most_orders: int | None
    """End a load after so many orders, even before the time is over."""
    connections: int
    open_orders: int
    """Orders sent and not yet reported, at most; of a closed load only."""
    per_second: float | None = None
    """Orders due a second, sent whether or not others were answered; None: a closed load."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What a trial gave, and what was wrong with it."""

    figures: Figures
    faults: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Driven:
    """A load that is over: what the client says, and what every process spent on it."""

    outcome: Outcome
    cpu_seconds: Mapping[str, float]
    memory_bytes: Mapping[str, int]


def drive(job: Job, watched: Mapping[str, int], logs: Path) -> Driven:
    """Run the load client against what is already up; `watched` are process ids by name."""
    with running(CLIENT, ["loadtests.client"], logs) as client:
        client.write_line(job.to_line())
        client.read_line()
        before = {name: cpu_seconds(process_id) for name, process_id in watched.items()}
        client.write_line(b"go\n")
        outcome = read_outcome(client.read_line())
        used = {name: cpu_seconds(watched[name]) - before[name] for name in watched}
        everybody = {**watched, CLIENT: client.process.pid}
        memory = {name: memory_bytes(process_id) for name, process_id in everybody.items()}
    return Driven(outcome, {**used, CLIENT: outcome.cpu_seconds}, memory)


def figures(driven: Driven, lost: int | None = None, doubled: int | None = None) -> Figures:
    """The figures of a load; lost and doubled as the witnesses found them, None: nobody asked."""
    outcome = driven.outcome
    return Figures(
        orders=outcome.orders,
        seconds=round(outcome.seconds, 3),
        per_second=rate(outcome.orders, outcome.seconds),
        cpu_us=cpu_us(driven.cpu_seconds, outcome.orders),
        accept=outcome.accept,
        end_to_end=outcome.end_to_end,
        lag=outcome.lag,
        memory_mb={name: round(each / 1e6, 1) for name, each in driven.memory_bytes.items()},
        lost=lost,
        doubled=doubled,
        refused=outcome.refused,
    )


def rate(orders: int, seconds: float) -> float:
    """So many a second."""
    return round(orders / seconds, 1) if seconds else 0.0


def cpu_us(cpu: Mapping[str, float], orders: int) -> dict[str, float]:
    """CPU microseconds an order, by process."""
    return {name: round(used / max(orders, 1) * 1e6, 1) for name, used in cpu.items()}
