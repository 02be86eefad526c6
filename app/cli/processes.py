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
import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass

import structlog

log = structlog.get_logger()

_LOOK_SECONDS = 0.1
_ESTABLISHED_SECONDS = 10.0
"""A process that ends younger than this will not do better the next time."""


_AGAIN_SECONDS = 1.0
"""How long after such an end the next one is tried beside others that do well."""


@dataclass(slots=True)
class _Child:
    """A process and when it was started, by the monotonic clock."""

    number: int
    popen: "subprocess.Popen[bytes]"
    started_at: float
    told: bool = False
    """Whether a signal was passed on to it."""

    @property
    def runs(self) -> bool:
        return self.popen.poll() is None

    @property
    def age_seconds(self) -> float:
        return time.monotonic() - self.started_at

    @property
    def status(self) -> int:
        """Its exit status; 0 where it ended by the signal that it was told to end by."""
        status = self.popen.wait()
        expected = self.told and -status in (signal.SIGTERM, signal.SIGINT)
        return 0 if expected else abs(status)


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
    """The children of this process.

    A signal is only noted where it arrives and passed on by the loop, so that one which comes
    while a child is being started reaches that child too.
    """

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
        self._signals: list[int] = []
        self._children: dict[int, _Child] = {}
        self._start_again_at: dict[int, float] = {}
        self._failure = 0

    def run(self, count: int) -> int:
        """Start all, keep all alive, end all."""
        with self._noting_signals():
            self._start_again_at = dict.fromkeys(range(count), 0.0)
            while not self._signals:
                self._start_what_is_due()
                time.sleep(_LOOK_SECONDS)
                for child in [each for each in self._children.values() if not each.runs]:
                    self._mourn(child)
            # Else callers would wait here for children that have closed theirs.
            self._listener.close()
            return self._end()

    def _start_what_is_due(self) -> None:
        for number, due_at in list(self._start_again_at.items()):
            if not self._signals and time.monotonic() >= due_at:
                self._children[number] = self._start(number)
                del self._start_again_at[number]

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

    def _mourn(self, child: _Child) -> None:
        """Have another one started in the place of a process that ended by itself, or give up."""
        status, age_seconds = child.popen.returncode, child.age_seconds
        log.error(
            "process.ended", process=child.number, status=status, age_seconds=round(age_seconds, 1)
        )
        del self._children[child.number]
        early = age_seconds < _ESTABLISHED_SECONDS
        others = (each.age_seconds >= _ESTABLISHED_SECONDS for each in self._children.values())
        if early and not any(others):
            self._failure = abs(status) or 1
            self._signals.append(signal.SIGTERM)
        wait_seconds = _AGAIN_SECONDS if early else 0.0
        self._start_again_at[child.number] = time.monotonic() + wait_seconds

    def _end(self) -> int:
        """Pass every signal on until all have ended."""
        passed_on = 0
        while any(child.runs for child in self._children.values()):
            for number in self._signals[passed_on:]:
                passed_on += 1
                self._pass_on(number)
            time.sleep(_LOOK_SECONDS)
        return max(self._failure, *(child.status for child in self._children.values()), 0)

    def _pass_on(self, number: int) -> None:
        for child in self._children.values():
            if child.runs:
                child.told = True
                child.popen.send_signal(number)

    @contextlib.contextmanager
    def _noting_signals(self) -> Generator[None]:
        before = {
            number: signal.signal(number, lambda received, _: self._signals.append(received))
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
