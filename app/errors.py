"""Every error that Jalur raises on purpose, in one tree.

    JalurError
    ├── ConfigurationError            a setting is missing or wrong; the message names it
    ├── DatabaseUnavailable     503   PostgreSQL cannot be reached or used
    ├── ExchangeLost                  Redis cannot be reached or used; nothing that matters is lost
    ├── Overloaded              503   a bounded queue is full, or rows stay locked
    └── Problem                       a refusal that a caller is told about (RFC 9457)
        ├── BadRequest          400
        ├── Unauthorized        401
        ├── InsufficientBalance 402
        ├── Forbidden           403
        ├── NotFound            404
        ├── MethodNotAllowed    405
        ├── Conflict            409   `no-route`, `not-cancellable`
        ├── PreconditionFailed  412   `table-changed`, `changed-meanwhile`
        ├── TooLarge            413
        ├── UnsupportedMedia    415
        ├── Unprocessable       422   `invalid-request`, `unknown-sku`, `invalid-number`, …
        ├── PreconditionRequired 428  `if-match-missing`
        ├── TooManyRequests     429   `rate-limited`, `too-many-at-once`, `too-many-streams`
        ├── HeadTooLarge        431
        └── Unavailable         503

The HTTP status and the problem's title stand on the class; the stable `code` on the instance.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar


class JalurError(Exception):
    """The root of the tree."""


class ConfigurationError(JalurError):
    """A setting is missing or wrong. The message names it and says what to do."""


class DatabaseUnavailable(JalurError):
    """PostgreSQL cannot be reached, or refuses what the service needs."""


class ExchangeLost(JalurError):
    """Redis cannot be reached, or does not answer in time. Nothing that matters is lost."""


class Overloaded(JalurError):
    """A bounded queue is full, or rows stay locked; the same again later is safe."""


@dataclass(frozen=True, slots=True)
class FieldError:
    """What is wrong with one field of a request: a JSON path and a sentence."""

    field: str
    message: str


class Problem(JalurError):
    """A refusal that the caller is told about as a problem document."""

    status: ClassVar[int] = 500
    title: ClassVar[str] = "Internal error"

    def __init__(
        self,
        code: str,
        detail: str,
        *,
        errors: Sequence[FieldError] = (),
        retry_after_seconds: int | None = None,
    ) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.errors = tuple(errors)
        self.retry_after_seconds = retry_after_seconds


class BadRequest(Problem):
    """The request cannot be read."""

    status = 400
    title = "Bad request"


class Unauthorized(Problem):
    """No key, an unknown key, or a revoked one."""

    status = 401
    title = "Unauthorized"


class InsufficientBalance(Problem):
    """The reseller's money and credit do not cover the price."""

    status = 402
    title = "Insufficient balance"


class Forbidden(Problem):
    """The key is good but may not do this."""

    status = 403
    title = "Forbidden"


class NotFound(Problem):
    """No such thing, or not this reseller's."""

    status = 404
    title = "Not found"


class MethodNotAllowed(Problem):
    """The path exists, the method does not."""

    status = 405
    title = "Method not allowed"


class Conflict(Problem):
    """The request is sound but the state of things forbids it."""

    status = 409
    title = "Conflict"


class PreconditionFailed(Problem):
    """The thing is not any more as the caller last saw it."""

    status = 412
    title = "Precondition failed"


class TooLarge(Problem):
    """The body is larger than allowed."""

    status = 413
    title = "Body too large"


class UnsupportedMedia(Problem):
    """The body is of another kind than this address takes."""

    status = 415
    title = "Unsupported media type"


class Unprocessable(Problem):
    """The request can be read, but a field in it is wrong."""

    status = 422
    title = "Unprocessable request"


class PreconditionRequired(Problem):
    """The thing is changed only by who says which state of it was seen."""

    status = 428
    title = "Precondition required"


class TooManyRequests(Problem):
    """The caller asks more, or more at once, than it may."""

    status = 429
    title = "Too many requests"


class HeadTooLarge(Problem):
    """The request has more headers than are read here."""

    status = 431
    title = "Request header fields too large"


class Unavailable(Problem):
    """The service cannot take this now; try again."""

    status = 503
    title = "Service unavailable"
