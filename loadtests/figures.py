"""Figures of a scenario, and what follows from several runs: medians, spread, ratios, bounds.

Ratios are taken inside one run, where both sides met the same machine in the same minutes, and
only then is their median taken.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median

from loadtests.job import Percentiles

_HOT, _SPREAD, _OPEN, _ONE = "-hot", "-spread", "-open-", "serve-spread"
_HALF = f"serve{_OPEN}50"
_CLOSED = (_ONE, f"{_ONE}-256")
_ARRANGEMENTS = (*_CLOSED, "two-spread", "apart-spread")
_AROUND = frozenset({"simulator", "upstream", "receiver", "client"})
_SLOW_PEER = "arq-httpx"
END_TO_END = "end to end"


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
    refused: int = 0
    """Orders that were told at once that there was too much to do. They count in no rate."""

    @property
    def share_around(self) -> float:
        """The part of all CPU time that the dealers, the receiver and the client took."""
        around = sum(used for name, used in self.cpu_us.items() if name in _AROUND)
        return around / (sum(self.cpu_us.values()) or 1.0)

    @property
    def busiest_around(self) -> float:
        """What the busiest of those three took of one core; at one it holds up everything."""
        around = (used for name, used in self.cpu_us.items() if name in _AROUND)
        return max(around, default=0.0) * self.per_second / 1e6


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

    @property
    def broken_promises(self) -> list[str]:
        """What the service must never do, killed or not; a report may come twice, as promised."""
        counts = {
            "lost": self.lost,
            "bought twice": self.bought_twice,
            "never reported": self.unreported,
        }
        return [f"{count} orders {what}" for what, count in counts.items() if count]


Run = Mapping[str, Figures]
"""The figures of one run, by scenario."""


@dataclass(frozen=True, slots=True)
class Spread:
    """A figure over the runs."""

    median: float
    least: float
    most: float

    def __str__(self) -> str:
        digits = ",.0f" if self.median >= _WHOLE_FROM else ".2f"
        if self.least == self.most:
            return f"{self.median:{digits}}"
        return f"{self.median:{digits}} ({self.least:{digits}} to {self.most:{digits}})"


_WHOLE_FROM = 100


@dataclass(frozen=True, slots=True)
class Bound:
    """What was wanted of one figure, and what was found; None: what it needs was left out."""

    name: str
    wanted: float
    found: float | None
    at_most: bool = False

    @property
    def met(self) -> bool | None:
        """Whether the figure is within the bound."""
        if self.found is None:
            return None
        return self.found <= self.wanted if self.at_most else self.found >= self.wanted


def spread(values: Sequence[float]) -> Spread:
    """The median of at least one value, the least and the most."""
    return Spread(*(round(each, 3) for each in (median(values), min(values), max(values))))


def most_reached(run: Run) -> float:
    """The best rate of one process in a closed load on the whole way; zero where there was none."""
    return _best(run, _CLOSED)


def end_to_end(run: Run) -> float:
    """As `most_reached`, of the fastest arrangement of processes: peers have several as well."""
    return _best(run, _ARRANGEMENTS)


def _best(run: Run, names: Sequence[str]) -> float:
    return max((run[name].per_second for name in names if name in run), default=0.0)


def rates(runs: Sequence[Run]) -> dict[str, Spread]:
    """Each scenario's rate over the runs."""
    return {name: spread([each.per_second for each in _of(runs, name)]) for name in _names(runs)}


def medians(runs: Sequence[Run]) -> dict[str, Figures]:
    """Each scenario's figures, the median over the runs of each taken by itself."""
    return {name: _median(_of(runs, name)) for name in _names(runs)}


def ratios(runs: Sequence[Run]) -> dict[str, Spread]:
    """The ratios of the scenarios' rates; those whose scenarios were left out are absent."""
    found: dict[str, list[float]] = {}
    for run in runs:
        reached = {name: each.per_second for name, each in run.items()}
        if best := end_to_end(run):
            reached[END_TO_END] = best
        for above, below in _pairs(run):
            if above in reached and reached.get(below):
                ratio = reached[above] / reached[below]
                found.setdefault(f"{above} / {below}", []).append(ratio)
    return {name: spread(values) for name, values in found.items()}


