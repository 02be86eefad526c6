"""The throughput command, as a user runs it, with few orders."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def throughput(*arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "loadtests.throughput", *arguments]
    return subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=110, check=False
    )


def test_a_tiny_run_ends_with_one_json_object_whose_counts_are_right():
    names = ["pgbench", "bare", "accept", "apart-spread"]
    only = [word for name in names for word in ("--only", name)]
    done = throughput("--runs", "1", "--seconds", "30", "--orders", "50", "--json-only", *only)
    result = json.loads(done.stdout)
    assert (done.returncode, result["ok"], result["faults"]) == (0, True, []), done.stderr
    (run,) = result["runs"]
    assert list(run) == names
    assert [run[name]["orders"] for name in names[1:]] == [50] * 3
    assert run["pgbench"]["orders"] > 0
    assert set(run["apart-spread"]["cpu_us"]) == {
        *("api", "worker", "postgres", "valkey", "simulator", "receiver", "client")
    }
    assert run["apart-spread"]["end_to_end"]["p50_ms"] >= run["apart-spread"]["accept"]["p50_ms"]
    assert set(result["ratios"]) == {"accept/bare", "accept/pgbench", "apart-spread/pgbench"}


def test_wrong_arguments_are_told_before_anything_is_started():
    for arguments in (["--only", "nothing"], ["--runs", "0"], ["--orders", "-1"]):
        done = throughput(*arguments)
        assert (done.returncode, done.stdout) == (2, "")
        assert "error:" in done.stderr
