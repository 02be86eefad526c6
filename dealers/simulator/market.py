"""The market: what each simulated dealer sells now, at which price, and how fast it answers.

It is changed from outside while the simulator runs. Where a folder is given, every change is a line
in `changes.jsonl`, so that a killed simulator comes back with the prices that it had.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import orjson

from dealers.simulator.config import ConfigError, Dealer, changed
from dealers.simulator.dialect import Desk

_FILE_NAME = "changes.jsonl"


class Market:
    """The dealers as they are now. Reading goes by `desks`, which always holds the newest."""

    def __init__(self, desks: Mapping[str, Desk], state_dir: Path | None) -> None:
        self.desks = dict(desks)
        self._path = None if state_dir is None else state_dir / _FILE_NAME
        if self._path is not None and self._path.exists():
            for line in self._path.read_bytes().splitlines():
                self._replay(line)

    def change(self, dealer_id: str, raw: object) -> Dealer:
        """Change what a dealer offers. Raises `ConfigError` and OSError; then nothing changed."""
        dealer = changed(self.desks[dealer_id].dealer, raw)
        if self._path is not None:
            line = {"dealer_id": dealer_id, "change": raw}
            with self._path.open("ab") as file:
                file.write(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE))
        self._put(dealer)
        return dealer

    def sold(self, dealer: Dealer, sku: str) -> None:
        """One less is in stock, where stock is counted."""
        left = dealer.stock.get(sku)
        if left is not None:
            self.change(dealer.dealer_id, {"stock": {sku: left - 1}})

    def _put(self, dealer: Dealer) -> None:
        self.desks[dealer.dealer_id] = replace(self.desks[dealer.dealer_id], dealer=dealer)

    def _replay(self, line: bytes) -> None:
        try:
            entry = orjson.loads(line)
            self._put(changed(self.desks[entry["dealer_id"]].dealer, entry["change"]))
        except (orjson.JSONDecodeError, KeyError, ConfigError):
            # Cut short by a kill, or of a dealer that is not configured any more.
            return
