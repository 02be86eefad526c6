"""What is deployed for Prometheus, tried with the real one."""

import json
import os
import re
import shutil
import subprocess
import sys
from typing import Any

import pytest

from tests.test_metrics import DEPLOYED, ROOT, exercised, types_of, used_metrics

RULES = (DEPLOYED / "rules" / "jalur.yml").read_text()
CASES = (DEPLOYED / "tests" / "alerts.yml").read_text()
ALERTS = re.findall(r"- alert: (\w+)", RULES)


def demand_promtool() -> None:
    if shutil.which("promtool") and shutil.which("prometheus"):
        return
    missing = "promtool is missing: apt-get install --no-install-recommends prometheus"
    if os.environ.get("JALUR_CI") or os.environ.get("CI"):
        pytest.fail(missing)
    pytest.skip(missing)


def test_prometheus_takes_the_configuration_scrapes_the_service_and_evaluates_every_rule() -> None:
    demand_promtool()
    command = [sys.executable, str(DEPLOYED / "check.py"), "--orders", "40"]
    done = subprocess.run(command, capture_output=True, check=False, cwd=ROOT)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    assert found["ok"], found.get("fault", "") + done.stderr.decode()[-2000:]
    assert found["evaluated"] == found["rules"] == RULES.count("expr:")


@pytest.mark.parametrize("alert", ALERTS)
def test_case_shows_that_it_fires_and_one_that_it_does_not(alert: str) -> None:
    assert f'name: "{alert} fires"' in CASES
    assert f'name: "{alert} stays quiet"' in CASES
    assert f'alertname="{alert}"' in CASES


@pytest.mark.parametrize("alert", ALERTS)
def test_alert_leads_to_a_section_that_says_what_to_do(alert: str) -> None:
    _, _, rest = RULES.partition(f"- alert: {alert}\n")
    rule, _, _ = rest.partition("- alert:")
    runbook = re.search(r"runbook: (\S+)#(\S+)", rule)
    assert runbook is not None
    assert {"summary:", "description:", "{severity:"} <= set(rule.split())
    headings = re.findall(r"^#+ (.+)$", (ROOT / runbook[1]).read_text(), re.MULTILINE)
    assert runbook[2] == alert.lower()
    assert alert in headings


def test_no_section_is_left_of_an_alert_that_is_gone() -> None:
    headings = re.findall(r"^#+ (Jalur[A-Z]\w+)$", (ROOT / "docs/operating.md").read_text(), re.M)
    assert sorted(headings) == sorted(ALERTS)


def test_rules_and_cases_name_only_metrics_that_exist() -> None:
    exposed = set(types_of(exercised()))
    assert used_metrics(RULES) <= exposed
    assert used_metrics(CASES) <= exposed
