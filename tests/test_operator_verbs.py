"""The operators' commands, from an empty database to a shop that could trade, without any SQL."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from app.__main__ import cli
from app.errors import JalurError
from tests.shops import SECRET_KEY

RUPIAH = 250_000
ACCOUNT = {"memberID": "MEMBER-ONE", "pin": "PIN-ONE", "password": "PASSWORD-ONE"}
ADD_DEALER = (
    *("dealers", "add", "cahaya", "--name", "Cahaya", "--owner-group", "cahaya"),
    *("--protocol", "otomax", "--base-url", "http://127.0.0.1:9"),
)


class Terminal:
    """Somebody who types commands."""

    def __init__(self, dsn: str) -> None:
        self._environment = {"DATABASE_URL": dsn, "JALUR_SECRET_KEY": SECRET_KEY}

    def type(self, *words: str, given: str | bytes | None = None) -> str:
        """Run a command; what it prints. Raises JalurError."""
        done = CliRunner().invoke(cli, words, input=given, env=self._environment)
        if isinstance(done.exception, JalurError):
            raise done.exception
        assert done.exit_code == 0, done.output
        return done.output

    def ask(self, *words: str, given: str | bytes | None = None) -> Any:
        """Run a command with `--json`; what its last line holds."""
        return json.loads(self.type(*words, "--json", given=given).splitlines()[-1])

    def refused(self, *words: str, given: str | bytes | None = None) -> str:
        """Run a command that must be refused; what it says."""
        with pytest.raises(JalurError) as refusal:
            self.type(*words, given=given)
        return str(refusal.value)

    def log(self) -> list[dict[str, Any]]:
        """The audit log, the oldest first."""
        return self.ask("audit", "list")["audit"][::-1]


@pytest.fixture
def terminal(database_dsn: str) -> Terminal:
    return Terminal(database_dsn)


def test_a_shop_is_set_up_by_commands_alone(terminal: Terminal, tmp_path: Path):
    reseller = terminal.ask("resellers", "add", "Toko Jaya")["id"]
    key = terminal.ask("keys", "add", reseller)["key"]
    terminal.type("deposit", "Toko Jaya", str(RUPIAH), "--reference", "BCA 17")
    products = "sku;name;brand;kind;denomination\r\nTRI5;Tri 5.000;tri;pulsa;5000\r\n"
    terminal.type("products", "import", "-", given="\ufeff" + products)
    terminal.type("prices", "add", "standard", "TRI5", "5500")
    terminal.type("regions", "import", "-", given="region,cluster\nbogor,jabar\n")
    account = tmp_path / "account.json"
    account.write_text(json.dumps(ACCOUNT))
    terminal.type(*ADD_DEALER, "--credentials-file", str(account))
    token = terminal.ask("operators", "add", "Sari", "--scope", "money", "--scope", "read")["token"]
    assert key.startswith("jalur_live_")
    assert token.startswith("jalur_ops_")
    assert terminal.ask("resellers", "show", reseller)["available"] == RUPIAH
    assert terminal.ask("prices", "export")["prices"] == [
        {"tier": "standard", "sku": "TRI5", "price": 5500}
    ]
    assert [line["action"] for line in terminal.log()] == [
        "reseller.added",
        "key.added",
        "deposit.booked",
        "products.put",
        "prices.put",
        "regions.put",
        "dealer.added",
        "operator.added",
    ]
    log = json.dumps(terminal.log())
    for secret in (*ACCOUNT.values(), key.split("_")[3], token.split("_")[3]):
        assert secret not in log
    assert {line["operator"].split(":")[0] for line in terminal.log()} == {"cli"}


def test_every_verb_says_what_to_do_next_or_what_is_now(terminal: Terminal):
    added = terminal.type("resellers", "add", "Toko Jaya", "--credit-limit", "50")
    assert "Next: jalur keys add " in added
    assert "suspended" in terminal.type("resellers", "suspend", "Toko Jaya", "--reason", "unpaid")
    assert "Nothing changed." in terminal.type(
        "resellers", "suspend", "Toko Jaya", "--reason", "unpaid"
    )
    assert "active" in terminal.type("resellers", "activate", "Toko Jaya")
    assert "tier gold" in terminal.type("resellers", "set", "Toko Jaya", "--tier", "gold")
    assert "credit limit 50" in terminal.type("resellers", "show", "Toko Jaya")
    shown_once = terminal.type("keys", "add", "Toko Jaya", "--mode", "test")
    assert "shown this once" in shown_once
    key_id = shown_once.split("_")[2]
    assert f"{key_id}  test, alive" in terminal.type("keys", "list", "Toko Jaya")
    assert "is revoked" in terminal.type("keys", "revoke", key_id, "--reason", "lost")
    assert f"{key_id}  test, revoked" in terminal.type("keys", "list", "Toko Jaya")
    assert "reseller.suspended" in terminal.type("audit", "list")
    assert "0812  telkomsel" in terminal.type("prefixes", "list")


def test_a_deposit_again_is_told_and_another_amount_refused(terminal: Terminal):
    terminal.type("resellers", "add", "Toko Jaya")
    deposit = ("deposit", "Toko Jaya", "--reference", "BCA 17")
    assert not terminal.ask(*deposit, "5000")["repeated"]
    assert "nothing was changed. Available: 5000" in terminal.type(*deposit, "5000")
    assert "stands for a deposit of 5000" in terminal.refused(*deposit, "5001")
    taken = terminal.ask(
        "adjust", "Toko Jaya", "--take", "7000", "--reference", "FIX", "--reason", "not ours"
    )
    assert taken["available"] == -2000
    assert "either --add" in terminal.refused("adjust", "Toko Jaya", "--reference", "FIX 2")
    assert len(terminal.log()) == 3


def test_a_bad_sheet_of_prices_is_refused_whole_with_its_lines(terminal: Terminal):
    terminal.type("products", "import", "-", given=PRODUCTS)
    bad = "tier,sku,price\nstandard,TRI5,5500\nstandard,TRI10,10.500\ngold,TRI5,\n"
    told = terminal.refused("prices", "import", "-", given=bad)
    assert [line.split(":")[0] for line in told.splitlines()] == ["line 3.price", "line 4.price"]
    twice = "tier,sku,price\nstandard,TRI5,5500\nstandard,TRI5,5600\nstandard,TRI50,5\n"
    told = terminal.refused("prices", "import", "-", given=twice)
    assert told == "line 3: standard TRI5 is in line 2 already"
    unknown = "tier,sku,price\nstandard,TRI5,5500\nstandard,TRI50,5\n"
    assert "line 3.sku: there is no TRI50" in terminal.refused(
        "prices", "import", "-", given=unknown
    )
    assert terminal.ask("prices", "export")["prices"] == []
    assert len(terminal.log()) == 1


def test_what_prices_export_prints_prices_import_takes(terminal: Terminal, tmp_path: Path):
    terminal.type("products", "import", "-", given=PRODUCTS)
    terminal.type("prices", "import", "-", given="tier,sku,price\nstandard,TRI5,5500\n")
    sheet = tmp_path / "prices.csv"
    sheet.write_text(terminal.type("prices", "export").replace("5500", "5600"))
    assert terminal.ask("prices", "import", str(sheet)) == {"given": 1, "changed": 1}
    assert terminal.ask("prices", "import", str(sheet)) == {"given": 1, "changed": 0}
    assert "cannot read" in terminal.refused("prices", "import", str(tmp_path / "none.csv"))


def test_a_dealer_is_stopped_and_goes_on(terminal: Terminal):
    added = terminal.type(*ADD_DEALER, *(f"--credential={n}={v}" for n, v in ACCOUNT.items()))
    assert "/v1/callbacks/cahaya/" in added
    for verb, state in (("pause", "paused"), ("drain", "paused, drained"), ("resume", "in use")):
        assert "reason" in terminal.refused("dealers", verb, "cahaya")
        assert state in terminal.type("dealers", verb, "cahaya", "--reason", "why")
    assert "muted until" in terminal.type(
        "dealers", "mute", "cahaya", "--for", "30m", "--reason", "slow"
    )
    assert "in use" in terminal.type("dealers", "unmute", "cahaya")
    assert "offset" in terminal.refused(
        "dealers", "mute", "cahaya", "--until", "2027-01-31T18:00", "--reason", "slow"
    )
    for wrong in (("--for", "soon"), ("--for", "30m", "--until", "2027-01-31"), ()):
        assert "--for" in terminal.refused("dealers", "mute", "cahaya", *wrong)
    assert "pin is missing" in terminal.refused("dealers", "set", "cahaya", "--credential", "pin=")
    assert "concurrency: 8" in terminal.type(
        "dealers", "set", "cahaya", "--concurrency", "8"
    ) + terminal.type("dealers", "show", "cahaya")
    told = [line["action"].split(".")[1] for line in terminal.log()]
    assert told == ["added", "paused", "drained", "resumed", "muted", "unmuted", "changed"]
    assert "8 at once, 2.5 a second" in terminal.type("dealers", "set", "cahaya", "--rate", "2.5")
    assert "a second" not in terminal.type("dealers", "set", "cahaya", "--rate", "0")


def test_where_callbacks_come_from_is_set_and_what_came_is_shown(terminal: Terminal):
    credentials = [word for each in ACCOUNT.items() for word in ("--credential", "=".join(each))]
    networks = ("--callback-from", "203.0.113.7", "--callback-from", "198.51.100.0/28")
    added = terminal.ask(*ADD_DEALER, *credentials, *networks)
    assert added["callback_from"] == ["198.51.100.0/28", "203.0.113.7/32"]
    assert "callback_from" in terminal.refused("dealers", "set", "cahaya", "--callback-from", "x")
    kept = terminal.ask("dealers", "set", "cahaya", "--name", "C")
    assert kept["callback_from"] == added["callback_from"]
    anywhere = terminal.ask("dealers", "set", "cahaya", "--callback-from", "any")
    assert anywhere["callback_from"] == []
    assert "never called back" in terminal.type("dealers", "callbacks", "cahaya")
    assert terminal.ask("dealers", "callbacks", "cahaya") == {"callbacks": []}
    assert "no dealer" in terminal.refused("dealers", "callbacks", "nobody")


def test_a_secret_that_was_typed_wrongly_is_not_quoted(terminal: Terminal, tmp_path: Path):
    told = terminal.refused(*ADD_DEALER, "--credential", "PIN-ONE")
    assert "NAME=VALUE" in told
    assert "PIN-ONE" not in told
    account = tmp_path / "account.json"
    for content in ('["PIN-ONE"]', '{"pin": 5}', "PIN-ONE"):
        account.write_text(content)
        told = terminal.refused(*ADD_DEALER, "--credentials-file", str(account))
        assert "one JSON object" in told
        assert "PIN-ONE" not in told


def test_a_dealer_needs_the_shops_key(database_dsn: str):
    done = subprocess.run(
        [sys.executable, "-m", "app", *ADD_DEALER],
        env={"PATH": os.environ["PATH"], "DATABASE_URL": database_dsn},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("jalur: JALUR_SECRET_KEY is missing")


def test_a_database_that_was_not_migrated_is_one_line(terminal: Terminal, database_dsn: str):
    nowhere = Terminal(database_dsn.rsplit("/", 1)[0] + "/postgres")
    assert "the database refused" in nowhere.refused("resellers", "list")


def test_a_hold_is_ended_with_its_reason(terminal: Terminal):
    terminal.type("hold", "--reason", "restoring")
    assert "reason" in terminal.refused("resume", "--reconciled")
    done = terminal.ask("resume", "--reconciled", "--reason", "compared")
    assert done == {"resumed": True}
    assert [line["reason"] for line in terminal.log()] == ["restoring", "compared"]


PRODUCTS = """sku,name,brand,kind,denomination
TRI5,Tri 5.000,tri,pulsa,5000
TRI10,Tri 10.000,tri,pulsa,10000
"""


def test_a_door_is_given_changed_and_closed_by_commands(terminal: Terminal):
    terminal.type("resellers", "add", "Toko Jaya")
    add = ("doors", "add", "Toko Jaya")
    opened = terminal.ask(*add, "digiflazz", "--callback", "https://toko.example.co.id/hook")
    name, credentials = opened["name"], opened["credentials"]
    assert set(credentials) == {"username", "api_key", "webhook_secret"}
    assert set(terminal.ask(*add, "otomax")["credentials"]) == {"memberID", "pin", "password"}
    assert "user=" in terminal.type(*add, "irs", "--name", "TOKO1", "--from", "203.0.113.7")
    assert "TOKO1" in terminal.refused(*add, "irs", "--name", "TOKO1")
    assert "must be digiflazz, otomax, irs" in terminal.refused(*add, "xmlrpc")
    assert "not public" in terminal.refused(*add, "irs", "--callback", "https://10.0.0.1/")
    assert "must be an address" in terminal.refused(*add, "irs", "--from", "toko")
    assert "from 203.0.113.7/32" in terminal.type("doors", "list", "Toko Jaya")
    newer = terminal.ask("doors", "rotate", "digiflazz", name)
    assert newer["credentials"]["api_key"] != credentials["api_key"]
    assert newer["previous_until"] is not None
    assert terminal.ask("doors", "networks", "irs", "TOKO1")["networks"] == []
    moved = terminal.ask("doors", "callback", "digiflazz", name, "https://toko.example.co.id/new")
    assert moved["endpoint_id"] == opened["endpoint_id"]
    assert "reason" in terminal.refused("doors", "remove", "irs", "TOKO1")
    assert "is closed" in terminal.type("doors", "remove", "irs", "TOKO1", "--reason", "left")
    assert "was removed" in terminal.refused("doors", "rotate", "irs", "TOKO1")
    log = json.dumps(terminal.log())
    assert "door.rotated" in log
    for secret in (*credentials.values(), *newer["credentials"].values()):
        assert secret == name or secret not in log
