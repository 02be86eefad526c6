"""The stage of all scenarios: one PostgreSQL, one Valkey, and the programs around the service."""

import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import Generator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from urllib.request import urlopen

import uvloop

from app.embedded.folder import choose_port, prepare
from app.embedded.postgres import RunningPostgres, start_postgres
from app.embedded.valkey import RunningValkey, start_valkey
from app.sealing import generate_key
from loadtests import shop
from loadtests.programs import LoadTestFailure, Program, running
from loadtests.shop import Addresses, Buyer, DealerManner

BUYERS = 1000
_START_SECONDS = 60.0
_POLL_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Stage:
    """What every scenario uses."""

    folder: Path
    postgres: RunningPostgres
    valkey: RunningValkey
    addresses: Addresses
    secret_key: str = field(repr=False)
    buyers: list[Buyer] = field(repr=False)


@contextlib.contextmanager
def data_folder(wanted: Path | None) -> Generator[Path]:
    """The folder wanted, kept; else a new one, gone afterwards.

    The new one lies in `/var/tmp`, because `/tmp` may be memory, where a commit costs nothing.
    """
    if wanted is not None:
        if wanted.exists() and any(wanted.iterdir()):
            raise LoadTestFailure(f"{wanted} is not empty: choose a new folder with --data-dir")
        yield prepare(wanted)
        return
    made = Path(tempfile.mkdtemp(prefix="jalur-load-", dir="/var/tmp"))
    made.chmod(0o755)
    try:
        yield made
    finally:
        shutil.rmtree(made)


@contextlib.contextmanager
def set_stage(folder: Path, buyer_count: int = BUYERS) -> Generator[Stage]:
    """Start the servers and furnish the shop. Call it in the main thread."""
    service, simulator, receiver = (f"http://127.0.0.1:{_free_port(folder)}" for _ in range(3))
    addresses = Addresses(service, simulator, receiver)
    secret_key = generate_key()
    with start_postgres(folder) as postgres, start_valkey(folder) as valkey:
        buyers = uvloop.run(shop.create(postgres.dsn, secret_key, addresses, buyer_count))
        shop.write_simulator_config(folder / "simulator.json", addresses)
        shop.write_secrets(folder / "secrets.json", buyers)
        yield Stage(folder, postgres, valkey, addresses, secret_key, buyers)


@contextlib.contextmanager
def service(
    stage: Stage,
    dsn: str,
    commands: Mapping[str, tuple[str, ...]],
    logs: Path,
    settings: Mapping[str, str] | None = None,
) -> Generator[list[Program]]:
    """Run the service's processes until the block ends; ready when it begins.

    Settings are the defaults for production, except that webhooks may go to this machine, without
    TLS, that a stop waits for no load balancer, and for those given, by their variables. Raises
    LoadTestFailure.
    """
    with ExitStack() as stack:
        programs = [
            stack.enter_context(
                running(
                    name,
                    ["app", *command],
                    logs,
                    environment(stage, dsn) | dict(settings or {}),
                    log_output=True,
                )
            )
            for name, command in commands.items()
        ]
        for program, command in zip(programs, commands.values(), strict=True):
            _wait_until_ready(program, None if command[0] == "worker" else stage.addresses.service)
        yield programs


def environment(stage: Stage, dsn: str) -> dict[str, str]:
    """The service's environment on this stage and a database."""
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "DATABASE_URL": dsn,
        "REDIS_URL": stage.valkey.url,
        "JALUR_SECRET_KEY": stage.secret_key,
        "JALUR_PORT": stage.addresses.service.rpartition(":")[2],
        "JALUR_WEBHOOK_ALLOW": "127.0.0.0/8",
        "JALUR_WEBHOOK_ALLOW_HTTP": "true",
    }


@contextlib.contextmanager
def outside(
    stage: Stage, logs: Path, manner: DealerManner | None = None
) -> Generator[list[Program]]:
    """Run the simulated dealers and the resellers' receiver until the block ends."""
    config, secrets = str(stage.folder / "simulator.json"), str(stage.folder / "secrets.json")
    if manner is not None:
        config = str(logs / "simulator.json")
        shop.write_simulator_config(Path(config), stage.addresses, manner)
    simulator_port = stage.addresses.simulator.rpartition(":")[2]
    receiver_port = stage.addresses.receiver.rpartition(":")[2]
    simulator = ["dealers.simulator", "--config", config, "--port", simulator_port]
    receiver = ["loadtests.receiver", "--secrets", secrets, "--port", receiver_port]
    with (
        running("simulator", simulator, logs) as sells,
        running("receiver", receiver, logs) as hears,
    ):
        sells.read_line()
        hears.read_line()
        yield [sells, hears]


def _wait_until_ready(program: Program, base_url: str | None) -> None:
    """Until it says `service.started` and, where it serves HTTP, answers that it is ready."""
    deadline = time.monotonic() + _START_SECONDS
    while program.process.poll() is None and time.monotonic() < deadline:
        if program.has_said("service.started") and (base_url is None or _is_ready(base_url)):
            return
        time.sleep(_POLL_SECONDS)
    raise LoadTestFailure(f"{program.name} does not get ready: {program.last_words()}")


def _is_ready(base_url: str) -> bool:
    try:
        with urlopen(f"{base_url}/readyz", timeout=_START_SECONDS):
            return True
    except OSError:  # refusals of the server's are of this kind too
        return False


def _free_port(folder: Path) -> int:
    return choose_port(folder / "no.port", None)
