"""Which dealers are simulated, with which accounts, prices and waits; read once from JSON."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, cast

import orjson

from dealers.simulator.behaviour import Timing

RESERVED_PATHS = frozenset({"agenda", "book", "livez", "purchases"})


class ConfigError(Exception):
    """The configuration cannot be used. The message names the place and the reason."""


@dataclass(frozen=True, slots=True)
class Dealer:
    """One simulated dealer, served under `/{dealer_id}`."""

    dealer_id: str
    protocol: str
    credentials: Mapping[str, str] = field(repr=False)
    prices: Mapping[str, int]
    """Dealer SKU to cost in rupiah: everything that this dealer sells."""
    callback_url: str = ""
    """Where callbacks go unless a purchase names another address; empty: none are sent."""
    balance_rupiah: int = 0
    """The deposit before the first purchase. Purchases past it are served: it may go negative."""
    always_succeeds: bool = False


@dataclass(frozen=True, slots=True)
class Config:
    """Everything that the simulator is told from outside."""

    dealers: tuple[Dealer, ...]
    timing: Timing = field(default_factory=Timing)


def read_config(path: Path) -> Config:
    """Read a configuration file. Raises `ConfigError`."""
    try:
        return parse_config(orjson.loads(path.read_bytes()))
    except (OSError, orjson.JSONDecodeError) as error:
        raise ConfigError(f"{path}: {error}") from error


def parse_config(raw: object) -> Config:
    """Build a configuration from parsed JSON. Raises `ConfigError`."""
    document = _mapping(raw, "configuration")
    listed = document.get("dealers")
    if not isinstance(listed, list):
        raise ConfigError("dealers: a list is needed")
    dealers = tuple(_dealer(entry) for entry in cast(list[object], listed))
    if len({dealer.dealer_id for dealer in dealers}) < len(dealers):
        raise ConfigError("dealers: a dealer_id occurs twice")
    return Config(dealers, _timing(_mapping(document.get("timing", {}), "timing")))


def _dealer(raw: object) -> Dealer:
    entry = _mapping(raw, "dealers")
    try:
        dealer = Dealer(
            dealer_id=str(entry["dealer_id"]),
            protocol=str(entry["protocol"]),
            credentials={
                k: str(v) for k, v in _mapping(entry["credentials"], "credentials").items()
            },
            prices={k: int(v) for k, v in _mapping(entry["prices"], "prices").items()},
            callback_url=str(entry.get("callback_url") or ""),
            balance_rupiah=int(entry.get("balance_rupiah", 0)),
            always_succeeds=entry.get("always_succeeds") is True,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigError(f"dealers: {error!r} in {entry.get('dealer_id')!r}") from error
    if dealer.dealer_id in RESERVED_PATHS or "/" in dealer.dealer_id or not dealer.dealer_id:
        raise ConfigError(f"dealers: {dealer.dealer_id!r} cannot be a dealer_id")
    return dealer


def _timing(entry: dict[str, Any]) -> Timing:
    unknown = entry.keys() - {known.name for known in fields(Timing)}
    if unknown:
        raise ConfigError(f"timing: unknown {', '.join(sorted(unknown))}")
    try:
        return Timing(**{name: float(value) for name, value in entry.items()})
    except (TypeError, ValueError) as error:
        raise ConfigError(f"timing: {error}") from error


def _mapping(raw: object, where: str) -> dict[str, Any]:
    if not isinstance(raw, dict):
        raise ConfigError(f"{where}: an object is needed")
    return cast(dict[str, Any], raw)
