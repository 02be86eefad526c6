"""The commands that change the routing table, as they are typed."""

import asyncio
import codecs
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from click.testing import Result
from typer.testing import CliRunner

from app.__main__ import cli
from app.errors import JalurError
from tests.dealers.simulator.simulators import RunningSimulator, configuration, simulator
from tests.past import place
from tests.shops import ALFA, BRAVO, NOBODY, SECRET_KEY, Seller, furnish

HEADER = "sku,cluster,dealer,dealer_sku,cost,enabled,hours,valid_from,valid_until"
ALFAS, BRAVOS = "TRI5,,alfa,S5,5000,true,,,", "TRI5,,bravo,S5,5100,true,,,"


class Terminal:
    """Somebody at a terminal in a folder with one sheet."""

    def __init__(self, dsn: str, folder: Path) -> None:
        self._environment = {"DATABASE_URL": dsn, "JALUR_SECRET_KEY": SECRET_KEY}
        self.file = folder / "routes.csv"

    def write(self, *lines: str, header: str = HEADER) -> str:
        self.file.write_text("\n".join([header, *lines, ""]))
        return str(self.file)

    def type(self, *words: str) -> Result:
        return CliRunner().invoke(cli, words, env=self._environment)

    def ask(self, *words: str, status: int = 0) -> Any:
        """Run a command with `--json`; its last line."""
        done = self.type(*words, "--json")
        assert done.exit_code == status, done.output
        return json.loads(done.stdout.splitlines()[-1])

    def exported(self) -> str:
        return self.type("routes", "export").stdout


@pytest.fixture
def terminal(database_dsn: str, tmp_path: Path) -> Terminal:
    asyncio.run(furnish(database_dsn, [ALFA, BRAVO]))
    return Terminal(database_dsn, tmp_path)


def test_diff_apply_and_rollback_from_a_file(terminal: Terminal):
    before = terminal.exported()
    file = terminal.write("TRI5,,alfa,S5,4900,true,,,", BRAVOS)
    seen = terminal.type("routes", "diff", file)
    assert "changed: r-alfa: cost 5000 → 4900" in seen.stdout
    assert "tier standard: the margin of 1 products rises, of 0 falls, +100 rupiah" in seen.stdout
    told = terminal.ask("routes", "diff", file)
    assert (told["changed"], told["effect"]["tiers"][0]["summed_effect"]) == (1, 100)
    assert terminal.exported() == before
    done = terminal.ask("routes", "apply", file, "--expect-revision", str(told["revision"]))
    assert (done["revision"], done["version"]) == (told["revision"] + 1, 2)
    (newest, found) = terminal.ask("routes", "versions")["versions"]
    assert (newest["checksum"], newest["operator"][:4]) == (done["checksum_after"], "cli:")
    assert found["checksum"] == done["checksum_before"]
    assert terminal.type("routes", "export", "--version", "1").stdout == before
    back = terminal.ask("routes", "rollback", "--to", "1", "--reason", "a slip")
    assert (back["changed"], terminal.exported()) == (1, before)


def test_status_tells_which_table_is_in_force(terminal: Terminal):
    file = terminal.write(ALFAS, BRAVOS)
    revision = terminal.ask("routes", "apply", file)["revision"]
    told = terminal.ask("routes", "status")
    assert (told["revision"], told["routes"], told["products"]) == (revision, 2, 1)
    assert (told["compiling"], told["left_out"]) == (False, [])
    assert (
        f"revision {revision}: 2 routes of 1 products at 2 dealers"
        in terminal.type("routes", "status").stdout
    )


WRONG: list[tuple[str, list[str], list[str], list[str]]] = [
    ("a missing column", [HEADER.replace(",cost", "")], [ALFAS], ["line 1.cost: this column is"]),
    ("a price as text", [HEADER], [ALFAS.replace("5000", "five")], ["line 2.cost: 'five' is no"]),
    ("an unknown dealer", [HEADER], ["TRI5,,zulu,S,1,true,,,"], ["line 2.dealer: there is no"]),
    ("a line twice", [HEADER], [ALFAS, BRAVOS, ALFAS], ["line 4: ", "stand in line 2"]),
    ("thousands", [HEADER], [BRAVOS, ALFAS.replace("5000", "5.000")], ["line 3.cost", "5000"]),
]


@pytest.mark.parametrize("command", ["diff", "apply", "simulate"])
@pytest.mark.parametrize(
    ("header", "lines", "told"), [each[1:] for each in WRONG], ids=[each[0] for each in WRONG]
)
def test_what_is_wrong_is_told_line_by_line_and_changes_nothing(
    terminal: Terminal, command: str, header: list[str], lines: list[str], told: list[str]
):
    before = terminal.exported()
    file = terminal.write(*lines, header=header[0])
    refused = terminal.type("routes", command, file)
    assert refused.exit_code == 1
    for words in told:
        assert words in refused.stderr
    as_json = terminal.ask("routes", command, file, status=1)
    assert (as_json["code"], len(as_json["errors"])) == ("invalid-table", 1)
    assert terminal.exported() == before
    assert terminal.ask("routes", "versions") == {"versions": []}


