"""Start a server program beside Jalur so that it never outlives Jalur, however Jalur ends.

The kernel itself ends the server: `setpriv --pdeathsig` asks it to signal the server when the
thread that started it is gone, which also covers a kill -9. Started by root, the server runs as
an unprivileged user, because PostgreSQL refuses root and Valkey has no need of it.
"""

import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

from app.errors import JalurError

SERVER_USER_ID = 65534
"""User and group of a server started by root: `nobody` on every common distribution."""

POLL_SECONDS = 0.02


class EmbeddedServerError(JalurError):
    """An embedded server cannot be started; the message is one line that says what to do."""


@dataclass(frozen=True, slots=True)
class RunningServer:
    """A server of ours that answers. As a context manager it stops on leaving."""

    process: subprocess.Popen[bytes]
    port: int

    stop_signal: ClassVar[signal.Signals] = signal.SIGTERM
    stop_seconds: ClassVar[float] = 30.0

    def stop(self) -> None:
        """Ask the server to end, wait for it, and kill it if it does not. May be called twice."""
        stop(self.process, self.stop_signal, self.stop_seconds)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()


def spawn(
    program: Path, arguments: list[str], *, log: Path, death_signal: signal.Signals, stdin: str = ""
) -> subprocess.Popen[bytes]:
    """Start a program that gets `death_signal` when this process dies. Its output goes to `log`.

    A session of its own keeps a Ctrl-C in the terminal away from it: Jalur finishes first. The
    environment is bare, since a `PGPORT` or a locale of the caller's would change what it does.

    Raises: EmbeddedServerError.
    """
    command = [*_guard(death_signal), str(program), *arguments]
    with log.open("ab") as output, tempfile.TemporaryFile() as source:
        source.write(stdin.encode())
        source.seek(0)
        return subprocess.Popen(  # noqa: S603 - our own programs and arguments, no shell
            command,
            stdin=source,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd="/",
            env={"PATH": os.defpath, "LC_ALL": "C"},
            start_new_session=True,
            umask=0o077,
        )


def _guard(death_signal: signal.Signals) -> list[str]:
    if threading.current_thread() is not threading.main_thread():
        raise EmbeddedServerError(
            "embedded servers end with the thread that starts them: start them in the main thread"
        )
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        raise EmbeddedServerError(
            "setpriv is missing: install util-linux, or set DATABASE_URL and REDIS_URL to use "
            "servers of your own"
        )
    user = [f"--reuid={SERVER_USER_ID}", f"--regid={SERVER_USER_ID}", "--clear-groups"]
    pdeathsig = ["--pdeathsig", death_signal.name.removeprefix("SIG"), "--"]
    return [setpriv, *(user if os.geteuid() == 0 else []), *pdeathsig]


def wait_until(
    ready: Callable[[], bool], process: subprocess.Popen[bytes], patience_seconds: float
) -> bool:
    """Wait for `ready`. False when the process ended first or the patience ran out."""
    deadline = time.monotonic() + patience_seconds
    while process.poll() is None and time.monotonic() < deadline:
        if ready():
            return True
        time.sleep(POLL_SECONDS)
    return False


def stop(process: subprocess.Popen[bytes], polite: signal.Signals, patience_seconds: float) -> None:
    """End a process: `polite` first, SIGKILL once the patience has run out."""
    process.send_signal(polite)
    try:
        process.wait(patience_seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
