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
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx

from tests.demo import running_demo

SECONDS = 120
EXCLUDED = {
    "/v1/events/stream": "it ends only when its reader goes: a call of it would never be over",
    "/v1/keys/{key_id}": "it would revoke the very key that the others are called with",
    "/v1/keys/{key_id}/rotate": "as revoking: the key ends with its successor's overlap",
}
"""Paths that are not called, with the reason."""

# A refusal of what fits the schema is no fault: a number may be nobody's, a product off sale.
# `Allow` may list what a neighbour with a parameter takes: /v1/deliveries/replay is an id as well.
_NOT_SOUGHT = "positive_data_acceptance,allow_header_conformance"
# What does not fit there is refused where it stands, in an answer for all.
_EACH_ALONE = ("/v1/orders/batch",)
_VALUES = {
    "sku": ["S10", "X10", "AX10"],
    "customer_number": ["081234567800", "087712345600"],
    "ref_id": [f"fuzz-{number}" for number in range(40)],
    "url": ["https://example.com/jalur"],
}
"""Values that lead further than generated ones, by the field's name."""
_OFTEN = 0.7
_NOT_TAKEN = [400, 401, 403, 422, 428]
"""What is answered where a header is missing; 428 where it is `If-Match`."""
_SHARES = {"/openapi.json": 0.4, "/admin/openapi.json": 0.6}
"""The part of the time for each description; the operators' last, for it pauses dealers."""


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


def fuzz(seconds: int | None, examples: int, seed: int) -> dict[str, Any]:
    """Start a service, call everything that it describes, and add up what came of it.

    `seconds`: until when to go on trying; None: once through, without the edge values of each
    field, which take most of the time.
    """
    folder = Path(tempfile.mkdtemp(prefix="jalur-fuzz-", dir="/tmp"))
    folder.chmod(0o755)
    started = time.monotonic()
    try:
        with running_demo(folder) as handout:
            tokens = dict(zip(_SHARES, (handout["api_key"], handout["admin_token"]), strict=True))
            reports = [
                _run(handout["base_url"] + path, tokens[path], folder, settings)
                for path, share in _SHARES.items()
                for settings in [[*_extent(seconds, share), *_generated(examples, seed)]]
            ]
            alive = httpx.get(f"{handout['base_url']}/readyz", trust_env=False).status_code == 200
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return _summary(reports, alive=alive, seed=seed, seconds=round(time.monotonic() - started, 1))


def _extent(seconds: int | None, share: float) -> list[str]:
    if seconds is None:
        return ["--phases", "examples,fuzzing,stateful"]
    return ["--max-time", str(max(1, round(share * seconds)))]


def _generated(examples: int, seed: int) -> list[str]:
    return ["--max-examples", str(examples), "--seed", str(seed)]


def _run(url: str, token: str, folder: Path, settings: Sequence[str]) -> Mapping[str, Any]:
    """One description; Schemathesis's own report of it."""
    report = folder / "report.json"
    report.unlink(missing_ok=True)
    done = subprocess.run(
        [
            *(str(Path(sys.executable).with_name("schemathesis")), "--config-file"),
            *(str(_settings(folder)), "run", url, "--header", f"Authorization: Bearer {token}"),
            *(*settings, "--exclude-checks", _NOT_SOUGHT, "--continue-on-failure"),
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
    lines += ["[checks.missing_required_header]", f"expected-statuses = {_NOT_TAKEN}"]
    lines += ["[parameters]"]
    for name in _VALUES:
        lines += [f'"body.{name}" = {{ dictionary = "{name}", probability = {_OFTEN} }}']
    for path in _EACH_ALONE:
        lines += ["[[operations]]", f'include-path = "{path}"']
        lines += ["[operations.checks.negative_data_rejection]", "enabled = false"]
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
