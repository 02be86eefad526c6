"""The report: tables for people, one JSON object for programs, and both for the documentation."""

import importlib.metadata
import json
import os
import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import psutil
from rich.console import Console
from rich.table import Table

from loadtests import plots
from loadtests.figures import Bound, Figures, Run, bounds, medians, rates, ratios
from loadtests.job import Percentiles
from loadtests.peers.kills import Wreck
from loadtests.trial import Load

_FOLDER = Path(__file__).resolve().parent
RESULT = _FOLDER / "results" / "bench.json"
PAGE = _FOLDER.parent / "docs" / "performance.md"
IMAGES = _FOLDER.parent / "docs" / "images"
BEGIN, END = "<!-- figures: begin -->", "<!-- figures: end -->"


@dataclass(frozen=True, slots=True)
class Report:
    """Everything that one call of the command found."""

    machine: Mapping[str, object]
    load: Load
    runs: Sequence[Run]
    wrecks: Mapping[str, Wreck] = field(default_factory=dict[str, Wreck])
    """By who was killed."""
    faults: Sequence[str] = ()
    notes: Sequence[str] = ()
    """What is to be known of the peers: who was left out and why, what they did wrong."""

    def as_json(self) -> str:
        """One line: every run, the medians, the ratios and bounds, what was wrong."""
        return json.dumps(self.as_dict() | {"runs": [_as_dicts(run) for run in self.runs]})

    def as_dict(self) -> dict[str, object]:
        """All of it but the single runs, of which only the rates are there."""
        return {
            "ok": not self.faults,
            "faults": list(self.faults),
            "notes": list(self.notes),
            "machine": dict(self.machine),
            "load": asdict(self.load),
            "bounds": [asdict(each) | {"met": each.met} for each in bounds(self.runs)],
            "ratios": {name: asdict(each) for name, each in ratios(self.runs).items()},
            "rates": {name: asdict(each) for name, each in rates(self.runs).items()},
            "medians": _as_dicts(medians(self.runs)),
            "killed": {name: asdict(each) for name, each in self.wrecks.items()},
        }


def _as_dicts(run: Mapping[str, Figures]) -> dict[str, object]:
    return {
        name: asdict(figures)
        | {
            "share_around": round(figures.share_around, 3),
            "busiest_around": round(figures.busiest_around, 3),
        }
        for name, figures in run.items()
    }


def machine(postgres_version: str, folder: Path, busy_percent: float) -> dict[str, object]:
    """Facts about the machine that the figures depend on, and nothing that names it.

    `busy_percent` is how busy others kept its cores before the measurement began.
    """
    mounts = [
        mount
        for mount in psutil.disk_partitions(all=True)
        if folder.is_relative_to(mount.mountpoint)
    ]
    deepest = max(mounts, key=lambda mount: len(mount.mountpoint), default=None)
    return {
        **processor(busy_percent),
        "filesystem": deepest.fstype if deepest else "unknown",
        "postgresql": postgres_version,
    }


def processor(busy_percent: float) -> dict[str, object]:
    """Those facts that matter where neither disk nor database is used."""
    return {
        "cores": os.cpu_count(),
        "busy_before_percent": round(busy_percent),
        "memory_gib": round(psutil.virtual_memory().total / 2**30),
        "system": platform.system(),
        "python": platform.python_version(),
        "jalur": importlib.metadata.version("jalur"),
    }


# ------------------------------------------------------------------ tables


@dataclass(frozen=True, slots=True)
class Sheet:
    """A table for people, on the screen or on a page."""

    title: str
    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    numbers: int
    """How many of the columns after the first hold numbers."""


def sheets(report: Report) -> list[Sheet]:
    """The tables of a report; what was not measured has none."""
    found = [
        _rates_sheet(report),
        _cpu_sheet(report),
        _memory_sheet(report),
        _bounds_sheet(report),
        _ratios_sheet(report),
        _killed_sheet(report),
    ]
    return [each for each in found if each.rows]


def _rates_sheet(report: Report) -> Sheet:
    several = rates(report.runs)
    rows = [
        (
            name,
            str(several[name]),
            _durations(each.accept),
            _durations(each.end_to_end),
            _durations(each.lag),
            f"{each.refused:,}" if each.accept else "",
            "" if each.lost is None else f"{each.lost}, {each.doubled}",
        )
        for name, each in medians(report.runs).items()
    ]
    what = "p50, p99, p99.9 ms"
    durations = (f"accept {what}", f"end to end {what}", f"client late {what}")
    headings = ("", "a second", *durations, "refused", "lost, doubled")
    return Sheet("Rates and durations", headings, rows, 6)


def _cpu_sheet(report: Report) -> Sheet:
    rows = [
        (
            name,
            f"{sum(each.cpu_us.values()):.0f}",
            f"{100 * each.share_around:.0f} %",
            f"{100 * each.busiest_around:.0f} %",
            ", ".join(f"{process} {used:.0f}" for process, used in each.cpu_us.items()),
        )
        for name, each in medians(report.runs).items()
    ]
    around = "dealers, receiver, client"
    headings = ("", "µs an order", around, "busiest of them, of a core", "µs by process")
    return Sheet("CPU", headings, rows, 3)


