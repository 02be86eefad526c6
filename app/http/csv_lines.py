"""Ledger entries as lines of CSV (RFC 4180) that a spreadsheet reads as text and numbers only."""

import csv
import io
from collections.abc import Iterable

from app.storage.entries import Entry
from routing.table import WIB

_COLUMNS = (
    "seq",
    "created_at_wib",
    "kind",
    "order_id",
    "ref_id",
    "reference",
    "available_delta",
    "reserved_delta",
    "available_after",
    "reserved_after",
)
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")


def _written(rows: Iterable[Iterable[object]]) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue().encode()


HEADER = _written([_COLUMNS])
"""The first line; columns are only ever added, at the end."""


def of_entries(rows: Iterable[Entry]) -> bytes:
    """A line an entry. Money in rupiah; times in WIB (UTC+7), with their offset."""
    return _written(
        (
            row.seq,
            row.created_at.astimezone(WIB).isoformat(),
            row.kind,
            row.order_id,
            _harmless(row.ref_id),
            _harmless(row.reference),
            row.available_delta,
            row.reserved_delta,
            row.available_after,
            row.reserved_after,
        )
        for row in rows
    )


def _harmless(text: str | None) -> str | None:
    """Text from outside: a spreadsheet would take one that begins like this for a formula."""
    return f"'{text}" if text is not None and text.startswith(_FORMULA) else text
