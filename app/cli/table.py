"""Operators' commands that change the routing table: a sheet compared, applied, put off, undone."""

import asyncio
import contextlib
import sys
from collections.abc import Awaitable, Callable, Generator, Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, NoReturn, TypeVar
from uuid import UUID

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from app.administration import plans, routes, schedules
from app.administration.operator import Operator
from app.administration.plans import Plan, Sheet, Wanted, unwatched
from app.administration.routes import Applied, unpacked
from app.children import step_back
from app.cli.terminal import Json, Reason, act, operator, print_json, tell, with_pool
from app.errors import ConfigurationError, Problem
from app.lifecycle.goods import MOST_ROWS_HERE
from app.storage.drafts import Counts
from app.storage.pool import Pool
from app.storage.scheduled_tables import Scheduled
from app.storage.table_versions import Version
from routing.sheet import MOST_BYTES, Form, sheet_as_json
from routing.table import WIB

T = TypeVar("T")

_REFUSED_LINES = "invalid-table"
_WATCHED_BYTES = 1024 * 1024
"""A smaller file is read before anybody looks."""

DealerPart = Annotated[
    str | None, typer.Option("--dealer", help="This dealer's part of the table only.")
]
SheetFile = Annotated[Path, typer.Argument(help="CSV or JSON in UTF-8, or - for the input.")]
FormOption = Annotated[
    Form | None, typer.Option("--format", help="Of the file; else by its name, and CSV.")
]
Yes = Annotated[
    bool, typer.Option("--yes", help="Let costs rise by more than largest_rise_percent.")
]
ExpectRevision = Annotated[
    int | None,
    typer.Option("--expect-revision", min=0, help="Only while this revision is in force."),
]


def export_command(
    file: Annotated[Path | None, typer.Argument(help="Where to write; else to the output.")] = None,
    dealer: DealerPart = None,
    version: Annotated[
        int | None, typer.Option("--version", min=1, help="A table kept from before.")
    ] = None,
    form: FormOption = None,
    as_json: Json = False,
) -> None:
    """Print the table as CSV or JSON, sorted; applied again it changes nothing."""
    if as_json and file is None:
        raise ConfigurationError("--json tells about the export: name a file to write it to")
    if version is not None and dealer is not None:
        raise ConfigurationError("a version is a whole table: leave --dealer out")
    content, revision = act(lambda pool, by: _exported(pool, by, dealer, version))
    pieces = _in_form(content, _form_of(file, form))
    if file is None:
        for piece in pieces:
            sys.stdout.buffer.write(piece)
        return
    write_file(file, pieces)
    what = f"version {version}" if revision is None else f"revision {revision}"
    expected = "" if revision is None else f" --expect-revision {revision}"
    told = f"Wrote {what} to {file}. Next: edit it, then `jalur routes diff {file}{expected}`"
    shown = {"file": str(file), "revision": revision, "version": version}
    tell(shown, [told], as_json=as_json)


def diff_command(
    file: SheetFile,
    dealer: DealerPart = None,
    form: FormOption = None,
    expect_revision: ExpectRevision = None,
    as_json: Json = False,
) -> None:
    """What the file would change, and what that does to margins. Status 1: lines are refused."""
    sheet = read_sheet(file, form)
    wanted = Wanted(dealer, allow_empty=True, expected_revision=expect_revision)
    planned = carry_out(
        lambda pool, watch: routes.diff(pool, operator(), sheet, wanted, _now(), watch),
        len(sheet.content),
        as_json=as_json,
    )
    next_ = f"Next: jalur routes apply {file} --expect-revision {planned.revision}"
    tell_plan(planned, f"Would be: {{counts}}. {next_}", as_json=as_json)


def apply_command(
    file: SheetFile,
    dealer: DealerPart = None,
    form: FormOption = None,
    at: Annotated[
        str | None,
        typer.Option(help="When, such as 2026-12-01T00:00; in WIB unless it says an offset."),
    ] = None,
    yes: Yes = False,
    allow_empty: Annotated[
        bool, typer.Option("--allow-empty", help="Let a file without rows remove every route.")
    ] = False,
    expect_revision: ExpectRevision = None,
    reason: Reason = "",
    as_json: Json = False,
) -> None:
    """Make the file the table in force, as a whole or not at all; now, or at a moment."""
    sheet = read_sheet(file, form)
    wanted = Wanted(dealer, allow_empty, yes, expect_revision, reason)
    if at is not None:
        _put_off(sheet, wanted, read_moment(at), as_json=as_json)
        return
    applied = carry_out(
        lambda pool, watch: routes.apply(pool, operator(), sheet, wanted, _now(), watch),
        len(sheet.content),
        as_json=as_json,
    )
    tell_applied(applied, as_json=as_json)


def scheduled_command(as_json: Json = False) -> None:
    """Files that wait for their moment, and what became of the last ones."""
    found = act(schedules.list_all)
    shown = {"scheduled": [schedules.document(each) for each in found]}
    empty = ["Nothing is scheduled. Next: jalur routes apply FILE --at TIME"]
    tell(shown, [_line_of_schedule(each) for each in found] or empty, as_json=as_json)


