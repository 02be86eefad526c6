"""Who steers: an operator, what it may do, and the record of everything it does.

Each act is one transaction that changes something and writes its line in the audit log; a change
without its line cannot be committed, nor a line without its change.
"""

from dataclasses import dataclass
from enum import StrEnum

from uuid_utils.compat import uuid7

from app.errors import Forbidden
from app.storage import audit
from app.storage.audit import Act, Document
from app.storage.pool import Connection


class Scope(StrEnum):
    """What an operator's token opens. `read` is in every one of them."""

    READ = "read"
    RESELLERS = "resellers"
    """Resellers and their keys."""
    MONEY = "money"
    """Deposits and adjustments."""
    CATALOGUE = "catalogue"
    """Products, prices, regions, prefixes."""
    DEALERS = "dealers"
    ROUTES = "routes"
    REVIEWS = "reviews"
    """Deciding outcomes in the review queue."""
    OPERATORS = "operators"
    """Operators' tokens, and ending a hold."""


EVERY_SCOPE = frozenset(Scope)


@dataclass(frozen=True, slots=True)
class Operator:
    """Who acts, from where, and with which rights."""

    name: str
    origin: str
    scopes: frozenset[Scope] = EVERY_SCOPE

    def require(self, scope: Scope) -> None:
        """Raise Forbidden unless this operator may act within the scope."""
        if scope is not Scope.READ and scope not in self.scopes:
            raise Forbidden("missing-scope", f"This needs an operator's token with {scope}.")

    async def record(
        self,
        connection: Connection,
        action: str,
        subject: str,
        *,
        before: Document | None = None,
        after: Document | None = None,
        reason: str = "",
    ) -> None:
        """Write an act into the audit log, in the transaction that carries it out.

        `action` is like `dealer.paused`, `subject` like `dealer:nusantara`; the documents hold no
        secret.
        """
        act = Act(self.name, self.origin, action, subject, before, after, reason)
        await audit.record(connection, uuid7(), act)
