"""JSON answers, written once by orjson and not looked at again."""

from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from fastapi import Response


def json_answer(
    content: object, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """An answer with a JSON body."""
    return Response(orjson.dumps(content), status, headers, "application/json")


def list_answer(data: Sequence[Any], next_cursor: str | None, *, has_more: bool) -> Response:
    """An answer with a page of a list."""
    return json_answer({"data": data, "next_cursor": next_cursor, "has_more": has_more})


def secret_answer(content: object, location: str) -> Response:
    """A new thing with a secret in it that is shown this once."""
    return json_answer(content, 201, {"location": location, "cache-control": "no-store"})