def cancel_command(
    schedule: Annotated[str, typer.Argument(metavar="ID", help="As `routes scheduled` shows it.")],
    reason: Reason = "",
    as_json: Json = False,
) -> None:
    """Forget a file that waits for its moment."""
    try:
        schedule_id = UUID(schedule)
    except ValueError:
        raise ConfigurationError(f"{schedule} is no id; `jalur routes scheduled` has all") from None
    act(lambda pool, by: schedules.cancel(pool, by, schedule_id, reason))
    told = f"{schedule_id} is cancelled."
    tell({"id": str(schedule_id), "state": schedules.CANCELLED}, [told], as_json=as_json)


def versions_command(as_json: Json = False) -> None:
    """The tables that were in force: who applied them, when and why."""
    kept = act(routes.list_versions)
    shown = {"versions": [routes.version_document(each) for each in kept]}
    empty = ["No table was applied yet. Next: jalur routes apply FILE"]
    tell(shown, [_line_of_version(each) for each in kept] or empty, as_json=as_json)


def rollback_command(
    to: Annotated[
        int | None, typer.Option("--to", min=1, help="This version; else the one before the last.")
    ] = None,
    yes: Yes = False,
    expect_revision: ExpectRevision = None,
    reason: Reason = "",
    as_json: Json = False,
) -> None:
    """Apply a table that was in force before; refused where it does not fit any more."""
    wanted = Wanted(None, True, yes, expect_revision, reason)
    version, applied = carry_out(
        lambda pool, watch: routes.roll_back(pool, operator(), to, wanted, _now(), watch),
        0,
        as_json=as_json,
    )
    if not as_json:
        typer.echo(f"Back to version {version}.")
    tell_applied(applied, as_json=as_json)


# ------------------------------------------------------------------ carrying out


def carry_out(
    work: Callable[[Pool, plans.Progress], Awaitable[T]], length: int | None, *, as_json: bool
) -> T:
    """Do something with a sheet of so many bytes; where lines are refused, tell them and end.

    Without a length it may take long, whatever the sheet.
    """
    if length is None or length > _WATCHED_BYTES:
        step_back()
    try:
        with _watched(length, as_json=as_json) as watch:
            return asyncio.run(with_pool(lambda pool: work(pool, watch)))
    except Problem as problem:
        _tell_refusal(problem, as_json=as_json)


def _put_off(sheet: Sheet, wanted: Wanted, due_at: datetime, *, as_json: bool) -> None:
    done = carry_out(
        lambda pool, watch: schedules.put_off(
            pool, operator(), sheet, wanted, due_at, _now(), watch
        ),
        len(sheet.content),
        as_json=as_json,
    )
    if as_json:
        print_json(done.document())
        return
    told = f"{done.schedule_id} waits for {in_wib(done.due_at)}. It would be: {{counts}}."
    tell_plan(done.plan, f"{told} Next: jalur routes scheduled", as_json=False)


