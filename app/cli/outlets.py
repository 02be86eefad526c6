"""`jalur outlets`: where resellers' outlets stand."""

from typing import Annotated

import typer

from app.administration import outlets
from app.administration.sheets import read_sheet
from app.cli.resellers import Which
from app.cli.terminal import File, Json, Reason, act, look, read_file, tell
from schemas.admin.catalogue import PutLines

outlets_app = typer.Typer(
    help="Resellers' outlets, and the regions they stand in.", no_args_is_help=True
)


@outlets_app.command("import")
def import_command(reseller: Which, file: File, reason: Reason = "", as_json: Json = False) -> None:
    """Add or replace a reseller's outlets out of a sheet: outlet_id,region."""
    rows = read_sheet(read_file(file), outlets.OUTLET_COLUMNS, outlets.outlet_of)
    tally = act(lambda pool, by: outlets.put(pool, by, reseller, rows, reason))
    told = f"{tally.given} outlets read, {tally.changed} of them new or changed."
    tell(PutLines.of(tally), [told], as_json=as_json)


@outlets_app.command("list")
def list_command(reseller: Which, as_json: Json = False) -> None:
    """A reseller's outlets with their regions."""
    found = look(lambda connection: outlets.listed(connection, reseller))
    shown = {"outlets": [{"outlet_id": outlet, "region": region} for outlet, region in found]}
    lines = [f"{outlet}  {region}" for outlet, region in found]
    tell(shown, lines or ["No outlets are listed; none need be."], as_json=as_json)


@outlets_app.command("remove")
def remove_command(
    reseller: Which,
    outlet_id: Annotated[str, typer.Argument(metavar="OUTLET", help="As it is ordered with.")],
    reason: Reason = "",
    as_json: Json = False,
) -> None:
    """Forget where an outlet stands; orders may go on naming it."""
    act(lambda pool, by: outlets.remove(pool, by, reseller, outlet_id, reason))
    tell({"removed": outlet_id}, [f"{outlet_id} is not listed any more."], as_json=as_json)
