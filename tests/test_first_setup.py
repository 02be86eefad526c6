"""The first setup as its page tells it: the page's own commands, run on an empty database."""

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest

from app.embedded.postgres import RunningPostgres
from app.embedded.valkey import RunningValkey
from tests.ports import free_port

PAGE = Path(__file__).parent.parent / "docs" / "first-setup.md"
_BLOCK = re.compile(r"```(\w+)\n(.*?)```\n", re.DOTALL)
_FILE = re.compile(r"[Ff]ile `([\w.]+)`")
_MARK = "=== block "
_PRICE = 10_800
_DEPOSIT = 1_000_000
_PAGE_SECONDS = 240
"""How long the page may take on a busy machine before it hangs: it waits for outcomes in loops."""

pytestmark = pytest.mark.timeout(_PAGE_SECONDS + 60)


class Outcome:
    """What the page's commands printed, a text a block."""

    def __init__(self, commands: list[str], printed: list[str], folder: Path) -> None:
        self._printed = list(zip(commands, printed, strict=True))
        self.folder = folder

    def of(self, command: str) -> str:
        """What the one block with this in it printed."""
        (found,) = [printed for block, printed in self._printed if command in block]
        return found

    def answer(self, command: str) -> Any:
        """What that block printed, read as JSON."""
        return json.loads(self.of(command))


def commands_of(page: str) -> list[str]:
    """The page as blocks of bash; a file that it shows becomes the writing of that file."""
    blocks: list[str] = []
    before = 0
    for shown in _BLOCK.finditer(page):
        language, content = shown.groups()
        if language == "sh":
            blocks.append(content)
        else:
            named = _FILE.findall(page[before : shown.start()])
            assert named, f"no file name above {content}"
            blocks.append(f"cat > {named[-1]} <<'END'\n{content}END\n")
        before = shown.end()
    return blocks


def run_page(commands: list[str], folder: Path, environment: dict[str, str]) -> list[str]:
    """Run the blocks in one bash that stops at the first failure; what each printed."""
    marked = [f"printf '\\n{_MARK}%s\\n' {n}\n{block}" for n, block in enumerate(commands)]
    with subprocess.Popen(
        ["/bin/bash", "-euo", "pipefail", "-c", "\n".join(marked)],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as bash:
        try:
            printed, complaints = bash.communicate(timeout=_PAGE_SECONDS)
        except subprocess.TimeoutExpired:
            _end_group(bash.pid)
            printed, complaints = bash.communicate()
        finally:
            _end_group(bash.pid)
    assert bash.returncode == 0, f"{printed}\n{complaints}"
    return re.split(rf"\n{_MARK}\d+\n", printed)[1:]


def _end_group(leader: int) -> None:
    try:
        os.killpg(leader, signal.SIGKILL)
    except ProcessLookupError:
        return


async def _create_database(dsn: str, name: str) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(f"create database {name}")
    finally:
        await connection.close()


@pytest.fixture(scope="module")
def outcome(
    postgres: RunningPostgres, valkey: RunningValkey, tmp_path_factory: pytest.TempPathFactory
) -> Outcome:
    """The page, done once on a database that nobody has migrated."""
    asyncio.run(_create_database(postgres.dsn, "first_setup"))
    programs = Path(sys.executable).parent
    ports = ("JALUR_PORT", "SIMULATOR_PORT", "RECEIVER_PORT")
    environment = {
        "PATH": f"{programs}:{os.environ['PATH']}",
        "HOME": os.environ.get("HOME", "/"),
        "DATABASE_URL": urlunsplit(urlsplit(postgres.dsn)._replace(path="/first_setup")),
        "REDIS_URL": valkey.url,
        "JALUR_DRAIN_SECONDS": "0",
        **{name: str(free_port()) for name in ports},
    }
    folder = tmp_path_factory.mktemp("first-setup")
    commands = commands_of(PAGE.read_text())
    return Outcome(commands, run_page(commands, folder, environment), folder / "first-shop")


def test_the_page_uses_no_sql_and_names_every_file_before_it_is_read():
    page = PAGE.read_text()
    assert not re.search(r"\b(psql|select|insert|update)\b", page, re.IGNORECASE)
    written: set[str] = set()
    for block in commands_of(page):
        written.update(re.findall(r"cat > (\S+) <<", block))
        assert set(re.findall(r"\b[a-z]+\.(?:csv|json)\b", block)) <= written | {"endpoint.json"}


def test_the_order_is_delivered_charged_once_and_told(outcome: Outcome):
    assert "HTTP/1.1 202" in outcome.of('"ref_id": "INV-1001"')
    (order,) = outcome.answer("""grep '"status":"succeeded"'""")["data"]
    assert (order["price"], order["cluster"]) == (_PRICE, "jabar")
    assert order["serial_number"]
    (delivered,) = outcome.answer("/book")
    assert (delivered["dealer"], delivered["reversed_at"]) == ("beta", None)
    received = outcome.answer("/received")
    assert [event["type"] for event in received["verified"]] == ["order.succeeded"]
    assert received["refused"] == 0
    balance = outcome.answer("/v1/balance")
    assert (balance["available"], balance["reserved"]) == (_DEPOSIT - _PRICE, 0)
    kinds = [entry["kind"] for entry in outcome.answer("/v1/ledger")["data"]]
    assert kinds == ["capture", "reserve", "deposit"]


def test_the_ledger_verifies_and_the_choice_is_explained(outcome: Outcome):
    assert outcome.of("ledger verify").strip() == "The ledger adds up."
    assert "beta serves for Rp 10,250: the cheapest" in outcome.of("explain --sku S10")
    assert re.search(r"beta +10,250 +1 +chosen", outcome.of("explain --order"))


def test_the_audit_log_has_a_line_for_every_act(outcome: Outcome):
    lines = re.findall(r"^[\d-]{10} [\d:]{8} (\S+) ", outcome.of("audit list"), re.MULTILINE)
    assert lines[::-1] == [
        "products.put",
        "prices.put",
        "regions.put",
        "dealer.added",
        "dealer.added",
        "routes.applied",
        "reseller.added",
        "key.added",
        "deposit.booked",
        "operator.added",
    ]


def test_what_the_page_says_is_printed_is_printed(outcome: Outcome):
    """Each line that the page shows under a block; an ellipsis stands for whatever is there."""
    page = PAGE.read_text()
    shows = 0
    for shown in re.finditer(r"```sh\n([^`]*)```\n\n((?:    .*\n)+)", page):
        printed = outcome.of(shown[1])
        for line in shown[2].splitlines():
            assert re.search(".*".join(map(re.escape, line.strip().split("…"))), printed), line
            shows += 1
    assert shows


def test_the_folder_with_the_secrets_is_its_owners_alone(outcome: Outcome):
    assert outcome.folder.stat().st_mode & 0o077 == 0


def test_serving_ended_in_order(outcome: Outcome):
    last = (outcome.folder / "jalur.log").read_text().splitlines()[-1]
    assert json.loads(last)["event"] == "service.stopped"
