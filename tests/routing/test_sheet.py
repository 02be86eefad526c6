"""The routing table as a sheet: every fault is told with its line, and what is written is read."""

import codecs
import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from routing.sheet import (
    COLUMNS,
    MOST_BYTES,
    MOST_FAULTS,
    REQUIRED_COLUMNS,
    Fault,
    Form,
    Known,
    SheetReader,
    SheetRow,
    route_id_of,
    sheet_as_json,
    write_sheet,
)
from routing.snapshot import compile_table
from routing.table import Condition, Dealer, Policy, Product, Route, read_hours

KNOWN = Known({"S10", "S20", "=1+2"}, {"jabar", "sumut"}, {"alfa", "bravo"})
HEADER = ",".join(COLUMNS)
GOOD = {
    "sku": "S10",
    "cluster": "jabar",
    "dealer": "alfa",
    "dealer_sku": "TS10",
    "cost": "10150",
    "enabled": "true",
    "hours": "06:00-22:00",
    "valid_from": "2026-11-01T00:00:00+07:00",
    "valid_until": "2026-12-01T00:00:00+07:00",
    "daily_quota": "500",
    "repeat_limit": "2",
    "weight": "70",
}


@dataclass(frozen=True)
class Reading:
    """A sheet read whole."""

    rows: list[SheetRow]
    faults: list[Fault]
    fault_count: int


def read_sheet(
    content: bytes, known: Known, only_dealer: str | None = None, form: Form = Form.CSV
) -> Reading:
    reader = SheetReader(content, known, only_dealer, form)
    rows = list(reader)
    return Reading(rows, reader.faults, reader.fault_count)


def line(**changes: str) -> str:
    return ",".join(f'"{cell}"' for cell in (GOOD | changes).values())


def sheet(*lines: str, header: str = HEADER, end: str = "\n") -> bytes:
    return end.join([header, *lines, ""]).encode()


def faults_of(content: bytes, only_dealer: str | None = None) -> list[Fault]:
    reading = read_sheet(content, KNOWN, only_dealer)
    assert reading.fault_count >= len(reading.faults)
    return reading.faults


def only_fault(content: bytes, only_dealer: str | None = None) -> tuple[int, str, str]:
    (fault,) = faults_of(content, only_dealer)
    return fault.line, fault.column, fault.message


def test_a_line_becomes_a_row():
    (row,) = read_sheet(sheet(line()), KNOWN).rows
    assert row == SheetRow(
        "S10",
        "jabar",
        "alfa",
        "TS10",
        10_150,
        True,
        "06:00-22:00",
        datetime(2026, 10, 31, 17, tzinfo=UTC),
        datetime(2026, 11, 30, 17, tzinfo=UTC),
        500,
        2,
        70,
    )


def test_empty_cells_mean_any_cluster_always_and_for_good():
    bare = line(cluster="", hours="", valid_from="", valid_until="", enabled="FALSE")
    (row,) = read_sheet(sheet(bare), KNOWN).rows
    assert (row.cluster, row.hours, row.valid_from, row.valid_until) == (None, "", None, None)
    assert not row.enabled


@pytest.mark.parametrize(
    "content",
    [
        codecs.BOM_UTF8 + sheet(line()),
        sheet(line(), end="\r\n"),
        sheet(line(), end="\r"),
        sheet(line()).rstrip(),
        sheet("", line(), "", ""),
        sheet(";".join(GOOD.values()), header=";".join(COLUMNS)),
        sheet(",".join(reversed(GOOD.values())), header=",".join(reversed(COLUMNS))),
    ],
)
def test_what_spreadsheets_write_is_the_same_sheet(content: bytes):
    assert read_sheet(content, KNOWN) == read_sheet(sheet(line()), KNOWN)


def test_columns_of_later_versions_may_be_left_out():
    older = ",".join(REQUIRED_COLUMNS)
    (row,) = read_sheet(sheet(line().rsplit(",", 3)[0], header=older), KNOWN).rows
    assert row[:9] == read_sheet(sheet(line()), KNOWN).rows[0][:9]
    assert (row.daily_quota, row.repeat_limit, row.weight) == (None, None, 0)


