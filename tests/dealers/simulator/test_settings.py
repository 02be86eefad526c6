"""What a configuration must hold, and that a dialect is found by its name alone."""

from pathlib import Path
from typing import Any

import pytest

from dealers.simulator.config import ConfigError, parse_config, read_config
from dealers.simulator.dialects import UnknownDialect
from dealers.simulator.server import build_app
from tests.dealers.simulator.simulators import configuration


def config(**changes: Any) -> dict[str, Any]:
    document = configuration("http://127.0.0.1:9")
    document["dealers"] = [document["dealers"][0] | changes]
    return document


@pytest.mark.parametrize(
    "document",
    [
        None,
        {},
        config() | {"timing": {"callback_minutes": 1}},
        config() | {"timing": {"callback_seconds": "soon"}},
        config(dealer_id="book"),
        config(dealer_id="a/b"),
        config(prices={"S5": "cheap"}),
        config(credentials=None),
        {"dealers": config()["dealers"] * 2},
    ],
)
def test_a_configuration_that_cannot_be_used_is_refused(document: object) -> None:
    with pytest.raises(ConfigError):
        parse_config(document)


def test_a_missing_credential_is_named_at_the_start() -> None:
    with pytest.raises(ConfigError, match="api_key"):
        build_app(parse_config(config(credentials={"username": "toko"})))


def test_a_protocol_that_nobody_speaks_is_refused() -> None:
    with pytest.raises(UnknownDialect, match="semaphore"):
        build_app(parse_config(config(protocol="semaphore")))


def test_an_unreadable_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"absent\.json"):
        read_config(tmp_path / "absent.json")


def test_credentials_are_never_printed() -> None:
    assert "kunci" not in repr(parse_config(config()))
