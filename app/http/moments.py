"""Moments in queries: RFC 3339, as everywhere here."""

from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import AfterValidator, AwareDatetime, BeforeValidator

from app.errors import FieldError, Unprocessable

_EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)
_LATEST = datetime(2100, 1, 1, tzinfo=UTC)
_EXAMPLE = "2026-11-22T07:00:00+07:00"


def _with_its_sign(value: Any) -> Any:  # noqa: ANN401 (pydantic's)
    """A `+` that was not encoded comes as a space."""
    if not isinstance(value, str) or "T" not in value.upper():
        raise ValueError(f"must be a time as RFC 3339 has it: {_EXAMPLE}")
    return value.replace(" ", "+")


def _within_reach(moment: datetime) -> datetime:
    if not _EARLIEST <= moment < _LATEST:
        raise ValueError("must be in this century")
    return moment


Moment = Annotated[AwareDatetime, BeforeValidator(_with_its_sign), AfterValidator(_within_reach)]


def require_order(begins: datetime | None, ends: datetime | None, field: str) -> None:
    """Raise Unprocessable, naming the field of the end, unless a time ends after it begins."""
    if begins is not None and ends is not None and ends <= begins:
        wrong = FieldError(field, "must be later than the beginning")
        raise Unprocessable(
            "invalid-request", f"The time ends before it begins: {field}.", errors=[wrong]
        )
