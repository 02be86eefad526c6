"""Which dealers are simulated, with which accounts, prices and waits; read once from JSON."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from math import inf
from pathlib import Path
from typing import Any, cast

import orjson

from dealers.simulator.behaviour import Latency, Timing

RESERVED_PATHS = frozenset({"agenda", "behaviours", "book", "dealers", "livez", "purchases"})


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
    any_price: int | None = None
    """What every other SKU costs, in rupiah; None: nothing else is sold."""
    callback_url: str = ""
    """Where callbacks go unless a purchase names another address; empty: none are sent."""
    balance_rupiah: int = 0
    """The deposit before the first purchase. Purchases past it are served: it may go negative."""
    always_succeeds: bool = False
    stock: Mapping[str, int] = field(default_factory=dict[str, int])
    """Dealer SKU to how many are left; what is not named here never runs out."""
    latency: Latency | None = None
    """How long each answer takes, beside the configured waits; None: no time."""

    def price_of(self, sku: str) -> int | None:
        """What one costs, in rupiah; None where it is not sold."""
        return self.prices.get(sku, self.any_price)

    def is_in_stock(self, sku: str) -> bool:
        """Whether one can be sold."""
        return self.stock.get(sku, 1) > 0


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
            prices={
                k: _amount(v, "prices") for k, v in _mapping(entry["prices"], "prices").items()
            },
            any_price=None
            if entry.get("any_price") is None
            else _amount(entry["any_price"], "any_price"),
            callback_url=str(entry.get("callback_url") or ""),
            balance_rupiah=int(entry.get("balance_rupiah", 0)),
            always_succeeds=entry.get("always_succeeds") is True,
            stock={
                k: _amount(v, "stock") for k, v in _mapping(entry.get("stock", {}), "stock").items()
            },
            latency=parse_latency(entry.get("latency")),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigError(f"dealers: {error!r} in {entry.get('dealer_id')!r}") from error
    if dealer.dealer_id in RESERVED_PATHS or "/" in dealer.dealer_id or not dealer.dealer_id:
        raise ConfigError(f"dealers: {dealer.dealer_id!r} cannot be a dealer_id")
    return dealer


def parse_latency(raw: object) -> Latency | None:
    """Read `{"median_seconds": 0.8, "p99_seconds": 5}`. Raises `ConfigError`."""
    if raw is None:
        return None
    entry = _mapping(raw, "latency")
    try:
        latency = Latency(float(entry["median_seconds"]), float(entry["p99_seconds"]))
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigError(f"latency: {error!r}") from error
    if not 0 < latency.median_seconds <= latency.p99_seconds < inf:
        raise ConfigError("latency: 0 < median_seconds <= p99_seconds is needed")
    return latency


def changed(dealer: Dealer, raw: object) -> Dealer:
    """A dealer after a change to what it sells and how it answers. Raises `ConfigError`.

    `prices` and `stock` are merged, null takes an entry away; `latency` and `always_succeeds` are
    replaced.
    """
    change = _mapping(raw, "change")
    unknown = change.keys() - {"prices", "stock", "latency", "always_succeeds"}
    if unknown:
        raise ConfigError(f"change: unknown {', '.join(sorted(unknown))}")
    always = change.get("always_succeeds", dealer.always_succeeds)
    if not isinstance(always, bool):
        raise ConfigError("always_succeeds: true or false is needed")
    return replace(
        dealer,
        prices=_merged(dealer.prices, change, "prices"),
        stock=_merged(dealer.stock, change, "stock"),
        latency=parse_latency(change["latency"]) if "latency" in change else dealer.latency,
        always_succeeds=always,
    )


def _merged(before: Mapping[str, int], change: Mapping[str, Any], name: str) -> dict[str, int]:
    stated = _mapping(change.get(name, {}), name)
    merged = {sku: amount for sku, amount in before.items() if sku not in stated}
    return merged | {sku: _amount(v, name) for sku, v in stated.items() if v is not None}


def _amount(raw: object, where: str) -> int:
    if isinstance(raw, bool) or not isinstance(raw, int) or raw < 0:
        raise ConfigError(f"{where}: whole numbers from 0 on are needed, not {raw!r}")
    return raw


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
