"""`jalur reconcile`: a dealer's statement against our own account of the same purchases."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import typer

from app.administration import reconciliation
from app.administration.plans import Progress
from app.administration.reconciliation import MOST_BYTES, Form, Result, Wanted, read_form
from app.cli.dealers import DealerId
from app.cli.table import carry_out, in_wib
from app.cli.terminal import Json, operator, print_json, read_file
from app.errors import ConfigurationError
from app.settings import read_settings
from app.storage.pool import Pool
from app.storage.reconciliation import Difference
from routing.table import WIB

_MOST_SHOWN = 20
_TOLD = {
    "missing_here": "in the statement and not among our purchases",
    "missing_there": "bought by us and not in the statement",
    "amount": "charged otherwise than booked here",
    "status": "ended otherwise than here",
    "duplicate": "more lines of a reference that stands there before",
    "unread_status": "with a status that nobody told the meaning of (--status WORD=succeeded)",
}
"""What each kind of difference is."""


def reconcile_command(
    dealer: DealerId,
    file: Annotated[str, typer.Argument(help="A CSV file with a header; - is standard input.")],
    map_: Annotated[
        str | None,
        typer.Option(
            "--map",
            help="Its columns: ref=…,amount=…,status=…; or a JSON file with columns and statuses.",
        ),
    ] = None,
    status: Annotated[
        list[str] | None,
        typer.Option(help="WORD=succeeded, failed or pending: what a status of it means."),
    ] = None,
    remember: Annotated[
        bool, typer.Option("--remember", help="Read this dealer's statements so from now on.")
    ] = False,
    from_: Annotated[
        str | None, typer.Option("--from", help="First day or moment it is about, in WIB.")
    ] = None,
    until: Annotated[
        str | None, typer.Option(help="Last day it is about, or the moment it ends, in WIB.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Write every difference there, as CSV.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Compare a dealer's statement with our purchases; status 1 where they differ."""
    wanted = Wanted(
        _form(map_, status),
        remember,
        _moment(from_, timedelta()),
        _moment(until, timedelta(days=1)),
        timedelta(seconds=read_settings().retry_for_seconds),
    )
    if wanted.begins and wanted.ends and wanted.begins >= wanted.ends:
        raise ConfigurationError("--from must be before --until")
    content = read_file(file)
    result = carry_out(
        lambda pool, watch: _reconcile(pool, dealer, content, wanted, watch, out),
        min(len(content), MOST_BYTES),
        as_json=as_json,
    )
    if as_json:
        print_json(result.document())
    else:
        _tell(result)
    if not result.agrees:
        raise typer.Exit(1)


async def _reconcile(
    pool: Pool, dealer: str, content: bytes, wanted: Wanted, watch: Progress, out: Path | None
) -> Result:
    by = operator()
    if out is None:
        return await reconciliation.reconcile(pool, by, dealer, content, wanted, watch)
    try:
        with out.open("wb") as opened:

            async def take(piece: bytes) -> None:
                opened.write(piece)

            return await reconciliation.reconcile(pool, by, dealer, content, wanted, watch, take)
    except OSError as error:
        raise ConfigurationError(f"cannot write {out}: {error.strerror}") from error


# ------------------------------------------------------------------ what was typed


def _form(map_: str | None, statuses: Sequence[str] | None) -> Form | None:
    if map_ is None:
        if statuses:
            raise ConfigurationError("--status needs --map: what is remembered is taken as a whole")
        return None
    if "=" in map_:
        document: dict[str, Any] = {"columns": _pairs(map_.split(","), "--map")}
    else:
        try:
            document = json.loads(read_file(map_))
        except ValueError as error:
            raise ConfigurationError(f"{map_} holds no JSON: {error}") from None
    if statuses:
        document["statuses"] = {**document.get("statuses", {}), **_pairs(statuses, "--status")}
    return read_form(document)


def _pairs(given: Sequence[str], option: str) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or not name.strip() or not value.strip():
            raise ConfigurationError(f"{option} must be NAME=VALUE, not {text}")
        pairs[name.strip()] = value.strip()
    return pairs


def _moment(text: str | None, after_day: timedelta) -> datetime | None:
    """A moment as it was typed, in WIB without an offset; a day ends `after_day` later."""
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ConfigurationError("--from and --until must be like 2026-11-22") from None
    is_day = "T" not in text and " " not in text
    moment = moment if moment.tzinfo else moment.replace(tzinfo=WIB)
    return (moment + after_day if is_day else moment).astimezone(UTC)


# ------------------------------------------------------------------ telling


def _tell(result: Result) -> None:
    totals = result.totals
    if result.begins is not None and result.ends is not None:
        typer.echo(f"From {in_wib(result.begins)} until {in_wib(result.ends)}:")
    typer.echo(
        f"{result.dealer_id} lists {totals.lines:,} lines, {totals.their_succeeded:,} succeeded "
        f"for {totals.their_rupiah:,} rupiah; we bought {totals.our_succeeded:,} for "
        f"{totals.our_rupiah:,} rupiah."
    )
    for each in result.tallies:
        if not each.lines:
            continue
        typer.echo(f"{each.lines:,} {_TOLD[each.kind]}: {each.rupiah:+,} rupiah")
        shown = result.examples[each.kind][:_MOST_SHOWN]
        for row in shown:
            typer.echo(f"  {_line(row)}")
        if each.lines > len(shown):
            typer.echo(f"  and {each.lines - len(shown):,} more: --out FILE writes all")
    if result.agrees:
        typer.echo("Both sides agree.")


def _line(row: Difference) -> str:
    place = "" if row.line is None else f"line {row.line}, "
    theirs = "nothing" if row.theirs is None else f"{row.theirs:,} {row.their_status}"
    ours = "nothing" if row.ours is None else f"{row.ours:,} {row.our_status}"
    order = "" if row.order_id is None else f" (order {row.order_id}, attempt {row.attempt_no})"
    return f"{place}{row.ref}: {theirs} there, {ours} here{order}"
