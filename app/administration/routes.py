"""Steering the routing table: all of it, or one dealer's part, exchanged as a sheet.

A sheet says what the table is to be, so applying it can be repeated, and it is taken whole or not
at all. The change is written under the lock that every change of the reference tables takes, if
the revision that it was worked out against is still in force; otherwise it is worked out anew.
Each table that comes into force is kept, so that one can go back.
"""

import hashlib
import zlib
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from app.administration.operator import Operator, Scope
from app.administration.plans import (
    TABLE_CHANGED,
    Plan,
    Progress,
    Sheet,
    Wanted,
    drafting,
    plan,
    require_dealer,
    require_rises_are_meant,
    unwatched,
)
from app.errors import Conflict, NotFound
from app.pace import Pace
from app.storage import catalogue, drafts, reference, table_versions
from app.storage.pool import Connection, Pool
from app.storage.table_versions import NewVersion, Version

_TRIES = 5
_COPYING_REST_SHARE = 0.5
_WRITING_REST_SHARE = 2.0
"""More than for other work: what is written to the log is in the way of every commit."""
_CHANGING_REST_SHARE = 3.0
"""A page of which something changes goes to the log whole, after a checkpoint."""
_ENOUGH_REST_SECONDS = 28.0
"""In writing a table, so that a million lines are in force within two minutes on a slow day."""
_LOCK_PATIENCE = timedelta(seconds=20)
_CHECKSUM_LENGTH = 16
_GZIP = 31
"""zlib's number for gzip's own form."""


class Act(StrEnum):
    """How a table came into force."""

    APPLIED = "applied"
    SCHEDULED = "scheduled"
    """By itself, at the moment that it was put off to."""
    ROLLED_BACK = "rolled_back"
    PULLED = "pulled"
    """Out of a dealer's own price list."""
    FOUND = "found"
    """It was in force and not kept when another one was applied."""


@dataclass(frozen=True, slots=True)
class Exported:
    """The table, or a dealer's part of it, as CSV in UTF-8, and the revision it was read at."""

    pieces: list[bytes]
    revision: int

    @property
    def content(self) -> bytes:
        """All of it."""
        return b"".join(self.pieces)


@dataclass(frozen=True, slots=True)
class Applied:
    """What applying a sheet did. Where it is what is in force already, nothing was done."""

    plan: Plan
    revision: int
    """In force afterwards."""
    version: int | None
    """The number under which the table is kept."""
    checksum_before: str
    checksum_after: str
    """Of the whole table: the first digits of the SHA-256 of its export."""

    def document(self) -> dict[str, Any]:
        """For JSON; routes as examples only."""
        return {
            **self.plan.document(),
            "revision": self.revision,
            "version": self.version,
            "checksum_before": self.checksum_before,
            "checksum_after": self.checksum_after,
        }


Also = Callable[[Connection, Applied], Awaitable[None]]
"""What else belongs into the transaction that applies a sheet."""


async def export_routes(pool: Pool, by: Operator, dealer_id: str | None = None) -> Exported:
    """The table as a sheet that applies without a change. Raises NotFound for a strange dealer."""
    by.require(Scope.READ)
    pieces: list[bytes] = []

    async def take(piece: bytes) -> None:
        pieces.append(bytes(piece))

    async with (
        pool.acquire() as connection,
        connection.transaction(isolation="repeatable_read"),
    ):
        require_dealer(await reference.dealers(connection), dealer_id)
        revision = await reference.revision(connection)
        await drafts.copy_out(connection, dealer_id, take)
    return Exported(pieces, revision)


async def diff(
    pool: Pool,
    by: Operator,
    sheet: Sheet,
    wanted: Wanted,
    now: datetime,
    tell: Progress = unwatched,
) -> Plan:
    """What the sheet would change, and what that does to margins. Raises as `plan` does."""
    by.require(Scope.READ)
    for _ in range(_TRIES):
        async with drafting(pool) as connection:
            planned = await plan(connection, sheet, wanted, now, tell)
            if planned is not None:
                return planned
    raise keeps_changing()


async def apply(
    pool: Pool,
    by: Operator,
    sheet: Sheet,
    wanted: Wanted,
    now: datetime,
    tell: Progress = unwatched,
    *,
    act: Act = Act.APPLIED,
    also: Also | None = None,
) -> Applied:
    """Make the sheet the table in force, or nothing at all.

    Raises as `plan` does, and Conflict (`large-rise`) where costs rise by much unsaid.
    """
    by.require(Scope.ROUTES)
    for _ in range(_TRIES):
        async with drafting(pool) as connection:
            planned = await plan(connection, sheet, wanted, now, tell)
            if planned is None:
                continue
            require_rises_are_meant(planned, wanted)
            tell("write", 0, None)
            before = await _copy(connection)
            async with connection.transaction():
                # A publisher in between may have changed what this was worked out from.
                in_force = await catalogue.lock_goods(connection, _LOCK_PATIENCE)
                if in_force == planned.goods_revision:
                    applied = await _write(connection, by, planned, before, wanted, act)
                    if also is not None:
                        await also(connection, applied)
                    return applied
    raise keeps_changing()


async def list_versions(pool: Pool, by: Operator) -> list[Version]:
    """The tables kept, the newest first."""
    by.require(Scope.READ)
    async with pool.acquire() as connection:
        return await table_versions.list_all(connection)


