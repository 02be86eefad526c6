"""What hypothesis is not to time."""

import pytest

from dealers.registry import load
from tests.dealers.recorded import account


@pytest.fixture(scope="session", autouse=True)
def _descriptions_are_compiled() -> None:
    """A described dealer's engines are loaded, and its text compiled, with its first use."""
    for name, dialect in load().items():
        dialect.validate(account(name))
