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


class _Prefixes:
    """Prefix to name, the longest prefix wins. `shortest` and `longest` count digits, the zero
    included; they bound a look-up to as many probes as there are lengths."""

    __slots__ = ("_lengths", "_names")

    def __init__(self, rows: Iterable[tuple[str, str]], shortest: int, longest: int) -> None:
        names: dict[str, str] = {}
        for prefix, name in rows:
            mobile = prefix.isascii() and prefix.isdigit() and prefix.startswith("08")
            if not (mobile and shortest <= len(prefix) <= longest):
                raise ValueError(
                    f"prefix {prefix!r} is not 08 and digits, {shortest} to {longest} long"
                )
            if names.setdefault(prefix, name) != name:
                raise ValueError(f"prefix {prefix} belongs to both {names[prefix]} and {name}")
        self._names = names
        self._lengths = sorted({len(prefix) for prefix in names}, reverse=True)

    def name_of(self, number: str) -> str | None:
        for length in self._lengths:
            name = self._names.get(number[:length])
            if name is not None:
                return name
        return None


class BrandTable:
    """Prefix to brand, the longest prefix wins: `085155` is by.U inside Telkomsel's `0851`."""

    __slots__ = ("_prefixes",)

    SHORTEST, LONGEST = 3, 7
    """Digits in a prefix, its zero included."""

    def __init__(self, rows: Iterable[tuple[str, str]]) -> None:
        """Take (prefix, brand) rows. Raises `ValueError` for a bad or contradictory prefix."""
        self._prefixes = _Prefixes(rows, self.SHORTEST, self.LONGEST)

    def brand_of(self, number: str) -> str | None:
        """Return the brand of a number in national form, or None where no prefix matches."""
        return self._prefixes.name_of(number)


class ClusterTable:
    """Prefix to cluster, the longest prefix wins: where numbers of a series were first sold."""

    __slots__ = ("_prefixes",)

    SHORTEST, LONGEST = 5, 10
    """Digits in a prefix, its zero included: brands take four of them, or six."""

    def __init__(self, rows: Iterable[tuple[str, str]] = ()) -> None:
        """Take (prefix, cluster) rows. Raises `ValueError` for a bad or contradictory prefix."""
        self._prefixes = _Prefixes(rows, self.SHORTEST, self.LONGEST)

    def cluster_of(self, number: str) -> str | None:
        """Return the cluster that a number in national form hints at, if any."""
        return self._prefixes.name_of(number)


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
