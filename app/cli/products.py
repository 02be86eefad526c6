"""`jalur products`: what resellers can order."""

import shlex
from typing import Annotated

import typer

from app.administration import catalogue
from app.administration.sheets import Placed, read_sheet
from app.cli.terminal import File, Json, Reason, act, look, read_file, tell
from app.storage import reference
from app.storage.reference import ProductRow
from schemas.admin.catalogue import CatalogueProduct, PutLines

products_app = typer.Typer(help="Products: what resellers can order.", no_args_is_help=True)

Sku = Annotated[str, typer.Argument(help="Its code, as resellers order it.")]


@products_app.command("add")
def add_command(
    sku: Sku,
    name: Annotated[str, typer.Option(help="What resellers are shown.")],
    brand: Annotated[str, typer.Option(help="One of `jalur prefixes list`.")],
    denomination: Annotated[int, typer.Option(help="Its face value in rupiah.")],
    kind: Annotated[str, typer.Option(help="What sort of product.")] = "pulsa",
    reason: Reason = "",
    as_json: Json = False,
) -> None:
    """Add a product, or put it in place of the one with its SKU."""
    row = Placed(sku, ProductRow(sku, name, brand, kind, denomination))
    tally = act(lambda pool, by: catalogue.put_products(pool, by, [row], reason))
    told = f"{sku} is in the catalogue." if tally.changed else "Nothing changed."
    next_one = f"Next: jalur prices add standard {shlex.quote(sku)} PRICE"
    tell(PutLines.of(tally), [f"{told} {next_one}"], as_json=as_json)


@products_app.command("import")
def import_command(file: File, reason: Reason = "", as_json: Json = False) -> None:
    """Add or replace products out of a sheet: sku,name,brand,kind,denomination."""
    rows = read_sheet(read_file(file), catalogue.PRODUCT_COLUMNS, catalogue.product_of)
    tally = act(lambda pool, by: catalogue.put_products(pool, by, rows, reason))
    told = f"{tally.given} products read, {tally.changed} of them new or changed."
    tell(PutLines.of(tally), [f"{told} Next: jalur prices import FILE"], as_json=as_json)


@products_app.command("list")
def list_command(as_json: Json = False) -> None:
    """All products by SKU, those off sale too."""
    found = look(reference.products)
    lines = [
        f"{row.sku}  {row.name}: {row.brand}, {row.kind}, {row.denomination} rupiah"
        + ("" if row.enabled else ", off sale")
        for row in found
    ]
    empty = ["There are no products. Next: jalur products import FILE"]
    shown = {"products": [CatalogueProduct.of(row) for row in found]}
    tell(shown, lines or empty, as_json=as_json)


@products_app.command("disable")
def disable_command(sku: Sku, reason: Reason = "", as_json: Json = False) -> None:
    """Take a product off sale."""
    _set_on_sale(sku, on_sale=False, reason=reason, as_json=as_json)


@products_app.command("enable")
def enable_command(sku: Sku, reason: Reason = "", as_json: Json = False) -> None:
    """Sell a product again."""
    _set_on_sale(sku, on_sale=True, reason=reason, as_json=as_json)


def _set_on_sale(sku: str, *, on_sale: bool, reason: str, as_json: bool) -> None:
    changed = act(
        lambda pool, by: catalogue.set_on_sale(pool, by, sku, on_sale=on_sale, reason=reason)
    )
    state = "on sale" if on_sale else "off sale"
    told = f"{sku} is {state}." if changed else f"{sku} was {state} already."
    tell({"changed": changed}, [told], as_json=as_json)
