"""Request bodies: read to a limit, then to a model; a larger one is refused before it is read."""

from typing import Any, TypeVar, cast

import orjson
from fastapi import Request
from pydantic import BaseModel, ValidationError
from starlette.requests import ClientDisconnect
from starlette.types import Receive

from app.errors import BadRequest, FieldError, TooLarge, Unprocessable, UnsupportedMedia
from app.http.problems import unreadable_body

_Model = TypeVar("_Model", bound=BaseModel)

_MOST_DIGITS = 12


def takes(model: type[BaseModel], *, required: bool = True) -> dict[str, Any]:
    """How a route that reads its body by hand says in the documentation what it takes."""
    name = f"{model.__module__}.{model.__name__}".replace(".", "__")
    schema = {"$ref": f"#/components/schemas/{name}"}
    content = {"application/json": {"schema": schema}}
    return {"requestBody": {"required": required, "content": content}}


async def read_body(request: Request, limit_bytes: int) -> bytes:
    """The whole body. Raises TooLarge, by its declared length or by what really comes."""
    declared = request.headers.get("content-length", "0")
    return await receive_body(request.receive, declared, limit_bytes)


async def receive_body(receive: Receive, declared: str, limit_bytes: int) -> bytes:
    """As `read_body`, from ASGI's own messages; `declared` is the `Content-Length`, or 0."""
    return b"".join(await receive_pieces(receive, declared, limit_bytes))


async def receive_pieces(receive: Receive, declared: str, limit_bytes: int) -> list[bytes]:
    """As `receive_body`, in the pieces that came: joining a large body takes long."""
    if len(declared) > _MOST_DIGITS or not declared.isdecimal() or int(declared) > limit_bytes:
        raise _too_large(limit_bytes)
    pieces: list[bytes] = []
    length = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        pieces.append(message.get("body", b""))
        length += len(pieces[-1])
        if length > limit_bytes:
            raise _too_large(limit_bytes)
        if not message.get("more_body", False):
            return pieces


async def read_json(request: Request, model: type[_Model], limit_bytes: int) -> _Model:
    """The body as a model. Raises TooLarge, UnsupportedMedia, BadRequest, Unprocessable."""
    require_json(request.headers.get("content-type", ""))
    return parse(model, await read_body(request, limit_bytes))


def require_json(content_type: str) -> None:
    """Raise UnsupportedMedia unless the `Content-Type` says JSON, or nothing."""
    if not is_json(content_type):
        raise UnsupportedMedia("unsupported-media-type", "The body must be application/json.")


def is_json(content_type: str) -> bool:
    """Whether a `Content-Type` says JSON, or nothing."""
    return content_type.partition(";")[0].strip().lower() in ("", "application/json")


def parse(model: type[_Model], body: bytes) -> _Model:
    """A body as a model. Raises BadRequest, Unprocessable."""
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        raise unreadable_body(error) from None


def unpack(body: bytes, name: str, most: int) -> list[object]:
    """The list in a body that is an object of nothing else. Raises BadRequest, Unprocessable."""
    try:
        whole: object = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise BadRequest("invalid-json", "The body is not valid JSON.") from None
    members = cast("dict[str, object]", whole) if isinstance(whole, dict) else {}
    found = members.get(name)
    items = cast("list[object]", found) if isinstance(found, list) else []
    if len(members) != 1 or not 1 <= len(items) <= most:
        sentence = f"The body must be an object of `{name}`, a list of 1 to {most}, alone."
        raise Unprocessable("invalid-request", sentence, errors=[FieldError(name, sentence)])
    return items


def parse_item(model: type[_Model], item: object) -> _Model:
    """One item of such a list as a model. Raises Unprocessable."""
    try:
        return model.model_validate(item)
    except ValidationError as error:
        raise unreadable_body(error) from None


def _too_large(limit_bytes: int) -> TooLarge:
    return TooLarge("body-too-large", f"A body may have {limit_bytes} bytes here.")
