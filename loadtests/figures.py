"""Figures of a scenario, and what follows from several runs: medians, and ratios within a run.

Ratios are taken inside one run, where both sides met the same machine in the same minutes, and
only then is their median taken.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median

from loadtests.job import Percentiles

_HOT, _SPREAD = "-hot", "-spread"


@dataclass(frozen=True, slots=True)
class Figures:
    """One scenario, once."""

    orders: int
    """Orders, rows or requests."""
    seconds: float
    per_second: float
    cpu_us: Mapping[str, float]
    """CPU microseconds an order, by process."""
    accept: Percentiles | None = None
    end_to_end: Percentiles | None = None
    lag: Percentiles | None = None
    """Of an open load: how much later than due the client sent."""
    memory_mb: Mapping[str, float] = field(default_factory=dict[str, float])
    """The most memory that each process held, shared pages once, in megabytes."""
    lost: int | None = None
    """Accepted orders that were not bought or not reported; None: nobody asked."""
    doubled: int | None = None
    """Orders bought more than once; None: nobody asked."""


@dataclass(frozen=True, slots=True)
class Killed:
    """What a kill -9 in the middle of a load did, once it was up again and all had gone quiet."""

    accepted: int
    lost: int
    """Accepted, and neither bought nor said to have failed."""
    bought_twice: int
    reported_twice: int
    """Orders whose final report came more than once."""
    unreported: int = 0
    """Bought, and never reported."""


Run = Mapping[str, Figures]
"""The figures of one run, by scenario."""


def medians(runs: Sequence[Run]) -> dict[str, Figures]:
    """Each scenario's figures, the median over the runs of each taken by itself."""
    names = dict.fromkeys(name for run in runs for name in run)
    return {name: _median([run[name] for run in runs if name in run]) for name in names}


def ratios(runs: Sequence[Run]) -> dict[str, float]:
    """The median ratios of the scenarios' rates; those whose scenarios were left out are absent."""
    found: dict[str, list[float]] = {}
    for run in runs:
        for above, below in _pairs(run):
            if above in run and below in run and run[below].per_second:
                ratio = run[above].per_second / run[below].per_second
                found.setdefault(f"{above}/{below}", []).append(ratio)
    return {name: round(median(values), 3) for name, values in found.items()}


def _pairs(names: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Which scenarios are held against which; a new arrangement of processes is found by name."""
    yield "accept", "bare"
    for name in names:
        if name not in {"pgbench", "bare"}:
            yield name, "pgbench"
        if name.endswith(_HOT):
            yield name, name.removesuffix(_HOT) + _SPREAD
        if name.endswith(_SPREAD) and name != "serve-spread":
            yield name, "serve-spread"


def _median(several: Sequence[Figures]) -> Figures:
    return Figures(
        orders=round(median(each.orders for each in several)),
        seconds=round(median(each.seconds for each in several), 3),
        per_second=round(median(each.per_second for each in several), 1),
        accept=_median_percentiles([each.accept for each in several]),
        end_to_end=_median_percentiles([each.end_to_end for each in several]),
        cpu_us={
            name: round(median(each.cpu_us[name] for each in several), 1)
            for name in several[0].cpu_us
        },
    )


def _median_percentiles(several: Sequence[Percentiles | None]) -> Percentiles | None:
    present = [each for each in several if each is not None]
    if not present:
        return None
    return Percentiles(
        round(median(each.p50_ms for each in present), 2),
        round(median(each.p99_ms for each in present), 2),
    )
