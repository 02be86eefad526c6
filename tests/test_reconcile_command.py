"""`jalur reconcile`: a statement against our purchases, as the command is typed."""

import asyncio
import codecs
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from click.testing import Result
from typer.testing import CliRunner

from app.__main__ import cli
from app.administration.reconciliation import read_amount
from app.errors import JalurError, Unprocessable
from tests.shops import ALFA, BRAVO, SECRET_KEY, furnish

MAP = "ref=ref_id,amount=price,status=status"
PURCHASES = """
    with made as (
        select n, (n % 64)::smallint as lane,
               lpad(to_hex((extract(epoch from timestamptz '2026-11-20 10:00+07')
                            * 1000)::bigint + n), 12, '0') as milliseconds
        from generate_series(1, $1::integer) n
    )
    insert into attempts (lane, order_id, attempt_no, dealer_id, route_id, dealer_sku, dealer_ref,
                          cost, max_price, asked_at, sent_at, state, charged, closed_at)
    select lane, (substr(milliseconds, 1, 8) || '-' || substr(milliseconds, 9)
                  || '-7000-8000-' || lpad(n::text, 12, '0'))::uuid,
           1, 'alfa', 'r-alfa', 'S5', 'REF' || n, 5000, 9000, sent_at, sent_at,
           case when n % 10 = 9 then 'failed' else 'succeeded' end,
           case when n % 10 = 8 then 5100 end, sent_at
    from made, lateral (select timestamptz '2026-11-20 10:00+07' + n * interval '1 millisecond')
        at (sent_at)
"""
"""Purchases REF1 … at alfa for 5,000 rupiah; every tenth from REF8 was charged 5,100, every tenth
from REF9 failed."""


class Terminal:
    """Somebody at a terminal with a dealer's statement."""

    def __init__(self, dsn: str, folder: Path) -> None:
        self._environment = {"DATABASE_URL": dsn, "JALUR_SECRET_KEY": SECRET_KEY}
        self._dsn = dsn
        self.file = folder / "mutasi.csv"

    def type(self, *words: str, content: str | bytes | Sequence[str]) -> Result:
        if not isinstance(content, bytes):
            text = content if isinstance(content, str) else "\n".join(content)
            content = text.encode()
        self.file.write_bytes(content)
        words = ("reconcile", "alfa", str(self.file), *words)
        done = CliRunner().invoke(cli, words, env=self._environment)
        if isinstance(done.exception, JalurError):
            raise done.exception
        return done

    def ask(self, *words: str, content: str | bytes | Sequence[str], status: int) -> Any:
        """Run the command with `--json`; its last line."""
        done = self.type(*words, "--json", content=content)
        assert done.exit_code == status, done.output
        return json.loads(done.stdout.splitlines()[-1])

    def execute(self, query: str, *values: object) -> None:
        async def work() -> None:
            connection = await asyncpg.connect(self._dsn)
            await connection.execute(query, *values)
            await connection.close()

        asyncio.run(work())


@pytest.fixture
def terminal(database_dsn: str, tmp_path: Path) -> Terminal:
    asyncio.run(furnish(database_dsn, [ALFA, BRAVO]))
    made = Terminal(database_dsn, tmp_path)
    made.execute(PURCHASES, 10)
    return made


def statement(*lines: str, header: str = "no,ref_id,price,status,saldo") -> list[str]:
    return [header, *lines]


AGREEING = [
    *(f"{n},REF{n},5000,Sukses,1" for n in (1, 2, 3, 4, 5, 6, 7)),
    "8,REF8,5100,Sukses,1",
    "9,REF9,5000,Gagal,1",
    "10,REF10,5000,Sukses,1",
]


def test_a_statement_that_agrees_ends_with_status_0(terminal: Terminal):
    found = terminal.ask("--map", MAP, content=statement(*AGREEING), status=0)
    assert found["agrees"]
    assert (found["lines"], found["known_here"], found["their_succeeded"]) == (10, 10, 9)
    assert found["their_rupiah"] == found["our_rupiah"] == 45_100
    done = terminal.type("--map", MAP, content=statement(*AGREEING))
    assert "Both sides agree." in done.stdout


def differences(found: Any) -> dict[str, tuple[int, int, list[str]]]:
    return {
        kind: (told["count"], told["rupiah"], [row["ref"] for row in told["first"]])
        for kind, told in found["differences"].items()
        if told["count"]
    }


def test_every_kind_of_difference_is_listed_with_its_rupiah(terminal: Terminal):
    lines = [
        "1,REF1,5000,Sukses,",
        "2,REF2,5250,Sukses,",  # dearer there
        "3,REF3,5000,Gagal,",  # they say it failed
        "9,REF9,5000,Sukses,",  # we say it failed
        "10,REF10,5000,Sukses,",
        "10,REF10,5000,Sukses,",  # twice
        "11,FREMD1,7000,Sukses,",  # not ours
        "12,FREMD2,7000,Gagal,",  # not ours, and nothing was taken
        "13,REF4,5000,Antre,",  # what does that mean?
        ",,31250,Total,",
    ]
    found = terminal.ask("--map", MAP, content=statement(*lines), status=1)
    assert differences(found) == {
        "missing_here": (1, 7000, ["FREMD1"]),
        "missing_there": (4, -20_100, ["REF5", "REF6", "REF7", "REF8"]),
        "amount": (1, 250, ["REF2"]),
        "status": (2, 0, ["REF3", "REF9"]),
        "duplicate": (1, 5000, ["REF10"]),
        "unread_status": (1, 5000, ["REF4"]),
    }
    done = terminal.type("--map", MAP, content=statement(*lines))
    assert done.exit_code == 1
    assert "line 3, REF2: 5,250 succeeded there, 5,000 succeeded here" in done.stdout
    assert "4 bought by us and not in the statement: -20,100 rupiah" in done.stdout