def bounds(runs: Sequence[Run]) -> list[Bound]:
    """What the service is held to, each figure the median of those of the runs."""
    return [
        Bound(f"{END_TO_END} / pgbench", 0.35, _each(runs, _by_inserts)),
        Bound(f"{END_TO_END} / the faster {_SLOW_PEER}", 30, _each(runs, _by_slow_peer)),
        Bound("accept / bare", 0.45, _each(runs, lambda run: _ratio(run, "accept", "bare"))),
        Bound("p99 end to end at half of the most, ms", 150, _each(runs, _p99_at_half), True),
        Bound("refused at half of the most", 0, _refused_at_half(runs), True),
        Bound(f"{_ONE} / serve-hot", 1.2, _each(runs, _by_hot), True),
    ]


def _by_inserts(run: Run) -> float | None:
    return _quotient(end_to_end(run), [run["pgbench"].per_second] if "pgbench" in run else [])


def _by_slow_peer(run: Run) -> float | None:
    peers = [each.per_second for name, each in run.items() if name.startswith(_SLOW_PEER)]
    return _quotient(end_to_end(run), peers)


def _by_hot(run: Run) -> float | None:
    return _ratio(run, _ONE, f"serve{_HOT}")


def _p99_at_half(run: Run) -> float | None:
    half = run.get(_HALF)
    return half.end_to_end.p99_ms if half is not None and half.end_to_end is not None else None


def _refused_at_half(runs: Sequence[Run]) -> int | None:
    """Refusing orders is no way to be fast with the others."""
    found = _of(runs, _HALF)
    return sum(each.refused for each in found) if found else None


def _ratio(run: Run, above: str, below: str) -> float | None:
    if above not in run or below not in run:
        return None
    return _quotient(run[above].per_second, [run[below].per_second])


def _quotient(above: float, below: Sequence[float]) -> float | None:
    best = max(below, default=0.0)
    return above / best if above and best else None


def _each(runs: Sequence[Run], figure: Callable[[Run], float | None]) -> float | None:
    found = [value for run in runs if (value := figure(run)) is not None]
    return round(median(found), 3) if found else None


def _pairs(run: Run) -> Iterator[tuple[str, str]]:
    """Which rates are held against which; a new arrangement of processes is found by name."""
    yield "accept", "bare"
    yield "accept", "pgbench"
    yield END_TO_END, "pgbench"
    for name, figures in run.items():
        if figures.end_to_end is None or _OPEN in name:
            continue
        if _SPREAD not in name and _HOT not in name and not name.startswith("serve"):
            yield END_TO_END, name
            continue
        yield name, "pgbench"
        if _HOT in name:
            yield name, name.replace(_HOT, _SPREAD)
        elif name != _ONE:
            yield name, _ONE


def _names(runs: Sequence[Run]) -> list[str]:
    return list(dict.fromkeys(name for run in runs for name in run))


def _of(runs: Sequence[Run], name: str) -> list[Figures]:
    return [run[name] for run in runs if name in run]


def _median(several: Sequence[Figures]) -> Figures:
    return Figures(
        orders=round(median(each.orders for each in several)),
        seconds=round(median(each.seconds for each in several), 3),
        per_second=round(median(each.per_second for each in several), 1),
        cpu_us=_median_by_process([each.cpu_us for each in several]),
        accept=_median_percentiles([each.accept for each in several]),
        end_to_end=_median_percentiles([each.end_to_end for each in several]),
        lag=_median_percentiles([each.lag for each in several]),
        memory_mb=_median_by_process([each.memory_mb for each in several]),
        lost=_sum([each.lost for each in several]),
        doubled=_sum([each.doubled for each in several]),
        refused=sum(each.refused for each in several),
    )


def _median_by_process(several: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {name: round(median(each[name] for each in several), 1) for name in several[0]}


def _median_percentiles(several: Sequence[Percentiles | None]) -> Percentiles | None:
    present = [each for each in several if each is not None]
    if not present:
        return None
    return Percentiles(
        round(median(each.p50_ms for each in present), 2),
        round(median(each.p99_ms for each in present), 2),
        round(median(each.p999_ms for each in present), 2),
    )


def _sum(several: Sequence[int | None]) -> int | None:
    """Over all runs, not their median: one order lost is one too many."""
    present = [each for each in several if each is not None]
    return sum(present) if present else None
