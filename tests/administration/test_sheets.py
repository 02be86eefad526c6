"""Sheets: what people's spreadsheets write is read, or refused whole with line numbers."""

import pytest

from app.administration.catalogue import PRICE_COLUMNS, price_of
from app.administration.sheets import read_sheet, write_sheet
from app.errors import Unprocessable
from app.storage.reference import PriceRow

EXPECTED = [("line 2", PriceRow("standard", "S5", 5500)), ("line 3", PriceRow("gold", "S5", 5400))]


def prices(content: bytes) -> list[tuple[str, PriceRow]]:
    return [(each.place, each.row) for each in read_sheet(content, PRICE_COLUMNS, price_of)]


@pytest.mark.parametrize(
    "content",
    [
        b"tier,sku,price\nstandard,S5,5500\ngold,S5,5400\n",
        b"\xef\xbb\xbftier,sku,price\r\nstandard,S5,5500\r\ngold,S5,5400\r\n",
        b"tier;sku;price\r\nstandard;S5;5500\r\ngold;S5;5400",
        b"Price,Tier,SKU\n5500,standard,S5\n 5400 ,gold,S5\n\n",
        b'tier,sku,price\n"standard","S5","5500"\ngold,S5,5400\n,,\n',
    ],
    ids=["plain", "bom-crlf", "semicolons", "other-order", "quoted"],
)
def test_what_spreadsheets_write_is_read(content: bytes):
    assert prices(content) == EXPECTED


def test_blank_lines_do_not_shift_the_numbers():
    content = b"tier,sku,price\n\nstandard,S5,5500\n\ngold,S5,x\n"
    with pytest.raises(Unprocessable) as refused:
        prices(content)
    assert [error.field for error in refused.value.errors] == ["line 5.price"]


@pytest.mark.parametrize(
    ("cell", "line"),
    [(b"10.500", 3), (b'"10,500"', 3), (b"Rp5500", 3), (b"-5", 3), (b"5e3", 3), (b"", 3)],
)
def test_an_amount_is_digits_only(cell: bytes, line: int):
    content = b"tier,sku,price\nstandard,S5,5500\ngold,S5," + cell + b"\n"
    with pytest.raises(Unprocessable) as refused:
        prices(content)
    assert [error.field for error in refused.value.errors] == [f"line {line}.price"]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "line 1: the file is empty: the first line must name the columns: tier,sku,price"),
        (b"tier,sku\nstandard,S5\n", "line 1.price: this column is missing"),
        (b"tier,sku,price,price\n", "line 1.price: this column stands there 2 times"),
        (b"tier,sku,price\nstandard,S5\n", "line 2: 2 cells under 3 columns"),
        (b"tier,sku,price\nstandard,S5,5\0\n", "line 2: a NUL byte"),
        (b"tier,sku,price\nstandard,S5,5\nstandard,\xff,5\n", "line 3: this is not UTF-8"),
        (b'tier,sku,price\nstandard,"S5,5500\n', "line 2: quotes are not in pairs"),
        (b'tier,sku,price\nstandard,"S5"x,5500\n', "line 2: quotes are not in pairs"),
        ("tier,sku,price\n".encode("utf-16"), "line 1: this is not UTF-8"),
        (b"PK\3\4\0\0\0", "line 1: a NUL byte"),
    ],
)
def test_what_is_no_such_sheet_is_told_by_its_line(content: bytes, told: str):
    with pytest.raises(Unprocessable) as refused:
        prices(content)
    assert told in str(refused.value)


def test_every_wrong_line_is_told_at_once():
    content = b"tier,sku,price\n" + b"gold,S5,x\n" * 30
    with pytest.raises(Unprocessable) as refused:
        prices(content)
    assert len(refused.value.errors) == 30
    assert str(refused.value).endswith("and 10 more")


def test_what_is_written_is_read_again():
    rows = [row for _, row in EXPECTED]
    sheet = write_sheet(PRICE_COLUMNS, [(row.tier, row.sku, row.price) for row in rows])
    assert prices(sheet.encode()) == EXPECTED
