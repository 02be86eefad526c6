"""The routing table as a sheet: what operators keep in a spreadsheet and exchange as CSV or JSON.

A sheet is read whole or not at all, and every fault in it is told at once with its line: whoever
mends thousands of prices must not learn of the mistakes one by one. Writing a table and reading it
again gives the same rows.
"""

import csv
import io
import json
import re
from collections.abc import Callable, Iterable, Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from functools import lru_cache
from typing import Any, Generic, NamedTuple, TypeVar, cast
from urllib.parse import quote

from routing.records import Line, read_cells, read_items
from routing.table import read_hours

REQUIRED_COLUMNS = (
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
COLUMNS = (*REQUIRED_COLUMNS, "daily_quota", "repeat_limit", "weight")
"""Those behind the required ones may be left out."""
MOST_BYTES = 128 * 1024 * 1024
MOST_ROWS = 1_000_000
MOST_FAULTS = 100
"""How many faults are kept in words; the others are counted."""
MOST_WINDOWS = 100
"""How many prices one offer may have, each for a time of its own."""

_LONGEST_COST = 2**63 - 1
_MOST_ORDERS = 10**9
_MOST_REPEATS = 99
_MOST_WEIGHT = 1000
_LONGEST_TEXT = 200
_LONGEST_SHOWN = 40
_REMEMBERED = 200_000
_NUMBER = re.compile("[1-9][0-9]{0,18}")
_SEPARATED = re.compile("[0-9]{1,3}([., ' \u00a0][0-9]{3})+")
_MOMENT = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,6})?)?"
    r"(?P<offset>[Zz]|[+-][0-9]{2}:[0-9]{2})?"
)
_T = TypeVar("_T")
_Key = tuple[str, str | None, str]
_Span = tuple[int, datetime | None, datetime | None]
_COST, _ENABLED, _QUOTA = COLUMNS.index("cost"), COLUMNS.index("enabled"), len(REQUIRED_COLUMNS)


class Form(StrEnum):
    """How a sheet is written."""

    CSV = "csv"
    JSON = "json"


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
    daily_quota: int | None = None
    """Orders a day in WIB; None for no bound."""
    repeat_limit: int | None = None
    """Purchases of this product for one number a day in WIB; None for no bound."""
    weight: int = 0
    """The share that is aimed at, against the others' weights."""


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


