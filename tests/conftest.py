"""The two servers that tests run against: real ones, started once for the whole run."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from app.embedded.postgres import RunningPostgres, start_postgres
from app.embedded.valkey import RunningValkey, start_valkey

# How long an example takes is the machine's affair.
settings.register_profile("jalur", deadline=None)
settings.load_profile("jalur")

pytest_plugins = ["tests.storage_fixtures"]


@pytest.fixture(autouse=True)
def own_priority(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Commands that take long step back for good: here they would take all later tests along, which
    then stand still for seconds where a load runs beside them."""
    niceness = os.nice(0)
    monkeypatch.setattr("app.cli.table.step_back", lambda: None)
    yield
    assert os.nice(0) == niceness, "this test made the process of all tests step back"


@pytest.fixture(scope="session")
def server_dir() -> Iterator[Path]:
    """A folder that the servers' unprivileged user can reach, as pytest's own are not."""
    folder = Path(tempfile.mkdtemp(prefix="jalur-tests-", dir="/tmp"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def postgres(server_dir: Path) -> Iterator[RunningPostgres]:
    with start_postgres(server_dir) as running:
        yield running


@pytest.fixture(scope="session")
def valkey(server_dir: Path) -> Iterator[RunningValkey]:
    with start_valkey(server_dir) as running:
        yield running
