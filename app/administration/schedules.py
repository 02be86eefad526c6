"""Sheets put off to a moment: looked at when they are given, applied by whichever process is first.

What fitted when it was given may not fit any more at its moment, such as a sheet of a dealer that
is gone. It is then refused with its reasons, and the table in force stays.
"""

from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from uuid_utils.compat import uuid7

from app.administration.acting import acting
from app.administration.checks import Checks
from app.administration.operator import Operator, Scope
from app.administration.plans import (
    TABLE_CHANGED,
    Plan,
    Progress,
    Sheet,
    Wanted,
    drafting,
    plan,
    require_rises_are_meant,
    unwatched,
)
from app.administration.routes import Act, Applied, apply, packed, unpacked
from app.errors import Conflict, NotFound, Problem
from app.storage import scheduled_tables
from app.storage.pool import Connection, Pool
from app.storage.scheduled_tables import Scheduled
from routing.sheet import Form

LONGEST_WAIT = timedelta(days=366)
APPLIED, REFUSED, CANCELLED = "applied", "refused", "cancelled"


@dataclass(frozen=True, slots=True)
class PutOff:
    """A sheet that waits, and what it would change if it were applied now."""

    schedule_id: UUID
    due_at: datetime
    plan: Plan

    def document(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "id": str(self.schedule_id),
            "at": self.due_at.isoformat(),
            "state": "waiting",
            **self.plan.document(),
        }


class _Over(Exception):
    """Another process was first, or it was cancelled meanwhile."""


async def put_off(
    pool: Pool,
    by: Operator,
    sheet: Sheet,
    wanted: Wanted,
    due_at: datetime,
    now: datetime,
    tell: Progress = unwatched,
) -> PutOff:
    """Have a sheet applied at a moment. Refused at once where it would not fit now."""
    by.require(Scope.ROUTES)
    _check_moment(due_at, now)
    schedule_id = uuid7()
    async with drafting(pool) as connection:
        planned = await plan(connection, sheet, wanted, now, tell)
        if planned is None:
            raise Conflict(TABLE_CHANGED, "The tables changed meanwhile: try again.")
        require_rises_are_meant(planned, wanted)
        async with connection.transaction():
            how = {**asdict(wanted), "form": sheet.form}
            content = packed(sheet.content)
            await scheduled_tables.put_off(
                connection, schedule_id, due_at, by.name, by.origin, how, content
            )
            after = {"at": due_at.isoformat(), "dealer": wanted.dealer_id, **asdict(planned.counts)}
            await _record(connection, by, "scheduled", schedule_id, after, wanted.reason)
    return PutOff(schedule_id, due_at, planned)


async def list_all(pool: Pool, by: Operator) -> list[Scheduled]:
    """Those that wait, the next first, then the newest that are over."""
    by.require(Scope.READ)
    async with pool.acquire() as connection:
        return await scheduled_tables.list_newest(connection)


async def cancel(pool: Pool, by: Operator, schedule_id: UUID, reason: str = "") -> None:
    """Forget a sheet that waits. Raises NotFound, and Conflict where it is over."""
    by.require(Scope.ROUTES)
    checks = Checks()
    checks.reason(reason)
    checks.done()
    async with acting(pool) as connection:
        found = await scheduled_tables.find(connection, schedule_id)
        if found is None:
            raise NotFound("not-found", f"Nothing is scheduled as {schedule_id}.")
        if not await scheduled_tables.finish(connection, schedule_id, CANCELLED, {}):
            raise Conflict("already-over", f"{schedule_id} is {found.state} already.")
        await _record(connection, by, "cancelled", schedule_id, {}, reason)


async def apply_due(pool: Pool, schedule_id: UUID, now: datetime) -> Scheduled | None:
    """Apply a sheet whose moment has come, or refuse it. None where it does not wait any more.

    Raises Conflict (`table-changed`) where others publish all the time: it is to be tried again.
    """
    async with pool.acquire() as connection:
        found = await scheduled_tables.find(connection, schedule_id)
        content = await scheduled_tables.content(connection, schedule_id)
    if found is None or content is None:
        return None
    by = Operator(found.operator, found.origin)
    try:
        await _apply(pool, by, found, unpacked(content), now)
    except _Over:
        return None
    except Problem as problem:
        if problem.code == TABLE_CHANGED:
            raise
        if not await _refuse(pool, by, found, problem):
            return None
    async with pool.acquire() as connection:
        return await scheduled_tables.find(connection, schedule_id)


def document(scheduled: Scheduled) -> dict[str, Any]:
    """A sheet put off, for JSON."""
    finished_at = scheduled.finished_at
    return {
        "id": str(scheduled.schedule_id),
        "at": scheduled.due_at.isoformat(),
        "state": scheduled.state,
        "operator": scheduled.operator,
        "scheduled_at": scheduled.created_at.isoformat(),
        "dealer": scheduled.wanted["dealer_id"],
        "reason": scheduled.wanted["reason"],
        "finished_at": None if finished_at is None else finished_at.isoformat(),
        "outcome": scheduled.outcome,
    }


async def _apply(pool: Pool, by: Operator, found: Scheduled, content: bytes, now: datetime) -> None:
    how = dict(found.wanted)
    form = Form(how.pop("form"))
    # The revision was looked at when the sheet was given; there were others since.
    wanted = replace(Wanted(**how), expected_revision=None)

    async def also(connection: Connection, applied: Applied) -> None:
        outcome = {"revision": applied.revision, **asdict(applied.plan.counts)}
        if not await scheduled_tables.finish(connection, found.schedule_id, APPLIED, outcome):
            raise _Over

    await apply(pool, by, Sheet(content, form), wanted, now, act=Act.SCHEDULED, also=also)


async def _refuse(pool: Pool, by: Operator, found: Scheduled, problem: Problem) -> bool:
    errors = [{"field": each.field, "message": each.message} for each in problem.errors]
    outcome = {"code": problem.code, "detail": problem.detail, "errors": errors}
    async with acting(pool) as connection:
        refused = await scheduled_tables.finish(connection, found.schedule_id, REFUSED, outcome)
        if refused:
            reason = found.wanted["reason"]
            await _record(connection, by, "refused", found.schedule_id, outcome, reason)
    return refused


def _check_moment(due_at: datetime, now: datetime) -> None:
    checks = Checks()
    checks.aware("at", due_at)
    checks.done()
    if not now < due_at <= now + LONGEST_WAIT:
        checks.wrong("at", f"must lie ahead, and at most {LONGEST_WAIT.days} days")
    checks.done()


async def _record(
    connection: Connection,
    by: Operator,
    what: str,
    schedule_id: UUID,
    after: dict[str, Any],
    reason: str,
) -> None:
    action = f"scheduled_routes.{what}"
    await by.record(connection, action, f"schedule:{schedule_id}", after=after, reason=reason)
