"""The Python peers put up: FastAPI before a queue, a worker behind it, each a process.

The queue's server is one of their own, so that it can be killed and nobody else is on it.
"""

import json
import subprocess
from collections.abc import Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from app.embedded.folder import HOST, give_to_server, prepare
from app.embedded.postgres import start_postgres
from app.embedded.valkey import KEEPS_NOTHING, start_valkey
from loadtests.peers.peer import Scene, around, read_book
from loadtests.peers.processes import (
    Supervised,
    free_port,
    spawn_program,
    supervise,
    wait_for_port,
)
from loadtests.programs import LoadTestFailure
from loadtests.stage import Stage

API, WORKER = "api", "worker"
_SCHEMA_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Arrangement:
    """One Python peer: its interpreter, its program, and how it calls, keeps and runs."""

    python: Path
    program: str
    """The module with the FastAPI application and the worker."""
    http_client: str
    durable: bool
    tuning: Mapping[str, str]
    """Environment variables by which the program is tuned."""

    @property
    def module(self) -> str:
        """Where the program is."""
        return f"loadtests.peers.{self.program}"


@contextmanager
def on_valkey(
    arrangement: Arrangement, stage: Stage, logs: Path, dealer_seconds: float
) -> Generator[Scene]:
    """A queue in Valkey; durable: a write is in its log, and that on disk, before its answer."""
    home = prepare(logs / "queue")
    persistence = _append_only(home) if arrangement.durable else KEEPS_NOTHING
    start = partial(start_valkey, home, persistence=persistence)
    with ExitStack() as stack:
        first = start()
        valkey = Supervised("valkey", first.process, lambda: start().process)
        stack.callback(valkey.stop)
        settings = {"REDIS_URL": first.url}
        yield stack.enter_context(_shop(arrangement, stage, logs, dealer_seconds, settings, valkey))


@contextmanager
def on_postgres(
    arrangement: Arrangement, stage: Stage, logs: Path, dealer_seconds: float
) -> Generator[Scene]:
    """A queue in PostgreSQL; not durable: a commit does not wait for the disk."""
    home = prepare(logs / "queue")
    with ExitStack() as stack:
        first = start_postgres(home)
        postgres = Supervised("postgres", first.process, lambda: start_postgres(home).process)
        stack.callback(postgres.stop)
        settings = {
            "DATABASE_URL": first.dsn,
            "SYNCHRONOUS_COMMIT": "on" if arrangement.durable else "off",
        }
        yield stack.enter_context(
            _shop(arrangement, stage, logs, dealer_seconds, settings, postgres)
        )


@contextmanager
def _shop(
    arrangement: Arrangement,
    stage: Stage,
    logs: Path,
    dealer_seconds: float,
    settings: Mapping[str, str],
    queue: Supervised,
) -> Generator[Scene]:
    """The API and the worker on a queue that is up, the dealer and the receiver around them."""
    secrets = str(stage.folder / "secrets.json")
    with (
        ExitStack() as stack,
        around(logs, ["loadtests.receiver", "--secrets", secrets], dealer_seconds) as (
            others,
            upstream,
            receiver,
        ),
    ):
        environment = {
            **settings,
            **arrangement.tuning,
            "HTTP_CLIENT": arrangement.http_client,
            "UPSTREAM_URL": upstream,
            "RECEIVER_URL": receiver,
            "RESELLERS": str(_write_resellers(stage, logs)),
        }
        if "DATABASE_URL" in settings:
            _make_tables(arrangement, environment, logs)
        port = free_port(logs)
        api = supervise(
            API,
            partial(
                spawn_program,
                _uvicorn(arrangement, port),
                environment,
                logs / "api.log",
            ),
        )
        stack.callback(api.stop)
        worker = supervise(
            WORKER,
            partial(
                spawn_program,
                [str(arrangement.python), "-m", arrangement.module, "work"],
                environment,
                logs / "worker.log",
            ),
        )
        stack.callback(worker.stop)
        wait_for_port(port, api, logs / "api.log")
        yield Scene(
            orders_url=f"http://{HOST}:{port}/v1/orders",
            kind="order",
            tokens=[buyer.token for buyer in stage.buyers],
            receiver_url=receiver,
            read_book=partial(read_book, upstream),
            supervised={each.name: each for each in (api, worker, queue)},
            around=others,
        )


def _uvicorn(arrangement: Arrangement, port: int) -> list[str]:
    """One process, on uvloop and httptools, without an access log."""
    application = f"{arrangement.module}:app"
    quiet = ["--no-access-log", "--log-level", "warning"]
    # Longer than a slow peer lets a connection wait for its next order.
    patient = ["--timeout-keep-alive", "60"]
    fast = ["--loop", "uvloop", "--http", "httptools"]
    where = ["--host", HOST, "--port", str(port)]
    return [str(arrangement.python), "-m", "uvicorn", application, *where, *fast, *quiet, *patient]


def _make_tables(arrangement: Arrangement, environment: Mapping[str, str], logs: Path) -> None:
    command = [str(arrangement.python), "-m", arrangement.module, "schema"]
    process = spawn_program(command, environment, logs / "schema.log")
    try:
        failed = process.wait(_SCHEMA_SECONDS) != 0
    except subprocess.TimeoutExpired:
        process.kill()
        failed = True
    if failed:
        words = (logs / "schema.log").read_text()[-2000:]
        raise LoadTestFailure(f"the tables of {arrangement.program} cannot be made: {words}")


def _write_resellers(stage: Stage, logs: Path) -> Path:
    """The resellers' keys and secrets, for nobody but the peer."""
    path = logs / "resellers.json"
    path.touch(0o600)
    resellers = [{"key": each.token, "secret": each.webhook_secret} for each in stage.buyers]
    path.write_text(json.dumps(resellers))
    return path


def _append_only(home: Path) -> str:
    """Valkey's settings for a log that is on disk before a write is answered."""
    kept = home / "kept"
    kept.mkdir(exist_ok=True)
    give_to_server(kept)
    lines: Sequence[str] = ('save ""', "appendonly yes", "appendfsync always", f"dir {kept}")
    return "\n".join([*lines, ""])