@contextlib.contextmanager
def _watched(length: int | None, *, as_json: bool) -> Generator[plans.Progress]:
    """A bar for whoever looks at a terminal; nothing for programs and for what is soon done."""
    soon = length is not None and length < _WATCHED_BYTES
    if as_json or soon or not sys.stderr.isatty():
        yield unwatched
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn("{task.completed:,.0f}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        stages: dict[str, Any] = {}

        def watch(stage: str, done: int, whole: int | None) -> None:
            if stage not in stages:
                stages[stage] = bar.add_task(stage, total=whole)
            bar.update(stages[stage], completed=done, total=whole)

        yield watch


def _tell_refusal(problem: Problem, *, as_json: bool) -> NoReturn:
    """Tell what is wrong, line by line. Status 1 where lines are refused; else it is raised."""
    faults = [{"field": each.field, "message": each.message} for each in problem.errors]
    if as_json:
        print_json({"code": problem.code, "detail": problem.detail, "errors": faults})
    else:
        for each in problem.errors:
            typer.echo(f"{each.field}: {each.message}", err=True)
    if problem.code == _REFUSED_LINES:
        typer.echo(f"jalur: {problem.detail}", err=True)
        raise typer.Exit(1)
    raise problem


# ------------------------------------------------------------------ files


def read_sheet(file: Path, form: Form | None) -> Sheet:
    """The file, or a byte more than may be applied, which is refused as too large."""
    try:
        if str(file) == "-":
            content = sys.stdin.buffer.read(MOST_BYTES + 1)
        else:
            with file.open("rb") as opened:
                content = opened.read(MOST_BYTES + 1)
    except OSError as error:
        raise ConfigurationError(f"cannot read {file}: {error.strerror}") from error
    return Sheet(content, _form_of(file, form))


def write_file(file: Path, pieces: Iterable[bytes]) -> None:
    """Write a file. Raises ConfigurationError."""
    try:
        with file.open("wb") as opened:
            opened.writelines(pieces)
    except OSError as error:
        raise ConfigurationError(f"cannot write {file}: {error.strerror}") from error


def read_moment(text: str) -> datetime:
    """A moment as it was typed; without an offset it is in WIB. Raises ConfigurationError."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ConfigurationError("--at must be like 2026-12-01T00:00 or …T00:00+07:00") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=WIB)


async def _exported(
    pool: Pool, by: Operator, dealer: str | None, version: int | None
) -> tuple[bytes, int | None]:
    if version is not None:
        return unpacked(await routes.read_version(pool, by, version)), None
    exported = await routes.export_routes(pool, by, dealer)
    return exported.content, exported.revision


def _form_of(file: Path | None, form: Form | None) -> Form:
    if form is None:
        return Form.JSON if file is not None and file.suffix == ".json" else Form.CSV
    return form


def _in_form(content: bytes, form: Form) -> Iterator[bytes]:
    if form is Form.JSON:
        yield from (piece.encode() for piece in sheet_as_json(content))
    else:
        yield content


# ------------------------------------------------------------------ telling


def tell_plan(planned: Plan, last: str, *, as_json: bool) -> None:
    """Tell what would change; `{counts}` in the last line stands for the counts."""
    if as_json:
        print_json(planned.document())
        return
    counts = _counts(planned)
    if planned.is_empty:
        typer.echo(f"Nothing to change ({counts}). Revision {planned.revision} stays in force.")
        return
    for line in (*_changes(planned), *_effects(planned)):
        typer.echo(f"  {line}")
    typer.echo(last.replace("{counts}", counts))


def tell_applied(applied: Applied, *, as_json: bool) -> None:
    """Tell what was done."""
    if as_json:
        print_json(applied.document())
        return
    tell_plan(
        applied.plan,
        f"Applied: {{counts}}. Revision {applied.revision}, version {applied.version}, is in "
        f"force; running processes take it up {_when(applied.plan.counts)}.",
        as_json=False,
    )


def _when(counts: Counts) -> str:
    if counts.added + counts.changed + counts.unchanged <= MOST_ROWS_HERE:
        return "within a second"
    return "once it is compiled: `jalur routes status` tells"


def _counts(planned: Plan) -> str:
    counts = planned.counts
    return (
        f"{counts.added} added, {counts.changed} changed, {counts.removed} removed, "
        f"{counts.unchanged} unchanged"
    )


def _changes(planned: Plan) -> Iterator[str]:
    for kind, rows in planned.examples.items():
        for row in rows:
            yield f"{kind}: {_line_of(row)}"
        more = getattr(planned.counts, kind) - len(rows)
        if more:
            yield f"{kind}: and {more} more"
    if planned.not_sold:
        yield f"{planned.not_sold} of these are of products that are switched off"


def _effects(planned: Plan) -> Iterator[str]:
    for each in planned.effect.tiers:
        yield (
            f"tier {each.tier}: the margin of {each.margin_rises} products rises, of "
            f"{each.margin_falls} falls, {each.summed_effect:+d} rupiah in all; {each.at_loss} at "
            "a loss"
        )
    for loss in planned.effect.losses:
        yield f"at a loss: {loss.sku} costs {loss.cost}, tier {loss.tier} pays {loss.price}"
    if planned.effect.without_offer:
        first = ", ".join(planned.effect.first_without_offer)
        yield f"{planned.effect.without_offer} products lose their last offer: {first}"
    if planned.rise_count:
        yield (
            f"{planned.rise_count} costs rise by more than {planned.largest_rise_percent:g} %, "
            "which needs --yes"
        )


def _line_of(row: dict[str, Any]) -> str:
    if "before" in row:
        old, new = row["before"], row["after"]
        changes = ", ".join(f"{name} {old[name]} → {new[name]}" for name in new)
        return f"{row['route']}: {changes}"
    return f"{row['route']}: {row['dealer_sku']} at {row['cost']}"


def _line_of_schedule(scheduled: Scheduled) -> str:
    when = in_wib(scheduled.due_at)
    line = f"{scheduled.schedule_id}  {when}: {scheduled.state}, by {scheduled.operator}"
    detail = (scheduled.outcome or {}).get("detail")
    return f"{line}: {detail}" if detail else line


def _line_of_version(kept: Version) -> str:
    why = f" ({kept.reason})" if kept.reason else ""
    return (
        f"{kept.version}  {in_wib(kept.kept_at)} {kept.act.replace('_', ' ')} by "
        f"{kept.operator}{why}: {kept.routes} routes, {kept.added} added, {kept.changed} changed, "
        f"{kept.removed} removed; revision {kept.revision}, {kept.checksum}"
    )


def in_wib(moment: datetime) -> str:
    """A moment as it is shown."""
    return f"{moment.astimezone(WIB):%Y-%m-%d %H:%M:%S} WIB"


def _now() -> datetime:
    return datetime.now(UTC)
