"""What the doors of GET and plain text have in common."""

import re
from collections.abc import Mapping
from urllib.parse import parse_qsl

from starlette.requests import Request
from starlette.responses import Response

from app.errors import BadRequest
from app.http.doors.buying import Asked

BUSY = "Sistem sibuk, coba lagi"
"""The system is busy, try again: of a request that cannot even be named."""

_MOST_BYTES = 4096
_MOST_FIELDS = 40
_WORD = re.compile(r"[!-~]{1,64}")
_NUMBER = re.compile(r"\+?[0-9]{1,20}")


def query_of(request: Request) -> Mapping[str, str]:
    """The query's fields, each named once. Raises BadRequest."""
    raw = bytes(request.scope["query_string"])
    try:
        pairs = parse_qsl(
            raw.decode("latin-1"), keep_blank_values=True, max_num_fields=_MOST_FIELDS
        )
    except ValueError:
        raise _unreadable() from None
    fields = dict(pairs)
    if len(raw) > _MOST_BYTES or len(fields) != len(pairs):
        raise _unreadable()
    return fields


def can_be_said(asked: Asked) -> bool:
    """Whether its parts can stand in an answer without breaking its form."""
    words = all(_WORD.fullmatch(word) for word in (asked.ref_id, asked.sku))
    return words and _NUMBER.fullmatch(asked.customer_number) is not None


def sayable(asked: Asked) -> Asked:
    """It, or a faulty request with dashes for what cannot be said.

    Raises BadRequest without a reference: no order can stand for one that is unreadable.
    """
    if can_be_said(asked):
        return asked
    if not _WORD.fullmatch(asked.ref_id):
        raise BadRequest("invalid-request", "The reference is missing or unreadable.")
    return Asked(asked.ref_id, "-", "0", fault="The product or the number is unreadable.")


def text_answer(text: str) -> Response:
    """A line; HTTP is always 200 here, since centers' clients read nothing else."""
    return Response(
        text.encode(),
        headers={
            "content-type": "text/plain; charset=utf-8",
            "cache-control": "no-store",
            "x-content-type-options": "nosniff",
        },
    )


def _unreadable() -> BadRequest:
    return BadRequest("invalid-request", "The query cannot be read.")
