"""The measurements of the routing engine itself: compiling, in a process of its own, and deciding.

python -m loadtests.routing_trials 1000000      # compile so many routes, tell time and memory
"""

import gc
import json
import re
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from loadtests.programs import LoadTestFailure
from loadtests.routing_table import (
    Question,
    compiled,
    is_due,
    picked,
    questions,
    recorded,
)
from routing.snapshot import Snapshot

Figures = Mapping[str, float]
"""What one measurement found, by name."""

_ROOT = Path(__file__).resolve().parent.parent
_PEAK = re.compile(r"VmHWM:\s+(\d+) kB")
_CHECKED = 200


def compile_apart(routes: int) -> Figures:
    """Compile in a child process: `seconds`, `cpu_seconds`, `peak_bytes` of memory, all included.

    Raises LoadTestFailure.
    """
    command = [sys.executable, "-m", "loadtests.routing_trials", str(routes)]
    done = subprocess.run(command, cwd=_ROOT, capture_output=True, check=False)
    if done.returncode:
        raise LoadTestFailure(f"compiling failed: {done.stderr.decode(errors='replace')[-2000:]}")
    return json.loads(done.stdout)


def faults_of(snapshot: Snapshot, routes: int) -> list[str]:
    """What is wrong with the picks of a table; fast wrong answers are worth nothing."""
    asked = questions(routes, _CHECKED, seed=0)
    wrong = sum(not is_due(question, picked(snapshot, question)) for question in asked)
    return [f"{wrong} of {_CHECKED} picks from {routes:,} routes are wrong"] if wrong else []


def settle() -> None:
    """As a service does when its table stands: the collector need not look at it again."""
    gc.collect()
    gc.freeze()


def decide(snapshot: Snapshot, asked: Sequence[Question], *, record: bool) -> Figures:
    """Decide one after the other, each kind in a loop of its own."""
    started, cpu_started = time.perf_counter(), time.process_time()
    if record:
        _decide_and_record(snapshot, asked)
    else:
        _decide(snapshot, asked)
    cpu_seconds = time.process_time() - cpu_started
    return rates(len(asked), cpu_seconds, time.perf_counter() - started)


def rates(decisions: int, cpu_seconds: float, seconds: float) -> Figures:
    """`cpu_us` a decision, `per_second` of one core kept busy, `wall_per_second` by the clock.

    Other programs on the same cores slow down the last one most.
    """
    return {
        "cpu_us": cpu_seconds / decisions * 1e6,
        "per_second": decisions / cpu_seconds,
        "wall_per_second": decisions / seconds,
    }


def _decide(snapshot: Snapshot, asked: Sequence[Question]) -> None:
    for question in asked:
        picked(snapshot, question)


def _decide_and_record(snapshot: Snapshot, asked: Sequence[Question]) -> None:
    for question in asked:
        recorded(picked(snapshot, question))


def main() -> None:
    """Compile, and tell what it took in one JSON object."""
    started, cpu_started = time.perf_counter(), time.process_time()
    snapshot = compiled(int(sys.argv[1]))
    seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - cpu_started
    if snapshot.refused:
        sys.exit(f"{len(snapshot.refused)} routes were refused")
    print(json.dumps({"seconds": seconds, "cpu_seconds": cpu_seconds, "peak_bytes": _peak_bytes()}))


def _peak_bytes() -> int:
    """The most memory this process held; `ru_maxrss` would count that of whoever started it."""
    found = _PEAK.search(Path("/proc/self/status").read_text())
    return int(found[1]) * 1024 if found else 0


if __name__ == "__main__":
    main()
