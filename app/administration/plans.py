"""What a sheet would make of the routing table, worked out before anything is changed.

Everything is held against one revision: whoever writes a plan looks, under the lock, whether that
revision is still in force. Reading and compiling a large sheet takes seconds of a processor, so
this is for commands and for child processes (`desk.py`), not for a process that serves.
"""

from collections import defaultdict
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from app.administration.checks import Checks
from app.errors import (
    Conflict,
    DatabaseUnavailable,
    FieldError,
    NotFound,
    Overloaded,
    PreconditionFailed,
    Problem,
    Unprocessable,
)
from app.lifecycle.trade import compile_snapshot, largest_rise_percent
from app.pace import Pace
from app.storage import drafts, reference
from app.storage.drafts import Counts, Loss, Rise, TierEffect
from app.storage.pool import DISCONNECTED, LOCKED, RETRIABLE, Connection, Pool
from app.storage.reference import DealerRow, RouteRow
from routing.sheet import Fault, Form, Known, SheetReader, route_id_of
from routing.table import BadTable

KINDS = ("added", "changed", "removed")
TABLE_CHANGED = "table-changed"
"""Of problems: the table is not any more the one that was looked at."""
_REST_SHARE = 0.4
"""A sheet of a million lines takes a third longer, and orders beside it hardly."""
_MOST_EXAMPLES = 20
_MOST_SAMPLES = 10_000
_ROWS_A_STEP = 20_000

Progress = Callable[[str, int, int | None], None]
"""Takes a stage, how much of it is done, and how much there is, where that is known."""


def unwatched(stage: str, done: int, whole: int | None) -> None:
    """Nobody looks."""


@dataclass(frozen=True, slots=True)
class Sheet:
    """A table, or a dealer's part of it, as it was written."""

    content: bytes
    form: Form = Form.CSV


@dataclass(frozen=True, slots=True)
class Wanted:
    """How a sheet is meant. With `dealer_id` it is that dealer's part of the table."""

    dealer_id: str | None = None
    allow_empty: bool = False
    allow_rises: bool = False
    """Let costs rise by more than the policy's `largest_rise_percent`."""
    expected_revision: int | None = None
    """Refuse where another revision is in force: somebody else changed the table meanwhile."""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Effect:
    """What a sheet does to margins, by each product's cheapest offer of the day."""

    tiers: list[TierEffect]
    losses: list[Loss]
    """The worst of the products that would be sold at a loss."""
    without_offer: int
    """Products that would lose their last offer."""
    first_without_offer: list[str]

    def document(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "tiers": [asdict(each) for each in self.tiers],
            "losses": [asdict(each) for each in self.losses],
            "without_offer": self.without_offer,
            "first_without_offer": self.first_without_offer,
        }


@dataclass(frozen=True, slots=True)
class Plan:
    """What a sheet changes of the table at a revision."""

    revision: int
    goods_revision: int
    """Of products, prices and routes: while it is in force, this is what the sheet changes."""
    counts: Counts
    examples: dict[str, list[dict[str, Any]]]
    """The first few routes that change, by kind."""
    rise_count: int
    """Costs that rise by more than `largest_rise_percent`."""
    rises: list[Rise]
    """The first of them."""
    largest_rise_percent: float
    not_sold: int
    """Routes to write whose products are switched off: kept, and not offered."""
    effect: Effect

    @property
    def is_empty(self) -> bool:
        """Whether the sheet is what is in force."""
        counts = self.counts
        return not (counts.added or counts.changed or counts.removed)

    def document(self) -> dict[str, Any]:
        """For JSON; routes as examples only."""
        return {
            "revision": self.revision,
            **asdict(self.counts),
            "not_sold": self.not_sold,
            "large_rises": self.rise_count,
            "largest_rise_percent": self.largest_rise_percent,
            "rises": [asdict(each) for each in self.rises],
            "effect": self.effect.document(),
            "examples": self.examples,
        }


@dataclass(frozen=True, slots=True)
class _Standing:
    """What a sheet is held against, but for the routes."""

    revision: int
    goods_revision: int
    policy: str
    dealers: list[DealerRow]
    known: Known


