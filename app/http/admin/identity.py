"""Which operator calls: by the installation's own token, or by one that an operator gave out."""

import hmac
from collections.abc import Awaitable, Callable
from typing import Annotated, Any

from fastapi import Depends, Request

from app.administration.operator import Operator, Scope
from app.http.api import address_of, api_of


def operator_with(scope: Scope) -> Any:  # noqa: ANN401 (FastAPI's own type)
    """The operator who calls, as a dependency: `Annotated[Operator, operator_with(…)]`.

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
    api = api_of(request)
    authorization = request.headers.get("authorization")
    given = (authorization or "").encode()
    token = api.admin_token
    if token is not None and hmac.compare_digest(given, b"Bearer " + token.encode()):
        return Operator("admin-token", address_of(request.scope))
    holder = await api.operators.identify(authorization, address_of(request.scope))
    known = frozenset(scope for scope in Scope if scope in holder.scopes)
    return Operator(f"{holder.name} ({holder.token_id})", address_of(request.scope), known)


AnyOperator = Annotated[Operator, operator_with(Scope.READ)]
ResellersOperator = Annotated[Operator, operator_with(Scope.RESELLERS)]
MoneyOperator = Annotated[Operator, operator_with(Scope.MONEY)]
CatalogueOperator = Annotated[Operator, operator_with(Scope.CATALOGUE)]
DealersOperator = Annotated[Operator, operator_with(Scope.DEALERS)]
OperatorsOperator = Annotated[Operator, operator_with(Scope.OPERATORS)]
RoutesOperator = Annotated[Operator, operator_with(Scope.ROUTES)]
ReviewsOperator = Annotated[Operator, operator_with(Scope.REVIEWS)]
