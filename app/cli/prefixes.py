"""`jalur prefixes`: which brand serves a number."""

import typer

from app.administration import catalogue
from app.administration.sheets import read_sheet
from app.cli.terminal import File, Json, Reason, act, look, read_file, tell
from app.storage import reference
from schemas.admin.catalogue import PutLines

prefixes_app = typer.Typer(help="Number prefixes and their brands.", no_args_is_help=True)


@prefixes_app.command("import")
def import_command(file: File, reason: Reason = "", as_json: Json = False) -> None:
    """Add or replace prefixes out of a sheet: prefix,brand. The longest prefix of a number wins."""
    rows = read_sheet(read_file(file), catalogue.PREFIX_COLUMNS, catalogue.prefix_of)
    tally = act(lambda pool, by: catalogue.put_prefixes(pool, by, rows, reason))
    told = f"{tally.given} prefixes read, {tally.changed} of them new or changed."
    tell(PutLines.of(tally), [told], as_json=as_json)


@prefixes_app.command("list")
def list_command(as_json: Json = False) -> None:
    """All prefixes with their brands."""
    found = look(reference.prefixes)
    shown = {"prefixes": [{"prefix": prefix, "brand": brand} for prefix, brand in found]}
    tell(shown, [f"{prefix}  {brand}" for prefix, brand in found], as_json=as_json)
