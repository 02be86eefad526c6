"""What operators may write: each field checked, all faults told at once."""

import re
from datetime import datetime

from app.errors import FieldError, Unprocessable
from app.rates import InvalidRate, read_rates, written

LONGEST_NAME = 200
LONGEST_REASON = 1000
MOST_RUPIAH = 10**15 - 1
USUAL = "usual"
"""What people write for rates where there shall be none of one's own."""

_TIER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,31}")
_SKU = re.compile(r"[!-~]{1,32}")
_WORD = re.compile(r"[a-z0-9][a-z0-9._-]{0,31}")
_NUMBER = re.compile(r"[0-9]{1,18}")
_SHOWN_FAULTS = 20


class Checks:
    """Collects what is wrong with an act's fields. `done` raises it, if there is anything."""

    def __init__(self) -> None:
        self._errors: list[FieldError] = []

    def wrong(self, field: str, message: str) -> None:
        """Add a fault."""
        self._errors.append(FieldError(field, message))

    def text(self, field: str, value: str, most: int = LONGEST_NAME, least: int = 1) -> None:
        """A line of text without control characters and without spaces at its ends."""
        if not least <= len(value) <= most:
            self.wrong(field, f"must have {least} to {most} characters, not {len(value)}")
        elif not value.isprintable():
            self.wrong(field, "must be one line without control characters")
        elif value != value.strip():
            self.wrong(field, "must not begin or end with a space")

    def reason(self, value: str, *, needed: bool = False) -> None:
        """Why an act is done; grave ones need to be told."""
        if needed and not value:
            self.wrong("reason", "is needed here: say why, for the audit log")
        else:
            self.text("reason", value, LONGEST_REASON, 0)

    def rupiah(self, field: str, value: int, least: int = 1) -> None:
        """An amount within what is believable."""
        if not least <= value <= MOST_RUPIAH:
            self.wrong(field, f"must be {least} to {MOST_RUPIAH} rupiah, not {value}")

    def tier(self, field: str, value: str) -> None:
        """The name of a price list."""
        self._shaped(field, value, _TIER, "1 to 32 letters, digits, dots, dashes, underscores")

    def sku(self, field: str, value: str) -> None:
        """A product's code, as resellers order it."""
        self._shaped(field, value, _SKU, "1 to 32 printable ASCII characters without spaces")

    def word(self, field: str, value: str) -> None:
        """A brand, a kind, a region, a cluster: what orders and routes are matched by."""
        shape = "1 to 32 small letters, digits, dots, dashes, underscores"
        self._shaped(field, value, _WORD, shape)

    def number(self, field: str, text: str) -> int:
        """A whole number as text; 0, with a fault noted, where it is none."""
        if _NUMBER.fullmatch(text):
            return int(text)
        self.wrong(field, f"must be digits only, without separators, not {text[:32]!r}")
        return 0

    def rates(self, field: str, text: str) -> str | None:
        """Rates such as `100/1s`, as they are kept; None for `usual`, which takes them away."""
        if text == USUAL:
            return None
        try:
            return written(read_rates(text))
        except InvalidRate as fault:
            self.wrong(field, f"must be {USUAL} or {fault}")
            return None

    def aware(self, field: str, moment: datetime) -> None:
        """A moment that says in which time zone."""
        if moment.tzinfo is None:
            self.wrong(field, "needs its offset, such as 2027-01-31T18:00+07:00")

    def done(self) -> None:
        """Raise Unprocessable with everything that was wrong."""
        if self._errors:
            raise Unprocessable("invalid-request", self._told(), errors=self._errors)

    def _shaped(self, field: str, value: str, shape: "re.Pattern[str]", wanted: str) -> None:
        if shape.fullmatch(value) is None:
            self.wrong(field, f"must be {wanted}, not {value[:40]!r}")

    def _told(self) -> str:
        told = [f"{error.field}: {error.message}" for error in self._errors[:_SHOWN_FAULTS]]
        if len(self._errors) > _SHOWN_FAULTS:
            told.append(f"and {len(self._errors) - _SHOWN_FAULTS} more")
        return "\n".join(told)
