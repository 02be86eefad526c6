"""Processes that let orders go first."""

import platform
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from app.children import let_step_back, run_child

_ORDINARY_TURN_MILLISECONDS = 10
_BACK, _LEAST = 130, 139
"""Priorities."""


def _priority_and_turn(process: str) -> tuple[int, float]:
    """What Linux says of a process: its priority, 120 where nobody changed it; turn in ms."""
    told = Path("/proc", process, "sched")
    found = (
        re.search(r"^se\.slice\s*: *(\d+)", told.read_text(), re.MULTILINE)
        if (told.exists())
        else None
    )
    if found is None or tuple(map(int, platform.release().split(".")[:2])) < (6, 12):
        pytest.skip(
            "this Linux does not tell how long a process's turns are, or has them all equal"
        )
    priority = re.search(r"^prio\s*: *(\d+)", told.read_text(), re.MULTILINE)
    assert priority is not None
    return int(priority[1]), int(found[1]) / 1e6


def _session(process: str) -> str:
    """What Linux says of a process's session: its name and niceness."""
    told = Path("/proc", process, "autogroup")
    if not told.exists() or not told.read_text().startswith("/autogroup"):
        pytest.skip("this Linux shares processors out without regard to sessions")
    return told.read_text()


def test_who_steps_back_waits_for_others_and_may_be_interrupted_by_all() -> None:
    priority, turn = _priority_and_turn("self")
    assert turn < _ORDINARY_TURN_MILLISECONDS, "a test before made this process step back"
    told = subprocess.run(
        [
            sys.executable,
            "-c",
            "from app.children import step_back\n"
            "step_back()\n"
            "print(open('/proc/self/sched').read())",
        ],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    assert re.search(rf"^prio\s*: *{min(priority + 10, _LEAST)}$", told, re.MULTILINE)
    assert re.search(r"^se\.slice\s*: *100000000$", told, re.MULTILINE)


def test_another_process_is_made_to_step_back_by_its_title_alone() -> None:
    with subprocess.Popen(["sleep", "60"]) as other:
        try:
            while "sleep\0" not in Path("/proc", str(other.pid), "cmdline").read_text():
                time.sleep(0.01)
            before = _priority_and_turn(str(other.pid))
            assert not let_step_back(other.pid, "jalur_service 127.0.0.1(1)")
            assert _priority_and_turn(str(other.pid)) == before
            assert let_step_back(other.pid, "sleep")
            assert _priority_and_turn(str(other.pid)) == (max(before[0], _BACK), 100.0)
        finally:
            other.kill()


def test_whole_session_steps_back_where_it_is_the_processs_own() -> None:
    ours = _session("self")
    for alone in (False, True):
        with subprocess.Popen(["sleep", "60"], start_new_session=alone) as other:
            try:
                while "sleep\0" not in Path("/proc", str(other.pid), "cmdline").read_text():
                    time.sleep(0.01)
                assert let_step_back(other.pid, "sleep")
                session = _session(str(other.pid))
                assert session.endswith("nice 10\n") if alone else session == ours
            finally:
                other.kill()
    assert _session("self") == ours


async def test_child_has_a_session_of_its_own_to_lower() -> None:
    lines = [b"import os\n", b"print('alone' if os.getsid(0) == os.getpid() else 'ours')\n"]
    told, _ = await run_child("code", [*lines, b"raise SystemExit\n"])
    assert b"alone" in told
