"""What deploys is held against the code: settings exist, stops are given time, units are sound."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from app.settings import Settings, read_settings, variable_of

ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "deploy"
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
KNOWN = {variable_of(field) for field in Settings.model_fields}
SECRETS = {"JALUR_SECRET_KEY", "JALUR_ADMIN_TOKEN"}
COMPOSE_ONLY = {"POSTGRES_PASSWORD", "JALUR_OWNER_PASSWORD", "JALUR_APP_PASSWORD"}

needs_analyze = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed"
)


@pytest.fixture(scope="module")
def compose() -> dict:
    return YAML(typ="safe").load(DEPLOY / "compose.yaml")


@pytest.fixture(scope="module")
def ours(compose: dict) -> dict[str, dict]:
    """The services that run our image."""
    return {
        name: service
        for name, service in compose["services"].items()
        if service["image"].startswith("jalur:")
    }


def stated(text: str) -> dict[str, str]:
    """The variables of an environment file."""
    return dict(re.findall(r"^([A-Z_]+)=(.*)$", text, re.MULTILINE))


def test_compose_sets_only_settings_that_exist(ours: dict[str, dict]):
    assert set(ours) == {"migrate", "api", "worker"}
    for service in ours.values():
        assert set(service["environment"]) <= KNOWN
        assert service["command"][0] in {"migrate", "api", "worker", "serve"}


def test_compose_has_no_default_secret():
    text = (DEPLOY / "compose.yaml").read_text()
    for name in SECRETS | COMPOSE_ONLY:
        uses = re.findall(rf"\$\{{{name}[^}}]*\}}", text)
        assert uses
        assert all(use == f"${{{name}:?see env.example}}" for use in uses)


def test_compose_starts_the_service_after_what_it_needs(compose: dict, ours: dict[str, dict]):
    for name in ("api", "worker"):
        needed = ours[name]["depends_on"]
        assert needed["migrate"]["condition"] == "service_completed_successfully"
    for service in compose["services"].values():
        for name, need in service.get("depends_on", {}).items():
            if need["condition"] == "service_healthy":
                assert "test" in compose["services"][name].get("healthcheck", {"test": "image's"})


def test_the_time_for_a_stop_is_longer_than_the_grace(ours: dict[str, dict]):
    grace_seconds = read_settings().grace_seconds
    example = stated((DEPLOY / "env.example").read_text())
    assert float(example["JALUR_GRACE_SECONDS"]) == grace_seconds
    for name in ("api", "worker"):
        assert float(ours[name]["stop_grace_period"].removesuffix("s")) >= grace_seconds + 10
    for unit in UNITS:
        for seconds in re.findall(r"^TimeoutStopSec=(\d+)$", unit.read_text(), re.MULTILINE):
            assert float(seconds) >= grace_seconds + 10


def test_env_example_names_settings_and_no_values_for_secrets():
    example = stated((DEPLOY / "env.example").read_text())
    assert set(example) <= KNOWN | COMPOSE_ONLY
    assert set(example) >= SECRETS | COMPOSE_ONLY | {"DATABASE_URL", "REDIS_URL"}
    assert all(example[name] == "" for name in SECRETS | COMPOSE_ONLY | {"DATABASE_URL"})


def test_image_sets_only_settings_that_exist():
    text = (ROOT / "Dockerfile").read_text()
    named = set(re.findall(r"JALUR_[A-Z_]+", text))
    assert named
    assert named <= KNOWN


@needs_analyze
@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_unit_is_sound_and_confined(unit: Path, tmp_path: Path):
    for each in UNITS:
        # Only the program's place differs on this machine.
        text = each.read_text().replace("/opt/jalur/bin/jalur", f"{sys.prefix}/bin/jalur")
        (tmp_path / each.name).write_text(text)
    instance = tmp_path / unit.name.replace("@", "@8081")
    if not instance.exists():
        instance.symlink_to(tmp_path / unit.name)
    analyze = ["systemd-analyze", "--man=no"]
    verified = subprocess.run([*analyze, "verify", instance], capture_output=True, check=False)
    assert verified.stderr.decode() == ""
    assert verified.returncode == 0
    confined = subprocess.run(
        [*analyze, "security", "--offline=true", "--threshold=20", tmp_path / unit.name],
        capture_output=True,
        check=False,
    )
    assert confined.returncode == 0, confined.stdout.decode()[-200:]