def _memory_sheet(report: Report) -> Sheet:
    rows = [
        (name, ", ".join(f"{process} {held:.0f}" for process, held in each.memory_mb.items()))
        for name, each in medians(report.runs).items()
        if each.memory_mb
    ]
    return Sheet("Memory", ("", "megabytes at most, by process"), rows, 0)


def _bounds_sheet(report: Report) -> Sheet:
    rows = [_bound_row(each) for each in bounds(report.runs)]
    return Sheet("Bounds", ("", "wanted", "found", ""), rows, 2)


def _bound_row(bound: Bound) -> tuple[str, ...]:
    wanted = f"{'≤' if bound.at_most else '≥'} {bound.wanted:g}"
    if bound.found is None:
        return bound.name, wanted, "", "not measured"
    return bound.name, wanted, f"{bound.found:.4g}", "met" if bound.met else "missed"


def _ratios_sheet(report: Report) -> Sheet:
    rows = [(name, str(each)) for name, each in ratios(report.runs).items()]
    return Sheet("Ratios of rates", ("", "median (least to most)"), rows, 1)


def _killed_sheet(report: Report) -> Sheet:
    rows = [
        (
            name,
            *(f"{count:,}" for count in asdict(each.killed).values()),
            f"{each.unsure:,}",
            f"{each.recovered_seconds:.1f}",
        )
        for name, each in report.wrecks.items()
    ]
    counts = ("accepted", "lost", "bought twice", "reported twice", "never reported")
    headings = ("", *counts, "sent without an answer", "s until the last report")
    return Sheet("Killed with -9 in the middle of a load", headings, rows, 7)


def _durations(each: Percentiles | None) -> str:
    return ", ".join(_short(value) for value in asdict(each).values()) if each else ""


def _short(milliseconds: float) -> str:
    return f"{milliseconds:.1f}" if milliseconds < _WHOLE_FROM else f"{milliseconds:,.0f}"


_WHOLE_FROM = 100


# ------------------------------------------------------------------ for people


def print_report(report: Report, console: Console) -> None:
    """All tables, and what was wrong."""
    console.print(_title(report))
    for sheet in sheets(report):
        table = Table(*sheet.headings, title=sheet.title)
        for row in sheet.rows:
            table.add_row(*row)
        console.print(table)
    for note in report.notes:
        console.print(f"note: {note}")
    for fault in report.faults:
        console.print(f"fault: {fault}")


def _title(report: Report) -> str:
    count = len(report.runs)
    return f"Medians of {count} runs (least to most)" if count > 1 else "One run"


# ------------------------------------------------------------------ for the documentation


def write_docs(report: Report) -> None:
    """Keep the result, draw it, and put its tables between the markers of the page."""
    RESULT.write_text(_compact(report))
    IMAGES.mkdir(exist_ok=True)
    drawn = plots.draw(report.runs)
    for name, image in drawn.items():
        (IMAGES / f"{name}.svg").write_text(image)
    PAGE.write_text(with_figures(PAGE.read_text(), _markdown(report, list(drawn))))


def with_figures(page: str, figures: str, begin: str = BEGIN, end: str = END) -> str:
    """The page with what stands between its markers replaced. Raises ValueError without them."""
    head, found_begin, rest = page.partition(begin)
    _, found_end, tail = rest.partition(end)
    if not found_begin or not found_end:
        raise ValueError(f"the page lacks its markers {begin} and {end}")
    return f"{head}{begin}\n{figures}{end}{tail}"


def _compact(report: Report) -> str:
    """The JSON of the report without what the medians sum up."""
    by_run = [{name: each.per_second for name, each in run.items()} for run in report.runs]
    return json.dumps(report.as_dict() | {"runs": by_run}, indent=1) + "\n"


def _markdown(report: Report, images: Sequence[str]) -> str:
    facts = ", ".join(f"{name} {value}" for name, value in report.machine.items())
    lines = [f"{_title(report)}, {report.load.seconds:g} s each; {facts}.", ""]
    lines += [f"![{plots.TITLES[name]}](images/{name}.svg)\n" for name in images]
    for sheet in sheets(report):
        lines += [f"### {sheet.title}", "", *_rows(sheet), ""]
    lines += [f"- {note}" for note in report.notes]
    lines += [f"- **Fault**: {fault}" for fault in report.faults]
    return "\n".join(lines).rstrip() + "\n"


def _rows(sheet: Sheet) -> list[str]:
    return table_lines(sheet.headings, sheet.rows, sheet.numbers)


def table_lines(
    headings: Sequence[str], rows: Iterable[Sequence[str]], numbers: int | None = None
) -> list[str]:
    """A table in Markdown; of the columns behind the first so many hold numbers, or all."""
    numbers = len(headings) - 1 if numbers is None else numbers
    return [
        "| " + " | ".join(headings) + " |",
        "|---|" + "---:|" * numbers + "---|" * (len(headings) - 1 - numbers),
        *("| " + " | ".join(row) + " |" for row in rows),
    ]


def bound_lines(bounds: Iterable[Mapping[str, Any]]) -> list[str]:
    """Bounds in Markdown: `name`, what was `wanted` and `found`, whether it was `met`."""
    rows = (
        (
            each["name"],
            str(each["wanted"]),
            f"{round(each['found'], 3):,}",
            "met" if each["met"] else "**missed**",
        )
        for each in bounds
    )
    return table_lines(("bound", "wanted", "found", ""), rows, numbers=2)
