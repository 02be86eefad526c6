"""The routing table as a sheet: what operators keep in a spreadsheet and exchange as CSV.

A sheet is read whole or not at all, and every fault in it is told at once with its line: whoever
mends thousands of prices must not learn of the mistakes one by one. Writing a table and reading it
again gives the same rows.
"""

import csv
import io
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple, TypeVar

from routing.table import read_hours

COLUMNS = (
    "sku",
    "cluster",
    "dealer",
    "dealer_sku",
    "cost",
    "enabled",
    "hours",
    "valid_from",
    "valid_until",
)
MOST_BYTES = 64 * 1024 * 1024
MOST_ROWS = 1_000_000
MOST_FAULTS = 100
"""How many faults are kept in words; the others are counted."""

_LONGEST_COST = 2**63 - 1
_LONGEST_TEXT = 200
_LONGEST_SHOWN = 40
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_LINE_END = re.compile("\r\n|\r|\n")
_COST = re.compile("[1-9][0-9]{0,18}")
_MOMENT = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,6})?)?"
    r"(?P<offset>[Zz]|[+-][0-9]{2}:[0-9]{2})?"
)
_HEADER_WANTED = "the first line must name the columns: " + ",".join(COLUMNS)
_T = TypeVar("_T")
_Key = tuple[str, str, str]


class SheetRow(NamedTuple):
    """One line of a sheet: a dealer's offer of a product in a cluster, None standing for any."""

    sku: str
    cluster: str | None
    dealer_id: str
    dealer_sku: str
    cost_rupiah: int | None
    """None where a stored cost is not known; a sheet with such a line is refused."""
    enabled: bool
    hours: str
    valid_from: datetime | None
    valid_until: datetime | None


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong in one line. `column` is empty where the line as a whole is at fault."""

    line: int
    column: str
    message: str


@dataclass(frozen=True, slots=True)
class Known:
    """What a sheet may name."""

    skus: AbstractSet[str]
    clusters: AbstractSet[str]
    dealers: AbstractSet[str]


@dataclass(frozen=True, slots=True)
class Reading:
    """A sheet's rows, or its faults: where `fault_count` is not 0, `rows` must not be used."""

    rows: list[SheetRow]
    faults: list[Fault]
    """The first of them, in the order of their lines."""
    fault_count: int


def read_sheet(content: bytes, known: Known, only_dealer: str | None = None) -> Reading:
    """Read CSV in UTF-8, separated by commas or semicolons, with the columns in any order.

    With `only_dealer` every line must be that dealer's.
    """
    faults = _Faults()
    text = _decoded(content, faults)
    rows = [] if text is None else _Reader(known, only_dealer, faults).read(text)
    return Reading(rows, faults.kept, faults.count)