def test_text_that_a_spreadsheet_would_take_for_a_formula_is_plain_text():
    (row,) = read_sheet(sheet(line(sku="=1+2", dealer_sku="@cmd|'/c calc'!A0")), KNOWN).rows
    assert (row.sku, row.dealer_sku) == ("=1+2", "@cmd|'/c calc'!A0")


@pytest.mark.parametrize(
    ("column", "cell"),
    [
        ("sku", "S99"),
        ("sku", ""),
        ("sku", " S10"),
        ("cluster", "bali"),
        ("dealer", "Alfa"),
        ("dealer", ""),
        ("dealer_sku", ""),
        ("dealer_sku", "S\t10"),
        ("dealer_sku", "x" * 201),
        ("cost", ""),
        ("cost", "0"),
        ("cost", "-1"),
        ("cost", "+1"),
        ("cost", "007"),
        ("cost", "11.000"),
        ("cost", "11,000"),
        ("cost", "11000.0"),
        ("cost", "1e4"),
        ("cost", " 11000"),
        ("cost", "11 000"),
        ("cost", "1_000"),
        ("cost", "\u0661\u0660\u0660"),
        ("cost", "Rp11000"),
        ("cost", str(2**63)),
        ("cost", "9" * 400),
        ("enabled", ""),
        ("enabled", "BENAR"),
        ("enabled", "1"),
        ("hours", "6-22"),
        ("hours", "06:00"),
        ("hours", "06:00-06:00"),
        ("hours", "06:00-24:00"),
        ("hours", "06:00+07:00-22:00"),
        ("hours", "06:00-22:00-23:00"),
        ("hours", "06:00-22:00;23:00-24:00"),
        ("hours", ","),
        ("valid_from", "2026-11-01T00:00:00"),
        ("valid_from", "2026-11-01"),
        ("valid_from", "2026-13-01T00:00:00Z"),
        ("valid_from", "2026-W10-1T00:00:00Z"),
        ("valid_from", "0001-01-01T00:00:00+07:00"),
        ("valid_until", "2026-10-01T00:00:00Z"),
        ("valid_until", "1 December"),
        ("daily_quota", "0"),
        ("daily_quota", "-5"),
        ("daily_quota", "1.000"),
        ("daily_quota", "1" * 11),
        ("repeat_limit", "0"),
        ("repeat_limit", "100"),
        ("repeat_limit", "two"),
        ("weight", "1001"),
        ("weight", "-1"),
        ("weight", "0.5"),
        ("weight", "007"),
    ],
)
def test_a_bad_cell_is_told_by_line_and_column(column: str, cell: str):
    number, found, message = only_fault(sheet(line(dealer="bravo"), line(**{column: cell})))
    assert (number, found) == (3, column)
    assert 20 < len(message) < 300


@pytest.mark.parametrize(
    ("cost", "plain"), [("11.000", "11000"), ("1,234,567", "1234567"), ("11 000", "11000")]
)
def test_separators_of_thousands_have_a_sentence_of_their_own(cost: str, plain: str):
    assert f"write {plain}" in only_fault(sheet(line(cost=cost)))[2]


def test_the_largest_cost_is_still_a_cost():
    (row,) = read_sheet(sheet(line(cost=str(2**63 - 1))), KNOWN).rows
    assert row.cost_rupiah == 2**63 - 1


def test_an_end_at_the_very_start_is_refused():
    same = GOOD["valid_from"]
    assert only_fault(sheet(line(valid_until=same)))[:2] == (2, "valid_until")


def test_a_missing_offset_has_a_sentence_of_its_own():
    assert "+07:00" in only_fault(sheet(line(valid_from="2026-11-01T00:00:00")))[2]


def test_lines_are_counted_as_an_editor_counts_them():
    torn = line(dealer_sku="one\r\ntwo\nthree\rfour")
    faults = faults_of(sheet(torn, "", line(cost="0", dealer="bravo")))
    assert [(fault.line, fault.column) for fault in faults] == [(2, "dealer_sku"), (7, "cost")]


