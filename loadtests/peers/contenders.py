"""The peers by name, those that are installed and those that are left out."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from loadtests.peers import environment, jalur, kannel, python_peers
from loadtests.peers.peer import Peer
from loadtests.peers.python_peers import Arrangement

_ARQ_PATIENCE_SECONDS = 25.0
"""A job of a dead worker is taken up again after twenty."""
_PROCRASTINATE_PATIENCE_SECONDS = 20.0
"""After ten without a sign of life, looked for every five."""
_KANNEL_PATIENCE_SECONDS = 15.0
"""Kannel's smsbox takes ten to notice that its bearerbox has gone, and to end."""
_JALUR_PATIENCE_SECONDS = 120.0
"""A purchase that was under way is asked about once its lease of ninety is over."""

JALUR = Peer(
    name="jalur",
    what="`jalur serve`, killed and started again in the same way",
    staging=jalur.running,
    worker=jalur.SERVICE,
    keeper="postgres",
    patience_seconds=_JALUR_PATIENCE_SECONDS,
)
NAMES = (
    "arq-httpx-durable",
    "arq-httpx-volatile",
    "arq-aiohttp-durable",
    "arq-aiohttp-volatile",
    "procrastinate-durable",
    "procrastinate-volatile",
    "kannel-durable",
    "kannel-volatile",
    JALUR.name,
)


@dataclass(frozen=True, slots=True)
class Found:
    """Who can be measured on this machine."""

    contenders: Sequence[Peer]
    left_out: Sequence[str]
    """One line each: which, and why."""


def find(cache: Path, *, install: bool) -> Found:
    """All contenders; with `install` what is missing is installed where that is possible."""
    contenders: list[Peer] = []
    left_out: list[str] = []
    why = "their packages are not installed: --install"
    if install and environment.python_of(cache) is None:
        why = environment.install_packages(cache)
    if (python := environment.python_of(cache)) is not None:
        contenders += _python_peers(python)
    else:
        left_out.append(f"arq and procrastinate: {why}")
    why = "it is not installed: --install"
    if install and not kannel.is_installed():
        why = environment.install_kannel()
    if kannel.is_installed():
        contenders += _kannels()
    else:
        left_out.append(f"kannel: {why}")
    return Found([*contenders, JALUR], left_out)


def _python_peers(python: Path) -> list[Peer]:
    return [
        *(
            _arq(python, client, durable=each)
            for client in ("httpx", "aiohttp")
            for each in (True, False)
        ),
        *(_procrastinate(python, durable=each) for each in (True, False)),
    ]


# Tried: 5 to 100 jobs at once, one to three workers. More workers than one cost more than they
# bring where two cores are shared with the API, the queue's server, the dealer and the client.
_ARQ = {"AT_ONCE": "100", "READ_LIMIT": "500"}
_PROCRASTINATE = {"AT_ONCE": "30", "CONNECTIONS": "10"}


def _arq(python: Path, client: str, *, durable: bool) -> Peer:
    kept = "Valkey's log on disk before each answer" if durable else "Valkey in memory only"
    arrangement = Arrangement(python, "arq_shop", client, durable, _ARQ)
    return Peer(
        name=f"arq-{client}-{'durable' if durable else 'volatile'}",
        what=f"FastAPI, arq and {client}, {kept}",
        staging=partial(python_peers.on_valkey, arrangement),
        worker=python_peers.WORKER,
        keeper="valkey",
        patience_seconds=_ARQ_PATIENCE_SECONDS,
    )


def _procrastinate(python: Path, *, durable: bool) -> Peer:
    kept = "PostgreSQL with synchronous_commit " + ("on" if durable else "off")
    arrangement = Arrangement(
        python, "procrastinate_shop", "aiohttp", durable, tuning=_PROCRASTINATE
    )
    return Peer(
        name=f"procrastinate-{'durable' if durable else 'volatile'}",
        what=f"FastAPI, procrastinate and aiohttp, {kept}",
        staging=partial(python_peers.on_postgres, arrangement),
        worker=python_peers.WORKER,
        keeper="postgres",
        patience_seconds=_PROCRASTINATE_PATIENCE_SECONDS,
    )


def _kannels() -> list[Peer]:
    return [_kannel(spooled=True), _kannel(spooled=False)]


def _kannel(*, spooled: bool) -> Peer:
    kept = "a spool that it never forces to disk" if spooled else "no store"
    return Peer(
        name=f"kannel-{'durable' if spooled else 'volatile'}",
        what=f"Kannel, {kept}",
        staging=partial(kannel.running, spooled=spooled),
        worker=kannel.BEARERBOX,
        keeper=None,
        patience_seconds=_KANNEL_PATIENCE_SECONDS,
    )
