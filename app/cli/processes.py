"""Several processes on one listening socket: `jalur serve --processes N`.

One process uses one core. The parent listens, starts the others with its socket, passes signals on
to them, and starts one anew that ends by itself. It does nothing else, so nothing else can end it;
should it be killed, its children see the end of a pipe and stop gracefully.
"""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass

import structlog

log = structlog.get_logger()

_LOOK_SECONDS = 0.2
_ESTABLISHED_SECONDS = 10.0
"""A process that ends younger than this will not do better the next time."""


@dataclass(slots=True)
class _Child:
    """A process and when it was started, by the monotonic clock."""

    number: int
    popen: "subprocess.Popen[bytes]"
    started_at: float


def run_processes(
    listener: socket.socket, command: Sequence[str], count: int, metrics_port: int | None
) -> int:
    """Run `count` processes until a signal ends them. Returns the exit status: theirs, if not 0.

    `command` is the one process's own command line; each gets the socket and the pipe with it. The
    n-th process (from 0) answers `/metrics` at `metrics_port + n`, where a port is given.
    """
    life, held = os.pipe()
    try:
        return _Family(listener, command, metrics_port, life).run(count)
    finally:
        os.close(held)
        os.close(life)


class _Family:
    """The children of this process."""

    def __init__(
        self,
        listener: socket.socket,
        command: Sequence[str],
        metrics_port: int | None,
        life: int,
    ) -> None:
        self._listener = listener
        self._command = command
        self._metrics_port = metrics_port
        self._life = life
        self._stopping = threading.Event()
        self._children: list[_Child] = []

    def run(self, count: int) -> int:
        """Start all, keep all alive, end all."""
        with self._passing_signals_on():
            self._children = [self._start(number) for number in range(count)]
            while not self._stopping.wait(_LOOK_SECONDS):
                for child in [each for each in self._children if each.popen.poll() is not None]:
                    self._replace(child)
            return max((abs(child.popen.wait()) for child in self._children), default=0)

    def _start(self, number: int) -> _Child:
        fd = self._listener.fileno()
        environment = dict(os.environ)
        if self._metrics_port is not None:
            environment["JALUR_METRICS_PORT"] = str(self._metrics_port + number)
        popen = subprocess.Popen(  # noqa: S603 - this program's own command line
            [*self._command, "--inherited", f"{fd},{self._life}"],
            env=environment,
            pass_fds=(fd, self._life),
            # A terminal's Ctrl-C comes to the parent alone, which passes it on once.
            start_new_session=True,
        )
        return _Child(number, popen, time.monotonic())

    def _replace(self, child: _Child) -> None:
        """Start another one in the place of a process that ended by itself, or give up."""
        status, age = child.popen.returncode, time.monotonic() - child.started_at
        log.error("process.ended", process=child.number, status=status, age_seconds=round(age, 1))
        if age < _ESTABLISHED_SECONDS:
            self._pass_on(signal.SIGTERM)
            return
        self._children[child.number] = self._start(child.number)

    def _pass_on(self, number: int) -> None:
        self._stopping.set()
        for child in self._children:
            if child.popen.poll() is None:
                child.popen.send_signal(number)

    @contextlib.contextmanager
    def _passing_signals_on(self) -> Generator[None]:
        before = {
            number: signal.signal(number, lambda received, _: self._pass_on(received))
            for number in (signal.SIGTERM, signal.SIGINT)
        }
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def own_command() -> list[str]:
    """The command line that makes this program serve as one process."""
    return [sys.executable, "-m", "app", "serve"]