def test_the_same_offer_twice_names_both_lines():
    number, column, message = only_fault(sheet(line(), line(sku="S20"), line(cost="10200")))
    assert (number, column) == (4, "")
    assert "line 2" in message


JANUARY, FEBRUARY = "2027-01-01T00:00:00+07:00", "2027-02-01T00:00:00+07:00"


def of(starts: str, ends: str) -> str:
    return line(valid_from=starts, valid_until=ends)


@pytest.mark.parametrize(
    "times",
    [
        [("", JANUARY), (JANUARY, FEBRUARY), (FEBRUARY, "")],
        [(FEBRUARY, ""), ("", JANUARY)],
        [(JANUARY, FEBRUARY), ("2027-01-31T17:00:00Z", "")],
    ],
)
def test_an_offer_may_have_prices_of_times_that_do_not_overlap(times: list[tuple[str, str]]):
    reading = read_sheet(sheet(*(of(*each) for each in times)), KNOWN)
    assert (len(reading.rows), reading.fault_count) == (len(times), 0)
    assert len({route_id_of(row) for row in reading.rows}) == len(times)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (("", ""), (JANUARY, "")),
        ((JANUARY, ""), ("", "")),
        (("", FEBRUARY), (JANUARY, "")),
        ((JANUARY, FEBRUARY), (JANUARY, FEBRUARY)),
        ((JANUARY, ""), ("", "2027-01-01T00:00:00.000001+07:00")),
        ((JANUARY, FEBRUARY), ("2027-01-31T17:30:00+01:00", "")),
    ],
)
def test_prices_whose_times_overlap_name_both_lines(
    first: tuple[str, str], second: tuple[str, str]
):
    number, _, message = only_fault(sheet(line(sku="S20"), of(*first), of(*second)))
    assert number == 4
    assert "line 3" in message


def test_more_prices_of_an_offer_than_may_be_are_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("routing.sheet.MOST_WINDOWS", 1)
    assert only_fault(sheet(of("", JANUARY), of(JANUARY, "")))[0] == 3


def test_the_same_dealer_may_offer_in_a_cluster_and_in_any():
    reading = read_sheet(sheet(line(), line(cluster="")), KNOWN)
    assert (len(reading.rows), reading.fault_count) == (2, 0)


def test_every_fault_of_a_line_and_of_a_sheet_is_told():
    faults = faults_of(sheet(line(cost="0", hours="?", sku="S99"), line(enabled="?")))
    found = [(fault.line, fault.column) for fault in faults]
    assert found == [(2, "sku"), (2, "cost"), (2, "hours"), (3, "enabled")]


def test_many_faults_are_told_up_to_a_bound_and_counted():
    reading = read_sheet(sheet(*[line(cost="0")] * (MOST_FAULTS + 50)), KNOWN)
    assert len(reading.faults) == MOST_FAULTS
    assert reading.fault_count > MOST_FAULTS + 50
    assert reading.rows == []


def test_only_the_named_dealers_rows_may_stand_in_its_part():
    number, column, message = only_fault(sheet(line(), line(dealer="bravo")), "alfa")
    assert (number, column) == (3, "dealer")
    assert "alfa" in message


@pytest.mark.parametrize(
    ("header", "columns"),
    [
        (HEADER.replace(",cost", ""), ["cost"]),
        (HEADER + ",cost", ["cost"]),
        (HEADER + ",margin", ["margin"]),
        (HEADER.upper(), [""]),
        (HEADER.replace(",", "\t"), [""]),
        ("sep=;", [""]),
        (line(), [""]),
        (
            HEADER.replace("cost", "price").replace("sku", "code", 1),
            ["sku", "cost", "code", "price"],
        ),
    ],
)
def test_a_header_that_does_not_name_every_column_once_is_refused(header: str, columns: list[str]):
    faults = faults_of(sheet(line(), header=header))
    assert [fault.column for fault in faults] == columns
    assert {fault.line for fault in faults} == {1}


@pytest.mark.parametrize("content", [b"", b"\n\n", codecs.BOM_UTF8])
def test_an_empty_file_is_refused_and_told_its_header(content: bytes):
    assert HEADER in only_fault(content)[2]


