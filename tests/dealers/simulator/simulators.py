"""The simulator as the process that it is in earnest."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.dealers.simulator.buyers import plain_client

WEBHOOK_SECRET = "whsec_cmFoYXNpYSBkYXJpIHRpZ2EgcHVsdWggZHVhIGI="
QUICK = {
    "callback_seconds": 0.1,
    "late_success_seconds": 0.1,
    "reversal_seconds": 0.1,
    "late_answer_seconds": 30,
    "slow_answer_seconds": 0.1,
    "late_serial_seconds": 0.1,
    "callback_retry_seconds": 0.05,
}


def options_at(protocol: str, base_url: str) -> dict[str, str]:
    """What an account must be told of a simulated dealer beside its address."""
    match protocol:
        case "reloadly":
            return {"auth_url": base_url}
        case "okeconnect":
            return {"price_list_url": f"{base_url}/harga/json"}
        case "xmlrpc_center":
            return {
                "success_codes": "00",
                "failure_codes": "01",
                "number_codes": "16",
                "reversal_codes": "25",
                "refusal_codes": "404,410,411",
            }
        case _:
            return {}


@dataclass(frozen=True)
class RunningSimulator:
    url: str
    process: "subprocess.Popen[str]"

    def get(self, page: str) -> Any:
        with plain_client() as client:
            return client.get(f"{self.url}/{page}").raise_for_status().json()

    def delivered(self, ref: str) -> list[dict[str, Any]]:
        return [row for row in self.get("book") if row["dealer_ref"] == ref]

    def finish_agenda(self) -> None:
        """Wait until nothing is left to be done."""
        deadline = time.monotonic() + 20
        while self.get("agenda")["pending"]:
            assert time.monotonic() < deadline, self.get("agenda")
            time.sleep(0.02)


def configuration(callback_url: str, **timing: float) -> dict[str, Any]:
    def dealer(dealer_id: str, protocol: str, **credentials: str) -> dict[str, Any]:
        return {
            "dealer_id": dealer_id,
            "protocol": protocol,
            "credentials": credentials,
            "callback_url": f"{callback_url}/{dealer_id}",
            "balance_rupiah": 1_000_000,
            "prices": {"S5": 5000},
        }

    otomax = {"memberID": "YUSUF", "pin": "1144", "password": "abcd"}
    return {
        "dealers": [
            dealer(
                "mitra", "digiflazz", username="toko", api_key="kunci", webhook_secret="rahasia"
            ),
            dealer("sentra", "otomax", **otomax),
            dealer("tenang", "otomax", **otomax) | {"always_succeeds": True},
            dealer("hulu", "jalur", api_key="kunci", webhook_secret=WEBHOOK_SECRET),
        ],
        "timing": QUICK | timing,
    }


@contextmanager
def simulator(
    folder: Path, config: dict[str, Any], state_dir: Path | None = None
) -> Iterator[RunningSimulator]:
    path = folder / "simulator.json"
    path.write_text(json.dumps(config))
    command = [sys.executable, "-m", "dealers.simulator", "--config", str(path), "--port", "0"]
    if state_dir is not None:
        command += ["--state-dir", str(state_dir)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield RunningSimulator(json.loads(process.stdout.readline())["listening"], process)
        finally:
            process.terminate()
