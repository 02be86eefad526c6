"""Conditions that a request makes: `If-None-Match` saves an answer, `If-Match` guards a change."""

from fastapi import Request, Response

from app.errors import PreconditionFailed, PreconditionRequired


def etag_of(version: int) -> str:
    """The ETag of a thing that counts its versions."""
    return f'"{version}"'


def is_known(request: Request, tag: str) -> bool:
    """Whether the caller has what the ETag stands for already, by `If-None-Match`."""
    return _names(request.headers.get("if-none-match"), tag)


def not_modified(tag: str) -> Response:
    """304: what the caller has is what there is."""
    return Response(status_code=304, headers={"etag": tag})


def require_match(request: Request, tag: str | None) -> None:
    """Raise unless `If-Match` names the ETag of what stands; None where nothing does.

    Raises PreconditionRequired where something stands and nothing is named, PreconditionFailed
    where another state of it is.
    """
    stated = request.headers.get("if-match")
    if tag is None and stated is None:
        return
    if stated is None:
        raise PreconditionRequired(
            "if-match-missing", f"This stands with the ETag {tag}: send it as If-Match."
        )
    if tag is None or not _names(stated, tag):
        raise PreconditionFailed("changed-meanwhile", "This is not what stands there any more.")


def _names(stated: str | None, tag: str) -> bool:
    """Whether a list of ETags holds one, weak or not, or is `*`."""
    if stated is None:
        return False
    named = {part.strip().removeprefix("W/") for part in stated.split(",")}
    return "*" in named or tag.removeprefix("W/") in named