def test_a_header_alone_is_a_sheet_without_rows():
    reading = read_sheet(sheet(), KNOWN)
    assert (reading.rows, reading.fault_count) == ([], 0)


@pytest.mark.parametrize("cells", ["S10,jabar", line() + ",more", "S10;jabar;alfa;x;1;true;;;"])
def test_a_line_with_too_few_or_too_many_cells_is_told(cells: str):
    assert only_fault(sheet(line(), cells))[:2] == (3, "")


@pytest.mark.parametrize("cells", ['"S10"x,', '"S10,jabar', 'S10,"' + "x" * 200_000])
def test_quotes_that_do_not_pair_end_the_reading_with_their_line(cells: str):
    number, column, message = only_fault(sheet(line(), cells, line(cost="0")))
    assert (number, column) == (3, "")
    assert "quotes" in message


@pytest.mark.parametrize(
    ("content", "number"),
    [
        (sheet(line(), line(dealer_sku="\0")), 3),
        (sheet(line()) + b"\xff", 3),
        (codecs.BOM_UTF8 + sheet(line()) + "é".encode("latin-1"), 3),
        (sheet(line()).decode().encode("utf-16"), 1),
        (b"PK\x03\x04\x14\x00\x08\x00", 1),
    ],
)
def test_what_is_no_text_in_utf_8_is_refused_with_its_line(content: bytes, number: int):
    assert only_fault(content)[:2] == (number, "")


def test_a_file_beyond_the_bound_is_refused_unread():
    assert "bytes" in only_fault(b"," * (MOST_BYTES + 1))[2]


def test_more_rows_than_may_be_are_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("routing.sheet.MOST_ROWS", 1)
    number, _, message = only_fault(sheet(line(), line(dealer="bravo"), line(cost="0")))
    assert number == 3
    assert "1 rows" in message


# ------------------------------------------------------------------ JSON


def read_json(content: str | bytes, only_dealer: str | None = None) -> Reading:
    given = content.encode() if isinstance(content, str) else content
    return read_sheet(given, KNOWN, only_dealer, Form.JSON)


ITEM = {**GOOD, "cost": 10150, "enabled": True, "daily_quota": 500, "repeat_limit": 2, "weight": 70}


def test_an_object_is_the_line_that_it_would_be():
    bare = {name: ITEM[name] for name in ("sku", "dealer", "dealer_sku", "cost", "enabled")}
    reading = read_json(json.dumps([ITEM, bare | {"cluster": None}]))
    assert reading.faults == []
    whole, short = reading.rows
    assert whole == read_sheet(sheet(line()), KNOWN).rows[0]
    assert (short.cluster, short.hours, short.valid_from, short.weight) == (None, "", None, 0)


@pytest.mark.parametrize(
    ("change", "column"),
    [
        ({"cost": "11.000"}, "cost"),
        ({"cost": 11000.0}, "cost"),
        ({"cost": None}, "cost"),
        ({"cost": True}, "cost"),
        ({"cost": [11000]}, "cost"),
        ({"enabled": "yes"}, "enabled"),
        ({"enabled": 1}, "enabled"),
        ({"dealer": "nobody"}, "dealer"),
        ({"sku": {}}, "sku"),
        ({"margin": 5}, "margin"),
        ({"valid_from": "2026-11-01"}, "valid_from"),
        ({"dealer_sku": "a\0b"}, "dealer_sku"),
    ],
)
def test_a_fault_names_the_place_in_the_array(change: dict[str, object], column: str):
    faults = read_json(json.dumps([ITEM | {"dealer": "bravo"}, ITEM | change])).faults
    assert [(fault.line, fault.column) for fault in faults] == [(2, column)]


def test_the_same_offer_twice_names_both_objects():
    (fault,) = read_json(json.dumps([ITEM, ITEM | {"sku": "S20"}, ITEM])).faults
    assert (fault.line, "line 1" in fault.message) == (3, True)