def version_document(kept: Version) -> dict[str, Any]:
    """A kept table, without its content, for JSON."""
    return {**asdict(kept), "kept_at": kept.kept_at.isoformat()}


async def read_version(pool: Pool, by: Operator, version: int) -> bytes:
    """A kept table's CSV under gzip. Raises NotFound."""
    by.require(Scope.READ)
    async with pool.acquire() as connection:
        content = await table_versions.content(connection, version)
    if content is None:
        raise NotFound(
            "not-found", f"Version {version} is not kept; `jalur routes versions` has all."
        )
    return content


async def roll_back(
    pool: Pool,
    by: Operator,
    to: int | None,
    wanted: Wanted,
    now: datetime,
    tell: Progress = unwatched,
) -> tuple[int, Applied]:
    """Apply a kept table again: that of a version, else the one before the newest.

    Returns its version. Raises as `apply` does where it does not fit any more, and Conflict
    (`table-changed`) where another table was applied since the one before the newest was looked up.
    """
    by.require(Scope.ROUTES)
    newest, version = await _newest_two(pool, by) if to is None else (None, to)
    sheet = Sheet(unpacked(await read_version(pool, by, version)))

    async def also(_connection: Connection, applied: Applied) -> None:
        written = applied.version
        if newest is not None and written is not None and written > newest + 1:
            raise Conflict(TABLE_CHANGED, "Another table was applied meanwhile: look again.")

    applied = await apply(pool, by, sheet, wanted, now, tell, act=Act.ROLLED_BACK, also=also)
    return version, applied


def packed(content: bytes) -> bytes:
    """A sheet under gzip."""
    packer = zlib.compressobj(wbits=_GZIP)
    return packer.compress(content) + packer.flush()


def unpacked(content: bytes) -> bytes:
    """What `packed` was given."""
    return zlib.decompress(content, _GZIP)


async def _newest_two(pool: Pool, by: Operator) -> tuple[int, int]:
    """The versions of the table in force and of the one before it."""
    kept = await list_versions(pool, by)
    if not kept[1:]:
        raise Conflict("no-version", "There is no table to go back to: none was applied before.")
    return kept[0].version, kept[1].version


def keeps_changing() -> Conflict:
    """What to raise where others publish all the time."""
    return Conflict(TABLE_CHANGED, "The tables keep changing meanwhile; nothing was applied.")


# ------------------------------------------------------------------ writing


@dataclass(frozen=True, slots=True)
class _Copy:
    """The table in force: its checksum, and its CSV under gzip."""

    checksum: str
    routes: int
    content: bytes


async def _write(
    connection: Connection, by: Operator, planned: Plan, before: _Copy, wanted: Wanted, act: Act
) -> Applied:
    if planned.is_empty:
        return Applied(planned, planned.revision, None, before.checksum, before.checksum)
    await _keep_what_stood(connection, by, planned.revision, before)
    mostly_changes = planned.counts.changed > planned.counts.added
    rest_share = _CHANGING_REST_SHARE if mostly_changes else _WRITING_REST_SHARE
    pace = Pace(rest_share, _ENOUGH_REST_SECONDS)
    await drafts.write(connection, planned.counts, pace)
    after = await _copy(connection)
    revision = await catalogue.publish_goods(connection)
    version = await table_versions.keep(
        connection,
        NewVersion(
            revision,
            act,
            by.name,
            wanted.reason,
            after.checksum,
            after.routes,
            planned.counts.added,
            planned.counts.changed,
            planned.counts.removed,
            after.content,
        ),
        Pace(_WRITING_REST_SHARE),
    )
    applied = Applied(planned, revision, version, before.checksum, after.checksum)
    await _record(connection, by, applied, wanted, act)
    return applied


async def _keep_what_stood(
    connection: Connection, by: Operator, revision: int, before: _Copy
) -> None:
    """Keep a table that came into force on another way, so that one can go back to it."""
    newest = await table_versions.newest_checksum(connection)
    if before.routes and newest != before.checksum:
        found = NewVersion(
            revision,
            Act.FOUND,
            by.name,
            "",
            before.checksum,
            before.routes,
            0,
            0,
            0,
            before.content,
        )
        await table_versions.keep(connection, found, Pace(_WRITING_REST_SHARE))


async def _copy(connection: Connection) -> _Copy:
    digest, packer = hashlib.sha256(), zlib.compressobj(wbits=_GZIP)
    pieces: list[bytes] = []
    pace = Pace(_COPYING_REST_SHARE)

    async def take(piece: bytes) -> None:
        digest.update(piece)
        pieces.append(packer.compress(piece))
        await pace.rest()

    await drafts.copy_out(connection, None, take)
    pieces.append(packer.flush())
    routes = await drafts.count_in_force(connection)
    return _Copy(digest.hexdigest()[:_CHECKSUM_LENGTH], routes, b"".join(pieces))


async def _record(
    connection: Connection, by: Operator, applied: Applied, wanted: Wanted, act: Act
) -> None:
    planned = applied.plan
    await by.record(
        connection,
        f"routes.{act}",
        "routes" if wanted.dealer_id is None else f"dealer:{wanted.dealer_id}",
        before={"revision": planned.revision, "checksum": applied.checksum_before},
        after={
            "revision": applied.revision,
            "version": applied.version,
            "checksum": applied.checksum_after,
            **asdict(planned.counts),
            "large_rises": planned.rise_count,
            "examples": planned.examples,
        },
        reason=wanted.reason,
    )
