"""The demo's stage: a folder, embedded servers, the dealer simulator and the webhook receiver.

Everything is kept in the folder, ports included, so that a demo that was killed goes on where it
was: the simulator's book and what the receiver verified survive like the database does.
"""

import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from app.embedded.folder import choose_port, closed_to_server, is_free, keep, prepare
from app.embedded.launcher import EmbeddedServerError, stop
from app.embedded.postgres import start_postgres
from app.embedded.valkey import start_valkey
from app.sealing import generate_key

_HOST = "127.0.0.1"
_START_SECONDS = 20.0
_PORT_SECONDS = 5.0
_POLL_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Stage:
    """Where everything is. Addresses are base URLs without a slash at the end."""

    folder: Path
    database_url: str
    redis_url: str
    secret_key: str
    simulator_url: str
    receiver_url: str


@dataclass(frozen=True, slots=True)
class Handout:
    """What `demo.json` tells whoever wants to use the demo."""

    base_url: str
    api_key: str
    admin_token: str
    reseller_id: str
    webhook_secret: str
    simulator_url: str
    receiver_url: str

    def write(self, folder: Path) -> Path:
        """Write `demo.json`, readable by its owner only."""
        path = folder / "demo.json"
        keep(path, json.dumps(asdict(self), indent=2) + "\n")
        return path


def read_handout(folder: Path) -> Handout | None:
    """The handout of an earlier run in this folder, or None."""
    try:
        return Handout(**json.loads((folder / "demo.json").read_text()))
    except (OSError, ValueError, TypeError):
        return None


def usable_folder(wanted: Path | None) -> Path:
    """The folder to use: the one wanted, else `.jalur` here, else one that servers can reach."""
    if wanted is not None:
        return wanted.absolute()
    here = Path.cwd()
    if closed_to_server(here) is None:
        return here / ".jalur"
    return Path("/var/tmp") / "jalur-demo"  # noqa: S108 - root's own: 0755, secrets in it 0600


@contextmanager
def set_stage(
    folder: Path,
    simulator_config: "dict[str, object]",
    ports: "Ports",
    programs: "Programs",
) -> Generator[Stage]:
    """Start everything that is not Jalur itself; stop it all on leaving.

    Must be called in the main thread. Raises EmbeddedServerError, with what to do.
    """
    with ExitStack() as running:
        postgres = running.enter_context(start_postgres(folder, bin_dir=programs.postgres))
        valkey = running.enter_context(start_valkey(folder, bin_dir=programs.valkey))
        config = folder / "simulator.json"
        keep(config, json.dumps(simulator_config))
        simulator = ["dealers.simulator", "--config", str(config), "--state-dir", str(folder)]
        receiver = ["app.cli.receiver", "--state-dir", str(folder)]
        yield Stage(
            folder,
            postgres.dsn,
            valkey.url,
            _secret_key(folder),
            running.enter_context(_helper(simulator, ports.simulator, folder)),
            running.enter_context(_helper(receiver, ports.receiver, folder)),
        )


@dataclass(frozen=True, slots=True)
class Programs:
    """Folders of the servers' programs; None: those of the wheels or of the machine."""

    postgres: Path | None
    valkey: Path | None


@dataclass(frozen=True, slots=True)
class Ports:
    """The ports of the two helpers: free ones, the same as in the run before where possible."""

    simulator: int
    receiver: int


def choose_ports(folder: Path) -> Ports:
    """Choose the helpers' ports and keep them in the folder."""
    return Ports(
        _same_port(prepare(folder) / "simulator.port"), _same_port(folder / "receiver.port")
    )


def _same_port(kept: Path) -> int:
    """The port of the run before, given a moment to become free, else a new one."""
    deadline = time.monotonic() + _PORT_SECONDS
    while kept.exists() and time.monotonic() < deadline and not is_free(int(kept.read_text())):
        time.sleep(_POLL_SECONDS)
    port = choose_port(kept, None)
    keep(kept, str(port))
    return port


@contextmanager
def _helper(arguments: list[str], port: int, folder: Path) -> Generator[str]:
    """Run one of our own programs beside us; it ends with us, however we end."""
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        raise EmbeddedServerError("setpriv is missing: install util-linux")
    command = [setpriv, "--pdeathsig", "KILL", "--", sys.executable, "-m", *arguments]
    log = folder / f"{arguments[0].split('.')[-1]}.log"
    with log.open("ab") as errors:
        process = subprocess.Popen(  # noqa: S603 - our own programs, no shell
            [*command, "--port", str(port)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            start_new_session=True,
        )
    try:
        yield _address(process, arguments[0], log)
    finally:
        stop(process, signal.SIGTERM, _START_SECONDS)


def _address(process: "subprocess.Popen[bytes]", name: str, log: Path) -> str:
    """The address that the program prints once it answers."""
    line = process.stdout.readline() if process.stdout else b""
    try:
        return json.loads(line)["listening"]
    except (ValueError, KeyError):
        raise EmbeddedServerError(f"{name} did not start; {log} says why") from None


def _secret_key(folder: Path) -> str:
    path = folder / "secret.key"
    if not path.exists():
        keep(path, generate_key())
    return path.read_text().strip()
