"""Every call is tried on asyncio's own loop and on uvloop, which the service runs on."""

import asyncio
import logging
from collections.abc import Callable, Iterator, Mapping

import pytest
import uvloop


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


@pytest.fixture(autouse=True)
def loop_without_complaints(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """No failure that nobody fetched, no error in a callback."""
    yield
    complaints = [record for record in caplog.get_records("call") if record.name == "asyncio"]
    assert not [record for record in complaints if record.levelno >= logging.ERROR]
