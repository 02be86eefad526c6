"""Programs under measurement: processes of their own, asked what CPU and memory they used."""

import contextlib
import shutil
import signal
import subprocess
import sys
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil

from app.embedded.launcher import EmbeddedServerError, stop

_ROOT = Path(__file__).resolve().parent.parent
_STOP_SECONDS = 40.0


class LoadTestFailure(Exception):
    """A load test cannot go on; the message says why, and where to look."""


@dataclass(frozen=True, slots=True)
class Program:
    """One of our own programs while it runs."""

    name: str
    process: "subprocess.Popen[bytes]"
    log: Path

    def read_line(self) -> bytes:
        """The next line of its standard output. Raises LoadTestFailure where it has ended."""
        line = self.process.stdout.readline() if self.process.stdout else b""
        if not line:
            raise LoadTestFailure(f"{self.name} ended: {self.last_words()}")
        return line

    def write_line(self, line: bytes) -> None:
        """A line for its standard input."""
        if self.process.stdin is not None:
            self.process.stdin.write(line)
            self.process.stdin.flush()

    def has_said(self, words: str) -> bool:
        """Whether it logged this, however much came after it."""
        return words in self.log.read_text(errors="replace")

    def last_words(self) -> str:
        """The end of what it logged."""
        return self.log.read_text(errors="replace")[-2000:]


@contextlib.contextmanager
def running(
    name: str,
    arguments: list[str],
    folder: Path,
    environment: Mapping[str, str] | None = None,
    *,
    log_output: bool = False,
) -> Generator[Program]:
    """Run `python -m …`; it ends with the block, and with this process however that ends.

    Its standard error, with `log_output` its standard output too, goes to a file in the folder;
    otherwise that can be read a line at a time.
    """
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        raise EmbeddedServerError("setpriv is missing: install util-linux")
    log = folder / f"{name}.log"
    with log.open("ab") as file:
        process = subprocess.Popen(
            [setpriv, "--pdeathsig", "KILL", "--", sys.executable, "-m", *arguments],
            cwd=_ROOT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=file if log_output else subprocess.PIPE,
            stderr=file,
        )
    try:
        yield Program(name, process, log)
    finally:
        with process:
            stop(process, signal.SIGTERM, _STOP_SECONDS)


def cpu_seconds(process_id: int) -> float:
    """The CPU time that a process and all its children have used, those that ended included."""
    root = psutil.Process(process_id)
    total = 0.0
    for process in (*root.children(recursive=True), root):
        # One that ended meanwhile counts in its parent's figures, which are read after it.
        with contextlib.suppress(psutil.NoSuchProcess):
            used = process.cpu_times()
            total += used.user + used.system + used.children_user + used.children_system
    return total


def memory_bytes(process_id: int) -> int:
    """The most that a process and its children ever held; pages that they share count once."""
    root = psutil.Process(process_id)
    own, shared = 0, [0]
    for process in (root, *root.children(recursive=True)):
        with contextlib.suppress(OSError):
            held = _kilobytes(Path(f"/proc/{process.pid}/status").read_text())
            common = held.get("RssFile", 0) + held.get("RssShmem", 0)
            own += max(0, held.get("VmHWM", 0) - common)
            shared.append(common)
    return 1024 * (own + max(shared))


def _kilobytes(status: str) -> dict[str, int]:
    """The figures in kilobytes out of a process's `/proc/…/status`."""
    pairs = (line.split(":", 1) for line in status.splitlines() if line.endswith(" kB"))
    return {name: int(value.split()[0]) for name, value in pairs}
