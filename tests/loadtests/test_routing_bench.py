"""The routing benchmark: as a user runs it on small tables, and what it makes of its figures."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from loadtests.routing_report import Report, bounds
from loadtests.routing_table import compiled
from loadtests.routing_trials import faults_of

ROOT = Path(__file__).resolve().parents[2]


def routing_bench(*arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "loadtests.routing_bench", *arguments]
    return subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=110, check=False
    )


def measured(**per_second: float) -> Report:
    figures = {name.replace("_", " "): {"per_second": rate} for name, rate in per_second.items()}
    return Report({}, {}, [figures], {}, None, [])


def met(report: Report) -> dict[str, bool]:
    return {bound.name: bound.met for bound in bounds(report)}


def test_a_quick_run_ends_with_one_json_object():
    arguments = ("--decisions", "500", "--peer-seconds", "0.2", "--no-bounds")
    done = routing_bench("--quick", *arguments)
    result = json.loads(done.stdout.splitlines()[-1])
    assert (done.returncode, result["faults"]) == (0, []), done.stderr
    ours = {"compile", "choose 10", "choose 10000", "record 10", "record 10000"}
    assert ours <= set(result["medians"])
    if result["peer_absent"]:
        assert "apt-get install kamailio" in result["peer_absent"]
        assert result["peer_absent"] in done.stdout
    else:
        assert result["medians"]["kamailio 1250"]["cpu_us"] > 0


def test_the_peer_can_be_left_out():
    done = routing_bench("--quick", "--decisions", "10", "--no-bounds", "--no-peer", "--json-only")
    result = json.loads(done.stdout)
    assert result["peer_absent"] == "Kamailio was left out."
    assert not any(name.startswith("kamailio") for name in result["medians"])


def test_a_rate_below_its_bound_is_missed():
    report = measured(choose_10=99_999, record_10=40_000)
    assert not met(report)["choose 10, a second"]
    assert met(report)["record 10, a second"]
    assert not json.loads(report.as_json())["ok"]


@pytest.mark.parametrize(("largest", "flat"), [(139_000, False), (141_000, True)])
def test_a_large_table_may_be_slower_by_thirty_percent(largest: float, flat: bool):
    report = measured(choose_10=200_000, choose_1000000=largest, record_10=50_000)
    assert met(report)["choose, slowest table by fastest"] is flat


def test_wrong_picks_are_a_fault():
    table = compiled(10_000)
    assert faults_of(table, 10_000) == []
    (fault,) = faults_of(table, 80_000)
    assert "80,000 routes are wrong" in fault
