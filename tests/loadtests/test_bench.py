"""The benchmark's command, as a user runs it, with few orders."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
AROUND = {"simulator", "receiver", "client", "postgres", "valkey"}


def bench(*arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "loadtests.bench", *arguments]
    return subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=110, check=False
    )


def one_run(*names: str, orders: int) -> tuple[dict[str, dict], dict]:
    only = [word for name in names for word in ("--only", name)]
    done = bench("--runs", "1", "--seconds", "30", "--orders", str(orders), "--json-only", *only)
    result = json.loads(done.stdout)
    assert (done.returncode, result["ok"], result["faults"]) == (0, True, []), done.stderr
    (run,) = result["runs"]
    assert list(run) == list(names)
    return run, result


def test_a_tiny_run_ends_with_one_json_object_whose_counts_are_right():
    run, result = one_run("pgbench", "bare", "accept", "apart-spread", orders=50)
    assert [run[name]["orders"] for name in ("bare", "accept", "apart-spread")] == [50] * 3
    assert run["pgbench"]["orders"] > 0
    whole = run["apart-spread"]
    assert set(whole["cpu_us"]) == set(whole["memory_mb"]) == {"api", "worker", *AROUND}
    assert all(held > 1 for held in whole["memory_mb"].values())
    assert whole["end_to_end"]["p50_ms"] >= whole["accept"]["p50_ms"]
    assert (whole["lost"], whole["doubled"], whole["lag"]) == (0, 0, None)
    ratios = ("accept / bare", "accept / pgbench", "apart-spread / pgbench", "end to end / pgbench")
    assert set(result["ratios"]) == set(ratios)
    by_name = {bound["name"]: bound["found"] for bound in result["bounds"]}
    assert by_name["accept / bare"] == result["ratios"]["accept / bare"]["median"]
    assert by_name["end to end / pgbench"] == result["ratios"]["apart-spread / pgbench"]["median"]
    assert by_name["serve-spread / serve-hot"] is None


def test_an_open_load_and_misbehaving_dealers_end_with_every_order_as_it_had_to():
    run, _ = one_run("serve-spread", "serve-open-50", "serve-misbehaving", orders=200)
    assert [each["orders"] for each in run.values()] == [200] * 3
    assert [(each["lost"], each["doubled"]) for each in run.values()] == [(0, 0)] * 3
    assert run["serve-open-50"]["lag"]["p50_ms"] >= 0


def test_wrong_arguments_are_told_before_anything_is_started():
    for arguments in (
        ["--only", "nothing"],
        ["--runs", "0"],
        ["--orders", "-1"],
        ["--only", "serve-open-50"],
    ):
        done = bench(*arguments)
        assert (done.returncode, done.stdout) == (2, "")
        assert "error:" in done.stderr
