"""What the peers' command prints: a table for people, one JSON object for programs."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field

from rich.console import Console
from rich.table import Table

from loadtests.figures import Figures
from loadtests.peers.kills import Wreck
from loadtests.peers.peer import Peer
from loadtests.trial import Load

_RATES = ("", "a second", "accept p50, p99, p99.9 ms", "end to end", "CPU µs an order", "MB")
_KILLS = (
    "killed",
    "accepted",
    "lost",
    "bought twice",
    "reported twice",
    "never reported",
    "unsure",
    "all there after s",
)


@dataclass(slots=True)
class Report:
    """Everything that one call of the command found."""

    load: Load
    left_out: Sequence[str]
    rates: dict[str, Figures] = field(default_factory=dict[str, Figures])
    kills: dict[str, Mapping[str, Wreck]] = field(default_factory=dict[str, Mapping[str, Wreck]])
    faults: list[str] = field(default_factory=list[str])

    def as_json(self, contenders: Sequence[Peer]) -> str:
        """One line."""
        return json.dumps(
            {
                "ok": not self.faults,
                "faults": self.faults,
                "left_out": list(self.left_out),
                "what": {each.name: each.what for each in contenders},
                "load": asdict(self.load),
                "rates": {name: asdict(figures) for name, figures in self.rates.items()},
                "kills": {
                    name: {victim: asdict(wreck) for victim, wreck in wrecks.items()}
                    for name, wrecks in self.kills.items()
                },
            }
        )


def print_tables(report: Report, console: Console) -> None:
    """The rates, then the kills, then what is missing or wrong."""
    if report.rates:
        console.print(_rates(report))
    if report.kills:
        console.print(_kills(report))
    for line in report.left_out:
        console.print(f"left out: {line}")
    for fault in report.faults:
        console.print(f"fault: {fault}")


def _rates(report: Report) -> Table:
    table = Table(*_RATES)
    for name, each in report.rates.items():
        table.add_row(
            name,
            f"{each.per_second:,.0f}",
            _three(each, "accept"),
            _three(each, "end_to_end"),
            ", ".join(f"{process} {used:.0f}" for process, used in each.cpu_us.items()),
            ", ".join(f"{process} {held:.0f}" for process, held in each.memory_mb.items()),
        )
    return table


def _three(figures: Figures, name: str) -> str:
    found = figures.accept if name == "accept" else figures.end_to_end
    return f"{found.p50_ms:.1f}, {found.p99_ms:.1f}, {found.p999_ms:.1f}" if found else ""


def _kills(report: Report) -> Table:
    table = Table(*_KILLS)
    for name, wrecks in report.kills.items():
        for victim, wreck in wrecks.items():
            killed = wreck.killed
            counted = (
                killed.accepted,
                killed.lost,
                killed.bought_twice,
                killed.reported_twice,
                killed.unreported,
                wreck.unsure,
            )
            table.add_row(f"{name}: {victim}", *map(str, counted), f"{wreck.recovered_seconds:.1f}")
    return table
