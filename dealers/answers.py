"""What a dealer's JSON holds, read without trust: nothing here raises, whatever arrives."""

from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import TypeAlias, cast

import orjson

Fields: TypeAlias = Mapping[str, object]

_LONGEST_WHOLE = 15
"""Digits: beyond them text is no amount of money."""


def read_json(body: bytes) -> object:
    """The value in a body; None where it is no JSON."""
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return None


def fields_of(value: object) -> Fields:
    """The members of a JSON object; none where `value` is something else."""
    return cast(Fields, value) if isinstance(value, dict) else {}


def text_in(fields: Fields, name: str) -> str:
    """The text of a member, without the space around it; empty where it is no text."""
    value = fields.get(name)
    return value.strip() if isinstance(value, str) else ""


def whole_number(value: object) -> int | None:
    """A whole number that is written as one."""
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def loose_whole_number(value: object) -> int | None:
    """A whole number, also where it is written as text."""
    if isinstance(value, str) and value.isascii() and value.isdigit():
        return int(value) if len(value) <= _LONGEST_WHOLE else None
    return whole_number(value)


def decimal_number(value: object) -> Decimal | None:
    """An amount, exactly as it is written, as a number or as text."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        amount = Decimal(str(value))
    except InvalidOperation:
        return None
    return amount if amount.is_finite() and abs(amount) < 10**_LONGEST_WHOLE else None