@asynccontextmanager
async def drafting(pool: Pool) -> AsyncGenerator[Connection]:
    """A connection with room for a draft.

    Raises Overloaded where somebody else keeps the table locked, DatabaseUnavailable where the
    connection is lost: whether anything was committed is not known.
    """
    try:
        async with pool.acquire() as connection:
            await drafts.widen(connection)
            try:
                await drafts.begin(connection)
                yield connection
            finally:
                await drafts.leave(connection)
    except (*LOCKED, *RETRIABLE) as error:
        raise Overloaded(
            "somebody else is changing the table; nothing was changed, try again"
        ) from error
    except DISCONNECTED as error:
        raise DatabaseUnavailable(
            "the database went away; `jalur audit list` tells whether this was done"
        ) from error


async def plan(
    connection: Connection,
    sheet: Sheet,
    wanted: Wanted,
    now: datetime,
    tell: Progress = unwatched,
) -> Plan | None:
    """Read, compare, compile and weigh, within `drafting`.

    None where somebody published meanwhile. Raises Unprocessable (`invalid-table`, with each
    fault), Conflict (`would-be-empty`), PreconditionFailed (`table-changed`), NotFound for a
    strange dealer.
    """
    before = await reference.revision(connection)
    try:
        planned = await _work_out(connection, sheet, wanted, now, tell)
    except Problem:
        if await reference.revision(connection) == before:
            raise
        return None
    steady = planned.revision == before == await reference.revision(connection)
    return planned if steady else None


def require_rises_are_meant(planned: Plan, wanted: Wanted) -> None:
    """Raise Conflict (`large-rise`) where costs rise by too much for a slip of the pen."""
    if not planned.rise_count or wanted.allow_rises:
        return
    told = [
        FieldError(each.route_id, f"cost {each.before} → {each.after} rupiah")
        for each in planned.rises
    ]
    raise Conflict(
        "large-rise",
        f"{counted(planned.rise_count, 'cost')} would rise by more than "
        f"{planned.largest_rise_percent:g} %: look at them, then say yes.",
        errors=told,
    )


def require_dealer(dealers: Iterable[DealerRow], dealer_id: str | None) -> None:
    """Raise NotFound where a dealer is named that there is not."""
    if dealer_id is not None and all(row.dealer_id != dealer_id for row in dealers):
        raise NotFound("not-found", f"There is no dealer {dealer_id!r}.")


def counted(count: int, what: str) -> str:
    """So many of a thing, in words."""
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


# ------------------------------------------------------------------ what it is held against


async def _work_out(
    connection: Connection, sheet: Sheet, wanted: Wanted, now: datetime, tell: Progress
) -> Plan:
    standing = await _stand(connection)
    require_dealer(standing.dealers, wanted.dealer_id)
    _expect(standing.revision, wanted.expected_revision)
    _check_reason(wanted.reason)
    await _read(connection, sheet, standing, wanted.dealer_id, tell)
    tell("compare", 0, None)
    counts = await drafts.compare(connection, wanted.dealer_id)
    if counts.removed and not (counts.added or counts.changed or counts.unchanged):
        _require_empty_is_meant(counts.removed, wanted)
    await _require_free_ids(connection)
    await _compile(connection, standing)
    tell("weigh", 0, None)
    percent = largest_rise_percent(standing.policy)
    rise_count, rises = await drafts.rises(connection, percent, _MOST_EXAMPLES)
    return Plan(
        standing.revision,
        standing.goods_revision,
        counts,
        await _examples(connection),
        rise_count,
        rises,
        percent,
        await drafts.count_not_sold(connection),
        await _weigh(connection, wanted.dealer_id, now),
    )


async def _stand(connection: Connection) -> _Standing:
    goods_revision = (await reference.revisions(connection)).goods
    revision, policy = await reference.policy(connection)
    dealers = await reference.dealers(connection)
    # A cluster that a route stands in already is no slip of the pen.
    clusters = {cluster for _, cluster in await reference.regions(connection)}
    clusters |= {cluster for _, cluster in await reference.numbering(connection)}
    clusters |= await drafts.clusters(connection)
    skus = await reference.skus(connection)
    known = Known(skus, clusters, {row.dealer_id for row in dealers})
    return _Standing(revision, goods_revision, policy, dealers, known)


def _expect(revision: int, expected: int | None) -> None:
    if expected is not None and expected != revision:
        raise PreconditionFailed(
            TABLE_CHANGED,
            f"Revision {revision} is in force, not {expected}: export the table again.",
        )


def _check_reason(reason: str) -> None:
    checks = Checks()
    checks.reason(reason)
    checks.done()


