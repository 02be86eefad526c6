"""The demo, as a user runs it: a hundred orders through every behaviour of the dealers."""

import json
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.ports import free_port


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that the servers' unprivileged user can reach."""
    made = Path(tempfile.mkdtemp(prefix="jalur-demo-", dir="/tmp"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made)


def demo(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "app", "demo", *arguments]


def test_every_behaviour_ends_as_promised(folder: Path):
    done = subprocess.run(
        demo("--once", "--orders", "100", "--json", "--port", "0", "--data-dir", str(folder)),
        capture_output=True,
        text=True,
        timeout=115,
        check=False,
    )
    figures = json.loads(done.stdout.splitlines()[-1])
    assert done.returncode == 0, done.stderr[-2000:]
    assert figures["orders"] == 100
    assert figures["needs_review"] == 1  # the number that ends in 88
    assert figures["succeeded"] + figures["failed"] == 99
    assert figures["webhooks_verified"] == figures["webhooks_due"] > 100
    for nothing in ("lost", "double_bought", "ledger_difference"):
        assert figures[nothing] == 0


def test_served_demo_goes_on_after_a_kill_with_the_same_key_and_orders(folder: Path):
    port = str(free_port())
    arguments = demo("--no-orders", "--port", port, "--data-dir", str(folder))
    body = {"ref_id": "A1", "sku": "S10", "customer_number": "081200000070"}
    with subprocess.Popen(arguments, stdout=subprocess.DEVNULL) as first:
        handout = wait_for_handout(folder)
        assert call(handout, "POST", "/v1/orders", body).status_code == 202
        first.send_signal(signal.SIGKILL)
    with subprocess.Popen(arguments, stdout=subprocess.DEVNULL) as second:
        again = wait_for_handout(folder)
        assert again["api_key"] == handout["api_key"]
        status = ""
        deadline = time.monotonic() + 60
        while status != "succeeded" and time.monotonic() < deadline:
            time.sleep(0.2)
            (order,) = call(again, "GET", "/v1/orders?ref_id=A1").json()["data"]
            status = order["status"]
        assert status == "succeeded"
        book = httpx.get(f"{again['simulator_url']}/book", trust_env=False).json()
        assert len(book) == 1
        second.send_signal(signal.SIGTERM)
        assert second.wait(30) == 0


def wait_for_handout(folder: Path) -> dict[str, str]:
    """Read `demo.json` once the service behind it answers."""
    deadline = time.monotonic() + 40
    while time.monotonic() < deadline:
        time.sleep(0.1)
        try:
            handout = json.loads((folder / "demo.json").read_text())
            if httpx.get(f"{handout['base_url']}/readyz", trust_env=False).status_code == 200:
                return handout
        except (OSError, ValueError, httpx.TransportError):
            continue
    raise AssertionError("the demo does not serve")


def call(
    handout: dict[str, str], method: str, path: str, body: dict[str, str] | None = None
) -> httpx.Response:
    return httpx.request(
        method,
        handout["base_url"] + path,
        json=body,
        headers={"authorization": f"Bearer {handout['api_key']}"},
        trust_env=False,
    )
