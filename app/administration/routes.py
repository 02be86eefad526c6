"""Steering the routing table: all of it, or one dealer's part, exchanged as a sheet.

An import says what the table is to be, so it can be repeated, and it is taken whole or not at all.
Reading, comparing and compiling a large table takes seconds; that is done beside the event loop and
without a transaction, against one revision. The change is then written in one short transaction,
under the lock that every change of the reference tables takes, if that revision is still in force;
otherwise it is worked out anew.
"""

import asyncio
import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TypeVar
from urllib.parse import quote

from app.administration.operator import Operator, Scope
from app.errors import Conflict, FieldError, NotFound, PreconditionFailed, Unprocessable
from app.lifecycle.route import compile_snapshot
from app.storage import catalogue, reference
from app.storage.pool import Connection, Pool
from app.storage.reference import Reference, RouteRow
from routing.reasons import RowFault
from routing.sheet import Fault, Known, SheetRow, read_sheet, write_sheet
from routing.snapshot import Snapshot
from routing.table import BadTable

_TRIES = 5
_LOCK_PATIENCE = timedelta(seconds=20)
_ROWS_A_STATEMENT = 20_000
_MOST_EXAMPLES = 20
_CHECKSUM_LENGTH = 16
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Exported:
    """The table, or a dealer's part of it, as CSV in UTF-8, and the revision it was read at."""

    content: bytes
    revision: int


@dataclass(frozen=True, slots=True)
class Wanted:
    """How an import is meant. With `dealer_id` the sheet is that dealer's part of the table."""

    dealer_id: str | None = None
    allow_empty: bool = False
    expected_revision: int | None = None
    """Refuse where another revision is in force: somebody else changed the table meanwhile."""
    dry_run: bool = False
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Difference:
    """What separates the sheet from the table in force."""

    added: list[RouteRow]
    changed: list[tuple[RouteRow, RouteRow]]
    removed: list[RouteRow]
    unchanged: int

    @property
    def is_empty(self) -> bool:
        """Whether the sheet is what is in force."""
        return not (self.added or self.changed or self.removed)

    def counts(self) -> dict[str, int]:
        """How many rows of each kind."""
        return {
            "added": len(self.added),
            "changed": len(self.changed),
            "removed": len(self.removed),
            "unchanged": self.unchanged,
        }

    def examples(self) -> dict[str, list[dict[str, object]]]:
        """The first few rows of each kind."""
        return {
            "added": [_shown(row) for row in self.added[:_MOST_EXAMPLES]],
            "changed": [_shown_change(*pair) for pair in self.changed[:_MOST_EXAMPLES]],
            "removed": [_shown(row) for row in self.removed[:_MOST_EXAMPLES]],
        }


@dataclass(frozen=True, slots=True)
class Imported:
    """What an import did, or on a dry run would do."""

    dry_run: bool
    revision: int
    """In force afterwards."""
    checksum_before: str
    checksum_after: str
    """Of the whole table: the first digits of the SHA-256 of its export."""
    table: str
    """The compiled table's version, as decisions name it when no dealer had to be left out."""
    not_sold: int
    """Rows of products that are switched off: kept, and not offered."""
    difference: Difference

    def document(self) -> dict[str, object]:
        """The outcome for JSON; rows as examples only."""
        return {
            "dry_run": self.dry_run,
            "revision": self.revision,
            "checksum_before": self.checksum_before,
            "checksum_after": self.checksum_after,
            "table": self.table,
            "not_sold": self.not_sold,
            **self.difference.counts(),
            "examples": self.difference.examples(),
        }


async def export_routes(pool: Pool, by: Operator, dealer_id: str | None = None) -> Exported:
    """The table as a sheet that imports without a change. Raises NotFound for a strange dealer."""
    by.require(Scope.READ)
    async with pool.acquire() as connection:
        rows = await reference.load(connection)
    _require_dealer(rows, dealer_id)
    content = await asyncio.to_thread(_content, _part(rows.routes, dealer_id))
    return Exported(content, rows.revision)


