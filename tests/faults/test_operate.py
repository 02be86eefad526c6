"""The operators' commands, run as they are typed, against a real database."""

import json
import os
import subprocess
import sys

from tests.faults.shop import Shop, load, order


def jalur(dsn: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "app", *arguments],
        env={"PATH": os.environ["PATH"], "DATABASE_URL": dsn},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_commands_say_what_they_did_and_what_to_do_next(database_dsn: str):
    again = jalur(database_dsn, "migrate", "--json")
    assert json.loads(again.stdout)["before"] == json.loads(again.stdout)["after"]
    verified = jalur(database_dsn, "ledger", "verify", "--json")
    assert (verified.returncode, json.loads(verified.stdout)["ok"]) == (0, True)
    unsure = jalur(database_dsn, "resume")
    assert unsure.returncode == 2
    assert "--reconciled" in unsure.stderr
    resumed = jalur(database_dsn, "resume", "--reconciled", "--reason", "compared", "--json")
    assert json.loads(resumed.stdout) == {"resumed": False}


def test_missing_database_is_one_clear_line():
    failed = jalur("", "serve")
    assert failed.returncode == 2
    assert failed.stderr.startswith("jalur: DATABASE_URL is missing")
    assert len(failed.stderr.splitlines()) == 1


async def test_what_stays_unknown_stands_in_the_review_queue(shop: Shop):
    shop.start(JALUR_REVIEW_AFTER_SECONDS="0.5")
    await shop.until_ready()
    await shop.register_receiver()
    async with shop.client() as client:
        await load(client, [order(1, 88)], {})
    verdict = await shop.verdict(seconds=20)
    assert [each.in_review for each in verdict.outcomes] == [True]
    queue = json.loads(jalur(shop.dsn, "review", "list", "--json").stdout)["reviews"]
    assert [row["reason"] for row in queue] == ["unresolved"]
