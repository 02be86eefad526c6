"""The benchmark's report: what it found, in tables that read the same on a screen and on a page."""

import json

from loadtests.figures import Figures, Killed
from loadtests.job import Percentiles
from loadtests.peers.kills import Wreck
from loadtests.report import Report, sheets
from loadtests.trial import Load

SOME = Percentiles(1.234, 99.96, 1234.5)


def figures(per_second: float, end_to_end: Percentiles | None = None) -> Figures:
    cpu = {"service": 300.0, "client": 100.0}
    lost = 0 if end_to_end else None
    return Figures(100, 1.0, per_second, cpu, SOME, end_to_end, lost=lost, doubled=lost)


RUNS = [{"pgbench": figures(1000), "serve-spread": figures(rate, SOME)} for rate in (300, 500, 400)]
WRECK = Wreck(Killed(1234, 0, 0, 5), unsure=7, recovered_seconds=1.25)
REPORT = Report(
    {"cores": 2},
    Load(6.0, None, 64, 768),
    RUNS,
    {"kannel-durable: bearerbox": WRECK},
    ["run 1, serve-spread: 1 order lost"],
    ["kannel: not installed"],
)


def rows(title: str) -> dict[str, tuple[str, ...]]:
    (sheet,) = (each for each in sheets(REPORT) if each.title.startswith(title))
    assert {len(row) for row in sheet.rows} == {len(sheet.headings)}
    return {name: tuple(cells) for name, *cells in sheet.rows}


def test_a_rate_stands_with_its_spread_durations_and_what_was_lost():
    assert rows("Rates")["serve-spread"] == (
        "400 (300 to 500)",
        "1.2, 100.0, 1,234",
        "1.2, 100.0, 1,234",
        "",
        "0",
        "0, 0",
    )
    assert rows("Rates")["pgbench"][-1] == ""


def test_cpu_says_what_stands_around_the_service_took():
    assert rows("CPU")["serve-spread"] == ("400", "25 %", "4 %", "service 300, client 100")


def test_a_bound_is_met_missed_or_not_measured():
    bounds = rows("Bounds")
    assert bounds["end to end / pgbench"] == ("≥ 0.35", "0.4", "met")
    assert bounds["accept / bare"][-1] == "not measured"


def test_what_a_kill_did_stands_by_its_victim():
    assert rows("Killed") == {
        "kannel-durable: bearerbox": ("1,234", "0", "0", "5", "0", "7", "1.2")
    }


def test_what_was_not_measured_has_no_table():
    titles = [each.title for each in sheets(REPORT)]
    assert "Memory" not in titles


def test_the_json_says_everything_in_one_line():
    line = REPORT.as_json()
    result = json.loads(line)
    assert "\n" not in line
    assert (result["ok"], result["notes"]) == (False, ["kannel: not installed"])
    assert result["rates"]["serve-spread"] == {"median": 400, "least": 300, "most": 500}
    assert result["medians"]["serve-spread"]["end_to_end"]["p999_ms"] == 1234.5
    assert [run["serve-spread"]["per_second"] for run in result["runs"]] == [300, 500, 400]
    assert result["killed"]["kannel-durable: bearerbox"]["killed"]["reported_twice"] == 5
