"""Operators' tokens: who else may steer, and how far."""

from collections.abc import Collection

from app.administration.acting import acting
from app.administration.checks import Checks
from app.administration.operator import Operator, Scope
from app.errors import NotFound
from app.storage import operator_tokens, tokens
from app.storage.pool import Pool
from app.storage.tokens import GeneratedKey


def read_scopes(names: Collection[str]) -> frozenset[Scope]:
    """Scopes by their names. Raises Unprocessable for what is none."""
    checks = Checks()
    for name in names:
        if name not in tuple(Scope):
            checks.wrong("scopes", f"{name[:40]!r} is none of {', '.join(Scope)}")
    checks.done()
    return frozenset(map(Scope, names))


async def add(
    pool: Pool, by: Operator, name: str, scopes: Collection[Scope], reason: str = ""
) -> GeneratedKey:
    """Give an operator a token. Nobody gives away a scope that it has not itself."""
    by.require(Scope.OPERATORS)
    for scope in scopes:
        by.require(scope)
    checks = Checks()
    checks.text("name", name)
    checks.reason(reason)
    if not scopes:
        checks.wrong("scopes", f"must be some of {', '.join(Scope)}")
    checks.done()
    token, granted = operator_tokens.generate(), sorted(set(scopes))
    async with acting(pool) as connection:
        await operator_tokens.create(connection, token, name, granted)
        await by.record(
            connection,
            "operator.added",
            _subject(token.key_id),
            after={"name": name, "scopes": granted},
            reason=reason,
        )
    return token


async def revoke(pool: Pool, by: Operator, token_id: str, reason: str) -> bool:
    """Revoke a token for good, within a second. Returns whether it was alive. Raises NotFound."""
    by.require(Scope.OPERATORS)
    checks = Checks()
    checks.reason(reason, needed=True)
    checks.done()
    async with acting(pool) as connection:
        found = await operator_tokens.lock(connection, token_id) if tokens.is_id(token_id) else None
        if found is None:
            raise NotFound("not-found", "There is no operator's token of this id.")
        if found.revoked_at is not None:
            return False
        await operator_tokens.revoke(connection, token_id)
        named = {"name": found.name, "scopes": found.scopes}
        await by.record(
            connection,
            "operator.revoked",
            _subject(token_id),
            before={**named, "revoked": False},
            after={**named, "revoked": True},
            reason=reason,
        )
    return True


def _subject(token_id: str) -> str:
    return f"operator:{token_id}"
