"""The test side as operators set it up and resellers use it: real processes, the real simulator."""

import json
import os
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from loadtests.chain import ENDS
from loadtests.programs import running
from tests.ports import free_port
from tests.shops import SECRET_KEY
from tests.test_operator_verbs import Terminal

_PATIENCE_SECONDS = 120


@dataclass(frozen=True)
class Sandbox:
    """A shop that serves, and what its simulator delivered."""

    terminal: Terminal
    base_url: str
    simulator_url: str

    def client(self, key: str) -> httpx.Client:
        return httpx.Client(
            base_url=self.base_url,
            headers={"authorization": f"Bearer {key}"},
            trust_env=False,
            timeout=30,
        )

    def book(self) -> list[dict[str, Any]]:
        return httpx.get(f"{self.simulator_url}/book", trust_env=False).json()


@pytest.fixture
def sandbox(database_dsn: str, tmp_path: Path) -> Iterator[Sandbox]:
    port = free_port()
    with ExitStack() as stack:
        command = ["app", "simulator", "--port", "0"]
        simulator = stack.enter_context(running("simulator", command, tmp_path))
        simulator_url = json.loads(simulator.read_line())["listening"]
        own = {
            "DATABASE_URL": database_dsn,
            "JALUR_SECRET_KEY": SECRET_KEY,
            "JALUR_SIMULATOR_URL": simulator_url,
            "JALUR_PORT": str(port),
        }
        terminal = Terminal(database_dsn)
        terminal._environment.update(own)
        products = "sku,name,brand,kind,denomination\nTSEL10,Telkomsel 10,telkomsel,pulsa,10000\n"
        terminal.type("products", "import", "-", given=products)
        terminal.type("prices", "add", "standard", "TSEL10", "10500")
        environment = {**os.environ, **own}
        stack.enter_context(
            running("serve", ["app", "serve"], tmp_path, environment, log_output=True)
        )
        shop = Sandbox(terminal, f"http://127.0.0.1:{port}", simulator_url)
        until(lambda: is_ready(shop))
        yield shop


def is_ready(shop: Sandbox) -> bool:
    try:
        return httpx.get(f"{shop.base_url}/livez", trust_env=False).status_code == 200
    except httpx.HTTPError:
        return False


def until(holds: Any) -> None:
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_testers_see_every_outcome_and_nothing_is_bought_live(sandbox: Sandbox):
    terminal = sandbox.terminal
    terminal.type("resellers", "add", "Toko Jaya")
    live_key = terminal.ask("keys", "add", "Toko Jaya")["key"]
    terminal.type("deposit", "Toko Jaya", "1000000", "--reference", "BCA 17")
    for _ in range(2):  # again changes nothing
        assert terminal.ask("sandbox", "setup")["test"]
    with sandbox.client(live_key) as live:
        test_key = live.post("/v1/keys", json={"mode": "test"}).json()["key"]
        refused = live.post("/v1/orders", json=order("00"))
        assert (refused.status_code, refused.json()["code"]) == (409, "no-route")
    with sandbox.client(test_key) as tester:
        until(lambda: tester.get("/v1/products").json()["data"][0]["available"])
        for digits in ENDS:
            placed = tester.post("/v1/orders", json=order(digits))
            assert placed.status_code == 202, placed.text
        until(lambda: ended(tester) == {f"t-{digits}": end for digits, end in ENDS.items()})
        told = tester.get("/v1/events", params={"limit": 100}).json()["data"]
        assert all(each["test"] for each in told)
        assert {"order.reversed", "order.corrected", "order.updated"} <= {
            each["type"] for each in told
        }
    assert {row["dealer"] for row in sandbox.book()} == {"sandbox"}
    assert terminal.ask("resellers", "show", "Toko Jaya")["available"] == 1_000_000
    terminal.type("ledger", "verify")


def order(digits: str) -> dict[str, str]:
    number = f"0812345678{digits}"
    return {"ref_id": f"t-{digits}", "sku": "TSEL10", "customer_number": number}


def ended(tester: httpx.Client) -> dict[str, tuple[str, str | None]]:
    """Each order's status and why it failed."""
    found = tester.get("/v1/orders", params={"limit": 100}).json()["data"]
    return {
        each["ref_id"]: (each["status"], each["failure"] and each["failure"]["code"])
        for each in found
    }


def test_who_calls_from_elsewhere_cannot_say_otherwise(sandbox: Sandbox):
    sandbox.terminal.type("resellers", "add", "Toko Jaya")
    add = ("keys", "add", "Toko Jaya", "--address", "198.51.100.7")
    key = sandbox.terminal.ask(*add)["key"]
    with sandbox.client(key) as client:
        for headers in ({}, {"x-forwarded-for": "198.51.100.7"}, {"forwarded": "for=198.51.100.7"}):
            answer = client.get("/v1/balance", headers=headers)
            assert (answer.status_code, answer.json()["code"]) == (403, "address-not-allowed")
            assert "127.0.0.1" in answer.json()["detail"]