def _require_empty_is_meant(removed: int, wanted: Wanted) -> None:
    if not wanted.allow_empty:
        raise Conflict(
            "would-be-empty",
            f"The sheet has no rows: all {removed} routes would go. Say that it may be empty.",
        )


async def _require_free_ids(connection: Connection) -> None:
    taken = await drafts.taken_ids(connection, 1)
    if taken:
        raise Unprocessable(
            "invalid-table",
            f"The table would not compile: another route has the id {taken[0]} already. The one in "
            "force stays.",
        )


# ------------------------------------------------------------------ reading


async def _read(
    connection: Connection,
    sheet: Sheet,
    standing: _Standing,
    dealer_id: str | None,
    tell: Progress,
) -> None:
    reader = SheetReader(sheet.content, standing.known, dealer_id, sheet.form)
    await drafts.fill(connection, _drafted(reader, _lines_of(sheet), tell), Pace(_REST_SHARE))


def _drafted(reader: SheetReader, lines: int, tell: Progress) -> Iterator[tuple[Any, ...]]:
    """The rows as routes with their ids. Raises Unprocessable in the end where there are faults."""
    for number, row in enumerate(reader):
        if number % _ROWS_A_STEP == 0:
            tell("read", number, max(lines, number))
        if not reader.fault_count:
            yield (route_id_of(row), *row)
    if reader.fault_count:
        raise Unprocessable(
            "invalid-table",
            f"The sheet has {counted(reader.fault_count, 'fault')}; the table in force stays.",
            errors=[_field_error(each) for each in reader.faults],
        )


def _lines_of(sheet: Sheet) -> int:
    """About how many rows it has, for telling how far its reading is."""
    return sheet.content.count(b"\n" if sheet.form is Form.CSV else b"{")


def _field_error(fault: Fault) -> FieldError:
    place = f"line {fault.line}"
    return FieldError(f"{place}.{fault.column}" if fault.column else place, fault.message)


# ------------------------------------------------------------------ compiling and weighing


async def _compile(connection: Connection, standing: _Standing) -> None:
    """Compile routes like those to be written.

    What the reader takes compiles, row by row, and the ids that would contradict each other were
    looked at: what is left are the policy, the dealers and their hours.
    """
    routes = await drafts.samples(connection, _MOST_SAMPLES)
    skus = {row.sku for row in routes}
    # Routes of products that are switched off are kept for the day when they are not.
    sold = await reference.products_of(connection, skus)
    try:
        snapshot = compile_snapshot(standing.dealers, sold, routes, standing.policy)
    except BadTable as error:
        raise Unprocessable(
            "invalid-table", f"The table would not compile: {error}. The one in force stays."
        ) from None
    if snapshot.refused:
        first = snapshot.refused[0]
        raise Unprocessable(
            "invalid-table",
            f"The table would leave out routes such as {first.route_id}: {first.fault}. The one in "
            "force stays.",
        )


async def _weigh(connection: Connection, dealer_id: str | None, now: datetime) -> Effect:
    await drafts.weigh(connection, dealer_id, now)
    without_offer, first = await drafts.orphaned(connection, _MOST_EXAMPLES)
    return Effect(
        await drafts.tier_effects(connection),
        await drafts.losses(connection, _MOST_EXAMPLES),
        without_offer,
        first,
    )


# ------------------------------------------------------------------ telling


async def _examples(connection: Connection) -> dict[str, list[dict[str, Any]]]:
    shown: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    for kind in KINDS:
        for row, before in await drafts.examples(connection, kind, _MOST_EXAMPLES):
            if kind == "changed" and before is not None:
                shown[kind].append(_shown_change(before, row))
            else:
                shown[kind].append(_shown(row))
    return {kind: shown[kind] for kind in KINDS}


def _shown(row: RouteRow) -> dict[str, Any]:
    return {"route": row.route_id, **_values(row)}


def _shown_change(before: RouteRow, after: RouteRow) -> dict[str, Any]:
    """The columns that change, with what they were."""
    old, new = _values(before), _values(after)
    differs = [name for name in new if old[name] != new[name]]
    return {
        "route": after.route_id,
        "before": {name: old[name] for name in differs},
        "after": {name: new[name] for name in differs},
    }


def _values(row: RouteRow) -> dict[str, Any]:
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
        "daily_quota": row.daily_quota,
        "repeat_limit": row.repeat_limit,
        "weight": row.weight,
    }
