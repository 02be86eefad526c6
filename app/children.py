"""Processes of this program that do one thing beside a serving one: started, fed, listened to."""

import asyncio
import contextlib
import ctypes
import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

_NICENESS = 10
_TURN_NANOSECONDS = 100_000_000
"""The longest turn that Linux lets a process ask for."""
_SET_ATTRIBUTES = {"x86_64": 314, "aarch64": 274}.get(platform.machine())
"""The number of Linux's call `sched_setattr`, which the C library does not offer by name."""
_KEEP_POLICY = 0x08
"""Its flag to leave the kind of scheduling, which whoever started us may have chosen."""


class _Attributes(ctypes.Structure):
    """`struct sched_attr` as of Linux 3.14: see sched_setattr(2)."""

    _fields_ = (
        ("size", ctypes.c_uint32),
        ("policy", ctypes.c_uint32),
        ("flags", ctypes.c_uint64),
        ("nice", ctypes.c_int32),
        ("priority", ctypes.c_uint32),
        ("runtime", ctypes.c_uint64),
        ("deadline", ctypes.c_uint64),
        ("period", ctypes.c_uint64),
    )


def step_back() -> None:
    """Let orders go first where processors are few: for processes that compute for long."""
    os.nice(_NICENESS)
    _lower_session(os.getpid())
    _ask_for_long_turns(0)


def let_step_back(process_id: int, title: str) -> bool:
    """Let another process of this machine step back, if its title holds `title` and we may.

    A number alone could mean a process of another machine, or one that came after it.
    """
    try:
        if title not in Path("/proc", str(process_id), "cmdline").read_text(errors="replace"):
            return False
        niceness = os.getpriority(os.PRIO_PROCESS, process_id)
        os.setpriority(os.PRIO_PROCESS, process_id, max(niceness, _NICENESS))
    except OSError:
        return False
    _lower_session(process_id)
    _ask_for_long_turns(process_id)
    return True


def _lower_session(process_id: int) -> None:
    """Lower the session of a process that has one of its own, as PostgreSQL's processes do.

    Linux shares processors out among sessions first, and niceness counts within one (sched(7), "The
    autogroup feature"): by itself such a process would have as much as all others together.
    """
    with contextlib.suppress(OSError):
        if os.getsid(process_id) == process_id:
            Path("/proc", str(process_id), "autogroup").write_text(str(_NICENESS))


def _ask_for_long_turns(process_id: int) -> None:
    """Let whoever asks for shorter turns, as all do by themselves, interrupt this process at once.

    Niceness counts among the processes of one container only, and leaves a turn of some
    milliseconds to whoever has begun it; each step of an order would wait for that. Linux takes the
    wish since 6.12 and passes over it before; nothing depends on it.
    """
    if sys.platform != "linux" or _SET_ATTRIBUTES is None:
        return
    with contextlib.suppress(OSError):
        niceness = os.getpriority(os.PRIO_PROCESS, process_id)
        wish = _Attributes(
            size=ctypes.sizeof(_Attributes),
            flags=_KEEP_POLICY,
            nice=niceness,
            runtime=_TURN_NANOSECONDS,
        )
        ctypes.CDLL(None).syscall(_SET_ATTRIBUTES, process_id, ctypes.byref(wish), 0)


async def run_child(
    module: str, pieces: Sequence[bytes], files: Sequence[int] = ()
) -> tuple[bytes, int | None]:
    """Run a module as a process, with `pieces` as its input. Returns what it printed, its status.

    `files` are descriptors that it shares with this process, under the same numbers.

    Without the event loop's own processes, which fork a large process slowly. Cancelled, it kills
    the child, which has a session of its own, to step back as a whole. The input stays open until
    the child has answered, so that a child can tell whether this process lives: it knows by itself
    where its input ends.
    """
    child = await asyncio.to_thread(_start, module, files)
    try:
        told = await asyncio.to_thread(_converse, child, pieces)
    finally:
        child.kill()
    return told, child.returncode


def _start(module: str, files: Sequence[int]) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(  # noqa: S603 - this program itself
        [sys.executable, "-P", "-m", module],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        pass_fds=files,
    )


def _converse(child: "subprocess.Popen[bytes]", pieces: Sequence[bytes]) -> bytes:
    """Hand everything over, piece by piece, and wait for the answer. In a thread."""
    with child:
        if child.stdin is None or child.stdout is None:
            raise RuntimeError("the child was started without pipes")
        # It may end before it has read all; why, stands in its answer, if it gives one.
        with contextlib.suppress(BrokenPipeError):
            for piece in pieces:
                child.stdin.write(piece)
            child.stdin.flush()
        told = child.stdout.read()
        with contextlib.suppress(BrokenPipeError):
            child.stdin.close()
    return told
