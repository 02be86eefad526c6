"""What the routing benchmark found: medians, bounds, a table for people, JSON, documentation."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

from rich.console import Console
from rich.table import Table

from loadtests.report import PAGE, with_figures
from loadtests.routing_trials import Figures

RESULT = Path(__file__).resolve().parent / "results" / "routing_bench.json"
BEGIN, END = "<!-- routing figures: begin -->", "<!-- routing figures: end -->"

Round = Mapping[str, Figures]
"""The figures of one round by measurement: `compile`, `choose 10`, `record 10`, `kamailio 1250`."""

COMPILE, CHOOSE, RECORD, PEER = "compile", "choose", "record", "kamailio"
NOTHING = "core.version"
"""The peer's measurement without a table: what HTTP and JSON-RPC cost by themselves."""

_COMPILE_SECONDS, _COMPILE_BYTES = 20, 1_500_000_000
_PER_SECOND = {CHOOSE: 100_000, RECORD: 40_000}
_FLAT = 0.7
_KINDS = {CHOOSE: "choosing", RECORD: "choosing, with the record"}


@dataclass(frozen=True, slots=True)
class Bound:
    """What was wanted of one figure, and what was found."""

    name: str
    wanted: float
    found: float
    at_most: bool

    @property
    def met(self) -> bool:
        """Whether the figure is within the bound."""
        return self.found <= self.wanted if self.at_most else self.found >= self.wanted


@dataclass(frozen=True, slots=True)
class Report:
    """Everything that one call of the command found."""

    machine: Mapping[str, object]
    load: Mapping[str, object]
    rounds: Sequence[Round]
    peer_load_seconds: Mapping[int, float]
    """What the peer took to load a table of so many rules."""
    peer_absent: str | None
    faults: Sequence[str]

    @property
    def medians(self) -> dict[str, dict[str, float]]:
        """Each figure's median over the rounds, taken by itself."""
        first = self.rounds[0]
        return {
            name: {key: _short(median(each[name][key] for each in self.rounds)) for key in figures}
            for name, figures in first.items()
        }

    def as_json(self) -> str:
        """One line: the medians, the bounds, every round, what was wrong."""
        return json.dumps(
            {
                "ok": not self.faults and all(bound.met for bound in bounds(self)),
                "faults": list(self.faults),
                "bounds": [asdict(bound) | {"met": bound.met} for bound in bounds(self)],
                "machine": dict(self.machine),
                "load": dict(self.load),
                "peer_absent": self.peer_absent,
                "peer_load_seconds": {
                    str(rules): _short(each) for rules, each in self.peer_load_seconds.items()
                },
                "medians": self.medians,
                "rounds": [
                    {
                        name: {key: _short(value) for key, value in figures.items()}
                        for name, figures in each.items()
                    }
                    for each in self.rounds
                ],
            }
        )


def bounds(report: Report) -> list[Bound]:
    """Every bound that this measurement can tell of."""
    medians = report.medians
    found: list[Bound] = []
    if COMPILE in medians:
        compiling = medians[COMPILE]
        found += [
            Bound("compile, seconds", _COMPILE_SECONDS, compiling["seconds"], at_most=True),
            Bound("compile, bytes", _COMPILE_BYTES, compiling["peak_bytes"], at_most=True),
        ]
    for kind, wanted in _PER_SECOND.items():
        names = [name for name in medians if name.startswith(f"{kind} ")]
        found += [
            Bound(f"{name}, a second", wanted, medians[name]["per_second"], at_most=False)
            for name in names
        ]
        flat = _short(median(_flatness(each, names) for each in report.rounds))
        found.append(Bound(f"{kind}, slowest table by fastest", _FLAT, flat, at_most=False))
    return found


def _flatness(figures: Round, names: Sequence[str]) -> float:
    """Within one round, where all tables met the same machine."""
    rates = [figures[name]["per_second"] for name in names]
    return min(rates) / max(rates)


def _short(value: float) -> float:
    """Four significant digits and every digit before the point: no more was measured."""
    return float(f"{value:.4g}") if abs(value) < 1000 else round(value)  # noqa: PLR2004


# ------------------------------------------------------------------ for people

_HEADINGS = ("CPU µs a decision", "a second of one core", "a second by the clock")


def print_table(report: Report, console: Console) -> None:
    """The medians, and the bounds that are missed."""
    table = Table("", *_HEADINGS, title=_title(report))
    for row in _rate_rows(report):
        table.add_row(*row)
    console.print(table)
    console.print(_compile_line(report))
    if report.peer_absent:
        console.print(report.peer_absent)
    for bound in bounds(report):
        if not bound.met:
            console.print(f"missed: {bound.name}: {bound.found:,} instead of {bound.wanted:,}")
    for fault in report.faults:
        console.print(f"fault: {fault}")


def _title(report: Report) -> str:
    count = len(report.rounds)
    return f"Medians of {count} rounds" if count > 1 else "One round"


def _rate_rows(report: Report) -> list[tuple[str, ...]]:
    return [
        (_named(name), *_rates(figures))
        for name, figures in report.medians.items()
        if name != COMPILE
    ]


def _rates(figures: Figures) -> tuple[str, str, str]:
    return (
        f"{figures['cpu_us']:.1f}",
        f"{figures['per_second']:,.0f}",
        f"{figures['wall_per_second']:,.0f}",
    )


def _named(name: str) -> str:
    kind, _, size = name.partition(" ")
    if kind != PEER:
        return f"Jalur, {_KINDS[kind]}, {int(size):,} routes"
    if size == NOTHING:
        return "Kamailio, asked for its version"
    return f"Kamailio `lcr`, asked over HTTP, {int(size):,} rules"


def _compile_line(report: Report) -> str:
    parts: list[str] = []
    if compiling := report.medians.get(COMPILE):
        parts.append(
            f"Compiling {report.load['compile_routes']:,} routes takes "
            f"{compiling['seconds']:.1f} s and {compiling['peak_bytes'] / 1e6:,.0f} MB."
        )
    parts += [
        f"Kamailio loads {rules:,} rules of 8 gateways in {seconds:.1f} s."
        for rules, seconds in report.peer_load_seconds.items()
    ]
    return " ".join(parts)


# ------------------------------------------------------------------ for the documentation


def write_docs(report: Report) -> None:
    """Keep the result, and put its table between the markers of the page."""
    RESULT.write_text(json.dumps(json.loads(report.as_json()), indent=1) + "\n")
    PAGE.write_text(with_figures(PAGE.read_text(), _markdown(report), BEGIN, END))


def _markdown(report: Report) -> str:
    facts = ", ".join(f"{name} {value}" for name, value in report.machine.items())
    lines = [
        f"{_title(report)}; {facts}.",
        "",
        "| | " + " | ".join(_HEADINGS) + " |",
        "|---|---:|---:|---:|",
        *("| " + " | ".join(row) + " |" for row in _rate_rows(report)),
        "",
        _compile_line(report),
        *(["", report.peer_absent] if report.peer_absent else []),
        "",
        "| bound | wanted | found | |",
        "|---|---:|---:|---|",
        *(_bound_row(bound) for bound in bounds(report)),
        *([""] + [f"**Fault**: {fault}" for fault in report.faults] if report.faults else []),
    ]
    return "\n".join(lines) + "\n"


def _bound_row(bound: Bound) -> str:
    sign = "≤" if bound.at_most else "≥"
    verdict = "met" if bound.met else "**missed**"
    return f"| {bound.name} | {sign} {bound.wanted:,} | {bound.found:,} | {verdict} |"
