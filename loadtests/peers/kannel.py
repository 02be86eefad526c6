"""Kannel put up: messages in over HTTP, out to the dealer over HTTP, reports back over HTTP.

Debian has it as `kannel`. It is a gateway for messages and not for money: it keeps no ledger,
checks no price, and does not choose a dealer. What it spools it never forces to disk.
"""

import shutil
import signal
import subprocess
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

from app.embedded.folder import HOST, give_to_server, prepare
from app.embedded.launcher import spawn
from loadtests.asking import SMS_PASSWORD, SMS_USER
from loadtests.peers.peer import Scene, around, read_book
from loadtests.peers.processes import Supervised, free_port, supervise, wait_for_port
from loadtests.programs import LoadTestFailure
from loadtests.stage import Stage

BEARERBOX, SMSBOX = "bearerbox", "smsbox"
PACKAGE = "kannel"
_SEARCH_PATH = "/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin"
_PANIC_LEVEL = "4"
_PENDING_SUBMITS = 64
"""To the dealer at once. With 10, Kannel's default, and with 512 it was no faster."""
_PENDING_REQUESTS = 512
"""Between the two daemons, and of those who send."""

_CONFIG = """\
group = core
admin-port = {admin}
admin-interface = {host}
admin-password = load
smsbox-port = {boxes}
smsbox-interface = {host}
box-allow-ip = {host}
log-level = {log_level}
sms-resend-freq = 1
smsbox-max-pending = {requests}
dlr-storage = internal
{store}

group = smsc
smsc = http
smsc-id = dealer
system-type = generic
port = {unused}
connect-allow-ip = {host}
send-url = "{upstream}/messages?to=%P&text=%b"
status-success-regex = "Sent"
max-pending-submits = {pending}

group = smsbox
bearerbox-host = {host}
sendsms-port = {door}
sendsms-interface = {host}
global-sender = jalur
log-level = {log_level}
max-pending-requests = {requests}
http-request-retry = 5
http-queue-delay = 1

group = sendsms-user
username = {user}
password = {password}
user-allow-ip = {host}
max-messages = 1
"""
_SPOOL = """store-type = spool
store-location = {folder}
"""


def is_installed() -> bool:
    """Whether both of its daemons are here."""
    return None not in (_program(BEARERBOX), _program(SMSBOX))


@contextmanager
def running(stage: Stage, logs: Path, dealer_seconds: float, *, spooled: bool) -> Generator[Scene]:
    """Kannel with its spool or without a store; the dealer and the receiver around it."""
    home = prepare(logs / "kannel")
    give_to_server(home)
    door, boxes = free_port(home), free_port(home)
    with (
        ExitStack() as stack,
        around(logs, ["loadtests.peers.listener"], dealer_seconds) as (others, upstream, receiver),
    ):
        config = home / "kannel.conf"
        config.write_text(
            _CONFIG.format(
                host=HOST,
                admin=free_port(home),
                boxes=boxes,
                unused=free_port(home),
                door=door,
                store=_SPOOL.format(folder=_spool(home)) if spooled else "",
                upstream=upstream,
                user=SMS_USER,
                password=SMS_PASSWORD,
                pending=_PENDING_SUBMITS,
                requests=_PENDING_REQUESTS,
                log_level=_PANIC_LEVEL,
            )
        )
        supervised: dict[str, Supervised] = {}
        for name, port in ((BEARERBOX, boxes), (SMSBOX, door)):
            log = home / f"{name}.log"
            supervised[name] = supervise(name, partial(_spawn, name, config, log))
            stack.callback(supervised[name].stop)
            wait_for_port(port, supervised[name], log)
        yield Scene(
            orders_url=f"http://{HOST}:{door}/cgi-bin/sendsms",
            kind="sendsms",
            tokens=[buyer.token for buyer in stage.buyers],
            receiver_url=receiver,
            read_book=partial(read_book, upstream),
            supervised=supervised,
            around=others,
        )


def _spawn(name: str, config: Path, log: Path) -> "subprocess.Popen[bytes]":
    program = _program(name)
    if program is None:
        raise LoadTestFailure(f"{name} is missing: apt-get install {PACKAGE}")
    arguments = ["-v", _PANIC_LEVEL, str(config)]
    return spawn(program, arguments, log=log, death_signal=signal.SIGKILL)


def _spool(home: Path) -> Path:
    folder = home / "spool"
    folder.mkdir()
    give_to_server(folder)
    return folder


def _program(name: str) -> Path | None:
    found = shutil.which(name, path=_SEARCH_PATH)
    return Path(found) if found else None
