"""Operators' commands on the routing table: import, export, explain."""

import asyncio
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, cast
from uuid import UUID

import typer

from app.administration.explain import (
    STANDARD_TIER,
    Question,
    explain_choice,
    explain_order,
    find_order,
)
from app.administration.routes import Imported, Wanted, export_routes, import_routes
from app.cli.terminal import Json, Reason, operator, print_json, with_pool
from app.errors import ConfigurationError, Problem
from app.lifecycle.execute import Lease
from app.lifecycle.route import Router
from app.sealing import Sealer
from app.settings import read_settings
from app.storage.pool import Pool
from routing.sheet import MOST_BYTES

routes_app = typer.Typer(help="The routing table.", no_args_is_help=True)

DealerPart = Annotated[
    str | None, typer.Option("--dealer", help="This dealer's part of the table only.")
]


@routes_app.command("export")
def export_command(
    file: Annotated[Path | None, typer.Argument(help="Where to write; else to the output.")] = None,
    dealer: DealerPart = None,
    as_json: Json = False,
) -> None:
    """Print the table as CSV, sorted; imported again it changes nothing."""
    if as_json and file is None:
        raise ConfigurationError("--json tells about the export: name a file to write it to")
    exported = asyncio.run(with_pool(lambda pool: export_routes(pool, operator(), dealer)))
    if file is None:
        sys.stdout.buffer.write(exported.content)
        return
    _write(file, exported.content)
    if as_json:
        print_json({"file": str(file), "revision": exported.revision})
    else:
        typer.echo(
            f"Wrote revision {exported.revision} to {file}. Next: edit it, then "
            f"`jalur routes import {file} --expect-revision {exported.revision} --dry-run`"
        )


@routes_app.command("import")
def import_command(
    file: Annotated[Path, typer.Argument(help="CSV in UTF-8, or - for the input.")],
    dealer: DealerPart = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Tell what would change; change nothing.")
    ] = False,
    allow_empty: Annotated[
        bool, typer.Option("--allow-empty", help="Let a file without rows remove every route.")
    ] = False,
    expect_revision: Annotated[
        int | None,
        typer.Option("--expect-revision", min=0, help="Only while this revision is in force."),
    ] = None,
    reason: Reason = "",
    as_json: Json = False,
) -> None:
    """Make the file the table in force, as a whole or not at all."""
    content = _read(file)
    wanted = Wanted(dealer, allow_empty, expect_revision, dry_run, reason)
    try:
        imported = asyncio.run(
            with_pool(lambda pool: import_routes(pool, operator(), content, wanted))
        )
    except Problem as problem:
        _tell_faults(problem, as_json=as_json)
        raise
    if as_json:
        print_json(imported.document())
    else:
        _tell_import(imported)


