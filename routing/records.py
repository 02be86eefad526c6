"""Sheets as people and programs keep them: bytes to lines of cells, faults told by their line.

CSV comes with commas or semicolons (what Excel writes where the comma is the decimal mark, as in
Indonesia), found from the header; a byte order mark and any line ends are taken. JSON is an array
of objects, whose place in it, counted from 1, is their line.
"""

import csv
import io
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from operator import itemgetter
from typing import cast

_LONGEST_SHOWN = 40
_LINE_END = re.compile(b"\r\n|\r|\n")
_BLANK = re.compile(r"[ \t\r\n]*")

Tell = Callable[[int, str, str], None]
"""Takes a fault: its line, its column (empty where it is about the whole line), a sentence."""
Line = tuple[int, tuple[str, ...]]
"""The number of the line that it begins in, and its cells."""


def read_records(
    content: bytes,
    columns: Sequence[str],
    tell: Tell,
    name_of: Callable[[str], str] = str,
) -> Iterator[tuple[int, dict[str, str]]]:
    """As `read_cells`, the cells by their columns."""
    for line, cells in read_cells(content, columns, tell, name_of):
        yield line, dict(zip(columns, cells, strict=True))


def read_cells(
    content: bytes,
    columns: Sequence[str],
    tell: Tell,
    name_of: Callable[[str], str] = str,
    optional: Sequence[str] = (),
    *,
    others: bool = False,
) -> Iterator[Line]:
    """The lines under a CSV's header, their cells in the order of `columns`, then `optional`.

    The header must name each column once, in any order, as `name_of` reads it; an optional column
    that it does not name is empty. With `others` it may name more, which are passed over, and tabs
    may part the cells. Empty lines are passed over. What cannot be read is told; after a fault in
    the header nothing comes.
    """
    if not _is_text(content, tell):
        return
    lines = _lines(content, tell, ",;\t" if others else ",;")
    heading = next(lines, None)
    if heading is None:
        if not content.removeprefix(b"\xef\xbb\xbf").strip(b"\r\n"):
            tell(1, "", f"the file is empty: {_wanted((*columns, *optional))}")
        return
    line, header = heading
    names = [name_of(cell) for cell in header]
    known = names if others else (*columns, *optional)
    if not _names_columns(line, names, columns, optional, known, tell):
        return
    # An empty cell behind the last one stands for every column that is not there.
    every = (*columns, *optional)
    in_order = itemgetter(*(names.index(each) if each in names else len(names) for each in every))
    for line, cells in lines:
        if len(cells) == len(names):
            cells.append("")
            yield line, in_order(cells)
        else:
            tell(
                line,
                "",
                f"{len(cells)} cells under {len(names)} columns: quote a cell that holds a "
                "separator",
            )


def read_items(content: bytes, columns: Sequence[str], tell: Tell) -> Iterator[Line]:
    """The objects of a JSON array, their cells in the order of `columns` as CSV would hold them.

    A member that is missing or null is an empty cell.
    """
    if not _is_text(content, tell):
        return
    for number, item in _items(content.decode("utf-8-sig"), tell):
        if not isinstance(item, dict):
            tell(number, "", "must be an object with the columns as its members")
            continue
        members = cast("dict[str, object]", item)
        faults = [name for name in members if name not in columns]
        for name in faults:
            tell(number, name[:_LONGEST_SHOWN], _strange(columns))
        cells = [_cell(number, name, members, tell) for name in columns]
        if None not in cells and not faults:
            yield number, cast("tuple[str, ...]", tuple(cells))


def _items(text: str, tell: Tell) -> Iterator[tuple[int, object]]:
    """The items of an array, one by one: as objects a large one takes many times its text."""
    decode = json.JSONDecoder().raw_decode
    number, place = 0, _after_blank(text, 0)
    try:
        if text[place] != "[":
            tell(1, "", "the file must be an array of objects")
            return
        place = _after_blank(text, place + 1)
        while text[place] != "]" or number:
            number += 1
            item, place = decode(text, place)
            yield number, item
            place = _after_blank(text, place)
            if text[place] == "]":
                break
            if text[place] != ",":
                tell(number, "", "is followed by neither a comma nor the array's end")
                return
            place = _after_blank(text, place + 1)
        if text[place + 1 :].strip():
            tell(number or 1, "", "is followed by something behind the array's end")
    except (ValueError, RecursionError, IndexError):
        tell(number or 1, "", "is no JSON from here on: an object, or the array's end, is broken")


def _after_blank(text: str, place: int) -> int:
    blank = _BLANK.match(text, place)
    return place if blank is None else blank.end()


def _cell(line: int, name: str, members: Mapping[str, object], tell: Tell) -> str | None:
    """A member as CSV would hold it; None, with a fault told, where it can be no cell."""
    value = members.get(name)
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)
    tell(line, name, "must be text, a number, true, false or null")
    return None


def _is_text(content: bytes, tell: Tell) -> bool:
    """Whether it is UTF-8 without NUL bytes; told where it is not."""
    try:
        content.decode()
    except UnicodeDecodeError as error:
        tell(_line_of(content[: error.start]), "", "this is not UTF-8: save the file as CSV UTF-8")
        return False
    zero = content.find(b"\0")
    if zero >= 0:
        tell(_line_of(content[:zero]), "", "a NUL byte: this is not a text file")
        return False
    return True


def _line_of(before: bytes) -> int:
    return len(_LINE_END.findall(before)) + 1


def _lines(content: bytes, tell: Tell, delimiters: str) -> Iterator[tuple[int, list[str]]]:
    """Every line that is not empty with its number; a record over several has its first one's."""
    end = _LINE_END.search(content)
    first = content[: end.start()] if end else content
    delimiter = next((each for each in delimiters if each.encode() in first), ",")
    text = io.TextIOWrapper(io.BytesIO(content), "utf-8-sig", newline="")
    reader = csv.reader(text, delimiter=delimiter, strict=True)
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


def _names_columns(
    line: int,
    names: Sequence[str],
    columns: Sequence[str],
    optional: Sequence[str],
    known: Sequence[str],
    tell: Tell,
) -> bool:
    """Whether the header names every column once, an optional one at most once, and none that is
    not known."""
    if not set(names) & set(columns):
        tell(line, "", _wanted((*columns, *optional)))
        return False
    good = True
    for column in (*columns, *optional):
        times = names.count(column)
        if times > 1 or (not times and column in columns):
            wrong = "is missing" if not times else f"stands there {times} times"
            tell(line, column, f"this column {wrong} in the header")
            good = False
    for name in dict.fromkeys(names):
        if name not in known:
            tell(line, name[:_LONGEST_SHOWN], _strange((*columns, *optional)))
            good = False
    return good


def _strange(columns: Sequence[str]) -> str:
    return "no column is called so; the columns are " + ", ".join(columns)


def _wanted(columns: Sequence[str]) -> str:
    return "the first line must name the columns: " + ",".join(columns)
