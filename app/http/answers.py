"""JSON answers, written once by orjson and not looked at again."""

from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from fastapi import Response


class _JSONAnswer(Response):
    """Starlette's, with its headers as they are sent from the beginning."""

    def __init__(self, body: bytes, status: int, headers: Mapping[str, str]) -> None:
        self.status_code = status
        self.background = None
        self.body = body
        self.raw_headers = [
            (b"content-length", str(len(body)).encode()),
            (b"content-type", b"application/json"),
            *((name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()),
        ]


def json_answer(
    content: object, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """An answer with a JSON body; header names in lower case."""
    return _JSONAnswer(orjson.dumps(content), status, headers or {})


def list_answer(data: Sequence[Any], next_cursor: str | None, *, has_more: bool) -> Response:
    """An answer with a page of a list."""
    return json_answer({"data": data, "next_cursor": next_cursor, "has_more": has_more})


def secret_answer(content: object, location: str) -> Response:
    """A new thing with a secret in it that is shown this once."""
    return json_answer(content, 201, {"location": location, "cache-control": "no-store"})
