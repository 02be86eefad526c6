"""The peer of the routing engine: Kamailio's `lcr` module, asked over JSON-RPC and HTTP.

Least-cost routing of telephone calls is the same question: for a number's prefix, which gateways
in order of priority. Debian has it as `kamailio` and `kamailio-sqlite-modules`.
"""

import asyncio
import shutil
import signal
import socket
import sqlite3
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import orjson

from app.embedded.folder import HOST, choose_port, give_to_server
from app.embedded.launcher import RunningServer, spawn, wait_until
from loadtests.caller import Caller, request_head
from loadtests.programs import LoadTestFailure, cpu_seconds
from loadtests.routing_table import CANDIDATES, Question, sku

_SCHEMA = Path("/usr/share/kamailio/db_sqlite/lcr-create.sql")
_WORKERS = 2
_START_SECONDS = 120.0
_ANSWER_SECONDS = 30.0
_CHECKED = 64
_SEARCH_PATH = "/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin"

_CONFIG = """#!KAMAILIO
debug=0
log_stderror=yes
children=1
tcp_children={workers}
tcp_accept_no_cl=yes
tcp_connection_lifetime=3600
auto_aliases=no
listen=tcp:{host}:{port}
loadmodule "db_sqlite.so"
loadmodule "tm.so"
loadmodule "sl.so"
loadmodule "pv.so"
loadmodule "xhttp.so"
loadmodule "jsonrpcs.so"
loadmodule "lcr.so"
modparam("jsonrpcs", "transport", 1)
modparam("lcr", "db_url", "sqlite://{database}")
modparam("lcr", "lcr_rule_hash_size", {hash_size})
modparam("lcr", "gw_uri_avp", "$avp(i:1)")
modparam("lcr", "ruri_user_avp", "$avp(i:2)")
request_route {{ exit; }}
event_route[xhttp:request] {{ jsonrpc_dispatch(); }}
"""
_VERSIONS = "CREATE TABLE version (table_name VARCHAR(32), table_version INTEGER);"
_GATEWAY = (
    "INSERT INTO lcr_gw (id, lcr_id, gw_name, ip_addr, port, uri_scheme, transport)"
    " VALUES (?, 1, ?, ?, 5060, 1, 1)"
)
_RULE = "INSERT INTO lcr_rule (id, lcr_id, prefix, stopper) VALUES (?, 1, ?, 1)"
_TARGET = "INSERT INTO lcr_rule_target (lcr_id, rule_id, gw_id, priority) VALUES (1, ?, ?, ?)"


@dataclass(frozen=True, slots=True)
class Peer(RunningServer):
    """A Kamailio that answers for a table of so many rules."""

    rules: int
    load_seconds: float
    """From its start to its first answer."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What some seconds of asking found."""

    answers: int
    seconds: float
    peer_cpu_seconds: float
    faults: Sequence[str]


def why_absent() -> str | None:
    """Why the peer cannot be measured on this machine; None where it can."""
    if _program() is None or not _SCHEMA.exists():
        return "Kamailio is absent: apt-get install kamailio kamailio-sqlite-modules"
    return None


@contextmanager
def running_peer(folder: Path, rules: int) -> Generator[Peer]:
    """Fill a database with the table's equivalent and run Kamailio on it, as nobody if by root.

    Call it in the main thread. Raises LoadTestFailure.
    """
    program = _program()
    if program is None:
        raise LoadTestFailure(why_absent() or "Kamailio is absent")
    home = folder / f"kamailio-{rules}"
    home.mkdir()
    give_to_server(home)
    database, config, log = home / "lcr.db", home / "kamailio.cfg", home / "kamailio.log"
    _fill(database, rules)
    port = choose_port(home / "no.port", None)
    config.write_text(
        _CONFIG.format(
            workers=_WORKERS,
            host=HOST,
            port=port,
            database=database,
            # As many places as rules, so that hardly two of them share one.
            hash_size=1 << rules.bit_length(),
        )
    )
    # Memory in MiB that it may take, shared and of each process; what is not needed is not taken.
    memory = ["-m", "2048", "-M", "2048"]
    stay, talk = ["-DD"], ["-E"]
    arguments = ["-f", str(config), "-Y", str(home), *stay, *talk, *memory]
    started = time.perf_counter()
    process = spawn(program, arguments, log=log, death_signal=signal.SIGTERM)
    with RunningServer(process, port):
        if not wait_until(lambda: _listens(port), process, _START_SECONDS):
            raise LoadTestFailure(f"Kamailio did not start: {log.read_text()[-2000:]}")
        yield Peer(process, port, rules, time.perf_counter() - started)


