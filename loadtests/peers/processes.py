"""A peer's processes, and a supervisor of the least that will do: what ends is started again."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from app.embedded.folder import HOST, choose_port
from app.embedded.launcher import EmbeddedServerError, stop
from loadtests.programs import LoadTestFailure

_ROOT = Path(__file__).resolve().parents[2]
_STOP_SECONDS = 10.0
_START_SECONDS = 30.0
_POLL_SECONDS = 0.05

Spawn = Callable[[], "subprocess.Popen[bytes]"]
"""Starts a process. It is called in the main thread, and again where the process has ended."""


@dataclass(slots=True)
class Supervised:
    """One process, started again when it has ended."""

    name: str
    process: "subprocess.Popen[bytes]"
    spawn: Spawn

    def kill(self) -> None:
        """End it as a power cut to this process alone would: `kill -9`."""
        self.process.kill()
        self.process.wait()

    def start_again_if_ended(self) -> None:
        """What systemd's `Restart=always` does."""
        if self.process.poll() is not None:
            self.process = self.spawn()

    def stop(self) -> None:
        """End it politely: SIGINT is what PostgreSQL takes for "do not wait for your clients"."""
        stop(self.process, signal.SIGINT, _STOP_SECONDS)


def supervise(name: str, spawn: Spawn) -> Supervised:
    """Start a process for the first time."""
    return Supervised(name, spawn(), spawn)


def spawn_program(
    command: list[str], environment: Mapping[str, str], log: Path
) -> "subprocess.Popen[bytes]":
    """Start a program that ends with this process, its words going to a file."""
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        raise EmbeddedServerError("setpriv is missing: install util-linux")
    with log.open("ab") as file:
        return subprocess.Popen(
            [setpriv, "--pdeathsig", "KILL", "--", *command],
            cwd=_ROOT,
            env={"PATH": os.environ.get("PATH", os.defpath), **environment},
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
        )


def free_port(folder: Path) -> int:
    """A port that nobody listens on."""
    return choose_port(folder / "no.port", None)


def wait_for_port(port: int, supervised: Supervised, log: Path) -> None:
    """Wait until somebody listens on a port. Raises LoadTestFailure with what the log says."""
    deadline = time.monotonic() + _START_SECONDS
    while supervised.process.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection((HOST, port), timeout=1):
            return
        time.sleep(_POLL_SECONDS)
    words = log.read_text(errors="replace")[-2000:]
    raise LoadTestFailure(f"{supervised.name} does not get ready: {words}")
