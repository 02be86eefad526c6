"""Shops with a past, and the commands that load them, as a user runs them, with few orders."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest

from app.embedded.postgres import RunningPostgres
from app.sealing import generate_key
from app.storage import lives, statements
from loadtests import history, shop
from loadtests.shop import Addresses

ROOT = Path(__file__).resolve().parents[2]
ORDERS = 3000
NOWHERE = Addresses("http://127.0.0.1:1", "http://127.0.0.1:2", "http://127.0.0.1:3")
COUNTS = """
    select (select count(*) from orders) as orders,
           (select count(*) from order_references) as refs,
           (select count(*) from events) as events,
           (select count(*) from deliveries where state = 'delivered' and due_at is null)
               as delivered,
           (select count(*) from ledger_entries where kind <> 'deposit') as entries,
           (select count(*) from attempts where due_at is null) as attempts,
           (select count(*) from attempts where attempt_no = 2) as second,
           (select count(*) from orders where status = 'failed') as failed,
           (select count(*) from orders where age(created_at) > interval '60 days') as old,
           (select count(*) from purchase_hours) as hours
"""


@pytest.fixture
def dsn(postgres: RunningPostgres) -> Iterator[str]:
    secret_key = generate_key()
    asyncio.run(shop.create(postgres.dsn, secret_key, NOWHERE, 20))
    with shop.copy(postgres.dsn, name="history") as address:
        asyncio.run(history.add(address, secret_key, ORDERS))
        yield address


async def test_a_past_is_whole_and_its_money_right(dsn: str):
    connection = await asyncpg.connect(dsn)
    try:
        found = await connection.fetchrow(COUNTS)
        assert found is not None
        assert await statements.verify(connection) == []
        assert (await lives.unfinished(connection)).nothing
    finally:
        await connection.close()
    whole = ("orders", "refs", "events", "delivered")
    assert [found[name] for name in whole] == [ORDERS] * 4
    assert found["entries"] == 2 * ORDERS
    assert found["attempts"] == ORDERS + found["second"]
    assert 0 < found["failed"] < found["second"] < ORDERS * 0.08
    assert ORDERS * 0.4 < found["old"] < ORDERS * 0.6
    assert found["hours"] > 7 * 24


def run(command: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", f"loadtests.{command}", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=230,
        check=False,
    )


@pytest.mark.timeout(240)
def test_growth_examines_every_load_and_compares_it_with_the_empty_shop():
    sizes = ["--sizes", "2000", "--rounds", "1", "--seconds", "1"]
    done = run("growth", *sizes, "--only", "serve-spread", "--json-only")
    result = json.loads(done.stdout)
    assert result["faults"] == [], done.stderr
    cases = result["loads"]["serve-spread"]
    assert list(cases) == ["0", "2000", "0 again"]
    assert all(case["orders"] > 0 for case in cases.values())
    assert cases["2000"]["statement_us"]["orders accepted"] > 0
    assert set(result["ratios"]["serve-spread"]) == {"2000", "0 again"}
    assert len(result["bounds"]) == 2
    sizes_found = {each["name"]: each["bytes"] for each in result["bytes_an_order"]["2000"]}
    assert sizes_found["orders"] > 500


@pytest.mark.timeout(240)
def test_soak_sees_before_during_and_after_the_snapshot_and_loses_nothing():
    times = ["--minutes", "0.4", "--held-seconds", "8", "--rate", "50"]
    done = run("soak", *times, "--json-only")
    assert done.stdout, done.stderr
    result = json.loads(done.stdout)
    assert result["faults"] == [], done.stderr
    assert list(result["parts"]) == ["before", "while held", "after"]
    assert result["orders"] + result["shed"] == pytest.approx(1200, abs=10)
    assert {each["is_held"] for each in result["samples"]} == {True, False}
    assert result["tables"]["orders"]["hot_share"] > 0.9


@pytest.mark.parametrize(
    ("command", "wrong"),
    [
        ("growth", ["--rounds", "0"]),
        ("growth", ["--sizes", "-5"]),
        ("soak", ["--minutes", "1", "--held-seconds", "40"]),
        ("soak", ["--rate", "-1"]),
    ],
)
def test_wrong_arguments_are_told_before_anything_is_started(command: str, wrong: list[str]):
    done = run(command, *wrong)
    assert (done.returncode, done.stdout) == (2, "")
    assert "error:" in done.stderr
