"""The hold: whether purchases and checks go on."""

from app.administration.acting import acting
from app.administration.checks import Checks
from app.administration.operator import Operator, Scope
from app.errors import Unprocessable
from app.storage import installation
from app.storage.pool import Pool

_SUBJECT = "installation"
_UNSURE = (
    "after a restore, what this database calls unsent may have been bought: compare it with the "
    "dealers' statements first, then run `jalur resume --reconciled --reason …`"
)


async def hold(pool: Pool, by: Operator, reason: str) -> bool:
    """Hold purchases and checks; orders are still accepted. Returns whether they were going on."""
    _require(by, reason)
    async with acting(pool) as connection:
        held = await installation.hold(connection)
        if held:
            await by.record(
                connection,
                "installation.held",
                _SUBJECT,
                before={"hold": False},
                after={"hold": True},
                reason=reason,
            )
    return held


async def resume(pool: Pool, by: Operator, reason: str, *, reconciled: bool) -> bool:
    """Let purchases and checks go on. Returns whether there was a hold.

    Raises Unprocessable unless every dealer's book was held against this database.
    """
    if not reconciled:
        raise Unprocessable("not-reconciled", _UNSURE)
    _require(by, reason)
    async with acting(pool) as connection:
        # A database that nobody has looked at since its restore is held without saying so yet.
        await installation.read(connection)
        resumed = await installation.resume(connection)
        if resumed:
            await by.record(
                connection,
                "installation.resumed",
                _SUBJECT,
                before={"hold": True},
                after={"hold": False},
                reason=reason,
            )
    return resumed


def _require(by: Operator, reason: str) -> None:
    by.require(Scope.OPERATORS)
    checks = Checks()
    checks.reason(reason, needed=True)
    checks.done()