async def _past_orders(dsn: str, count: int) -> None:
    owner = await asyncpg.connect(dsn)
    try:
        for number in range(count):
            await place(owner, datetime.now(UTC) - timedelta(hours=1 + number), number)
    finally:
        await owner.close()


def test_past_orders_are_simulated_on_a_draft(terminal: Terminal, database_dsn: str):
    asyncio.run(_past_orders(database_dsn, 4))
    before = terminal.exported()
    file = terminal.write(ALFAS, BRAVOS.replace("5100", "4900"))
    told = terminal.ask("routes", "simulate", file, "--since", "150m")
    assert (told["orders"]["replayed"], told["draft"]["moved"]) == (2, 2)
    assert (told["draft"]["cost"], told["draft"]["margin_difference"]) == (9800, 200)
    seen = terminal.type("routes", "simulate", file)
    assert seen.exit_code == 0
    assert "Replayed 4 orders" in seen.stdout
    assert "Draft against table in force: -400 rupiah of cost, +400 of margin." in seen.stdout
    lines = [line.split() for line in seen.stdout.splitlines()]
    assert ["cost,", "rupiah", "20,000", "20,000", "19,600"] in lines
    assert ["tri,", "no", "cluster", *("10,000 · alfa 100.00 % " * 2).split()] == next(
        line[:13] for line in lines if line[:1] == ["tri,"]
    )
    part = terminal.write(BRAVOS.replace("5100", "4800"))
    part_told = terminal.ask("routes", "simulate", part, "--dealer", "bravo")
    assert (part_told["changes"]["changed"], part_told["draft"]["cost"]) == (1, 19_200)
    alone = terminal.ask("routes", "simulate", "--since", "1d")
    assert (alone["draft"], alone["in_force"]["cost"]) == (None, 20_000)
    assert terminal.exported() == before


def test_orders_that_a_draft_has_no_route_for_are_told(terminal: Terminal, database_dsn: str):
    asyncio.run(_past_orders(database_dsn, 2))
    seen = terminal.type("routes", "simulate", terminal.write(ALFAS.replace("5000", "6001")))
    assert "2 orders without a route (loss-guard 2), most of them of TRI5 2" in seen.stdout
    nothing = terminal.type("routes", "simulate", "--until", "30h", "--since", "2d")
    assert "Replayed 0 orders" in nothing.stdout


def test_what_cannot_be_simulated_is_refused(terminal: Terminal):
    for words in (["--since", "32d"], ["--since", "soon"], ["--dealer", "alfa"]):
        refused = terminal.type("routes", "simulate", *words)
        assert isinstance(refused.exception, JalurError)


def test_a_spreadsheets_byte_order_mark_and_semicolons_are_taken(terminal: Terminal):
    content = "\r\n".join([HEADER, ALFAS, BRAVOS, ""]).replace(",", ";").encode()
    terminal.file.write_bytes(codecs.BOM_UTF8 + content)
    assert terminal.ask("routes", "diff", str(terminal.file))["unchanged"] == 2


def test_json_goes_out_and_in(terminal: Terminal, tmp_path: Path):
    file = tmp_path / "routes.json"
    terminal.type("routes", "export", str(file))
    items = json.loads(file.read_text())
    assert [(each["dealer"], each["cost"]) for each in items] == [("alfa", 5000), ("bravo", 5100)]
    assert terminal.ask("routes", "diff", str(file))["unchanged"] == 2
    items[1]["cost"] = "5.100"
    file.write_text(json.dumps(items))
    refused = terminal.ask("routes", "apply", str(file), status=1)
    assert refused["errors"][0]["field"] == "line 2.cost"


def test_a_large_rise_is_shown_and_needs_a_yes(terminal: Terminal):
    file = terminal.write(ALFAS.replace("5000", "6500"), BRAVOS)
    assert "1 costs rise by more than 20 %" in terminal.type("routes", "diff", file).stdout
    refused = terminal.type("routes", "apply", file)
    assert isinstance(refused.exception, JalurError)
    assert "r-alfa: cost 5000 → 6500 rupiah" in refused.stderr
    assert terminal.ask("routes", "apply", file, "--yes")["changed"] == 1


def test_a_table_is_put_off_shown_and_cancelled(terminal: Terminal):
    file = terminal.write(ALFAS)
    tomorrow = (datetime.now(UTC) + timedelta(days=1)).strftime("%Y-%m-%dT10:00")
    waiting = terminal.ask("routes", "apply", file, "--dealer", "alfa", "--at", tomorrow)
    assert waiting["at"] == f"{tomorrow}:00+07:00"
    (shown,) = terminal.ask("routes", "scheduled")["scheduled"]
    assert (shown["id"], shown["state"], shown["dealer"]) == (waiting["id"], "waiting", "alfa")
    assert f"{tomorrow[:10]} 10:00:00 WIB" in terminal.type("routes", "scheduled").stdout
    assert terminal.ask("routes", "cancel", waiting["id"])["state"] == "cancelled"
    (shown,) = terminal.ask("routes", "scheduled")["scheduled"]
    assert shown["state"] == "cancelled"
    for moment in ("tomorrow", "2020-01-01"):
        assert terminal.type("routes", "apply", file, "--at", moment).exception is not None


