"""Which brand serves a customer's number: digits decide brands, and nothing more.

Brands are told apart by prefix, not by company, because products stay separate after mergers
(XL and Smartfren became one company in 2025 and still sell different top-ups). A number that was
ported or a dealer's selling area ("cluster") cannot be read from digits. General libraries are
some sixty times slower here, count Tri as Indosat and do not know by.U.
"""

import re
from collections.abc import Iterable
from enum import StrEnum

MAX_RAW_LENGTH = 32
"""Characters read at most; a longer text is refused unread."""

_SEPARATORS = str.maketrans("", "", " .-()")
_MOBILE = re.compile(r"(?:0|\+?62)(8[0-9]{8,11})")
_ONLY_DIGITS = re.compile(r"\+?[0-9]+")
_COUNTRY_OR_TRUNK = re.compile(r"(?:0|\+?62)8")


class NumberFault(StrEnum):
    """Why a text is not an Indonesian mobile number."""

    EMPTY = "empty"
    TOO_MANY_CHARACTERS = "too-many-characters"
    FOREIGN_CHARACTER = "foreign-character"
    """Anything but ASCII digits, one leading plus, spaces, dots, dashes and parentheses."""
    NOT_MOBILE = "not-mobile"
    """Starts neither with `08` nor with `628` nor with `+628`."""
    WRONG_LENGTH = "wrong-length"
    """Not 9 to 12 digits after the leading zero or country code."""


class InvalidNumber(ValueError):
    """A customer number that cannot be topped up; `reason` is a `NumberFault`."""

    def __init__(self, reason: NumberFault) -> None:
        super().__init__(reason.value)
        self.reason = reason


def normalise(raw: str) -> str:
    """Return the national form `08…`, 10 to 13 digits in all. Raises `InvalidNumber`."""
    if len(raw) > MAX_RAW_LENGTH:
        raise InvalidNumber(NumberFault.TOO_MANY_CHARACTERS)
    compact = raw.translate(_SEPARATORS)
    match = _MOBILE.fullmatch(compact)
    if match is None:
        raise InvalidNumber(_fault_of(compact))
    return "0" + match[1]


def _fault_of(compact: str) -> NumberFault:
    if not compact:
        return NumberFault.EMPTY
    if _ONLY_DIGITS.fullmatch(compact) is None:
        return NumberFault.FOREIGN_CHARACTER
    if _COUNTRY_OR_TRUNK.match(compact) is None:
        return NumberFault.NOT_MOBILE
    return NumberFault.WRONG_LENGTH


def mask(number: str) -> str:
    """Return a number fit for logs, `0812****7890`.

    At least four digits stay hidden, and so does the length of a number of 12 digits or more.
    """
    head, shown = 4, len(number) - 8
    if shown < 0:
        return "****"
    return f"{number[:head]}****{number[len(number) - min(shown, head) :]}"


class BrandTable:
    """Prefix to brand, the longest prefix wins: `085155` is by.U inside Telkomsel's `0851`."""

    __slots__ = ("_brands", "_lengths")

    SHORTEST, LONGEST = 3, 7
    """Digits in a prefix, its zero included; they bound a look-up to five probes."""

    def __init__(self, rows: Iterable[tuple[str, str]]) -> None:
        """Take (prefix, brand) rows. Raises `ValueError` for a bad or contradictory prefix."""
        brands: dict[str, str] = {}
        for prefix, brand in rows:
            self._check(prefix)
            if brands.setdefault(prefix, brand) != brand:
                raise ValueError(f"prefix {prefix} belongs to both {brands[prefix]} and {brand}")
        self._brands = brands
        self._lengths = sorted({len(prefix) for prefix in brands}, reverse=True)

    def _check(self, prefix: str) -> None:
        mobile = prefix.isascii() and prefix.isdigit() and prefix.startswith("08")
        if not (mobile and self.SHORTEST <= len(prefix) <= self.LONGEST):
            raise ValueError(
                f"prefix {prefix!r} is not 08 and digits, {self.SHORTEST} to {self.LONGEST} long"
            )

    def brand_of(self, number: str) -> str | None:
        """Return the brand of a number in national form, or None where no prefix matches."""
        for length in self._lengths:
            brand = self._brands.get(number[:length])
            if brand is not None:
                return brand
        return None


_SERIES = {
    "telkomsel": "0811 0812 0813 0821 0822 0823 0851 0852 0853",
    "byu": "085155 085156 085157 085158",
    "im3": "0814 0815 0816 0855 0856 0857 0858",
    "tri": "0895 0896 0897 0898 0899",
    "xl": "0817 0818 0819 0859 0877 0878 0879",
    "axis": "0831 0832 0833 0838",
    "smartfren": "0881 0882 0883 0884 0885 0886 0887 0888 0889",
}

INDONESIAN_PREFIXES: tuple[tuple[str, str], ...] = tuple(
    (prefix, brand) for brand, prefixes in _SERIES.items() for prefix in prefixes.split()
)
"""The number series in use, as (prefix, brand) rows: where a table starts, before ops edit it."""