class SheetReader:
    """A sheet's rows, one by one: CSV in UTF-8, separated by commas or semicolons, or JSON.

    Once all rows are taken, `faults` holds the first of its faults in the order of their lines;
    where `fault_count` is not 0, the rows must not be used. With `only_dealer` every line must be
    that dealer's.
    """

    def __init__(
        self, content: bytes, known: Known, only_dealer: str | None = None, form: Form = Form.CSV
    ) -> None:
        self._content = content
        self._form = form
        self._known = known
        self._only_dealer = only_dealer
        self.faults: list[Fault] = []
        self.fault_count = 0
        self._seen: dict[_Key, int] = {}
        """The first line of every sku, cluster and dealer."""
        self._spans: dict[_Key, list[_Span]] = {}
        """Of those whose first line is not valid always: every line's time."""
        self._readers: tuple[_Memory[Any], ...] = (
            _Memory(self._sku),
            _Memory(self._cluster),
            _Memory(self._dealer),
            _Memory(_dealer_sku, 0),
            _Memory(_cost),
            _Memory(_enabled),
            _Memory(_hours),
            _Memory(_moment),
            _Memory(_moment),
            _Memory(_daily_quota),
            _Memory(_repeat_limit),
            _Memory(_weight),
        )

    def __iter__(self) -> Iterator[SheetRow]:
        """Read it once."""
        if len(self._content) > MOST_BYTES:
            message = f"the file has more than {MOST_BYTES} bytes: bring it dealer by dealer"
            self._tell(1, "", message)
            return
        for number, (line, cells) in enumerate(self._lines(), 1):
            if number > MOST_ROWS:
                self._tell(line, "", f"more than {MOST_ROWS} rows: bring it dealer by dealer")
                return
            row = self._row(line, cells)
            if row is not None:
                yield row

    def _lines(self) -> Iterator[Line]:
        if self._form is Form.JSON:
            return read_items(self._content, COLUMNS, self._tell)
        optional = COLUMNS[len(REQUIRED_COLUMNS) :]
        return read_cells(self._content, REQUIRED_COLUMNS, self._tell, optional=optional)

    def _tell(self, line: int, column: str, message: str) -> None:
        self.fault_count += 1
        if len(self.faults) < MOST_FAULTS:
            self.faults.append(Fault(line, column, message))

    def _row(self, line: int, cells: tuple[str, ...]) -> SheetRow | None:
        faults = self.fault_count
        try:
            # As a whole first: a million good lines must not each pay for the telling of faults.
            values = [read[cell] for read, cell in zip(self._readers, cells, strict=True)]
        except _Wrong:
            values = self._values(line, cells)
        row = SheetRow(*values)
        self._look_for_twin(line, row)
        if row.valid_from and row.valid_until and row.valid_from >= row.valid_until:
            self._tell(line, "valid_until", "must be later than valid_from")
        return row if self.fault_count == faults else None

    def _values(self, line: int, cells: tuple[str, ...]) -> list[Any]:
        """Each cell's value, with what is wrong told; a wrong name stands for itself."""
        names = 3
        values: list[Any] = []
        for place, (read, cell) in enumerate(zip(self._readers, cells, strict=True)):
            try:
                values.append(read[cell])
            except _Wrong as wrong:
                self._tell(line, COLUMNS[place], str(wrong))
                values.append(cell if place < names else None)
        return values

    def _look_for_twin(self, line: int, row: SheetRow) -> None:
        """Tell of an earlier line with the same offer for the same time."""
        key = row[:3]
        first = self._seen.setdefault(key, line)
        span = (line, row.valid_from, row.valid_until)
        if first == line:
            if span != (line, None, None):
                self._spans[key] = [span]
            return
        spans = self._spans.get(key, [(first, None, None)])
        twin = next((each[0] for each in spans if _overlap(each, span)), None)
        if twin is not None:
            wrong = f"the same sku, cluster and dealer stand in line {twin} for the same time"
            self._tell(line, "", f"{wrong}: keep one of them, or part their validity")
        elif len(spans) >= MOST_WINDOWS:
            self._tell(line, "", f"more than {MOST_WINDOWS} lines of one sku, cluster and dealer")
        else:
            spans.append(span)

    # -------------------------------------------------------------- names

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


def route_id_of(row: SheetRow) -> str:
    """The id of a new route: its sku, cluster, dealer and start, the same everywhere."""
    parts = [_quoted(row.sku), _quoted(row.cluster or ""), _quoted(row.dealer_id)]
    if row.valid_from is not None:
        start = row.valid_from.astimezone(UTC)
        parts.append(start.strftime("%Y%m%dT%H%M%S.%fZ").replace(".000000", ""))
    return "/".join(parts)


@lru_cache(_REMEMBERED)
def _quoted(part: str) -> str:
    return quote(part, safe="")


# ------------------------------------------------------------------ writing


