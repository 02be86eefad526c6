"""Sheets: CSV files as people keep them, read whole or refused whole with their line numbers.

A header names the columns, in any order. Commas or semicolons (what Excel writes where the comma
is the decimal mark, as in Indonesia) part the cells, found from the header; a byte order mark and
any line ends are taken.
"""

import csv
import io
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from app.administration.checks import Checks
from app.errors import Unprocessable

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
    lines = _parts(_text(content))
    names = [cell.strip().lower() for _, header in itertools.islice(lines, 1) for cell in header]
    if sorted(names) != sorted(columns):
        raise _unreadable(1, f"the header must be {','.join(columns)}, with commas or semicolons")
    checks = Checks()
    placed: list[Placed[Row]] = []
    for number, cells in lines:
        place = f"line {number}"
        if len(cells) == len(names):
            values = {name: cell.strip() for name, cell in zip(names, cells, strict=True)}
            placed.append(Placed(place, read_row(values, place, checks)))
        else:
            checks.wrong(place, f"has {len(cells)} cells instead of {len(names)}")
    checks.done()
    return placed


def write_sheet(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Rows as a sheet that `read_sheet` reads."""
    written = io.StringIO()
    writer = csv.writer(written, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    return written.getvalue()


def _text(content: bytes) -> str:
    if len(content) > LARGEST_BYTES:
        raise _unreadable(1, f"the file is larger than {LARGEST_BYTES} bytes")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise _unreadable(line, "is not UTF-8 text; save it as CSV UTF-8") from None
    if "\0" in text:
        line = text[: text.index("\0")].count("\n") + 1
        raise _unreadable(line, "has a NUL character: is this a CSV file?")
    return text


def _parts(text: str) -> Iterator[tuple[int, list[str]]]:
    """The lines that hold anything: their numbers and cells."""
    header = text.split("\n", 1)[0]
    delimiter = ";" if ";" in header else ","
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    while True:
        number = reader.line_num + 1
        try:
            cells = next(reader, None)
        except csv.Error as error:
            raise _unreadable(number, f"cannot be read: {error}") from None
        if cells is None:
            return
        if any(cell.strip() for cell in cells):
            yield number, cells


def _unreadable(line: int, message: str) -> Unprocessable:
    checks = Checks()
    checks.wrong(f"line {line}", message)
    return checks.problem()
