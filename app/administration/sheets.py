"""Sheets of the catalogue, read whole or refused whole with their line numbers.

A header's capitals and spaces around cells do not matter here.
"""

import csv
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from app.administration.checks import Checks
from routing.records import read_records

LARGEST_BYTES = 16 * 2**20

Row = TypeVar("Row")


@dataclass(frozen=True, slots=True)
class Placed(Generic[Row]):
    """A row and where it stands, such as `line 3`, for telling what is wrong with it."""

    place: str
    row: Row


def read_sheet(
    content: bytes,
    columns: Sequence[str],
    read_row: Callable[[Mapping[str, str], str, Checks], Row],
) -> list[Placed[Row]]:
    """Read a sheet with just these columns. Raises Unprocessable with every wrong line.

    `read_row` takes a line's cells by column, its place, and where to tell of faults.
    """
    checks = Checks()

    def tell(line: int, column: str, message: str) -> None:
        checks.wrong(f"line {line}.{column}" if column else f"line {line}", message)

    placed: list[Placed[Row]] = []
    if len(content) > LARGEST_BYTES:
        tell(1, "", f"the file has more than {LARGEST_BYTES} bytes: import it in parts")
    else:
        for line, cells in read_records(content, columns, tell, _name_of):
            given = {name: cell.strip() for name, cell in cells.items()}
            if any(given.values()):
                place = f"line {line}"
                placed.append(Placed(place, read_row(given, place, checks)))
    checks.done()
    return placed


def write_sheet(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Rows as a sheet that `read_sheet` reads."""
    written = io.StringIO()
    writer = csv.writer(written, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    return written.getvalue()


def _name_of(heading: str) -> str:
    return heading.strip().lower()