def test_all_differences_are_written_to_a_file(terminal: Terminal, tmp_path: Path):
    out = tmp_path / "differences.csv"
    terminal.ask("--map", MAP, "--out", str(out), content=statement(AGREEING[0]), status=0)
    assert out.read_text().splitlines()[1:] == []
    terminal.ask(
        "--map", MAP, "--from", "2026-11-20", "--out", str(out), "--until", "2026-11-20",
        content=statement(AGREEING[0]), status=1,
    )  # fmt: skip
    assert len(out.read_text().splitlines()) == 1 + 8


def test_the_period_bounds_what_may_be_missing_there(terminal: Terminal):
    only = statement(AGREEING[0])
    day = ("--map", MAP, "--from", "2026-11-19", "--until", "2026-11-19")
    assert terminal.ask(*day, content=only, status=0)["our_succeeded"] == 0
    day = ("--map", MAP, "--from", "2026-11-20", "--until", "2026-11-20T10:00:00.004")
    found = terminal.ask(*day, content=only, status=1)
    assert differences(found)["missing_there"][2] == ["REF2", "REF3"]


@pytest.mark.parametrize(
    "content",
    [
        codecs.BOM_UTF8 + b"Ref ID;Harga;Status\r\nref1;Rp 5.000;SUKSES\r\n",
        "ref id\tharga\tstatus\nREF1\t5,000.00\tsukses\n".encode("utf-16"),
        b'REF ID , Harga,status\n REF1 ,"-5,000",  Sukses \n',
    ],
)
def test_what_spreadsheets_write_is_read(terminal: Terminal, content: bytes):
    mapped = "ref=ref id,amount=harga,status=status"
    assert terminal.ask("--map", mapped, content=content, status=0)["their_rupiah"] == 5000


def test_a_form_is_remembered_for_its_dealer(terminal: Terminal, tmp_path: Path):
    content = statement("REF1,5000,Antre", header="ref,amount,state")
    form = tmp_path / "form.json"
    columns = {"ref": "ref", "amount": "amount", "status": "state"}
    form.write_text(json.dumps({"columns": columns, "statuses": {"Antre": "succeeded"}}))
    with pytest.raises(Unprocessable, match="--map"):
        terminal.type(content=content)
    assert terminal.ask("--map", str(form), "--remember", content=content, status=0)["agrees"]
    assert terminal.ask(content=content, status=0)["agrees"]


def test_lines_that_cannot_be_read_are_told_and_nothing_is_compared(terminal: Terminal):
    with pytest.raises(Unprocessable) as met:
        terminal.type("--map", MAP, content=statement("1,REF1,5000.50,Sukses,", "2,REF2,x"))
    assert met.value.errors[0].field == "line 2.price"
    assert "cells under" in met.value.errors[1].message
    with pytest.raises(Unprocessable, match="price"):
        terminal.type("--map", MAP, content="ref_id,status\n")
    with pytest.raises(Unprocessable, match="amount"):
        terminal.type("--map", "ref=a", content="a\n")


def test_a_hundred_thousand_lines_are_compared_line_by_line(terminal: Terminal):
    terminal.execute("delete from attempts")
    terminal.execute(PURCHASES, 100_000)
    lines = [
        f"{n},REF{n},{5100 if n % 10 == 8 else 5000},{'Gagal' if n % 10 == 9 else 'Sukses'},"
        for n in range(1, 100_000)
    ]
    found = terminal.ask("--map", MAP, "--from", "2026-11-20", content=statement(*lines), status=0)
    assert found["lines"] == 99_999
    lines[500] = lines[500].replace("5000", "5001")
    found = terminal.ask("--map", MAP, content=statement(*lines), status=1)
    assert differences(found) == {"amount": (1, 1, ["REF501"])}


@pytest.mark.parametrize(
    ("text", "rupiah"),
    [
        ("5300", 5300),
        ("5.300", 5300),
        ("5,300", 5300),
        ("1.234.567", 1_234_567),
        ("1,234,567.00", 1_234_567),
        ("1.234.567,0", 1_234_567),
        ("Rp5.300", 5300),
        ("Rp. 5.300,00", 5300),
        ("-Rp 5.300", 5300),
        ("- 5300", None),
        ("5300.00", 5300),
        ("0", 0),
        ("5.30", None),
        ("5300.5", None),
        ("1.234,567", None),
        ("", None),
        ("abc", None),
        ("5e3", None),
    ],
)
def test_amounts_are_exact_or_none(text: str, rupiah: int | None):
    assert read_amount(text) == rupiah
