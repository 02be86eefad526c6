"""`jalur dealers check`, and descriptions saved: by the command line, and over what is stored."""

import hmac
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from app.__main__ import cli
from app.administration.descriptions import description_text
from app.errors import ConfigurationError
from tests.dealers.declarative.described import DESCRIPTIONS
from tests.dealers.recorded import ORDER
from tests.shops import SECRET_KEY

SUCCESS = f"T#7 R#{ORDER.dealer_ref} X10.081234567890 SUKSES. SN: 51. Harga 10.150. Saldo 1.000"
SECRETS = {"memberID": "OUR-NAME", "pin": "9731", "password": "hush-hush"}


def _check(*words: str) -> Result:
    return CliRunner().invoke(cli, ["dealers", "check", *words])


def _asked(*words: str, code: int = 0) -> dict[str, Any]:
    done = _check(*words, "--json")
    assert done.exit_code == code, done.output
    return json.loads(done.stdout.splitlines()[-1])


def _saved(folder: Path, name: str, content: str) -> str:
    (folder / name).write_text(content)
    return str(folder / name)


def test_a_shipped_description_shows_what_it_sends():
    told = _asked("otomax")

    assert told["ok"] is True
    assert set(told["requests"]) == {"purchase", "status", "balance"}
    assert "dest=081234567890" in told["requests"]["purchase"]["url"]
    assert told["requests"]["status"]["url"].endswith("&check=1")
    assert told["capabilities"]["recovery"] == "status_call"


def test_the_signature_is_the_real_one_and_the_secrets_are_hidden(tmp_path: Path):
    file = _saved(tmp_path, "account.json", json.dumps(SECRETS))
    words = ("otomax", "--credentials-file", file, "--ref", "2140669", "--number", "08123456789")
    done = _check(*words)
    again = _check("otomax", "--ref", "2140669", "--number", "08123456789")

    assert done.exit_code == 0
    assert not [secret for secret in SECRETS.values() if secret in done.output]
    assert "memberID=SECRET" in done.output
    assert done.output != again.output


def test_the_published_signature():
    told = _asked(
        *("otomax", "--ref", "2140669", "--number", "08123456789"),
        *("--credential", "memberID=YUSUF", "--credential", "pin=1144"),
        *("--credential", "password=abcd"),
    )

    assert "sign=Cp9NLVuKWBt5Sey_uMlYsvnKvJI" in told["requests"]["purchase"]["url"]


def test_a_pasted_answer_is_read_as_by_the_router(tmp_path: Path):
    answer = _saved(tmp_path, "answer.txt", SUCCESS)
    reading = _asked("otomax", "--answer", answer)["reading"]

    assert (reading["outcome"], reading["serial_number"]) == ("succeeded", "51")
    assert (reading["reference"], reading["price"]) == (ORDER.dealer_ref, 10_150)
    for words, outcome in (
        (("--http-status", "502"), "unknown"),
        (("--ref", "OTHER"), "unknown"),
        (("--kind", "status"), "succeeded"),
    ):
        assert _asked("otomax", "--answer", answer, *words)["reading"]["outcome"] == outcome


def test_a_pasted_balance_and_a_pasted_callback_are_read(tmp_path: Path):
    balance = _saved(tmp_path, "balance.txt", "Saldo 1.250.000")
    asked = ("otomax", "--kind", "balance", "--answer", balance)
    assert _asked(*asked)["reading"]["balance"] == 1_250_000
    assert "http-500" in _asked(*asked, "--http-status", "500")["reading"]["unreadable"]

    body = json.dumps({"data": {"ref_id": "AB1", "rc": "20", "status": "failed"}})
    sign = "sha256=" + hmac.new(b"wh", body.encode(), "sha256").hexdigest()
    callback = ("--kind", "callback", "--answer", _saved(tmp_path, "callback.json", body))
    secret = ("--credential", "webhook_secret=wh")
    signed = _asked("example", *callback, *secret, "--header", f"X-Signature: {sign}")["reading"]
    assert (signed["outcome"], signed["reference"], signed["verified"]) == ("failed", "AB1", True)
    refused = _asked("example", *callback, *secret, "--header", "X-Signature: sha256=00")
    assert "signature" in refused["reading"]["refused"]


def test_faults_are_told_and_are_an_exit_status(tmp_path: Path):
    text = (DESCRIPTIONS / "otomax.toml").read_text().replace("{{ sku }}", "{{ product }}")
    wrong = _saved(tmp_path, "wrong.toml", text)
    told = _asked(wrong, code=1)

    assert told["ok"] is False
    assert any(
        "signatures.order.over: nothing is called product" in each for each in told["faults"]
    )
    assert told["requests"] == {}
    assert _check(wrong).exit_code == 1


@pytest.mark.parametrize("name", ["x.toml", "x.json"])
def test_a_file_of_neither_kind_is_refused(name: str, tmp_path: Path):
    with pytest.raises(ConfigurationError, match=name):
        description_text(name, b"\xff = [")
    done = _check(_saved(tmp_path, name, "name = = 1"))
    assert isinstance(done.exception, ConfigurationError)


def test_a_described_dealer_is_added_from_its_file(database_dsn: str):
    environment = {"DATABASE_URL": database_dsn, "JALUR_SECRET_KEY": SECRET_KEY}
    add = [
        *("dealers", "add", "pusat", "--name", "Pusat", "--owner-group", "pusat", "--json"),
        *("--protocol", "declarative", "--base-url", "http://127.0.0.1:9"),
        *("--description", str(DESCRIPTIONS / "otomax.toml")),
    ]
    refused = CliRunner().invoke(cli, add, env=environment)
    assert "credential pin is missing: its PIN" in str(refused.exception)

    given = [word for name in SECRETS for word in ("--credential", f"{name}=x")]
    added = CliRunner().invoke(cli, [*add, *given], env=environment)
    assert added.exit_code == 0, added.exception
    options = json.loads(added.stdout)["options"]
    assert json.loads(options["description"])["name"] == "An OtomaX center with the usual template"
