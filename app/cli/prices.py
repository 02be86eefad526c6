"""`jalur prices`: what resellers of a tier pay."""

from typing import Annotated

import typer

from app.administration import catalogue
from app.administration.catalogue import PRICE_COLUMNS
from app.administration.sheets import Placed, read_sheet, write_sheet
from app.cli.terminal import File, Json, Reason, act, look, read_file, tell
from app.storage import reference
from app.storage.reference import PriceRow
from schemas.admin.catalogue import Price, PutLines

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