def write_sheet(rows: Iterable[SheetRow]) -> str:
    """The rows as CSV with commas, sorted: equal tables give equal text."""
    written = io.StringIO(newline="")
    writer = csv.writer(written, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(
        (
            row.sku,
            row.cluster,
            row.dealer_id,
            row.dealer_sku,
            row.cost_rupiah,
            "true" if row.enabled else "false",
            row.hours,
            _written(row.valid_from),
            _written(row.valid_until),
        )
        for row in sorted(rows, key=_key)
    )
    return written.getvalue()


def _key(row: SheetRow) -> _Key:
    return row.sku, row.cluster or "", row.dealer_id


def _written(moment: datetime | None) -> str:
    return "" if moment is None else moment.astimezone(UTC).isoformat()


class _Faults:
    """The first faults in words, and how many there are."""

    def __init__(self) -> None:
        self.kept: list[Fault] = []
        self.count = 0

    def add(self, line: int, column: str, message: str) -> None:
        self.count += 1
        if len(self.kept) < MOST_FAULTS:
            self.kept.append(Fault(line, column, message))


class _Wrong(ValueError):
    """A cell that cannot be read; the message says what it should be."""


# ------------------------------------------------------------------ bytes to lines


def _decoded(content: bytes, faults: _Faults) -> str | None:
    if len(content) > MOST_BYTES:
        faults.add(1, "", f"the file has more than {MOST_BYTES} bytes: import dealer by dealer")
        return None
    try:
        text = content.removeprefix(_BYTE_ORDER_MARK).decode()
    except UnicodeDecodeError as error:
        line = _line_of(error.object[: error.start].decode(errors="replace"))
        faults.add(line, "", "this is not UTF-8: save the file as CSV UTF-8")
        return None
    zero = text.find("\0")
    if zero >= 0:
        faults.add(_line_of(text[:zero]), "", "a NUL byte: this is not a text file")
        return None
    return text


def _line_of(before: str) -> int:
    return len(_LINE_END.findall(before)) + 1


def _records(text: str, faults: _Faults) -> Iterator[tuple[int, list[str]]]:
    """Every record with the number of the line that it begins in; empty lines are passed over."""
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
            faults.add(
                line,
                "",
                'quotes are not in pairs (within a quoted cell write "" for "), or a cell has '
                f"more than {csv.field_size_limit()} characters",
            )
            return
        if cells:
            yield line, cells


# ------------------------------------------------------------------ lines to rows


class _Reader:
    """Reads one sheet; what it finds wrong goes into `faults`."""

    def __init__(self, known: Known, only_dealer: str | None, faults: _Faults) -> None:
        self._known = known
        self._only_dealer = only_dealer
        self._faults = faults
        self._seen: dict[_Key, int] = {}
        """The line of every sku, cluster and dealer."""
        self._good_hours: set[str] = {""}
        self._moments: dict[str, datetime | None] = {"": None}

    def read(self, text: str) -> list[SheetRow]:
        records = _records(text, self._faults)
        heading = next(records, None)
        if heading is None:
            if not self._faults.count:
                self._faults.add(1, "", f"the file is empty: {_HEADER_WANTED}")
            return []
        line, header = heading
        if not self._knows(line, header):
            return []
        rows: list[SheetRow] = []
        for number, (line, cells) in enumerate(records, 1):
            if number > MOST_ROWS:
                self._faults.add(line, "", f"more than {MOST_ROWS} rows: import dealer by dealer")
                break
            row = self._row(line, header, cells)
            if row is not None:
                rows.append(row)
        return rows

    def _knows(self, line: int, header: Sequence[str]) -> bool:
        """Whether the header names every column once."""
        if not set(header) & set(COLUMNS):
            self._faults.add(line, "", _HEADER_WANTED)
            return False
        faults = self._faults.count
        for name in COLUMNS:
            times = header.count(name)
            if times != 1:
                wrong = "is missing" if not times else f"stands there {times} times"
                self._faults.add(line, name, f"this column {wrong} in the header")
        for name in dict.fromkeys(header):
            if name not in COLUMNS:
                message = "no column is called so; the columns are " + ", ".join(COLUMNS)
                self._faults.add(line, name[:_LONGEST_SHOWN], message)
        return self._faults.count == faults

    def _row(self, line: int, header: Sequence[str], cells: list[str]) -> SheetRow | None:
        if len(cells) != len(header):
            self._faults.add(
                line,
                "",
                f"{len(cells)} cells under {len(header)} columns: quote a cell that holds a "
                "separator",
            )
            return None
        faults = self._faults.count
        row = self._cells(line, dict(zip(header, cells, strict=True)))
        self._look_for_twin(line, row)
        if row.valid_from and row.valid_until and row.valid_from >= row.valid_until:
            self._faults.add(line, "valid_until", "must be later than valid_from")
        return row if self._faults.count == faults else None

    def _cells(self, line: int, given: dict[str, str]) -> SheetRow:
        def cell(column: str, read: Callable[[str], _T], instead: _T) -> _T:
            try:
                return read(given[column])
            except _Wrong as wrong:
                self._faults.add(line, column, str(wrong))
                return instead

        return SheetRow(
            cell("sku", self._sku, given["sku"]),
            cell("cluster", self._cluster, given["cluster"]),
            cell("dealer", self._dealer, given["dealer"]),
            cell("dealer_sku", _dealer_sku, ""),
            cell("cost", _cost, None),
            cell("enabled", _enabled, False),
            cell("hours", self._hours, ""),
            cell("valid_from", self._moment, None),
            cell("valid_until", self._moment, None),
        )

    def _look_for_twin(self, line: int, row: SheetRow) -> None:
        first = self._seen.setdefault(_key(row), line)
        if first != line:
            message = f"the same sku, cluster and dealer stand in line {first}: keep one of them"
            self._faults.add(line, "", message)

    # -------------------------------------------------------------- cells

    def _sku(self, text: str) -> str:
        if text not in self._known.skus:
            raise _Wrong(f"there is no product {_shown(text)}: add it first, or mend the name")
        return text

    def _cluster(self, text: str) -> str | None:
        if text and text not in self._known.clusters:
            raise _Wrong(
                f"no region lies in a cluster {_shown(text)}: add one first, mend the name, or "
                "leave the cell empty for any"
            )
        return text or None

    def _dealer(self, text: str) -> str:
        if self._only_dealer is not None and text != self._only_dealer:
            raise _Wrong(f"only rows of {self._only_dealer} may stand here: leave others out")
        if text not in self._known.dealers:
            raise _Wrong(f"there is no dealer {_shown(text)}: add it first, or mend the name")
        return text

    def _hours(self, text: str) -> str:
        if text not in self._good_hours:
            _check_hours(text)
            self._good_hours.add(text)
        return text

    def _moment(self, text: str) -> datetime | None:
        if text not in self._moments:
            self._moments[text] = _moment(text)
        return self._moments[text]


def _shown(text: str) -> str:
    return repr(text if len(text) <= _LONGEST_SHOWN else text[:_LONGEST_SHOWN] + "…")


def _dealer_sku(text: str) -> str:
    if not text:
        raise _Wrong("is empty: write what the dealer calls the product")
    if len(text) > _LONGEST_TEXT or not text.isprintable():
        raise _Wrong(f"must be at most {_LONGEST_TEXT} printable characters")
    return text


def _cost(text: str) -> int:
    if not _COST.fullmatch(text) or int(text) > _LONGEST_COST:
        raise _Wrong(
            f"{_shown(text)} is no cost: whole rupiah above 0 in digits alone, such as 11000"
        )
    return int(text)


def _enabled(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise _Wrong(f"{_shown(text)} must be true or false")
    return text.lower() == "true"


def _check_hours(text: str) -> None:
    try:
        windows = read_hours(text)
    except ValueError:
        windows = ()
    good = windows and all(
        window.opens != window.closes and not (window.opens.tzinfo or window.closes.tzinfo)
        for window in windows
    )
    if not good:
        raise _Wrong(
            f"{_shown(text)} are no hours: in WIB, such as 00:15-23:45 or 06:00-12:00,13:00-22:00; "
            "empty for always"
        )


def _moment(text: str) -> datetime:
    form = _MOMENT.fullmatch(text)
    if form is None:
        raise _Wrong(f"{_shown(text)} is no time: such as 2026-11-22T00:00:00+07:00")
    if form["offset"] is None:
        raise _Wrong("states no offset from UTC: append +07:00 for WIB")
    try:
        return datetime.fromisoformat(text.upper()).astimezone(UTC)
    except (ValueError, OverflowError):
        raise _Wrong(f"{_shown(text)} is not in the calendar") from None
