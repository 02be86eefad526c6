"""A real browser, where one is at hand: what a page comes to, and whom it asked for it."""

import json
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

_NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
_LOADING_MILLISECONDS = 20_000


@dataclass(frozen=True, slots=True)
class Visit:
    """A page as it stands once its scripts have run."""

    document: str
    """Its elements, as HTML."""
    asked: Sequence[str]
    """Every address that the page asked for, beside its own."""
    complaints: Sequence[str]
    """What the browser wrote into the page's console."""


def visit(url: str, folder: Path) -> Visit:
    """Open a page in a browser that can resolve no name and reach nothing but 127.0.0.1.

    Skips the test, saying so, where there is no browser.
    """
    browser = next((found for name in _NAMES if (found := shutil.which(name))), None)
    if browser is None:
        pytest.skip("no browser is at hand: apt-get install chromium")
    told = folder / "net.json"
    done = subprocess.run(
        [
            *(browser, "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run"),
            *("--disable-dev-shm-usage", "--enable-logging=stderr", f"--log-net-log={told}"),
            f"--user-data-dir={folder / 'profile'}",
            "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
            f"--virtual-time-budget={_LOADING_MILLISECONDS}",
            *("--dump-dom", url),
        ],
        capture_output=True,
        text=True,
        timeout=100,
        check=True,
    )
    complaints = [line for line in done.stderr.splitlines() if ":CONSOLE" in line]
    return Visit(done.stdout, _asked(json.loads(told.read_text())), complaints)


def _asked(log: Mapping[str, Any]) -> list[str]:
    """The addresses asked for by a page: the browser's own requests have no page behind them."""
    parameters = [event.get("params", {}) for event in log["events"]]
    return [
        each["url"]
        for each in parameters
        if "url" in each and str(each.get("initiator", "")).startswith("http")
    ]
