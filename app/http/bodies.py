"""Request bodies: read to a limit, then to a model; a larger one is refused before it is read."""

from typing import Any, TypeVar

from fastapi import Request
from pydantic import BaseModel, ValidationError

from app.errors import TooLarge, UnsupportedMedia
from app.http.problems import unreadable_body

_Model = TypeVar("_Model", bound=BaseModel)

_MOST_DIGITS = 12


def takes(model: type[BaseModel]) -> dict[str, Any]:
    """How a route that reads its body by hand says in the documentation what it takes."""
    schema = {"$ref": f"#/components/schemas/{model.__name__}"}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


async def read_body(request: Request, limit_bytes: int) -> bytes:
    """The whole body. Raises TooLarge, by its declared length or by what really comes."""
    declared = request.headers.get("content-length", "0")
    if len(declared) > _MOST_DIGITS or not declared.isdecimal() or int(declared) > limit_bytes:
        raise _too_large(limit_bytes)
    chunks: list[bytes] = []
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > limit_bytes:
            raise _too_large(limit_bytes)
        chunks.append(chunk)
    return b"".join(chunks)


async def read_json(request: Request, model: type[_Model], limit_bytes: int) -> _Model:
    """The body as a model. Raises TooLarge, UnsupportedMedia, BadRequest, Unprocessable."""
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type not in ("", "application/json"):
        raise UnsupportedMedia("unsupported-media-type", "The body must be application/json.")
    body = await read_body(request, limit_bytes)
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        raise unreadable_body(error) from None


def _too_large(limit_bytes: int) -> TooLarge:
    return TooLarge("body-too-large", f"A body may have {limit_bytes} bytes here.")