def test_other_refusals_are_the_callers_to_mend(terminal: Terminal):
    file = terminal.write(ALFAS)
    for words in (
        ("routes", "apply", file, "--expect-revision", "99"),
        ("routes", "apply", file, "--dealer", "nobody"),
        ("routes", "diff", f"{file}.none"),
        ("routes", "rollback"),
        ("routes", "cancel", "x"),
        ("routes", "export", "--version", "9"),
        ("prices", "pull", "alfa"),
    ):
        assert isinstance(terminal.type(*words).exception, JalurError), words


@pytest.fixture
def simulated(tmp_path: Path) -> Iterator[RunningSimulator]:
    with simulator(tmp_path, configuration(NOBODY)) as running:
        yield running


def test_a_dealers_own_prices_are_pulled_reviewed_and_applied(
    database_dsn: str, tmp_path: Path, simulated: RunningSimulator
):
    mitra = Seller("mitra", 4500, protocol="digiflazz", base_url=f"{simulated.url}/mitra")
    asyncio.run(furnish(database_dsn, [ALFA, mitra]))
    terminal = Terminal(database_dsn, tmp_path)
    seen = terminal.type("prices", "pull", "mitra", "--file", str(terminal.file))
    assert "mitra lists 1 products." in seen.stdout
    assert "changed: r-mitra: cost 4500 → 5000" in seen.stdout
    assert "TRI5,,mitra,S5,5000,true" in terminal.file.read_text()
    assert ",4500," in terminal.exported()
    done = terminal.ask("prices", "pull", "mitra", "--apply")
    assert (done["dealer"], done["changed"], done["missing"]) == ("mitra", 1, [])
    assert ",5000," in terminal.exported()


def test_a_choice_is_explained_in_a_table_and_a_sentence(terminal: Terminal):
    asked = ("routes", "explain", "--sku", "TRI5")
    lines = [line.split() for line in terminal.type(*asked).stdout.splitlines()]
    assert ["alfa", "5,000", "1", "chosen", "alfa", "0.00", "%", "100.00", "%"] in lines
    assert ["bravo", "5,100", "2", "dearer", "bravo", "0.00", "%", "100.00", "%"] in lines
    told = terminal.ask(*asked)
    assert told["verdict"] in terminal.type(*asked).stdout
    assert told["verdict"].startswith("alfa serves for Rp 5,000: the cheapest; shares bar nobody")


def test_a_choice_is_explained_for_another_moment(terminal: Terminal):
    file = terminal.write("TRI5,,alfa,S5,5000,true,22:00-06:00,,", BRAVOS)
    assert terminal.type("routes", "apply", file).exit_code == 0
    asked = ("routes", "explain", "--sku", "TRI5", "--at")
    assert terminal.ask(*asked, "2030-01-01T23:00")["dealer"] == "alfa"
    assert terminal.ask(*asked, "2030-01-01T12:00")["dealer"] == "bravo"
    told = terminal.type(*asked, "2030-01-01T12:00").stdout
    assert "quotas as of 2030-01-01T12:00:00+07:00, shares as of now." in told
    assert isinstance(terminal.type(*asked, "tonight").exception, JalurError)


def test_the_policy_is_shown_and_set(terminal: Terminal, tmp_path: Path):
    policy = ("routes", "policy")
    done = terminal.type(*policy, "set", "--set", "premium_basis_points=300", "--set",
                         "strategies.pulsa=weighted", "--reason", "wider")  # fmt: skip
    assert "  premium_basis_points: 200 → 300" in done.stdout
    assert '  strategies: {} → {"pulsa": "weighted"}' in done.stdout
    lines = [line.split() for line in terminal.type(*policy, "show").stdout.splitlines()]
    assert ["premium_basis_points", "300", "200", "basis", "points"] in lines
    file = tmp_path / "policy.json"
    file.write_text(json.dumps(terminal.ask(*policy, "show")["stated"]))
    assert "Nothing changed." in terminal.type(*policy, "set", str(file)).stdout
    file.write_text("{}")
    assert set(terminal.ask(*policy, "set", str(file))["changes"]) == {
        "premium_basis_points",
        "strategies",
    }


@pytest.mark.parametrize(
    ("typed", "sentence"),
    [
        ([], "name a file with the whole policy"),
        (["--set", "premium_basis_points"], "--set must be NAME=VALUE"),
        (["--set", "premium_basis_points=much"], "whole number from 0 on"),
        (["none.json"], "cannot read none.json"),
    ],
)
def test_a_policy_that_cannot_be_taken_says_why(
    terminal: Terminal, typed: list[str], sentence: str
):
    failed = terminal.type("routes", "policy", "set", *typed)
    assert isinstance(failed.exception, JalurError)
    assert sentence in str(failed.exception)