async def import_routes(pool: Pool, by: Operator, content: bytes, wanted: Wanted) -> Imported:
    """Make the sheet the table in force, or nothing at all.

    Raises Unprocessable (`invalid-table`, with each fault), Conflict (`would-be-empty`),
    PreconditionFailed (`table-changed`), NotFound for a strange dealer.
    """
    by.require(Scope.ROUTES)
    for _ in range(_TRIES):
        async with pool.acquire() as connection:
            skus = await reference.skus(connection)
            standing = await reference.load(connection)
        _expect(standing, wanted)
        planned = await asyncio.to_thread(_plan, standing, skus, content, wanted)
        if planned.dry_run or planned.difference.is_empty:
            return planned
        async with pool.acquire() as connection, connection.transaction():
            # A publisher in between may have changed what this was worked out from.
            if await catalogue.lock_revision(connection, _LOCK_PATIENCE) == standing.revision:
                return await _write(connection, by, planned, wanted)
    raise Conflict("table-changed", "The tables keep changing meanwhile; nothing was imported.")


# ------------------------------------------------------------------ working it out


def _expect(standing: Reference, wanted: Wanted) -> None:
    _require_dealer(standing, wanted.dealer_id)
    expected = wanted.expected_revision
    if expected is not None and expected != standing.revision:
        raise PreconditionFailed(
            "table-changed",
            f"Revision {standing.revision} is in force, not {expected}: export the table again.",
        )


def _require_dealer(rows: Reference, dealer_id: str | None) -> None:
    if dealer_id is not None and all(row.dealer_id != dealer_id for row in rows.dealers):
        raise NotFound("not-found", f"There is no dealer {dealer_id!r}.")


def _plan(standing: Reference, skus: frozenset[str], content: bytes, wanted: Wanted) -> Imported:
    """Read, compare and compile, without I/O."""
    rows = _read(standing, skus, content, wanted.dealer_id)
    part = _part(standing.routes, wanted.dealer_id)
    if part and not rows and not wanted.allow_empty:
        raise Conflict(
            "would-be-empty",
            f"The sheet has no rows: all {len(part)} routes would go. Say that it may be empty.",
        )
    difference = _compare(part, rows)
    routes = _after(standing.routes, difference)
    snapshot = _compile(replace(standing, routes=routes))
    touched = [row.route_id for row in _written_rows(difference)]
    not_sold = _left_out(snapshot, touched)
    return Imported(
        wanted.dry_run,
        standing.revision,
        _checksum(standing.routes),
        _checksum(routes),
        snapshot.version,
        not_sold,
        difference,
    )


def _read(
    standing: Reference, skus: frozenset[str], content: bytes, dealer_id: str | None
) -> list[SheetRow]:
    # A cluster that a route stands in already is no slip of the pen.
    clusters = {cluster for _, cluster in standing.regions}
    clusters.update(row.cluster for row in standing.routes if row.cluster is not None)
    dealers = {row.dealer_id for row in standing.dealers}
    reading = read_sheet(content, Known(skus, clusters, dealers), dealer_id)
    if reading.fault_count:
        raise Unprocessable(
            "invalid-table",
            f"The sheet has {_counted(reading.fault_count, 'fault')}; the table in force stays.",
            errors=[_field_error(each) for each in reading.faults],
        )
    return reading.rows


def _field_error(fault: Fault) -> FieldError:
    place = f"line {fault.line}"
    return FieldError(f"{place}.{fault.column}" if fault.column else place, fault.message)