@pytest.mark.parametrize(
    ("content", "number"),
    [
        ("", 1),
        ("{}", 1),
        ("null", 1),
        ("[", 1),
        ("[{}", 1),
        ("[{},]", 2),
        ("[{} {}]", 1),
        ("[{}] []", 1),
        ("[1]", 1),
        ('[{"sku": "S10"', 1),
        ("[" * 100_000, 1),
        ("[" + "1" * 5000 + "]", 1),
        (b"[\xff]", 1),
        ("[\0]", 1),
    ],
)
def test_what_is_no_array_of_objects_is_refused(content: str | bytes, number: int):
    reading = read_json(content)
    assert reading.rows == []
    assert reading.faults[-1].line == number


def test_an_empty_array_is_a_sheet_without_rows():
    for content in ("[]", " [ ]\n", "\ufeff[]"):
        assert read_json(content) == Reading([], [], 0)


# ------------------------------------------------------------------ there and back

names = st.text(
    st.characters(codec="utf-8", exclude_categories=["C", "Z"]) | st.sampled_from(" ,;\"'=@"),
    min_size=1,
    max_size=8,
)
EARLIEST = datetime(1990, 1, 1, tzinfo=UTC).replace(tzinfo=None)
LATEST = datetime(2100, 1, 1, tzinfo=UTC).replace(tzinfo=None)
moments = st.none() | st.datetimes(
    timezones=st.just(timezone(timedelta(hours=7))), min_value=EARLIEST, max_value=LATEST
)


@st.composite
def rows(draw: st.DrawFn) -> SheetRow:
    starts, ends = draw(moments), draw(moments)
    if starts and ends and starts >= ends:
        ends = starts + timedelta(microseconds=1)
    return SheetRow(
        draw(names),
        draw(st.none() | names),
        draw(names),
        draw(names.filter(str.isprintable)),
        draw(st.integers(1, 2**63 - 1)),
        draw(st.booleans()),
        draw(st.sampled_from(["", "00:15-23:45", "22:00-05:00, 06:00-12:30:15"])),
        starts,
        ends,
        draw(st.none() | st.integers(1, 10**9)),
        draw(st.none() | st.integers(1, 99)),
        draw(st.integers(0, 1000)),
    )


tables = st.lists(rows(), max_size=6, unique_by=lambda row: row[:3])


@settings(max_examples=300)
@given(tables)
def test_what_is_written_is_read_again(table: list[SheetRow]):
    known = Known(
        {row.sku for row in table},
        {row.cluster for row in table if row.cluster},
        {row.dealer_id for row in table},
    )
    written = write_sheet(table)
    reading = read_sheet(written.encode(), known)
    assert reading.faults == []
    assert sorted(reading.rows, key=repr) == sorted([_in_utc(row) for row in table], key=repr)
    assert write_sheet(reading.rows) == written
    as_json = read_sheet("".join(sheet_as_json(written.encode())).encode(), known, None, Form.JSON)
    assert as_json.faults == []
    assert sorted(as_json.rows, key=repr) == sorted(reading.rows, key=repr)


@settings(max_examples=200)
@given(tables)
def test_every_row_that_is_taken_compiles(table: list[SheetRow]):
    """Applying a sheet relies on this: of a large one it compiles samples only."""
    dealers = [Dealer(each, each) for each in sorted({row.dealer_id for row in table})]
    products = [Product(each, "", "tri", "pulsa", 1) for each in sorted({row.sku for row in table})]
    routes = [
        Route(
            route_id_of(row),
            row.sku,
            row.cluster,
            row.dealer_id,
            row.dealer_sku,
            row.cost_rupiah,
            Condition(row.enabled, read_hours(row.hours), row.valid_from, row.valid_until),
        )
        for row in table
    ]
    assert compile_table(dealers, products, routes, Policy()).refused == ()


def _in_utc(row: SheetRow) -> SheetRow:
    starts, ends = row.valid_from, row.valid_until
    return row._replace(
        valid_from=starts and starts.astimezone(UTC), valid_until=ends and ends.astimezone(UTC)
    )


@settings(max_examples=300)
@given(
    st.binary(max_size=200) | st.text(max_size=200).map(lambda text: text.encode(errors="replace"))
)
def test_no_file_trips_the_reader_up(content: bytes):
    for start in (b"", sheet()):
        reading = read_sheet(start + content, KNOWN)
        assert reading.rows == [] or reading.fault_count or start
