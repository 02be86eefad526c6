"""Tally: what this process counted in the market shares and the other processes do not know yet.

Counting is an addition in memory and never waits. The tally is bounded: one that would grow beyond
`most_cells` is dropped, which `dropped` says, and the others count anew from the database.
"""

from collections.abc import Generator, Iterable
from contextlib import contextmanager
from datetime import UTC, datetime

from routing.monopoly import Market, ShareRow

_HOUR_SECONDS = 3600

_Cell = tuple[Market, str, int]
_Sums = dict[_Cell, tuple[int, int]]


class Tally:
    """Rupiah and orders by market, owner group and hour. For the event loop only."""

    def __init__(self, most_cells: int = 10_000) -> None:
        self._most_cells = most_cells
        self._untold: _Sums = {}
        self._meanwhile: _Sums | None = None
        self.told = False
        """Whether anybody is ever told; if not, nothing is kept for them."""
        self.dropped = False
        """Whether something was dropped untold."""

    def __len__(self) -> int:
        return len(self._untold)

    def count(self, row: ShareRow) -> None:
        """Count what this process bought or, with both numbers negative, did not buy."""
        cell = _cell_of(row)
        if self.told:
            _shift(self._untold, cell, row)
            if len(self._untold) > self._most_cells:
                self._untold.clear()
                self.dropped = True
        if self._meanwhile is not None:
            _shift(self._meanwhile, cell, row)

    def hear(self, row: ShareRow) -> None:
        """Count what another process told: it is not told on."""
        if self._meanwhile is not None:
            _shift(self._meanwhile, _cell_of(row), row)

    def take(self, most: int) -> list[ShareRow]:
        """Take out up to `most` rows, to be told; `at` is the start of their hour."""
        taken = [(cell, self._untold.pop(cell)) for cell in list(self._untold)[:most]]
        return [_row(cell, sums) for cell, sums in taken]

    def forget(self) -> bool:
        """Whether something was dropped since this was last asked; drops all there is."""
        dropped = self.dropped or bool(self._untold)
        self._untold.clear()
        self.dropped = False
        return dropped

    @contextmanager
    def meanwhile(self) -> Generator["Meanwhile"]:
        """Note what is counted and heard until the end of the block."""
        sums = self._meanwhile = {}
        try:
            yield Meanwhile(sums)
        finally:
            self._meanwhile = None


class Meanwhile:
    """What was counted and heard since a moment."""

    def __init__(self, sums: _Sums) -> None:
        self._sums = sums

    def rows(self) -> Iterable[ShareRow]:
        """All of it up to now."""
        return [_row(cell, sums) for cell, sums in self._sums.items()]


def _cell_of(row: ShareRow) -> _Cell:
    return row.market, row.owner_group, int(row.at.timestamp()) // _HOUR_SECONDS


def _shift(sums: _Sums, cell: _Cell, row: ShareRow) -> None:
    value_rupiah, orders = sums.get(cell, (0, 0))
    after = value_rupiah + row.value_rupiah, orders + row.orders
    if any(after):
        sums[cell] = after
    else:
        sums.pop(cell, None)


def _row(cell: _Cell, sums: tuple[int, int]) -> ShareRow:
    market, owner_group, hour = cell
    return ShareRow(market, owner_group, *sums, datetime.fromtimestamp(hour * _HOUR_SECONDS, UTC))
