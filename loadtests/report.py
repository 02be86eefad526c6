"""The report: a table for people, one JSON object for programs, and both for the documentation."""

import importlib.metadata
import json
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil
from rich.console import Console
from rich.table import Table

from loadtests.figures import Figures, Run, medians, ratios
from loadtests.scenarios import SCENARIOS, Load

_FOLDER = Path(__file__).resolve().parent
RESULT = _FOLDER / "results" / "throughput.json"
PAGE = _FOLDER.parent / "docs" / "performance.md"
BEGIN, END = "<!-- figures: begin -->", "<!-- figures: end -->"


@dataclass(frozen=True, slots=True)
class Report:
    """Everything that one call of the command found."""

    machine: Mapping[str, object]
    load: Load
    runs: Sequence[Run]
    faults: Sequence[str]

    def as_json(self) -> str:
        """One line: every run, the medians, the ratios, what was wrong."""
        return json.dumps(
            {
                "ok": not self.faults,
                "faults": list(self.faults),
                "machine": dict(self.machine),
                "load": asdict(self.load),
                "ratios": ratios(self.runs),
                "medians": _as_dicts(medians(self.runs)),
                "runs": [_as_dicts(run) for run in self.runs],
            }
        )


def _as_dicts(run: Mapping[str, Figures]) -> dict[str, object]:
    return {name: asdict(figures) for name, figures in run.items()}


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


# ------------------------------------------------------------------ for people

_HEADINGS = ("", "a second", "accept p50, p99 ms", "end to end p50, p99 ms", "CPU µs an order")


def print_table(report: Report, console: Console) -> None:
    """The medians and the ratios."""
    table = Table(*_HEADINGS, title=_title(report))
    for row in _rows(report):
        table.add_row(*row)
    console.print(table)
    console.print(_ratio_line(report))
    for fault in report.faults:
        console.print(f"fault: {fault}")


def _title(report: Report) -> str:
    count = len(report.runs)
    return f"Medians of {count} runs" if count > 1 else "One run"


def _rows(report: Report) -> list[tuple[str, ...]]:
    return [_row(name, each) for name, each in medians(report.runs).items()]


def _row(name: str, figures: Figures) -> tuple[str, ...]:
    accept, end_to_end = figures.accept, figures.end_to_end
    return (
        name,
        f"{figures.per_second:,.0f}",
        f"{accept.p50_ms:.1f}, {accept.p99_ms:.1f}" if accept else "",
        f"{end_to_end.p50_ms:.0f}, {end_to_end.p99_ms:.0f}" if end_to_end else "",
        ", ".join(f"{process} {used:.0f}" for process, used in figures.cpu_us.items()),
    )


def _ratio_line(report: Report) -> str:
    return ", ".join(f"{name} {value:.2f}" for name, value in ratios(report.runs).items())


# ------------------------------------------------------------------ for the documentation


def write_docs(report: Report) -> None:
    """Keep the result, and put its table between the markers of the page."""
    RESULT.write_text(_compact(report))
    PAGE.write_text(with_figures(PAGE.read_text(), _markdown(report)))


def with_figures(page: str, figures: str, begin: str = BEGIN, end: str = END) -> str:
    """The page with what stands between its markers replaced. Raises ValueError without them."""
    head, found_begin, rest = page.partition(begin)
    _, found_end, tail = rest.partition(end)
    if not found_begin or not found_end:
        raise ValueError(f"the page lacks its markers {begin} and {end}")
    return f"{head}{begin}\n{figures}{end}{tail}"


def _compact(report: Report) -> str:
    """The JSON of the report without what the medians sum up."""
    document = json.loads(report.as_json())
    document["runs"] = [
        {name: each["per_second"] for name, each in run.items()} for run in document["runs"]
    ]
    return json.dumps(document, indent=1) + "\n"


def _markdown(report: Report) -> str:
    explained = {scenario.name: scenario.what for scenario in SCENARIOS}
    facts = ", ".join(f"{name} {value}" for name, value in report.machine.items())
    lines = [
        f"{_title(report)}, {report.load.seconds:g} s each; {facts}.",
        "",
        "| scenario | " + " | ".join(_HEADINGS[1:]) + " |",
        "|---|---:|---:|---:|---|",
        *(
            f"| **{name}**: {explained[name]} | " + " | ".join(cells) + " |"
            for name, *cells in _rows(report)
        ),
        "",
        "| ratio of rates | |",
        "|---|---:|",
        *(f"| {name} | {value:.2f} |" for name, value in ratios(report.runs).items()),
        *([""] + [f"**Fault**: {fault}" for fault in report.faults] if report.faults else []),
    ]
    return "\n".join(lines) + "\n"
