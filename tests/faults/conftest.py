"""A shop a test, its processes ended afterwards."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from app.embedded.valkey import RunningValkey
from tests.faults.shop import Shop


@pytest.fixture
async def shop(tmp_path: Path, database_dsn: str, valkey: RunningValkey) -> AsyncIterator[Shop]:
    """A furnished shop whose helpers run; the service is the test's to start."""
    made = Shop(tmp_path, database_dsn, valkey.url)
    try:
        made.start_helpers()
        await made.furnish()
        yield made
    finally:
        made.end()
