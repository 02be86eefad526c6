"""`make fuzz-api`: Schemathesis against a running service, over everything that it describes.

Every operation of both descriptions is called with examples, edge values, generated values and, by
the links of the descriptions, with what other operations made. Sought: an answer of 5xx, a status
or a content type that is not described, a body or a header that does not fit its schema, and what
answers without a key. Ends with one JSON object; new routes are taken up by themselves.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

SECONDS = 120
EXCLUDED = {
    "/v1/events/stream": "it ends only when its reader goes: a call of it would never be over",
}
"""Paths that are not called, with the reason."""

# A refusal of what fits the schema is no fault: a number may be nobody's, a product off sale.
_NOT_SOUGHT = "positive_data_acceptance"
_VALUES = {
    "sku": ["S10", "X10", "AX10"],
    "customer_number": ["081234567800", "087712345600"],
    "ref_id": [f"fuzz-{number}" for number in range(40)],
    "url": ["https://example.com/jalur"],
}
"""Values that lead further than generated ones, by the field's name."""
_OFTEN = 0.7
_SHARES = {"/openapi.json": 0.4, "/admin/openapi.json": 0.6}
"""The part of the time for each description; the operators' last, for it pauses dealers."""
_STARTING_SECONDS = 60


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it; the exit status is 0 only where nothing was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=SECONDS, help="about, for all")
    parser.add_argument("--examples", type=int, default=20, help="generated values an operation")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args(arguments)
    summary = fuzz(given.seconds, given.examples, given.seed)
    print(json.dumps(summary))
    return 0 if summary["met"] else 1


def fuzz(seconds: int, examples: int, seed: int) -> dict[str, Any]:
    """Start a service, call everything that it describes, and add up what came of it."""
    folder = Path(tempfile.mkdtemp(prefix="jalur-fuzz-", dir="/tmp"))
    folder.chmod(0o755)
    started = time.monotonic()
    try:
        with _service(folder) as handout:
            tokens = dict(zip(_SHARES, (handout["api_key"], handout["admin_token"]), strict=True))
            reports = [
                _run(handout["base_url"] + path, tokens[path], share * seconds, folder, given)
                for path, share in _SHARES.items()
                for given in [(examples, seed)]
            ]
            alive = httpx.get(f"{handout['base_url']}/readyz", trust_env=False).status_code == 200
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return _summary(reports, alive=alive, seed=seed, seconds=round(time.monotonic() - started, 1))


@contextmanager
def _service(folder: Path) -> Iterator[Mapping[str, str]]:
    """The demo without orders of its own; what it hands out."""
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


def _run(
    url: str, token: str, seconds: float, folder: Path, given: tuple[int, int]
) -> Mapping[str, Any]:
    """One description; Schemathesis's own report of it."""
    report = folder / "report.json"
    report.unlink(missing_ok=True)
    examples, seed = given
    done = subprocess.run(
        [
            *(str(Path(sys.executable).with_name("schemathesis")), "--config-file"),
            *(str(_settings(folder)), "run", url, "--header", f"Authorization: Bearer {token}"),
            *("--max-time", str(max(1, round(seconds))), "--max-examples", str(examples)),
            *("--seed", str(seed), "--exclude-checks", _NOT_SOUGHT, "--continue-on-failure"),
            *(part for path in EXCLUDED for part in ("--exclude-path", path)),
            *("--report", "json", "--report-json-path", str(report), "--no-color"),
            *("--suppress-health-check", "all", "--request-timeout", "30"),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        cwd=folder,
    )
    if not report.exists():
        raise RuntimeError(f"Schemathesis did not run:\n{done.stdout[-4000:]}")
    told = json.loads(report.read_text())
    if told["exit_code"]:
        print(done.stdout)
    return told


def _settings(folder: Path) -> Path:
    """Schemathesis's settings: which values to try for which fields."""
    lines = []
    for name, values in _VALUES.items():
        lines += [f"[dictionaries.{name}]", f"values = {json.dumps(values)}"]
    lines += ["[parameters]"]
    for name in _VALUES:
        lines += [f'"body.{name}" = {{ dictionary = "{name}", probability = {_OFTEN} }}']
    written = folder / "schemathesis.toml"
    written.write_text("\n".join(lines))
    return written


def _summary(
    reports: Sequence[Mapping[str, Any]], *, alive: bool, seed: int, seconds: float
) -> dict[str, Any]:
    def total(part: str, name: str) -> int:
        return sum(report[part][name] for report in reports)

    tested, selected = total("operations", "tested"), total("operations", "selected")
    failures = sum(len(report["failures"]) for report in reports)
    errors = sum(len(report["errors"]) for report in reports)
    return {
        "operations": total("operations", "total"),
        "tested": tested,
        "excluded": total("operations", "total") - selected,
        "cases": total("test_cases", "generated"),
        "failures": failures,
        "errors": errors,
        "alive": alive,
        "seed": seed,
        "seconds": seconds,
        "met": alive and not failures and not errors and tested == selected,
    }


if __name__ == "__main__":
    sys.exit(main())
