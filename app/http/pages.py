"""Pages of lists: opaque cursors that name the last row seen, never an offset.

A cursor carries the kind of list it is from, so that one list's cursor is not taken by another.
"""

import base64
import binascii
import struct
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, TypeVar
from uuid import UUID

from fastapi import Query

from app.errors import BadRequest

MOST_ROWS = 100
MOST_CURSOR_CHARACTERS = 200

Limit = Annotated[int, Query(ge=1, le=MOST_ROWS)]
Cursor = Annotated[str | None, Query(max_length=MOST_CURSOR_CHARACTERS)]

_Row = TypeVar("_Row")
_SEQ_BYTES = 8
_ID_BYTES = 16
_PLACE = struct.Struct(">q16sh")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def seq_cursor(kind: str, seq: int) -> str:
    """The cursor behind a row with a sequence number."""
    return text_cursor(kind, seq.to_bytes(_SEQ_BYTES, signed=True))


def id_cursor(kind: str, row_id: UUID) -> str:
    """The cursor behind a row with a UUID."""
    return text_cursor(kind, row_id.bytes)


def place_cursor(kind: str, moment: datetime, row_id: UUID, number: int, word: str = "") -> str:
    """The cursor behind a row that a moment, a UUID, a small number and a word place."""
    micros = (moment - _EPOCH) // timedelta(microseconds=1)
    return text_cursor(kind, _PLACE.pack(micros, row_id.bytes, number) + word.encode())


def text_cursor(kind: str, value: bytes) -> str:
    """The cursor behind a row with any other key."""
    return base64.urlsafe_b64encode(kind.encode() + b":" + value).decode().rstrip("=")


def read_seq(kind: str, cursor: str | None) -> int | None:
    """The sequence number in a cursor; None without one. Raises BadRequest."""
    value = read_text(kind, cursor)
    if value is None:
        return None
    if len(value) != _SEQ_BYTES:
        raise foreign_cursor()
    return int.from_bytes(value, signed=True)


def read_id(kind: str, cursor: str | None) -> UUID | None:
    """The UUID in a cursor; None without one. Raises BadRequest."""
    value = read_text(kind, cursor)
    if value is None:
        return None
    if len(value) != _ID_BYTES:
        raise foreign_cursor()
    return UUID(bytes=value)


def read_place(kind: str, cursor: str | None) -> tuple[datetime, UUID, int, str] | None:
    """What `place_cursor` was given; None without a cursor. Raises BadRequest."""
    value = read_text(kind, cursor)
    if value is None:
        return None
    try:
        micros, row_id, number = _PLACE.unpack(value[: _PLACE.size])
        word = value[_PLACE.size :].decode()
        moment = _EPOCH + timedelta(microseconds=micros)
    except (struct.error, ValueError, OverflowError):
        raise foreign_cursor() from None
    if "\0" in word:
        raise foreign_cursor()
    return moment, UUID(bytes=row_id), number, word


def read_text(kind: str, cursor: str | None) -> bytes | None:
    """What a cursor holds; None without one. Raises BadRequest."""
    if cursor is None:
        return None
    try:
        raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise foreign_cursor() from None
    head, _, value = raw.partition(b":")
    if head != kind.encode():
        raise foreign_cursor()
    return value


def cut(rows: Sequence[_Row], limit: int) -> tuple[Sequence[_Row], bool]:
    """Cut rows that were read with one to spare; tells whether there are more."""
    return rows[:limit], len(rows) > limit


def foreign_cursor() -> BadRequest:
    """What a caller is told who brings another list's cursor."""
    return BadRequest("invalid-cursor", "This cursor was not given out by this list.")