@routes_app.command("explain")
def explain_command(
    sku: Annotated[str | None, typer.Argument(help="The product to think of.")] = None,
    number: Annotated[str | None, typer.Option(help="The customer's number.")] = None,
    region: Annotated[str | None, typer.Option(help="Where the outlet stands.")] = None,
    tier: Annotated[str, typer.Option(help="Whose price is paid.")] = STANDARD_TIER,
    max_price: Annotated[
        int | None, typer.Option(min=1, help="The most a dealer may cost, in rupiah.")
    ] = None,
    order: Annotated[
        str | None, typer.Option("--order", help="What this order keeps of its choices: its id.")
    ] = None,
    reseller: Annotated[
        str | None, typer.Option("--reseller", help="Whose; --order is then its own `ref_id`.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Which dealer would be chosen now and why; or, with --order, was chosen for an order.

    Shares are read from the database. Breakers are each process's own: to a running service's ask
    `GET /admin/v1/routes/explain`.
    """
    if (sku is None) == (order is None):
        raise ConfigurationError("name a product, or an order with --order")
    if reseller is not None and order is None:
        raise ConfigurationError("--reseller goes with --order")
    if order is not None:
        told = asyncio.run(with_pool(lambda pool: _explain_order(pool, order, reseller)))
        show = _show_order
    else:
        asked = Question(sku or "", number, region, tier, max_price)
        told = asyncio.run(with_pool(lambda pool: _explain(pool, asked)))
        show = _show_choice
    if as_json:
        print_json(told)
    else:
        show(told)


async def _explain(pool: Pool, asked: Question) -> dict[str, object]:
    settings = read_settings()
    longest_call_seconds = Lease(settings.lease_seconds).longest_call_seconds
    router = Router(Sealer(settings.require_secret_keys()), time.monotonic, longest_call_seconds)
    await router.refresh(pool)
    now = datetime.now(UTC)
    await router.rebuild_shares(pool, now)
    return explain_choice(router, operator(), asked, now)


async def _explain_order(pool: Pool, order: str, reseller: str | None) -> dict[str, object]:
    by = operator()
    if reseller is not None:
        return await explain_order(pool, by, await find_order(pool, by, reseller, order))
    try:
        order_id = UUID(order)
    except ValueError:
        raise ConfigurationError(
            f"{order} is no order's id; a reseller's reference needs --reseller"
        ) from None
    return await explain_order(pool, by, order_id)


# ------------------------------------------------------------------ files


def _read(file: Path) -> bytes:
    """The file, or a byte more than may be imported, which is refused as too large."""
    try:
        if str(file) == "-":
            return sys.stdin.buffer.read(MOST_BYTES + 1)
        with file.open("rb") as opened:
            return opened.read(MOST_BYTES + 1)
    except OSError as error:
        raise ConfigurationError(f"cannot read {file}: {error.strerror}") from error


def _write(file: Path, content: bytes) -> None:
    try:
        file.write_bytes(content)
    except OSError as error:
        raise ConfigurationError(f"cannot write {file}: {error.strerror}") from error


# ------------------------------------------------------------------ telling


def _tell_faults(problem: Problem, *, as_json: bool) -> None:
    faults = [{"field": each.field, "message": each.message} for each in problem.errors]
    if as_json:
        print_json({"code": problem.code, "detail": problem.detail, "errors": faults})
        return
    for each in problem.errors:
        typer.echo(f"{each.field}: {each.message}", err=True)


def _tell_import(imported: Imported) -> None:
    difference = imported.difference
    counts = ", ".join(f"{count} {what}" for what, count in difference.counts().items())
    if difference.is_empty:
        typer.echo(f"Nothing to change ({counts}). Revision {imported.revision} stays in force.")
        return
    for kind, rows in difference.examples().items():
        for row in rows:
            typer.echo(f"  {kind}: {_line_of(row)}")
        more = difference.counts()[kind] - len(rows)
        if more:
            typer.echo(f"  {kind}: and {more} more")
    if imported.not_sold:
        typer.echo(f"  {imported.not_sold} of these are of products that are switched off")
    if imported.dry_run:
        typer.echo(f"Would be: {counts}. Next: the same without --dry-run")
    else:
        typer.echo(
            f"Imported: {counts}. Revision {imported.revision} is in force; running processes "
            "take it up within a second."
        )


def _line_of(row: dict[str, Any]) -> str:
    if "before" in row:
        old, new = row["before"], row["after"]
        changes = ", ".join(f"{name} {old[name]} → {new[name]}" for name in new)
        return f"{row['route']}: {changes}"
    return f"{row['route']}: {row['dealer_sku']} at {row['cost']}"


def _show_choice(told: dict[str, Any]) -> None:
    area = told["cluster"] or "no cluster"
    typer.echo(
        f"{told['sku']} ({told['brand']}, {area}) at {told['price']} rupiah: "
        + (f"{told['dealer']} is chosen" if told["dealer"] else f"refused, {told['refusal']}")
        + (", forced: everyone inside the premium is barred" if told["forced_monopoly"] else "")
    )
    if told["monopoly_cost"]:
        typer.echo(f"Avoiding the monopoly costs {told['monopoly_cost']} rupiah.")
    rows = [
        (
            str(each["rank"] or "-"),
            each["dealer"],
            str(each["cost"]),
            f"{each['owner_group']} {each['share_basis_points'] / 100:.2f} %",
            each["reason"] or "chosen",
        )
        for each in told["candidates"]
    ]
    _show_table([("rank", "dealer", "cost", "share", ""), *rows])
    market = told["market"]
    typer.echo(
        f"Shares of {market['orders']} orders worth {market['value']} rupiah; table "
        f"{told['table']}, revision {told['revision']}."
    )
    for fault in told["left_out"]:
        typer.echo(f"left out: {fault}")


def _show_order(told: dict[str, Any]) -> None:
    for attempt in cast("Sequence[dict[str, Any]]", told["attempts"]):
        decision = attempt["decision"]
        typer.echo(
            f"Attempt {attempt['attempt_no']} at {attempt['dealer']} is {attempt['state']}; chosen "
            f"from table {decision.get('table')}:"
        )
        rows = [
            (str(rank or "-"), dealer, str(cost), reason or "chosen")
            for dealer, cost, rank, reason in decision.get("candidates", [])
        ]
        _show_table([("rank", "dealer", "cost", ""), *rows])


def _show_table(rows: Sequence[Sequence[str]]) -> None:
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        typer.echo(("  " + "  ".join(cells)).rstrip())