def write_sheet(rows: Iterable[SheetRow]) -> str:
    """The rows as CSV with commas, sorted: equal tables give equal text."""
    written = io.StringIO(newline="")
    writer = csv.writer(written, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(
        (
            *row[:_ENABLED],
            "true" if row.enabled else "false",
            row.hours,
            _written(row.valid_from),
            _written(row.valid_until),
            *row[_QUOTA:],
        )
        for row in sorted(rows, key=_order)
    )
    return written.getvalue()


def sheet_as_json(content: bytes) -> Iterator[str]:
    """A written sheet as an array of objects, in pieces, an object a line."""
    before = "[\n"
    for _, cells in read_cells(content, COLUMNS, _never):
        item: dict[str, object] = {
            name: cell or None for name, cell in zip(COLUMNS, cells, strict=True)
        }
        item["enabled"] = cells[_ENABLED] == "true"
        for name in (COLUMNS[_COST], *COLUMNS[_QUOTA:]):
            item[name] = item[name] and int(cast("str", item[name]))
        yield before + json.dumps(item, ensure_ascii=False)
        before = ",\n"
    yield "[]\n" if before == "[\n" else "\n]\n"


def _order(row: SheetRow) -> tuple[str, str, str, datetime]:
    return row.sku, row.cluster or "", row.dealer_id, row.valid_from or _EARLIEST


_EARLIEST = datetime.min.replace(tzinfo=UTC)


def _written(moment: datetime | None) -> str:
    return "" if moment is None else moment.astimezone(UTC).isoformat()


def _never(line: int, column: str, message: str) -> None:
    raise ValueError(f"a table that was kept cannot be read: line {line} {column}: {message}")


def _overlap(one: _Span, other: _Span) -> bool:
    """Whether two times share a moment; None is no bound, an end is not part of its time."""
    (_, starts, ends), (_, other_starts, other_ends) = one, other
    if ends and other_starts and ends <= other_starts:
        return False
    return not (other_ends and starts and other_ends <= starts)


# ------------------------------------------------------------------ cells to values


class _Wrong(ValueError):
    """A cell that cannot be read; the message says what it should be."""


class _Memory(dict[str, _T], Generic[_T]):
    """What cells mean, each text read once: in a table most cells have been seen before."""

    def __init__(self, read: Callable[[str], _T], most: int = _REMEMBERED) -> None:
        super().__init__()
        self._read = read
        self._most = most

    def __missing__(self, text: str) -> _T:
        value = self._read(text)
        if len(self) < self._most:
            self[text] = value
        return value


def _shown(text: str) -> str:
    return repr(text if len(text) <= _LONGEST_SHOWN else text[:_LONGEST_SHOWN] + "…")


def _dealer_sku(text: str) -> str:
    if not text:
        raise _Wrong("is empty: write what the dealer calls the product")
    if len(text) > _LONGEST_TEXT or not text.isprintable():
        raise _Wrong(f"must be at most {_LONGEST_TEXT} printable characters")
    return text


def _cost(text: str) -> int:
    if _NUMBER.fullmatch(text) and int(text) <= _LONGEST_COST:
        return int(text)
    if _SEPARATED.fullmatch(text):
        plain = re.sub("[^0-9]", "", text)
        raise _Wrong(f"{_shown(text)} holds separators of thousands: write {plain[:19]}")
    raise _Wrong(f"{_shown(text)} is no cost: whole rupiah above 0 in digits alone, such as 11000")


def _enabled(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise _Wrong(f"{_shown(text)} must be true or false")
    return text.lower() == "true"


def _daily_quota(text: str) -> int | None:
    if not text:
        return None
    if _NUMBER.fullmatch(text) and int(text) <= _MOST_ORDERS:
        return int(text)
    raise _Wrong(f"{_shown(text)} is no quota: orders a day in digits, empty for no bound")


def _repeat_limit(text: str) -> int | None:
    if not text:
        return None
    if _NUMBER.fullmatch(text) and int(text) <= _MOST_REPEATS:
        return int(text)
    raise _Wrong(
        f"{_shown(text)} is no limit: purchases for one number a day, 1 to {_MOST_REPEATS}, empty "
        "for no bound"
    )


def _weight(text: str) -> int:
    if text in ("", "0"):
        return 0
    if _NUMBER.fullmatch(text) and int(text) <= _MOST_WEIGHT:
        return int(text)
    raise _Wrong(f"{_shown(text)} is no weight: a whole number from 0 to {_MOST_WEIGHT}")


def _hours(text: str) -> str:
    try:
        windows = read_hours(text)
    except ValueError:
        windows = ()
    good = all(
        window.opens != window.closes and not (window.opens.tzinfo or window.closes.tzinfo)
        for window in windows
    )
    if text and not (windows and good):
        raise _Wrong(
            f"{_shown(text)} are no hours: in WIB, such as 00:15-23:45 or 06:00-12:00,13:00-22:00; "
            "empty for always"
        )
    return text


def _moment(text: str) -> datetime | None:
    if not text:
        return None
    form = _MOMENT.fullmatch(text)
    if form is None:
        raise _Wrong(f"{_shown(text)} is no time: such as 2026-11-22T00:00:00+07:00")
    if form["offset"] is None:
        raise _Wrong("states no offset from UTC: append +07:00 for WIB")
    try:
        return datetime.fromisoformat(text.upper()).astimezone(UTC)
    except (ValueError, OverflowError):
        raise _Wrong(f"{_shown(text)} is not in the calendar") from None
