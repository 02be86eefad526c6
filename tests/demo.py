"""A whole service as its own process: the demo without orders of its own."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import httpx

_STARTING_SECONDS = 180


@contextmanager
def running_demo(folder: Path) -> Iterator[Mapping[str, str]]:
    """Run it in a folder that its servers' unprivileged user can reach; what it hands out."""
    command = [*(sys.executable, "-m", "app", "demo", "--no-orders", "--port", "0", "--data-dir")]
    with subprocess.Popen([*command, str(folder)], stdout=subprocess.DEVNULL) as service:
        try:
            yield _handout(folder)
        finally:
            service.terminate()


def _handout(folder: Path) -> Mapping[str, str]:
    deadline = time.monotonic() + _STARTING_SECONDS
    while time.monotonic() < deadline:
        time.sleep(0.2)
        try:
            handout = json.loads((folder / "demo.json").read_text())
            httpx.get(f"{handout['base_url']}/readyz", trust_env=False).raise_for_status()
        except (OSError, ValueError, httpx.HTTPError):
            continue
        return handout
    raise TimeoutError("the service did not start")
