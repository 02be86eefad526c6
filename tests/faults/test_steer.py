"""Operators steer a running shop with commands: what they decide is what the service does."""

import asyncio
import csv
import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import asyncpg
import httpx

from tests.faults.shop import Shop, load, order
from tests.shops import until


def jalur(shop: Shop, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """A command as it is typed, beside the service."""
    return subprocess.run(
        [sys.executable, "-m", "app", *arguments],
        env={
            "PATH": os.environ["PATH"],
            "DATABASE_URL": shop.dsn,
            "JALUR_SECRET_KEY": shop.secret_key,
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def told(done: "subprocess.CompletedProcess[str]") -> dict[str, Any]:
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def with_costs_of(dealer_id: str, cost: str, table: str) -> str:
    """The table with one dealer's costs changed."""
    reader = csv.DictReader(io.StringIO(table))
    written = io.StringIO()
    writer = csv.DictWriter(written, reader.fieldnames or [], lineterminator="\n")
    writer.writeheader()
    for row in reader:
        writer.writerow(row | ({"cost": cost} if row["dealer"] == dealer_id else {}))
    return written.getvalue()


async def test_applied_table_is_what_a_running_service_buys_by(shop: Shop, tmp_path: Path):
    shop.start()
    await shop.until_ready()
    exported = jalur(shop, "routes", "export")
    sheet = tmp_path / "routes.csv"
    sheet.write_text(with_costs_of("cadangan", "4000", exported.stdout))
    done = told(jalur(shop, "routes", "apply", str(sheet), "--reason", "a gift", "--json"))
    assert (done["added"], done["removed"]) == (0, 0)
    number = iter(range(100, 200))

    async def bought_there() -> bool:
        async with shop.client() as client:
            await load(client, [order(next(number), 1)], {})
        connection = await asyncpg.connect(shop.dsn)
        try:
            return await connection.fetchval(
                "select exists (select from attempts where dealer_id = 'cadangan' and cost = 4000)"
            )
        finally:
            await connection.close()

    await until(bought_there, 30)
    explained = told(jalur(shop, "routes", "explain", "--sku", "S10", "--json"))
    assert (explained["dealer"], explained["cheapest_cost"]) == ("cadangan", 4000)
    sheet.write_text(with_costs_of("cadangan", "4.000", exported.stdout))
    refused = jalur(shop, "routes", "apply", str(sheet))
    assert refused.returncode == 1
    assert "line 2.cost: '4.000' holds separators of thousands: write 4000" in refused.stderr
    stays = jalur(shop, "routes", "export").stdout
    assert stays == with_costs_of("cadangan", "4000", stays) != exported.stdout


async def test_decided_review_is_told_to_the_reseller_by_the_running_service(shop: Shop):
    shop.start(JALUR_REVIEW_AFTER_SECONDS="0.5")
    await shop.until_ready()
    await shop.register_receiver()
    accepted: dict[str, str] = {}
    async with shop.client() as client:
        await load(client, [order(1, 88)], accepted)
    (order_id,) = accepted.values()

    async def listed() -> bool:
        return bool(told(jalur(shop, "review", "list", "--json"))["reviews"])

    async def decided() -> bool:
        """Questions go on meanwhile; while one is on its way the command says so."""
        done = jalur(shop, *command)
        assert done.returncode == 0 or "Try again" in done.stderr, done.stderr
        return done.returncode == 0

    async def heard() -> bool:
        async with httpx.AsyncClient(trust_env=False) as client:
            received = (await client.get(f"{shop.receiver_url}/received")).json()["verified"]
        return [each["type"] for each in received] == ["order.failed"]

    await until(listed, 30)
    command = ["review", "resolve", order_id, "1", "number-refused", "--reason", "they say so"]
    await until(decided, 60)
    await until(heard, 20)
    assert told(jalur(shop, *command, "--json"))["decided_before"]
    otherwise = jalur(shop, "review", "resolve", order_id, "1", "succeeded", "--reason", "x")
    assert (otherwise.returncode, "closed already" in otherwise.stderr) == (2, True)
    assert told(jalur(shop, "ledger", "verify", "--json"))["ok"]


async def test_commands_tell_what_they_need(shop: Shop, tmp_path: Path):
    unknown = "00000000-0000-7000-8000-000000000001"
    for arguments, sentence in (
        (["routes", "explain"], "name a product with --sku, or an order with --order"),
        (["routes", "explain", "--order", unknown], f"There is no order {unknown}."),
        (
            ["routes", "explain", "--sku", "S10", "--reseller", "Toko"],
            "--reseller goes with --order",
        ),
        (["routes", "explain", "--order", "INV-1"], "a reseller's reference needs --reseller"),
        (["routes", "explain", "--order", "INV-1", "--reseller", "Toko"], "no reseller"),
        (["routes", "apply", str(tmp_path / "none.csv")], "No such file or directory"),
        (["disputes", "close", unknown, "1", "--resolution", "x", "--reason", "y"], "no dispute"),
    ):
        failed = await asyncio.to_thread(jalur, shop, *arguments)
        assert failed.returncode == 2, failed
        assert sentence in failed.stderr
        assert len(failed.stderr.splitlines()) == 1


async def test_decision_under_a_foreign_key_is_refused(shop: Shop):
    """No dealer could be chosen: a failed purchase would end an order that another could serve."""
    foreign = Shop(shop.folder, shop.dsn, None)
    arguments = ["review", "resolve", str(shop.reseller_id), "1", "failed", "--reason", "x"]
    failed = jalur(foreign, *arguments)
    assert failed.returncode == 2
    assert "is JALUR_SECRET_KEY the service's?" in failed.stderr
