"""The two kinds of shapes on the operators' side: what they send, and what is shown to them."""

from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

Line = Annotated[str, StringConstraints(min_length=1, max_length=200)]
"""One line of text, without control characters and without spaces at its ends."""

Reason = Annotated[str, StringConstraints(max_length=1000)]
"""Why; it is kept in the audit log."""

Rupiah = Annotated[int, Field(gt=0, lt=10**15)]


class Given(BaseModel):
    """What an operator sends. A field that is not listed is refused."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Shown(BaseModel):
    """What an operator is shown."""

    model_config = ConfigDict(from_attributes=True)

    @classmethod
    def of(cls, row: object) -> dict[str, Any]:
        """A row's attributes of the same names, ready for JSON."""
        shown: Self = cls.model_validate(row)
        return shown.model_dump(mode="json")


class Page(BaseModel):
    """What every list has besides its data."""

    next_cursor: str | None
    has_more: bool


class Because(Given):
    """Nothing but the reason why."""

    reason: Reason = ""
