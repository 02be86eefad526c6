"""CSV as people's spreadsheets keep it: bytes to lines of named cells, faults told by their line.

Commas or semicolons (what Excel writes where the comma is the decimal mark, as in Indonesia) part
the cells, found from the header; a byte order mark and any line ends are taken.
"""

import csv
import io
import re
from collections.abc import Callable, Iterator, Sequence

_LONGEST_SHOWN = 40
_LINE_END = re.compile("\r\n|\r|\n")

Tell = Callable[[int, str, str], None]
"""Takes a fault: its line, its column (empty where it is about the whole line), a sentence."""


def read_records(
    content: bytes,
    columns: Sequence[str],
    tell: Tell,
    name_of: Callable[[str], str] = str,
) -> Iterator[tuple[int, dict[str, str]]]:
    """The lines under the header: the number of the line each begins in, its cells by column.

    The header must name each column once, in any order, as `name_of` reads it. Empty lines are
    passed over. What cannot be read is told; after a fault in the header nothing comes.
    """
    text = _decoded(content, tell)
    if text is None:
        return
    lines = _lines(text, tell)
    heading = next(lines, None)
    if heading is None:
        if not text.strip("\r\n"):
            tell(1, "", f"the file is empty: {_wanted(columns)}")
        return
    line, header = heading
    names = [name_of(cell) for cell in header]
    if not _names_columns(line, names, columns, tell):
        return
    for line, cells in lines:
        if len(cells) == len(names):
            yield line, dict(zip(names, cells, strict=True))
        else:
            tell(
                line,
                "",
                f"{len(cells)} cells under {len(names)} columns: quote a cell that holds a "
                "separator",
            )


def _decoded(content: bytes, tell: Tell) -> str | None:
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = _line_of(error.object[: error.start].decode(errors="replace"))
        tell(line, "", "this is not UTF-8: save the file as CSV UTF-8")
        return None
    zero = text.find("\0")
    if zero >= 0:
        tell(_line_of(text[:zero]), "", "a NUL byte: this is not a text file")
        return None
    return text


def _line_of(before: str) -> int:
    return len(_LINE_END.findall(before)) + 1


def _lines(text: str, tell: Tell) -> Iterator[tuple[int, list[str]]]:
    """Every line that is not empty with its number; a record over several has its first one's."""
    first = _LINE_END.split(text, maxsplit=1)[0]
    delimiter = ";" if ";" in first and "," not in first else ","
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    while True:
        line = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error:
            # Where the next record begins cannot be told any more.
            tell(
                line,
                "",
                'quotes are not in pairs (within a quoted cell write "" for "), or a cell has '
                f"more than {csv.field_size_limit()} characters",
            )
            return
        if cells:
            yield line, cells


def _names_columns(line: int, names: Sequence[str], columns: Sequence[str], tell: Tell) -> bool:
    """Whether the header names every column once and no other."""
    if not set(names) & set(columns):
        tell(line, "", _wanted(columns))
        return False
    for column in columns:
        times = names.count(column)
        if times != 1:
            wrong = "is missing" if not times else f"stands there {times} times"
            tell(line, column, f"this column {wrong} in the header")
    for name in dict.fromkeys(names):
        if name not in columns:
            message = "no column is called so; the columns are " + ", ".join(columns)
            tell(line, name[:_LONGEST_SHOWN], message)
    return sorted(names) == sorted(columns)


def _wanted(columns: Sequence[str]) -> str:
    return "the first line must name the columns: " + ",".join(columns)
