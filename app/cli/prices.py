"""`jalur prices`: what resellers of a tier pay, and what dealers say that they ask for."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from app.administration import catalogue, price_lists, routes
from app.administration.catalogue import PRICE_COLUMNS
from app.administration.plans import Plan, Progress, Wanted
from app.administration.price_lists import Pulled
from app.administration.routes import Applied
from app.administration.sheets import Placed, read_sheet, write_sheet
from app.cli.dealers import dealer_limits
from app.cli.table import Yes, carry_out, tell_applied, tell_plan, write_file
from app.cli.terminal import (
    File,
    Json,
    Reason,
    act,
    look,
    operator,
    print_json,
    read_file,
    tell,
)
from app.storage import reference
from app.storage.pool import Pool
from app.storage.reference import PriceRow
from schemas.admin.catalogue import Price, PutLines

_MOST_SHOWN = 20

prices_app = typer.Typer(help="Prices: what resellers of a tier pay.", no_args_is_help=True)


@prices_app.command("add")
def add_command(
    tier: Annotated[str, typer.Argument(help="Whose price; resellers begin in `standard`.")],
    sku: Annotated[str, typer.Argument(help="The product.")],
    price: Annotated[int, typer.Argument(help="In rupiah, digits only.")],
    reason: Reason = "",
    as_json: Json = False,
) -> None:
    """Set one price."""
    row = Placed(f"{tier} {sku}", PriceRow(tier, sku, price))
    tally = act(lambda pool, by: catalogue.put_prices(pool, by, [row], reason))
    told = f"Tier {tier} pays {price} rupiah for {sku}." if tally.changed else "Nothing changed."
    tell(PutLines.of(tally), [told], as_json=as_json)


@prices_app.command("import")
def import_command(file: File, reason: Reason = "", as_json: Json = False) -> None:
    """Set prices out of a sheet: tier,sku,price. Prices that it does not name stay."""
    rows = read_sheet(read_file(file), PRICE_COLUMNS, catalogue.price_of)
    tally = act(lambda pool, by: catalogue.put_prices(pool, by, rows, reason))
    told = f"{tally.given} prices read, {tally.changed} of them new or changed."
    tell(PutLines.of(tally), [told], as_json=as_json)


@prices_app.command("export")
def export_command(
    tier: Annotated[str | None, typer.Option(help="Of this tier only.")] = None,
    as_json: Json = False,
) -> None:
    """Print prices as a sheet that `import` takes."""
    found = [row for row in look(reference.prices) if tier in (None, row.tier)]
    sheet = write_sheet(PRICE_COLUMNS, [(row.tier, row.sku, row.price) for row in found])
    tell({"prices": [Price.of(row) for row in found]}, sheet.splitlines(), as_json=as_json)


@prices_app.command("pull")
def pull_command(
    dealer: Annotated[str, typer.Argument(metavar="DEALER", help="Its id.")],
    file: Annotated[
        Path | None, typer.Option("--file", help="Write the sheet that it makes there.")
    ] = None,
    apply: Annotated[
        bool, typer.Option("--apply", help="Make it the dealer's part of the table.")
    ] = False,
    yes: Yes = False,
    reason: Reason = "",
    as_json: Json = False,
) -> None:
    """Ask a dealer for its own price list and set it against our routes there."""
    limits = dealer_limits()
    wanted = Wanted(dealer, allow_rises=yes, reason=reason)

    async def work(pool: Pool, watch: Progress) -> tuple[Pulled, Plan | Applied]:
        by, now = operator(), datetime.now(UTC)
        pulled = await price_lists.pull(pool, by, dealer, limits, now)
        if file is not None:
            write_file(file, [pulled.sheet.content])
        if apply:
            return pulled, await price_lists.apply(pool, by, pulled, wanted, now, watch)
        return pulled, await routes.diff(pool, by, pulled.sheet, wanted, now, watch)

    pulled, outcome = carry_out(work, 0, as_json=as_json)
    if as_json:
        print_json({**pulled.document(), **outcome.document()})
        return
    _tell_list(pulled)
    if isinstance(outcome, Applied):
        tell_applied(outcome, as_json=False)
    else:
        next_ = f"Next: jalur prices pull {dealer} --apply"
        tell_plan(outcome, f"Would be: {{counts}}. {next_}", as_json=False)


def _tell_list(pulled: Pulled) -> None:
    typer.echo(f"{pulled.dealer_id} lists {pulled.listed} products.")
    for what, names in (
        ("without a route of ours", pulled.unknown),
        ("in our routes and not in its list", pulled.missing),
        ("listed without a clear price, left as they are", pulled.unclear),
    ):
        if names:
            shown = ", ".join(names[:_MOST_SHOWN])
            more = f" and {len(names) - _MOST_SHOWN} more" if names[_MOST_SHOWN:] else ""
            typer.echo(f"  {len(names)} {what}: {shown}{more}")
