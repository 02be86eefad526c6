"""Operators' tokens: `jalur_ops_<token id>_<secret><checksum>`, kept only as a hash.

operator_tokens(token_id, name, scopes, secret_sha256, created_at, revoked_at)
    unique (token_id)
"""

import hmac
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from app.storage import tokens
from app.storage.pool import Connection
from app.storage.tokens import GeneratedKey, PresentedKey

MODE = "ops"


@dataclass(frozen=True, slots=True)
class TokenHolder:
    """An operator whose token is alive."""

    token_id: str
    name: str
    scopes: list[str]
    secret_sha256: bytes = field(repr=False)

    def matches(self, presented: PresentedKey) -> bool:
        """Whether this is the token presented, compared in constant time."""
        return hmac.compare_digest(self.secret_sha256, presented.secret_sha256)


@dataclass(frozen=True, slots=True)
class TokenRecord:
    """A token as operators see it, alive or revoked."""

    token_id: str
    name: str
    scopes: list[str]
    created_at: datetime
    revoked_at: datetime | None


def generate() -> GeneratedKey:
    """A fresh token."""
    return tokens.generate(MODE)


def parse(token: str) -> PresentedKey | None:
    """Read a token. None where it is none, or mistyped."""
    return tokens.parse(token, (MODE,))


async def create(
    connection: Connection, token: GeneratedKey, name: str, scopes: Sequence[str]
) -> None:
    """Store a generated token."""
    await connection.execute(
        """
        insert into operator_tokens (token_id, name, scopes, secret_sha256)
        values ($1, $2, $3, $4)
        """,
        token.key_id,
        name,
        scopes,
        token.secret_sha256,
    )


async def find(connection: Connection, token_ids: Sequence[str]) -> dict[str, TokenHolder]:
    """The holders, by token, of tokens that are not revoked."""
    rows = await connection.fetch(
        """
        select token_id, name, scopes, secret_sha256 from operator_tokens
        where token_id = any($1::text[]) and revoked_at is null
        """,
        list(token_ids),
    )
    return {row[0]: TokenHolder(*row) for row in rows}


async def lock(connection: Connection, token_id: str) -> TokenRecord | None:
    """Lock a token, alive or revoked, and read it."""
    row = await connection.fetchrow(
        """
        select token_id, name, scopes, created_at, revoked_at from operator_tokens
        where token_id = $1 for update
        """,
        token_id,
    )
    return TokenRecord(*row) if row else None


async def list_all(connection: Connection) -> list[TokenRecord]:
    """All tokens that were ever given out, the oldest first."""
    rows = await connection.fetch(
        """
        select token_id, name, scopes, created_at, revoked_at from operator_tokens
        order by created_at, token_id
        """
    )
    return [TokenRecord(*row) for row in rows]


async def revoke(connection: Connection, token_id: str) -> None:
    """Revoke a token for good."""
    await connection.execute(
        "update operator_tokens set revoked_at = now() where token_id = $1 and revoked_at is null",
        token_id,
    )