def _counted(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def _compare(part: Iterable[RouteRow], rows: Iterable[SheetRow]) -> Difference:
    """The difference, what goes being sorted. A route that stays keeps its id."""
    left = {(row.sku, row.cluster, row.dealer_id): row for row in part}
    added: list[RouteRow] = []
    changed: list[tuple[RouteRow, RouteRow]] = []
    unchanged = 0
    for row in rows:
        before = left.pop(row[:3], None)
        if before is None:
            added.append(RouteRow(route_id_of(row), *row))
        elif _sheet_row(before) == row:
            unchanged += 1
        else:
            changed.append((before, RouteRow(before.route_id, *row)))
    removed = sorted(left.values(), key=lambda row: (row.sku, row.cluster or "", row.dealer_id))
    return Difference(added, changed, removed, unchanged)


def route_id_of(row: SheetRow) -> str:
    """The id of a new route: its sku, cluster and dealer, so that it is the same everywhere."""
    return "/".join(quote(part, safe="") for part in (row.sku, row.cluster or "", row.dealer_id))


def _after(routes: Iterable[RouteRow], difference: Difference) -> list[RouteRow]:
    written = {row.route_id: row for _, row in difference.changed}
    gone = {row.route_id for row in difference.removed}
    kept = [written.get(row.route_id, row) for row in routes if row.route_id not in gone]
    return kept + difference.added


def _compile(rows: Reference) -> Snapshot:
    try:
        return compile_snapshot(rows, {row.dealer_id for row in rows.dealers})
    except BadTable as error:
        raise Unprocessable(
            "invalid-table", f"The table would not compile: {error}. The one in force stays."
        ) from None


def _left_out(snapshot: Snapshot, written: Iterable[str]) -> int:
    """How many of the rows just written the compiled table leaves out for their product's sake.

    Any other reason to leave one out refuses the import.
    """
    mine = frozenset(written)
    faults = [each for each in snapshot.refused if each.route_id in mine]
    others = [each for each in faults if each.fault != RowFault.UNKNOWN_PRODUCT]
    if others:
        raise Unprocessable(
            "invalid-table",
            f"The table would leave out {_counted(len(others), 'route')}, "
            f"{others[0].route_id} first: {others[0].fault}. The one in force stays.",
        )
    return len(faults)


def _part(routes: Sequence[RouteRow], dealer_id: str | None) -> Sequence[RouteRow]:
    return routes if dealer_id is None else [row for row in routes if row.dealer_id == dealer_id]


def _sheet_row(row: RouteRow) -> SheetRow:
    return SheetRow(
        row.sku,
        row.cluster,
        row.dealer_id,
        row.dealer_sku,
        row.cost,
        row.enabled,
        row.hours,
        row.valid_from,
        row.valid_until,
    )


def _content(routes: Iterable[RouteRow]) -> bytes:
    return write_sheet(_sheet_row(row) for row in routes).encode()


def _checksum(routes: Iterable[RouteRow]) -> str:
    return hashlib.sha256(_content(routes)).hexdigest()[:_CHECKSUM_LENGTH]


# ------------------------------------------------------------------ writing and telling


async def _write(
    connection: Connection, by: Operator, planned: Imported, wanted: Wanted
) -> Imported:
    difference = planned.difference
    for removed in _chunks(difference.removed):
        await catalogue.delete_routes(connection, [row.route_id for row in removed])
    for written in _chunks(_written_rows(difference)):
        await catalogue.put_routes(connection, written)
    done = replace(planned, revision=await catalogue.publish(connection))
    await by.record(
        connection,
        "routes.imported",
        "routes" if wanted.dealer_id is None else f"dealer:{wanted.dealer_id}",
        before={"revision": planned.revision, "checksum": planned.checksum_before},
        after={
            "revision": done.revision,
            "checksum": done.checksum_after,
            "table": done.table,
            **difference.counts(),
            "examples": difference.examples(),
        },
        reason=wanted.reason,
    )
    return done


def _written_rows(difference: Difference) -> list[RouteRow]:
    return [*difference.added, *(after for _, after in difference.changed)]


def _chunks(rows: Sequence[_T]) -> Iterator[Sequence[_T]]:
    for start in range(0, len(rows), _ROWS_A_STATEMENT):
        yield rows[start : start + _ROWS_A_STATEMENT]


def _shown(row: RouteRow) -> dict[str, object]:
    return {"route": row.route_id, **_values(row)}


def _shown_change(before: RouteRow, after: RouteRow) -> dict[str, object]:
    """The columns that change, with what they were."""
    old, new = _values(before), _values(after)
    differs = [name for name in new if old[name] != new[name]]
    return {
        "route": after.route_id,
        "before": {name: old[name] for name in differs},
        "after": {name: new[name] for name in differs},
    }


def _values(row: RouteRow) -> dict[str, object]:
    return {
        "sku": row.sku,
        "cluster": row.cluster,
        "dealer": row.dealer_id,
        "dealer_sku": row.dealer_sku,
        "cost": row.cost,
        "enabled": row.enabled,
        "hours": row.hours,
        "valid_from": row.valid_from and row.valid_from.isoformat(),
        "valid_until": row.valid_until and row.valid_until.isoformat(),
    }
