"""Which operator calls: by the installation's own token."""

import hmac
from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import Depends, Request

from app.administration.operator import Operator, Scope
from app.errors import Unauthorized
from app.http.api import api_of


def operator_with(scope: Scope) -> Any:  # noqa: ANN401 (FastAPI's own type)
    """The operator who calls, as a dependency: `by: Operator = operator_with(Scope.DEALERS)`.

    Raises Unauthorized, or Forbidden where the scope is missing.
    """

    async def identify(request: Request) -> Operator:
        operator = await identify_operator(request)
        operator.require(scope)
        return operator

    dependency: Callable[[Request], Awaitable[Operator]] = identify
    return Depends(dependency)


async def identify_operator(request: Request) -> Operator:
    """The operator whose token comes with the request. Raises Unauthorized."""
    given = request.headers.get("authorization", "").encode()
    token = api_of(request).admin_token
    if token is not None and hmac.compare_digest(given, b"Bearer " + token.encode()):
        return Operator("admin-token", _origin(request))
    raise Unauthorized("invalid-key", "An operator's token is needed.")


def _origin(request: Request) -> str:
    return request.client.host if request.client else ""
