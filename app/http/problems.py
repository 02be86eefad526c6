"""Every refusal as a problem document; never the text of an exception that we did not word."""

from collections.abc import Sequence
from typing import Any, Final

import orjson
import structlog
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from pydantic_core import ErrorDetails
from starlette.exceptions import HTTPException
from starlette.routing import Match

from app.errors import (
    BadRequest,
    DatabaseUnavailable,
    FieldError,
    Forbidden,
    MethodNotAllowed,
    NotFound,
    Overloaded,
    Problem,
    Unavailable,
    Unprocessable,
)
from app.storage.pool import DISCONNECTED, LOCKED, RETRIABLE
from schemas.problems import MEDIA_TYPE, problem_document

log = structlog.get_logger()

_MOST_ERRORS = 20
_LONGEST_FIELD = 64
BODY: Final = "body"
"""The field that is named where the whole body is wrong."""
_RETRY_SECONDS = 2
_METHODS = ("DELETE", "GET", "PATCH", "POST", "PUT")


def problem_answer(problem: Problem, trace_id: str) -> Response:
    """The problem as an answer."""
    body = orjson.dumps(document_of(problem, trace_id))
    answer = Response(body, problem.status, media_type=MEDIA_TYPE)
    if problem.retry_after_seconds is not None:
        answer.headers["retry-after"] = str(problem.retry_after_seconds)
    if problem.status == 401:  # noqa: PLR2004
        answer.headers["www-authenticate"] = "Bearer"
    return answer


def document_of(
    problem: Problem, trace_id: str, errors: Sequence[FieldError] | None = None
) -> dict[str, Any]:
    """The problem as resellers see it, ready for JSON; `errors` in place of its own."""
    return problem_document(
        code=problem.code,
        title=problem.title,
        status=problem.status,
        detail=problem.detail,
        errors=[(each.field, each.message) for each in errors or problem.errors],
        trace_id=trace_id,
    )


def internal_error() -> Problem:
    """What a caller is told of a fault of ours."""
    return Problem("internal-error", "Something went wrong on our side.")


def unreadable_body(error: ValidationError) -> Problem:
    """A body that does not fit its model: no JSON at all, or wrong fields."""
    faults = error.errors(include_url=False, include_context=False, include_input=False)
    if faults[0]["type"] == "json_invalid":
        return BadRequest("invalid-json", "The body is not valid JSON.")
    return _wrong_fields(faults, BODY)


def _wrong_fields(faults: list[ErrorDetails], whole: str) -> Unprocessable:
    errors = [
        FieldError(_path(fault["loc"]) or whole, fault["msg"].removeprefix("Value error, "))
        for fault in faults[:_MOST_ERRORS]
    ]
    return Unprocessable(
        "invalid-request", "The request has missing or wrong fields.", errors=errors
    )


def _path(location: tuple[int | str, ...]) -> str:
    return ".".join(str(part)[:_LONGEST_FIELD] for part in location)


# ------------------------------------------------------------------ what handlers raise


EXPECTED = (Problem, Overloaded, DatabaseUnavailable, *DISCONNECTED, *RETRIABLE, *LOCKED)
"""What a handler may raise and `problem_of` has words for."""


def problem_of(error: Exception) -> Problem:
    """What a caller is told of one of the `EXPECTED` errors."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, (Overloaded, *LOCKED)):
        return Unavailable("overloaded", "Too much is waiting; try again.", retry_after_seconds=1)
    log.warning("database.unavailable", reason=f"{type(error).__name__}: {error}")
    return Unavailable(
        "unavailable",
        "The database is away. Whether this was done is not known; ask again.",
        retry_after_seconds=_RETRY_SECONDS,
    )


def register(app: FastAPI) -> None:
    """Turn everything that handlers raise into problem documents."""
    for expected in EXPECTED:
        app.add_exception_handler(expected, _answer_expected)
    app.add_exception_handler(HTTPException, _answer_http)
    app.add_exception_handler(RequestValidationError, _answer_parameters)
    app.add_exception_handler(Exception, _answer_surprise)


def _answer(request: Request, problem: Problem) -> Response:
    return problem_answer(problem, request.state.trace_id)


async def _answer_expected(request: Request, error: Exception) -> Response:
    return _answer(request, problem_of(error))


async def _answer_surprise(request: Request, error: Exception) -> Response:
    """Starlette raises it again behind this answer, and the edge logs it."""
    return _answer(request, internal_error())


async def _answer_parameters(request: Request, error: Exception) -> Response:
    faults: list[ErrorDetails] = list(getattr(error, "errors", list)())
    for fault in faults:
        fault["loc"] = fault["loc"][1:]
    return _answer(request, _wrong_fields(faults, "query"))


async def _answer_http(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    if status == MethodNotAllowed.status:
        answer = _answer(request, MethodNotAllowed("method-not-allowed", "Not with this method."))
        answer.headers["allow"] = ", ".join(_methods(request))
        return answer
    problems = {
        400: BadRequest("invalid-request", "The request cannot be read."),
        403: Forbidden("forbidden", "This is not open to you."),
        404: NotFound("not-found", "There is nothing at this address."),
    }
    return _answer(request, problems.get(status, internal_error()))


def _methods(request: Request) -> list[str]:
    """All methods of the address, which more than one route may share."""
    return [method for method in _METHODS if _serves(request, method)]


def _serves(request: Request, method: str) -> bool:
    scope = {**request.scope, "method": method}
    return any(route.matches(scope)[0] == Match.FULL for route in request.app.routes)
