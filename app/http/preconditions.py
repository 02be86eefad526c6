"""Preconditions: a change is made only to what the caller last saw (RFC 9110, RFC 6585)."""

from fastapi import Request

from app.errors import PreconditionFailed, PreconditionRequired

_MOST_TAGS = 16


def etag_of(version: int) -> str:
    """The entity tag of a thing that counts its versions."""
    return f'"{version}"'


def require_match(request: Request, version: int) -> None:
    """Raise unless `If-Match` names this version, or `*`.

    PreconditionRequired without the header, PreconditionFailed where it names others.
    """
    given = request.headers.get("if-match")
    if given is None:
        raise PreconditionRequired(
            "precondition-required", "Send the `ETag` that you last saw as `If-Match`."
        )
    tags = [tag.strip() for tag in given.split(",", _MOST_TAGS)]
    if "*" not in tags and etag_of(version) not in tags:
        raise PreconditionFailed(
            "changed-meanwhile", "It was changed since you saw it: read it again."
        )