async def check(peer: Peer, asked: Sequence[Question]) -> list[str]:
    """What is wrong with its answers: every product's gateways, the cheapest first."""
    faults: list[str] = []
    with closing(Caller(_url(peer), _ANSWER_SECONDS)) as caller:
        for inquiry, _ in asked[:_CHECKED]:
            heard = await caller.ask(_request(peer, inquiry.sku))
            found = [gateway["gw_id"] for gateway in orjson.loads(heard.body).get("result", [])]
            if found != _gateways(int(inquiry.sku)):
                faults.append(f"Kamailio names gateways {found} for {inquiry.sku}")
    return faults


async def ask(
    peer: Peer, asked: Sequence[Question], connections: int, seconds: float, *, lcr: bool = True
) -> Asked:
    """Ask it on so many connections, each asking anew once it is answered.

    Without `lcr` the question is for its version: what HTTP and JSON-RPC cost by themselves.
    """
    requests = [_request(peer, each.sku if lcr else None) for each, _ in asked]
    remaining, deadline = _endless(requests), time.perf_counter() + seconds
    started, cpu_started = time.perf_counter(), cpu_seconds(peer.process.pid)
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(_ask_all(peer, remaining, deadline)) for _ in range(connections)]
    took = time.perf_counter() - started
    used = cpu_seconds(peer.process.pid) - cpu_started
    refused = sum(task.result()[1] for task in tasks)
    faults = [f"Kamailio answered {refused} questions without a result"] if refused else []
    return Asked(sum(task.result()[0] for task in tasks), took, used, faults)


async def _ask_all(peer: Peer, remaining: Iterator[bytes], deadline: float) -> tuple[int, int]:
    """How many answers came on one connection, and how many of them bore no result."""
    answers = refused = 0
    with closing(Caller(_url(peer), _ANSWER_SECONDS)) as caller:
        for request in remaining:
            heard = await caller.ask(request)
            answers += 1
            refused += b'"result"' not in heard.body
            if time.perf_counter() > deadline:
                break
    return answers, refused


def _endless(requests: Sequence[bytes]) -> Iterator[bytes]:
    while True:
        yield from requests


def _request(peer: Peer, wanted: str | None) -> bytes:
    if wanted is None:
        call: dict[str, object] = {"jsonrpc": "2.0", "id": 1, "method": "core.version"}
    else:
        call = {"jsonrpc": "2.0", "id": 1, "method": "lcr.load_gws", "params": [1, wanted]}
    body = orjson.dumps(call)
    head = request_head("POST", _url(peer), content_type="application/json")
    return b"%bcontent-length: %d\r\n\r\n%b" % (head, len(body), body)


def _url(peer: Peer) -> str:
    return f"http://{HOST}:{peer.port}/RPC"


def _fill(database: Path, rules: int) -> None:
    """Each product a prefix of full length, each dealer a gateway, each rank a priority."""
    with closing(sqlite3.connect(database)) as connection:
        connection.executescript(_VERSIONS + _SCHEMA.read_text())
        gateways = ((each, f"gw{each}", f"10.0.0.{each}") for each in range(1, CANDIDATES + 1))
        connection.executemany(_GATEWAY, gateways)
        connection.executemany(_RULE, ((number + 1, sku(number)) for number in range(rules)))
        connection.executemany(_TARGET, _targets(rules))
        connection.commit()
    give_to_server(database)


def _targets(rules: int) -> Iterator[tuple[int, int, int]]:
    for number in range(rules):
        for rank, gateway in enumerate(_gateways(number)):
            yield number + 1, gateway, rank


def _gateways(product: int) -> list[int]:
    return [(product + rank) % CANDIDATES + 1 for rank in range(CANDIDATES)]


def _listens(port: int) -> bool:
    """It listens once its table is loaded."""
    try:
        with socket.create_connection((HOST, port), timeout=1):
            return True
    except OSError:
        return False


def _program() -> Path | None:
    found = shutil.which("kamailio", path=_SEARCH_PATH)
    return Path(found) if found else None
